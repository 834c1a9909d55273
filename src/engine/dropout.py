"""Dropout as a function of seed, epoch and key frame, so that a resumed run drops what an undisturbed one does."""

import numpy as np


def draw(keys: np.ndarray, boxes: int, features: int, rate: float, seed: int, epoch: int) -> np.ndarray:
    """Draw what features are multiplied by: 0 with a chance of `rate`, else 1 / (1 - rate).

    Args:
        keys: int (n, 2), index of the video and second of each clip. A clip's draw does not depend on the others, so
            neither on how a batch is dealt out to devices.
        boxes: boxes of a clip.
        features: features of a box.
        rate: less than 1.
        seed: of the run.
        epoch: counted from 0.

    Returns:
        float32 (n, boxes, features).
    """
    kept = np.empty((len(keys), boxes, features), np.float32)
    for clip, (video, second) in zip(kept, keys, strict=True):
        rng = np.random.Generator(np.random.PCG64([seed, epoch, int(video), int(second)]))
        clip[:] = rng.random(clip.shape, np.float32) >= rate
    return kept / np.float32(1.0 - rate)
