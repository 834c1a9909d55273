"""The RoI head: features of each box, then a score for each class."""

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.common.initializer import Normal

from src.models.common import mean_over_time

# Samples along each side of a bin, and the pixels added to a box's far side, of the published MindSpore weights.
_LEGACY_SAMPLES = 2
_LEGACY_END = 1.0


class RoIMaxPool(nn.Cell):
    """RoIAlign, then the maximum over all bins: one feature vector a box.

    Bilinear sampling is separable, so the average of a bin's samples is `row_weights @ feature @ column_weights`:
    two batched matrix products, the same on every device, exact for any rule of where the samples lie.

    Args:
        resolution: bins along each side of a box.
        scale: feature pixels for one input pixel.
        mode: aligned: half-pixel shift and ceil(box / resolution) samples along each side of a bin (detectron2's
            RoIAlign with aligned=True and sampling_ratio=0; a box that reaches out of the feature map is sampled
            as densely as one that covers it). unaligned: no shift, at least one feature pixel wide and high, sampled
            alike (torchvision's RoIAlign with aligned=False and sampling_ratio=-1). legacy: no shift, 2 x 2 samples,
            far side plus one pixel (MindSpore's ROIAlign with sample_num=2 and roi_end_mode=1).
    """

    def __init__(self, resolution: int, scale: float, mode: str):
        super().__init__()
        self.resolution = resolution
        self.scale = scale
        self.mode = mode

    def construct(self, features: ms.Tensor, boxes_px: ms.Tensor) -> ms.Tensor:
        """Pool boxes.

        Args:
            features: (n, c, h, w).
            boxes_px: (n, k, 4), x1 y1 x2 y2 in input pixels. A box without area gives zeros (aligned).

        Returns:
            (n * k, c).
        """
        n, c, h, w = features.shape
        k, bins = boxes_px.shape[1], self.resolution
        x1, y1, x2, y2 = ops.split(boxes_px.reshape(n * k, 4), 1, 1)
        rows = self._weights(y1, y2, h).reshape(n, k * bins, h)
        columns = self._weights(x1, x2, w)  # (n * k, bins, w)
        lines = features.transpose(0, 2, 1, 3).reshape(n, h, c * w)
        sampled = ops.bmm(rows, lines).reshape(n * k, bins * c, w)
        pooled = ops.bmm(sampled, columns.transpose(0, 2, 1))  # (n * k, bins * c, bins)
        return ops.amax(pooled.reshape(n * k, bins, c, bins), (1, 3))

    def _weights(self, low: ms.Tensor, high: ms.Tensor, length: int) -> ms.Tensor:
        """Weigh the feature pixels for each bin along one axis: sides (m, 1) in input pixels to (m, bins, length)."""
        if self.mode != "legacy":
            shift = 0.5 if self.mode == "aligned" else 0.0
            start = low * self.scale - shift
            size = (high * self.scale - shift) - start
            if self.mode == "unaligned":
                size = ops.maximum(size, ops.ones_like(size))
            samples = ops.ceil(size / self.resolution)
            most = -(-length // self.resolution)
            # Zero for an empty box. Division by `count` is harmless then.
            samples = ops.clamp(samples, 0.0, float(most))
            count = ops.clamp(samples, 1.0, float(most))
        else:
            start = low * self.scale
            size = (high + _LEGACY_END) * self.scale - start
            most = _LEGACY_SAMPLES
            samples = ops.ones_like(start) * most
            count = samples
        bin_size = (size / self.resolution).reshape(-1, 1, 1)
        bin_index = ms.Tensor(np.arange(self.resolution, dtype=np.float32).reshape(1, -1, 1))
        sample_index = ms.Tensor(np.arange(most, dtype=np.float32).reshape(1, 1, -1))
        count = count.reshape(-1, 1, 1)
        position = start.reshape(-1, 1, 1) + bin_index * bin_size + (sample_index + 0.5) * bin_size / count
        # A sample counts if it is one of the bin's and no further than one pixel outside of the feature map.
        counts = _at_least(samples.reshape(-1, 1, 1) - 1.0 - sample_index)
        counts = counts * _at_least(position + 1.0) * _at_least(float(length) - position)
        position = ops.clamp(position, 0.0, float(length - 1)).reshape(-1, self.resolution, most, 1)
        pixel = ms.Tensor(np.arange(length, dtype=np.float32).reshape(1, 1, 1, -1))
        weight = ops.relu(1.0 - ops.abs(position - pixel)) * (counts / count).reshape(-1, self.resolution, most, 1)
        return weight.sum(2)


def _at_least(x: ms.Tensor) -> ms.Tensor:
    """1 where x >= 0, else 0, in arithmetic that every exported format has."""
    return ops.clamp(ops.floor(x) + 1.0, 0.0, 1.0)


class RoIHead(nn.Cell):
    """Mean over time and box pooling of each pathway, and one linear layer.

    Args:
        channels: channels of the Slow and the Fast pathway.
        frames: frames of the Slow and the Fast pathway.
        num_classes: classes to score.
        resolution: bins along each side of a box.
        scale: feature pixels for one input pixel.
        mode: how boxes are pooled, see `RoIMaxPool`.
        init_std: standard deviation of the initial weights.
    """

    def __init__(
        self,
        channels: Sequence[int],
        frames: Sequence[int],
        num_classes: int,
        resolution: int,
        scale: float,
        mode: str,
        init_std: float,
    ):
        super().__init__()
        self.frames = tuple(frames)
        self.pool = RoIMaxPool(resolution, scale, mode)
        self.projection = nn.Dense(sum(channels), num_classes, weight_init=Normal(init_std), bias_init="zeros")

    def construct(
        self, slow: ms.Tensor, fast: ms.Tensor, boxes_px: ms.Tensor, dropout: ms.Tensor | None = None
    ) -> ms.Tensor:
        """Score boxes: folded frames of each pathway and boxes (n, k, 4) to logits (n, k, classes).

        `dropout`, (n, k, features), multiplies the features; training draws it (see `src.engine.dropout`).
        """
        n, k, _ = boxes_px.shape
        slow = self.pool(mean_over_time(slow, self.frames[0]), boxes_px)
        fast = self.pool(mean_over_time(fast, self.frames[1]), boxes_px)
        features = ops.concat((slow, fast), 1)
        if dropout is not None:
            features = features * dropout.reshape(n * k, -1).astype(features.dtype)
        return self.projection(features).reshape(n, k, -1)
