"""What a row of AVA's box files may be: the one rule of reading, training, `verify`, `custom` and the metric.

Ground truth: `video,second,x1,y1,x2,y2,class id[,person id]`. Detections: the same seven, then the score. A row of two
fields, `video,second`, is a key frame without boxes, as in AVA-Kinetics. There is no header.

* Numbers are decimals, as `3`, `0.25` or `1e-3`, and finite. Spaces around a field do not count.
* The second may have a fraction, of which six decimals count: `0902`, `902` and `902.0` are the same.
* The class id counts from 1; -1, or nothing at all, is a person without an action. `3.0` is 3, and `1.7` is a mistake.
* A box does not end before it begins.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

COLUMNS = ("video", "second", "x1", "y1", "x2", "y2", "class id")
NO_ACTION = -1
MAX_CLASS_ID = 32767
"""Class ids are kept in 16 bits: a full evaluation has millions of them."""
MAX_SECOND = 9_999_999
SECOND_DECIMALS = 6
COORDINATE_SLACK = 0.01
"""How far outside of the frame a normalized coordinate may lie: a detector's rounding."""

# What pyarrow takes for a number as well; Python's `float` would also take 1_000 and inf.
_NUMBER = re.compile(r"[ \t]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHOWN = 40


class RowError(Exception):
    """What is wrong with a row, without the name of its file."""


@dataclass(frozen=True)
class RowRule:
    """What the rule leaves to the use of a file.

    Attributes:
        scored: the eighth column is a score; otherwise it is a person id, which may be absent and anything.
        normalized: corners lie in [0, 1], give or take `COORDINATE_SLACK`, as a network needs them. The metric does not
            depend on the unit, and `custom` converts pixels: they take any corner.
        num_classes: the largest class id.
    """

    scored: bool
    normalized: bool = False
    num_classes: int = MAX_CLASS_ID

    @property
    def ordered(self) -> bool:
        """Whether a box that ends before it begins is a mistake; the metric drops such detections."""
        return self.normalized or not self.scored

    @property
    def columns(self) -> str:
        """The columns of a row, for messages."""
        return ", ".join([*COLUMNS, "score"]) if self.scored else ", ".join(COLUMNS) + " and perhaps person id"


class BoxRow(NamedTuple):
    """A row that passed: the second rounded to `SECOND_DECIMALS`, the last column as text (absent: empty)."""

    video: str
    second: float
    corners: tuple[float, float, float, float]
    class_id: int
    last: str


class FrameRow(NamedTuple):
    """A key frame without boxes, or one that is excluded."""

    video: str
    second: float


def parse_row(cells: list[str], rule: RowRule) -> BoxRow | FrameRow:
    """Return the fields of a row.

    Raises:
        RowError: what is wrong with it, and what was expected.
    """
    if len(cells) == 2:
        return parse_frame_row(cells)
    if len(cells) != 8 and (rule.scored or len(cells) != 7):
        semicolons = " separated by commas, not semicolons" if len(cells) == 1 and ";" in cells[0] else ""
        raise RowError(f"{_count(cells)}, expected {8 if rule.scored else '7 or 8'} ({rule.columns}){semicolons}")
    video, second = parse_video(cells[0]), parse_second(cells[1])
    corners = tuple(_number(name, text) for name, text in zip(COLUMNS[2:6], cells[2:6], strict=True))
    class_id = parse_class_id(cells[6], rule.num_classes)
    if rule.scored:
        _number("score", cells[7])
    if rule.normalized:
        for name, value, text in zip(COLUMNS[2:6], corners, cells[2:6], strict=True):
            if not -COORDINATE_SLACK <= value <= 1 + COORDINATE_SLACK:
                raise RowError(f"{name} is {_shown(text)}, expected 0 to 1, as a share of the frame")
    x1, y1, x2, y2 = corners
    if rule.ordered and (x2 < x1 or y2 < y1):
        raise RowError("the box ends before it begins, expected x1 <= x2 and y1 <= y2")
    return BoxRow(video, second, corners, class_id, cells[7].strip() if len(cells) == 8 else "")


def parse_frame_row(cells: list[str]) -> FrameRow:
    """Return video and second of a row of two fields.

    Raises:
        RowError: what is wrong with it, and what was expected.
    """
    if len(cells) != 2:
        raise RowError(f"{_count(cells)}, expected 2 (video, second)")
    return FrameRow(parse_video(cells[0]), parse_second(cells[1]))


def parse_video(text: str) -> str:
    """Return the name of a video without spaces and byte order marks around it.

    Raises:
        RowError: it is empty, has control characters or is not UTF-8 (lone surrogates).
    """
    name = text.strip(" \t\ufeff")
    if not name:
        raise RowError("the video name is empty")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise RowError("the video name is not UTF-8 text")
    if _CONTROL.search(name):
        raise RowError(f"the video name {_shown(name)} holds control characters")
    return name


def parse_second(text: str) -> float:
    """Return a second.

    Raises:
        RowError: it is not a number from 0 to `MAX_SECOND`.
    """
    if _NUMBER.fullmatch(text) and 0 <= float(text) <= MAX_SECOND:
        return round(float(text), SECOND_DECIMALS)
    header = "" if any(sign.isdigit() for sign in text) else " (a header line is not expected)"
    raise RowError(f"second is {_shown(text)}, expected a number from 0 to {MAX_SECOND}{header}")


def parse_class_id(text: str, num_classes: int = MAX_CLASS_ID) -> int:
    """Return a class id, -1 for an empty field.

    Raises:
        RowError: it is neither -1 nor an integer from 1 to `num_classes`.
    """
    if not text.strip(" \t"):
        return NO_ACTION
    value = float(text) if _NUMBER.fullmatch(text) else np.nan
    if value == NO_ACTION or (1 <= value <= num_classes and value % 1 == 0):
        return int(value)
    zero = "; ids count from 1, as in the label map" if value == 0 else ""
    raise RowError(
        f"class id is {_shown(text)}, expected an integer from 1 to {num_classes}, "
        f"or -1 for a person without an action{zero}"
    )


def rows_fit(
    second: np.ndarray, boxes: np.ndarray, class_id: np.ndarray, score: np.ndarray | None, rule: RowRule
) -> bool:
    """Whether all of many rows follow the rule: what `parse_row` asks of numbers, on arrays.

    Args:
        second: (boxes,) numbers.
        boxes: (boxes, 4) float64.
        class_id: (rows,) integers.
        score: (rows,) float64, or None.
        rule: the rule.
    """
    # Conditions that NaN fails.
    if not ((second >= 0) & (second <= MAX_SECOND)).all():
        return False
    if not np.isfinite(boxes).all():
        return False
    if rule.normalized and ((boxes < -COORDINATE_SLACK) | (boxes > 1 + COORDINATE_SLACK)).any():
        return False
    if rule.ordered and (boxes[:, 2:] < boxes[:, :2]).any():
        return False
    if not ((class_id == NO_ACTION) | ((class_id >= 1) & (class_id <= rule.num_classes))).all():
        return False
    return score is None or bool(np.isfinite(score).all())


def format_second(second: float) -> str:
    """Return a second as AVA writes it, `0902`, or with its fraction, `0902.5`."""
    if second == int(second):
        return f"{int(second):04d}"
    return f"{second:0{5 + SECOND_DECIMALS}.{SECOND_DECIMALS}f}".rstrip("0")


def _number(name: str, text: str) -> float:
    if _NUMBER.fullmatch(text) and np.isfinite(float(text)):
        return float(text)
    raise RowError(f"{name} is {_shown(text)}, expected a finite number")


def _shown(text: str) -> str:
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return ascii(shown) if any("\ud800" <= character <= "\udfff" for character in shown) else repr(shown)


def _count(cells: list[str]) -> str:
    return f"{len(cells)} {'column' if len(cells) == 1 else 'columns'}"
