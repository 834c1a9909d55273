"""Mixed precision."""

import mindspore as ms
from fvcore.common.config import CfgNode
from mindspore import nn

from src.engine.batch_norm import batch_norms
from src.models.ascend_layers import AscendBatchNorm, AscendMaxPool
from src.models.common import BlockMaxPool, MaxPool
from src.models.roi_align import RoIAlign
from src.utils.device import ascend_has_bfloat16
from src.utils.errors import UserError


def to_mixed_precision(network: nn.Cell, level: str, target: str) -> nn.Cell:
    """Let a network compute in the precision of TRAIN.AMP_LEVEL or TEST.AMP_LEVEL; its parameters stay float32.

    Boxes are pooled in float32 at every level: coordinates of some hundred pixels have no fraction in float16.

    Args:
        network: a `SlowFast`.
        level: O0 float32; O2 float16 with batch norm and the head in float32; O3 float16 with only box pooling, and
            on Ascend batch norm, in float32; bf16 as O2 in bfloat16.
        target: CPU, GPU or Ascend. On a CPU, bf16 is a matter of the network's operators
            (`src.models.build.device_layers`), and nothing is to be done here.

    Raises:
        UserError: another level than O0 on a GPU. MindSpore has no addition in bfloat16 there, and in float16 no
            gradient of the dilated convolutions of res5 and no border of the pooling. bf16 on an Ascend without it.
    """
    if level == "O0" or (target == "CPU" and level == "bf16"):
        return network
    if target == "GPU":
        raise UserError(
            f"AMP_LEVEL {level}: MindSpore has not all of SlowFast's operators in half precision on a GPU; take O0, "
            "which is faster with ALLOW_TF32 True"
        )
    if level == "bf16" and target == "Ascend" and not ascend_has_bfloat16():
        raise UserError("AMP_LEVEL bf16: this Ascend does not compute in bfloat16; Atlas A2 and A3 do; take O2")
    dtype = ms.bfloat16 if level == "bf16" else ms.float16
    # Not the network as a whole, which would cast the boxes.
    for cell in network.cells():
        cell.to_float(ms.float32 if cell is network.head else dtype)
    if level == "O3":
        for cell in network.head.cells():
            cell.to_float(ms.float32 if isinstance(cell, RoIAlign) else dtype)
    for norm in batch_norms(network):
        # In half precision, whether Ascend's updates the running statistics or copies of them shows on a device only.
        if level != "O3" or isinstance(norm, AscendBatchNorm):
            norm.to_float(ms.float32)
    if level == "bf16":
        # The gradient of Ascend's pooling does not know bfloat16 on every card.
        for _, cell in network.cells_and_names():
            if isinstance(cell, (MaxPool, AscendMaxPool, BlockMaxPool)):
                cell.to_float(ms.float32)
    return network


def build_scaler(cfg: CfgNode) -> ms.amp.LossScaler | None:
    """Return the loss scale of TRAIN for float16: fixed, or dynamic with TRAIN.LOSS_SCALE_WINDOW.

    float32 and bfloat16, whose range is float32's, need none.
    """
    if cfg.TRAIN.AMP_LEVEL in ("O0", "bf16"):
        return None
    if cfg.TRAIN.LOSS_SCALE_WINDOW:
        return ms.amp.DynamicLossScaler(cfg.TRAIN.LOSS_SCALE, 2, cfg.TRAIN.LOSS_SCALE_WINDOW)
    return ms.amp.StaticLossScaler(cfg.TRAIN.LOSS_SCALE)
