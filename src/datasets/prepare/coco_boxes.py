"""Boxes of COCO-style files, annotations and results."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pydantic

from src.ava.rows import NO_ACTION
from src.datasets.prepare.box import Box, Classes, enclosing_turned
from src.datasets.prepare.box_parts import image_time, note_image, turned_by
from src.utils.errors import UserError
from src.utils.records import first_fault


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


def read_coco(path: Path, content: dict, classes: Classes) -> Iterator[Box]:
    """Yield the boxes of a COCO-style file.

    An image's `video` and `second` (or `frame`, from 0) say what it shows; without them its file name does, as
    extracted images are named: NAME_000031.jpg.

    Raises:
        UserError: naming the place, for what is not as this program writes it.
    """
    for key in ("images", "annotations", "categories"):
        if not isinstance(content[key], list):
            raise UserError(f"{path}: {key} is no list")
    images = [_validated(_CocoImage, entry, f"{path}: image {index}") for index, entry in enumerate(content["images"])]
    by_id = _by_id(images, path, "image")
    for image in images:
        note_image("" if image.video else image.file_name, classes.images)
    for image_id, image in by_id.items():
        # A later file of results may refer to it, if no other file gives another image this number.
        known = classes.images.by_id.setdefault(image_id, image)
        classes.images.by_id[image_id] = image if known == image else None
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
        track = annotation.track_id or attributes.get("track_id")
        person = f"{path}: track {track}" if track else f"{path}: {index}"
        box = _coco_box(annotation, by_id[annotation.image_id], named, person, where)
        degrees = turned_by(attributes)
        yield replace(box, corners=enclosing_turned(box.corners, degrees), is_whole=True) if degrees else box


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


def read_coco_results(path: Path, content: list, classes: Classes) -> Iterator[Box]:
    """Yield the boxes of COCO's results: a list of image_id, category_id, bbox and score.

    Images are those of the COCO file that was read before; without one the image's id must be its file name.

    Raises:
        UserError: naming the place, for what is not as this program writes it.
    """
    for index, entry in enumerate(content):
        where = f"{path}: result {index}"
        annotation = _validated(_CocoAnnotation, entry, where)
        if annotation.score is None:
            raise UserError(f"{where}: has no score")
        unknown = _CocoImage(id=annotation.image_id, file_name=annotation.image_id)
        image = classes.images.by_id.get(annotation.image_id, unknown)
        if image is None:
            raise UserError(f"{where}: image {annotation.image_id!r} stands for several images in the COCO files")
        note_image("" if image.video else image.file_name, classes.images)
        classes.detected[annotation.category_id] += 1
        yield _coco_box(annotation, image, (NO_ACTION,), str(index), where)


def _coco_box(annotation: _CocoAnnotation, image: _CocoImage, named: tuple[int, ...], person: str, where: str) -> Box:
    x, y, width, height = annotation.bbox
    if image.video is not None and image.second is not None:
        time = {"video": image.video, "second": image.second}
    elif image.video is not None and image.frame is not None:
        time = {"video": image.video, "frame": image.frame}
    else:
        time = image_time(image.file_name, where)
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
    """Return attributes as text by name; a list holds values without names, or several of one name."""
    named = dict(enumerate(attributes)) if isinstance(attributes, list) else attributes or {}
    lists = {name: value if isinstance(value, list) else [value] for name, value in named.items()}
    return {
        str(name): ",".join("" if value is None else str(value) for value in values) for name, values in lists.items()
    }


def _validated(model: type[_CocoModel], entry: object, where: str) -> _CocoModel:
    try:
        return model.model_validate(entry)
    except pydantic.ValidationError as error:
        raise UserError(f"{where}: {first_fault(error)}") from error
