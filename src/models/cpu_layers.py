"""The network's operators on a CPU with the library of `src.cpu`: folded frames with the channels last."""

from collections.abc import Sequence

import mindspore as ms
from mindspore import nn, ops

from src.cpu import operators
from src.models.common import Conv3d, ConvBn, Layers


class CpuConvBn(ConvBn):
    """`ConvBn` on folded frames with the channels last.

    In evaluation one operator does it all; in training the convolution and the batch norm, with what follows it, are
    one each.
    """

    def __init__(self, conv: Conv3d, norm: nn.BatchNorm2d | None, relu: bool, residual: bool):
        super().__init__(conv, norm, relu)
        if norm is None and (relu or residual):
            raise ValueError("a ReLU or a residual without batch norm")
        has_bias = conv.bias is not None
        geometry = conv.frames, conv.stride, conv.dilation, has_bias
        self.convolve = operators.Conv3d(*geometry)
        if norm is not None:
            self.fused = operators.Conv3dBatchNorm(*geometry, norm.eps, relu, residual)
            self.normalize = operators.BatchNorm3d(norm.eps, norm.momentum, relu, residual)
            self.normalize_frozen = operators.BatchNorm3d(norm.eps, norm.momentum, relu, residual, frozen=True)

    def construct(self, x: ms.Tensor, residual: ms.Tensor | None = None) -> ms.Tensor:
        """Convolve folded frames (n * t, h, w, in) to (n * t', h', w', out), the shape of `residual` too."""
        conv, norm = self.conv, self.norm
        if norm is None:
            return self.convolve(x, conv.weight, conv.bias)
        parameters = (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
        if not self.training:
            return self.fused(x, conv.weight, *parameters, conv.bias, residual)
        y = self.convolve(x, conv.weight, conv.bias)
        if norm.use_batch_statistics is False:
            return self.normalize_frozen(y, *parameters, residual)
        return self.normalize(y, *parameters, residual)


def _to_positions(x: ms.Tensor, frames: int) -> ms.Tensor:
    """Turn folded frames (n * t, h, w, c) into rows of features (n, t * h * w, c), float32."""
    nt, h, w, c = x.shape
    return x.astype(ms.float32).reshape(nt // frames, frames * h * w, c)


class _FromPositions(nn.Cell):
    """Turns rows of features (n, t * h * w, c) into folded frames as high and as wide as those of `like`."""

    def __init__(self, dtype: ms.Type):
        super().__init__(auto_prefix=False)
        self.dtype = dtype

    def construct(self, rows: ms.Tensor, like: ms.Tensor) -> ms.Tensor:
        _, h, w, _ = like.shape
        return rows.reshape(-1, h, w, rows.shape[2]).astype(self.dtype)


class _MeanOverTime(nn.Cell):
    """Averages folded frames (n * t, h, w, c) to (n, c, h, w), float32."""

    def __init__(self):
        super().__init__(auto_prefix=False)
        self.mean = operators.TemporalMean()

    def construct(self, x: ms.Tensor, frames: int) -> ms.Tensor:
        return self.mean(x, frames).transpose(0, 3, 1, 2)


def _max_over_time(x: ms.Tensor, frames: int) -> ms.Tensor:
    """Take the maximum of folded frames (n * t, h, w, c) to (n, c, h, w), float32."""
    nt, h, w, c = x.shape
    largest = ops.amax(x.astype(ms.float32).reshape(nt // frames, frames, h * w * c), 1)
    return largest.reshape(nt // frames, h, w, c).transpose(0, 3, 1, 2)


class CpuLayers(Layers):
    """`Layers` in the operators of `src.cpu`: activations are (n * t, h, w, c), float32 or bfloat16.

    Args:
        epsilon: batch norm's.
        momentum: batch norm's, in PyTorch's sense.
        dtype: of the activations. Parameters, gradients, statistics, attention and the head are float32.
    """

    def __init__(self, epsilon: float, momentum: float, dtype: ms.Type = ms.float32):
        super().__init__(epsilon, momentum)
        self.dtype = dtype
        self.fold = operators.Fold(dtype)
        self.fork = operators.Fork()
        self.concat_channels = operators.Concat()
        self.mean_over_time = _MeanOverTime()
        self.from_positions = _FromPositions(dtype)

    to_positions = staticmethod(_to_positions)
    max_over_time = staticmethod(_max_over_time)
    fused_momentum_sgd = operators.MomentumSGD

    def conv_bn(
        self, conv: Conv3d, norm: nn.BatchNorm2d | None = None, relu: bool = True, residual: bool = False
    ) -> nn.Cell:
        """Return a cell that computes as `ConvBn`."""
        return CpuConvBn(conv, norm, relu, residual)

    def max_pool(self) -> nn.Cell:
        """Return a cell that computes as `MaxPool`."""
        return operators.MaxPool3d(1, (1, 3, 3), (1, 2, 2), (0, 1, 1))

    def block_max_pool(self, block: Sequence[int], frames: int) -> nn.Cell:
        """Return a cell that computes as `BlockMaxPool`."""
        return operators.MaxPool3d(frames, block, block)
