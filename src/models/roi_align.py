"""RoIAlign (He et al. 2017) as two batched matrix products."""

from collections.abc import Callable

import mindspore as ms
import numpy as np
from mindspore import nn, ops


class RoIAlign(nn.Cell):
    """Averages bilinear samples of a feature map in the bins of each box.

    Bilinear sampling is separable, so the averages are `row_weights @ feature @ column_weights`: two batched matrix
    products, the same on every device, exact for any rule of where the samples lie.

    Args:
        output_size: bins along each side of a box.
        spatial_scale: feature pixels for one input pixel.
        sampling_ratio: samples along each side of a bin; 0: ceil(box / output_size), as detectron2 and torchvision
            have it (a box that reaches out of the feature map is sampled as densely as one that covers it).
        aligned: shift boxes by half a feature pixel, as pixel centers want it (detectron2's default). Without, boxes
            are at least one feature pixel wide and high (torchvision's default).
        roi_end_mode: 1: a box's far side lies one input pixel further, and boxes have no minimum size; as MindSpore's
            ROIAlign of the same argument, which has no `aligned`.
        split: cuts a tensor into pieces of a size along an axis.
    """

    def __init__(
        self,
        output_size: int,
        spatial_scale: float,
        sampling_ratio: int = 0,
        aligned: bool = True,
        roi_end_mode: int = 0,
        split: Callable[[ms.Tensor, int, int], tuple[ms.Tensor, ...]] = ops.split,
    ):
        super().__init__()
        self.split = split
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        self.roi_end_mode = roi_end_mode

    def construct(self, features: ms.Tensor, boxes_px: ms.Tensor) -> ms.Tensor:
        """Pool boxes.

        Args:
            features: (n, c, h, w).
            boxes_px: (n, k, 4), x1 y1 x2 y2 in input pixels. A box without area gives zeros if `aligned`.

        Returns:
            (n * k, c, output_size, output_size).
        """
        n, c, h, w = features.shape
        k, bins = boxes_px.shape[1], self.output_size
        x1, y1, x2, y2 = self.split(boxes_px.reshape(n * k, 4), 1, 1)
        rows = self._weights(y1, y2, h).reshape(n, k * bins, h)
        columns = self._weights(x1, x2, w)  # (n * k, bins, w)
        lines = features.transpose(0, 2, 1, 3).reshape(n, h, c * w)
        sampled = ops.bmm(rows, lines).reshape(n * k, bins * c, w)
        pooled = ops.bmm(sampled, columns.transpose(0, 2, 1))  # (n * k, bins * c, bins)
        return pooled.reshape(n * k, bins, c, bins).transpose(0, 2, 1, 3)

    def _weights(self, low: ms.Tensor, high: ms.Tensor, length: int) -> ms.Tensor:
        """Weigh the feature pixels for each bin along one axis: sides (m, 1) in input pixels to (m, bins, length)."""
        bins = self.output_size
        shift = 0.5 if self.aligned else 0.0
        start = low * self.spatial_scale - shift
        if self.roi_end_mode:
            high = high + 1.0
        size = high * self.spatial_scale - shift - start
        if not self.aligned and not self.roi_end_mode:
            size = ops.maximum(size, ops.ones_like(size))
        if self.sampling_ratio:
            maximum = self.sampling_ratio
            samples = ops.ones_like(start) * maximum
        else:
            maximum = -(-length // bins)
            # Zero for an empty box. Division by `count` is harmless then.
            samples = ops.clamp(ops.ceil(size / bins), 0.0, float(maximum))
        count = ops.clamp(samples, 1.0, float(maximum)).reshape(-1, 1, 1)
        bin_size = (size / bins).reshape(-1, 1, 1)
        bin_index = ms.Tensor(np.arange(bins, dtype=np.float32).reshape(1, -1, 1))
        sample_index = ms.Tensor(np.arange(maximum, dtype=np.float32).reshape(1, 1, -1))
        position = start.reshape(-1, 1, 1) + bin_index * bin_size + (sample_index + 0.5) * bin_size / count
        # A sample counts if it is one of the bin's and no further than one pixel outside of the feature map.
        counts = _at_least(samples.reshape(-1, 1, 1) - 1.0 - sample_index)
        counts = counts * _at_least(position + 1.0) * _at_least(float(length) - position)
        position = ops.clamp(position, 0.0, float(length - 1)).reshape(-1, bins, maximum, 1)
        pixel = ms.Tensor(np.arange(length, dtype=np.float32).reshape(1, 1, 1, -1))
        weight = ops.relu(1.0 - ops.abs(position - pixel)) * (counts / count).reshape(-1, bins, maximum, 1)
        return weight.sum(2)


def _at_least(x: ms.Tensor) -> ms.Tensor:
    """1 where x >= 0, else 0, in arithmetic that every exported format has."""
    return ops.clamp(ops.floor(x) + 1.0, 0.0, 1.0)
