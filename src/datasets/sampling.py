"""Which key frames an epoch of training has, and in which order: TRAIN.SAMPLING."""

import numpy as np

from src.datasets.key_frames import KeyFrames


def epoch_order(
    key_frames: KeyFrames, sampling: str, threshold: float, seed: int, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the key frames of an epoch, as a function of seed and epoch.

    Args:
        key_frames: of the training split.
        sampling: `uniform`: each once. `repeat`: each as often as `repeat_factors` says, rounded up or down by chance
            so that their number stays. `balanced`: as many as there are, each drawn by a class, all classes alike, and
            then one of its key frames; key frames without a label do not come.
        threshold: for `repeat`.
        seed: of the run.
        epoch: counted from 0.

    Returns:
        Their indices, int64, and which copy of a key frame within the epoch each is, from 0.
    """
    rng = np.random.Generator(np.random.PCG64([seed, epoch]))
    if sampling == "uniform":
        return rng.permutation(len(key_frames)), np.zeros(len(key_frames), np.int64)
    if sampling == "repeat":
        # Points of equal distance on the sum of the factors, from a random one on.
        reached = np.cumsum(repeat_factors(key_frames, threshold))
        count = round(reached[-1])
        points = (np.arange(count) + rng.random()) * (reached[-1] / count)
        chosen = np.minimum(np.searchsorted(reached, points, side="right"), len(key_frames) - 1)
    else:
        frame, label = _labels_of_frames(key_frames)
        order = np.argsort(label, kind="stable")
        _, first, counts = np.unique(label[order], return_index=True, return_counts=True)
        drawn = rng.integers(0, len(counts), len(key_frames))
        chosen = frame[order[first[drawn] + rng.integers(0, counts[drawn])]]
    chosen = rng.permutation(chosen)
    return chosen, _copies(chosen)


def repeat_factors(key_frames: KeyFrames, threshold: float) -> np.ndarray:
    """Return how often each key frame is to come: float64, 1 or more (Gupta, Dollar and Girshick 2019, LVIS).

    It is the largest of max(1, sqrt(threshold / share)) over its classes, `share` being that of the key frames with
    the class.
    """
    frame, label = _labels_of_frames(key_frames)
    share = np.bincount(label) / len(key_frames)
    factors = np.ones(len(key_frames))
    np.maximum.at(factors, frame, np.sqrt(threshold / share[label]))
    return factors


def _labels_of_frames(key_frames: KeyFrames) -> tuple[np.ndarray, np.ndarray]:
    """Return key frame and class of each pair of them that there is, once."""
    frame_of_box = np.repeat(np.arange(len(key_frames)), np.diff(key_frames.box_start))
    frame_of_label = np.repeat(frame_of_box, np.diff(key_frames.label_start))
    pairs = np.unique(np.stack([frame_of_label, key_frames.labels.astype(np.int64)]), axis=1)
    return pairs[0], pairs[1]


def _copies(chosen: np.ndarray) -> np.ndarray:
    """Return for each entry how many equal ones stand before it."""
    order = np.argsort(chosen, kind="stable")
    _, first, counts = np.unique(chosen[order], return_index=True, return_counts=True)
    copies = np.empty(len(chosen), np.int64)
    copies[order] = np.arange(len(chosen)) - np.repeat(first, counts)
    return copies
