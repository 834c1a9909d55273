"""From a trained network to the graph that is deployed."""

import mindspore as ms
import numpy as np
from mindspore import nn

from src.models.common import Conv3d


def fold_batch_norm(network: nn.Cell) -> None:
    """Merge every batch norm into the convolution right before it, in place: weight and bias, nothing to compute.

    With running mean m and variance v, gamma * (w x - m) / sqrt(v + epsilon) + beta is a convolution with the weight
    scaled by gamma / sqrt(v + epsilon) for each output channel, and a bias. Computed in float64.

    Raises:
        ValueError: a batch norm does not follow a convolution of its size.
    """
    for _, cell in network.cells_and_names():
        before = None
        for name, child in list(cell.name_cells().items()):
            if isinstance(child, nn.BatchNorm2d):
                if not isinstance(before, Conv3d):
                    raise ValueError(f"{name} of {type(cell).__name__} does not follow a convolution")
                _merge(before, child)
                setattr(cell, name, nn.Identity())
            before = child


def _merge(convolution: Conv3d, norm: nn.BatchNorm2d) -> None:
    weight = convolution.weight.asnumpy().astype(np.float64)
    variance, mean = norm.moving_variance.asnumpy().astype(np.float64), norm.moving_mean.asnumpy()
    scale = norm.gamma.asnumpy() / np.sqrt(variance + norm.eps)
    bias = norm.beta.asnumpy() - mean * scale
    if convolution.bias is not None:
        bias += convolution.bias.asnumpy() * scale
    convolution.weight.set_data(ms.Tensor((weight * scale.reshape(-1, 1, 1, 1, 1)).astype(np.float32)))
    name = convolution.weight.name.removesuffix("weight") + "bias"
    convolution.bias = ms.Parameter(ms.Tensor(bias.astype(np.float32)), name=name)
