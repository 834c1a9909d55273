"""The first layer of each pathway."""

import mindspore as ms
from mindspore import nn, ops

from src.models.common import Conv3d, MaxPool, batch_norm


class Stem(nn.Cell):
    """Convolution with stride 2, batch norm, ReLU, and max pooling with stride 2 (SlowFast paper, table 1).

    Args:
        out_channels: channels of the pathway.
        kernel_t: temporal kernel; height and width are 7.
        frames: frames of the pathway.
        epsilon: batch norm's.
        momentum: batch norm's, in PyTorch's sense.
    """

    def __init__(self, out_channels: int, kernel_t: int, frames: int, epsilon: float, momentum: float):
        super().__init__()
        self.conv = Conv3d(3, out_channels, (kernel_t, 7, 7), frames, stride=(1, 2, 2))
        self.bn = batch_norm(out_channels, epsilon, momentum)
        self.pool = MaxPool()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """(n * t, 3, h, w) to (n * t, c, h / 4, w / 4)."""
        return self.pool(ops.relu(self.bn(self.conv(x))))
