"""The key frames of a split, from box lists, as compact NumPy tables that worker processes share without a copy."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from src.ava.box_csv import read_boxes
from src.ava.box_table import BoxTable, frame_keys
from src.ava.rows import NO_ACTION, RowRule
from src.utils.cache import cached_arrays
from src.utils.errors import UserError

# More than there are classes: a box and a label make one number.
_LABEL_SPAN = 1 << 16
# A larger share of rows below the score threshold is worth a word.
_FEW_LEFT_OUT = 0.1
# Seconds have six decimal places, and are multiplied by some hundred frames at most.
_FRAME_DECIMALS = 3


@dataclass(frozen=True)
class KeyFrames:
    """Key frames with their boxes, in the order of videos and seconds.

    Key frame i has the boxes `box_start[i]:box_start[i + 1]`, in the order of the lists; box j has the labels
    `label_start[j]:label_start[j + 1]`.

    Attributes:
        video: int32 (key frames,), index of the video.
        second: float64 (key frames,).
        box_start: int64 (key frames + 1,).
        boxes_norm: float64 (boxes, 4).
        label_start: int64 (boxes + 1,).
        labels: int16 (labels,), class indices from 0.
        left_out: lines that say what was left out of which list: rows of videos that are not known, and many rows
            below the score threshold.
    """

    video: np.ndarray
    second: np.ndarray
    box_start: np.ndarray
    boxes_norm: np.ndarray
    label_start: np.ndarray
    labels: np.ndarray
    left_out: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.video)

    @property
    def max_boxes(self) -> int:
        """The largest number of boxes in one key frame."""
        return int(np.diff(self.box_start).max(initial=0))

    def boxes(self, index: int) -> np.ndarray:
        """Return the boxes of key frame `index`: float64 (boxes, 4), normalized."""
        return self.boxes_norm[self.box_start[index] : self.box_start[index + 1]]

    def multi_hot(self, index: int, num_classes: int) -> np.ndarray:
        """Return the labels of key frame `index`: float32 (boxes, num_classes) of zeros and ones."""
        first, last = self.box_start[index], self.box_start[index + 1]
        labels = self.labels[self.label_start[first] : self.label_start[last]]
        result = np.zeros((last - first, num_classes), np.float32)
        result[np.repeat(np.arange(last - first), np.diff(self.label_start[first : last + 1])), labels] = 1.0
        return result

    def class_counts(self, num_classes: int) -> np.ndarray:
        """Return how many boxes have each class: int64 (num_classes,)."""
        return np.bincount(self.labels, minlength=num_classes)


def frame_of(second: float | np.ndarray, first_second: int, fps: int) -> np.ndarray:
    """Return which frame key frames are: int64, from 0; halves count up, as where frames are extracted.

    Args:
        second: of the key frames, as lists have them.
        first_second: the second of a video's first frame.
        fps: frames a second.
    """
    # Seconds are decimals, and differences of floats: what is a half but for that is one.
    return np.floor(np.round((second - first_second) * fps, _FRAME_DECIMALS) + 0.5).astype(np.int64)


def load_key_frames(
    truth_lists: Sequence[str | os.PathLike],
    predicted_lists: Sequence[str | os.PathLike],
    names: Sequence[str],
    *,
    num_classes: int,
    score_threshold: float,
    valid_seconds: tuple[int, int],
    second_stride: int = 1,
    keep_best: bool = False,
) -> KeyFrames:
    """Load box lists.

    The same box in several rows is one box with several labels; class -1 or none is a person without an action.
    Rows of videos that are not among `names` are left out, see `KeyFrames.left_out`.

    Args:
        truth_lists: files whose rows all count.
        predicted_lists: files of which the rows with at least `score_threshold` in the last column count.
        names: the videos; rows name them, tables hold their index.
        num_classes: the largest class id.
        score_threshold: minimum score of a predicted box.
        valid_seconds: first and last second that count.
        second_stride: above 1, only seconds divisible by it count.
        keep_best: of a key frame whose predicted boxes all score below the threshold, the best counts.

    Raises:
        UserError: naming file and row, for a row that breaks the rule of `src.ava.rows`; naming the file, for one that
            cannot be read or names no video of `names`.
    """
    paths = [Path(path) for path in (*truth_lists, *predicted_lists)]
    settings = (tuple(names), len(truth_lists), num_classes, score_threshold, valid_seconds, second_stride, keep_best)

    def build() -> dict[str, np.ndarray]:
        videos = {name: index for index, name in enumerate(names)}
        parts, left_out = [_NO_BOXES], []
        for number, path in enumerate(paths):
            scored = number >= len(truth_lists)
            table = read_boxes(path, RowRule(scored, normalized=True, num_classes=num_classes))
            index = np.array([videos.get(name, -1) for name in table.video_names], np.int64)
            video = index[table.video]
            unknown = {name for name in table.video_names if name not in videos}
            if len(unknown) == len(table.video_names):
                raise UserError(f"{path}: names no video of the dataset, but {_some(unknown) or 'none at all'}")
            if unknown:
                left_out.append(f"{path}: left out the rows of {len(unknown)} unknown videos: {_some(unknown)}")
            low, high = valid_seconds
            second = table.second
            counts = (video >= 0) & (second >= low) & (second <= high)
            if second_stride > 1:
                counts &= second % second_stride == 0
            rows = counts[table.row_box]
            if scored:
                low_score = table.row_score < score_threshold
                if keep_best:
                    low_score &= ~_is_best(table)
                rows &= ~low_score
                if low_score.sum() > len(low_score) * _FEW_LEFT_OUT:
                    left_out.append(
                        f"{path}: left out {low_score.sum()} of {len(low_score)} rows, whose score is below "
                        f"{score_threshold:g} (AVA.DETECTION_SCORE_THRESH)"
                    )
            parts.append(_boxes_of_rows(table, video, rows))
        return _group(parts) | {"left_out": np.array(left_out, np.str_)}

    tables = cached_arrays(paths, settings, build, fields=[field.name for field in fields(KeyFrames)])
    return KeyFrames(**tables | {"left_out": tuple(tables["left_out"].tolist())})


def group_table(table: BoxTable, names: Sequence[str]) -> KeyFrames:
    """Return the key frames of boxes that all count, for a dataset that does not keep them in lists.

    Args:
        table: boxes with classes, or with class -1 for none.
        names: the videos; boxes of others are left out.
    """
    videos = {name: index for index, name in enumerate(names)}
    video = np.array([videos.get(name, -1) for name in table.video_names], np.int64)[table.video]
    return KeyFrames(**_group([_NO_BOXES, _boxes_of_rows(table, video, video[table.row_box] >= 0)]), left_out=())


def _is_best(table: BoxTable) -> np.ndarray:
    """Which rows have the highest score of their key frame: bool (rows,)."""
    (keys,) = frame_keys(table)
    _, frame = np.unique(keys, return_inverse=True)
    of_row = frame[table.row_box]
    best = np.full(of_row.max(initial=-1) + 1, -np.inf)
    np.maximum.at(best, of_row, table.row_score)
    return table.row_score == best[of_row]


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")


_NO_BOXES = np.empty((0, 6)), np.empty(0, np.int64), np.empty(0, np.int64)


def _boxes_of_rows(table: BoxTable, video: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take some rows of a table.

    Args:
        table: boxes and their classes.
        video: int64 (boxes,), which video of the dataset each box is of.
        rows: bool (rows,), which to take.

    Returns:
        The boxes of these rows, float64 (boxes, 6) of video, second and corners; for each label the index of its box,
        and the class id.
    """
    used, box = np.unique(table.row_box[rows], return_inverse=True)
    boxes = np.column_stack([video[used], table.second[used], table.boxes_norm[used]])
    class_id = table.row_class[rows].astype(np.int64)
    return boxes, box[class_id != NO_ACTION], class_id[class_id != NO_ACTION]


def _group(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Join what `_boxes_of_rows` returned, in the order of the lists, into the tables of `KeyFrames`."""
    offsets = np.cumsum([0] + [len(boxes) for boxes, _, _ in parts])
    box_of_label = np.concatenate([box + offset for (_, box, _), offset in zip(parts, offsets, strict=False)])
    labels = np.concatenate([label for _, _, label in parts]) - 1
    rows = np.concatenate([boxes for boxes, _, _ in parts])
    # Equal boxes of a key frame side by side; lexsort is stable, so the first of them is the earliest.
    order = np.lexsort(rows[:, ::-1].T)
    fresh = np.ones(len(rows), bool)
    fresh[1:] = (rows[order[1:]] != rows[order[:-1]]).any(axis=1)
    earliest = order[fresh]
    # Boxes of a key frame in the order of the lists.
    rank = np.lexsort((earliest, rows[earliest, 1], rows[earliest, 0]))
    boxes = rows[earliest[rank]]
    place = np.empty(len(rows), np.int64)
    place[order] = np.argsort(rank)[np.cumsum(fresh) - 1]
    # A label that stands twice counts once; sorted by box, then class.
    pairs = np.sort(place[box_of_label] * _LABEL_SPAN + labels)
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    new_key = np.ones(len(boxes), bool)
    new_key[1:] = (boxes[1:, :2] != boxes[:-1, :2]).any(axis=1)
    return {
        "video": boxes[new_key, 0].astype(np.int32),
        "second": boxes[new_key, 1].copy(),
        "box_start": np.append(np.flatnonzero(new_key), len(boxes)),
        "boxes_norm": np.ascontiguousarray(boxes[:, 2:]),
        "label_start": np.searchsorted(pairs, np.arange(len(boxes) + 1) * _LABEL_SPAN),
        "labels": (pairs % _LABEL_SPAN).astype(np.int16),
    }
