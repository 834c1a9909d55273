"""Box annotations as tools write them: AVA's columns, CVAT's XML, COCO-style JSON."""

import difflib
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from src.ava.box_csv import read_rows
from src.ava.rows import NO_ACTION, FrameRow, RowRule
from src.utils.errors import UserError

# Between these a largest coordinate is neither clearly a share of the frame nor clearly pixels.
_NORMALISED_UP_TO, _PIXELS_FROM = 1.001, 2.0
_FRAME_FILE = re.compile(r"(?P<video>.+)_(?P<number>\d+)$")


@dataclass(frozen=True)
class Box:
    """One annotated person.

    Attributes:
        video: name of the video as the file gives it.
        second: when; None where `frame` says it.
        frame: frame of the video from 0, at the video's own rate; None where `second` says it.
        corners: x1 y1 x2 y2, as in the file.
        classes: class ids; (-1,) for a person without an action.
        last: person number or score, as in the file.
        where: file and row, for messages.
    """

    video: str
    second: float | None
    frame: int | None
    corners: tuple[float, float, float, float]
    classes: tuple[int, ...]
    last: str
    where: str


def read_boxes(path: Path, class_names: Mapping[int, str], fps: int) -> list[Box]:
    """Read a box file, or all of a folder; the format follows from the suffix .csv, .xml or .json.

    Args:
        path: a file, or a folder of such files.
        class_names: class name by id (from 1).
        fps: frames a second of extracted frames, to read times off names like NAME_000031.jpg.

    Raises:
        UserError: naming file and row, for what cannot be read or is not in the class list.
    """
    readers = {".csv": _read_csv, ".xml": _read_cvat, ".json": _read_coco}
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in readers) if path.is_dir() else [path]
    boxes: list[Box] = []
    for file in files:
        reader = readers.get(file.suffix.lower())
        if reader is None:
            raise UserError(f"{file}: expected a .csv (AVA's columns), .xml (CVAT) or .json (COCO-style) file")
        try:
            boxes += reader(file, class_names, fps)
        except OSError as error:
            raise UserError(f"{file}: cannot read the boxes: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{file}: not a text file in UTF-8") from error
    if not boxes:
        raise UserError(f"{path}: holds no boxes")
    return boxes


def tell_coordinates(boxes: Sequence[Box], source: Path) -> str:
    """Return "normalised" or "pixels", whichever the coordinates of `boxes` must be.

    Raises:
        UserError: it cannot be told.
    """
    largest = max(max(box.corners) for box in boxes)
    if largest <= _NORMALISED_UP_TO:
        return "normalised"
    if largest > _PIXELS_FROM:
        return "pixels"
    raise UserError(
        f"{source}: the largest coordinate is {largest:g}, which may be a share of the frame or pixels; "
        "say --coordinates normalised or --coordinates pixels"
    )


def normalise(box: Box, coordinates: str, width: int, height: int) -> tuple[float, float, float, float]:
    """Return the corners of a box as shares of the frame, in [0, 1].

    Raises:
        UserError: the box is empty, lies outside the frame, or is given in the other kind of coordinates.
    """
    x1, y1, x2, y2 = box.corners
    if not (x1 < x2 and y1 < y2):
        raise UserError(f"{box.where}: box {_show(box)}, expected x1 < x2 and y1 < y2")
    if coordinates == "pixels":
        if x2 - x1 < 1 or y2 - y1 < 1:
            raise UserError(f"{box.where}: box {_show(box)} is smaller than a pixel; the other boxes are in pixels")
        x1, y1, x2, y2 = x1 / width, y1 / height, x2 / width, y2 / height
    # Detectors and hand-drawn boxes reach a little over the edge; more than a twentieth is a mistake.
    if min(x1, y1) < -0.05 or max(x2, y2) > 1.05:
        raise UserError(
            f"{box.where}: box {_show(box)} in {coordinates} reaches beyond the frame of {width} x {height}; "
            "is it the video that was annotated?"
        )
    clipped = tuple(min(max(value, 0.0), 1.0) for value in (x1, y1, x2, y2))
    if not (clipped[0] < clipped[2] and clipped[1] < clipped[3]):
        raise UserError(f"{box.where}: box {_show(box)} lies outside the frame of {width} x {height}")
    return clipped


def _read_csv(path: Path, class_names: Mapping[int, str], fps: int) -> Iterator[Box]:
    """Yield the rows video,second,x1,y1,x2,y2,class[,person or score]; those of two fields have no box."""
    for row_number, row in read_rows(path, RowRule(scored=False)):
        where = f"{path}: row {row_number}"
        if isinstance(row, FrameRow):
            continue
        if row.second != int(row.second):
            raise UserError(f"{where}: second is {row.second:g}, expected a whole number: key frames are whole seconds")
        if row.class_id != NO_ACTION and row.class_id not in class_names:
            raise UserError(f"{where}: class {row.class_id} is not in the class list (ids {_ids(class_names)})")
        yield Box(row.video, row.second, None, row.corners, (row.class_id,), row.last, where)


def _read_cvat(path: Path, class_names: Mapping[int, str], fps: int) -> Iterator[Box]:
    """Yield the boxes of `CVAT for video 1.1` (tracks) and `CVAT for images 1.1`.

    A box stands for the classes that its label, the values of its attributes, and its ticked checkboxes name.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: not an XML file: {error}") from error
    if root.tag != "annotations":
        raise UserError(f"{path}: the outermost element is <{root.tag}>, expected <annotations> as CVAT exports it")
    source = root.findtext("meta/source") or root.findtext("meta/job/source") or root.findtext("meta/task/source")
    video = source or path.stem
    names = ("xtl", "ytl", "xbr", "ybr")
    for number, track in enumerate(root.iter("track"), start=1):
        for element in track.iter("box"):
            where = f"{path}: track {track.get('id', number)}, frame {element.get('frame')}"
            if element.get("outside") == "1":
                continue
            corners = tuple(_number(element.get(name), where, name) for name in names)
            classes = _named_classes(track.get("label"), _cvat_attributes(element), class_names, where)
            frame = int(_number(element.get("frame"), where, "frame"))
            yield Box(video, None, frame, corners, classes, track.get("id", str(number)), where)
    for image in root.iter("image"):
        where = f"{path}: image {image.get('name')}"
        name, second = _video_and_second(image.get("name") or "", fps, where)
        for person, element in enumerate(image.iter("box")):
            corners = tuple(_number(element.get(key), where, key) for key in names)
            classes = _named_classes(element.get("label"), _cvat_attributes(element), class_names, where)
            yield Box(name, second, None, corners, classes, str(person), where)


def _read_coco(path: Path, class_names: Mapping[int, str], fps: int) -> Iterator[Box]:
    """Yield the boxes of a COCO-style file.

    An image's `video` and `second` (or `frame`, from 0 at the video's rate) say what it shows; without them its file
    name does, as extracted frames are named: NAME_000031.jpg.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not a JSON file: {error}") from error
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ("images", "annotations", "categories")
    ):
        raise UserError(f"{path}: expected an object with the lists images, annotations and categories")
    try:
        images = {image["id"]: image for image in content["images"]}
        categories = {category["id"]: category["name"] for category in content["categories"]}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: an image or category lacks {error}") from error
    for index, annotation in enumerate(content["annotations"]):
        where = f"{path}: annotation {annotation.get('id', index)}"
        try:
            image, label = images[annotation["image_id"]], categories[annotation["category_id"]]
            x, y, width, height = (float(value) for value in annotation["bbox"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{where}: expected image_id, category_id and bbox [x, y, width, height]: {error}"
            ) from error
        if "video" in image and ("second" in image or "frame" in image):
            video, second, frame = str(image["video"]), image.get("second"), image.get("frame")
            frame = None if second is not None else frame
        else:
            video, second = _video_and_second(str(image.get("file_name", "")), fps, where)
            frame = None
        attributes = annotation.get("attributes") or {}
        named = {str(key): str(value).lower() if value is True else str(value) for key, value in attributes.items()}
        classes = _named_classes(label, named, class_names, where)
        person = str(annotation.get("track_id", named.get("track_id", index)))
        yield Box(video, second, frame, (x, y, x + width, y + height), classes, person, where)


def _cvat_attributes(element: ElementTree.Element) -> dict[str, str]:
    return {attribute.get("name", ""): attribute.text or "" for attribute in element.iter("attribute")}


def _named_classes(
    label: str | None, attributes: Mapping[str, str], class_names: Mapping[int, str], where: str
) -> tuple[int, ...]:
    """Return the classes that a label and its attributes name; (-1,) where attributes name none."""
    ids = {name: class_id for class_id, name in class_names.items()}
    named = [label, *attributes.values(), *(name for name, value in attributes.items() if value == "true")]
    classes = tuple(sorted({ids[name] for name in named if name in ids}))
    if not classes and not attributes:
        nearest = difflib.get_close_matches(str(label), ids, n=1, cutoff=0.0)[0]
        raise UserError(f"{where}: label {label!r} is not in the class list; the nearest class is {nearest!r}")
    return classes or (NO_ACTION,)


def _video_and_second(file_name: str, fps: int, where: str) -> tuple[str, float]:
    """Read video and time off the name of an extracted frame, NAME_000031.jpg."""
    match = _FRAME_FILE.match(Path(file_name).stem)
    if not match or int(match["number"]) < 1:
        raise UserError(f"{where}: cannot tell video and time from {file_name!r}, expected a name as NAME_000031.jpg")
    return match["video"], (int(match["number"]) - 1) / fps


def _number(text: str | None, where: str, what: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {what} is {text!r}, expected a number") from error


def _show(box: Box) -> str:
    return " ".join(f"{value:g}" for value in box.corners)


def _ids(class_names: Mapping[int, str]) -> str:
    return f"{min(class_names)} to {max(class_names)}"
