"""The table of labeled boxes that the metric works on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from src.ava.rows import MAX_SECOND, SECOND_DECIMALS


@dataclass(frozen=True)
class BoxTable:
    """Boxes on key frames, and rows that give them a class: ground truth, or detections with scores.

    A person's box usually stands in many rows, one for each class. It is kept once here, which makes the table a
    fifth of the size and spares the metric the same overlap sixty times. Nothing depends on it: a box may also be
    there several times.

    Attributes:
        video_names: names that `video` counts in.
        video: (boxes,) int32, index into `video_names`.
        second: (boxes,) float64, the key frame's second in its video, rounded to six decimals.
        boxes_norm: (boxes, 4) float64, x1 y1 x2 y2 in [0, 1].
        row_box: (rows,) int32, index of the row's box, never decreasing: rows and boxes are both in file order.
        row_class: (rows,) int16, class id from 1.
        row_score: (rows,) float32 or float64; None in ground truth.
        empty_frames: key frames (video name, second) that are known to have no boxes, as AVA-Kinetics lists them.
    """

    video_names: tuple[str, ...]
    video: np.ndarray
    second: np.ndarray
    boxes_norm: np.ndarray
    row_box: np.ndarray
    row_class: np.ndarray
    row_score: np.ndarray | None = None
    empty_frames: frozenset[tuple[str, float]] = frozenset()

    @property
    def num_rows(self) -> int:
        return len(self.row_box)


def frame_keys(*tables: BoxTable) -> list[np.ndarray]:
    """Number the frames of several tables alike: for each (boxes,) int64, equal where video name and second are."""
    names = dict.fromkeys(name for table in tables for name in table.video_names)
    number = {name: index for index, name in enumerate(names)}
    return [
        _keys(np.array([number[name] for name in table.video_names], dtype=np.int64)[table.video], table.second)
        for table in tables
    ]


def _keys(video: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Numbers that are equal where video and second (up to `MAX_SECOND`, to six decimals) are."""
    microseconds = np.rint(np.asarray(second, np.float64) * 10**SECOND_DECIMALS).astype(np.int64)
    return video.astype(np.int64) * ((MAX_SECOND + 1) * 10**SECOND_DECIMALS) + microseconds


def kept_frames(
    video_names: Sequence[str],
    video: np.ndarray,
    second: np.ndarray,
    excluded: Collection[tuple[str, float]] = (),
    seconds: Collection[float] | None = None,
) -> np.ndarray:
    """Which frames count: (n,) bool.

    Args:
        video_names: names that `video` counts in.
        video: (n,) integers.
        second: (n,) numbers.
        excluded: frames (video name, second) that do not count.
        seconds: if given, only frames of these seconds count.
    """
    kept = ~_listed(video_names, video, second, excluded)
    if seconds is not None:
        kept &= np.isin(second, np.fromiter(seconds, dtype=np.float64))
    return kept


def _listed(
    video_names: Sequence[str], video: np.ndarray, second: np.ndarray, frames: Collection[tuple[str, float]]
) -> np.ndarray:
    number = {name: index for index, name in enumerate(video_names)}
    keys = [(number[name], at) for name, at in frames if name in number]
    return np.isin(_keys(video, second), _keys(*np.array(keys).T)) if keys else np.zeros(len(video), dtype=bool)


def in_frames(table: BoxTable, frames: Collection[tuple[str, float]]) -> np.ndarray:
    """Which boxes stand on frames (video name, second) of a list: (boxes,) bool."""
    return _listed(table.video_names, table.video, table.second, frames)


def kept_boxes(
    table: BoxTable, excluded: Collection[tuple[str, float]] = (), seconds: Collection[float] | None = None
) -> np.ndarray:
    """Which boxes stand on frames that count: (boxes,) bool; see `kept_frames`."""
    return kept_frames(table.video_names, table.video, table.second, excluded, seconds)


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
    excluded: Collection[tuple[str, float]] = (),
    seconds: Collection[float] | None = None,
) -> BoxTable:
    """The rows that count: of the classes `ids`, not on an excluded frame, of the given seconds."""
    rows = np.flatnonzero(class_index(table, kept_boxes(table, excluded, seconds), ids) < len(ids))
    score = None if table.row_score is None else table.row_score[rows]
    return replace(table, row_box=table.row_box[rows], row_class=table.row_class[rows], row_score=score)
