"""Scores of actions weighted by how sure the detector is of the person: score = p_action * p_person."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from src.ava.box_table import BoxTable, frame_keys

# So many decimals of corners are kept of a box that is scored, see `AvaEvaluator.process`.
_DECIMALS = 7


def times_person_scores(detections: BoxTable, persons: Sequence[BoxTable]) -> BoxTable:
    """Multiply each score by that of its person's box.

    Args:
        detections: scores of actions, on boxes of `persons`.
        persons: detected persons with scores; where a box stands several times, its highest score counts.

    Returns:
        The same rows with other scores, float64.

    Raises:
        ValueError: a box of `detections` is in none of `persons`.
    """
    frames = frame_keys(detections, *persons)
    boxes = [np.round(table.boxes_norm, _DECIMALS) for table in (detections, *persons)]
    # Boxes are numbered alike in all tables by frame and corners.
    rows = np.concatenate([np.column_stack([frame, corners]) for frame, corners in zip(frames, boxes, strict=True)])
    _, number = np.unique(rows, axis=0, return_inverse=True)
    number = number.reshape(-1)
    score = np.full(number.max(initial=-1) + 1, -np.inf)
    first = len(detections.boxes_norm)
    for table in persons:
        of_box = number[first : first + len(table.boxes_norm)]
        np.maximum.at(score, of_box[table.row_box], table.row_score)
        first += len(table.boxes_norm)
    of_person = score[number[: len(detections.boxes_norm)]]
    if not np.isfinite(of_person).all():
        raise ValueError("a box that was scored is in none of the lists of persons")
    return replace(detections, row_score=detections.row_score * of_person[detections.row_box])
