"""Filling a MindSpore network from a checkpoint."""

import os
from collections.abc import Mapping

import numpy as np

from src.checkpoint.coverage import Coverage, compare
from src.checkpoint.mindspore_format import load_checkpoint


def load_into(network, source: str | os.PathLike | Mapping[str, np.ndarray], fresh_head: bool = False) -> Coverage:
    """Fill the parameters of a MindSpore `network` from a .ckpt file or from arrays in its names.

    Args:
        network: a `mindspore.nn.Cell`.
        source: the path of a .ckpt, or name -> array.
        fresh_head: as in `compare`: True for fine-tuning, False where the head is needed (evaluation, export).

    Returns:
        What was loaded and what not.

    Raises:
        UserError: see `load_checkpoint` and `compare`; nothing has been loaded then.
    """
    import mindspore as ms

    arrays = source if isinstance(source, Mapping) else load_checkpoint(source)
    parameters = network.parameters_dict()
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    coverage = compare(arrays, shapes, "the given arrays" if arrays is source else str(source), fresh_head)
    for name in coverage.loaded:
        parameters[name].set_data(ms.Tensor(arrays[name], parameters[name].dtype))
    return coverage
