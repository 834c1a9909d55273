"""Who is who from frame to frame: detections become tracks.

Boxes are joined as in ByteTrack (Zhang et al. 2022): good detections first, then weak ones, which continue a track but
never begin one. Each track foretells its box by its velocity. Nothing but position tells persons apart.
"""

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np

WEAK_SCORE = 0.2
"""Detections from this score on may continue a track."""
NEW_SCORE = 0.4
"""Detections from this score on may begin one."""
MAX_GAP = 1.0
"""Seconds for which a track lives without a detection; boxes within are interpolated."""
STAY = 0.5
"""Seconds for which the box of a person who was seen no more is shown."""
SAME_STRETCH = 1.5
"""Key frames so many times their usual distance apart are none that follow each other."""
# Overlap with the foretold box that joins a detection to a track.
_MIN_IOU = 0.2
# Weights of a new detection in a track's foretold position and velocity (an alpha-beta filter).
_POSITION_GAIN, _VELOCITY_GAIN = 0.8, 0.3
# Seconds after which a person who was seen no more stays where the velocity carried them.
_COAST = 0.4


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union of boxes x1 y1 x2 y2: float64 (n, m) for (n, 4) and (m, 4)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1) for boxes in (first, second)]
    return common / np.maximum(areas[0][:, None] + areas[1][None] - common, 1e-12)


@dataclass
class Track:
    """A person over time.

    Attributes:
        number: counted from 0 in the order of appearance.
        times: seconds of the sightings, rising.
        boxes: box of each sighting, normalized.
        scores: score of each sighting.
    """

    number: int
    times: list[float] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    _position: np.ndarray | None = None
    _velocity: np.ndarray = field(default_factory=lambda: np.zeros(4))

    def foretold(self, time: float) -> np.ndarray:
        """Return where the person is expected: (4,)."""
        return self._position + self._velocity * min(time - self.times[-1], _COAST)

    def add(self, time: float, box_norm: np.ndarray, score: float) -> None:
        """Add a sighting."""
        if self._position is None:
            self._position = box_norm
        else:
            elapsed = time - self.times[-1]
            foretold = self.foretold(time)
            surprise = box_norm - foretold
            self._position = foretold + _POSITION_GAIN * surprise
            self._velocity = self._velocity + _VELOCITY_GAIN * surprise / elapsed
        self.times.append(time)
        self.boxes.append(box_norm)
        self.scores.append(score)

    def at(self, time: float, interpolate: bool = True) -> tuple[np.ndarray, float] | None:
        """Return the box and the score at a time, interpolated between two sightings; None outside of them.

        Args:
            time: seconds.
            interpolate: False: None between sightings, too.
        """
        after = bisect_left(self.times, time)
        if after == len(self.times):
            return None
        if self.times[after] == time:
            return self.boxes[after], self.scores[after]
        if after == 0 or not interpolate:
            return None
        start, end = self.times[after - 1], self.times[after]
        weight = (time - start) / (end - start)
        box = (1 - weight) * self.boxes[after - 1] + weight * self.boxes[after]
        return box, (1 - weight) * self.scores[after - 1] + weight * self.scores[after]


class Tracker:
    """Joins the detections of one video, given in the order of time.

    Args:
        min_sightings: sightings that make a person; tracks with fewer are taken for mistakes of the detector.
        new_score: detections from this score on may begin a track.
        max_gap: seconds for which a track lives without a detection.
    """

    def __init__(self, min_sightings: int = 2, new_score: float = NEW_SCORE, max_gap: float = MAX_GAP) -> None:
        self.tracks: list[Track] = []
        self._min_sightings, self._new_score, self._max_gap = min_sightings, new_score, max_gap
        self._count = 0

    def forget(self, before: float) -> None:
        """Drop what was seen before a second: of a stream without an end, memory holds the last part only."""
        for track in self.tracks:
            first = bisect_left(track.times, before)
            # How often a track was seen still counts.
            if first and len(track.times) - first >= self._min_sightings:
                for values in (track.times, track.boxes, track.scores):
                    del values[:first]
        self.tracks = [track for track in self.tracks if track.times[-1] >= before]

    def is_certain(self, track: Track) -> bool:
        """Whether a track was seen often enough to count."""
        return len(track.times) >= self._min_sightings

    def update(self, time: float, boxes_norm: np.ndarray, scores: np.ndarray) -> None:
        """Add the detections of a frame.

        Args:
            time: seconds, later than the last call's.
            boxes_norm: (n, 4), normalized.
            scores: (n,), from `WEAK_SCORE` on.
        """
        alive = [track for track in self.tracks if time - track.times[-1] <= self._max_gap]
        strong = scores >= self._new_score
        free = np.ones(len(scores), bool)
        for candidates in (np.flatnonzero(strong), np.flatnonzero(~strong)):
            joined = self._join(time, alive, boxes_norm, candidates)
            for track, index in joined:
                track.add(time, boxes_norm[index], float(scores[index]))
                free[index] = False
            taken = {id(track) for track, _ in joined}
            alive = [track for track in alive if id(track) not in taken]
        for index in np.flatnonzero(free & strong):
            track = Track(self._count)
            self._count += 1
            track.add(time, boxes_norm[index], float(scores[index]))
            self.tracks.append(track)

    def _join(
        self, time: float, tracks: list[Track], boxes_norm: np.ndarray, candidates: np.ndarray
    ) -> list[tuple[Track, int]]:
        """Pair tracks with detections, the largest overlap first."""
        if not tracks or not len(candidates):
            return []
        overlap = overlaps(np.stack([track.foretold(time) for track in tracks]), boxes_norm[candidates])
        # Tracks that were never confirmed come after those that were.
        order = overlap + np.array([[1.0] if self.is_certain(track) else [0.0] for track in tracks]) * (
            overlap >= _MIN_IOU
        )
        pairs = []
        while overlap.size and (best := np.unravel_index(np.argmax(order), order.shape)) is not None:
            row, column = best
            if overlap[row, column] < _MIN_IOU:
                break
            pairs.append((tracks[row], int(candidates[column])))
            overlap[row], overlap[:, column] = -1, -1
            order[row], order[:, column] = -1, -1
        return pairs
