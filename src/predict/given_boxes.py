"""Boxes that the user brings instead of a detector, in AVA's columns."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from src.ava.box_csv import read_rows
from src.ava.rows import BoxRow, RowRule
from src.utils.errors import UserError

KeyFrameBoxes = dict[float, tuple[np.ndarray, np.ndarray]]
"""Boxes, normalized (n, 4), and their scores (n,), by second."""


def read_given_boxes(path: Path) -> dict[str, KeyFrameBoxes]:
    """Read boxes by the rule of `src.ava.rows`; classes are not used, and the last column only if it is a score.

    A box that stands in several rows, one for each class, counts once. A key frame without boxes counts too.

    Returns:
        Boxes by video (file name without suffix) and second, counted from the video's start, rising.

    Raises:
        UserError: the file cannot be read, or a row is not as expected.
    """
    videos: dict[str, dict[float, dict[tuple[float, ...], float]]] = defaultdict(lambda: defaultdict(dict))
    rule = RowRule(scored=False, normalized=True)
    for _, row in read_rows(path, rule):
        boxes = videos[row.video][row.second]
        if isinstance(row, BoxRow):
            boxes.setdefault(row.corners, _score(row.last))
    if not videos:
        raise UserError(f"{path}: the file is empty, expected rows of {rule.columns}")
    return {
        name: {
            second: (np.array(list(rows)).reshape(-1, 4), np.array(list(rows.values()), np.float64))
            for second, rows in sorted(boxes.items())
        }
        for name, boxes in videos.items()
    }


def _score(last: str) -> float:
    """Return the score that the last column gives; it may also be a person's number, or nothing."""
    try:
        score = float(last)
    except ValueError:
        return 1.0
    return score if 0 < score <= 1 else 1.0
