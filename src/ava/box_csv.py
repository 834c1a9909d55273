"""Reading and writing of files in AVA's CSV columns.

Ground truth: video, second, x1, y1, x2, y2, class id[, person id]. Detections: the same six, class id, score.
Excluded timestamps: video, second. None has a header. Boxes are x1 y1 x2 y2 in [0, 1].
"""

import csv
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from src.ava.box_table import BoxTable
from src.utils.errors import UserError
from src.utils.files import atomic_path
from src.utils.threads import map_in_threads

_COLUMNS = ("video", "second", "x1", "y1", "x2", "y2", "class id")
# Bytes parsed at a time by each thread: small enough that memory is used again and again.
_SPAN_BYTES = 2 << 20
# What pyarrow takes for a number; Python's `int` and `float` would also take 1_000 and +1.
_INTEGER = re.compile(r"\s*-?[0-9]+\s*")
_NUMBER = re.compile(r"\s*-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
_ROWS_WRITTEN_AT_ONCE = 1 << 16


def read_ground_truth(path: str | os.PathLike) -> BoxTable:
    """Read ground truth: seven columns, or eight with a person id, which is not used.

    Raises:
        UserError: The file is absent or empty; a row lacks a column, has text for a number, a number that is not
            finite, or a box that ends before it begins.
    """
    return _read(Path(path), scored=False)


def read_detections(path: str | os.PathLike) -> BoxTable:
    """Read detections: eight columns, the last of which is the score.

    Raises:
        UserError: The file is absent or empty; a row lacks a column, has text for a number or a number that is not
            finite.
    """
    return _read(Path(path), scored=True)


def read_excluded(path: str | os.PathLike) -> set[tuple[str, int]]:
    """Read excluded timestamps, as (video name, second). The file may be empty.

    Raises:
        UserError: The file is absent, or a row is not `video,second`.
    """
    path = Path(path)
    _check_file(path)
    frames = set()
    for row, cells in _csv_rows(path):
        if len(cells) != 2:
            raise _wrong_width(path, row, cells, "2 (video, second)")
        frames.add((cells[0], _integer(path, row, "second", cells[1], np.int32)))
    return frames


def _read(path: Path, scored: bool) -> BoxTable:
    # Imported here because whoever evaluates in memory does not need it.
    import pyarrow

    _check_file(path)
    with path.open("rb") as file:
        columns = 8 if scored else min(max(file.readline().count(b",") + 1, 7), 8)
    try:
        parts = map_in_threads(lambda span: _read_span(path, *span, columns, scored), _spans(path))
        if not any(part.num_rows for part in parts):
            raise _UnfitError("no rows")
    except (pyarrow.ArrowInvalid, _UnfitError) as error:
        _explain(path, scored)
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: not a CSV file in AVA's columns: {reason}") from error

    names: dict[str, int] = {}
    boxes_before = 0
    for part in parts:
        number = np.array([names.setdefault(name, len(names)) for name in part.video_names], dtype=np.int32)
        part.video[:] = number[part.video]
        part.row_box[:] += boxes_before
        boxes_before += len(part.video)
    fields = ("video", "second", "boxes_norm", "row_box", "row_class", *(("row_score",) if scored else ()))
    return BoxTable(tuple(names), **{name: np.concatenate([getattr(part, name) for part in parts]) for name in fields})


class _UnfitError(Exception):
    """Values that parse but cannot be; the row is looked for afterwards."""


def _spans(path: Path) -> Iterator[tuple[int, int]]:
    """Cut the file into pieces of whole lines: start and end in bytes."""
    with path.open("rb") as file:
        end = 0
        while file.seek(end) < path.stat().st_size:
            start = end
            file.seek(_SPAN_BYTES, os.SEEK_CUR)
            file.readline()
            end = min(file.tell(), path.stat().st_size)
            yield start, end


def _read_span(path: Path, start: int, end: int, columns: int, scored: bool) -> BoxTable:
    """Parse a piece of the file. A box that stays the same from row to row is kept once.

    pyarrow parses a decimal to the nearest double, as Python's `float` does.
    """
    import pyarrow
    from pyarrow import csv as arrow_csv

    with path.open("rb") as file:
        file.seek(start)
        content = file.read(end - start)
    types = {name: pyarrow.float64() for name in ("x1", "y1", "x2", "y2", "score")}
    types |= {"video": pyarrow.dictionary(pyarrow.int32(), pyarrow.string())}
    types |= {"second": pyarrow.int32(), "class id": pyarrow.int16()}
    table = arrow_csv.read_csv(
        pyarrow.BufferReader(content),
        read_options=arrow_csv.ReadOptions(
            column_names=[*_COLUMNS, "score" if scored else "person id"][:columns],
            block_size=len(content) + 1,
            use_threads=False,
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types=types,
            include_columns=[*_COLUMNS, "score"] if scored else _COLUMNS,
            null_values=[],
            strings_can_be_null=False,
        ),
    ).combine_chunks()
    names, *arrays = (column.chunk(0) for column in table.columns)
    video = names.indices.to_numpy()
    second, x1, y1, x2, y2, row_class, *row_score = (array.to_numpy() for array in arrays)
    fresh = np.zeros(len(video), dtype=bool)
    fresh[:1] = True
    for column in (video, second, x1, y1, x2, y2):
        fresh[1:] |= column[1:] != column[:-1]
    boxes = np.stack([column[fresh] for column in (x1, y1, x2, y2)], axis=1)
    if not all(np.isfinite(values).all() for values in (boxes, *row_score)):
        raise _UnfitError("a number that is not finite")
    if not scored and (boxes[:, 2:] < boxes[:, :2]).any():
        raise _UnfitError("a box that ends before it begins")
    return BoxTable(
        tuple(names.dictionary.to_pylist()),
        video[fresh],
        second[fresh],
        boxes,
        np.cumsum(fresh, dtype=np.int32) - np.int32(1),
        row_class,
        *row_score,
    )


def _explain(path: Path, scored: bool) -> None:
    """Find the row that is to blame and raise a `UserError` that names it. Slow, and only for files that failed."""
    widths = {8} if scored else {7, 8}
    expected = ", ".join([*_COLUMNS, "score"]) if scored else ", ".join(_COLUMNS) + " and perhaps person id"
    found_rows = False
    for row, cells in _csv_rows(path):
        if len(cells) not in widths:
            raise _wrong_width(path, row, cells, f"{max(widths)} ({expected})")
        widths = {len(cells)}
        found_rows = True
        if any("\udc80" <= sign <= "\udcff" for sign in cells[0]):
            raise UserError(f"{path}: row {row}: the video name is not UTF-8 text")
        _integer(path, row, "second", cells[1], np.int32)
        x1, y1, x2, y2 = (_number(path, row, name, cell) for name, cell in zip(_COLUMNS[2:6], cells[2:6], strict=True))
        _integer(path, row, "class id", cells[6], np.int16)
        if scored:
            _number(path, row, "score", cells[7])
        elif x2 < x1 or y2 < y1:
            raise UserError(f"{path}: row {row}: the box ends before it begins, expected x1 <= x2 and y1 <= y2")
    if not found_rows:
        raise UserError(f"{path}: the file is empty, expected rows of {expected}")


def _wrong_width(path: Path, row: int, cells: list[str], expected: str) -> UserError:
    return UserError(
        f"{path}: row {row}: {len(cells)} {'column' if len(cells) == 1 else 'columns'}, expected {expected}"
    )


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{path}: is a directory, expected a CSV file")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: no permission to read the file")


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with their line number from 1. Bytes that are not UTF-8 become lone surrogates."""
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        reader = csv.reader(file)
        for cells in reader:
            if cells:
                yield reader.line_num, cells


def _integer(path: Path, row: int, name: str, text: str, dtype: type[np.integer]) -> int:
    limits = np.iinfo(dtype)
    if _INTEGER.fullmatch(text) and limits.min <= int(text) <= limits.max:
        return int(text)
    raise UserError(f"{path}: row {row}: {name} is {text!r}, expected an integer from {limits.min} to {limits.max}")


def _number(path: Path, row: int, name: str, text: str) -> float:
    if _NUMBER.fullmatch(text) and np.isfinite(float(text)):
        return float(text)
    raise UserError(f"{path}: row {row}: {name} is {text!r}, expected a finite number")


def write_boxes(path: str | os.PathLike, table: BoxTable) -> None:
    """Write a table in AVA's columns, with the score in the eighth if it has scores. Whole or not at all.

    Numbers carry as many digits as it takes to read the same values again.
    """
    import pyarrow
    from pyarrow import csv as arrow_csv

    seconds = pyarrow.array([f"{second:04d}" for second in table.second.tolist()], pyarrow.string())
    names = pyarrow.array(table.video_names, pyarrow.string())
    # pyarrow quotes either every text or none.
    quoting = "needed" if any(set(name) & set(',"\r\n') for name in table.video_names) else "none"
    options = arrow_csv.WriteOptions(include_header=False, quoting_style=quoting)

    def columns(rows: slice) -> dict[str, pyarrow.Array]:
        box = table.row_box[rows]
        named = {"video": names.take(pyarrow.array(table.video[box])), "second": seconds.take(pyarrow.array(box))}
        corners = dict(zip(_COLUMNS[2:6], np.ascontiguousarray(table.boxes_norm[box].T), strict=True))
        scored = {} if table.row_score is None else {"score": table.row_score[rows]}
        return {**named, **corners, "class id": table.row_class[rows], **scored}

    schema = pyarrow.table(columns(slice(0))).schema
    with atomic_path(path) as temporary, arrow_csv.CSVWriter(temporary, schema, write_options=options) as writer:
        for low in range(0, table.num_rows, _ROWS_WRITTEN_AT_ONCE):
            writer.write_table(pyarrow.table(columns(slice(low, low + _ROWS_WRITTEN_AT_ONCE)), schema))


def box_row(video: str, second: int, box: Iterable[float], class_id: int | str, last: int | str) -> str:
    """Return one line in AVA's columns: video,second,x1,y1,x2,y2,class,person (or score)."""
    corners = ",".join(f"{corner:.4f}" for corner in box)
    return f"{video},{second:04d},{corners},{class_id},{last}\n"
