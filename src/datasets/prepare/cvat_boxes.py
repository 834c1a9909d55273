"""Boxes of CVAT's exports."""

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from src.datasets.prepare.box import (
    Box,
    Classes,
    enclosing,
    enclosing_ellipse,
    enclosing_turned,
    number,
    whole_number,
)
from src.datasets.prepare.box_parts import image_time, note_image, stated_size
from src.utils.errors import UserError

_CVAT_FRAME_NAME = re.compile(r"frame_(\d+)$")
_CVAT_SHAPES = ("box", "polygon", "polyline", "points", "ellipse", "mask", "skeleton", "cuboid")


def read_cvat(path: Path, root: ElementTree.Element, classes: Classes) -> Iterator[Box]:
    """Yield the boxes of `CVAT for video 1.1` and `CVAT for images 1.1`, of a task, a job or a project.

    A box stands for the classes that its label, the values of its attributes, and its ticked checkboxes name; other
    shapes and turned boxes count as the box that encloses them. Tags have no place.

    Raises:
        UserError: naming the place, for what is not as this program writes it.
    """
    tasks = {task.findtext("id"): _cvat_video(task) for task in root.iterfind("meta/project/tasks/task")}
    listed = {task.findtext("id"): _cvat_listed(task) for task in root.iterfind("meta//task")}
    task_listed = next(iter(listed.values()), None)
    source = next(filter(None, (_cvat_video(root.find(f"meta/{kind}")) for kind in ("task", "job", ""))), None)
    steps = {task.findtext("id"): _cvat_steps(task) for task in root.iterfind("meta//task")}
    task_step = next(iter(steps.values()), (0, 1))
    ends = {task.findtext("id"): _cvat_end(task) for task in root.iterfind("meta//task")}
    task_end = next(iter(ends.values()), None)
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
            start, step = steps.get(track.get("task_id")) or task_step
            if (frame - start) % step:
                raise UserError(
                    f"{place}: is none of the frames of its task, which are every {step}th from {start} on: frames are "
                    "counted otherwise here; export the task itself, not its project"
                )
            named = classes.named(track.get("label"), _cvat_attributes(element), place)
            yield Box(
                video,
                _cvat_corners(element, place),
                named,
                f"{path}: track {count}",
                place,
                frame=frame,
                listed=listed.get(track.get("task_id"), task_listed),
                task_end=ends.get(track.get("task_id"), task_end),
                size=sizes.get(track.get("task_id")) or size,
                units="pixels",
                is_whole=True,
            )
    classes.unread["tag (CVAT)"] += sum(1 for _ in root.iter("tag"))
    for image in root.iter("image"):
        where = f"{path}: image {image.get('name')}"
        video = tasks.get(image.get("task_id")) if tasks else source
        time = _cvat_time(image.get("name") or "", video, bool(root.findtext("meta//source")), where)
        if "image" in time:
            note_image(image.get("name"), classes.images, time["other_names"])
        for index, element in enumerate(shape for shape in image if shape.tag in _CVAT_SHAPES):
            named = classes.named(element.get("label"), _cvat_attributes(element), where)
            size = stated_size(image.get("width"), image.get("height"), where)
            yield Box(
                corners=_cvat_corners(element, where),
                classes=named,
                last=f"{where}: {index}",
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


def _cvat_steps(task: ElementTree.Element) -> tuple[int, int]:
    """Return the first frame of a task, and the step from one to the next."""
    start, step = task.findtext("start_frame") or "0", re.search(r"step=(\d{1,9})", task.findtext("frame_filter") or "")
    return whole_number(start, "meta/task", "start_frame"), max(int(step[1]), 1) if step else 1


def _cvat_end(task: ElementTree.Element) -> int | None:
    """Return the last frame of a video's task; None: it does not say."""
    end = task.findtext("stop_frame")
    return whole_number(end, "meta/task", "stop_frame") if end and task.findtext("source") else None


def _cvat_size(element: ElementTree.Element | None) -> tuple[int, int] | None:
    if element is None or not (element.findtext("width") and element.findtext("height")):
        return None
    return stated_size(element.findtext("width"), element.findtext("height"), "meta/original_size")


def _cvat_listed(task: ElementTree.Element) -> int | None:
    """Return how many images a task has; None: it is of a video."""
    size = task.findtext("size")
    if task.findtext("source") or task.findtext("mode") != "annotation" or not size:
        return None
    return whole_number(size, "meta/task", "size")


def _cvat_time(name: str, video: str | None, is_of_video: bool, where: str) -> dict[str, object]:
    """Tell video and time of an image: CVAT names those of a video frame_000030, from 0, without a suffix.

    What ffmpeg extracted is often called frame_000031.jpg, from 1: then the folder says of which video, or the task.
    """
    path = PureWindowsPath(name)
    match = _CVAT_FRAME_NAME.fullmatch(path.stem)
    if match and video and (is_of_video or not path.suffix):
        return {"video": video, "frame": int(match[1])}
    return image_time(name, where, (video,) if match and video else ())


def _cvat_corners(element: ElementTree.Element, where: str) -> tuple[float, float, float, float]:
    """Return the corners of a shape, or of the box that encloses it."""

    def value(name: str) -> float:
        return number(element.get(name), where, name)

    if element.tag == "box":
        corners = tuple(value(name) for name in ("xtl", "ytl", "xbr", "ybr"))
        return enclosing_turned(corners, number(element.get("rotation", "0"), where, "rotation"))
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


def _cvat_attributes(element: ElementTree.Element) -> dict[str, str]:
    return {attribute.get("name", ""): attribute.text or "" for attribute in element.iter("attribute")}
