"""Weights as after training, without one."""

import zlib

import numpy as np


def weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a parameter by its name: batch norm that changes something when it is folded, scores that differ."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith(("gamma", "moving_variance")):
        array = rng.uniform(0.7, 1.2, shape)
    elif name.endswith(("beta", "moving_mean", "bias")):
        array = rng.normal(0, 0.1, shape)
    else:
        array = rng.normal(0, (1.5 / np.prod(shape[1:])) ** 0.5, shape)
    return array.astype(np.float32)
