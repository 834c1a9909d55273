"""The operators for CPUs as MindSpore's cells.

Activations are folded frames with the channels last, (n * t, h, w, c), the t frames of one sample in a row, float32 or
bfloat16; parameters and all gradients and statistics of them are float32. For this layout oneDNN has AVX-512 kernels,
nothing is reordered from one operator to the next, and as (n * t, h, w, c), (n, t, h * w, c) and (n, t, h, w, c) are
the same bytes, a kernel over time is a plain convolution over (t, h * w).

Every operator of the library takes its inputs, at last the `settings` of its layer, and gives what `csrc` says there.
"""

import itertools
from collections.abc import Callable, Sequence

import mindspore as ms
from mindspore import nn, ops
from mindspore.ops import signature, zeros_like

from src.cpu.library import LIBRARY

_numbers = itertools.count()
_F32 = ms.float32


def _operator(
    name: str, shape: Callable | Sequence[int], dtype: Callable | object, bprop: Callable | None = None
) -> ops.Custom:
    """Return a function of the library as an operator; `shape`, `dtype` and `bprop` as `ops.Custom` takes them."""
    custom = ops.Custom(f"{LIBRARY}:{name}", shape, dtype, "aot", bprop)
    # MindSpore takes operators of equal attributes for one and the same, their shapes and gradients included.
    return custom.add_prim_attr("number", next(_numbers))


def _settings(*values: float) -> ms.Tensor:
    return ms.Tensor([float(value) for value in values], _F32)


def _conv_shape(frames: int, stride: Sequence[int]) -> Callable:
    """Return the output's shape as a function of those of input and weight; see `Conv3d`."""

    def shape(x: list[int], weight: list[int], *_: object) -> list[int]:
        out_frames = (frames - 1) // stride[0] + 1
        return [x[0] // frames * out_frames, *((x[i] - 1) // stride[i] + 1 for i in (1, 2)), weight[0]]

    return shape


class Conv3d(nn.Cell):
    """A 3-D convolution, zero-padded to keep its size but for the strides.

    y[t, h, w, o] = sum over i and kernel points of weight[o, i, kt, kh, kw] * x[t', h', w', i] (+ bias[o]).

    Args:
        frames: frames of one sample at the input.
        stride: steps in time, height and width.
        dilation: distance of neighboring kernel points in height and width.
        has_bias: whether it will be called with a bias.
    """

    def __init__(self, frames: int, stride: Sequence[int], dilation: int = 1, has_bias: bool = False):
        super().__init__(auto_prefix=False)
        self.settings = _settings(frames, *stride, dilation)
        self.has_bias = has_bias
        grad_input = _operator("Conv3dGradInput", lambda dy, x, *_: x, lambda dy, *_: dy)
        grad_weight = _operator("Conv3dGradWeight", lambda dy, x, weight, *_: weight, lambda *_: _F32)
        grad_bias = _operator("Conv3dGradBias", lambda dy: [dy[3]], lambda dy: _F32)

        def bprop(x, weight, settings, y, dy):
            return grad_input(dy, x, weight, settings), grad_weight(dy, x, weight, settings), zeros_like(settings)

        def bprop_bias(x, weight, bias, settings, y, dy):
            dx, dweight = grad_input(dy, x, weight, settings), grad_weight(dy, x, weight, settings)
            return dx, dweight, grad_bias(dy), zeros_like(settings)

        self.operator = _operator(
            "Conv3d", _conv_shape(frames, stride), lambda x, *_: x, bprop_bias if has_bias else bprop
        )

    def construct(self, x: ms.Tensor, weight: ms.Tensor, bias: ms.Tensor | None = None) -> ms.Tensor:
        """Convolve (n * t, h, w, in) with a weight (out, in, kt, kh, kw) to (n * t', h', w', out)."""
        if self.has_bias:
            return self.operator(x, weight, bias, self.settings)
        return self.operator(x, weight, self.settings)


class Conv3dBatchNorm(nn.Cell):
    """A convolution, batch norm by its running statistics, a residual added and ReLU, in one pass; it has no gradient.

    Args:
        frames, stride, dilation, has_bias: as of `Conv3d`.
        epsilon: added to the variance.
        relu: close with ReLU.
        residual: whether it will be called with a residual.
    """

    def __init__(
        self,
        frames: int,
        stride: Sequence[int],
        dilation: int,
        has_bias: bool,
        epsilon: float,
        relu: bool,
        residual: bool,
    ):
        super().__init__(auto_prefix=False)
        self.settings = _settings(frames, *stride, dilation, epsilon, relu, has_bias)
        self.has_bias, self.residual = has_bias, residual
        self.operator = _operator("Conv3dBatchNorm", _conv_shape(frames, stride), lambda x, *_: x)

    def construct(
        self,
        x: ms.Tensor,
        weight: ms.Tensor,
        gamma: ms.Tensor,
        beta: ms.Tensor,
        running_mean: ms.Tensor,
        running_variance: ms.Tensor,
        bias: ms.Tensor | None = None,
        residual: ms.Tensor | None = None,
    ) -> ms.Tensor:
        """Map (n * t, h, w, in) to (n * t', h', w', out), the shape of `residual` too; (out,) of the others."""
        inputs = (x, weight, gamma, beta, running_mean, running_variance)
        if self.has_bias:
            inputs += (bias,)
        if self.residual:
            inputs += (residual,)
        return self.operator(*inputs, self.settings)


class BatchNorm3d(nn.Cell):
    """Batch norm by the batch's statistics, a residual added and ReLU: relu(gamma * x_hat + beta + residual).

    It moves the running statistics towards the batch's, the variance being the unbiased one, as PyTorch does. Sums over
    the batch are kept in float64.

    Args:
        epsilon: added to the variance.
        momentum: weight of a new batch in the running statistics (PyTorch's sense).
        relu: close with ReLU.
        residual: whether it will be called with a residual.
        frozen: normalize by the running statistics instead, and leave them as they are.
    """

    def __init__(self, epsilon: float, momentum: float, relu: bool, residual: bool, frozen: bool = False):
        super().__init__(auto_prefix=False)
        self.settings = _settings(epsilon, momentum, relu, frozen)
        self.residual = residual
        # The gradient of the residual passes the ReLU alone.
        extra = 1 if residual else 0
        grad = _operator(
            "BatchNorm3dGrad",
            lambda dy, x, gamma, *_: (x, gamma, gamma, *[x] * extra),
            lambda dy, *_: (dy, _F32, _F32, *[dy] * extra),
        )

        def bprop(x, gamma, beta, mean, variance, settings, y, dy):
            dx, dgamma, dbeta = grad(dy[0], x, gamma, beta, y[1], y[2], settings)
            return dx, dgamma, dbeta, zeros_like(mean), zeros_like(variance), zeros_like(settings)

        def bprop_residual(x, gamma, beta, mean, variance, other, settings, y, dy):
            dx, dgamma, dbeta, dother = grad(dy[0], x, gamma, beta, y[1], y[2], y[0], settings)
            return dx, dgamma, dbeta, zeros_like(mean), zeros_like(variance), dother, zeros_like(settings)

        self.operator = _operator(
            "BatchNorm3d",
            lambda x, gamma, *_: (x, gamma, gamma),
            lambda x, *_: (x, _F32, _F32),
            bprop_residual if residual else bprop,
        )

    def construct(
        self,
        x: ms.Tensor,
        gamma: ms.Tensor,
        beta: ms.Tensor,
        running_mean: ms.Tensor,
        running_variance: ms.Tensor,
        residual: ms.Tensor | None = None,
    ) -> ms.Tensor:
        """Map (n * t, h, w, c) to the same shape, which is that of `residual` too; (c,) of the others."""
        if self.residual:
            return self.operator(x, gamma, beta, running_mean, running_variance, residual, self.settings)[0]
        return self.operator(x, gamma, beta, running_mean, running_variance, self.settings)[0]


class MaxPool3d(nn.Cell):
    """The maximum of each window; a gradient goes to the first point that holds it.

    Args:
        frames: frames of one sample at the input.
        kernel: time, height and width of a window, at most 256 points.
        stride: from window to window.
        padding: points before and behind that are never a maximum, less than the kernel.
    """

    def __init__(self, frames: int, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int] = (0, 0, 0)):
        super().__init__(auto_prefix=False)
        self.settings = _settings(frames, *kernel, *stride, *padding)
        grad = _operator("MaxPool3dGrad", lambda dy, index, x, settings: x, lambda dy, *_: dy)

        def bprop(x, settings, y, dy):
            return grad(dy[0], y[1], x, settings), zeros_like(settings)

        def length(size: int, axis: int) -> int:
            return (size + 2 * padding[axis] - kernel[axis]) // stride[axis] + 1

        def shape(x: list[int], settings: list[int]) -> tuple[list[int], list[int]]:
            pooled = [x[0] // frames * length(frames, 0), length(x[1], 1), length(x[2], 2), x[3]]
            return pooled, pooled

        self.operator = _operator("MaxPool3d", shape, lambda x, settings: (x, ms.uint8), bprop)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Pool (n * t, h, w, c) to (n * t', h', w', c)."""
        return self.operator(x, self.settings)[0]


class Fold(nn.Cell):
    """From a clip to folded frames with the channels last, rounded to `dtype`. Clips get no gradient."""

    def __init__(self, dtype: ms.Type):
        super().__init__(auto_prefix=False)

        def bprop(x, y, dy):
            return (zeros_like(x),)

        self.operator = _operator("Fold", lambda x: [x[0] * x[2], x[3], x[4], x[1]], dtype, bprop)

    def construct(self, clip: ms.Tensor) -> ms.Tensor:
        """Fold (n, c, t, h, w) float32 to (n * t, h, w, c)."""
        return self.operator(clip)


class Concat(nn.Cell):
    """The channels of `b` behind those of `a`."""

    def __init__(self):
        super().__init__(auto_prefix=False)
        grad = _operator("ConcatGrad", lambda dy, a, b: (a, b), lambda dy, a, b: (a, b))

        def bprop(a, b, y, dy):
            return grad(dy, a, b)

        self.operator = _operator("Concat", lambda a, b: [*a[:3], a[3] + b[3]], lambda a, b: a, bprop)

    def construct(self, a: ms.Tensor, b: ms.Tensor) -> ms.Tensor:
        """Join (n * t, h, w, c1) and (n * t, h, w, c2) to (n * t, h, w, c1 + c2)."""
        return self.operator(a, b)


class TemporalMean(nn.Cell):
    """The mean over the frames of each sample, float32."""

    def __init__(self):
        super().__init__(auto_prefix=False)
        grad = _operator("TemporalMeanGrad", lambda dy, x: x, lambda dy, x: x)

        def bprop(x, frames, y, dy):
            return grad(dy, x), zeros_like(frames)

        # The number of frames comes as the length of a tensor: that is what output shapes can be inferred from.
        self.operator = _operator("TemporalMean", lambda x, frames: [x[0] // frames[0], *x[1:]], _F32, bprop)

    def construct(self, x: ms.Tensor, frames: int) -> ms.Tensor:
        """Average (n * t, h, w, c), `frames` of them a sample, to (n, h, w, c)."""
        return self.operator(x, ops.zeros((frames,), _F32))


class Fork(nn.Cell):
    """A tensor for two readers, whose gradients are added.

    MindSpore adds the gradients of a tensor with several readers by AddN, which has no bfloat16 on the CPU and runs on
    one thread. No data move in the forward pass.
    """

    def __init__(self):
        super().__init__(auto_prefix=False)
        self.add = _operator("Add", lambda a, b: a, lambda a, b: a)

    def construct(self, x: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """Return `x` twice."""
        return x, x

    def bprop(self, x: ms.Tensor, out: tuple, dout: tuple) -> tuple[ms.Tensor]:
        """Add the gradients of the two."""
        return (self.add(dout[0], dout[1]),)


class MomentumSGD(nn.Cell):
    """One step of SGD with momentum for all arrays at once, in place.

    With g = gradient + decay * weight, as PyTorch does it: moment <- momentum * moment + g, then
    weight <- weight - rate * factor * moment, or with Nesterov's weight - rate * factor * (g + momentum * moment).

    Args:
        decays: the weight decay of each array.
        factors: the learning rate of each, as a multiple of `rate`.
        nesterov: look ahead by the moment.
    """

    def __init__(self, decays: Sequence[float], factors: Sequence[float], nesterov: bool):
        super().__init__(auto_prefix=False)
        self.settings = _settings(nesterov, *decays, *factors)
        self.operator = _operator("MomentumSGD", [1], _F32)
        # Weights and moments come first: MindSpore is told that they are written, so that it reads them before.
        self.operator.add_prim_attr("side_effect_mem", True)
        written = [
            signature.make_sig(f"{name}{i}", signature.sig_rw.RW_WRITE)
            for name in ("weight", "moment")
            for i in range(len(decays))
        ]
        read = [signature.make_sig(f"gradient{i}") for i in range(len(decays))]
        read += [signature.make_sig(name) for name in ("rate", "momentum", "taken", "settings")]
        self.operator.set_signatures((*written, *read))

    def construct(
        self,
        weights: tuple[ms.Parameter, ...],
        moments: tuple[ms.Parameter, ...],
        gradients: tuple[ms.Tensor, ...],
        rate: ms.Tensor,
        momentum: ms.Tensor,
        taken: ms.Tensor,
    ) -> ms.Tensor:
        """Update float32 weights and moments; the others are float32 scalars; nothing is done where `taken` is 0."""
        return self.operator(*weights, *moments, *gradients, rate, momentum, taken, self.settings)
