"""Batch norm in elementary operators, for what MindSpore's own has no place for: samples that do not count."""

import mindspore as ms
from mindspore import nn, ops


class ElementaryBatchNorm(nn.Cell):
    """Batch norm by the statistics of those samples that count, with the parameters of an `nn.BatchNorm2d`.

    It moves the running statistics towards the batch's, the variance being the unbiased one, as PyTorch does.

    Args:
        norm: holds the parameters, for its parent.
    """

    def __init__(self, norm: nn.BatchNorm2d):
        super().__init__(auto_prefix=False)
        self.norm = norm

    def construct(self, rows: ms.Tensor, weights: ms.Tensor | None = None) -> ms.Tensor:
        """Normalize rows (m, positions, c), float32 or float16, to float32.

        Args:
            rows: the samples.
            weights: (m, 1, 1), 1 for rows that count and 0 for others, which are normalized alike; None: all count.
        """
        norm = self.norm
        rows = rows.astype(ms.float32)
        m, positions, _ = rows.shape
        if weights is None:
            weights = ops.ones((m, 1, 1), ms.float32)
        count = ops.maximum(weights.sum() * positions, 1.0)
        mean = (rows * weights).sum((0, 1)) / count
        centered = rows - mean
        variance = (ops.square(centered) * weights).sum((0, 1)) / count
        unbiased = variance * count / ops.maximum(count - 1.0, 1.0)
        moved = (
            ops.assign(norm.moving_mean, _towards(norm.moving_mean, mean, norm.momentum)),
            ops.assign(norm.moving_variance, _towards(norm.moving_variance, unbiased, norm.momentum)),
        )
        y = centered * (norm.gamma * ops.rsqrt(variance + norm.eps)) + norm.beta
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
