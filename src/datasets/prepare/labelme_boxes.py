"""Boxes of LabelMe, and of the tools that write its files, as X-AnyLabeling."""

import math
from collections.abc import Iterator
from pathlib import Path

from src.datasets.prepare.box import Box, Classes, enclosing, enclosing_ellipse, number
from src.datasets.prepare.box_parts import image_time, note_image, stated_size, typed
from src.utils.errors import UserError


def read_labelme(path: Path, content: dict, classes: Classes) -> Iterator[Box]:
    """Yield the shapes of one image's file; all count as the box that encloses them.

    A box stands for the classes that its label, its attributes' values and its ticked flags name; `group_id` is the
    person.

    Raises:
        UserError: naming the place, for what is not as these programs write it.
    """
    name = typed(content["imagePath"] or path.name, str, f"{path}: imagePath")
    folders = (path.parent.name,)
    time = image_time(name, str(path), folders)
    note_image(name, classes.images, folders)
    flags = typed(content.get("flags") or {}, dict, f"{path}: flags")
    classes.unread["flag of a whole image (LabelMe)"] += sum(value is True for value in flags.values())
    size = stated_size(content.get("imageWidth"), content.get("imageHeight"), str(path))
    for index, shape in enumerate(typed(content["shapes"], list, f"{path}: shapes")):
        where = f"{path}: shape {index}"
        shape = typed(shape, dict, where)
        label = typed(shape.get("label"), str, f"{where}: label")
        fields = [typed(shape.get(key) or {}, dict, f"{where}: {key}") for key in ("attributes", "flags")]
        attributes = {str(key): str(value) for field in fields for key, value in field.items()}
        person = shape.get("group_id")
        yield Box(
            corners=_corners(shape, where),
            classes=classes.named(label, attributes, where),
            last=where if person is None else str(person),
            where=where,
            size=size,
            units="pixels",
            **time,
        )


def _corners(shape: dict, where: str) -> tuple[float, float, float, float]:
    points = [typed(point, list, f"{where}: points") for point in typed(shape.get("points"), list, f"{where}: points")]
    if not points or any(len(point) != 2 for point in points):
        raise UserError(f"{where}: points are {str(points)[:40]}, expected some [x, y]")
    points = [(number(x, where, "x"), number(y, where, "y")) for x, y in points]
    if shape.get("shape_type") == "circle" and len(points) == 2:
        middle, edge = points
        radius = math.dist(middle, edge)
        return enclosing_ellipse(*middle, radius, radius, 0.0)
    return enclosing(points)
