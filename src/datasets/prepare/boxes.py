"""Readers of box files, one for each program's format; `read_boxes` tells which it is from suffix and content."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from src.ava.box_csv import read_rows
from src.ava.label_map import ClassList, read_class_list
from src.ava.rows import NO_ACTION, BoxRow, FrameRow, RowRule
from src.ava.text_files import read_text
from src.ava.tube_files import holds_tube_annotations
from src.checkpoint.safe_pickle import PickledArray, as_array, read_pickle
from src.datasets.image_series import is_image
from src.datasets.prepare.box import Box, Classes, enclosing, enclosing_turned, number, whole_number
from src.datasets.prepare.box_parts import (
    IMAGE_NAME,
    image_number,
    image_stem,
    image_time,
    note_image,
    stated_size,
    table_rows,
    turned_by,
)
from src.datasets.prepare.coco_boxes import read_coco, read_coco_results
from src.datasets.prepare.cvat_boxes import read_cvat
from src.datasets.prepare.label_studio_boxes import read_label_studio
from src.datasets.prepare.labelme_boxes import read_labelme
from src.datasets.prepare.tube_boxes import read_tubes
from src.datasets.prepare.via_boxes import is_via2, is_via_csv, read_via2, read_via_csv, read_via_project
from src.datasets.video import is_named_as_video
from src.utils.errors import UserError

_SHOWN_BYTES = 200
_ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"}
# What labelImg, CVAT and Ultralytics call their list of classes.
_YOLO_NAMES = ("classes.txt", "obj.names", "data.yaml")
# Tools whose own JSON is not read, and what it holds.
_NOT_READ = (({"categories", "items"}, "Datumaro"), ({"objects", "size"}, "Supervisely"))
_MOT_SEQUENCE = "seqinfo.ini"
# What Label Studio puts beside YOLO's files; classes.txt says the same.
_YOLO_NOTES = "notes.json"
# Spreadsheets write 1 as 1.0 once a cell of the column is empty.
_WHOLE = re.compile(r"0*(\d+)(\.0*)?")
# With the class and how much of the person is seen; detections have ten.
_MOT_TRUTH_COLUMNS = 9


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
    files = _box_files(path, classes) if path.is_dir() else [path]
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


def _box_files(folder: Path, classes: Classes) -> list[Path]:
    """Return the box files of a folder; what else lies there, but images and videos, is told and passed over."""
    files, others = [], []
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or path.name in (*_YOLO_NAMES, _YOLO_NOTES, _MOT_SEQUENCE) or not path.is_file():
            continue
        if path.suffix.lower() not in _SUFFIXES:
            if is_image(path):
                note_image(str(path), classes.images)
            elif not is_named_as_video(path):
                others.append(path.name)
            continue
        if path.suffix.lower() == ".txt" and not _is_box_text(path):
            print(f"custom: note: {path} is passed over: neither its name nor its content is that of a box file")
            continue
        files.append(path)
    if others:
        print(f"custom: note: {len(others)} files of other kinds are passed over: {', '.join(others[:3])}")
    if not files:
        raise UserError(f"{folder}: holds no box files; {_TAKEN}")
    return files


def _is_box_text(path: Path) -> bool:
    with path.open("rb") as file:
        first_line = file.readline(_SHOWN_BYTES).decode("utf-8", "replace")
    match = IMAGE_NAME.fullmatch(image_stem(path.name))
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
    for keys, tool in _NOT_READ:
        if isinstance(content, dict) and keys <= content.keys():
            return f"looks like a file of {tool}, which is not read: export COCO there, or CVAT's own form"
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
            row.video, row.corners, (row.class_id,), _person(row), where, score=row.last, second=row.second, is_ava=True
        )


def _person(row: BoxRow) -> str:
    """Return the person of a row, however its number is written; where there is none, each box is one of its own."""
    if match := _WHOLE.fullmatch(row.last):
        return match[1]
    return f"{row.video}, {row.second:g}: {row.corners}" if row.last.lower() in ("", "nan") else row.last


# MOT, YOLO, Pascal VOC, proposals -----------------------------------------------------------------------------------


def _read_mot(path: Path, content: str, classes: Classes) -> Iterator[Box]:
    """Yield the boxes of MOT Challenge's text: frame (from 1), id, left, top, width, height, confidence and more.

    The video is named as the file, or as the folder around `gt/gt.txt`, in which seqinfo.ini may state the size of the
    frames. Its classes are kinds of objects, no actions.
    """
    sequence = _mot_sequence(path.absolute().parents[1] / _MOT_SEQUENCE)
    video = path.absolute().parents[1].name if path.stem in ("gt", "det") else path.stem
    for row_number, row in table_rows(path, content):
        where = f"{path}: row {row_number}"
        if len(row) < 6:
            raise UserError(f"{where}: {len(row)} columns, expected frame,id,left,top,width,height and confidence")
        x, y, width, height = (number(text, where, "coordinate") for text in row[2:6])
        frame = whole_number(row[0], where, "frame") - 1
        is_detection = row[1].strip() == "-1"
        confidence = row[6].strip() if len(row) > 6 else "1"
        number(confidence, where, "confidence")  # of other tables, as DarkLabel's, the seventh column is a label
        if len(row) == _MOT_TRUTH_COLUMNS:
            classes.detected[row[7].strip()] += 1
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
            units="pixels",
            is_marked=is_marked,
            is_whole=True,
            **sequence,
        )


def _mot_sequence(path: Path) -> dict[str, object]:
    """Return what seqinfo.ini says of the frames that were counted, as fields of `Box`."""
    if not path.is_file():
        return {}
    text = read_text(path, "text file")
    found = dict(re.findall(r"(?m)^(imWidth|imHeight|seqLength|frameRate)\s*=\s*(\d{1,9}(?:\.\d{1,9})?)\s*$", text))
    result: dict[str, object] = {"size": stated_size(found.get("imWidth"), found.get("imHeight"), str(path))}
    if float(found.get("frameRate", 0)) > 0 and float(found.get("seqLength", 0)) > 0:
        result |= {
            "frames": whole_number(found["seqLength"], str(path), "seqLength"),
            "rate": float(found["frameRate"]),
        }
    return result


def _read_yolo(path: Path, content: str, classes: Classes) -> Iterator[Box]:
    """Yield the boxes of one image's text file: class (from 0), middle, width and height in shares.

    Behind them may be keypoints, of which a data.yaml beside the files says how many, a score, and the number that a
    tracker gave to the person. Instead of all these it may have the corners of a polygon. Classes are those of the list
    of names that YOLO's tools put beside the files, else of the class list in its order. NAME_31.txt is frame 31 (from
    1) of the video, as YOLO numbers them; NAME_000031.txt an extracted image.
    """
    folders = path.parent.name, path.parents[1].name
    time = image_time(path.name, str(path), folders)
    note_image(path.name, classes.images, folders)
    if image_stem(path.name) == path.stem and not IMAGE_NAME.fullmatch(path.stem)["number"].startswith("0"):
        time["frame"] = time["image"] - 1
    names, keypoints = _yolo_list(path, classes)
    lines = {
        f"{path}: row {row}": line.split() for row, line in enumerate(content.splitlines(), start=1) if line.strip()
    }
    for fields in lines.values():
        if keypoints and len(fields) >= 5 + keypoints:
            del fields[5 : 5 + keypoints]
    # Trackers number persons by whole numbers, behind the score or in its place.
    is_tracked = all(len(fields) in (6, 7) and fields[-1].isdecimal() for fields in lines.values())
    for where, fields in lines.items():
        person = fields.pop() if is_tracked else where
        is_polygon = len(fields) >= 7 and len(fields) % 2 == 1
        if len(fields) not in (5, 6) and not is_polygon:
            raise UserError(
                f"{where}: {len(fields)} fields, expected class, x, y, width, height and perhaps score and person"
            )
        classes.polygons += is_polygon
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
        classes.detected[str(index)] += score is not None
        yield Box(corners=corners, classes=named, last=person, where=where, score=score, units="shares", **time)


def _yolo_classes(index: int, names: ClassList | None, classes: Classes, where: str) -> tuple[int, ...]:
    if names is None:
        classes.check_id(max(index + 1, 0), where)  # -2 is no way to say that there is no action
        classes.by_number = index, classes.names[index + 1]
        return (index + 1,)
    name = names.names.get(index + 1)
    if name is None:
        raise UserError(f"{where}: class {index} is none of the {len(names.names)} names beside the file")
    return classes.named(name, {}, where)


def _yolo_list(path: Path, classes: Classes) -> tuple[ClassList | None, int]:
    """Return what the list beside a file, or in the folders above, says of it.

    Returns:
        Names of classes, ids counted from 1, or None; how many numbers the keypoints of a person take.
    """
    for folder in (path.absolute().parent, *path.absolute().parents[1:3]):
        for file in (folder / name for name in _YOLO_NAMES):
            if file not in classes.lists and file.is_file():
                print(f"custom: classes of YOLO's files are those of {file}")
                shape = re.search(
                    r"(?m)^kpt_shape:\s*\[\s*(\d{1,4})\s*,\s*([23])\s*\]", read_text(file, "list of classes")
                )
                classes.lists[file] = read_class_list(file), int(shape[1]) * int(shape[2]) if shape else 0
            if file in classes.lists:
                return classes.lists[file]
    return None, 0


def _read_voc(path: Path, root: ElementTree.Element, classes: Classes) -> Iterator[Box]:
    """Yield the boxes of one image's Pascal VOC file; attributes, as CVAT adds them, name further classes."""
    name = root.findtext("filename") or path.name
    folders = root.findtext("folder") or "", path.parent.name
    time = image_time(name, str(path), folders)
    note_image(name, classes.images, folders)
    own = IMAGE_NAME.fullmatch(image_stem(path.name))
    if own and image_number(own) != time["image"]:
        raise UserError(f"{path}: says that it is of {name}; is it a copy of another file?")
    size = root.find("size")
    size = None if size is None else stated_size(size.findtext("width"), size.findtext("height"), str(path))
    for index, element in enumerate(root.iter("object")):
        where = f"{path}: object {index}"
        corners = tuple(
            number(element.findtext(f"bndbox/{key}"), where, key) for key in ("xmin", "ymin", "xmax", "ymax")
        )
        pairs = ((entry.findtext("name"), entry.findtext("value")) for entry in element.iterfind(".//attribute"))
        attributes = {key or "": value or "" for key, value in pairs}
        degrees = turned_by(attributes)
        yield Box(
            corners=enclosing_turned(corners, degrees),
            classes=classes.named(element.findtext("name"), attributes, where),
            last=where,
            where=where,
            size=size,
            units="pixels",
            is_whole=degrees != 0,
            **time,
        )


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


def _is_list_of(*keys: str) -> Callable[[object], bool]:
    return lambda content: (
        isinstance(content, list) and bool(content) and isinstance(content[0], dict) and set(keys) <= set(content[0])
    )


def _is_object_with(*keys: str) -> Callable[[object], bool]:
    return lambda content: isinstance(content, dict) and set(keys) <= set(content)


def _has_root(tag: str) -> Callable[[object], bool]:
    return lambda content: content.tag == tag


_FORMATS = (
    _Format("CVAT", ".xml", _has_root("annotations"), read_cvat),
    _Format("Pascal VOC", ".xml", _has_root("annotation"), _read_voc),
    _Format("COCO", ".json", _is_object_with("images", "annotations", "categories"), read_coco),
    _Format("COCO results", ".json", _is_list_of("image_id", "bbox"), read_coco_results),
    _Format("Label Studio", ".json", _is_list_of("data", "annotations"), read_label_studio),
    _Format("LabelMe", ".json", _is_object_with("shapes", "imagePath"), read_labelme),
    _Format("VIA 2", ".json", is_via2, read_via2),
    _Format("VIA 3 project", ".json", _is_object_with("metadata", "view", "file"), read_via_project),
    _Format("VIA", ".csv", is_via_csv, read_via_csv),
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
