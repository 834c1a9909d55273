"""The optimizer: SGD with momentum, batch norm without weight decay."""

from collections.abc import Sequence

from fvcore.common.config import CfgNode
from mindspore import nn


def build_optimizer(cfg: CfgNode, network: nn.Cell, learning_rates: Sequence[float]) -> nn.Optimizer:
    """Return the optimizer of a network's trainable parameters.

    Args:
        cfg: the configuration; reads SOLVER and BN.WEIGHT_DECAY.
        network: what to train.
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
    rates, momentum = list(learning_rates), cfg.SOLVER.MOMENTUM
    if cfg.SOLVER.NESTEROV:
        # nn.Momentum's use_nesterov does nothing on the CPU.
        return nn.SGD(groups, rates, momentum, nesterov=True)
    return nn.Momentum(groups, rates, momentum)
