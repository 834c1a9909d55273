"""Folders of numbered images in the place of videos, as datasets of extracted frames are passed on."""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from src.utils.errors import UserError

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_NUMBERED = re.compile(r"(?P<prefix>.*?)(?P<number>\d{1,9})")
# Optical flow beside the frames, as flow_x_00001.jpg.
_FLOW = re.compile(r"flow|[xy]_?$")


@dataclass(frozen=True)
class ImageSeries:
    """Images of one folder that are numbered without a gap.

    Attributes:
        folder: where they are.
        prefix: what their names begin with, before the number.
        digits: the number is filled up with zeros to so many.
        suffix: what their names end with.
        first: the lowest number.
        count: how many there are.
    """

    folder: Path
    prefix: str
    digits: int
    suffix: str
    first: int
    count: int

    @property
    def pattern(self) -> str:
        """The path of all images, in the form that libavformat's demuxer `image2` takes."""
        folder, prefix = (str(part).replace("%", "%%") for part in (self.folder, self.prefix))
        return f"{folder}/{prefix}%0{self.digits}d{self.suffix}"

    def path(self, index: int) -> Path:
        """Return the image at `index`, from 0."""
        return self.folder / f"{self.prefix}{self.first + index:0{self.digits}d}{self.suffix}"


def is_image_folder(folder: Path) -> bool:
    """Whether a folder holds numbered images."""
    try:
        return folder.is_dir() and bool(_series(folder))
    except OSError:  # somebody else's
        return False


def image_series(folder: Path) -> ImageSeries:
    """Return the numbered images of a folder.

    Raises:
        UserError: there are none, or of several names, or numbers are missing, or an image is empty.
    """
    series = _series(folder)
    if not series:
        raise UserError(f"{folder}: holds no numbered images, expected some as img_00001.jpg")
    if len(series) > 1:
        names = ", ".join(f"{prefix}...{suffix}" for prefix, suffix in list(series)[:4])
        raise UserError(f"{folder}: holds images of several names ({names}); keep those of one video in a folder")
    (((prefix, suffix), numbers),) = series.items()
    digits = min(len(number) for number in numbers)
    found = sorted(int(number) for number in numbers)
    result = ImageSeries(folder, prefix, digits, suffix, found[0], len(found))
    for index, number in enumerate(found):
        if number != found[0] + index:
            raise UserError(
                f"{folder}: {result.path(index).name} is missing: images are numbered from {found[0]} to {found[-1]}, "
                f"but {len(found)} are there"
            )
        # libavformat takes it for the end.
        if not result.path(index).stat().st_size:
            raise UserError(f"{folder}: {result.path(index).name} is empty; extract or copy the images again")
    return result


def is_image(path: Path) -> bool:
    """Return whether a file has a suffix of images."""
    return path.suffix.lower() in _SUFFIXES


def _series(folder: Path) -> dict[tuple[str, str], list[str]]:
    """Return the numbers of images by what stands before and behind the number; optical flow is passed over."""
    series = defaultdict(list)
    for path in folder.iterdir():
        match = _NUMBERED.fullmatch(path.stem)
        if match and is_image(path) and not path.name.startswith("."):
            series[match["prefix"], path.suffix].append(match["number"])
    return {key: numbers for key, numbers in sorted(series.items()) if not _FLOW.match(key[0])} or dict(series)
