"""The network's operators on Ascend: those that MindSpore hands to aclnn, CANN's present interface.

MindSpore's older operators (Conv2D, BatchNorm, MaxPool, BiasAdd, ReduceMean, Split, StridedSlice, AddN) go to aclop,
where each is compiled for its shapes when it first runs, and which CANN is giving up. Activations stay folded frames
(n * t, c, h, w), and convolutions two-dimensional: kernels for three dimensions exist on Atlas A2 and A3 alone.
"""

from collections.abc import Sequence

import mindspore as ms
from mindspore import mint, nn

from src.models.common import BlockMaxPool, Conv3d, Layers


class AscendConv3d(Conv3d):
    """Computes as a `Conv3d`, with its parameters.

    Args:
        conv: holds the parameters under the names of its own.
    """

    split = staticmethod(mint.split)

    def __init__(self, conv: Conv3d):
        nn.Cell.__init__(self, auto_prefix=False)
        self.weight, self.bias = conv.weight, conv.bias
        self.frames, self.kernel_t, self.stride_t = conv.frames, conv.kernel_t, conv.stride_t
        self.padding, self.steps, self.dilation_2d = conv.padding, conv.steps, conv.dilation_2d

    def convolve(self, x: ms.Tensor, weight: ms.Tensor) -> ms.Tensor:
        """Do the convolution in two dimensions, without the bias."""
        return mint.nn.functional.conv2d(x, weight, None, self.steps, self.padding, self.dilation_2d)

    def add_bias(self, y: ms.Tensor, bias: ms.Tensor) -> ms.Tensor:
        """Add a bias to each channel."""
        return y + bias.reshape(1, -1, 1, 1)

    def span(self, x: ms.Tensor, start: int, end: int) -> ms.Tensor:
        """Return the frames from `start` to `end` of (n, t, size)."""
        return mint.narrow(x, 1, start, end - start)

    def update_parameters_name(self, prefix: str = "", recurse: bool = True) -> None:
        """Leave the names that the parent gave."""


class AscendBatchNorm(nn.BatchNorm2d):
    """Batch norm; arguments and parameters as of `nn.BatchNorm2d`."""

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Normalize (n, c, h, w) by channel."""
        batch_statistics = self.training and self.use_batch_statistics is not False
        statistics = self.moving_mean, self.moving_variance
        return mint.nn.functional.batch_norm(
            x, *statistics, self.gamma, self.beta, batch_statistics, self.momentum, self.eps
        )


class AscendDense(nn.Dense):
    """A linear layer; arguments and parameters as of `nn.Dense`."""

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map (m, in) to (m, out)."""
        return mint.nn.functional.linear(x, self.weight.astype(x.dtype), self.bias.astype(x.dtype))


class AscendMaxPool(nn.Cell):
    """Computes as `MaxPool`."""

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Pool (n * t, c, h, w) to (n * t, c, ceil(h / 2), ceil(w / 2))."""
        return mint.nn.functional.max_pool2d(x, 3, 2, 1)


class AscendBlockMaxPool(BlockMaxPool):
    """Computes as `BlockMaxPool`; arguments as of it."""

    def __init__(self, block: Sequence[int], frames: int):
        super().__init__(block, frames)
        self.block_2d = tuple(block[1:])

    def pool(self, x: ms.Tensor) -> ms.Tensor:
        """Pool height and width."""
        return mint.nn.functional.max_pool2d(x, self.block_2d, self.block_2d)


class Fork(nn.Cell):
    """Gives two readers the same tensor, and adds their gradients."""

    def construct(self, x: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """Return `x` twice."""
        return x, x

    def bprop(
        self, x: ms.Tensor, out: tuple[ms.Tensor, ms.Tensor], gradients: tuple[ms.Tensor, ms.Tensor]
    ) -> tuple[ms.Tensor]:
        """Return the gradient by `x`."""
        return (gradients[0] + gradients[1],)


def mean_over_time(x: ms.Tensor, frames: int) -> ms.Tensor:
    """Average folded frames (n * t, c, h, w) to (n, c, h, w)."""
    nt, c, h, w = x.shape
    return mint.mean(x.reshape(nt // frames, frames, c * h * w), 1).reshape(nt // frames, c, h, w)


class AscendLayers(Layers):
    """`Layers` for Ascend; arguments as of it."""

    mean_over_time = staticmethod(mean_over_time)
    split = staticmethod(mint.split)

    def __init__(self, epsilon: float, momentum: float, devices: int = 1):
        super().__init__(epsilon, momentum, devices)
        self.fork = Fork()

    def batch_norm(self, channels: int, zero: bool = False) -> nn.BatchNorm2d:
        """Return a batch norm; arguments as of the function `batch_norm`."""
        gamma = "zeros" if zero else "ones"
        return AscendBatchNorm(channels, eps=self.epsilon, momentum=1.0 - self.momentum, gamma_init=gamma)

    def conv_bn(
        self, conv: Conv3d, norm: nn.BatchNorm2d | None = None, relu: bool = True, residual: bool = False
    ) -> nn.Cell:
        """Return a cell that computes as `ConvBn`."""
        return super().conv_bn(AscendConv3d(conv), norm, relu, residual)

    def dense(self, in_channels: int, out_channels: int, **initial: object) -> nn.Dense:
        """Return a linear layer; arguments as of `nn.Dense`."""
        return AscendDense(in_channels, out_channels, **initial)

    def max_pool(self) -> nn.Cell:
        """Return a cell that computes as `MaxPool`."""
        return AscendMaxPool()

    def block_max_pool(self, block: Sequence[int], frames: int) -> nn.Cell:
        """Return a cell that computes as `BlockMaxPool`."""
        return AscendBlockMaxPool(block, frames)
