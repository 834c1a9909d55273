"""Reading and writing of files in AVA's CSV columns; what their rows may be says `src.ava.rows`."""

import codecs
import csv
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from src.ava.box_table import BoxTable
from src.ava.rows import (
    COLUMNS,
    SECOND_DECIMALS,
    BoxRow,
    FrameRow,
    RowError,
    RowRule,
    format_second,
    parse_class_id,
    parse_frame_row,
    parse_row,
    parse_second,
    parse_video,
    rows_fit,
)
from src.ava.text_files import check_text_file, csv_rows
from src.utils.errors import UserError
from src.utils.files import atomic_path
from src.utils.threads import map_in_threads

if TYPE_CHECKING:
    import pyarrow

# Bytes parsed at a time by each thread: small enough that memory is used again and again.
_SPAN_BYTES = 2 << 20
_ROWS_WRITTEN_AT_ONCE = 1 << 16
_GROUND_TRUTH, _DETECTIONS = RowRule(scored=False), RowRule(scored=True)


def read_ground_truth(path: str | os.PathLike) -> BoxTable:
    """Read ground truth for the metric: seven columns, or eight with a person id, which is not used.

    Raises:
        UserError: see `read_boxes`.
    """
    return read_boxes(path, _GROUND_TRUTH)


def read_detections(path: str | os.PathLike) -> BoxTable:
    """Read detections for the metric: eight columns, the last of which is the score.

    Raises:
        UserError: see `read_boxes`.
    """
    return read_boxes(path, _DETECTIONS)


def read_boxes(path: str | os.PathLike, rule: RowRule) -> BoxTable:
    """Read a box file whole.

    Raises:
        UserError: names file and row: the file cannot be read or is empty, or a row breaks the rule.
    """
    # Imported here because whoever evaluates in memory does not need it.
    import pyarrow

    path = Path(path)
    check_text_file(path, "CSV file")
    columns = _width(path, rule)
    try:
        parts = map_in_threads(lambda span: _read_span(path, *span, columns, rule), _spans(path))
        if not any(part.num_rows or part.empty_frames for part in parts):
            raise _UnfitError("no rows")
    except (pyarrow.ArrowInvalid, _UnfitError) as error:
        raise _explained(path, rule, str(error)) from error
    except OSError as error:
        raise UserError(f"{path}: cannot read the CSV file: {error.strerror}") from error

    names: dict[str, int] = {}
    boxes_before = 0
    for part in parts:
        number = np.array([names.setdefault(name, len(names)) for name in part.video_names], dtype=np.int32)
        part.video[:] = number[part.video]
        part.row_box[:] += boxes_before
        boxes_before += len(part.video)
    fields = ("video", "second", "boxes_norm", "row_box", "row_class", *(("row_score",) if rule.scored else ()))
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in fields}
    return BoxTable(tuple(names), **columns, empty_frames=frozenset().union(*(part.empty_frames for part in parts)))


def read_rows(path: str | os.PathLike, rule: RowRule) -> Iterator[tuple[int, BoxRow | FrameRow]]:
    """Yield line number and fields of each row: slower than `read_boxes`, for files that people write by hand.

    Raises:
        UserError: names file and row: the file cannot be read, or a row breaks the rule.
    """
    for number, row in check_rows(path, rule):
        if isinstance(row, RowError):
            raise UserError(f"{path}: row {number}: {row}") from row
        yield number, row


def check_rows(path: str | os.PathLike, rule: RowRule) -> Iterator[tuple[int, BoxRow | FrameRow | RowError]]:
    """Yield line number and fields, or what is wrong, of each row.

    Raises:
        UserError: the file cannot be read.
    """
    width = None
    for number, cells in csv_rows(Path(path)):
        try:
            row = parse_row(cells, rule)
            if isinstance(row, BoxRow):
                width = width or len(cells)
                if len(cells) != width:
                    raise RowError(f"{len(cells)} columns, expected {width} as in the rows before")
        except RowError as error:
            row = error
        yield number, row


def read_excluded(path: str | os.PathLike) -> set[tuple[str, float]]:
    """Read excluded timestamps, as (video name, second). The file may be empty.

    Raises:
        UserError: the file is absent, or a row is not `video,second`.
    """
    path = Path(path)
    frames = set()
    for number, cells in csv_rows(path):
        try:
            frames.add(tuple(parse_frame_row(cells)))
        except RowError as error:
            raise UserError(f"{path}: row {number}: {error}") from error
    return frames


class _UnfitError(Exception):
    """Rows that break the rule; which, and how, is looked for afterwards."""


def _width(path: Path, rule: RowRule) -> int:
    """Return the number of columns: that of the first row that is no frame without boxes."""
    if rule.scored:
        return 8
    width = next((len(cells) for _, cells in csv_rows(path) if len(cells) != 2), 7)
    return min(max(width, 7), 8)


def _spans(path: Path) -> Iterator[tuple[int, int]]:
    """Cut the file into pieces of whole lines: start and end in bytes. A byte order mark is left out."""
    with path.open("rb") as file:
        end = len(codecs.BOM_UTF8) if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0
        while file.seek(end) < path.stat().st_size:
            start = end
            file.seek(_SPAN_BYTES, os.SEEK_CUR)
            file.readline()
            end = min(file.tell(), path.stat().st_size)
            yield start, end


def _read_span(path: Path, start: int, end: int, columns: int, rule: RowRule) -> BoxTable:
    """Parse a piece of the file. A box that stays the same from row to row is kept once."""
    import pyarrow

    with path.open("rb") as file:
        file.seek(start)
        content = file.read(end - start)
    empty_frames: frozenset[tuple[str, float]] = frozenset()
    try:
        parsed = _parse_columns(content, columns, rule, plain=True)
    except pyarrow.ArrowInvalid:
        # Seldom: rows of two fields, and class ids that are empty.
        content, empty_frames = _without_frame_rows(content)
        parsed = _parse_columns(content, columns, rule, plain=False)
    names, video, second, corners, row_class, row_score = parsed
    names, number = _stripped(names)
    video = number[video]
    fresh = np.zeros(len(video), dtype=bool)
    fresh[:1] = True
    for column in (video, second, *corners):
        fresh[1:] |= column[1:] != column[:-1]
    boxes = np.stack([column[fresh] for column in corners], axis=1)
    # Values out of range are told of below.
    with np.errstate(invalid="ignore", over="ignore"):
        second = second[fresh].astype(np.float64).round(SECOND_DECIMALS)
        class_id = row_class.astype(np.int16)
    if not (class_id == row_class).all() or not rows_fit(second, boxes, class_id, row_score, rule):
        raise _UnfitError("a value out of range")
    return BoxTable(
        names,
        video[fresh],
        second,
        boxes,
        np.cumsum(fresh, dtype=np.int32) - np.int32(1),
        class_id,
        row_score,
        empty_frames,
    )


def _parse_columns(content: bytes, columns: int, rule: RowRule, *, plain: bool) -> tuple:
    """Return video names, each row's index among them, seconds, four lists of coordinates, class ids and scores.

    pyarrow parses a decimal to the nearest double, as Python's `float` does.

    Args:
        content: whole lines.
        columns: of each row.
        rule: whether the last one is a score.
        plain: seconds and class ids are numbers as others are, which pyarrow parses; otherwise they are parsed as text.
    """
    import pyarrow
    from pyarrow import csv as arrow_csv

    if not content:
        numbers = [np.empty(0)] * 5
        return [], np.empty(0, np.int32), numbers[0], numbers[1:], np.empty(0), np.empty(0) if rule.scored else None
    wanted = (*COLUMNS, "score") if rule.scored else COLUMNS
    text = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    types = dict.fromkeys(wanted, pyarrow.float64())
    types |= {"video": text} if plain else {"video": text, "second": text, "class id": text}
    table = arrow_csv.read_csv(
        pyarrow.BufferReader(content),
        read_options=arrow_csv.ReadOptions(
            column_names=[*COLUMNS, "score" if rule.scored else "person id"][:columns],
            block_size=len(content) + 1,
            use_threads=False,
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types=types, include_columns=wanted, null_values=[], strings_can_be_null=False
        ),
    ).combine_chunks()
    names, second, *corners, class_id = (column.chunk(0) for column in table.columns[: len(COLUMNS)])
    return (
        names.dictionary.to_pylist(),
        names.indices.to_numpy(),
        second.to_numpy() if plain else _each(parse_second, second),
        [array.to_numpy() for array in corners],
        class_id.to_numpy() if plain else _each(partial(parse_class_id, num_classes=rule.num_classes), class_id),
        table["score"].chunk(0).to_numpy() if rule.scored else None,
    )


def _each(parse: Callable[[str], float], column: "pyarrow.DictionaryArray") -> np.ndarray:
    """Parse each of the different texts of a column, of which there are few, once."""
    try:
        return np.array([parse(text) for text in column.dictionary.to_pylist()])[column.indices.to_numpy()]
    except RowError as error:
        raise _UnfitError(str(error)) from error


def _without_frame_rows(content: bytes) -> tuple[bytes, frozenset[tuple[str, float]]]:
    """Take the rows of two fields out of whole lines: the other lines, and the frames."""
    kept, frames = [], set()
    for line in content.splitlines(keepends=True):
        cells = []
        if line.count(b",") == 1 or b'"' in line:
            try:
                cells = next(csv.reader([line.decode(errors="surrogateescape")]), [])
            except csv.Error as error:
                raise _UnfitError(str(error)) from error
        if len(cells) != 2:
            kept.append(line)
            continue
        try:
            frames.add(tuple(parse_frame_row(cells)))
        except RowError as error:
            raise _UnfitError(str(error)) from error
    return b"".join(kept), frozenset(frames)


def _stripped(names: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return names without spaces around them, and for each of `names` which of these it is: int32."""
    try:
        index = {name: at for at, name in enumerate(dict.fromkeys(map(parse_video, names)))}
    except RowError as error:
        raise _UnfitError(str(error)) from error
    return tuple(index), np.array([index[parse_video(name)] for name in names], dtype=np.int32)


def _explained(path: Path, rule: RowRule, reason: str) -> UserError:
    """Return the error that names the row to blame. Slow, and only for files that failed."""
    rows = 0
    try:
        for _ in read_rows(path, rule):
            rows += 1
    except UserError as error:
        return error
    if not rows:
        return UserError(f"{path}: the file is empty, expected rows of {rule.columns}")
    return UserError(f"{path}: not a CSV file in AVA's columns: {reason.partition(chr(10))[0]}")


def find_row(path: str | os.PathLike, video: str, second: float) -> int:
    """Return the line number of the first row of a key frame that `read_boxes` gave; for messages."""
    return next(
        number
        for number, cells in csv_rows(Path(path))
        if parse_video(cells[0]) == video and parse_second(cells[1]) == second
    )


def write_boxes(path: str | os.PathLike, table: BoxTable) -> None:
    """Write a table in AVA's columns, with the score in the eighth if it has scores. Whole or not at all.

    Numbers carry as many digits as it takes to read the same values again.
    """
    import pyarrow
    from pyarrow import csv as arrow_csv

    seconds = pyarrow.array([format_second(second) for second in table.second.tolist()], pyarrow.string())
    names = pyarrow.array(table.video_names, pyarrow.string())
    # pyarrow quotes either every text or none.
    quoting = "needed" if any(set(name) & set(',"\r\n') for name in table.video_names) else "none"
    options = arrow_csv.WriteOptions(include_header=False, quoting_style=quoting)

    def columns(rows: slice) -> dict[str, pyarrow.Array]:
        box = table.row_box[rows]
        named = {"video": names.take(pyarrow.array(table.video[box])), "second": seconds.take(pyarrow.array(box))}
        corners = dict(zip(COLUMNS[2:6], np.ascontiguousarray(table.boxes_norm[box].T), strict=True))
        scored = {} if table.row_score is None else {"score": table.row_score[rows]}
        return {**named, **corners, "class id": table.row_class[rows], **scored}

    schema = pyarrow.table(columns(slice(0))).schema
    with atomic_path(path) as temporary:
        with arrow_csv.CSVWriter(temporary, schema, write_options=options) as writer:
            for low in range(0, table.num_rows, _ROWS_WRITTEN_AT_ONCE):
                writer.write_table(pyarrow.table(columns(slice(low, low + _ROWS_WRITTEN_AT_ONCE)), schema))
        if table.empty_frames:
            with temporary.open("a", newline="", encoding="utf-8") as file:
                rows = csv.writer(file, lineterminator="\n")
                rows.writerows((video, format_second(second)) for video, second in sorted(table.empty_frames))


def box_row(video: str, second: float, box: Iterable[float], class_id: int | str, last: int | str) -> str:
    """Return one line in AVA's columns: video,second,x1,y1,x2,y2,class,person (or score)."""
    corners = ",".join(f"{corner:.4f}" for corner in box)
    return f"{video},{format_second(second)},{corners},{class_id},{last}\n"
