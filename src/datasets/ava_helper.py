"""Frame lists and box lists as compact NumPy tables, which worker processes share instead of copying."""

import csv
import logging
import mmap
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from src.utils.errors import UserError

_LOGGER = logging.getLogger(__name__)
_HEADER = b"original_vido_id"
_BLOCK_BYTES = 1 << 23
# How far outside of the frame a coordinate may lie (a detector's rounding); beyond it the list is in other units.
_COORDINATE_SLACK = 0.01
_NUMBER_COLUMNS = ("second", "x1", "y1", "x2", "y2", "class", "score")


class FrameList:
    """The frames of every video, from lists of `original_vido_id video_id frame_id path labels` rows.

    The lists stay on disk, mapped into memory; kept are eight bytes a row. A video's frames are its rows in the order
    in which they stand in the lists.

    Attributes:
        names: the videos, in the order of their first rows.
        counts: int64 (videos,), how many frames each has.

    Args:
        paths: list files.

    Raises:
        UserError: a list that cannot be read or has no header line, or a row with fewer than four fields.
    """

    def __init__(self, paths: Sequence[str | os.PathLike]) -> None:
        self._paths = [Path(path) for path in paths]
        self._maps = [_map_file(path) for path in self._paths]
        # Rows are addressed as if the lists stood in one file.
        self._bases = np.cumsum([0] + [len(mapped) for mapped in self._maps])
        pieces: dict[bytes, list[np.ndarray]] = {}
        for path, base in zip(self._paths, self._bases[:-1], strict=True):
            for name, starts in _video_runs(path):
                pieces.setdefault(name, []).append(starts + base)
        self.names = tuple(os.fsdecode(name) for name in pieces)
        self.counts = np.array([sum(map(len, runs)) for runs in pieces.values()], np.int64)
        self._first_row = np.concatenate([[0], np.cumsum(self.counts)])
        self._rows = np.empty(self._first_row[-1], np.int64)
        for first, runs in zip(self._first_row, pieces.values(), strict=False):
            np.concatenate(runs, out=self._rows[first : first + sum(map(len, runs))])

    def path(self, video: int, frame: int) -> str:
        """Return the path field of a video's frame, both counted from 0."""
        mapped, offset, _ = self._locate(video, frame)
        end = mapped.find(b"\n", offset)
        line = mapped[offset : end if end >= 0 else len(mapped)]
        return os.fsdecode(line.split(b" ", 4)[3].rstrip(b"\r"))

    def where(self, video: int, frame: int) -> str:
        """Return "list file:row" of a video's frame, for messages."""
        mapped, offset, path = self._locate(video, frame)
        row = mapped[:offset].count(b"\n") + 1
        return f"{path}:{row}"

    def _locate(self, video: int, frame: int) -> tuple[mmap.mmap, int, Path]:
        if not 0 <= frame < self.counts[video]:
            raise IndexError(f"frame {frame} of video {self.names[video]} with {self.counts[video]} frames")
        row = self._rows[self._first_row[video] + frame]
        file = int(np.searchsorted(self._bases, row, side="right")) - 1
        return self._maps[file], int(row - self._bases[file]), self._paths[file]


def _map_file(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UserError(f"{path}: cannot read the frame list: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path}: the frame list is empty") from error


def _video_runs(path: Path) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yield (video name, int64 offsets of its rows in the file) for each run of rows of one video."""
    with path.open("rb") as file:
        header = file.readline()
        if not header.startswith(_HEADER):
            raise UserError(f"{path}:1: expected the header 'original_vido_id video_id frame_id path labels'")
        offset, row = len(header), 2
        while block := file.read(_BLOCK_BYTES):
            block += file.readline()  # up to the end of a row
            if not block.endswith(b"\n"):
                block += b"\n"
            data = np.frombuffer(block, np.uint8)
            newlines = np.flatnonzero(data == ord("\n"))
            starts = np.concatenate([[0], newlines[:-1] + 1])
            spaces = np.append(np.flatnonzero(data == ord(" ")), len(data))
            first_space = np.searchsorted(spaces, starts)
            short = np.searchsorted(spaces, newlines) - first_space < 3
            if short.any():
                blank = starts == newlines
                if (short & ~blank).any():
                    at = int(np.argmax(short & ~blank))
                    found = block[starts[at] : newlines[at]].decode(errors="replace")
                    raise UserError(
                        f"{path}:{row + at}: expected 'original_vido_id video_id frame_id path labels' "
                        f"separated by spaces, found {found!r}"
                    )
                starts, first_space = starts[~blank], first_space[~blank]
            lengths = spaces[first_space] - starts
            for begin, end in _equal_runs(data, starts, lengths):
                yield block[starts[begin] : starts[begin] + lengths[begin]], starts[begin:end] + offset
            offset += len(block)
            row += len(newlines)


def _equal_runs(data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> list[tuple[int, int]]:
    """Return (begin, end) of the runs of neighbouring rows whose first `lengths` bytes are the same."""
    if not len(starts):
        return []
    differs = lengths[1:] != lengths[:-1]
    for column in range(int(lengths.max())):
        # Beyond a name's end any byte will do: the column does not count there.
        byte = data.take(starts + column, mode="clip")
        differs |= (byte[1:] != byte[:-1]) & (column < lengths[1:])
    heads = np.concatenate([[0], np.flatnonzero(differs) + 1, [len(starts)]]).tolist()
    return list(pairwise(heads))


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
    """

    video: np.ndarray
    second: np.ndarray
    box_start: np.ndarray
    boxes_norm: np.ndarray
    label_start: np.ndarray
    labels: np.ndarray

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
    Rows of videos that are not among `names` are left out, with a warning.

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
    videos = {name: index for index, name in enumerate(names)}
    tables = [_load_boxes(path, videos, num_classes, None) for path in truth_lists]
    tables += [_load_boxes(path, videos, num_classes, score_threshold) for path in predicted_lists]
    table = np.concatenate(tables) if tables else np.empty((0, 7))
    second = table[:, 1]
    keep = (second >= valid_seconds[0]) & (second <= valid_seconds[1]) & (second % second_stride == 0)
    return _group(table[keep])


def _load_boxes(
    path: str | os.PathLike, videos: dict[str, int], num_classes: int, score_threshold: float | None
) -> np.ndarray:
    """Return float64 (rows, 7) of video index, second, x1, y1, x2, y2, class id (-1: none) of the rows that count."""
    width = 7 if score_threshold is None else 8
    video, numbers = array("i"), array("d")
    unknown: set[str] = set()
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            for row in rows:
                if len(row) not in (width, 8):
                    expected = "7 or 8" if width == 7 else "8"
                    raise UserError(
                        f"{path}:{rows.line_num}: expected {expected} columns "
                        f"(video,second,x1,y1,x2,y2,class,{'person' if width == 7 else 'score'}), found {len(row)}"
                    )
                row[6] = row[6] or "-1"
                try:
                    numbers.extend(map(float, row[1:width]))
                except ValueError:
                    raise UserError(f"{path}:{rows.line_num}: {_not_a_number(row[1:width])}") from None
                index = videos.get(row[0], -1)
                if index < 0:
                    unknown.add(row[0])
                video.append(index)
    except OSError as error:
        raise UserError(f"{path}: cannot read the box list: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file: {error}") from error
    video, numbers = np.asarray(video, np.int32), np.asarray(numbers).reshape(-1, width - 1)
    _check_numbers(path, numbers, num_classes)
    known = video >= 0
    if not known.any():
        found = f"row 1 names {min(unknown)!r}" if len(unknown) == 1 else f"{len(unknown)} others, as {min(unknown)!r}"
        raise UserError(f"{path}: names no video of the frame lists" + (f" ({found})" if unknown else " (no rows)"))
    if unknown:
        _LOGGER.warning(
            "%s: left out the rows of %d videos that are not in the frame lists: %s",
            path,
            len(unknown),
            ", ".join(sorted(unknown)[:5]) + (", ..." if len(unknown) > 5 else ""),
        )
    if score_threshold is not None:
        known &= numbers[:, 6] >= score_threshold
    return np.column_stack([video[known], numbers[known, :6]])


def _not_a_number(fields: Sequence[str]) -> str:
    for name, text in zip(_NUMBER_COLUMNS, fields, strict=False):
        try:
            float(text)
        except ValueError:
            return f"{name} is {text!r}, expected a number"
    raise AssertionError("every field is a number")


def _check_numbers(path: str | os.PathLike, numbers: np.ndarray, num_classes: int) -> None:
    """Raise for the first row with a value out of range. The conditions are negated so that NaN fails them."""
    second, boxes, label = numbers[:, 0], numbers[:, 1:5], numbers[:, 5]
    low, high = -_COORDINATE_SLACK, 1 + _COORDINATE_SLACK
    outside = ~((boxes >= low) & (boxes <= high))
    faults = [
        (~(second % 1 == 0), lambda row: f"second is {second[row]:g}, expected a whole number"),
        *(
            (outside[:, c], lambda row, c=c: f"{_NUMBER_COLUMNS[c + 1]} is {boxes[row, c]:g}, expected 0 to 1")
            for c in range(4)
        ),
        (boxes[:, 2] < boxes[:, 0], lambda row: f"x2 {boxes[row, 2]:g} is less than x1 {boxes[row, 0]:g}"),
        (boxes[:, 3] < boxes[:, 1], lambda row: f"y2 {boxes[row, 3]:g} is less than y1 {boxes[row, 1]:g}"),
        (
            ~((label == -1) | ((label >= 1) & (label <= num_classes) & (label % 1 == 0))),
            lambda row: f"class is {label[row]:g}, expected 1 to {num_classes}, or -1 for a person without an action",
        ),
    ]
    if numbers.shape[1] > 6:
        faults.append((~np.isfinite(numbers[:, 6]), lambda row: f"score is {numbers[row, 6]:g}, expected a number"))
    found = [(int(np.argmax(bad)), message) for bad, message in faults if bad.any()]
    if found:
        row, message = min(found, key=lambda fault: fault[0])
        raise UserError(f"{path}:{row + 1}: {message(row)}")


def _group(table: np.ndarray) -> KeyFrames:
    """Bring rows of video, second, x1, y1, x2, y2, class id into tables of key frames, boxes and labels."""
    # Equal boxes of a key frame side by side; lexsort is stable, so the first of them is the earliest row.
    order = np.lexsort(table[:, 5::-1].T)
    rows = table[order]
    new_box = np.ones(len(rows), bool)
    new_box[1:] = (rows[1:, :6] != rows[:-1, :6]).any(axis=1)
    box_of_row = np.cumsum(new_box) - 1
    earliest = order[new_box]
    boxes = rows[new_box]
    # Boxes of a key frame in the order of the lists.
    rank = np.lexsort((earliest, boxes[:, 1], boxes[:, 0]))
    place = np.empty_like(rank)
    place[rank] = np.arange(len(rank))
    boxes = boxes[rank]
    new_key = np.ones(len(boxes), bool)
    new_key[1:] = (boxes[1:, :2] != boxes[:-1, :2]).any(axis=1)
    key = boxes[new_key]

    labelled = rows[:, 6] > 0
    # A label that stands twice counts once; that leaves the labels sorted by box and class.
    pairs = np.unique(np.column_stack([place[box_of_row[labelled]], rows[labelled, 6].astype(np.int64) - 1]), axis=0)
    return KeyFrames(
        video=key[:, 0].astype(np.int32),
        second=key[:, 1].astype(np.int32),
        box_start=np.append(np.flatnonzero(new_key), len(boxes)),
        boxes_norm=np.ascontiguousarray(boxes[:, 2:6]),
        label_start=np.searchsorted(pairs[:, 0], np.arange(len(boxes) + 1)),
        labels=pairs[:, 1].astype(np.int16),
    )
