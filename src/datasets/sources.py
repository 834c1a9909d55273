"""Where frames come from: image files on disk, or videos that are decoded on the way."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from src.ava.frame_list import FrameList
from src.datasets.prepare.ava import find_videos
from src.utils.errors import UserError

# Within so many seconds ahead, decoding on is quicker than seeking, which lands on a key picture far before.
_DECODE_ON_SECONDS = 4
# Headers state durations roughly; a video whose pictures end earlier than that is cut short.
_DURATION_SLACK_SECONDS = 1.0
_ROTATIONS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


class FrameSource(ABC):
    """Decoded frames by video and frame, both counted from 0.

    Attributes:
        names: the videos.

    Args:
        names: the videos.
        keep: keep the frames of the last call for the next, which may share some.
    """

    def __init__(self, names: tuple[str, ...], keep: bool) -> None:
        self.names = names
        self._keep = keep
        self._kept: dict[tuple[int, int], np.ndarray] = {}

    def read(self, video: int, indices: Sequence[int]) -> list[np.ndarray]:
        """Return frames of a video: uint8 (height, width, 3), BGR.

        A frame that is asked for twice is decoded once and is the same object twice.

        Raises:
            UserError: a frame that cannot be read, or has another size than the first.
        """
        indices = [int(index) for index in indices]
        frames = {index: self._kept[video, index] for index in indices if (video, index) in self._kept}
        frames.update(self._decode(video, sorted({*indices} - frames.keys())))
        first = frames[indices[0]]
        for index, frame in frames.items():
            if frame.shape != first.shape:
                raise UserError(
                    f"{self.place(video, index)}: the frame is {_size_text(frame)}, "
                    f"but others of its video are {_size_text(first)}"
                )
        if self._keep:
            self._kept = {(video, index): frame for index, frame in frames.items()}
        return [frames[index] for index in indices]

    @abstractmethod
    def count(self, video: int) -> int:
        """Return how many frames a video has."""

    @abstractmethod
    def size(self, video: int) -> tuple[int, int]:
        """Return height and width of a video's frames."""

    @abstractmethod
    def place(self, video: int, frame: int) -> str:
        """Return where a frame lies, for messages."""

    @abstractmethod
    def _decode(self, video: int, indices: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index, frame) for rising `indices`."""


def _size_text(image: np.ndarray) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"


class FrameFiles(FrameSource):
    """Frames that lie on disk as image files.

    Args:
        frames: which files, relative to `folder`.
        folder: where they are.
        keep: see `FrameSource`.

    Raises:
        UserError: the folder or a video's first or last frame is not there.
    """

    def __init__(self, frames: FrameList, folder: Path, keep: bool) -> None:
        super().__init__(frames.names, keep)
        self._frames, self._folder = frames, folder
        if not folder.is_dir():
            raise UserError(f"{folder}: the folder of frames is not there (DATA.PATH_TO_DATA_DIR, AVA.FRAME_DIR)")
        for video, name in enumerate(frames.names):
            for frame in (0, self.count(video) - 1):
                path = self._path(video, frame)
                if not path.is_file():
                    raise UserError(f"{frames.where(video, frame)}: video {name} lacks the frame {path}")

    def count(self, video: int) -> int:
        return int(self._frames.counts[video])

    def size(self, video: int) -> tuple[int, int]:
        ((_, image),) = self._decode(video, [0])
        return image.shape[:2]

    def place(self, video: int, frame: int) -> str:
        return str(self._path(video, frame))

    def _path(self, video: int, frame: int) -> Path:
        return self._folder / self._frames.path(video, frame)

    def _decode(self, video: int, indices: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        for index in indices:
            path = self._path(video, index)
            try:
                data = np.frombuffer(path.read_bytes(), np.uint8)
            except OSError as error:
                raise UserError(f"{path}: cannot read the frame: {error.strerror}") from error
            image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
            if image is None:
                raise UserError(f"{path}: the frame is not an image that can be decoded")
            yield index, image


class VideoFiles(FrameSource):
    """Frames of video files at a rate of their own: the ones that ffmpeg's `fps` filter would extract.

    Frame k is the last picture whose time stamp, times the rate and rounded, is at most k.

    Args:
        folder: the videos; their names are the file names without suffix.
        fps: frames a second.
        keep: see `FrameSource`.

    Raises:
        UserError: no folder, no videos, or two of one name.
    """

    def __init__(self, folder: Path, fps: int, keep: bool) -> None:
        videos = find_videos(folder)
        super().__init__(tuple(videos), keep)
        self._paths = list(videos.values())
        self._fps = fps
        self._headers: dict[int, tuple[int, tuple[int, int]]] = {}
        self._open: _VideoReader | None = None

    def count(self, video: int) -> int:
        return self._header(video)[0]

    def size(self, video: int) -> tuple[int, int]:
        return self._header(video)[1]

    def place(self, video: int, frame: int) -> str:
        return f"{self._paths[video]}, second {frame / self._fps:g}"

    def _header(self, video: int) -> tuple[int, tuple[int, int]]:
        """Return the number of frames, and height and width."""
        if video not in self._headers:
            # A reader of its own, closed at once: worker processes must not inherit an open file.
            with _VideoReader(self._paths[video], self._fps) as reader:
                self._headers[video] = reader.count, next(reader.read([0]))[1].shape[:2]
        return self._headers[video]

    def _decode(self, video: int, indices: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        if not indices:
            return
        path = self._paths[video]
        if self._open is None or not self._open.serves(path):
            if self._open is not None:
                self._open.close()
            self._open = _VideoReader(path, self._fps)
        yield from self._open.read(indices)


class _VideoReader:
    """One open video, which goes on where it stopped when asked for what follows."""

    def __init__(self, path: Path, fps: int) -> None:
        import av  # only whoever reads videos needs it

        self._av, self._path, self._fps = av, path, fps
        self._process = os.getpid()
        self._open()
        self.count = round(self._duration() * fps)

    def __enter__(self) -> "_VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._container.close()

    def serves(self, path: Path) -> bool:
        """Whether this reads `path`, and was opened by this very process: a file's position is shared over a fork."""
        return path == self._path and os.getpid() == self._process

    def read(self, indices: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index, frame) for rising `indices`.

        Raises:
            UserError: the video is damaged, or ends before its header says.
        """
        try:
            ahead = indices[0] - self._slot
            if ahead < 0 or (self._timed and ahead > _DECODE_ON_SECONDS * self._fps):
                self._seek(indices[0])
            for index in indices:
                while self._next is not None and self._next_slot <= index:
                    self._advance()
                if self._next is None and index > self._slot + _DURATION_SLACK_SECONDS * self._fps:
                    raise UserError(
                        f"{self._path}: the pictures end at second {self._slot / self._fps:g} of "
                        f"{self.count / self._fps:g}; the file is truncated or damaged, fetch or copy it again"
                    )
                yield index, self._image()
        except self._av.FFmpegError as error:
            raise UserError(
                f"{self._path}: cannot decode around second {indices[0] / self._fps:g}: {error.strerror}"
            ) from error

    def _open(self) -> None:
        """Open the file and decode its first picture."""
        try:
            self._container = self._av.open(str(self._path))
        except (self._av.FFmpegError, OSError) as error:
            raise UserError(f"{self._path}: cannot open the video: {error.strerror}") from error
        if not self._container.streams.video:
            raise UserError(f"{self._path}: the file has no video stream, expected a video")
        self._stream = self._container.streams.video[0]
        # The worker processes are the parallelism.
        self._stream.thread_type = "NONE"
        # A bare stream, outside of a container, states a rate but no times.
        self._timed = bool(self._stream.duration or self._container.duration)
        # As ffmpeg does: times count from the earliest start of any stream. In units of the stream's time stamps.
        self._start = round(Fraction(self._container.start_time or 0, self._av.time_base) / self._stream.time_base)
        if not self._restart():
            raise UserError(f"{self._path}: holds no picture that can be decoded")

    def _duration(self) -> float:
        if self._stream.duration:
            return float(self._stream.duration * self._stream.time_base)
        if self._timed:
            return self._container.duration / self._av.time_base
        with self._av.open(str(self._path)) as container:
            return float(sum(packet.size > 0 for packet in container.demux(video=0)) / self._stream.average_rate)

    def _restart(self) -> bool:
        """Decode the first picture from where the container stands; return whether there is one."""
        self._pictures = self._container.decode(self._stream)
        self._fetched = 0
        self._fetch()
        if self._next is None:
            return False
        self._advance()
        return True

    def _advance(self) -> None:
        """Make the next picture the current one."""
        self._current, self._slot, self._converted = self._next, self._next_slot, None
        self._fetch()

    def _fetch(self) -> None:
        """Decode the next picture, and tell which frame is the first to show it; ffmpeg rounds halves up."""
        self._next = next(self._pictures, None)
        if self._next is None:
            return
        if self._timed and self._next.pts is None:
            raise UserError(f"{self._path}: the pictures have no time stamps; convert the video with ffmpeg first")
        if self._timed:
            seconds = (self._next.pts - self._start) * self._stream.time_base
        else:
            seconds = self._fetched / self._stream.average_rate
        self._next_slot = math.floor(seconds * self._fps + Fraction(1, 2))
        self._fetched += 1

    def _seek(self, index: int) -> None:
        """Stand at or before the picture of a frame."""
        if self._timed:
            target = Fraction(index, self._fps) / self._stream.time_base + self._start
            self._container.seek(int(target), stream=self._stream)
        # It may land too late, as in containers without a good index.
        if not self._timed or not self._restart() or self._slot > index:
            self.close()
            self._open()

    def _image(self) -> np.ndarray:
        """Return the current picture as BGR, by the way that it would take through a JPEG file, but for the loss.

        That is full-range planes as ffmpeg makes them, colour smoothly enlarged, and the matrix of BT.601 whatever
        the video's own is.
        """
        if self._converted is None:
            # One thread: others would not live on in a forked worker, which then waits for them.
            planes = self._current.reformat(
                format=_jpeg_format(self._current), dst_color_range="JPEG", interpolation="BICUBIC", threads=1
            ).planes
            luma, blue, red = (
                np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
                for plane in planes
            )
            height, width = luma.shape
            # Sizes of colour planes are rounded up.
            full = tuple(extent * round(whole / extent) for extent, whole in zip(blue.shape, luma.shape, strict=True))
            blue, red = (cv2.resize(plane, full[::-1])[:height, :width] for plane in (blue, red))
            image = cv2.cvtColor(cv2.merge([luma, red, blue]), cv2.COLOR_YCrCb2BGR)
            if self._current.rotation:
                image = cv2.rotate(image, _ROTATIONS[self._current.rotation % 360])
            self._converted = image
        return self._converted


def _jpeg_format(picture) -> str:
    """Return JPEG's planar format with the colour resolution of a picture."""
    parts = picture.format.components
    if min(part.height for part in parts) < picture.height:
        return "yuvj420p"
    return "yuvj422p" if min(part.width for part in parts) < picture.width else "yuvj444p"
