"""From scores at key frames to actions with a beginning and an end."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from src.predict.parts import KeyFrame
from src.predict.tracker import SAME_STRETCH

# A running action goes on above this share of the score that it takes to begin one.
_HYSTERESIS = 0.75
# Weights of the key frame before, the key frame, and the one behind.
_SMOOTHING = (0.25, 0.5, 0.25)
# AVA's classes 1 to 14 are poses, of which a person has one at a time; two of their names tell AVA's label map.
_POSES = range(1, 15)
_AVA_NAMES = {1: "bend/bow (at the waist)", 14: "walk"}


@dataclass(frozen=True)
class Action:
    """What a person does for some time.

    Attributes:
        track: the person.
        class_id: from 1.
        start: seconds.
        end: seconds.
        score: the mean over its key frames.
    """

    track: int
    class_id: int
    start: float
    end: float
    score: float


@dataclass(frozen=True)
class Rules:
    """What makes an action.

    Attributes:
        labels: class name by id.
        threshold: the score that it takes to begin.
        top: how many classes a person has at most at a time.
        every: seconds from key frame to key frame.
        end: the last second that is looked at.
        start: the first.
    """

    labels: dict[int, str]
    threshold: float
    top: int
    every: float
    end: float
    start: float = 0.0


def find_actions(key_frames: list[KeyFrame], rules: Rules) -> list[Action]:
    """Return the actions of all persons, by person, beginning and class."""
    rows: dict[int, list[tuple[float, np.ndarray]]] = defaultdict(list)
    for frame in key_frames:
        for track, scores in zip(frame.tracks.tolist(), frame.scores, strict=True):
            rows[track].append((frame.time, scores))
    actions = []
    for track, visible in rows.items():
        for stretch in _stretches(visible, rules.every):
            times = [time for time, _ in stretch]
            scores = shown_scores(_smoothed(np.stack([scores for _, scores in stretch])), rules)
            for class_id in rules.labels:
                for first, last in _runs(scores[:, class_id - 1], rules.threshold):
                    start, end = _moments(times[first], times[last], rules)
                    mean = float(scores[first : last + 1, class_id - 1].mean())
                    actions.append(Action(track, class_id, start, end, mean))
    return sorted(actions, key=lambda action: (action.track, action.start, action.class_id))


def shown_scores(scores: np.ndarray, rules: Rules) -> np.ndarray:
    """Return scores (n, classes) with zeros where a class does not count.

    That is a class without a name, all poses but the best, and what is not among the best `rules.top`.
    """
    shown = np.zeros_like(scores)
    named = np.array([class_id - 1 for class_id in rules.labels if class_id <= scores.shape[1]], np.int64)
    shown[:, named] = scores[:, named]
    if all(rules.labels.get(class_id) == name for class_id, name in _AVA_NAMES.items()):
        poses = np.array([class_id - 1 for class_id in _POSES])
        best = np.argmax(shown[:, poses], axis=1)
        kept = shown[np.arange(len(shown)), poses[best]]
        shown[:, poses] = 0
        shown[np.arange(len(shown)), poses[best]] = kept
    order = np.argsort(-shown, axis=1, kind="stable")
    np.put_along_axis(shown, order[:, rules.top :], 0, axis=1)
    return shown


def _stretches(visible: list[tuple[float, np.ndarray]], every: float) -> list[list[tuple[float, np.ndarray]]]:
    """Cut a person's key frames where one is missing."""
    stretches: list[list] = []
    for entry in visible:
        if not stretches or entry[0] - stretches[-1][-1][0] > SAME_STRETCH * every:
            stretches.append([])
        stretches[-1].append(entry)
    return stretches


def _smoothed(scores: np.ndarray) -> np.ndarray:
    """Return each key frame's scores averaged with its neighbors'; the ends are their own neighbors."""
    padded = np.concatenate([scores[:1], scores, scores[-1:]]).astype(np.float64)
    return sum(weight * padded[shift : shift + len(scores)] for shift, weight in enumerate(_SMOOTHING))


def _runs(scores: np.ndarray, threshold: float) -> list[tuple[int, int]]:
    """Return first and last index of each run that reaches the threshold and stays above a share of it."""
    runs, start, reached = [], None, False
    for index, score in enumerate([*scores, -1.0]):
        if score > 0 and score >= threshold * _HYSTERESIS:
            start = index if start is None else start
            reached |= score >= threshold
            continue
        if start is not None and reached:
            runs.append((start, index - 1))
        start, reached = None, False
    return runs


def _moments(first: float, last: float, rules: Rules) -> tuple[float, float]:
    """Return beginning and end of what is seen from one key frame to another: each stands for the time around it."""
    half = rules.every / 2
    return round(max(rules.start, first - half), 3), round(min(rules.end, last + half), 3)
