"""Tables of boxes for tests."""

import numpy as np

from src.ava.box_table import BoxTable

LABELS = {1: "stand", 3: "walk", 7: "run"}
LEFT, RIGHT = (0.0, 0.0, 0.4, 0.4), (0.5, 0.5, 0.9, 0.9)


def table(rows: list[tuple], scored: bool = False) -> BoxTable:
    """A table of rows (video, second, x1, y1, x2, y2, class id[, score]), each with a box of its own."""
    names = list(dict.fromkeys(row[0] for row in rows))
    return BoxTable(
        video_names=tuple(names),
        video=np.array([names.index(row[0]) for row in rows], dtype=np.int32),
        second=np.array([row[1] for row in rows], dtype=np.float64),
        boxes_norm=np.array([row[2:6] for row in rows], dtype=np.float64).reshape(-1, 4),
        row_box=np.arange(len(rows), dtype=np.int32),
        row_class=np.array([row[6] for row in rows], dtype=np.int16),
        row_score=np.array([row[7] for row in rows], dtype=np.float64) if scored else None,
    )
