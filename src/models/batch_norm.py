"""Batch norm in elementary operators, for what MindSpore's own has no place for.

That is samples that do not count, and statistics of all devices together: `nn.SyncBatchNorm` has no CPU.
"""

import mindspore as ms
from mindspore import nn, ops


class ElementaryBatchNorm(nn.Cell):
    """Batch norm by the statistics of those samples that count, with the parameters of an `nn.BatchNorm2d`.

    It moves the running statistics towards the batch's, the variance being the unbiased one, as PyTorch does.

    Args:
        norm: holds the parameters, for its parent.
        axis: of the channels: 1 for (n, c, h, w), 2 for (n, positions, c).
        devices: whose samples are one batch.
    """

    def __init__(self, norm: nn.BatchNorm2d, axis: int, devices: int = 1):
        super().__init__(auto_prefix=False)
        self.norm = norm
        self.axes = (0, 2, 3) if axis == 1 else (0, 1)
        self.shape = (1, -1, 1, 1) if axis == 1 else (1, 1, -1)
        self.sum_over_devices = ops.AllReduce() if devices > 1 else None

    def construct(self, x: ms.Tensor, weights: ms.Tensor | None = None) -> ms.Tensor:
        """Normalize samples, float32 or float16, to float32.

        Args:
            x: the samples.
            weights: (n, 1, 1) or (n, 1, 1, 1), 1 for samples that count and 0 for others, which are normalized alike;
                None: all count.
        """
        norm = self.norm
        x = x.astype(ms.float32)
        channels = norm.gamma.shape[0]
        if weights is None:
            weights = ops.ones((x.shape[0],) + (1,) * (len(x.shape) - 1), ms.float32)
        count = weights.sum().reshape(1) * (x.size // (x.shape[0] * channels))
        sums = ops.concat(((x * weights).sum(self.axes), count))
        if self.sum_over_devices is not None:
            sums = self.sum_over_devices(sums)
        count = ops.maximum(sums[channels:], 1.0)
        mean = sums[:channels] / count
        centered = x - mean.reshape(self.shape)
        squares = (ops.square(centered) * weights).sum(self.axes)
        if self.sum_over_devices is not None:
            squares = self.sum_over_devices(squares)
        variance = squares / count
        unbiased = squares / ops.maximum(count - 1.0, 1.0)
        moved = (
            ops.assign(norm.moving_mean, _towards(norm.moving_mean, mean, norm.momentum)),
            ops.assign(norm.moving_variance, _towards(norm.moving_variance, unbiased, norm.momentum)),
        )
        scale = norm.gamma * ops.rsqrt(variance + norm.eps)
        y = centered * scale.reshape(self.shape) + norm.beta.reshape(self.shape)
        return ops.depend(y, moved)

    def update_parameters_name(self, prefix: str = "", recurse: bool = True) -> None:
        """Leave the names that the parent gave."""


def _towards(old: ms.Tensor, new: ms.Tensor, share: float) -> ms.Tensor:
    return ops.stop_gradient(old + share * (new - old))


def running_norm(rows: ms.Tensor, norm: nn.Cell) -> ms.Tensor:
    """Normalize rows (..., c) by the running statistics; `norm` may be nn.Identity, where it was folded away."""
    if not isinstance(norm, nn.BatchNorm2d):
        return rows
    scale = norm.gamma * ops.rsqrt(norm.moving_variance + norm.eps)
    return rows.astype(ms.float32) * scale + (norm.beta - norm.moving_mean * scale)
