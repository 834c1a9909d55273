"""The RoI head: features of each box, then a score for each class."""

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.common.initializer import Normal

from src.models.actor_relation import ActorRelation
from src.models.common import Layers
from src.models.roi_align import RoIAlign


class RoIHead(nn.Cell):
    """The mean or maximum over time and box pooling of each pathway, the maximum over bins, and one linear layer.

    With `context`, the largest of the frame's own bins, of `AdaptiveMeanPool`, stand behind each box's features (as in
    mmaction2's `with_global`). With `acrn_channels`, each box's features are related to the whole frame, see
    `ActorRelation`, and what that gives is scored.

    Args:
        layers: the operators.
        channels: channels of the Slow and the Fast pathway.
        frames: frames of the Slow and the Fast pathway.
        num_classes: classes to score.
        roi_align: pools boxes.
        init_std: standard deviation of the initial weights.
        temporal_pool: `mean` or `max`. Over whole pathways either is the same whether a pathway's frames are repeated
            to the length of the other, as mmaction2 does, or not.
        context: put features of the whole frame beside those of each box.
        acrn_channels: channels of the actor-centric relation; 0: none. Without `context`.

    Attributes:
        num_features: features of a box before the last layer, where dropout is applied.
    """

    def __init__(
        self,
        layers: Layers,
        channels: Sequence[int],
        frames: Sequence[int],
        num_classes: int,
        roi_align: RoIAlign,
        init_std: float,
        temporal_pool: str = "mean",
        context: bool = False,
        acrn_channels: int = 0,
    ):
        super().__init__()
        self.frames = tuple(frames)
        self.num_features = acrn_channels or sum(channels) * (2 if context else 1)
        self.pool_time = {"mean": layers.mean_over_time, "max": layers.max_over_time}[temporal_pool]
        self.roi_align = roi_align
        self.context = AdaptiveMeanPool(roi_align.output_size) if context else None
        self.acrn = ActorRelation(layers, sum(channels), acrn_channels) if acrn_channels else None
        self.projection = layers.dense(self.num_features, num_classes, weight_init=Normal(init_std), bias_init="zeros")

    def construct(
        self,
        slow: ms.Tensor,
        fast: ms.Tensor,
        boxes_px: ms.Tensor,
        dropout: ms.Tensor | None = None,
        mask: ms.Tensor | None = None,
    ) -> ms.Tensor:
        """Score boxes: folded frames of each pathway and boxes (n, k, 4) to logits (n, k, classes).

        `dropout`, (n, k, features), multiplies the features; training draws it (see `src.engine.dropout`). `mask`,
        (n, k), is positive for real boxes; without it all are, which matters to batch statistics alone.
        """
        n, k, _ = boxes_px.shape
        slow_map, fast_map = self.pool_time(slow, self.frames[0]), self.pool_time(fast, self.frames[1])
        of_slow, of_fast = self.roi_align(slow_map, boxes_px), self.roi_align(fast_map, boxes_px)
        features = ops.concat((ops.amax(of_slow, (2, 3)), ops.amax(of_fast, (2, 3))), 1)
        if self.context is not None:
            of_frame = ops.amax(self.context(ops.concat((slow_map, fast_map), 1)), (2, 3))
            of_frame = of_frame.reshape(n, 1, -1) + ops.zeros((1, k, 1), of_frame.dtype)
            features = ops.concat((features, of_frame.reshape(n * k, -1)), 1)
        if self.acrn is not None:
            features = self.acrn(features, ops.concat((slow_map, fast_map), 1), slow, mask)
        if dropout is not None:
            features = features * dropout.reshape(n * k, -1).astype(features.dtype)
        return self.projection(features).reshape(n, k, -1)


class AdaptiveMeanPool(nn.Cell):
    """Averages a map in bins that cover it, from floor(i * size / bins) to ceil((i + 1) * size / bins) on each side.

    Neighboring bins overlap where a side is no multiple of `bins`, as in PyTorch's AdaptiveAvgPool2d.

    Args:
        bins: along each side.
    """

    def __init__(self, bins: int):
        super().__init__()
        self.bins = bins
        self.matmul = ops.MatMul(transpose_b=True)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Pool (n, c, h, w) to (n, c, bins, bins)."""
        n, c, h, w = x.shape
        bins = self.bins
        lines = self.matmul(x.reshape(n * c * h, w), ms.Tensor(_bin_weights(w, bins)).astype(x.dtype))
        lines = lines.reshape(n * c, h, bins).transpose(0, 2, 1).reshape(n * c * bins, h)
        pooled = self.matmul(lines, ms.Tensor(_bin_weights(h, bins)).astype(x.dtype))
        return pooled.reshape(n, c, bins, bins).transpose(0, 1, 3, 2)


@ops.constexpr
def _bin_weights(length: int, bins: int) -> np.ndarray:
    """Return how much each pixel counts in the mean of each bin: float32 (bins, length)."""
    weights = np.zeros((bins, length), np.float32)
    for index in range(bins):
        first, end = index * length // bins, -(-(index + 1) * length // bins)
        weights[index, first:end] = 1.0 / (end - first)
    return weights
