"""What is done to gradients between the network and the optimizer."""

from collections.abc import Callable

import mindspore as ms
from fvcore.common.config import CfgNode
from mindspore import ops

Gradients = tuple[ms.Tensor, ...]

# As torch.nn.utils.clip_grad_norm_, against division by zero.
_EPSILON = 1e-6


def clip_by_value(limit: float) -> Callable[[Gradients], Gradients]:
    """Return a function that holds every element of the gradients within [-limit, limit]."""

    def clip(gradients: Gradients) -> Gradients:
        clipped = ()
        for gradient in gradients:
            clipped += (ops.clamp(gradient, -limit, limit),)
        return clipped

    return clip


def clip_by_norm(limit: float) -> Callable[[Gradients], Gradients]:
    """Return a function that shortens all gradients, taken as one vector, to the L2 norm `limit` where it is longer."""

    def clip(gradients: Gradients) -> Gradients:
        square = 0.0
        for gradient in gradients:
            square = square + (gradient * gradient).sum()
        factor = ops.minimum(limit / (ops.sqrt(square) + _EPSILON), 1.0)
        return scale(gradients, factor)

    return clip


def scale(gradients: Gradients, factor: ms.Tensor) -> Gradients:
    """Multiply all gradients by a scalar."""
    scaled = ()
    for gradient in gradients:
        scaled += (gradient * factor.astype(gradient.dtype),)
    return scaled


def build_clip(cfg: CfgNode) -> Callable[[Gradients], Gradients] | None:
    """Return how SOLVER clips gradients; None if it does not."""
    if cfg.SOLVER.CLIP_GRAD_VAL:
        return clip_by_value(cfg.SOLVER.CLIP_GRAD_VAL)
    if cfg.SOLVER.CLIP_GRAD_L2NORM:
        return clip_by_norm(cfg.SOLVER.CLIP_GRAD_L2NORM)
    return None
