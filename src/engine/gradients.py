"""What is done to gradients between the network and the optimizer.

Every function maps over the gradients with `ops.HyperMap`: a Python loop over the hundreds of arrays of SlowFast R50
exceeds MindSpore's limit of nested calls when the graph is compiled.
"""

from collections.abc import Callable

import mindspore as ms
from fvcore.common.config import CfgNode
from mindspore import ops

Gradients = tuple[ms.Tensor, ...]

# As torch.nn.utils.clip_grad_norm_, against division by zero.
_EPSILON = 1e-6

_map = ops.HyperMap()
# Half the sum of squares, in one kernel.
_half_square = ops.L2Loss()


def _multiply(factor: ms.Tensor, gradient: ms.Tensor) -> ms.Tensor:
    return gradient * factor.astype(gradient.dtype)


def _clamp(limit: float, gradient: ms.Tensor) -> ms.Tensor:
    return ops.clamp(gradient, -limit, limit)


def scale(gradients: Gradients, factor: ms.Tensor) -> Gradients:
    """Multiply all gradients by a scalar tensor."""
    return _map(ops.partial(_multiply, factor), gradients)


def squared_norm(gradients: Gradients) -> ms.Tensor:
    """Return the square of the L2 norm of all gradients, taken as one vector; infinite or nan if one of them is."""
    return 2.0 * ops.addn(_map(_half_square, gradients))


def clip_by_value(limit: float) -> Callable[[Gradients], Gradients]:
    """Return a function that holds every element of the gradients within [-limit, limit]."""

    def clip(gradients: Gradients) -> Gradients:
        return _map(ops.partial(_clamp, limit), gradients)

    return clip


def clip_by_norm(limit: float) -> Callable[[Gradients], Gradients]:
    """Return a function that shortens all gradients, taken as one vector, to the L2 norm `limit` where it is longer."""

    def clip(gradients: Gradients) -> Gradients:
        return scale(gradients, ops.minimum(limit / (ops.sqrt(squared_norm(gradients)) + _EPSILON), 1.0))

    return clip


def build_clip(cfg: CfgNode) -> Callable[[Gradients], Gradients] | None:
    """Return how SOLVER clips gradients; None if it does not."""
    if cfg.SOLVER.CLIP_GRAD_VAL:
        return clip_by_value(cfg.SOLVER.CLIP_GRAD_VAL)
    if cfg.SOLVER.CLIP_GRAD_L2NORM:
        return clip_by_norm(cfg.SOLVER.CLIP_GRAD_L2NORM)
    return None
