"""Mixup of clips (Zhang et al. 2018), as for detection: the boxes of both clips count, each by its clip's share."""

import numpy as np

_BOXES, _CLIPS = ("boxes", "labels", "mask"), ("slow", "fast")


def mix(batch: dict[str, np.ndarray], alpha: float, seed: int, epoch: int) -> dict[str, np.ndarray]:
    """Mix every clip of a batch with one of the same batch, the first with the last.

    The share of a clip itself is drawn from Beta(alpha, alpha), one for the batch, as a function of seed, epoch and the
    key frame of its first clip.

    Args:
        batch: arrays as a loader gives them, with n clips and k boxes of each.
        alpha: more than 0.
        seed: of the run.
        epoch: counted from 0.

    Returns:
        The batch with mixed clips and 2 k boxes; the mask holds the share of the clip that a box is of.
    """
    video, second = batch["key"][0]
    rng = np.random.Generator(np.random.PCG64([seed, epoch, int(video), int(second), 1]))
    share = np.float32(rng.beta(alpha, alpha))
    mixed = dict(batch)
    for name in _CLIPS:
        mixed[name] = share * batch[name] + (1 - share) * batch[name][::-1]
    for name in _BOXES:
        mixed[name] = np.concatenate([batch[name], batch[name][::-1]], axis=1)
    half = batch["mask"].shape[1]
    mixed["mask"][:, :half] *= share
    mixed["mask"][:, half:] *= 1 - share
    return mixed
