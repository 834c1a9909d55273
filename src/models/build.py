"""The network of a configuration, in the operators that suit the device."""

import mindspore as ms
from fvcore.common.config import CfgNode
from mindspore import nn

from src.cpu import library
from src.models.ascend_layers import AscendLayers
from src.models.common import Layers
from src.models.video_model_builder import SlowFast, plain_layers
from src.utils.errors import UserError
from src.utils.logging import get_logger


def build_model(cfg: CfgNode, layers: Layers | None = None) -> nn.Cell:
    """Return the network that a configuration describes, with fresh weights.

    Args:
        cfg: the configuration.
        layers: the operators that it is made of; None: those of `device_layers`, in float32.
    """
    return SlowFast(cfg, layers or device_layers(cfg))


def device_layers(cfg: CfgNode, amp_level: str = "O0", devices: int = 1) -> Layers:
    """Return the operators for this device: Ascend's, on a CPU those of `src.cpu` where they can be used, or the plain.

    With BN.SYNC, batch norm takes its statistics from all of several devices; CPUs then get MindSpore's own operators.

    Args:
        cfg: the configuration.
        amp_level: TRAIN.AMP_LEVEL or TEST.AMP_LEVEL; on a CPU, bf16 keeps the activations in bfloat16. What another
            level or device needs is done to the network afterwards (`src.engine.mixed_precision`).
        devices: that train together.

    Raises:
        UserError: bfloat16 or SLOWFAST_CPU_KERNELS=on is wanted where it cannot be.
    """
    target = ms.get_context("device_target")
    synchronized = devices if cfg.BN.SYNC else 1
    if target == "Ascend":
        return AscendLayers(cfg.BN.EPSILON, cfg.BN.MOMENTUM, synchronized)
    if synchronized > 1:
        if target == "CPU":
            if amp_level == "bf16":
                raise UserError("AMP_LEVEL bf16 on a CPU needs the kernels for CPUs, which have no BN.SYNC")
            library.hold_to_avx2()
        return Layers(cfg.BN.EPSILON, cfg.BN.MOMENTUM, synchronized)
    if target != "CPU":
        return plain_layers(cfg)
    if amp_level in ("O2", "O3"):
        library.hold_to_avx2()  # the kernels for CPUs compute in float32 and bfloat16
        return plain_layers(cfg)
    if not library.usable():
        reason = library.why_not()
        if amp_level == "bf16":
            why = reason or f"{library.VARIABLE} is off"
            raise UserError(f"AMP_LEVEL bf16 on a CPU needs the kernels for CPUs: {why}")
        if reason:
            get_logger().info("computing with MindSpore's operators, not with the kernels for CPUs: %s", reason)
        return plain_layers(cfg)
    from src.models.cpu_layers import CpuLayers

    if amp_level == "bf16" and not library.computes_bfloat16():
        raise UserError("AMP_LEVEL bf16 on a CPU needs a processor with AVX-512 (and ONEDNN_MAX_CPU_ISA not below it)")
    dtype = ms.bfloat16 if amp_level == "bf16" else ms.float32
    return CpuLayers(cfg.BN.EPSILON, cfg.BN.MOMENTUM, dtype)
