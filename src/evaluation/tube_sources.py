"""Tables of tubes from annotation files, AVA's columns, tracked detections and predict's results.

Tubes are compared frame by frame. Pickles count frames; tables give seconds, which `fps` turns into frames. Between two
boxes of a detected tube, boxes are interpolated linearly.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePosixPath

import numpy as np
import pydantic

from src.ava.box_csv import read_rows
from src.ava.rows import NO_ACTION, FrameRow, RowError, RowRule, parse_row
from src.ava.text_files import csv_rows, read_text
from src.ava.tube_files import Tube, TubeAnnotations, read_tube_annotations, read_tube_detections
from src.evaluation.tubes import TubeTable
from src.utils.errors import UserError
from src.utils.records import parse_record

# MultiSports' evaluation leaves these out: they are too rare.
MULTISPORTS_LEFT_OUT = (
    *("aerobic kick jump", "aerobic off axis jump", "aerobic butterfly jump", "aerobic balance turn"),
    *("basketball save", "basketball jump ball"),
)
# Two days at 30 frames a second: what is longer is a slip of the pen.
_MOST_FRAMES = 5_000_000
_TRACK_COLUMNS = ["video", "second", "track", "x1", "y1", "x2", "y2", "score"]


@dataclass(frozen=True)
class TubeTruth:
    """Ground truth of tubes.

    Attributes:
        labels: class name by class id, in the order in which tubes count them.
        tubes: in shares of the frame or in pixels.
        videos: the videos that count.
        sizes: width and height by video, where boxes are in pixels; empty: boxes are shares of the frame.
        fps: frames a second of those that are compared; None: not known.
    """

    labels: dict[int, str]
    tubes: list[Tube]
    videos: tuple[str, ...]
    sizes: dict[str, tuple[int, int]]
    fps: Fraction | None

    @property
    def pixel(self) -> float:
        """The side of a pixel in the unit of the boxes; 0: not known."""
        return 1.0 if self.sizes else 0.0


@dataclass
class Account:
    """What was left out or made up, for messages.

    Attributes:
        left_out: tubes by reason.
        unknown_videos: videos that were to count, but that the ground truth lacks.
        boxes: boxes of the detections, in the end.
        interpolated: those among them that stand in no file.
    """

    left_out: Counter = field(default_factory=Counter)
    unknown_videos: int = 0
    boxes: int = 0
    interpolated: int = 0

    def lines(self) -> list[str]:
        """A line for each thing that was done."""
        lines = [f"{count} tubes are left out: {reason}" for reason, count in self.left_out.items()]
        if self.unknown_videos:
            lines.append(f"{self.unknown_videos} videos that are to count are not in the ground truth")
        if self.interpolated:
            lines.append(f"{self.interpolated} of {self.boxes} boxes of the detections are interpolated")
        return lines


def read_truth(
    path: Path,
    label_map: Mapping[int, str] | None,
    split: int,
    videos: Collection[str] | None,
    fps: Fraction | None,
    account: Account,
) -> TubeTruth:
    """Read annotations with identities.

    Args:
        path: a pickle that `src.ava.tube_files` reads, or AVA's columns with a person id.
        label_map: class name by class id; AVA's columns need it.
        split: which of a pickle's splits, from 1.
        videos: the videos that count; None: those of the split, or all.
        fps: frames a second; None: AVA's columns tell it.
        account: takes what is left out.

    Raises:
        UserError: a file that cannot be read, or does not say what is needed.
    """
    if path.suffix.lower() == ".pkl":
        truth = _truth_of_annotations(read_tube_annotations(path), path, split, fps)
    elif label_map is None:
        raise UserError(f"{path}: class ids need the names of the classes (--labelmap)")
    else:
        truth = _truth_of_rows(path, label_map, fps)
    if videos is None:
        return truth
    names = {_short(name.strip()) for name in videos if name.strip()}
    kept = tuple(name for name in truth.videos if _short(name) in names)
    account.unknown_videos = len(names) - len({_short(name) for name in kept})
    if not kept:
        raise UserError(f"{path}: has none of the {len(names)} videos that are to count (--videos)")
    return TubeTruth(
        truth.labels, [tube for tube in truth.tubes if tube.video in set(kept)], kept, truth.sizes, truth.fps
    )


def read_found(path: Path, truth: TubeTruth, account: Account) -> list[Tube]:
    """Read detected tubes: MultiSports' pickle, AVA's columns with a tube in the ninth, or predict's folder.

    Boxes are in the unit of the ground truth's.

    Raises:
        UserError: a file that cannot be read, or does not say what is needed.
    """
    if path.suffix.lower() == ".pkl":
        if not truth.sizes:
            raise UserError(f"{path}: is in pixels and frames, the ground truth in shares and seconds")
        return read_tube_detections(path, len(truth.labels))
    if truth.fps is None:
        raise UserError(f"{path}: gives seconds, the ground truth frames: say how many make a second (--fps)")
    tubes = (_tubes_of_predict if path.is_dir() else _tubes_of_rows)(path, truth, account)
    return _in_pixels(tubes, truth, path) if truth.sizes else tubes


def tables(truth: TubeTruth, found: Sequence[Tube], account: Account) -> tuple[TubeTable, TubeTable]:
    """Return ground truth and detections of the videos that count as tables.

    Raises:
        UserError: a tube of the ground truth has gaps.
    """
    for tube in truth.tubes:
        if (np.diff(tube.frames) != 1).any():
            raise UserError(f"{tube.where}: lacks frames between its first and last")
    number = {_short(name): index for index, name in enumerate(truth.videos)}
    if len(number) < len(truth.videos):
        raise UserError("two videos of the ground truth differ in their folders only")
    counting = [tube for tube in found if _short(tube.video) in number]
    unknown = len(found) - len(counting)
    if unknown:
        account.left_out["of videos that the ground truth lacks, or that do not count"] += unknown
    dense = [_filled(tube) for tube in counting]
    account.boxes += sum(len(tube.frames) for tube in dense)
    account.interpolated += sum(len(tube.frames) for tube in dense) - sum(len(tube.frames) for tube in counting)
    return _table(truth.tubes, number), _table(dense, number)


def _table(tubes: Sequence[Tube], number: Mapping[str, int]) -> TubeTable:
    def joined(arrays: Iterable[np.ndarray], empty: np.ndarray) -> np.ndarray:
        return np.concatenate([empty, *arrays])

    scored = [tube for tube in tubes if tube.score is not None]
    return TubeTable(
        video=np.array([number[_short(tube.video)] for tube in tubes], np.int64),
        label=np.array([tube.label for tube in tubes], np.int64),
        first=np.array([tube.frames[0] for tube in tubes], np.int64),
        start=np.cumsum([0, *(len(tube.frames) for tube in tubes)]),
        boxes=joined((tube.boxes for tube in tubes), np.empty((0, 4))),
        score=np.array([tube.score for tube in scored], np.float64),
        box_score=joined(
            (np.full(len(t.frames), t.score) if t.box_scores is None else t.box_scores for t in scored), np.empty(0)
        ),
    )


def _filled(tube: Tube) -> Tube:
    """Return a tube with a box in each frame from its first to its last."""
    _check_length(float(tube.frames[-1] - tube.frames[0]), tube.where)
    frames = np.arange(tube.frames[0], tube.frames[-1] + 1)
    if len(frames) == len(tube.frames):
        return tube
    boxes = np.stack([np.interp(frames, tube.frames, column) for column in tube.boxes.T], axis=1)
    scores = None if tube.box_scores is None else np.interp(frames, tube.frames, tube.box_scores)
    return Tube(tube.video, tube.label, frames, boxes, tube.where, tube.score, scores)


def _check_length(frames: float, where: str) -> None:
    """Raise where a tube has more frames than any video."""
    if not frames <= _MOST_FRAMES:
        raise UserError(f"{where}: begins and ends {frames:.3g} frames apart, expected at most {_MOST_FRAMES}")


def _short(name: str) -> str:
    """A video's name without folders: annotations have them, files of results may not."""
    return PurePosixPath(name).name


# Ground truth -------------------------------------------------------------------------------------------------------


def _truth_of_annotations(annotations: TubeAnnotations, path: Path, split: int, fps: Fraction | None) -> TubeTruth:
    videos = annotations.videos
    if annotations.test_videos:
        if split > len(annotations.test_videos):
            raise UserError(f"{path}: has {len(annotations.test_videos)} splits, but --split is {split}")
        videos = annotations.test_videos[split - 1]
    counting = set(videos)
    tubes = [tube for tube in annotations.tubes if tube.video in counting]
    lacking = next((tube for tube in tubes if tube.video not in annotations.sizes), None)
    if lacking:
        raise UserError(f"{path}: does not say the resolution of {lacking.video}")
    return TubeTruth(dict(enumerate(annotations.labels, start=1)), tubes, tuple(videos), annotations.sizes, fps)


def _truth_of_rows(path: Path, label_map: Mapping[int, str], fps: Fraction | None) -> TubeTruth:
    """Read AVA's columns: what a person does from frame to frame without a gap is a tube."""
    index = {class_id: at for at, class_id in enumerate(label_map)}
    boxes: dict[tuple[str, int, str], dict[float, tuple[float, ...]]] = defaultdict(dict)
    videos: dict[str, None] = {}
    for number, row in read_rows(path, RowRule(scored=False)):
        videos[row.video] = None
        if isinstance(row, FrameRow) or row.class_id == NO_ACTION or row.class_id not in index:
            continue
        if not row.last:
            raise UserError(f"{path}: row {number}: has no person id; tubes need one in the eighth column")
        times = boxes[row.video, index[row.class_id], row.last]
        if times.setdefault(row.second, row.corners) != row.corners:
            raise UserError(f"{path}: row {number}: person {row.last} has another box at this second already")
    fps = fps or _rate_of(boxes.values(), path)
    tubes = []
    for (video, label, person), times in boxes.items():
        where = f"{path}: {video}, person {person}"
        frames = _frames(list(times), fps, where)
        order = np.argsort(frames)
        corners = np.array(list(times.values()))[order]
        frames = frames[order]
        cuts = np.flatnonzero(np.diff(frames) != 1) + 1
        tubes += [
            Tube(video, label, some, box, where)
            for some, box in zip(np.split(frames, cuts), np.split(corners, cuts), strict=True)
        ]
    return TubeTruth(dict(label_map), tubes, tuple(videos), {}, fps)


def _rate_of(tracks: Iterable[Mapping[float, object]], path: Path) -> Fraction:
    """Return the frames a second: the inverse of the smallest step between two boxes of one person."""
    steps = [np.diff(np.sort(list(times))) for times in tracks if len(times) > 1]
    if not steps:
        raise UserError(f"{path}: nobody is seen twice: say how many frames make a second (--fps)")
    return Fraction(round(1000 / float(np.concatenate(steps).min())), 1000)


def _frames(seconds: Sequence[float], fps: Fraction, where: str) -> np.ndarray:
    """Return the frames that seconds stand for: (n,) int64.

    Raises:
        UserError: two of them stand for the same.
    """
    frames = np.rint(np.asarray(seconds, np.float64) * float(fps)).astype(np.int64)
    if len(np.unique(frames)) < len(frames):
        raise UserError(f"{where}: two boxes stand for one frame at {float(fps):g} frames a second (--fps)")
    return frames


# Detections ---------------------------------------------------------------------------------------------------------


def _tubes_of_rows(path: Path, truth: TubeTruth, account: Account) -> list[Tube]:
    """Read AVA's columns of detections with a tube in the ninth; its score is the mean of its boxes'."""
    index = {class_id: at for at, class_id in enumerate(truth.labels)}
    rows: dict[tuple[str, int, str], list[tuple]] = defaultdict(list)
    for number, cells in csv_rows(path):
        try:
            if len(cells) != 9:
                raise RowError(f"{len(cells)} columns, expected 9 (AVA's eight of detections, and the tube)")
            row = parse_row(cells[:8], RowRule(scored=True))
        except RowError as error:
            raise UserError(f"{path}: row {number}: {error}") from error
        rows[row.video, row.class_id, cells[8].strip()].append((row.second, *row.corners, float(row.last)))
    tubes = []
    for (video, class_id, tube), some in rows.items():
        if class_id in index:
            where = f"{path}: {video}, tube {tube}"
            tubes.append(_tube_of_sightings(video, index[class_id], np.array(some), truth.fps, where))
        else:
            account.left_out[f"of class id {class_id}, which the ground truth lacks"] += 1
    return tubes


def _tube_of_sightings(video: str, label: int, rows: np.ndarray, fps: Fraction, where: str) -> Tube:
    """Make a tube of rows second, x1, y1, x2, y2, score."""
    frames = _frames(rows[:, 0], fps, where)
    order = np.argsort(frames)
    scores = rows[order, 5]
    # Of equal scores the mean is that score to the last bit, so that tubes of one score share a rank.
    mean = scores[0] + (scores - scores[0]).mean()
    return Tube(video, label, frames[order], rows[order, 1:5], where, float(mean), scores)


def _tubes_of_predict(folder: Path, truth: TubeTruth, account: Account) -> list[Tube]:
    """Read predict's results: actions with a beginning and an end, and where their persons were seen.

    An action stands for half a step before its first key frame and behind its last: there the box stays where it was.
    """
    index = {name: at for at, name in enumerate(truth.labels.values())}
    sightings = _read_tracks(folder / "tracks.csv")
    tubes = []
    for video, person, action in _actions(folder / "actions.json"):
        where = f"{folder / 'actions.json'}: {video}, track {person}"
        if action.class_name not in index:
            account.left_out[f"of the class {action.class_name!r}, which the ground truth lacks"] += 1
            continue
        if (video, person) not in sightings:
            raise UserError(f"{where}: is not in {folder / 'tracks.csv'}")
        rows = sightings[video, person]
        first, last = (second * float(truth.fps) for second in (action.start, action.end))
        _check_length(abs(last - first), where)
        frames = np.arange(np.ceil(first - 1e-6), np.floor(last + 1e-6) + 1)
        if not len(frames):
            account.left_out["no frame lies within their time"] += 1
            continue
        at = frames / float(truth.fps)
        boxes = np.stack([np.interp(at, rows[:, 0], column) for column in rows[:, 1:].T], axis=1)
        seen = np.isin(np.rint(at * 1000), np.rint(rows[:, 0] * 1000)).sum()
        account.interpolated += len(frames) - int(seen)
        tubes.append(Tube(video, index[action.class_name], frames.astype(np.int64), boxes, where, action.score))
    return tubes


class _Action(pydantic.BaseModel):
    """An action of a person in predict's actions.json; times in seconds."""

    model_config = pydantic.ConfigDict(allow_inf_nan=False)

    class_name: str = pydantic.Field(alias="class")
    start: float
    end: float
    score: float


class _Person(pydantic.BaseModel):
    track: int
    actions: list[_Action]


class _Video(pydantic.BaseModel):
    video: str
    persons: list[_Person]


class _Document(pydantic.BaseModel):
    videos: list[_Video]


def _read_tracks(path: Path) -> dict[tuple[str, int], np.ndarray]:
    """Read tracks.csv: rows second, x1, y1, x2, y2 by video and track, by time."""
    rows: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
    for number, cells in csv_rows(path):
        if number == 1 and cells == _TRACK_COLUMNS:
            continue
        try:
            if len(cells) != len(_TRACK_COLUMNS):
                raise ValueError
            numbers = [float(cells[1]), *map(float, cells[3:7])]
            if not np.isfinite(numbers).all():
                raise ValueError
            rows[cells[0], int(cells[2])].append(numbers)
        except ValueError as error:
            raise UserError(f"{path}: row {number}: expected {', '.join(_TRACK_COLUMNS)}") from error
    return {key: np.array(sorted(values)) for key, values in rows.items()}


def _actions(path: Path) -> Iterator[tuple[str, int, _Action]]:
    try:
        document = parse_record(read_text(path, "JSON file").encode(), _Document)
    except ValueError as error:
        raise UserError(f"{path}: not the actions that predict writes: {error}") from error
    for video in document.videos:
        for person in video.persons:
            for action in person.actions:
                yield video.video, person.track, action


def _in_pixels(tubes: Sequence[Tube], truth: TubeTruth, path: Path) -> list[Tube]:
    """Turn shares of the frame into pixels."""
    sizes = {_short(name): size for name, size in truth.sizes.items()}
    result = []
    for tube in tubes:
        if tube.boxes.max(initial=0) > 2:
            raise UserError(f"{tube.where}: boxes of {path.name} lie in [0, 1], as shares of the frame")
        size = np.array(sizes.get(_short(tube.video), (1, 1)) * 2, np.float64)
        result.append(
            Tube(tube.video, tube.label, tube.frames, tube.boxes * size, tube.where, tube.score, tube.box_scores)
        )
    return result
