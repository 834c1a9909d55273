"""Who does what in a camera's picture or a stream, as it comes: the last minute on a page, the whole in tables."""

import base64
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from src.predict.detector import Detector
from src.predict.live_source import LiveFrame, LiveSource
from src.predict.page import video_data
from src.predict.parts import KeyFrame, Part, Sampling, score_key_frame
from src.predict.results import VideoResult, counted
from src.predict.scorer import Scorer
from src.predict.timeline import Rules, find_actions
from src.predict.tracker import MAX_GAP, WEAK_SCORE, Tracker

WINDOW = 60.0
"""Seconds that the page shows."""
# Key frames whose clip came so many seconds ago are skipped.
_MOST_LATE = 1.0
# Seconds of frames that are kept beyond a clip's.
_SPARE = 3.0
_PICTURE_WIDTH = 640
# A stream that is silent is given up by then; only a pipe that nobody writes to is not, in seconds.
_PATIENCE = 15.0


@dataclass
class LiveState:
    """What came out so far.

    Attributes:
        scored: key frames.
        skipped: key frames that came too fast.
        delay: seconds from a key frame to its scores, the last.
        window: key frames, sightings and thumbnails of the last minute.
    """

    scored: int = 0
    skipped: int = 0
    delay: float = 0.0
    window: Part = field(default_factory=lambda: Part(0.0))


class LiveAnalyzer:
    """Scores a stream with a bounded delay: what comes too fast is skipped and counted.

    Three threads work: one decodes, one finds persons in the newest picture, and the caller's scores.

    Args:
        source: the stream.
        detector: finds the persons.
        scorer: says what they do.
        sampling: when.
    """

    def __init__(self, source: LiveSource, detector: Detector, scorer: Scorer, sampling: Sampling) -> None:
        self.state = LiveState()
        self.size: tuple[int, int] | None = None
        self._source, self._detector, self._scorer = source, detector, scorer
        self._fps = scorer.cfg.AVA.FPS
        self._key_step = max(1, round(sampling.every * self._fps))
        self._look_step = max(1, round(self._fps / sampling.detections))
        self._steps = scorer.clip_steps()
        # Of a clip's frames only every second or so is needed, whatever the key frame.
        self._phases = {int(step) % self._key_step for step in self._steps}
        self._tracker = Tracker()
        self._small: dict[int, np.ndarray] = {}
        self._shown: dict[int, np.ndarray] = {}
        self._newest: int = -1
        self._looked: float = -1
        self._begun = 0
        self._key = 0  # the next to be scored
        self._is_over = False
        self._changed = threading.Condition()
        self._picture: tuple[int, np.ndarray] | None = None  # the newest that waits to be looked at
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None

    def run(self, tell: Callable[[KeyFrame, np.ndarray], None], is_stopped: Callable[[], bool]) -> None:
        """Score until told to stop, or the stream has an end.

        Args:
            tell: is given each key frame and its picture, at most 640 pixels wide.
            is_stopped: asked before each key frame, and while there is none.

        Raises:
            UserError: as the parts raise it.
        """
        for work in (self._decode, self._look):
            self._threads.append(threading.Thread(target=self._guarded, args=(work,), daemon=True))
            self._threads[-1].start()
        try:
            self._score_all(tell, is_stopped)
        finally:
            self._source.close()

    def close(self) -> None:
        """Wait for the threads: one that is in C++ when the interpreter ends would end the process with a signal."""
        for thread in self._threads:
            thread.join(_PATIENCE)

    def _score_all(self, tell: Callable[[KeyFrame, np.ndarray], None], is_stopped: Callable[[], bool]) -> None:
        while not is_stopped():
            with self._changed:
                if self._error is None and not self._is_ready():
                    self._changed.wait(timeout=0.2)
                if self._error is not None:
                    raise self._error
                key = self._next()
                if key is None and self._is_over and self._newest < self._key + int(self._steps[-1]):
                    return
            if key is not None:
                self._score(key, tell)

    def _next(self) -> int | None:
        """Take the key frame that is to be scored now, None: there is none; passes over those that cannot be."""
        if not self._is_ready():
            return None
        if self._key + int(self._steps[0]) < self._begun:
            # The clip reaches back over the beginning, or an interruption.
            self._key = -(-(self._begun - int(self._steps[0])) // self._key_step) * self._key_step
            return None
        late = (self._newest - int(self._steps[-1]) - self._key) / self._fps
        if late > _MOST_LATE:
            steps = int((late - _MOST_LATE) * self._fps) // self._key_step + 1
            self.state.skipped += steps
            self._key += steps * self._key_step
            return None
        key, self._key = self._key, self._key + self._key_step
        return key

    def _guarded(self, work: Callable[[], None]) -> None:
        """Run a thread's work; its error is raised by `run`."""
        try:
            work()
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _is_ready(self) -> bool:
        """Whether the clip of the next key frame is complete, and persons were looked for behind it."""
        end = self._key + int(self._steps[-1])
        return self._newest >= end and (self._looked >= self._key or self._newest > end + self._fps)

    def _waiting(self) -> int:
        """Return how many key frames have a complete clip and are not scored yet."""
        first = max(self._key, self._begun - int(self._steps[0]))
        last = self._newest - int(self._steps[-1])
        return max(0, last // self._key_step - -(-first // self._key_step) + 1)

    def _decode(self) -> None:
        kept = int(self._steps[-1] - self._steps[0]) + round(_SPARE * self._fps)
        try:
            for entry in self._source.frames():
                self._take(entry, kept)
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _take(self, entry: LiveFrame, kept: int) -> None:
        """Keep what clips need of a frame, and hand on the picture in which persons are looked for."""
        slot, small, shown = entry.slot, None, None
        is_needed, is_looked_at = slot % self._key_step in self._phases, slot % self._look_step == 0
        if is_needed:
            small = self._scorer.small(entry.frame.image)
        if slot % self._key_step == 0:
            shown = _shrunk(entry.frame.image)
        with self._changed:
            if entry.is_first:
                # Their frames go now, so that they will not be scored.
                self.state.skipped += self._waiting()
                self._begun, self.size = slot, entry.frame.image.shape[:2]
                self._small.clear()
            for images, image in ((self._small, small), (self._shown, shown)):
                if image is not None:
                    images[slot] = image
                for old in [index for index in images if index < slot - kept]:
                    del images[old]
            self._newest = slot
            if is_looked_at:
                self._picture = slot, entry.frame.image
            self._changed.notify_all()

    def _look(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._picture is not None or self._is_over)
                if self._picture is None:
                    self._looked = math.inf
                    self._changed.notify_all()
                    return
                (slot, image), self._picture = self._picture, None
            found = self._detector.detect(image, WEAK_SCORE)
            with self._changed:
                self._tracker.update(slot / self._fps, *found)
                self._tracker.forget(slot / self._fps - WINDOW)
                self._looked = slot
                self._changed.notify_all()

    def _score(self, key: int, tell: Callable[[KeyFrame, np.ndarray], None]) -> None:
        second = key / self._fps
        with self._changed:
            persons = [
                (track.number, *found)
                for track in self._tracker.tracks
                if self._tracker.is_certain(track) and (found := track.at(second)) is not None
            ]
            try:
                images = [self._small[key + int(step)] for step in self._steps]
            except KeyError:
                self.state.skipped += 1
                return
            picture = self._shown[key]
            sightings = self._sightings(second)
            size = self.size
        part = self.state.window
        frame = score_key_frame(self._scorer, second, persons, images, size, part)
        first = second - WINDOW
        part.start = max(0.0, first)
        part.key_frames = [old for old in part.key_frames if old.time >= first]
        part.sightings = sightings
        shown = {int(track) for old in part.key_frames for track in old.tracks}
        part.thumbnails = {track: image for track, image in part.thumbnails.items() if track in shown}
        self.state.scored += 1
        self.state.delay = (self._newest - key) / self._fps
        tell(frame, picture)

    def _sightings(self, until: float) -> np.ndarray:
        rows = [
            (second, track.number, *box, score)
            for track in self._tracker.tracks
            if self._tracker.is_certain(track)
            for second, box, score in zip(track.times, track.boxes, track.scores, strict=True)
            if second <= until + MAX_GAP
        ]
        return np.array(sorted(rows, key=lambda row: row[:2]), np.float64).reshape(-1, 7)


def _shrunk(image: np.ndarray) -> np.ndarray:
    """Return a picture that is small enough to be sent every second."""
    height, width = image.shape[:2]
    if width <= _PICTURE_WIDTH:
        return image
    return cv2.resize(image, (_PICTURE_WIDTH, round(height * _PICTURE_WIDTH / width)), interpolation=cv2.INTER_AREA)


def live_result(name: str, analyzer: LiveAnalyzer, rules: Rules) -> VideoResult:
    """Return the last minute as a result."""
    part = analyzer.state.window
    height, width = analyzer.size
    end = part.key_frames[-1].time if part.key_frames else 0.0
    actions = find_actions(part.key_frames, rules)
    return VideoResult(name, name, part, actions, part.start, max(end, part.start + 1), width, height)


def live_message(name: str, analyzer: LiveAnalyzer, rules: Rules, picture: np.ndarray, losses: int) -> dict:
    """Return what the page is told: picture, persons and actions of the last minute, and how it goes."""
    state = analyzer.state
    note = f"{state.delay:.1f} s behind; {state.skipped} of {state.scored + state.skipped} key frames skipped"
    if losses:
        note += f"; lost {counted(losses, 'time')}"
    jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    return {
        "picture": f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}",
        "video": video_data(live_result(name, analyzer, rules)),
        "note": note,
    }
