"""What every reader of box annotations gives: boxes of persons, and where their corners lie in the frame."""

import difflib
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from src.ava.rows import NO_ACTION
from src.utils.errors import UserError

# Between these a largest coordinate is neither clearly a share of the frame nor clearly pixels.
_SHARES_UP_TO, _PIXELS_FROM = 1.001, 2.0
# Detectors and hand-drawn boxes reach a little over the edge; more is a mistake, unless the file states its size.
_EDGE_SLACK = 0.05
# Widths and heights are whole numbers: so far may two sizes of one shape differ.
_SHAPE_SLACK = 0.02


@dataclass(frozen=True)
class Box:
    """One annotated person.

    One of `second`, `frame` and `image` says when; an image may be one of a video that is a folder of images, else
    `frame` goes before it.

    Attributes:
        video: name of the video as the file gives it.
        corners: x1 y1 x2 y2, as in the file.
        classes: class ids; (-1,) for a person without an action.
        last: the person, one over time; of formats that do not tell persons apart, another for each box. Where files
            count persons of their own, the file is part of it. AVA's columns may have something else in its place.
        where: file and row, for messages.
        score: of a detector, as in the file; None: it has none.
        second: of the video; counted from `--first-second` where `is_ava`.
        frame: frame of the video, from 0.
        image: number of an extracted image, from 1.
        copy: which of several copies of an image was annotated; empty: there is one.
        other_names: what the video may be called if `video` is not its name: the image's folders, a name without what
            a tool put before it.
        frames: how many frames the tool counted in the video; None: not said.
        rate: at which the tool counted frames, per second; None: not said.
        listed: how many images the tool counted as frames, in the place of a video's; None: it had the video.
        task_end: the last frame that the annotated video is known to have had; None: not said.
        size: width and height of the images that were annotated, in pixels; None: not said.
        units: shares or pixels; None: told from the values.
        is_ava: whether it stands in AVA's columns.
        of_dataset: whether the file is that of a published dataset, of whose videos only some may be here.
        is_marked: the file says that it is a crowd or to be ignored, and so no person.
        is_whole: boxes of this tool go around the whole person, whom the frame's edge may cut.
        is_shown: pixels without a size are those that a player shows, which are square, as in a browser.
    """

    video: str
    corners: tuple[float, float, float, float]
    classes: tuple[int, ...]
    last: str
    where: str
    score: str | None = None
    second: float | None = None
    frame: int | None = None
    image: int | None = None
    copy: str = ""
    other_names: tuple[str, ...] = ()
    frames: int | None = None
    rate: float | None = None
    listed: int | None = None
    task_end: int | None = None
    size: tuple[int, int] | None = None
    units: str | None = None
    is_ava: bool = False
    of_dataset: bool = False
    is_marked: bool = False
    is_whole: bool = False
    is_shown: bool = False


@dataclass
class Images:
    """What files say of the images that were annotated; those of detections may be the same.

    Attributes:
        by_id: of a COCO file, which a file of results refers to.
        numbers: of all images, with and without boxes, by what their video may be called.
    """

    by_id: dict = field(default_factory=dict)
    numbers: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))


@dataclass
class Classes:
    """The classes by name, and what was nearly one of them.

    Attributes:
        names: class name by id (from 1).
        near_misses: how often each (value, class name that it resembles) was met.
        acting: how many boxes of each label name a class.
        idle: how many boxes of each label name none.
        images: what files say of the images that were annotated.
        lists: by path, the class names, and numbers of keypoints, that lie beside YOLO's files.
        by_number: the number, from 0, and name of a class that a YOLO file without names is taken to mean; None: none.
        detected: how many boxes each class of a file's own has that is no action, as those of a detector.
        polygons: how many rows of YOLO's files are taken for polygons.
        empty_rows: how many rows say that a key frame shows nobody.
        unread: how often each kind of annotation was met that is no box.

    Raises:
        UserError: two classes are told apart by spaces or forms of letters alone.
    """

    names: Mapping[int, str]
    near_misses: Counter = field(default_factory=Counter)
    acting: Counter = field(default_factory=Counter)
    idle: Counter = field(default_factory=Counter)
    images: Images = field(default_factory=Images)
    lists: dict = field(default_factory=dict)
    by_number: tuple[int, str] | None = None
    detected: Counter = field(default_factory=Counter)
    polygons: int = 0
    empty_rows: int = 0
    unread: Counter = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._ids: dict[str, int] = {}
        for class_id, name in self.names.items():
            other = self._ids.setdefault(_text(name), class_id)
            if other != class_id:
                raise UserError(f"the classes {other} {self.names[other]!r} and {class_id} {name!r} look the same")
        self._plain = {_plain(name): name for name in self.names.values()}
        # The class that a value resembles: looked up once for each value, of which files have few.
        self._near: dict[str, str | None] = {}

    def named(self, label: str | None, attributes: Mapping[str, str], where: str) -> tuple[int, ...]:
        """Return the classes that a label, the values of its attributes, and its ticked checkboxes name.

        A value may be several, separated by commas.

        Returns:
            Class ids; (-1,) where attributes name none.

        Raises:
            UserError: there are no attributes, and the label is no class.
        """
        values = [label, *attributes.values(), *(name for name, value in attributes.items() if value.lower() == "true")]
        texts = [_text(value) for value in values if value]
        texts += [_text(part) for text in texts if text not in self._ids for part in text.split(",")]
        found = {self._ids[text] for text in texts if text in self._ids}
        for value in attributes.values():
            for part in [value] if _text(value) in self._ids else value.split(","):
                self._note_near_miss(_text(part))
        if found:
            self.acting[label] += 1
            return tuple(sorted(found))
        if not attributes:
            raise UserError(
                f"{where}: label {shortened(label)} is not in the class list; "
                f"the nearest class is {self._nearest(str(label))!r}"
            )
        if label:
            self.idle[label] += 1
            self._note_near_miss(_text(label))
        return (NO_ACTION,)

    def _note_near_miss(self, value: str) -> None:
        if value not in self._near:
            close = difflib.get_close_matches(value.lower(), self._ids, n=1, cutoff=0.6)
            self._near[value] = (
                None if value in self._ids else self._plain.get(_plain(value)) or next(iter(close), None)
            )
        if self._near[value] is not None:
            self.near_misses[value, self._near[value]] += 1

    def check_id(self, class_id: int, where: str) -> None:
        """Check that a class id is in the class list, or stands for no action.

        Raises:
            UserError: it is not.
        """
        if class_id != NO_ACTION and class_id not in self.names:
            ids = f"{min(self.names)} to {max(self.names)}"
            raise UserError(f"{where}: class {class_id} is not in the class list (ids {ids})")

    def _nearest(self, label: str) -> str:
        return difflib.get_close_matches(label, self._ids, n=1, cutoff=0.0)[0]


def _text(name: str) -> str:
    """Return a name as it looks: letters in their composed form, single spaces."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def number(value: object, where: str, what: str) -> float:
    """Return a finite number that is given as a number or text.

    Raises:
        UserError: it is not one.
    """
    try:
        result = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        result = math.nan
    if not math.isfinite(result):
        raise UserError(f"{where}: {what} is {shortened(value)}, expected a number")
    return result


def whole_number(value: object, where: str, what: str) -> int:
    """Return a whole number that is given as a number or text.

    Raises:
        UserError: it is not one.
    """
    result = number(value, where, what)
    if result != int(result) or abs(result) > 1e12:
        raise UserError(f"{where}: {what} is {shortened(value)}, expected a whole number")
    return int(result)


def shortened(value: object) -> str:
    """Return a value as a file has it, for a message: at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def tell_units(boxes: Sequence[Box], source: Path) -> str:
    """Return "shares" or "pixels", whichever the coordinates of boxes must be.

    Raises:
        UserError: it cannot be told.
    """
    largest = max(max(box.corners) for box in boxes)
    if largest <= _SHARES_UP_TO:
        return "shares"
    if largest > _PIXELS_FROM:
        return "pixels"
    raise UserError(
        f"{source}: the largest coordinate is {largest:g}, which may be a share of the frame or pixels; "
        "say --coordinates normalized or --coordinates pixels"
    )


def in_shares(
    box: Box, units: str, size: tuple[int, int], shown_size: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """Return the corners of a box as shares of the frame, in [0, 1]; None if it lies outside of the frame.

    Args:
        box: a box.
        units: of its corners, shares or pixels, where it does not say.
        size: width and height of the video's upright frames.
        shown_size: the same as a player shows them, where pixels are not square.

    Raises:
        UserError: the box is empty, reaches far beyond the frame, is given in other units, or was drawn on images of
            another shape.
    """
    x1, y1, x2, y2 = box.corners
    if not (x1 < x2 and y1 < y2):
        raise UserError(f"{box.where}: box {_show(box.corners)}, expected x1 < x2 and y1 < y2")
    width, height = box.size or (shown_size if box.is_shown else size)
    if box.size and not any(_same_shape(box.size, other) for other in (size, shown_size)):
        turned = _same_shape(box.size[::-1], size)
        raise UserError(
            f"{box.where}: was drawn on images of {width} x {height}, but the video's frames are {size[0]} x "
            f"{size[1]}; {'annotate the video upright' if turned else 'is it the video that was annotated?'}"
        )
    if (box.units or units) == "pixels":
        if x2 - x1 < 1 or y2 - y1 < 1:
            raise UserError(
                f"{box.where}: box {_show(box.corners)} is smaller than a pixel; the other boxes are in pixels"
            )
        x1, y1, x2, y2 = x1 / width, y1 / height, x2 / width, y2 / height
    clipped = tuple(min(max(0.0, value), 1.0) for value in (x1, y1, x2, y2))
    if not (clipped[0] < clipped[2] and clipped[1] < clipped[3]):
        return None
    if not box.is_whole and (min(x1, y1) < -_EDGE_SLACK or max(x2, y2) > 1 + _EDGE_SLACK):
        raise UserError(
            f"{box.where}: box {_show(box.corners)} in {box.units or units} reaches beyond the frame of {width} x "
            f"{height}; is it the video that was annotated?"
        )
    return clipped


def enclosing(points: Iterable[tuple[float, float]]) -> tuple[float, float, float, float]:
    """Return the corners of the box that encloses some points."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def enclosing_turned(corners: tuple[float, float, float, float], degrees: float) -> tuple[float, float, float, float]:
    """Return the corners of the box that encloses a box turned about its middle."""
    if not degrees % 360:
        return corners
    x1, y1, x2, y2 = corners
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return enclosing(
        (x + (px - x) * cos - (py - y) * sin, y + (px - x) * sin + (py - y) * cos) for px in (x1, x2) for py in (y1, y2)
    )


def enclosing_ellipse(x: float, y: float, rx: float, ry: float, angle: float) -> tuple[float, float, float, float]:
    """Return the corners of the box that encloses an ellipse about x, y, turned by `angle`, in radians."""
    width = math.hypot(rx * math.cos(angle), ry * math.sin(angle))
    height = math.hypot(rx * math.sin(angle), ry * math.cos(angle))
    return x - width, y - height, x + width, y + height


def _same_shape(first: tuple[int, int], second: tuple[int, int]) -> bool:
    ratio = first[0] * second[1] / (first[1] * second[0])
    return abs(ratio - 1) < _SHAPE_SLACK


def _show(corners: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in corners)
