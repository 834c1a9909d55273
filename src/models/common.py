"""The 3-D building blocks, computed in two dimensions.

Between the input and the head a clip of n samples and t frames is kept folded: shape (n * t, channel, height, width),
frames of one sample in a row. Convolutions with a temporal kernel of 1, pooling, batch norm and activations
then are their two-dimensional forms, which every backend has and most run faster; no data move between layers.
Parameters keep the five axes (out, in, time, height, width) and the names of the 3-D network.
"""

from collections.abc import Sequence

import mindspore as ms
from mindspore import nn, ops
from mindspore.common.initializer import HeNormal, initializer


def fold(clip: ms.Tensor) -> ms.Tensor:
    """Turn a clip (n, c, t, h, w) into folded frames (n * t, c, h, w)."""
    n, c, t, h, w = clip.shape
    return clip.transpose(0, 2, 1, 3, 4).reshape(n * t, c, h, w)


class Conv3d(nn.Cell):
    """A 3-D convolution on folded frames, zero-padded to keep its size but for the strides.

    The temporal kernel is a sum over shifted frames. Where the layer makes fewer values than it reads, the
    shifted results are added; where it reads fewer, the shifted inputs are put side by side as channels. Both
    are one 2-D convolution.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: time, height and width of the kernel, odd numbers.
        frames: frames of one sample at the input.
        stride: steps in time, height and width.
        dilation: distance of neighbouring kernel points in height and width.
        has_bias: add a bias to each output channel.

    Initial weights are MSRA's normal distribution by fan-out (He et al. 2015), as PySlowFast's.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Sequence[int],
        frames: int,
        stride: Sequence[int] = (1, 1, 1),
        dilation: int = 1,
        has_bias: bool = False,
    ):
        super().__init__()
        shape = (out_channels, in_channels, *kernel)
        # HeNormal reads the fans of five-axis shapes as PyTorch does.
        self.weight = ms.Parameter(initializer(HeNormal(mode="fan_out", nonlinearity="relu"), shape), name="weight")
        self.bias = ms.Parameter(initializer("zeros", (out_channels,)), name="bias") if has_bias else None
        self.frames = frames
        self.kernel_t, kernel_h, kernel_w = kernel
        self.stride_t, stride_h, stride_w = stride
        self.frames_out = (frames - 1) // self.stride_t + 1
        self.add_results = self.stride_t == 1 and out_channels < in_channels
        results = self.kernel_t * out_channels if self.add_results else out_channels
        pad_h, pad_w = kernel_h // 2 * dilation, kernel_w // 2 * dilation
        self.conv = ops.Conv2D(
            results,
            (kernel_h, kernel_w),
            pad_mode="pad",
            pad=(pad_h, pad_h, pad_w, pad_w),
            stride=(stride_h, stride_w),
            dilation=dilation,
        )
        self.add_bias = ops.BiasAdd()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Convolve folded frames (n * t, in, h, w) to (n * t', out, h', w')."""
        out, channels, kernel_t, kernel_h, kernel_w = self.weight.shape
        if kernel_t == 1:
            y = self.conv(x, self.weight.reshape(out, channels, kernel_h, kernel_w))
        elif self.add_results:
            weight = self.weight.transpose(2, 0, 1, 3, 4).reshape(kernel_t * out, channels, kernel_h, kernel_w)
            y = self._add_shifted(self.conv(x, weight))
        else:
            weight = self.weight.transpose(0, 2, 1, 3, 4).reshape(out, kernel_t * channels, kernel_h, kernel_w)
            y = self.conv(self._stack_shifted(x), weight)
        if self.bias is not None:
            y = self.add_bias(y, self.bias)
        return y

    def _stack_shifted(self, x: ms.Tensor) -> ms.Tensor:
        """Put the frames under each kernel point side by side: (n * t, c, h, w) to (n * t', kernel_t * c, h, w)."""
        nt, c, h, w = x.shape
        n = nt // self.frames
        x = x.reshape(n, self.frames, c * h * w)
        border = ops.zeros((n, self.kernel_t // 2, c * h * w), x.dtype)
        x = ops.concat((border, x, border), 1)
        span = (self.frames_out - 1) * self.stride_t + 1
        shifted = ()
        for point in range(self.kernel_t):
            shifted += (ops.strided_slice(x, (0, point, 0), (n, point + span, c * h * w), (1, self.stride_t, 1)),)
        return ops.concat(shifted, 2).reshape(n * self.frames_out, self.kernel_t * c, h, w)

    def _add_shifted(self, y: ms.Tensor) -> ms.Tensor:
        """Add the results of each kernel point, shifted in time: (n * t, kernel_t * c, h, w) to (n * t, c, h, w)."""
        nt, kc, h, w = y.shape
        n, t, c = nt // self.frames, self.frames, kc // self.kernel_t
        y = y.reshape(n, t, self.kernel_t, c * h * w)
        reach = self.kernel_t // 2
        total = y[:, :, reach]
        for point in range(self.kernel_t):
            shift = point - reach
            border = ops.zeros((n, min(abs(shift), t), c * h * w), y.dtype)
            if 0 < shift < t:
                total = total + ops.concat((y[:, shift:, point], border), 1)
            elif -t < shift < 0:
                total = total + ops.concat((border, y[:, :shift, point]), 1)
        return total.reshape(nt, c, h, w)


def batch_norm(channels: int, epsilon: float, momentum: float, zero: bool = False) -> nn.BatchNorm2d:
    """Return batch norm for folded frames.

    Args:
        channels: channels to normalise.
        epsilon: added to the variance.
        momentum: weight of a new batch in the running statistics (PyTorch's sense).
        zero: start with scale 0, so that a residual branch starts silent.
    """
    return nn.BatchNorm2d(channels, eps=epsilon, momentum=1.0 - momentum, gamma_init="zeros" if zero else "ones")


class MaxPool(nn.Cell):
    """Spatial max pooling 3 x 3 with stride 2 of frames that are not negative, borders included."""

    def __init__(self):
        super().__init__()
        # Padding with zeros equals padding with minus infinity after a ReLU.
        self.pad = ops.Pad(((0, 0), (0, 0), (1, 1), (1, 1)))
        self.pool = ops.MaxPool(kernel_size=3, strides=2, pad_mode="valid")

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Pool (n * t, c, h, w) to (n * t, c, ceil(h / 2), ceil(w / 2))."""
        return self.pool(self.pad(x))


def mean_over_time(x: ms.Tensor, frames: int) -> ms.Tensor:
    """Average folded frames (n * t, c, h, w) to (n, c, h, w)."""
    nt, c, h, w = x.shape
    return x.reshape(nt // frames, frames, c * h * w).mean(1).reshape(nt // frames, c, h, w)
