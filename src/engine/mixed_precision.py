"""Mixed precision, on devices that have it."""

import mindspore as ms
from fvcore.common.config import CfgNode
from mindspore import nn

from src.utils.errors import UserError


def to_mixed_precision(network: nn.Cell, level: str, target: str) -> nn.Cell:
    """Cast a network to the precision of TRAIN.AMP_LEVEL.

    Args:
        network: a `SlowFast` in float32.
        level: O0 float32; O2 float16 with batch norm in float32; O3 float16; bf16 as O2 in bfloat16.
        target: CPU, GPU or Ascend.

    Raises:
        UserError: the device computes in float32 only.
    """
    if level == "O0":
        return network
    if target == "CPU":
        raise UserError(f"TRAIN.AMP_LEVEL {level} needs a GPU or an Ascend device; on the CPU use O0")
    if level == "bf16":
        return ms.amp.auto_mixed_precision(network, "O2", ms.bfloat16)
    return ms.amp.auto_mixed_precision(network, level)


def build_scaler(cfg: CfgNode) -> ms.amp.LossScaler | None:
    """Return the loss scale of TRAIN: none in float32, else fixed, or dynamic with TRAIN.LOSS_SCALE_WINDOW."""
    if cfg.TRAIN.AMP_LEVEL == "O0":
        return None
    if cfg.TRAIN.LOSS_SCALE_WINDOW:
        return ms.amp.DynamicLossScaler(cfg.TRAIN.LOSS_SCALE, 2, cfg.TRAIN.LOSS_SCALE_WINDOW)
    return ms.amp.StaticLossScaler(cfg.TRAIN.LOSS_SCALE)
