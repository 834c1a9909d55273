"""Readers of box files, one for each program's format; `read_boxes` tells which it is from suffix and content."""

import csv
import io
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import pydantic

from src.ava.box_csv import read_rows
from src.ava.label_map import ClassList, read_class_list
from src.ava.rows import NO_ACTION, FrameRow, RowRule
from src.ava.text_files import read_text
from src.ava.tube_files import holds_tube_annotations
from src.checkpoint.safe_pickle import PickledArray, as_array, read_pickle
from src.datasets.prepare.box import Box, Classes, enclosing, enclosing_ellipse, number, whole_number
from src.datasets.prepare.tube_boxes import read_tubes
from src.utils.errors import UserError

# NAME_000031; in a folder that is named after the video also 000031 or img000031.
_IMAGE_NAME = re.compile(r"(?:(?P<video>.+)_|[^_]*?)(?P<number>\d{1,12})")
_SHOWN_BYTES = 200
_ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"}
# An hour at 30 frames a second: what lies farther apart in a track is a slip of the pen.
_MOST_FRAMES_BETWEEN = 108_000
# What labelImg, CVAT and Ultralytics call their list of classes.
_YOLO_NAMES = ("classes.txt", "obj.names", "data.yaml")
_CVAT_FRAME_NAME = re.compile(r"frame_(\d+)$")


@dataclass(frozen=True)
class _Format:
    """One program's way of writing boxes.

    Attributes:
        name: for people.
        suffix: of its files.
        fits: whether content is of this format; content is parsed JSON, the outermost XML element, or text.
        read: from path, content and classes to boxes.
    """

    name: str
    suffix: str
    fits: Callable[[object], bool]
    read: Callable[[Path, object, Classes], Iterator[Box]]


def read_boxes(path: Path, classes: Classes) -> dict[Path, list[Box]]:
    """Read a box file, or all of a folder and the folders below it; returns boxes by file.

    Raises:
        UserError: naming file and row, for what cannot be read or is not in the class list.
    """
    files = _box_files(path) if path.is_dir() else [path]
    boxes: dict[Path, list[Box]] = {}
    for file in files:
        try:
            boxes[file] = list(_read_file(file, classes))
        except OSError as error:
            raise UserError(f"{file}: cannot read the boxes: {error.strerror}") from error
        except UserError as error:  # names in the file may hold line ends
            raise UserError(" ".join(str(error).splitlines())) from error
    if not any(boxes.values()):
        raise UserError(f"{path}: holds no boxes")
    return boxes


def _box_files(folder: Path) -> list[Path]:
    """Return the box files of a folder; texts that are no boxes are told and passed over."""
    files = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in _SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        if path.name in _YOLO_NAMES:
            continue
        if path.suffix.lower() == ".txt" and not _is_box_text(path):
            print(f"custom: note: {path} is passed over: neither its name nor its content is that of a box file")
            continue
        files.append(path)
    if not files:
        raise UserError(f"{folder}: holds no box files; {_TAKEN}")
    return files


def _is_box_text(path: Path) -> bool:
    with path.open("rb") as file:
        first_line = file.readline(_SHOWN_BYTES).decode("utf-8", "replace")
    match = _IMAGE_NAME.fullmatch(_image_stem(path.name))
    return _is_mot(first_line) or bool(match and (match["video"] or _is_yolo(first_line)))


def _is_mot(content: str) -> bool:
    return re.match(r"\s*\d+(\.0*)?\s*,", content) is not None


def _is_yolo(content: str) -> bool:
    return re.match(r"\s*(\d+\s+[-\d.]|$)", content) is not None


def read_json(path: Path) -> object:
    """Return the content of a JSON file.

    Raises:
        UserError: it is none.
    """
    try:
        return json.loads(read_text(path, "JSON file"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a JSON file: {error}") from error


def _read_file(path: Path, classes: Classes) -> Iterator[Box]:
    suffix = path.suffix.lower()
    if suffix in _ARCHIVES:
        raise UserError(f"{path}: is an archive; unpack it, and give the file or folder that it holds")
    if suffix not in _SUFFIXES:
        raise UserError(f"{path}: cannot tell the format from its suffix; {_TAKEN}")
    content = _PARSERS[suffix](path)
    for entry in _FORMATS:
        if entry.suffix == suffix and entry.fits(content):
            return entry.read(path, content, classes)
    raise UserError(f"{path}: {_looks_like(content)}; {_TAKEN}")


def _looks_like(content: object) -> str:
    """Say what unknown content looks like."""
    if isinstance(content, dict):
        return f"is an object with {', '.join(map(repr, list(content)[:4])) or 'nothing'}, which no known tool writes"
    if isinstance(content, list):
        first = content[0] if content else None
        inside = f" of objects with {', '.join(map(repr, list(first)[:4]))}" if isinstance(first, dict) else ""
        return f"is a list{inside}, which no known tool writes"
    if isinstance(content, ElementTree.Element):
        return f"the outermost element is <{content.tag}>, expected <annotations> (CVAT) or <annotation> (Pascal VOC)"
    return f"begins with {str(content)[:40]!r}, which is no known form"


def _parse_xml(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(read_text(path, "XML file").encode())
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path}: not an XML file: {error}") from error


# AVA's columns ------------------------------------------------------------------------------------------------------


def _read_csv(path: Path, content: str, classes: Classes) -> Iterator[Box]:
    """Yield the rows video,second,x1,y1,x2,y2,class[,person or score]; those of two fields have no box."""
    for row_number, row in read_rows(path, RowRule(scored=False)):
        where = f"{path}: row {row_number}"
        if isinstance(row, FrameRow):
            classes.empty_rows += 1
            continue
        classes.check_id(row.class_id, where)
        yield Box(
            row.video, row.corners, (row.class_id,), row.last, where, score=row.last, second=row.second, is_ava=True
        )


def _rows(path: Path, content: str) -> Iterator[tuple[int, list[str]]]:
    rows = csv.reader(io.StringIO(content))
    try:
        for row in rows:
            if row:
                yield rows.line_num, row
    except csv.Error as error:
        raise UserError(f"{path}: row {rows.line_num}: not a CSV row: {error}") from error


# CVAT ---------------------------------------------------------------------------------------------------------------

_CVAT_SHAPES = ("box", "polygon", "polyline", "points", "ellipse", "mask", "skeleton", "cuboid")


def _read_cvat(path: Path, root: ElementTree.Element, classes: Classes) -> Iterator[Box]:
    """Yield the boxes of `CVAT for video 1.1` and `CVAT for images 1.1`, of a task, a job or a project.

    A box stands for the classes that its label, the values of its attributes, and its ticked checkboxes name; other
    shapes and turned boxes count as the box that encloses them. Tags have no place.
    """
    tasks = {task.findtext("id"): _cvat_video(task) for task in root.iterfind("meta/project/tasks/task")}
    source = next(filter(None, (_cvat_video(root.find(f"meta/{kind}")) for kind in ("task", "job", ""))), None)
    size = _cvat_size(root.find("meta//original_size"))
    sizes = {task.findtext("id"): _cvat_size(task.find("original_size")) for task in root.iterfind("meta//task")}
    for count, track in enumerate(root.iter("track"), start=1):
        where = f"{path}: track {track.get('id', count)}"
        video = source or path.stem
        if tasks:
            video = tasks.get(track.get("task_id"))
            if video is None:
                raise UserError(f"{where}: belongs to task {track.get('task_id')!r}, which meta/project does not name")
        for element in track:
            if element.tag not in _CVAT_SHAPES or element.get("outside") == "1":
                continue
            place = f"{where}, frame {element.get('frame')}"
            frame = whole_number(element.get("frame"), place, "frame")
            named = classes.named(track.get("label"), _cvat_attributes(element), place)
            yield Box(
                video,
                _cvat_corners(element, place),
                named,
                track.get("id", str(count)),
                place,
                frame=frame,
                size=sizes.get(track.get("task_id")) or size,
                units="pixels",
                is_whole=True,
            )
    for image in root.iter("image"):
        classes.unread["tag (CVAT)"] += len(image.findall("tag"))
        where = f"{path}: image {image.get('name')}"
        video = tasks.get(image.get("task_id")) if tasks else source
        time = _cvat_time(image.get("name") or "", video, where)
        for person, element in enumerate(shape for shape in image if shape.tag in _CVAT_SHAPES):
            named = classes.named(element.get("label"), _cvat_attributes(element), where)
            size = _size(image.get("width"), image.get("height"), where)
            yield Box(
                corners=_cvat_corners(element, where),
                classes=named,
                last=str(person),
                where=where,
                size=size,
                units="pixels",
                is_whole=True,
                **time,
            )


def _cvat_video(element: ElementTree.Element | None) -> str | None:
    """Return the video of a task or job: its source file, else its name if that is a file's."""
    if element is None:
        return None
    return element.findtext("source") or (element.findtext("name") if element.tag == "task" else None)


def _cvat_size(element: ElementTree.Element | None) -> tuple[int, int] | None:
    if element is None or not (element.findtext("width") and element.findtext("height")):
        return None
    return _size(element.findtext("width"), element.findtext("height"), "meta/original_size")


def _cvat_time(name: str, video: str | None, where: str) -> dict[str, object]:
    """Tell video and time of an image: CVAT names those of a video frame_000030, from 0."""
    match = _CVAT_FRAME_NAME.fullmatch(Path(name).stem)
    if match and video:
        return {"video": video, "frame": int(match[1])}
    return _image_time(name, where)


def _cvat_corners(element: ElementTree.Element, where: str) -> tuple[float, float, float, float]:
    """Return the corners of a shape, or of the box that encloses it."""

    def value(name: str) -> float:
        return number(element.get(name), where, name)

    if element.tag == "box":
        corners = tuple(value(name) for name in ("xtl", "ytl", "xbr", "ybr"))
        angle = math.radians(number(element.get("rotation", "0"), where, "rotation"))
        return _turned(corners, angle) if angle else corners
    if element.tag == "ellipse":
        x, y, rx, ry = (value(name) for name in ("cx", "cy", "rx", "ry"))
        angle = math.radians(number(element.get("rotation", "0"), where, "rotation"))
        return enclosing_ellipse(x, y, rx, ry, angle)
    if element.tag == "mask":
        x, y, width, height = (value(name) for name in ("left", "top", "width", "height"))
        return x, y, x + width, y + height
    if element.tag == "cuboid":
        corners = [f"{depth}{side}{face}" for depth in "tb" for side in "lr" for face in "12"]
        return enclosing((value(f"x{corner}"), value(f"y{corner}")) for corner in corners)
    if element.tag == "skeleton":
        visible = [point for point in element.iter("points") if point.get("outside") != "1"]
        texts = [point.get("points") or "" for point in visible or element.iter("points")]
    else:
        texts = (element.get("points") or "").split(";")
    points = [text.split(",") for text in texts]
    if not points or any(len(pair) != 2 for pair in points):
        raise UserError(f"{where}: points are {';'.join(texts)!r}, expected x,y;x,y and so on")
    return enclosing((number(x, where, "x"), number(y, where, "y")) for x, y in points)


def _turned(corners: tuple[float, float, float, float], angle: float) -> tuple[float, float, float, float]:
    """Return the box that encloses a box turned about its middle."""
    x1, y1, x2, y2 = corners
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    cos, sin = math.cos(angle), math.sin(angle)
    return enclosing(
        (x + (px - x) * cos - (py - y) * sin, y + (px - x) * sin + (py - y) * cos) for px in (x1, x2) for py in (y1, y2)
    )


def _cvat_attributes(element: ElementTree.Element) -> dict[str, str]:
    return {attribute.get("name", ""): attribute.text or "" for attribute in element.iter("attribute")}


# COCO ---------------------------------------------------------------------------------------------------------------


class _CocoModel(pydantic.BaseModel):
    """Numbers may stand in quotes, but must be finite."""

    model_config = pydantic.ConfigDict(allow_inf_nan=False, coerce_numbers_to_str=True)


class _CocoImage(_CocoModel):
    id: str
    file_name: str = ""
    video: str | None = None
    second: float | None = None
    frame: int | None = None
    width: int | None = pydantic.Field(None, gt=0)
    height: int | None = pydantic.Field(None, gt=0)


class _CocoCategory(_CocoModel):
    id: str
    name: str


_Entry = TypeVar("_Entry", _CocoImage, _CocoCategory)


class _CocoAnnotation(_CocoModel):
    image_id: str
    category_id: str
    bbox: tuple[float, float, float, float]
    score: float | None = None
    track_id: str | None = None
    iscrowd: bool = False
    attributes: dict[str, object] | list[object] | None = None


def _read_coco(path: Path, content: dict, classes: Classes) -> Iterator[Box]:
    """Yield the boxes of a COCO-style file.

    An image's `video` and `second` (or `frame`, from 0) say what it shows; without them its file name does, as
    extracted images are named: NAME_000031.jpg.
    """
    for key in ("images", "annotations", "categories"):
        if not isinstance(content[key], list):
            raise UserError(f"{path}: {key} is no list")
    images = [_validated(_CocoImage, entry, f"{path}: image {index}") for index, entry in enumerate(content["images"])]
    by_id = _by_id(images, path, "image")
    for image_id, image in by_id.items():
        # A later file of results may refer to it, if no other file gives another image this number.
        known = classes.images.setdefault(image_id, image)
        classes.images[image_id] = image if known == image else None
    categories = [
        _validated(_CocoCategory, entry, f"{path}: category {index}")
        for index, entry in enumerate(content["categories"])
    ]
    names = {category_id: category.name for category_id, category in _by_id(categories, path, "category").items()}
    for index, entry in enumerate(content["annotations"]):
        where = f"{path}: annotation {entry.get('id', index) if isinstance(entry, dict) else index}"
        annotation = _validated(_CocoAnnotation, entry, where)
        if annotation.image_id not in by_id:
            raise UserError(f"{where}: there is no image {annotation.image_id!r}")
        if annotation.category_id not in names:
            raise UserError(f"{where}: there is no category {annotation.category_id!r}")
        attributes = _coco_attributes(annotation.attributes)
        named = classes.named(names[annotation.category_id], attributes, where)
        person = annotation.track_id or attributes.get("track_id") or str(index)
        yield _coco_box(annotation, by_id[annotation.image_id], named, person, where)


def _by_id(entries: Sequence[_Entry], path: Path, what: str) -> dict[str, _Entry]:
    """Return images or categories by id.

    Raises:
        UserError: two of them share one.
    """
    result: dict[str, _Entry] = {}
    for entry in entries:
        if result.setdefault(entry.id, entry) != entry:
            raise UserError(f"{path}: {what} {entry.id!r} is there twice, with different content")
    return result


def _read_coco_results(path: Path, content: list, classes: Classes) -> Iterator[Box]:
    """Yield the boxes of COCO's results: a list of image_id, category_id, bbox and score.

    Images are those of the COCO file that was read before; without one the image's id must be its file name.
    """
    for index, entry in enumerate(content):
        where = f"{path}: result {index}"
        annotation = _validated(_CocoAnnotation, entry, where)
        if annotation.score is None:
            raise UserError(f"{where}: has no score")
        unknown = _CocoImage(id=annotation.image_id, file_name=annotation.image_id)
        image = classes.images.get(annotation.image_id, unknown)
        if image is None:
            raise UserError(f"{where}: image {annotation.image_id!r} stands for several images in the COCO files")
        yield _coco_box(annotation, image, (NO_ACTION,), str(index), where)


def _coco_box(annotation: _CocoAnnotation, image: _CocoImage, named: tuple[int, ...], person: str, where: str) -> Box:
    x, y, width, height = annotation.bbox
    if image.video is not None and image.second is not None:
        time = {"video": image.video, "second": image.second}
    elif image.video is not None and image.frame is not None:
        time = {"video": image.video, "frame": image.frame}
    else:
        time = _image_time(image.file_name, where)
    return Box(
        corners=(x, y, x + width, y + height),
        classes=named,
        last=person,
        where=where,
        score=None if annotation.score is None else str(annotation.score),
        size=(image.width, image.height) if image.width and image.height else None,
        units="pixels" if image.width and image.height and max(annotation.bbox) > 1 else None,
        is_marked=annotation.iscrowd,
        **time,
    )


def _coco_attributes(attributes: dict[str, object] | list[object] | None) -> dict[str, str]:
    """Return attributes as text by name; a list holds values without names."""
    named = dict(enumerate(attributes)) if isinstance(attributes, list) else attributes or {}
    return {str(name): "" if value is None else str(value) for name, value in named.items()}


def _validated(model: type[_CocoModel], entry: object, where: str) -> _CocoModel:
    try:
        return model.model_validate(entry)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(f"{where}: {field + ': ' if field else ''}{first['msg']}") from error


# Label Studio -------------------------------------------------------------------------------------------------------


def _read_label_studio(path: Path, content: list, classes: Classes) -> Iterator[Box]:
    """Yield the boxes of Label Studio's rectangles: of images, and of videos, between key frames by interpolation."""
    for index, task in enumerate(content):
        where = f"{path}: task {index}"
        data = _typed(task, dict, where).get("data")
        names = filter(None, map(_label_studio_file, _typed(data, dict, f"{where}: data").values()))
        name = next(names, None)
        if name is None:
            raise UserError(f"{where}: data names no file")
        # What was uploaded has eight digits before its name.
        plain_name = re.sub(r"^[0-9a-f]{8}-", "", name)
        annotation = _label_studio_annotation(task, classes, where)
        regions = _typed(annotation.get("result"), list, f"{where}: result")
        for person, region in enumerate(regions):
            kind, place = _typed(region, dict, where).get("type"), f"{where}: {person}"
            if kind == "videorectangle":
                yield from _label_studio_track(region, (name, plain_name), str(person), classes, place)
            elif kind in ("rectanglelabels", "rectangle"):
                yield _label_studio_box(region, (name, plain_name), str(person), classes, place)
            else:
                classes.unread[f"{str(kind)[:40]!r} (Label Studio)"] += 1


def _label_studio_file(value: object) -> str | None:
    """Return the name of the file that a path or an address leads to; None: it is neither."""
    if not isinstance(value, str):
        return None
    try:
        address = urlsplit(value)
    except ValueError:
        return None
    # Files of the server's own disk are /data/local-files/?d=FOLDER/NAME.
    path = parse_qs(address.query).get("d", [unquote(address.path)])[0]
    name = PureWindowsPath(path).name
    return name if re.search(r"\.[A-Za-z]\w*$", name) else None


def _label_studio_annotation(task: dict, classes: Classes, where: str) -> dict:
    """Return the annotation of a task that counts: of several, the one that is marked as the ground truth.

    Raises:
        UserError: several people annotated it, and none or more than one is marked.
    """
    every = [_typed(entry, dict, where) for entry in _typed(task.get("annotations"), list, f"{where}: annotations")]
    finished = [entry for entry in every if not entry.get("was_cancelled")]
    classes.unread["task that was skipped (Label Studio)"] += len(every) - len(finished)
    chosen = finished if len(finished) < 2 else [entry for entry in finished if entry.get("ground_truth")]
    if finished and len(chosen) != 1:
        raise UserError(
            f"{where}: holds {len(finished)} annotations of the same persons; mark one as the ground truth "
            "(Label Studio's star), or remove the others"
        )
    return chosen[0] if chosen else {"result": []}


def _label_studio_classes(value: dict, key: str, classes: Classes, where: str) -> tuple[int, ...]:
    labels = [str(label) for label in _typed(value.get(key, []), list, f"{where}: labels")]
    return tuple(sorted({class_id for label in labels for class_id in classes.named(label, {}, where)})) or (NO_ACTION,)


def _label_studio_box(region: dict, names: tuple[str, str], person: str, classes: Classes, where: str) -> Box:
    """Return the rectangle of an extracted image; coordinates are in percent."""
    value = _typed(region.get("value"), dict, where)
    if number(value.get("rotation", 0), where, "rotation"):
        raise UserError(f"{where}: a turned rectangle in shares of the frame cannot be read; draw it upright")
    x, y, width, height = (number(value.get(key), where, key) / 100 for key in ("x", "y", "width", "height"))
    time = _image_time(names[1], where)
    named = _label_studio_classes(value, "rectanglelabels", classes, where)
    return Box(corners=(x, y, x + width, y + height), classes=named, last=person, where=where, units="shares", **time)


def _label_studio_track(
    region: dict, names: tuple[str, str], person: str, classes: Classes, where: str
) -> Iterator[Box]:
    value = _typed(region.get("value"), dict, where)
    named = _label_studio_classes(value, "labels", classes, where)
    frames = value.get("framesCount")
    frames = None if frames is None else whole_number(frames, where, "framesCount")
    steps = [
        (
            whole_number(step.get("frame"), where, "frame") - 1,
            tuple(number(step.get(key), where, key) / 100 for key in ("x", "y", "width", "height")),
            step.get("enabled", True) is True,
            number(step.get("rotation", 0), where, "rotation"),
        )
        for step in (_typed(step, dict, where) for step in _typed(value.get("sequence"), list, f"{where}: sequence"))
    ]
    if any(angle for *_, angle in steps):
        raise UserError(f"{where}: a turned rectangle in shares of the frame cannot be read; draw it upright")
    steps.sort(key=lambda step: step[0])
    for (frame, shape, is_on, _), following in zip(steps, [*steps[1:], None], strict=True):
        end = following[0] if following and is_on else frame + 1
        if end - frame > _MOST_FRAMES_BETWEEN:
            raise UserError(f"{where}: frames {frame + 1} and {end + 1} of its sequence lie too far apart")
        for at in range(frame, max(end, frame + 1)):
            part = (at - frame) / (end - frame) if following and is_on and end > frame else 0.0
            target = following[1] if following else shape
            x, y, width, height = (a + (b - a) * part for a, b in zip(shape, target, strict=True))
            yield Box(
                names[0],
                (x, y, x + width, y + height),
                named,
                person,
                f"{where}, frame {at}",
                frame=at,
                other_names=names[1:],
                frames=frames,
                units="shares",
            )


# VIA ----------------------------------------------------------------------------------------------------------------


def _read_via_project(path: Path, content: dict, classes: Classes) -> Iterator[Box]:
    """Yield the rectangles of a project of the VGG Image or Video Annotator 3."""
    attributes = _typed(content.get("attribute", {}), dict, f"{path}: attribute")
    files = _typed(content.get("file"), dict, f"{path}: file")
    views = _typed(content.get("view"), dict, f"{path}: view")
    for person, (key, entry) in enumerate(_typed(content["metadata"], dict, f"{path}: metadata").items()):
        where = f"{path}: metadata {key}"
        entry = _typed(entry, dict, where)
        shape = _typed(entry.get("xy"), list, f"{where}: xy")
        if not shape:
            continue  # a span of time without a place
        view = _typed(views.get(str(entry.get("vid"))), dict, f"{where}: view")
        fid = next(iter(_typed(view.get("fid_list"), list, f"{where}: fid_list")), None)
        name = _typed(files.get(str(fid)), dict, f"{where}: file").get("fname")
        values = {}
        for attribute, value in _typed(entry.get("av", {}), dict, f"{where}: av").items():
            known = _typed(attributes.get(attribute, {}), dict, where)
            options = _typed(known.get("options", {}), dict, where)
            values[str(known.get("aname", attribute))] = str(options.get(str(value), value))
        yield _via_box(name, entry.get("z"), shape, values, str(person), classes, where)


def _read_via_csv(path: Path, content: str, classes: Classes) -> Iterator[Box]:
    """Yield the rectangles of a CSV export of VIA 2 or 3."""
    for row_number, row in _rows(path, content):
        where = f"{path}: row {row_number}"
        if row[0].startswith("#") or row[0] == "filename":
            continue
        if len(row) not in (6, 7):
            raise UserError(f"{where}: {len(row)} columns, expected the 6 of VIA 3 or the 7 of VIA 2")
        try:
            fields = [json.loads(text) for text in (row[1:] if len(row) == 6 else row[5:])]
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: not as VIA writes it: {error}") from error
        if len(row) == 6:
            names, _, times, shape, values = fields
            name = next(iter(_typed(names, list, where)), None)
        else:
            shape_fields, values = (_typed(entry, dict, where) for entry in fields)
            name, times, shape = row[0], [], _via2_shape(shape_fields, where)
        if not shape:
            classes.empty_rows += len(row) == 7
            continue
        values = _via2_values(_typed(values, dict, where))
        if any(value.isdigit() for value in values.values()):
            raise UserError(f"{where}: holds numbers of options instead of their names; export the project as JSON")
        yield _via_box(name, times, _typed(shape, list, where), values, str(row_number), classes, where)


def _read_via2(path: Path, content: dict, classes: Classes) -> Iterator[Box]:
    """Yield the regions of a project or JSON export of VIA 2."""
    for key, entry in content.get("_via_img_metadata", content).items():
        where = f"{path}: {key}"
        regions = entry["regions"]
        regions = list(regions.values()) if isinstance(regions, dict) else _typed(regions, list, where)
        for person, region in enumerate(regions):
            region = _typed(region, dict, where)
            shape = _via2_shape(_typed(region.get("shape_attributes"), dict, where), where)
            values = _via2_values(_typed(region.get("region_attributes", {}), dict, where))
            yield _via_box(entry["filename"], [], shape, values, str(person), classes, where)


def _is_via2(content: object) -> bool:
    images = content.get("_via_img_metadata", content) if isinstance(content, dict) else None
    return (
        isinstance(images, dict)
        and bool(images)
        and all(isinstance(entry, dict) and {"filename", "regions"} <= entry.keys() for entry in images.values())
    )


def _via2_values(attributes: dict) -> dict[str, str]:
    """Return a region's attributes as text by name; a checkbox is an object of its ticked options."""
    values = {str(name): str(value) for name, value in attributes.items() if not isinstance(value, dict)}
    ticked = [options for options in attributes.values() if isinstance(options, dict)]
    return values | {str(option): str(is_on) for options in ticked for option, is_on in options.items()}


def _via2_shape(fields: dict, where: str) -> list:
    """Return a region as the rectangle [2, x, y, width, height] that encloses it; [] where an image has none."""

    def value(name: str) -> float:
        return number(fields.get(name), where, name)

    def values(name: str) -> list[float]:
        return [number(entry, where, name) for entry in _typed(fields.get(name), list, f"{where}: {name}")]

    if not fields:
        return []
    kind = fields.get("name")
    if kind == "rect":
        return [2, *(value(name) for name in ("x", "y", "width", "height"))]
    if kind == "circle":
        corners = enclosing_ellipse(value("cx"), value("cy"), value("r"), value("r"), 0.0)
    elif kind == "ellipse":
        angle = number(fields.get("theta", 0), where, "theta")
        corners = enclosing_ellipse(value("cx"), value("cy"), value("rx"), value("ry"), angle)
    elif kind in ("polygon", "polyline"):
        xs, ys = values("all_points_x"), values("all_points_y")
        if not xs or len(xs) != len(ys):
            raise UserError(f"{where}: has {len(xs)} x and {len(ys)} y coordinates, expected as many of both")
        corners = enclosing(zip(xs, ys, strict=True))
    else:
        raise UserError(f"{where}: shape is {str(kind)[:40]!r}, expected rect, polygon, polyline, circle or ellipse")
    return [2, *corners[:2], corners[2] - corners[0], corners[3] - corners[1]]


def _via_box(
    name: object, times: object, shape: list, values: dict[str, str], person: str, classes: Classes, where: str
) -> Box:
    if len(shape) != 5 or shape[0] != 2:
        raise UserError(f"{where}: shape is {shape}, expected a rectangle [2, x, y, width, height]")
    x, y, width, height = (number(value, where, "coordinate") for value in shape[1:])
    name = _typed(name, str, f"{where}: file name")
    if isinstance(times, list) and times:
        time = {"video": Path(name).name, "second": number(times[0], where, "time")}
    else:
        time = _image_time(name, where)
    named = classes.named(None, values or {"": ""}, where)
    return Box(corners=(x, y, x + width, y + height), classes=named, last=person, where=where, units="pixels", **time)


# MOT, YOLO, Pascal VOC, proposals -----------------------------------------------------------------------------------


def _read_mot(path: Path, content: str, classes: Classes) -> Iterator[Box]:
    """Yield the boxes of MOT Challenge's text: frame (from 1), id, left, top, width, height, confidence and more.

    The video is named as the file, or as the folder around `gt/gt.txt`, in which seqinfo.ini may state the size of the
    frames. Its classes are kinds of objects, no actions.
    """
    size = _mot_size(path.absolute().parents[1] / "seqinfo.ini")
    video = path.absolute().parents[1].name if path.stem in ("gt", "det") else path.stem
    for row_number, row in _rows(path, content):
        where = f"{path}: row {row_number}"
        if len(row) < 6:
            raise UserError(f"{where}: {len(row)} columns, expected frame,id,left,top,width,height and confidence")
        x, y, width, height = (number(text, where, "coordinate") for text in row[2:6])
        frame = whole_number(row[0], where, "frame") - 1
        is_detection = row[1].strip() == "-1"
        confidence = row[6].strip() if len(row) > 6 else "1"
        # In the truth, the seventh column says whether a row counts.
        is_marked = not is_detection and confidence in ("0", "0.0")
        corners = (x, y, x + width, y + height)
        yield Box(
            video,
            corners,
            (NO_ACTION,),
            str(row_number) if is_detection else row[1].strip(),
            where,
            score=confidence,
            frame=frame,
            size=size,
            units="pixels",
            is_marked=is_marked,
            is_whole=True,
        )


def _mot_size(path: Path) -> tuple[int, int] | None:
    if not path.is_file():
        return None
    text = read_text(path, "text file")
    found = dict(re.findall(r"(?m)^(imWidth|imHeight)\s*=\s*(\d+)\s*$", text))
    return _size(found.get("imWidth"), found.get("imHeight"), str(path))


def _read_yolo(path: Path, content: str, classes: Classes) -> Iterator[Box]:
    """Yield the boxes of one image's text file: class (from 0), middle, width and height in shares, perhaps a score.

    Instead of these it may have the corners of a polygon. Classes are those of the list of names that YOLO's tools put
    beside the files, else of the class list in its order. NAME_31.txt is frame 31 (from 1) of the video, as YOLO
    numbers them; NAME_000031.txt an extracted image.
    """
    time = _image_time(path.name, str(path), (path.parent.name, path.parents[1].name))
    if not _IMAGE_NAME.fullmatch(_image_stem(path.name))["number"].startswith("0"):
        time["frame"] = time["image"] - 1
    names = _yolo_names(path, classes)
    for row, line in enumerate(content.splitlines(), start=1):
        where = f"{path}: row {row}"
        fields = line.split()
        if not fields:
            continue
        is_polygon = len(fields) >= 7 and len(fields) % 2 == 1
        if len(fields) not in (5, 6) and not is_polygon:
            raise UserError(f"{where}: {len(fields)} fields, expected class, x, y, width, height and perhaps a score")
        index = whole_number(fields[0], where, "class")
        values = [number(text, where, "coordinate") for text in fields[1 : None if is_polygon else 5]]
        x, y, width, height = values[:4]
        corners = (
            enclosing(zip(values[::2], values[1::2], strict=True))
            if is_polygon
            else (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        )
        score = fields[5] if len(fields) == 6 else None
        named = _yolo_classes(index, names, classes, where) if score is None else (NO_ACTION,)
        yield Box(corners=corners, classes=named, last=str(row), where=where, score=score, units="shares", **time)


def _yolo_classes(index: int, names: ClassList | None, classes: Classes, where: str) -> tuple[int, ...]:
    if names is None:
        classes.check_id(index + 1, where)
        return (index + 1,)
    name = names.names.get(index + 1)
    if name is None:
        raise UserError(f"{where}: class {index} is none of the {len(names.names)} names beside the file")
    return classes.named(name, {}, where)


def _yolo_names(path: Path, classes: Classes) -> ClassList | None:
    """Return the names of YOLO's classes, ids counted from 1, from the list beside a file or in the folders above."""
    for folder in (path.absolute().parent, *path.absolute().parents[1:3]):
        for file in (folder / name for name in _YOLO_NAMES):
            if file not in classes.lists and file.is_file():
                print(f"custom: classes of YOLO's files are those of {file}")
                classes.lists[file] = read_class_list(file)
            if file in classes.lists:
                return classes.lists[file]
    return None


def _read_voc(path: Path, root: ElementTree.Element, classes: Classes) -> Iterator[Box]:
    """Yield the boxes of one image's Pascal VOC file."""
    name = root.findtext("filename") or path.name
    time = _image_time(name, str(path), (root.findtext("folder") or "", path.parent.name))
    own = _IMAGE_NAME.fullmatch(_image_stem(path.name))
    if own and int(own["number"]) != time["image"]:
        raise UserError(f"{path}: says that it is of {name}; is it a copy of another file?")
    size = root.find("size")
    size = None if size is None else _size(size.findtext("width"), size.findtext("height"), str(path))
    for person, element in enumerate(root.iter("object")):
        where = f"{path}: object {person}"
        corners = tuple(
            number(element.findtext(f"bndbox/{key}"), where, key) for key in ("xmin", "ymin", "xmax", "ymax")
        )
        named = classes.named(element.findtext("name"), {}, where)
        yield Box(corners=corners, classes=named, last=str(person), where=where, size=size, units="pixels", **time)


def _read_proposals(path: Path, content: object, classes: Classes) -> Iterator[Box]:
    """Yield the boxes of mmaction2's proposals: arrays of x1 y1 x2 y2 score by "video,second"."""
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: expected boxes by 'video,second', as mmaction2's dense_proposals_*.pkl")
    for key, value in content.items():
        where = f"{path}: {key}"
        video, _, second = str(key).rpartition(",")
        second = whole_number(second, where, "second")
        array = as_array(value, where) if isinstance(value, PickledArray) else None
        if array is None or array.ndim != 2 or array.shape[1] not in (4, 5):
            raise UserError(f"{where}: expected an array of rows x1 y1 x2 y2 score")
        for index, row in enumerate(array.tolist()):
            x1, y1, x2, y2, score = (number(entry, where, "value") for entry in (*row, 1.0)[:5])
            yield Box(
                video,
                (x1, y1, x2, y2),
                (NO_ACTION,),
                str(index),
                f"{where}: {index}",
                score=str(score),
                second=second,
                units="shares",
                is_ava=True,
            )


# What they share ----------------------------------------------------------------------------------------------------


def _image_time(file_name: str, where: str, folders: Sequence[str] = ()) -> dict[str, object]:
    """Read video and number off the name of an image, NAME_000031.jpg or NAME/000031.jpg; NAME may be of `folders`."""
    path = PureWindowsPath(file_name)
    match = _IMAGE_NAME.fullmatch(_image_stem(path.name))
    folders = tuple(filter(None, (path.parent.name, *folders)))
    if not match or not (match["video"] or folders):
        raise UserError(f"{where}: cannot tell video and time from {file_name!r}, expected a name as NAME_000031.jpg")
    return {"video": match["video"] or "", "image": int(match["number"]), "other_names": folders}


def _image_stem(name: str) -> str:
    """Return an image's name without suffix, and without what Roboflow adds: NAME_000031_jpg.rf.0a1b2c.jpg."""
    return re.sub(r"_(jpe?g|png|bmp|webp)\.rf\.\w+$", "", PureWindowsPath(name).stem)


def _size(width: str | None, height: str | None, where: str) -> tuple[int, int] | None:
    """Return a stated width and height; VOC writes 0 where it does not know."""
    if not width or not height:
        return None
    size = whole_number(width, where, "width"), whole_number(height, where, "height")
    return size if min(size) > 0 else None


def _typed(value: object, kind: type, where: str) -> object:
    if not isinstance(value, kind):
        words = {dict: "an object", list: "a list", str: "text"}
        raise UserError(f"{where}: expected {words[kind]}, found {str(value)[:40]!r}")
    return value


def _is_list_of(*keys: str) -> Callable[[object], bool]:
    return lambda content: (
        isinstance(content, list) and bool(content) and isinstance(content[0], dict) and set(keys) <= set(content[0])
    )


def _is_object_with(*keys: str) -> Callable[[object], bool]:
    return lambda content: isinstance(content, dict) and set(keys) <= set(content)


def _has_root(tag: str) -> Callable[[object], bool]:
    return lambda content: content.tag == tag


def _is_via_csv(content: str) -> bool:
    return content.startswith(("# Exported using VGG", "filename,file_size,file_attributes"))


_FORMATS = (
    _Format("CVAT", ".xml", _has_root("annotations"), _read_cvat),
    _Format("Pascal VOC", ".xml", _has_root("annotation"), _read_voc),
    _Format("COCO", ".json", _is_object_with("images", "annotations", "categories"), _read_coco),
    _Format("COCO results", ".json", _is_list_of("image_id", "bbox"), _read_coco_results),
    _Format("Label Studio", ".json", _is_list_of("data", "annotations"), _read_label_studio),
    _Format("VIA 2", ".json", _is_via2, _read_via2),
    _Format("VIA 3 project", ".json", _is_object_with("metadata", "view", "file"), _read_via_project),
    _Format("VIA", ".csv", _is_via_csv, _read_via_csv),
    _Format("AVA's columns", ".csv", lambda _: True, _read_csv),
    _Format("MOT", ".txt", _is_mot, _read_mot),
    _Format("YOLO", ".txt", _is_yolo, _read_yolo),
    _Format("annotations of UCF101-24, JHMDB and MultiSports", ".pkl", holds_tube_annotations, read_tubes),
    _Format("mmaction2's proposals", ".pkl", lambda _: True, _read_proposals),
)
_SUFFIXES = {entry.suffix for entry in _FORMATS}
BOX_FILES = ", ".join(f"{entry.name} ({entry.suffix})" for entry in _FORMATS)
"""The formats that are read, for people."""
_TAKEN = f"taken are {BOX_FILES}"
_PARSERS = {
    ".xml": _parse_xml,
    ".json": read_json,
    ".csv": lambda path: read_text(path, "CSV file"),
    ".txt": lambda path: read_text(path, "text file"),
    ".pkl": lambda path: read_pickle(path.read_bytes(), str(path)),
}
