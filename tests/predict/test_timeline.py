"""Actions from scores: hysteresis, one pose a person, the best few."""

import numpy as np

from src.predict.parts import KeyFrame
from src.predict.timeline import Rules, find_actions, shown_scores

LABELS = {1: "run", 2: "jump"}


def key_frames(*scores: float) -> list[KeyFrame]:
    return [
        KeyFrame(float(time), np.array([7]), np.zeros((1, 4)), np.ones(1), np.array([[score, 0]], np.float32))
        for time, score in enumerate(scores)
    ]


def test_an_action_begins_at_the_threshold_and_goes_on_above_three_quarters_of_it() -> None:
    rules = Rules(LABELS, threshold=0.4, top=5, every=1.0, end=5.0)
    actions = find_actions(key_frames(0.9, 0.9, 0.32, 0, 0), rules)
    # Smoothed: 0.9, 0.755, 0.385, 0.08, 0; the third is below the threshold and above 0.3.
    assert [(action.track, action.class_id, action.start, action.end) for action in actions] == [(7, 1, 0.0, 2.5)]
    assert abs(actions[0].score - 0.68) < 1e-6


def test_what_never_reaches_the_threshold_is_no_action() -> None:
    assert find_actions(key_frames(0.39, 0.39, 0.39), Rules(LABELS, 0.4, 5, 1.0, 3.0)) == []


def test_of_ava_poses_the_best_remains() -> None:
    labels = {1: "bend/bow (at the waist)", 12: "stand", 14: "walk", 17: "carry/hold (an object)"}
    scores = np.zeros((1, 80), np.float32)
    scores[0, [0, 11, 13, 16]] = 0.5, 0.9, 0.6, 0.4
    shown = shown_scores(scores, Rules(labels, 0.3, 5, 1.0, 1.0))
    assert np.flatnonzero(shown[0]).tolist() == [11, 16]


def test_a_person_has_only_the_best_classes() -> None:
    shown = shown_scores(np.array([[0.2, 0.3]], np.float32), Rules(LABELS, 0.1, 1, 1.0, 1.0))
    assert np.flatnonzero(shown[0]).tolist() == [1]
