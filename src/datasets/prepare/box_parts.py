"""What readers of box files share: names of images, sizes, rows and checks of types."""

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PureWindowsPath

from src.datasets.prepare.box import Images, whole_number
from src.utils.errors import UserError

IMAGE_NAME = re.compile(
    r"(?:(?P<video>.+)_(?P<from_zero>(?:mp4|mov|avi|mkv|webm|m4v|mpg|wmv)-)?|[^_]*?)(?P<number>\d{1,12})", re.IGNORECASE
)
"""NAME_000031; in a folder that is named after the video also 000031 or img000031; NAME_mp4-30 of Roboflow."""

# As players call their screenshots: vlcsnap-00h01m05s123, 00-01-05.
_CLOCK = re.compile(r"[^_]*\d+m\d+s\d*|([^_]*\D)?\d\d-\d\d-\d\d|\d\d_\d\d_\d\d", re.IGNORECASE)
# Label Studio puts eight digits before the names of uploads.
_UPLOAD = re.compile(r"[0-9a-f]{8}-")
_ROBOFLOW = re.compile(r"_(jpe?g|png|bmp|webp)\.rf\.(?P<copy>\w+)$")


def image_time(file_name: str, where: str, folders: Sequence[str] = ()) -> dict[str, object]:
    """Read video and number off the name of an image, NAME_000031.jpg or NAME/000031.jpg; NAME may be of `folders`.

    Returns:
        The fields of `Box` that say so.

    Raises:
        UserError: the name does not say.
    """
    path = PureWindowsPath(file_name)
    match = IMAGE_NAME.fullmatch(image_stem(path.name))
    folders = tuple(filter(None, (path.parent.name, *folders)))
    if not match or not (match["video"] or folders):
        raise UserError(f"{where}: cannot tell video and time from {file_name!r}, expected a name as NAME_000031.jpg")
    if _CLOCK.fullmatch(image_stem(path.name)):
        raise UserError(
            f"{where}: {file_name!r} seems to say a time by the clock, expected a number, as NAME_000031.jpg"
        )
    copy = _ROBOFLOW.search(path.stem)
    video = match["video"] or ""
    return {
        "video": video,
        "image": image_number(match),
        "copy": copy["copy"] if copy else "",
        "other_names": (*filter(None, [uploaded_name(video)]), *folders),
    }


def uploaded_name(name: str) -> str:
    """Return the name that a file had before it was uploaded to Label Studio; empty: it was not."""
    match = _UPLOAD.match(name)
    return name[match.end() :] if match else ""


def note_image(file_name: str, images: Images, folders: Sequence[str] = ()) -> None:
    """Note the number of an image, which may have no boxes: all of them tell from where they count, and their rate."""
    path = PureWindowsPath(file_name)
    match = IMAGE_NAME.fullmatch(image_stem(path.name))
    if match:
        video = match["video"] or ""
        for name in {video, uploaded_name(video), path.parent.name, *folders} - {""}:
            images.numbers[name].add(image_number(match))


def image_number(match: re.Match) -> int:
    """Return the number, from 1, of an image whose name matches `IMAGE_NAME`."""
    return int(match["number"]) + (match["from_zero"] is not None)


def image_stem(name: str) -> str:
    """Return an image's name without suffix, and without what Roboflow adds: NAME_000031_jpg.rf.0a1b2c.jpg."""
    return _ROBOFLOW.sub("", PureWindowsPath(name).stem)


def stated_size(width: str | None, height: str | None, where: str) -> tuple[int, int] | None:
    """Return a stated width and height; VOC writes 0 where it does not know.

    Raises:
        UserError: they are no numbers.
    """
    if not width or not height:
        return None
    size = whole_number(width, where, "width"), whole_number(height, where, "height")
    return size if min(size) > 0 else None


def turned_by(attributes: Mapping[str, str]) -> float:
    """Return by how many degrees a box is turned: CVAT says so in an attribute where a format knows no turned boxes."""
    try:
        degrees = float(attributes.get("rotation", 0))
    except ValueError:  # an attribute of the user's
        return 0.0
    return degrees if math.isfinite(degrees) else 0.0


def typed(value: object, kind: type, where: str) -> object:
    """Return a value that must be an object, a list or text (dict, list, str).

    Raises:
        UserError: it is something else.
    """
    if not isinstance(value, kind):
        words = {dict: "an object", list: "a list", str: "text"}
        raise UserError(f"{where}: expected {words[kind]}, found {str(value)[:40]!r}")
    return value


def table_rows(path: Path, content: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and fields of the rows of CSV text that are not empty.

    Raises:
        UserError: a row is none.
    """
    rows = csv.reader(io.StringIO(content))
    try:
        for row in rows:
            if row:
                yield rows.line_num, row
    except csv.Error as error:
        raise UserError(f"{path}: row {rows.line_num}: not a CSV row: {error}") from error
