"""Filling a MindSpore network from a checkpoint."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from src.checkpoint.coverage import Coverage, as_weights, compare
from src.checkpoint.mindspore_format import load_checkpoint

if TYPE_CHECKING:
    from mindspore import nn


def load_into(
    network: "nn.Cell", source: str | os.PathLike | Mapping[str, np.ndarray], fresh_head: bool = False
) -> Coverage:
    """Fill the parameters of a MindSpore network from a .ckpt file, or from arrays as `load_arrays` does.

    Raises:
        UserError: see `load_checkpoint` and `load_arrays`; nothing has been loaded then.
    """
    if isinstance(source, Mapping):
        return load_arrays(network, source, "the given arrays", fresh_head)
    return load_arrays(network, load_checkpoint(source), str(source), fresh_head)


def load_arrays(
    network: "nn.Cell", arrays: Mapping[str, np.ndarray], source: str, fresh_head: bool = False
) -> Coverage:
    """Fill the parameters of a MindSpore network from arrays in its names.

    Args:
        network: the network.
        arrays: name -> array.
        source: what to call the checkpoint in an error.
        fresh_head: as in `compare`: True for fine-tuning, False where the head is needed (evaluation, export).

    Returns:
        What was loaded and what not.

    Raises:
        UserError: see `compare` and `as_weights`; nothing has been loaded then.
    """
    import mindspore as ms

    parameters = network.parameters_dict()
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    coverage = compare(arrays, shapes, source, fresh_head)
    for name, weights in as_weights({name: arrays[name] for name in coverage.loaded}, source).items():
        parameters[name].set_data(ms.Tensor(weights, parameters[name].dtype))
    return coverage
