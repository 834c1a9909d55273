"""The first layer of each pathway."""

import mindspore as ms
from mindspore import nn

from src.models.common import Conv3d, Layers


class Stem(nn.Cell):
    """Convolution with stride 2, batch norm, ReLU, and max pooling with stride 2 (SlowFast paper, table 1).

    Args:
        layers: the operators.
        out_channels: channels of the pathway.
        kernel_t: temporal kernel; height and width are 7.
        frames: frames of the pathway.
    """

    def __init__(self, layers: Layers, out_channels: int, kernel_t: int, frames: int):
        super().__init__()
        self.conv = Conv3d(3, out_channels, (kernel_t, 7, 7), frames, stride=(1, 2, 2))
        self.bn = layers.batch_norm(out_channels)
        self.convolve = layers.conv_bn(self.conv, self.bn)
        self.pool = layers.max_pool()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map folded frames 3 x h x w to c x h / 4 x w / 4."""
        return self.pool(self.convolve(x))
