"""The key frames of a split, from box lists, as compact NumPy tables that worker processes share without a copy."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import csv as arrow_csv

from src.utils.cache import cached_arrays
from src.utils.errors import UserError

_BLOCK_BYTES = 1 << 23
# How far outside of the frame a coordinate may lie (a detector's rounding); beyond it the list is in other units.
_COORDINATE_SLACK = 0.01
_COLUMNS = ("video", "second", "x1", "y1", "x2", "y2", "class")
# More than there are classes: a box and a label make one number.
_LABEL_SPAN = 1 << 16


@dataclass(frozen=True)
class KeyFrames:
    """Key frames with their boxes, in the order of videos and seconds.

    Key frame i has the boxes `box_start[i]:box_start[i + 1]`, in the order of the lists; box j has the labels
    `label_start[j]:label_start[j + 1]`.

    Attributes:
        video: int32 (key frames,), index of the video.
        second: int32 (key frames,).
        box_start: int64 (key frames + 1,).
        boxes_norm: float64 (boxes, 4).
        label_start: int64 (boxes + 1,).
        labels: int16 (labels,), class indices from 0.
        left_out: for each list with rows of videos that are not known, a line that says so.
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
        """Return the boxes of key frame `index`: float64 (boxes, 4), normalised."""
        return self.boxes_norm[self.box_start[index] : self.box_start[index + 1]]

    def multi_hot(self, index: int, num_classes: int) -> np.ndarray:
        """Return the labels of key frame `index`: float32 (boxes, num_classes) of zeros and ones."""
        first, last = self.box_start[index], self.box_start[index + 1]
        labels = self.labels[self.label_start[first] : self.label_start[last]]
        result = np.zeros((last - first, num_classes), np.float32)
        result[np.repeat(np.arange(last - first), np.diff(self.label_start[first : last + 1])), labels] = 1.0
        return result


def load_key_frames(
    truth_lists: Sequence[str | os.PathLike],
    predicted_lists: Sequence[str | os.PathLike],
    names: Sequence[str],
    *,
    num_classes: int,
    score_threshold: float,
    valid_seconds: tuple[int, int],
    second_stride: int = 1,
) -> KeyFrames:
    """Load box lists: rows of video,second,x1,y1,x2,y2,class,person-or-score without a header.

    The same box in several rows is one box with several labels; class -1 or none is a person without an action.
    Rows of videos that are not among `names` are left out, see `KeyFrames.left_out`.

    Args:
        truth_lists: files whose rows all count.
        predicted_lists: files of which the rows with at least `score_threshold` in the last column count.
        names: the videos; rows name them, tables hold their index.
        num_classes: the largest class id.
        score_threshold: least score of a predicted box.
        valid_seconds: first and last second that count.
        second_stride: only seconds divisible by it count.

    Raises:
        UserError: naming file and row, for a row of another number of columns, a value that is no number or out of
            range, x2 < x1 or y2 < y1; naming the file, for one that cannot be read or names no video of `names`.
    """
    paths = [Path(path) for path in (*truth_lists, *predicted_lists)]
    settings = (tuple(names), len(truth_lists), num_classes, score_threshold, valid_seconds, second_stride)

    def build() -> dict[str, np.ndarray]:
        videos = {name: index for index, name in enumerate(names)}
        parts, left_out = [_no_rows()], []
        for number, path in enumerate(paths):
            threshold = None if number < len(truth_lists) else score_threshold
            unknown: set[str] = set()
            for rows in _rows_that_count(path, videos, num_classes, threshold, unknown):
                second = rows[:, 1]
                valid = (second >= valid_seconds[0]) & (second <= valid_seconds[1]) & (second % second_stride == 0)
                parts.append(_merge_runs(rows[valid]))
            if unknown:
                left_out.append(f"{path}: left out the rows of {len(unknown)} unknown videos: {_some(unknown)}")
        return _group(parts) | {"left_out": np.array(left_out, np.str_)}

    tables = cached_arrays(paths, settings, build)
    return KeyFrames(**tables | {"left_out": tuple(tables["left_out"].tolist())})


def _rows_that_count(
    path: Path, videos: dict[str, int], num_classes: int, score_threshold: float | None, unknown: set[str]
) -> Iterator[np.ndarray]:
    """Yield float64 (rows, 7) of video index, second, x1, y1, x2, y2, class id (-1: none) in blocks.

    Names that `videos` lacks are added to `unknown`.
    """
    records, any_known = 0, False
    for names, name_of_row, numbers in _parse(path, scored=score_threshold is not None):
        numbers[:, 5] = np.nan_to_num(numbers[:, 5], nan=-1)
        fault = _first_fault(numbers, num_classes)
        if fault:
            raise UserError(f"{path}: row {_line_number(path, records + fault[0])}: {fault[1]}")
        records += len(numbers)
        unknown.update(name for name in names if name not in videos)
        video = np.array([videos.get(name, -1) for name in names], np.int64)[name_of_row]
        counts = video >= 0
        any_known |= bool(counts.any())
        if score_threshold is not None:
            counts &= numbers[:, 6] >= score_threshold
        yield np.column_stack([video[counts], numbers[counts, :6]])
    if not any_known:
        raise UserError(f"{path}: names no video of the data set, but {_some(unknown) or 'none at all'}")


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")


def _parse(path: Path, scored: bool) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
    """Yield blocks: video names, each row's index among them, float64 (rows, 6 or 7) second, box, class[, score].

    Empty fields are NaN.
    """
    try:
        with path.open("rb") as file:
            width = file.readline().count(b",") + 1
    except OSError as error:
        raise UserError(f"{path}: cannot read the box list: {error.strerror}") from error
    # Truth may lack the person.
    columns = [*_COLUMNS, "score" if scored else "person"][: 8 if scored else max(width, 7)]
    wanted = columns[: 8 if scored else 7]
    types = {name: pyarrow.float64() for name in wanted[1:]}
    types["video"] = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    try:
        # Threads would not outlive a fork into worker processes.
        for batch in arrow_csv.open_csv(
            path,
            read_options=arrow_csv.ReadOptions(column_names=columns, block_size=_BLOCK_BYTES, use_threads=False),
            convert_options=arrow_csv.ConvertOptions(column_types=types, include_columns=wanted, null_values=[""]),
        ):
            numbers = np.empty((batch.num_rows, len(wanted) - 1))
            for place, name in enumerate(wanted[1:]):
                numbers[:, place] = batch[name].to_numpy(zero_copy_only=False)
            yield batch["video"].dictionary.to_pylist(), batch["video"].indices.to_numpy(), numbers
    except pyarrow.ArrowInvalid as error:
        _explain(path, {8} if scored else {7, 8})
        raise UserError(f"{path}: not a CSV file: {error}") from error


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield row number and fields of every row that is not blank."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.reader(file)
        yield from ((rows.line_num, fields) for fields in rows if fields)


def _line_number(path: Path, record: int) -> int:
    return next(islice(_records(path), record, None))[0]


def _explain(path: Path, widths: set[int]) -> None:
    """Raise for the first row of another number of columns or with text for a number."""
    for row, fields in _records(path):
        if len(fields) not in widths:
            expected = ",".join(_COLUMNS) + (",score" if widths == {8} else ",person")
            raise UserError(f"{path}: row {row}: expected {max(widths)} columns ({expected}), found {len(fields)}")
        widths = {len(fields)}
        for name, text in zip((*_COLUMNS, "score"), fields[: max(widths)], strict=False):
            try:
                if name != "video" and text:
                    float(text)
            except ValueError:
                raise UserError(f"{path}: row {row}: {name} is {text!r}, expected a number") from None


def _first_fault(numbers: np.ndarray, num_classes: int) -> tuple[int, str] | None:
    """Return place and kind of the first row with a value out of range. Negated conditions, so that NaN fails them."""
    second, boxes, label = numbers[:, 0], numbers[:, 1:5], numbers[:, 5]
    low, high = -_COORDINATE_SLACK, 1 + _COORDINATE_SLACK
    checks = [(~(second % 1 == 0), "second", 0, "a whole number")]
    checks += [
        (~((boxes[:, place] >= low) & (boxes[:, place] <= high)), name, place + 1, "0 to 1")
        for place, name in enumerate(_COLUMNS[2:6])
    ]
    checks += [(boxes[:, 2] < boxes[:, 0], "x2", 3, "x1 or more"), (boxes[:, 3] < boxes[:, 1], "y2", 4, "y1 or more")]
    classes = f"1 to {num_classes}, or -1 for a person without an action"
    in_range = (label == -1) | ((label >= 1) & (label <= num_classes) & (label % 1 == 0))
    checks.append((~in_range, "class", 5, classes))
    if numbers.shape[1] > 6:
        checks.append((~np.isfinite(numbers[:, 6]), "score", 6, "a number"))
    faults = [(int(np.argmax(bad)), *rest) for bad, *rest in checks if bad.any()]
    if not faults:
        return None
    row, name, column, expected = min(faults, key=lambda fault: fault[0])
    value = numbers[row, column]
    found = "empty" if np.isnan(value) else f"{value:g}"
    return row, f"{name} is {found}, expected {expected}"


def _no_rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.empty((0, 6)), np.empty(0, np.int64), np.empty(0, np.int64)


def _merge_runs(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keep a box that stays the same from row to row once.

    Args:
        rows: video index, second, x1, y1, x2, y2, class id.

    Returns:
        The boxes with video and second, float64 (boxes, 6); for each label the index of its box, and the class id.
    """
    fresh = np.ones(len(rows), bool)
    fresh[1:] = (rows[1:, :6] != rows[:-1, :6]).any(axis=1)
    labelled = rows[:, 6] > 0
    return rows[fresh, :6], (np.cumsum(fresh) - 1)[labelled], rows[labelled, 6].astype(np.int64)


def _group(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Join what `_merge_runs` returned, in the order of the lists, into the tables of `KeyFrames`."""
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
        "second": boxes[new_key, 1].astype(np.int32),
        "box_start": np.append(np.flatnonzero(new_key), len(boxes)),
        "boxes_norm": np.ascontiguousarray(boxes[:, 2:]),
        "label_start": np.searchsorted(pairs, np.arange(len(boxes) + 1) * _LABEL_SPAN),
        "labels": (pairs % _LABEL_SPAN).astype(np.int16),
    }
