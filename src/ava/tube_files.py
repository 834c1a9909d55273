"""Tubes in pickles: annotations of UCF101-24, JHMDB and MultiSports, and detections in MultiSports' layout.

A tube is where one person does one thing: a box in each of some consecutive frames. None of the files is executed; see
`src.checkpoint.safe_pickle`. Layouts, as documented by their authors:

* `UCF101v2-GT.pkl`, `JHMDB-GT.pkl`, `multisports_GT.pkl` (Kalogeiton et al., "Action Tubelet Detector for
  Spatio-Temporal Action Localization", ICCV 2017; Li et al., "MultiSports", ICCV 2021): `labels`; `gttubes`, by video
  and index of the label a list of arrays of rows frame, x1, y1, x2, y2, frames from 1; `nframes` and `resolution`
  (height, width) by video; `train_videos` and `test_videos`, a list for each split.
* `pyannot.pkl` (Singh et al., "Online Real-time Multiple Spatiotemporal Action Localisation and Prediction", ICCV
  2017): by video `numf` and `annotations`, each with `label`, `sf`, `ef` and `boxes`, rows x, y, width, height for the
  frames `sf` to `ef - 1`, from 0.
* `video_detections.pkl` (MultiSports): by index of the label a list of video, score and an array of rows frame, x1, y1,
  x2, y2, score.

All boxes are in pixels.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from src.checkpoint.safe_pickle import as_array, read_pickle
from src.utils.errors import UserError

UCF101_24_CLASSES = (
    *("Basketball", "BasketballDunk", "Biking", "CliffDiving", "CricketBowling", "Diving", "Fencing"),
    *("FloorGymnastics", "GolfSwing", "HorseRiding", "IceDancing", "LongJump", "PoleVault", "RopeClimbing"),
    *("SalsaSpin", "SkateBoarding", "Skiing", "Skijet", "SoccerJuggling", "Surfing", "TennisSwing"),
    *("TrampolineJumping", "VolleyballSpiking", "WalkingWithDog"),
)
"""What the labels of `pyannot.pkl` count."""
UCF101_SIZE = (320, 240)
"""Width and height of all videos of UCF101."""


@dataclass(frozen=True)
class Tube:
    """One tube.

    Attributes:
        video: as the file names it.
        label: index of the class, from 0.
        frames: (n,) int64, rising frames of the video, from 0.
        boxes: (n, 4) float64, x1 y1 x2 y2; in pixels where it was read from a pickle.
        where: file and place, for messages.
        score: of the tube; None in annotations.
        box_scores: (n,) float64; None where the file has none.
    """

    video: str
    label: int
    frames: np.ndarray
    boxes: np.ndarray
    where: str
    score: float | None = None
    box_scores: np.ndarray | None = None


@dataclass(frozen=True)
class TubeAnnotations:
    """What an annotation file holds.

    Attributes:
        labels: class names.
        tubes: in the order of videos, labels and the file.
        videos: all videos, also those without tubes.
        sizes: width and height by video.
        frame_counts: number of frames by video.
        test_videos: for each split, the videos to test on; empty where the file does not say.
    """

    labels: tuple[str, ...]
    tubes: list[Tube]
    videos: tuple[str, ...]
    sizes: dict[str, tuple[int, int]]
    frame_counts: dict[str, int]
    test_videos: list[tuple[str, ...]] = field(default_factory=list)


def read_tube_annotations(path: Path) -> TubeAnnotations:
    """Read an annotation file.

    Raises:
        UserError: it cannot be read, or is of no known layout.
    """
    content = _content(path)
    if not holds_tube_annotations(content):
        raise UserError(
            f"{path}: holds neither 'labels' and 'gttubes' (UCF101v2-GT.pkl, JHMDB-GT.pkl, multisports_GT.pkl) nor "
            "'annotations' by video (pyannot.pkl)"
        )
    return tube_annotations(content, path)


def holds_tube_annotations(content: object) -> bool:
    """Whether the content of a pickle is of one of the two annotation layouts."""
    return isinstance(content, Mapping) and ({"labels", "gttubes"} <= set(content) or _is_pyannot(content))


def tube_annotations(content: Mapping, path: Path) -> TubeAnnotations:
    """Return what the content of an annotation file says.

    Args:
        content: for which `holds_tube_annotations` holds.
        path: of the file, for messages.

    Raises:
        UserError: naming the tube, for values that cannot be.
    """
    return _of_pyannot(content, path) if _is_pyannot(content) else _of_gttubes(content, path)


def read_tube_detections(path: Path, num_labels: int) -> list[Tube]:
    """Read detected tubes in MultiSports' layout.

    Raises:
        UserError: the file cannot be read, or a tube is not as documented.
    """
    content = _content(path)
    if not isinstance(content, Mapping) or not all(isinstance(label, int) for label in content):
        raise UserError(f"{path}: expected tubes by index of their label, as MultiSports' video_detections.pkl")
    result = []
    for label, tubes in content.items():
        for index, entry in enumerate(_list(tubes, f"{path}: label {label}")):
            where = f"{path}: label {label}, tube {index}"
            if not 0 <= label < num_labels:
                raise UserError(f"{where}: the annotations have {num_labels} labels, counted from 0")
            if not isinstance(entry, tuple | list) or len(entry) != 3 or not isinstance(entry[0], str):
                raise UserError(f"{where}: expected video, score and an array of rows frame, x1, y1, x2, y2")
            video, score, rows = entry
            score = float(_array(score, path, where, (), "a score"))
            rows = _array(rows, path, where, (None, (5, 6)), "an array of rows frame, x1, y1, x2, y2 and perhaps score")
            scores = rows[:, 5] if rows.shape[1] == 6 else None
            result.append(_tube(video, label, rows[:, 0] - 1, rows[:, 1:5], where, score, scores))
    return result


def _content(path: Path) -> object:
    try:
        return read_pickle(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f"{path}: cannot read the file: {error.strerror}") from error


def _is_pyannot(content: Mapping) -> bool:
    first = next(iter(content.values()), None)
    return isinstance(first, Mapping) and {"annotations", "numf"} <= set(first)


def _of_gttubes(content: Mapping, path: Path) -> TubeAnnotations:
    labels = tuple(map(str, _list(content["labels"], f"{path}: labels")))
    tubes = list(_gttubes(content["gttubes"], labels, path))
    counts = {
        str(name): int(_array(count, path, f"{path}: nframes of {name}", (), "a number"))
        for name, count in _mapping(content.get("nframes", {}), path, "nframes").items()
    }
    sizes = {}
    for name, size in _mapping(content.get("resolution", {}), path, "resolution").items():
        height, width = _array(size, path, f"{path}: resolution of {name}", (2,), "height and width").astype(int)
        sizes[str(name)] = (int(width), int(height))
    where = f"{path}: test_videos"
    splits = [tuple(map(str, _list(split, where))) for split in _list(content.get("test_videos", []), where)]
    videos = dict.fromkeys([*map(str, content["gttubes"]), *counts])
    return TubeAnnotations(labels, tubes, tuple(videos), sizes, counts, splits)


def _gttubes(gttubes: object, labels: tuple[str, ...], path: Path) -> Iterator[Tube]:
    for video, by_label in _mapping(gttubes, path, "gttubes").items():
        for label, tubes in _mapping(by_label, path, f"gttubes of {video}").items():
            if not isinstance(label, int) or not 0 <= label < len(labels):
                raise UserError(f"{path}: {video}: label {label!r} is none of the {len(labels)} labels, from 0")
            for index, rows in enumerate(_list(tubes, f"{path}: {video}, label {label}")):
                where = f"{path}: {video}, {labels[label]}, tube {index}"
                rows = _array(rows, path, where, (None, (5,)), "an array of rows frame, x1, y1, x2, y2")
                yield _tube(str(video), label, rows[:, 0] - 1, rows[:, 1:], where)


def _of_pyannot(content: Mapping, path: Path) -> TubeAnnotations:
    tubes, counts = [], {}
    for video, entry in content.items():
        entry = _mapping(entry, path, str(video))
        counts[str(video)] = int(_array(entry.get("numf"), path, f"{path}: {video}: numf", (), "a number"))
        for index, tube in enumerate(_list(entry.get("annotations"), f"{path}: {video}: annotations")):
            where = f"{path}: {video}, annotation {index}"
            tube = _mapping(tube, path, where)
            first, end, label = (
                int(_array(tube.get(key), path, f"{where}: {key}", (), "a number")) for key in ("sf", "ef", "label")
            )
            if not 0 <= label < len(UCF101_24_CLASSES):
                raise UserError(f"{where}: label is {label}, expected 0 to {len(UCF101_24_CLASSES) - 1}")
            boxes = _array(tube.get("boxes"), path, where, (None, (4,)), "an array of rows x, y, width, height")
            if len(boxes) != end - first:
                raise UserError(f"{where}: has {len(boxes)} boxes for the frames {first} to {end - 1}")
            boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
            tubes.append(_tube(str(video), label, np.arange(first, end), boxes, where))
    sizes = dict.fromkeys(counts, UCF101_SIZE)
    return TubeAnnotations(UCF101_24_CLASSES, tubes, tuple(counts), sizes, counts)


def _tube(
    video: str,
    label: int,
    frames: np.ndarray,
    boxes: np.ndarray,
    where: str,
    score: float | None = None,
    box_scores: np.ndarray | None = None,
) -> Tube:
    if not len(frames):
        raise UserError(f"{where}: has no boxes")
    whole = frames.astype(np.int64)
    if (whole != frames).any() or (np.diff(whole) <= 0).any() or whole[0] < 0:
        raise UserError(f"{where}: its frames do not rise from the first on")
    return Tube(video, label, whole, boxes, where, score, box_scores)


def _array(value: object, path: Path, where: str, shape: tuple, expected: str) -> np.ndarray:
    """Return finite numbers as float64 of a shape, which gives for each axis nothing, a size or several sizes."""
    try:
        array = np.asarray(as_array(value, str(path)) if hasattr(value, "read") else value, np.float64)
        fits = array.ndim == len(shape) and all(
            wanted is None or size == wanted or (isinstance(wanted, tuple) and size in wanted)
            for size, wanted in zip(array.shape, shape, strict=False)
        )
    except (ValueError, TypeError, AttributeError):
        fits = False
    if not fits or not np.isfinite(array).all():
        raise UserError(f"{where}: expected {expected}")
    return array


def _list(value: object, where: str) -> list:
    if not isinstance(value, list | tuple):
        raise UserError(f"{where}: expected a list")
    return list(value)


def _mapping(value: object, path: Path, where: str) -> Mapping:
    if not isinstance(value, Mapping):
        raise UserError(f"{path}: {where.removeprefix(f'{path}: ')}: expected a dictionary")
    return value
