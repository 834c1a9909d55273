"""Boxes that the user brings instead of a detector, in AVA's columns."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from src.utils.errors import UserError

KeyFrameBoxes = dict[float, tuple[np.ndarray, np.ndarray]]
"""Boxes, normalized (n, 4), and their scores (n,), by second."""


def read_given_boxes(path: Path) -> dict[str, KeyFrameBoxes]:
    """Read video, second, x1, y1, x2, y2[, class, score or person]; more columns are not used but for a score.

    A box that stands in several rows, one for each class, counts once. Seconds may have fractions; they count from the
    video's start. (The package's reader of such files needs pyarrow, which is half as large as all that predict needs.)

    Returns:
        Boxes by video (file name without suffix) and second.

    Raises:
        UserError: the file cannot be read, or a row is not as expected.
    """
    videos: dict[str, dict[float, dict[tuple[float, ...], float]]] = defaultdict(lambda: defaultdict(dict))
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            for cells in filter(None, reader):
                where = f"{path}: row {reader.line_num}"
                if len(cells) < 6:
                    raise UserError(f"{where}: {len(cells)} columns, expected video, second, x1, y1, x2, y2")
                try:
                    second, *box = map(float, cells[1:6])
                    last = float(cells[7]) if len(cells) > 7 else 1.0
                except ValueError as error:
                    raise UserError(f"{where}: {error}, expected numbers") from error
                if not (second >= 0 and 0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
                    raise UserError(
                        f"{where}: second {cells[1]}, box {', '.join(cells[2:6])}; expected a second of at least 0 and "
                        "0 <= x1 < x2 <= 1, 0 <= y1 < y2 <= 1"
                    )
                # The last column is a score, or a person's number.
                videos[cells[0]][second].setdefault(tuple(box), last if 0 < last <= 1 else 1.0)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the boxes: {error}") from error
    if not videos:
        raise UserError(f"{path}: the file is empty, expected rows of video, second, x1, y1, x2, y2")
    return {
        name: {second: (np.array(list(rows)), np.array(list(rows.values()))) for second, rows in sorted(boxes.items())}
        for name, boxes in videos.items()
    }
