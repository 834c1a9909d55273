"""The learning rate as a function of the training's progress; the rules are PySlowFast's."""

import math
from collections.abc import Callable

from fvcore.common.config import CfgNode


def steps_with_relative_lrs(cfg: CfgNode, epoch: float) -> float:
    """Return BASE_LR times the factor of the last of SOLVER.STEPS that `epoch` has reached."""
    reached = [factor for step, factor in zip(cfg.SOLVER.STEPS, cfg.SOLVER.LRS, strict=True) if epoch >= step]
    return cfg.SOLVER.BASE_LR * reached[-1]


def cosine(cfg: CfgNode, epoch: float) -> float:
    """Return half a cosine from BASE_LR to COSINE_END_LR at MAX_EPOCH.

    It starts at epoch 0, and with COSINE_AFTER_WARMUP where the warm-up ends.
    """
    start = cfg.SOLVER.WARMUP_EPOCHS if cfg.SOLVER.COSINE_AFTER_WARMUP else 0.0
    end = cfg.SOLVER.COSINE_END_LR
    progress = (epoch - start) / (cfg.SOLVER.MAX_EPOCH - start)
    return end + (cfg.SOLVER.BASE_LR - end) * (math.cos(math.pi * progress) + 1.0) / 2.0


_POLICIES: dict[str, Callable[[CfgNode, float], float]] = {
    "steps_with_relative_lrs": steps_with_relative_lrs,
    "cosine": cosine,
}


def learning_rate(cfg: CfgNode, epoch: float) -> float:
    """Return the learning rate at an epoch, before any scaling by batch size.

    Args:
        cfg: the configuration; reads SOLVER.
        epoch: progress in epochs, with its fraction.

    Returns:
        The policy's value; during warm-up, a straight line from WARMUP_START_LR to the policy's value at its end.
    """
    policy = _POLICIES[cfg.SOLVER.LR_POLICY]
    warmup = cfg.SOLVER.WARMUP_EPOCHS
    if epoch >= warmup:
        return policy(cfg, epoch)
    start = cfg.SOLVER.WARMUP_START_LR
    return start + (policy(cfg, warmup) - start) * epoch / warmup


def batch_scale(cfg: CfgNode, world_size: int) -> float:
    """Return the factor of the learning rate for `world_size` devices: linear in clips a step (Goyal et al. 2017).

    One, unless SOLVER.AUTO_SCALE_LR.
    """
    if not cfg.SOLVER.AUTO_SCALE_LR:
        return 1.0
    return cfg.TRAIN.BATCH_SIZE * cfg.TRAIN.ACCUMULATE_STEPS * world_size / cfg.SOLVER.REFERENCE_BATCH


def learning_rates(cfg: CfgNode, steps_per_epoch: int, world_size: int) -> list[float]:
    """Return the learning rate of every step of the training on `world_size` devices."""
    scale = batch_scale(cfg, world_size)
    return [
        scale * learning_rate(cfg, step / steps_per_epoch) for step in range(cfg.SOLVER.MAX_EPOCH * steps_per_epoch)
    ]
