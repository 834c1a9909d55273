"""The 3-D building blocks, computed in two dimensions, and `Layers`, through which the network gets them.

Between the input and the head a clip of n samples and t frames is kept folded: shape (n * t, channel, height, width),
frames of one sample in a row. Convolutions with a temporal kernel of 1, pooling, batch norm and activations
then are their two-dimensional forms, which every backend has and most run faster; no data move between layers.
Parameters keep the five axes (out, in, time, height, width) and the names of the 3-D network.
"""

from collections.abc import Sequence

import mindspore as ms
from mindspore import nn, ops
from mindspore.common.initializer import HeNormal, initializer

from src.models.batch_norm import ElementaryBatchNorm


def fold(clip: ms.Tensor) -> ms.Tensor:
    """Turn a clip (n, c, t, h, w) into folded frames (n * t, c, h, w)."""
    n, c, t, h, w = clip.shape
    return clip.transpose(0, 2, 1, 3, 4).reshape(n * t, c, h, w)


class Conv3d(nn.Cell):
    """A 3-D convolution on folded frames, zero-padded to keep its size but for the strides.

    A kernel over time is computed in one of two ways, both of them one 2-D convolution:
    without temporal stride, as a convolution with kernel_t times the channels, whose results are shifted by frames
    and added (it moves the fewest data where a layer gives fewer channels than it reads, or a spatial stride
    thins them out); with temporal stride, as a kernel_t x 1 convolution over (time, height * width).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: time, height and width of the kernel, odd numbers.
        frames: frames of one sample at the input.
        stride: steps in time, height and width; with a step in time, the kernel must be kernel_t x 1 x 1 and the
            other steps 1.
        dilation: distance of neighboring kernel points in height and width.
        has_bias: add a bias to each output channel.

    Initial weights are MSRA's normal distribution by fan-out (He et al. 2015), as PySlowFast's.
    """

    split = staticmethod(ops.split)

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
        self.stride, self.dilation = tuple(stride), dilation
        self.kernel_t, kernel_h, kernel_w = kernel
        self.stride_t, *steps = stride
        if self.stride_t > 1:
            if (kernel_h, kernel_w, *steps) != (1, 1, 1, 1):
                raise ValueError(f"a temporal stride needs a kernel_t x 1 x 1 kernel, got {kernel} with {stride}")
            channels, kernel_2d, self.steps, self.dilation_2d = out_channels, (self.kernel_t, 1), (self.stride_t, 1), 1
            self.padding = (self.kernel_t // 2, 0)
        else:
            channels, kernel_2d, self.steps = self.kernel_t * out_channels, (kernel_h, kernel_w), tuple(steps)
            self.dilation_2d, self.padding = dilation, (kernel_h // 2 * dilation, kernel_w // 2 * dilation)
        pad = (self.padding[0], self.padding[0], self.padding[1], self.padding[1])
        self.convolve = ops.Conv2D(
            channels, kernel_2d, pad_mode="pad", pad=pad, stride=self.steps, dilation=self.dilation_2d
        )
        self.add_bias = ops.BiasAdd()

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Convolve folded frames (n * t, in, h, w) to (n * t', out, h', w')."""
        out, channels, kernel_t, kernel_h, kernel_w = self.weight.shape
        # Mixed precision casts the inputs of a cell; of parameters only those that go straight into an operator.
        weight = self.weight.astype(x.dtype)
        if self.stride_t > 1:
            y = self._convolve_time(x, weight)
        elif kernel_t > 1:
            weight = weight.transpose(2, 0, 1, 3, 4).reshape(kernel_t * out, channels, kernel_h, kernel_w)
            y = self._add_shifted(self.convolve(x, weight))
        else:
            y = self.convolve(x, weight.reshape(out, channels, kernel_h, kernel_w))
        if self.bias is not None:
            y = self.add_bias(y, self.bias.astype(y.dtype))
        return y

    def _convolve_time(self, x: ms.Tensor, weight: ms.Tensor) -> ms.Tensor:
        """Convolve over (time, height * width): (n * t, in, h, w) to (n * t / stride, out, h, w)."""
        nt, c, h, w = x.shape
        x = x.reshape(nt // self.frames, self.frames, c, h * w).transpose(0, 2, 1, 3)
        y = self.convolve(x, weight.reshape(-1, c, self.kernel_t, 1))
        return y.transpose(0, 2, 1, 3).reshape(-1, y.shape[1], h, w)

    def _add_shifted(self, y: ms.Tensor) -> ms.Tensor:
        """Add the results of each kernel point, shifted in time: (n * t, kernel_t * c, h, w) to (n * t, c, h, w)."""
        nt, kc, h, w = y.shape
        t, c = self.frames, kc // self.kernel_t
        n, size = nt // t, c * h * w
        points = self.split(y.reshape(n, t, self.kernel_t, size), 1, 2)
        reach = self.kernel_t // 2
        total = points[reach].reshape(n, t, size)
        for index in range(self.kernel_t):
            shift = index - reach
            point = points[index].reshape(n, t, size)
            border = ops.zeros((n, max(abs(shift), 1), size), y.dtype)
            if 0 < shift < t:
                total = total + ops.concat((self.span(point, shift, t), border), 1)
            elif -t < shift < 0:
                total = total + ops.concat((border, self.span(point, 0, t + shift)), 1)
        return total.reshape(nt, c, h, w)

    def span(self, x: ms.Tensor, start: int, end: int) -> ms.Tensor:
        """Return the frames from `start` to `end` of (n, t, size)."""
        return ops.strided_slice(x, (0, start, 0), (x.shape[0], end, x.shape[2]), (1, 1, 1))


def batch_norm(channels: int, epsilon: float, momentum: float, zero: bool = False) -> nn.BatchNorm2d:
    """Return batch norm for folded frames.

    Args:
        channels: channels to normalize.
        epsilon: added to the variance.
        momentum: weight of a new batch in the running statistics (PyTorch's sense).
        zero: start with scale 0, so that a residual branch starts silent.
    """
    return nn.BatchNorm2d(channels, eps=epsilon, momentum=1.0 - momentum, gamma_init="zeros" if zero else "ones")


class ConvBn(nn.Cell):
    """A convolution with what follows it: batch norm, a residual added, ReLU; each where wanted.

    The parameters are the parent's, who holds `conv` and `norm` under names of its own.

    Args:
        conv: the convolution.
        norm: the batch norm; None: none.
        relu: close with ReLU.
    """

    def __init__(self, conv: Conv3d, norm: nn.BatchNorm2d | None, relu: bool = True):
        super().__init__(auto_prefix=False)
        self.conv = conv
        self.norm = norm
        self.relu = relu

    def construct(self, x: ms.Tensor, residual: ms.Tensor | None = None) -> ms.Tensor:
        """Convolve folded frames (n * t, in, h, w) to (n * t', out, h', w'), the shape of `residual` too."""
        y = self.conv(x)
        if self.norm is not None:
            y = self.norm(y)
        if residual is not None:
            y = residual + y
        return ops.relu(y) if self.relu else y

    def update_parameters_name(self, prefix: str = "", recurse: bool = True) -> None:
        """Leave the names that the parent gave."""


class SyncConvBn(ConvBn):
    """`ConvBn` whose batch statistics are those of all devices together.

    Args:
        conv: the convolution.
        norm: the batch norm.
        relu: close with ReLU.
        devices: whose samples are one batch.
    """

    def __init__(self, conv: Conv3d, norm: nn.BatchNorm2d, relu: bool, devices: int):
        super().__init__(conv, norm, relu)
        self.synchronized = ElementaryBatchNorm(norm, axis=1, devices=devices)

    def construct(self, x: ms.Tensor, residual: ms.Tensor | None = None) -> ms.Tensor:
        """Convolve as `ConvBn.construct`."""
        y = self.conv(x)
        if self.training and self.norm.use_batch_statistics is not False:
            y = self.synchronized(y).astype(y.dtype)
        else:
            y = self.norm(y)
        if residual is not None:
            y = residual + y
        return ops.relu(y) if self.relu else y


class MaxPool(nn.Cell):
    """Spatial max pooling 3 x 3 with stride 2 of frames that are not negative, borders included."""

    def __init__(self):
        super().__init__()
        self.pool = ops.MaxPool(kernel_size=3, strides=2, pad_mode="valid")

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Pool (n * t, c, h, w) to (n * t, c, ceil(h / 2), ceil(w / 2))."""
        return self.pool(_surround(_surround(x, 2), 3))


def _surround(x: ms.Tensor, axis: int) -> ms.Tensor:
    """Put zeros around an axis, as far as pooling 3 with stride 2 looks: behind an even length it does not.

    To values that are not negative they are what minus infinity is. (ops.Pad takes ten times as long on the CPU.)
    """
    shape = list(x.shape)
    odd = shape[axis] % 2
    shape[axis] = 1
    border = ops.zeros(tuple(shape), x.dtype)
    return ops.concat((border, x, border) if odd else (border, x), axis)


class BlockMaxPool(nn.Cell):
    """Maximum over blocks that do not overlap; a rest shorter than a block is dropped, as PyTorch's pooling does.

    Args:
        block: time, height and width of a block.
        frames: frames of one sample at the input.
    """

    def __init__(self, block: Sequence[int], frames: int):
        super().__init__()
        self.frames = frames
        self.block_t = block[0]
        self.max_pool = ops.MaxPool(kernel_size=tuple(block[1:]), strides=tuple(block[1:]), pad_mode="valid")

    def pool(self, x: ms.Tensor) -> ms.Tensor:
        """Pool height and width."""
        return self.max_pool(x)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Pool (n * t, c, h, w)."""
        x = self.pool(x)
        if self.block_t == 1:
            return x
        nt, c, h, w = x.shape
        n = nt // self.frames
        blocks = self.frames // self.block_t
        x = x.reshape(n, self.frames, c * h * w)[:, : blocks * self.block_t]
        return ops.amax(x.reshape(n, blocks, self.block_t, c * h * w), 2).reshape(n * blocks, c, h, w)


def fork(x: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
    """Return `x` for two readers."""
    return x, x


def concat_channels(a: ms.Tensor, b: ms.Tensor) -> ms.Tensor:
    """Put the channels of `b` behind those of `a`."""
    return ops.concat((a, b), 1)


def to_positions(x: ms.Tensor, frames: int) -> ms.Tensor:
    """Turn folded frames (n * t, c, h, w) into rows of features (n, t * h * w, c)."""
    nt, c, h, w = x.shape
    return x.reshape(nt, c, h * w).transpose(0, 2, 1).reshape(nt // frames, frames * h * w, c)


def from_positions(rows: ms.Tensor, like: ms.Tensor) -> ms.Tensor:
    """Turn rows of features (n, t * h * w, c) into folded frames as high and as wide as those of `like`."""
    _, _, h, w = like.shape
    c = rows.shape[2]
    return rows.reshape(-1, h * w, c).transpose(0, 2, 1).reshape(-1, c, h, w)


def mean_over_time(x: ms.Tensor, frames: int) -> ms.Tensor:
    """Average folded frames (n * t, c, h, w) to (n, c, h, w)."""
    nt, c, h, w = x.shape
    return x.reshape(nt // frames, frames, c * h * w).mean(1).reshape(nt // frames, c, h, w)


def max_over_time(x: ms.Tensor, frames: int) -> ms.Tensor:
    """Take the maximum of folded frames (n * t, c, h, w) to (n, c, h, w)."""
    nt, c, h, w = x.shape
    return ops.amax(x.reshape(nt // frames, frames, c * h * w), 1).reshape(nt // frames, c, h, w)


class Layers:
    """What the network is made of between its input and its head, in MindSpore's own operators.

    A library for a device stands in as a subclass that overrides what it does otherwise. It may keep folded frames in
    whatever layout and type it likes: the network hands them from one of these operators to the next, and neither
    looks at their shape nor computes with them. Where two operators read the same frames, each gets its own from
    `fork`, by which a library may add their gradients. At the ends, `fold` takes clips (n, c, t, h, w), and
    `mean_over_time` and `max_over_time` give float32 (n, c, h, w). The parameters are always held by a plain `Conv3d`
    and `nn.BatchNorm2d`, whose names, initial values, statistics and files are so the same everywhere; `conv_bn`
    computes with them.

    Args:
        epsilon: batch norm's.
        momentum: batch norm's, in PyTorch's sense.
        devices: whose clips batch norm takes for one batch in training; 1: each device has its own.
    """

    fold = staticmethod(fold)
    fork = staticmethod(fork)
    concat_channels = staticmethod(concat_channels)
    mean_over_time = staticmethod(mean_over_time)
    max_over_time = staticmethod(max_over_time)
    split = staticmethod(ops.split)
    to_positions = staticmethod(to_positions)
    from_positions = staticmethod(from_positions)
    # Makes what updates all weights at once, see `src.models.optimizer.MomentumSGD`.
    fused_momentum_sgd = None

    def __init__(self, epsilon: float, momentum: float, devices: int = 1):
        self.epsilon = epsilon
        self.momentum = momentum
        self.devices = devices

    def batch_norm(self, channels: int, zero: bool = False) -> nn.BatchNorm2d:
        """Return the parameters of a batch norm; arguments as of the function `batch_norm`."""
        return batch_norm(channels, self.epsilon, self.momentum, zero)

    def conv_bn(
        self, conv: Conv3d, norm: nn.BatchNorm2d | None = None, relu: bool = True, residual: bool = False
    ) -> nn.Cell:
        """Return a cell that computes as `ConvBn`; `residual`: whether it will be called with one."""
        if norm is not None and self.devices > 1:
            return SyncConvBn(conv, norm, relu, self.devices)
        return ConvBn(conv, norm, relu)

    def dense(self, in_channels: int, out_channels: int, **initial: object) -> nn.Dense:
        """Return a linear layer; arguments as of `nn.Dense`."""
        return nn.Dense(in_channels, out_channels, **initial)

    def max_pool(self) -> nn.Cell:
        """Return a cell that computes as `MaxPool`."""
        return MaxPool()

    def block_max_pool(self, block: Sequence[int], frames: int) -> nn.Cell:
        """Return a cell that computes as `BlockMaxPool`."""
        return BlockMaxPool(block, frames)
