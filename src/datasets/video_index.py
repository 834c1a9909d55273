"""What reading through a video told, kept in the data root: each state of a file is read through once."""

from collections.abc import Callable, Collection
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from src.datasets.video import FrameTimes, VideoDecoder, VideoInfo, probe
from src.utils.cache import cached_arrays

_FAULTS = ("errors", "damaged", "resized")
_FIELDS = ("ticks", "end", "size", "keyframes", "is timed", "fractions", "promised")


def indexed_info(video: Path, image_rate: int, root: Path | None) -> VideoInfo:
    """Return what `probe` says of a video, from the index if it is there.

    Args:
        video: a file, or a folder of numbered images.
        image_rate: images a second, if it is a folder of them.
        root: the data root, which holds the index; None: there is none.

    Raises:
        UserError: see `probe`.
    """
    if root is None or not video.is_file():
        return probe(video, image_rate)
    return _from_arrays(video, _cached(video, "frame times", lambda: _to_arrays(probe(video)), _FIELDS, root))


def count_faults(video: Path, image_rate: int, root: Path) -> dict[str, int]:
    """Return the `errors`, `damaged` and `resized` of `VideoDecoder` for a whole video, from the index if there.

    Args:
        video: a file, or a folder of numbered images.
        image_rate: images a second, if it is a folder of them.
        root: the data root, which holds the index.

    Raises:
        UserError: see `VideoDecoder`.
    """

    def decode() -> dict[str, np.ndarray]:
        with VideoDecoder(video, threads=1, image_rate=image_rate) as decoder:
            for _ in decoder:
                pass
            return {name: np.array(getattr(decoder, name)) for name in _FAULTS}

    return {name: int(count) for name, count in _cached(video, "faults", decode, _FAULTS, root).items()}


def _cached(
    video: Path, what: str, build: Callable[[], dict[str, np.ndarray]], fields: Collection[str], root: Path
) -> dict[str, np.ndarray]:
    # Decoders differ from version to version.
    settings = f"video {what}, PyAV {av.__version__}"
    return cached_arrays([video], settings, build, fields=fields, root=root, min_bytes=0)


def _to_arrays(info: VideoInfo) -> dict[str, np.ndarray]:
    aspect, rate, unit = info.pixel_aspect, info.rate, info.times.unit
    promised = info.promised
    return {
        "ticks": info.times.ticks,
        "end": np.array(info.times.end),
        "size": np.array([info.width, info.height]),
        "keyframes": info._keyframes,
        "is timed": np.array(info.is_timed),
        # As text: terms of fractions may pass 64 bits.
        "fractions": np.array([str(value) for value in (unit, rate, aspect)]),
        "promised": np.array("" if promised is None else str(promised)),
    }


def _from_arrays(video: Path, arrays: dict[str, np.ndarray]) -> VideoInfo:
    unit, rate, aspect = map(Fraction, arrays["fractions"].tolist())
    promised = str(arrays["promised"])
    width, height = arrays["size"].tolist()
    return VideoInfo(
        video,
        FrameTimes(arrays["ticks"], int(arrays["end"]), unit),
        rate,
        width,
        height,
        aspect,
        Fraction(promised) if promised else None,
        arrays["keyframes"],
        is_timed=bool(arrays["is timed"]),
    )
