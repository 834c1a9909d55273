"""Boxes of Label Studio's exports."""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path, PureWindowsPath
from urllib.parse import parse_qs, unquote, urlsplit

from src.ava.rows import NO_ACTION
from src.datasets.image_series import is_image
from src.datasets.prepare.box import Box, Classes, number, whole_number
from src.datasets.prepare.box_parts import image_time, note_image, stated_size, typed, uploaded_name
from src.datasets.video import is_named_as_video
from src.utils.errors import UserError

# An hour at 30 frames a second: what lies farther apart in a track is a slip of the pen.
_MOST_FRAMES_BETWEEN = 108_000
_BOXES = ("videorectangle", "rectanglelabels", "rectangle")
# What may be said of a box in an entry of its own with the box's id.
_ADDED = ("labels", "choices")


def read_label_studio(path: Path, content: list, classes: Classes) -> Iterator[Box]:
    """Yield the boxes of Label Studio's rectangles: of images, and of videos, between key frames by interpolation.

    Raises:
        UserError: naming the place, for what is not as this program writes it.
    """
    for index, task in enumerate(content):
        where = f"{path}: task {index}"
        data = typed(task, dict, where).get("data")
        names = list(filter(None, map(_label_studio_file, typed(data, dict, f"{where}: data").values())))
        if not names:
            raise UserError(f"{where}: data names no file")
        # Other texts may look like a file's name.
        name = next((name for name in names if is_named_as_video(Path(name)) or is_image(Path(name))), names[0])
        plain_name = uploaded_name(name) or name
        if is_image(Path(name)):
            note_image(name, classes.images)
        annotation = _label_studio_annotation(task, classes, where)
        regions = typed(annotation.get("result"), list, f"{where}: result")
        added = _added_values(regions, where)
        for index, region in enumerate(regions):
            kind, place = region.get("type"), f"{where}: {index}"
            values = added.get(str(region.get("id")), {})
            if number(region.get("image_rotation") or 0, place, "image_rotation") % 360:
                raise UserError(f"{place}: the image was turned in the program; annotate it as it is")
            if kind == "videorectangle":
                yield from _label_studio_track(region, (name, plain_name), values, classes, place)
            elif kind in _BOXES:
                yield _label_studio_box(region, (name, plain_name), values, classes, place)
            elif not (kind in _ADDED and values):
                classes.unread[f"{str(kind)[:40]!r} (Label Studio)"] += 1


def _played_rate(sequence: list, where: str) -> Fraction | None:
    """Return the rate at which the program played a video, from frames and times of a track; None: it does not say."""
    times = [
        (whole_number(step["frame"], where, "frame"), number(step["time"], where, "time"))
        for step in sequence
        if step.get("time") is not None
    ]
    (first, start), (last, end) = (min(times), max(times)) if times else ((0, 0.0), (0, 0.0))
    if last > first and end > start:
        return Fraction(last - first) / Fraction(end - start).limit_denominator(10**6)
    return Fraction(last) / Fraction(end).limit_denominator(10**6) if last > 0 and end > 1e-6 else None


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
    every = [typed(entry, dict, where) for entry in typed(task.get("annotations"), list, f"{where}: annotations")]
    finished = [entry for entry in every if not entry.get("was_cancelled")]
    classes.unread["task that was skipped (Label Studio)"] += len(every) - len(finished)
    chosen = finished if len(finished) < 2 else [entry for entry in finished if entry.get("ground_truth")]
    if finished and len(chosen) != 1:
        raise UserError(
            f"{where}: holds {len(finished)} annotations of the same persons; mark one as the ground truth "
            "(Label Studio's star), or remove the others"
        )
    return chosen[0] if chosen else {"result": []}


def _added_values(regions: list, where: str) -> dict[str, dict[str, str]]:
    """Return what labels and choices of their own say of boxes, by the box's id, as attributes."""
    boxes = {
        str(region.get("id")) for region in (typed(one, dict, where) for one in regions) if region.get("type") in _BOXES
    }
    added: dict[str, dict[str, str]] = defaultdict(dict)
    for region in regions:
        kind, box = region.get("type"), str(region.get("id"))
        if kind in _ADDED and box in boxes and region.get("id") is not None:
            value = typed(region.get("value"), dict, where)
            names = typed(value.get(kind, []), list, f"{where}: {kind}")
            added[box] |= {f"{region.get('from_name')} {name}": str(name) for name in names}
    return added


def _label_studio_classes(
    value: dict, key: str, values: dict[str, str], classes: Classes, where: str
) -> tuple[int, ...]:
    labels = [str(label) for label in typed(value.get(key, []), list, f"{where}: labels")] or ([None] if values else [])
    found = {class_id for label in labels for class_id in classes.named(label, values, where)}
    return tuple(sorted(found - {NO_ACTION})) or (NO_ACTION,)


def _label_studio_box(
    region: dict, names: tuple[str, str], values: dict[str, str], classes: Classes, where: str
) -> Box:
    """Return the rectangle of an extracted image; coordinates are in percent."""
    value = typed(region.get("value"), dict, where)
    if number(value.get("rotation", 0), where, "rotation"):
        raise UserError(f"{where}: a turned rectangle in shares of the frame cannot be read; draw it upright")
    x, y, width, height = (number(value.get(key), where, key) / 100 for key in ("x", "y", "width", "height"))
    time = image_time(names[1], where)
    named = _label_studio_classes(value, "rectanglelabels", values, classes, where)
    return Box(
        corners=(x, y, x + width, y + height),
        classes=named,
        last=where,
        where=where,
        size=stated_size(region.get("original_width"), region.get("original_height"), where),
        units="shares",
        **time,
    )


def _label_studio_track(
    region: dict, names: tuple[str, str], values: dict[str, str], classes: Classes, where: str
) -> Iterator[Box]:
    value = typed(region.get("value"), dict, where)
    named = _label_studio_classes(value, "labels", values, classes, where)
    frames = value.get("framesCount")
    frames = None if frames is None else whole_number(frames, where, "framesCount")
    # Of the player: its sound may outlast the picture.
    duration = number(value.get("duration") or 0, where, "duration")
    steps = [
        (
            whole_number(step.get("frame"), where, "frame") - 1,
            tuple(number(step.get(key), where, key) / 100 for key in ("x", "y", "width", "height")),
            step.get("enabled", True) is True,
            number(step.get("rotation", 0), where, "rotation"),
        )
        for step in (typed(step, dict, where) for step in typed(value.get("sequence"), list, f"{where}: sequence"))
    ]
    if any(angle for *_, angle in steps):
        raise UserError(f"{where}: a turned rectangle in shares of the frame cannot be read; draw it upright")
    classes.unread["track without boxes (Label Studio)"] += not steps
    steps.sort(key=lambda step: step[0])
    rate = None if frames else _played_rate(value["sequence"], where)
    for (frame, shape, is_on, _), following in itertools.zip_longest(steps, steps[1:]):
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
                where,
                f"{where}, frame {at}",
                second=float(at / rate) if rate else None,
                frame=None if rate else at,
                other_names=names[1:],
                frames=frames,
                rate=frames / duration if frames and duration > 0 else None,
                units="shares",
            )
