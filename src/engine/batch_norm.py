"""The running statistics of batch norm: frozen, or computed precisely."""

from collections.abc import Callable, Iterable

import mindspore as ms
import numpy as np
from mindspore import nn

from src.utils.distributed import ProcessGroup


def batch_norms(network: nn.Cell) -> list[nn.BatchNorm2d]:
    """Return a network's batch norms."""
    return [cell for _, cell in network.cells_and_names() if isinstance(cell, nn.BatchNorm2d)]


def freeze_statistics(network: nn.Cell) -> None:
    """Let batch norms normalize by their running statistics in training too, which then stay as they are."""
    for norm in batch_norms(network):
        norm.use_batch_statistics = False


def update_statistics(
    network: nn.Cell,
    forward: Callable[..., ms.Tensor],
    batches: Iterable[tuple[ms.Tensor, ...]],
    momentum: float,
    group: ProcessGroup,
) -> None:
    """Set the running statistics to those of the present weights over `batches` (Wu & Johnson 2021, section 3).

    The mean is that of the batches' means, the variance that of all batches' samples together:
    mean of (variance + mean^2), minus the square of the mean.

    Args:
        network: holds the batch norms.
        forward: runs the network in training mode on one of `batches`.
        batches: as many on every device.
        momentum: weight of a new batch in the running statistics (PyTorch's sense).
        group: the devices, whose batches count alike.
    """
    norms = batch_norms(network)
    means = [np.zeros(norm.moving_mean.shape, np.float64) for norm in norms]
    squares = [np.zeros(norm.moving_mean.shape, np.float64) for norm in norms]
    count = 0
    for batch in batches:
        # From zero, a batch moves the running statistics to momentum times its own.
        for norm in norms:
            norm.moving_mean.set_data(ms.Tensor(np.zeros(norm.moving_mean.shape, np.float32)))
            norm.moving_variance.set_data(ms.Tensor(np.zeros(norm.moving_mean.shape, np.float32)))
        forward(*batch).asnumpy()
        count += 1
        for norm, mean, square in zip(norms, means, squares, strict=True):
            batch_mean = norm.moving_mean.asnumpy().astype(np.float64) / momentum
            mean += batch_mean
            square += norm.moving_variance.asnumpy() / momentum + batch_mean**2
    for norm, mean, square in zip(norms, means, squares, strict=True):
        mean /= count
        all_mean = group.all_reduce_mean(mean.astype(np.float32))
        # Around the mean of all devices, so that nothing cancels.
        variance = group.all_reduce_mean((square / count - mean**2 + (mean - all_mean) ** 2).astype(np.float32))
        norm.moving_mean.set_data(ms.Tensor(all_mean))
        norm.moving_variance.set_data(ms.Tensor(variance))
