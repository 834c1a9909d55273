"""mmaction2's proposals, which it publishes as pickles, in AVA's columns."""

from pathlib import Path

import numpy as np

from src.ava.box_csv import write_boxes
from src.ava.box_table import BoxTable
from src.ava.rows import NO_ACTION
from src.datasets.prepare.box import Classes
from src.datasets.prepare.boxes import read_boxes
from src.utils.errors import UserError

# Of PySlowFast and of mmaction2.
_THRESHOLDS = (0.8, 0.9)


def convert_proposals(path: Path, out: Path) -> None:
    """Write the boxes of a pickle of proposals, which is not executed, as a list that AVA.*_PREDICT_BOX_LISTS can name.

    Raises:
        UserError: the pickle is none of proposals, or `out` is there already.
    """
    if path.suffix.lower() != ".pkl":
        raise UserError(f"{path}: expected mmaction2's proposals (.pkl)")
    if out.exists():
        raise UserError(f"{out}: is there already; choose another file")
    boxes = read_boxes(path, Classes({}))[path]
    names = list(dict.fromkeys(box.video for box in boxes))
    number = {name: index for index, name in enumerate(names)}
    score = np.array([float(box.score) for box in boxes])
    table = BoxTable(
        video_names=tuple(names),
        video=np.array([number[box.video] for box in boxes], np.int32),
        second=np.array([box.second for box in boxes], np.float64),
        boxes_norm=np.array([box.corners for box in boxes], np.float64),
        row_box=np.arange(len(boxes), dtype=np.int32),
        row_class=np.full(len(boxes), NO_ACTION, np.int16),
        row_score=score,
    )
    write_boxes(out, table)
    frames = np.unique(np.column_stack([table.video, table.second]), axis=0)
    sure = ", ".join(f"{(score >= threshold).sum()} with a score of at least {threshold}" for threshold in _THRESHOLDS)
    print(f"proposals: {len(boxes)} boxes of {len(frames)} key frames of {len(names)} videos, {sure}: {out}")
