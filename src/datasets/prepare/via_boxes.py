"""Boxes of the VGG Image and Video Annotator, versions 2 and 3."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from src.datasets.prepare.box import Box, Classes, enclosing, enclosing_ellipse, number, shortened
from src.datasets.prepare.box_parts import image_time, note_image, table_rows, typed
from src.utils.errors import UserError


def read_via_project(path: Path, content: dict, classes: Classes) -> Iterator[Box]:
    """Yield the rectangles of a project of the VGG Image or Video Annotator 3.

    Raises:
        UserError: naming the place, for what is not as this program writes it.
    """
    attributes = typed(content.get("attribute", {}), dict, f"{path}: attribute")
    files = typed(content.get("file"), dict, f"{path}: file")
    views = typed(content.get("view"), dict, f"{path}: view")
    for key, entry in typed(content["metadata"], dict, f"{path}: metadata").items():
        where = f"{path}: metadata {key}"
        entry = typed(entry, dict, where)
        shape = typed(entry.get("xy"), list, f"{where}: xy")
        if not shape:
            classes.unread["span of time (VIA)"] += 1
            continue
        view = typed(views.get(str(entry.get("vid"))), dict, f"{where}: view")
        fid = next(iter(typed(view.get("fid_list"), list, f"{where}: fid_list")), None)
        name = typed(files.get(str(fid)), dict, f"{where}: file").get("fname")
        values = {}
        for attribute, value in typed(entry.get("av", {}), dict, f"{where}: av").items():
            known = typed(attributes.get(attribute, {}), dict, where)
            options = typed(known.get("options", {}), dict, where)
            # A checkbox holds the numbers of several options.
            chosen = [str(value)] if str(value) in options else str(value).split(",")
            name_of_attribute = known.get("aname", attribute)
            values |= {f"{name_of_attribute} {number}": str(options.get(number, number)) for number in chosen}
        yield _via_box(name, entry.get("z"), shape, values, classes, where)


def read_via_csv(path: Path, content: str, classes: Classes) -> Iterator[Box]:
    """Yield the rectangles of a CSV export of VIA 2 or 3.

    Raises:
        UserError: naming the place, for what is not as this program writes it.
    """
    for row_number, row in table_rows(path, content):
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
            name = next(iter(typed(names, list, where)), None)
        else:
            shape_fields, values = (typed(entry, dict, where) for entry in fields)
            name, times, shape = row[0], [], _via2_shape(shape_fields, where)
            note_image(name, classes.images)
        if not shape:
            classes.empty_rows += len(row) == 7
            classes.unread["span of time (VIA)"] += len(row) == 6
            continue
        values = _via2_values(typed(values, dict, where))
        if any(re.fullmatch(r"\d+(,\d+)*", value) for value in values.values()):
            raise UserError(f"{where}: holds numbers of options instead of their names; export the project as JSON")
        yield _via_box(name, times, typed(shape, list, where), values, classes, where)


def read_via2(path: Path, content: dict, classes: Classes) -> Iterator[Box]:
    """Yield the regions of a project or JSON export of VIA 2.

    Raises:
        UserError: naming the place, for what is not as this program writes it.
    """
    for key, entry in content.get("_via_img_metadata", content).items():
        where = f"{path}: {key}"
        regions = entry["regions"]
        regions = list(regions.values()) if isinstance(regions, dict) else typed(regions, list, where)
        note_image(typed(entry["filename"], str, f"{where}: filename"), classes.images)
        for index, region in enumerate(regions):
            where = f"{path}: {key}: region {index}"
            region = typed(region, dict, where)
            shape = _via2_shape(typed(region.get("shape_attributes"), dict, where), where)
            values = _via2_values(typed(region.get("region_attributes", {}), dict, where))
            yield _via_box(entry["filename"], [], shape, values, classes, where)


def is_via2(content: object) -> bool:
    """Return whether the content of a JSON file is that of VIA 2."""
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
        return [number(entry, where, name) for entry in typed(fields.get(name), list, f"{where}: {name}")]

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


def _via_box(name: object, times: object, shape: list, values: dict[str, str], classes: Classes, where: str) -> Box:
    if len(shape) != 5 or shape[0] != 2:
        raise UserError(f"{where}: shape is {shortened(shape)}, expected a rectangle [2, x, y, width, height]")
    x, y, width, height = (number(value, where, "coordinate") for value in shape[1:])
    name = typed(name, str, f"{where}: file name")
    if isinstance(times, list) and times:
        time = {"video": Path(name).name, "second": number(times[0], where, "time"), "is_shown": True}
    else:
        time = image_time(name, where)
    named = classes.named(None, values or {"": ""}, where)
    return Box(corners=(x, y, x + width, y + height), classes=named, last=where, where=where, units="pixels", **time)


def is_via_csv(content: str) -> bool:
    """Return whether text is a CSV export of VIA 2 or 3."""
    return content.startswith(("# Exported using VGG", "filename,file_size,file_attributes"))
