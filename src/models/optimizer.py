"""The optimizer: SGD with momentum, batch norm without weight decay."""

from collections.abc import Callable, Sequence

import mindspore as ms
from fvcore.common.config import CfgNode
from mindspore import nn, ops

from src.checkpoint.names import HEAD

Gradients = tuple[ms.Tensor, ...]


def _update(
    operator: ops.Primitive,
    momentum: ms.Tensor,
    rate: ms.Tensor,
    gradient: ms.Tensor,
    weight: ms.Parameter,
    moment: ms.Parameter,
) -> ms.Tensor:
    """Do moment <- momentum * moment + gradient, weight <- weight - rate * moment, in place."""
    return operator(weight, moment, rate, gradient, momentum)


def _update_nesterov(
    operator: ops.Primitive,
    momentum: ms.Tensor,
    rate: ms.Tensor,
    gradient: ms.Tensor,
    weight: ms.Parameter,
    moment: ms.Parameter,
    started: ms.Parameter,
) -> ms.Tensor:
    """Do moment <- momentum * moment + gradient, weight <- weight - rate * (gradient + momentum * moment), in place."""
    return operator(weight, gradient, rate, moment, momentum, started)


def _zero_unless(taken: ms.Tensor, gradient: ms.Tensor) -> ms.Tensor:
    return ops.select(taken, gradient, ops.zeros_like(gradient))


class MomentumSGD(nn.Optimizer):
    """SGD with momentum as PyTorch defines it, whose step can be left out by arithmetic, without a branch.

    Args:
        groups: as of `nn.Optimizer`; their weight decay counts.
        rates: the learning rate of each step.
        momentum: weight of the old moment.
        nesterov: look ahead by the moment.
        last: how many parameters at the end, in the order of the groups, have another learning rate.
        factor: theirs, as a multiple of `rates`.
        fused: makes what updates all arrays at once, see `src.cpu.operators.MomentumSGD`; None: MindSpore does it, by
            an operator for each.
    """

    def __init__(
        self,
        groups: list[dict],
        rates: list[float],
        momentum: float,
        nesterov: bool,
        last: int = 0,
        factor: float = 1.0,
        fused: Callable[[Sequence[float], Sequence[float], bool], nn.Cell] | None = None,
    ):
        super().__init__(rates, groups)
        self.momentum = ms.Parameter(ms.Tensor(momentum, ms.float32), name="momentum")
        self.moments = self.parameters.clone(prefix="moments", init="zeros")
        self.nesterov = nesterov
        # ApplyMomentum's use_nesterov does nothing on the CPU.
        self.operator = ops.SGD(nesterov=True) if nesterov else ops.ApplyMomentum()
        self.started = self.parameters.clone(prefix="started", init="zeros") if nesterov else None
        # First, end, factor; from the last parameter on, whose gradient is there first.
        border = len(self.parameters) - last
        self.parts = [(border, len(self.parameters), factor)] * bool(last) + [(0, border, 1.0)]
        self.fused = None
        if fused is not None:
            decay = {member.name: group["weight_decay"] for group in groups for member in group.get("params", ())}
            decays = [decay[parameter.name] for parameter in self.parameters]
            self.fused = fused(decays, [1.0] * border + [factor] * last, nesterov)

    def construct(self, gradients: Gradients, taken: ms.Tensor | None = None) -> ms.Tensor:
        """Update the parameters and return nothing of use.

        Args:
            gradients: in the order of the parameters.
            taken: bool scalar; where it is false, parameters and moments stay as they are, whatever the gradients hold,
                and only the count of steps goes on. None: the step is taken.
        """
        rate, momentum = self.get_lr(), self.momentum
        done = self.assignadd(self.global_step, self.global_step_increase_tensor)
        if self.fused is not None:
            taken = ops.ones((), ms.float32) if taken is None else taken.astype(ms.float32)
            return ops.depend(done, self.fused(self.parameters, self.moments, gradients, rate, momentum, taken))
        gradients = self.decay_weight(gradients)
        if taken is not None:
            gradients = self.hyper_map(ops.partial(_zero_unless, taken), gradients)
            rate = ops.select(taken, rate, ops.zeros_like(rate))
            momentum = ops.select(taken, momentum, ops.ones_like(momentum))
        updated = ()
        for first, end, factor in self.parts:
            columns = (gradients[first:end], self.parameters[first:end], self.moments[first:end])
            if self.nesterov:
                update = ops.partial(_update_nesterov, self.operator, momentum, rate * factor)
                updated += self.hyper_map_reverse(update, *columns, self.started[first:end])
            else:
                update = ops.partial(_update, self.operator, momentum, rate * factor)
                updated += self.hyper_map_reverse(update, *columns)
        return ops.depend(done, updated)


def build_optimizer(cfg: CfgNode, network: nn.Cell, learning_rates: Sequence[float]) -> nn.Optimizer:
    """Return the optimizer of a network's trainable parameters.

    Args:
        cfg: the configuration; reads SOLVER and BN.WEIGHT_DECAY.
        network: what to train; a `SlowFast` says whether its operators have an update of all arrays at once.
        learning_rates: one for each step.
    """
    parameters = network.trainable_params()
    norm = [parameter for parameter in parameters if parameter.name.endswith((".gamma", ".beta"))]
    norm_names = {parameter.name for parameter in norm}
    groups = [
        {
            "params": [parameter for parameter in parameters if parameter.name not in norm_names],
            "weight_decay": cfg.SOLVER.WEIGHT_DECAY,
        },
        {"params": norm, "weight_decay": cfg.BN.WEIGHT_DECAY},
        {"order_params": parameters},
    ]
    # The head comes last.
    factor = cfg.SOLVER.HEAD_LR_FACTOR
    last = sum(parameter.name.startswith(HEAD) for parameter in parameters) if factor != 1.0 else 0
    fused = getattr(network, "fused_momentum_sgd", None)
    return MomentumSGD(groups, list(learning_rates), cfg.SOLVER.MOMENTUM, cfg.SOLVER.NESTEROV, last, factor, fused)
