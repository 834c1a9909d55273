"""Where frames come from: image files on disk, or videos that are decoded on the way."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from src.datasets.ava_helper import FrameList
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
        try:
            self._container = av.open(str(path))
        except (av.FFmpegError, OSError) as error:
            raise UserError(f"{path}: cannot open the video: {error.strerror}") from error
        if not self._container.streams.video:
            raise UserError(f"{path}: the file has no video stream, expected a video")
        self._stream = self._container.streams.video[0]
        # The worker processes are the parallelism.
        self._stream.thread_type = "NONE"
        self._stream.codec_context.thread_count = 1
        # As ffmpeg does: times count from the earliest start of any stream. In units of the stream's time stamps.
        self._start = round(Fraction(self._container.start_time or 0, av.time_base) / self._stream.time_base)
        self._restart()
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
            if not self._slot <= indices[0] <= self._slot + _DECODE_ON_SECONDS * self._fps:
                self._seek(indices[0])
            for index in indices:
                while self._next is not None and self._slot_of(self._next) <= index:
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

    def _duration(self) -> float:
        if self._stream.duration:
            return float(self._stream.duration * self._stream.time_base)
        if self._container.duration:
            return self._container.duration / self._av.time_base
        # No header says it: the last packet does.
        with self._av.open(str(self._path)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
            end = max((packet.pts + (packet.duration or 0) for packet in packets), default=0)
        return float((end - self._start) * self._stream.time_base)

    def _slot_of(self, picture) -> int:
        """Return the first frame that shows a picture; ffmpeg rounds halves up."""
        if picture.pts is None:
            raise UserError(f"{self._path}: the pictures have no time stamps; convert the video with ffmpeg first")
        return math.floor((picture.pts - self._start) * self._stream.time_base * self._fps + Fraction(1, 2))

    def _restart(self) -> None:
        """Start to decode where the container stands: at its beginning, or where it was sought."""
        self._pictures = self._container.decode(self._stream)
        self._current, self._next, self._slot = None, None, 0
        self._advance()
        if self._next is None:
            raise UserError(f"{self._path}: holds no picture that can be decoded")
        self._advance()

    def _advance(self) -> None:
        """Make the next picture the current one."""
        if self._next is not None:
            self._current, self._slot, self._converted = self._next, self._slot_of(self._next), None
        self._next = next(self._pictures, None)

    def _seek(self, index: int) -> None:
        target = Fraction(index, self._fps) / self._stream.time_base + self._start
        self._container.seek(int(target), stream=self._stream)
        self._restart()
        if self._slot > index:
            # It landed too late, as in containers without a good index.
            self._container.seek(0, any_frame=False)
            self._restart()

    def _image(self) -> np.ndarray:
        if self._converted is None:
            # JPEG files know no other colour matrix than BT.601's; frames on disk carry no other colours.
            picture = self._current.reformat(
                format="bgr24", src_colorspace="ITU601", dst_colorspace="ITU601", interpolation="BICUBIC"
            )
            image = picture.to_ndarray()
            if self._current.rotation:
                image = cv2.rotate(image, _ROTATIONS[self._current.rotation % 360])
            self._converted = image
        return self._converted
