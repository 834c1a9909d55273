"""The table of labelled boxes that the metric works on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class BoxTable:
    """Boxes on key frames, and rows that give them a class: ground truth, or detections with scores.

    A person's box usually stands in many rows, one for each class. It is kept once here, which makes the table a
    fifth of the size and spares the metric the same overlap sixty times. Nothing depends on it: a box may also be
    there several times.

    Attributes:
        video_names: Names that `video` counts in.
        video: (boxes,) int32, index into `video_names`.
        second: (boxes,) int32, the key frame's second in its video.
        boxes_norm: (boxes, 4) float64, x1 y1 x2 y2 in [0, 1].
        row_box: (rows,) int32, index of the row's box, never decreasing: rows and boxes are both in file order.
        row_class: (rows,) int16, class id from 1.
        row_score: (rows,) float32 or float64; None in ground truth.
    """

    video_names: tuple[str, ...]
    video: np.ndarray
    second: np.ndarray
    boxes_norm: np.ndarray
    row_box: np.ndarray
    row_class: np.ndarray
    row_score: np.ndarray | None = None

    @property
    def num_rows(self) -> int:
        return len(self.row_box)

    def frame_keys(self, video_index: dict[str, int]) -> np.ndarray:
        """Number the boxes' frames: (boxes,) int64, equal exactly where video and second are.

        Args:
            video_index: A number for every video name, the same in all tables that are compared.
        """
        number = np.array([video_index[name] for name in self.video_names], dtype=np.int64)
        return (number[self.video] << 32) + self.second if len(self.video) else np.empty(0, dtype=np.int64)


def frame_keys(*tables: BoxTable) -> list[np.ndarray]:
    """Number the frames of several tables alike; see `BoxTable.frame_keys`."""
    names = dict.fromkeys(name for table in tables for name in table.video_names)
    video_index = {name: index for index, name in enumerate(names)}
    return [table.frame_keys(video_index) for table in tables]


def kept_boxes(table: BoxTable, excluded: Collection[tuple[str, int]], seconds: Collection[int] | None) -> np.ndarray:
    """Which boxes stand on frames that count: (boxes,) bool."""
    number = {name: index for index, name in enumerate(table.video_names)}
    keys = table.frame_keys(number)
    kept = np.ones(len(keys), dtype=bool)
    banned = [(number[name] << 32) + second for name, second in excluded if name in number]
    if banned:
        kept &= ~np.isin(keys, np.array(banned, dtype=np.int64))
    if seconds is not None:
        kept &= np.isin(table.second, np.fromiter(seconds, dtype=np.int64))
    return kept


def class_index(table: BoxTable, kept: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """Position of each row's class in `ids`: (rows,) unsigned; len(ids) for rows that do not count.

    The type is as narrow as can be: NumPy sorts integers of 8 and 16 bits in linear time.
    """
    dtype = np.uint8 if len(ids) < 255 else np.uint16
    position = np.full(1 << 16, len(ids), dtype=dtype)
    position[np.array(ids, dtype=np.int64)] = np.arange(len(ids), dtype=dtype)
    index = position[table.row_class.view(np.uint16)]
    if not kept.all():
        index[~kept[table.row_box]] = len(ids)
    return index


def select_rows(
    table: BoxTable,
    ids: Sequence[int],
    excluded: Collection[tuple[str, int]] = (),
    seconds: Collection[int] | None = None,
) -> BoxTable:
    """The rows that count: of the classes `ids`, not on an excluded frame, of the given seconds."""
    rows = np.flatnonzero(class_index(table, kept_boxes(table, excluded, seconds), ids) < len(ids))
    score = None if table.row_score is None else table.row_score[rows]
    return replace(table, row_box=table.row_box[rows], row_class=table.row_class[rows], row_score=score)
