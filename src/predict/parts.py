"""A part of a video, worked off by itself: frames to persons to tracks to scores.

Parts are the unit of work: saved when whole, done by any machine in any order. Each looks a little beyond its ends, and
`join_parts` finds by the common seconds which tracks go on from part to part.
"""

import io
from collections import deque
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from src.datasets.video import VideoInfo, VideoReader
from src.predict.detector import Detections, Detector
from src.predict.given_boxes import KeyFrameBoxes
from src.predict.scorer import Scorer
from src.predict.tracker import MAX_GAP, SAME_STRETCH, WEAK_SCORE, Tracker, overlaps
from src.utils.errors import UserError
from src.utils.files import write_atomic
from src.utils.npz import read_npz
from src.utils.threads import in_background

# What waits between two steps: so many frames, and of large ones (8K: 100 MB) fewer, at most so many bytes.
_QUEUE, _QUEUE_BYTES = 8, 100_000_000
# Scaled frames and who is in them: those of the next key frame, so that persons are found while the last one is scored.
_QUEUE_SCALED = 64
# Seconds before its beginning from which a part follows persons, so that they are the same ones as without the cut.
_WARM_UP = 5.0
# Mean overlap, in the common seconds, of two tracks that are one person.
_SAME_IOU = 0.5
_THUMBNAIL_HEIGHT = 96
_BY_PERSON = ("tracks", "boxes_norm", "box_scores", "scores")
_ARRAYS = ("start", "times", "counts", "sightings", "thumbnail_tracks", "thumbnail_sizes", "thumbnails", *_BY_PERSON)


@dataclass(frozen=True)
class Sampling:
    """When persons are looked for and scored.

    Attributes:
        every: seconds from key frame to key frame.
        detections: frames a second in which persons are looked for.
    """

    every: float = 1.0
    detections: float = 5.0

    @property
    def longest_gap(self) -> float:
        """Seconds for which a person may be missing who is seen at key frames alone."""
        return max(MAX_GAP, SAME_STRETCH * self.every)


@dataclass
class KeyFrame:
    """The persons of a key frame.

    Attributes:
        time: seconds.
        tracks: int64 (n,).
        boxes_norm: float64 (n, 4).
        box_scores: float64 (n,).
        scores: float32 (n, classes).
    """

    time: float
    tracks: np.ndarray
    boxes_norm: np.ndarray
    box_scores: np.ndarray
    scores: np.ndarray


@dataclass
class Part:
    """What is known of a part of a video.

    Attributes:
        start: its first second; its last is the next part's first.
        key_frames: in the order of time.
        sightings: float64 (n, 7): second, track, x1, y1, x2, y2, score wherever a person was looked for; also in the
            seconds just before and behind the part.
        thumbnails: JPEG file of each track.
    """

    start: float
    key_frames: list[KeyFrame] = field(default_factory=list)
    sightings: np.ndarray = field(default_factory=lambda: np.zeros((0, 7)))
    thumbnails: dict[int, bytes] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the part, whole or not at all."""
        frames = self.key_frames
        arrays = {
            "start": np.array(self.start),
            "times": np.array([frame.time for frame in frames]),
            "counts": np.array([len(frame.tracks) for frame in frames], np.int64),
            "sightings": self.sightings,
            "thumbnail_tracks": np.array(list(self.thumbnails), np.int64),
            "thumbnail_sizes": np.array([len(image) for image in self.thumbnails.values()], np.int64),
            "thumbnails": np.frombuffer(b"".join(self.thumbnails.values()), np.uint8),
        }
        for name in _BY_PERSON:
            values = [getattr(frame, name) for frame in frames]
            arrays[name] = np.concatenate(values) if values else np.zeros(0)
        packed = io.BytesIO()
        np.savez_compressed(packed, **arrays)
        write_atomic(path, packed.getvalue())

    @staticmethod
    def load(path: Path) -> "Part | None":
        """Read a part; None if there is none, it is damaged, or another version of this package wrote it."""
        try:
            arrays = read_npz(path, _ARRAYS)
        except (FileNotFoundError, ValueError):
            return None
        ends = np.cumsum(arrays["counts"])
        frames = [
            KeyFrame(
                float(time),
                *(arrays[name][end - count : end] for name in _BY_PERSON),
            )
            for time, count, end in zip(arrays["times"], arrays["counts"], ends, strict=True)
        ]
        bounds = np.cumsum([0, *arrays["thumbnail_sizes"]])
        blob = arrays["thumbnails"].tobytes()
        thumbnails = {
            int(track): blob[low:high]
            for track, low, high in zip(arrays["thumbnail_tracks"], bounds[:-1], bounds[1:], strict=True)
        }
        return Part(float(arrays["start"]), frames, arrays["sightings"], thumbnails)


class PartAnalyzer:
    """Works off parts of one video.

    Args:
        info: of the video.
        detector: finds the persons; None: boxes are given.
        scorer: says what they do.
        sampling: when.
        given: boxes by second, in the detector's place; key frames are then its seconds.
    """

    def __init__(
        self,
        info: VideoInfo,
        detector: Detector | None,
        scorer: Scorer,
        sampling: Sampling,
        given: KeyFrameBoxes | None = None,
    ) -> None:
        self._info, self._detector, self._scorer, self._sampling, self._given = info, detector, scorer, sampling, given
        # Seconds beyond its ends that a part looks at, in which its persons are compared with the next part's.
        self._margin = MAX_GAP if given is None else sampling.longest_gap
        self._fps = scorer.cfg.AVA.FPS
        self._count = info.times.count(self._fps)
        self._is_stopped = False

    def stop(self) -> None:
        """End `analyze` early: the next that it yields is the part as far as it is done."""
        self._is_stopped = True

    def key_times(self, start: float, end: float) -> list[float]:
        """Return the seconds of the key frames from `start` until before `end`."""
        last = self._count / self._fps
        if self._given is not None:
            return [time for time in self._given if start <= time < min(end, last)]
        return list(_multiples(self._sampling.every, start, min(end, last)))

    def analyze(self, start: float, end: float) -> Iterator[KeyFrame | Part]:
        """Yield the key frames from `start` until before `end` as they are done, at last the whole part."""
        part = Part(start)
        keys = deque((time, self._slot(time)) for time in self.key_times(start, end))
        steps = self._scorer.clip_steps()
        before = max(_WARM_UP, self._margin)
        looked = self._detection_slots(start - before, end + self._margin, [slot for _, slot in keys])
        clip_slots = {int(slot) for _, key in keys for slot in np.clip(key + steps, 0, self._count - 1)}
        capacity = max(1, min(_QUEUE, _QUEUE_BYTES // (3 * self._info.height * self._info.width)))
        frames = in_background(self._frames(sorted(looked.keys() | clip_slots), looked.keys(), clip_slots), capacity)
        detected = in_background(self._detect(frames, looked), _QUEUE_SCALED)
        # Boxes that are given are persons, whatever their scores.
        tracker = Tracker() if self._given is None else Tracker(1, new_score=0.0, max_gap=self._margin)
        small = {}
        margin = max(round(MAX_GAP * self._fps) if self._given is None else 0, int(steps[-1]))
        try:
            for slot, image, detections in detected:
                if self._is_stopped:
                    keys.clear()
                    break
                if image is not None:
                    small[slot] = image
                if detections is not None:
                    tracker.update(looked[slot], *detections)
                while keys and not self._is_stopped and slot >= min(keys[0][1] + margin, self._count - 1):
                    yield self._key_frame(*keys.popleft(), tracker, small, part)
                    if keys and not self._is_stopped:
                        oldest = max(0, int(keys[0][1] + steps[0]))
                        small = {index: image for index, image in small.items() if index >= oldest}
            while keys and not self._is_stopped:
                yield self._key_frame(*keys.popleft(), tracker, small, part)
        finally:
            detected.close()
        rows = [
            (time, number, *box, score)
            for time in looked.values()
            if time >= start - self._margin - 1e-9
            for number, box, score in self._persons_at(time, tracker)
        ]
        part.sightings = np.array(sorted(rows, key=lambda row: row[:2]), np.float64).reshape(-1, 7)
        yield part

    def _slot(self, time: float) -> int:
        return min(int(time * self._fps + 0.5), self._count - 1)

    def _detection_slots(self, first: float, last: float, keys: list[int]) -> dict[int, float]:
        """Return the frames in which persons are looked for, and their times."""
        if self._given is not None:
            return {self._slot(time): time for time in self.key_times(first, last)}
        times = _multiples(1 / self._sampling.detections, max(first, 0.0), min(last, self._count / self._fps))
        slots = {self._slot(time) for time in times} | set(keys)
        return {slot: slot / self._fps for slot in sorted(slots)}

    def _frames(
        self, slots: list[int], looked: Container[int], clip_slots: Container[int]
    ) -> Iterator[tuple[int, np.ndarray | None, np.ndarray | None]]:
        """Decode frames; yield each where persons are looked for in it, and its scaled form where clips need it."""
        with VideoReader(self._info, self._fps) as reader:
            last, small = None, None
            for slot, frame in reader.read(slots):
                if last is not frame:
                    last, small = frame, None
                if slot in clip_slots and small is None:
                    small = self._scorer.small(frame.image)
                yield slot, frame.image if slot in looked else None, small if slot in clip_slots else None

    def _detect(
        self, frames: Iterator[tuple[int, np.ndarray | None, np.ndarray | None]], looked: dict[int, float]
    ) -> Iterator[tuple[int, np.ndarray | None, Detections | None]]:
        for slot, image, small in frames:
            detections = None
            if slot in looked:
                if self._given is not None:
                    detections = self._given[looked[slot]]
                else:
                    detections = self._detector.detect(image, WEAK_SCORE)
            yield slot, small, detections

    def _persons_at(self, time: float, tracker: Tracker) -> list[tuple[int, np.ndarray, float]]:
        """Return track, box and score of whoever is there; with boxes that are given, nobody else."""
        return [
            (track.number, *found)
            for track in tracker.tracks
            if tracker.is_certain(track) and (found := track.at(time, interpolate=self._given is None)) is not None
        ]

    def _key_frame(self, time: float, slot: int, tracker: Tracker, small: dict, part: Part) -> KeyFrame:
        moment = time if self._given is not None else slot / self._fps
        steps = np.clip(slot + self._scorer.clip_steps(), 0, self._count - 1)
        persons = self._persons_at(moment, tracker)
        images = [small[int(step)] for step in steps] if persons else []
        return score_key_frame(self._scorer, time, persons, images, (self._info.height, self._info.width), part)


def score_key_frame(
    scorer: Scorer,
    time: float,
    persons: list[tuple[int, np.ndarray, float]],
    images: list[np.ndarray],
    frame_size: tuple[int, int],
    part: Part,
) -> KeyFrame:
    """Score the persons of a key frame and add it to a part, with thumbnails of who is new.

    Args:
        scorer: says what they do.
        time: seconds.
        persons: track, box and score of each.
        images: the clip's frames as `Scorer.small` gives them; not needed where nobody is there.
        frame_size: height and width of the video's own frames.
        part: takes it.

    Raises:
        UserError: the network's scores are not finite.
    """
    boxes = np.array([box for _, box, _ in persons]).reshape(-1, 4)
    scores = np.zeros((0, scorer.cfg.MODEL.NUM_CLASSES), np.float32)
    if persons:
        scores = scorer.score(images, boxes, frame_size)
        if not np.isfinite(scores).all():
            raise UserError(f"{scorer.name}: the scores are not finite; the weights are damaged")
        for number, box, _ in persons:
            if number not in part.thumbnails:
                part.thumbnails[number] = _thumbnail(images[len(images) // 2], box)
    frame = KeyFrame(
        time,
        np.array([number for number, _, _ in persons], np.int64),
        boxes,
        np.array([score for _, _, score in persons], np.float64),
        scores,
    )
    part.key_frames.append(frame)
    return frame


def _multiples(step: float, start: float, end: float) -> Iterator[float]:
    """Yield the multiples of `step` from `start` until before `end`."""
    number = int(np.ceil(start / step - 1e-9))
    while (value := round(number * step, 9)) < end - 1e-9:
        yield value
        number += 1


def _thumbnail(image: np.ndarray, box_norm: np.ndarray) -> bytes:
    """Return a person cut out of a frame, as a JPEG file."""
    height, width = image.shape[:2]
    left, top = np.floor(box_norm[:2] * [width, height]).astype(int)
    right, bottom = np.ceil(box_norm[2:] * [width, height]).astype(int)
    crop = image[max(top, 0) : max(bottom, top + 2), max(left, 0) : max(right, left + 2)]
    ratio = _THUMBNAIL_HEIGHT / crop.shape[0]
    crop = cv2.resize(crop, (max(8, min(96, round(crop.shape[1] * ratio))), _THUMBNAIL_HEIGHT))
    return cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def join_parts(parts: list[Part]) -> Part:
    """Join the parts of a video into one whose tracks are numbered throughout, in the order of appearance."""
    whole = Part(parts[0].start if parts else 0.0)
    count, previous, previous_numbers = 0, None, {}
    sightings = []
    for index, part in enumerate(parts):
        end = parts[index + 1].start if index + 1 < len(parts) else np.inf
        common = {} if previous is None else _common_tracks(previous, part, previous_numbers)
        numbers: dict[int, int] = {}
        own = part.sightings[(part.sightings[:, 0] >= part.start) & (part.sightings[:, 0] < end)]
        seen = [int(track) for track in own[:, 1]] + [int(t) for frame in part.key_frames for t in frame.tracks]
        for track in dict.fromkeys([*common, *seen]):
            if track in common:
                numbers[track] = common[track]
            else:
                numbers[track] = count
                count += 1
        for frame in part.key_frames:
            tracks = np.array([numbers[int(track)] for track in frame.tracks], np.int64)
            whole.key_frames.append(KeyFrame(frame.time, tracks, frame.boxes_norm, frame.box_scores, frame.scores))
        own = own.copy()
        own[:, 1] = [numbers[int(track)] for track in own[:, 1]]
        sightings.append(own)
        for track, image in part.thumbnails.items():
            whole.thumbnails.setdefault(numbers[track], image)
        previous, previous_numbers = part, numbers
    whole.sightings = np.concatenate(sightings) if sightings else np.zeros((0, 7))
    return whole


def _common_tracks(before: Part, after: Part, numbers: dict[int, int]) -> dict[int, int]:
    """Return which tracks of `after` go on from `before`, by number in the whole video."""
    # The seconds that both looked at.
    low, high = after.sightings[:, 0].min(initial=np.inf), before.sightings[:, 0].max(initial=-np.inf)
    tables = []
    for part in (before, after):
        rows = part.sightings[(part.sightings[:, 0] >= low) & (part.sightings[:, 0] <= high)]
        tables.append({(round(row[0], 6), int(row[1])): row[2:6] for row in rows})
    totals: dict[tuple[int, int], list[float]] = {}
    old_by_time: dict[float, list[tuple[int, np.ndarray]]] = {}
    for (time, track), box in tables[0].items():
        old_by_time.setdefault(time, []).append((track, box))
    for (time, track), box in tables[1].items():
        for old, old_box in old_by_time.get(time, []):
            totals.setdefault((old, track), []).append(float(overlaps(box[None], old_box[None])[0, 0]))
    pairs = sorted(((float(np.mean(values)), *pair) for pair, values in totals.items()), reverse=True)
    common, used = {}, set()
    for overlap, old, new in pairs:
        if overlap >= _SAME_IOU and new not in common and old not in used and old in numbers:
            common[new] = numbers[old]
            used.add(old)
    return common
