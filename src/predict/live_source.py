"""Frames of a camera, a stream or a pipe as they come, through interruptions."""

import re
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from src.datasets.video import VideoDecoder, VideoFrame, at_rate
from src.utils.errors import UserError

# A stream that gives nothing for so long is lost, in seconds; trying again waits longer each time.
_SILENCE = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}
_OPTIONS = {
    "rtsp": {"rtsp_transport": "tcp"},
    # A reader that is too slow loses packets, and goes on.
    "udp": {"overrun_nonfatal": "1", "fifo_size": "100000"},
}
# From these, a video with an end is a file; others are sent at the speed at which they play, recordings too.
_FILE_PROTOCOLS = ("file", "ftp", "http", "https")
_STDIN = "-"


@dataclass
class LiveFrame:
    """A frame of a stream.

    Attributes:
        slot: its number at the rate asked for, from when the stream was first opened; interruptions count.
        frame: what is shown; the same object as before where it is repeated.
        is_first: the first behind an interruption.
    """

    slot: int
    frame: VideoFrame
    is_first: bool


def is_live(video: str) -> bool:
    """Whether this names a camera, a stream or a pipe, not a file."""
    path = Path(video)
    if path.exists():
        return path.is_fifo()
    return bool(re.fullmatch(r"-|\d+|[a-z][a-z0-9+]+://.*", video, re.IGNORECASE))


def without_secrets(video: str) -> str:
    """Return a URL without user name, password and query, as it may be shown."""
    return re.sub(r"(?<=://)[^/?]*@", "", video).partition("?")[0] if "://" in video else video


class LiveSource:
    """A camera, a stream or a pipe.

    Attributes:
        losses: how often it was lost so far.

    Args:
        video: a camera's number, a URL, a named pipe, or `-` for the standard input.
        fps: frames a second that are wanted.

    Raises:
        UserError: it cannot be opened.
    """

    def __init__(self, video: str, fps: int) -> None:
        self._video, self._fps = video, fps
        self.losses = 0
        self._decoder = self._open()
        self._started = time.monotonic()
        self._closed = threading.Event()

    def close(self) -> None:
        """End `frames`, which may run in another thread, at its next frame."""
        self._closed.set()

    @property
    def name(self) -> str:
        """A name for files and people; user names and passwords of a URL are left out."""
        if self._video.isdigit():
            return f"camera_{self._video}"
        if self._video == _STDIN:
            return "stdin"
        bare = without_secrets(self._video).rpartition("://")[2]
        return re.sub(r"[^\w.-]+", "_", bare).strip("_") or "stream"

    def _open(self) -> VideoDecoder:
        try:
            return self._opened()
        except UserError as error:
            raise UserError(str(error).replace(self._video, without_secrets(self._video))) from None

    def _opened(self) -> VideoDecoder:
        if self._video.isdigit():
            container_format, place = _CAMERAS.get(sys.platform, _CAMERAS["linux"])
            return VideoDecoder(
                place.format(self._video), container_format=container_format, threads=1, timeout=_SILENCE
            )
        protocol = self._video.partition("://")[0].lower()
        place = "pipe:0" if self._video == _STDIN else self._video
        decoder = VideoDecoder(place, options=_OPTIONS.get(protocol), timeout=_SILENCE)
        if decoder.duration is not None and protocol in _FILE_PROTOCOLS:
            decoder.close()
            raise UserError(
                f"{self._video}: is a file of {decoder.duration:.0f} seconds, and no stream; fetch it first"
            )
        return decoder

    def frames(self) -> Iterator[LiveFrame]:
        """Yield frames at the rate asked for, until `close`, or the end of the standard input."""
        pause = _FIRST_PAUSE
        try:
            while not self._closed.is_set():
                begun = round((time.monotonic() - self._started) * self._fps)
                came = False
                for frame in self._connected(begun):
                    came = True
                    yield frame
                    if self._closed.is_set():
                        break
                if self._video == _STDIN:
                    return
                pause = _FIRST_PAUSE if came else min(2 * pause, _LONGEST_PAUSE)
                if not self._closed.is_set():
                    self.losses += 1
                    self._decoder.close()
                    self._reopen(pause)
        finally:
            self._decoder.close()

    def _reopen(self, pause: float) -> None:
        """Open the stream once it is there again."""
        while True:
            print(f"the stream is lost; trying again in {pause:g} s", file=sys.stderr, flush=True)
            if self._closed.wait(pause):
                return
            try:
                self._decoder = self._open()
                print("the stream is back", file=sys.stderr, flush=True)
                return
            except UserError:
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _connected(self, begun: int) -> Iterator[LiveFrame]:
        """Yield what one connection gives; its first frame has number `begun`."""
        frames = self._decoder if self._decoder.is_timed else _at_arrival(self._decoder)
        for slot, frame in at_rate(frames, self._fps):
            yield LiveFrame(begun + slot, frame, slot == 0)


def _at_arrival(frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
    """Yield frames that carry no times, as a camera's JPEG images, with those at which they come."""
    begun = None
    for frame in frames:
        now = time.monotonic()
        begun = now if begun is None else begun
        frame.time = Fraction(now - begun)
        yield frame
