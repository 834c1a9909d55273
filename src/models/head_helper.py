"""The RoI head: features of each box, then a score for each class."""

from collections.abc import Sequence

import mindspore as ms
from mindspore import nn, ops
from mindspore.common.initializer import Normal

from src.models.common import Layers
from src.models.roi_align import RoIAlign


class RoIHead(nn.Cell):
    """Mean over time and box pooling of each pathway, the maximum over bins, and one linear layer.

    Args:
        layers: the operators.
        channels: channels of the Slow and the Fast pathway.
        frames: frames of the Slow and the Fast pathway.
        num_classes: classes to score.
        roi_align: pools boxes.
        init_std: standard deviation of the initial weights.

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
    ):
        super().__init__()
        self.frames = tuple(frames)
        self.num_features = sum(channels)
        self.mean_over_time = layers.mean_over_time
        self.roi_align = roi_align
        self.projection = nn.Dense(self.num_features, num_classes, weight_init=Normal(init_std), bias_init="zeros")

    def construct(
        self, slow: ms.Tensor, fast: ms.Tensor, boxes_px: ms.Tensor, dropout: ms.Tensor | None = None
    ) -> ms.Tensor:
        """Score boxes: folded frames of each pathway and boxes (n, k, 4) to logits (n, k, classes).

        `dropout`, (n, k, features), multiplies the features; training draws it (see `src.engine.dropout`).
        """
        n, k, _ = boxes_px.shape
        slow = self.roi_align(self.mean_over_time(slow, self.frames[0]), boxes_px)
        fast = self.roi_align(self.mean_over_time(fast, self.frames[1]), boxes_px)
        features = ops.concat((ops.amax(slow, (2, 3)), ops.amax(fast, (2, 3))), 1)
        if dropout is not None:
            features = features * dropout.reshape(n * k, -1).astype(features.dtype)
        return self.projection(features).reshape(n, k, -1)
