"""Where frames come from: the files that extraction wrote, or videos and folders of images, read on the way."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from src.ava.frame_list import FrameList
from src.datasets.prepare.frame_records import FileState, read_record
from src.datasets.video import VideoInfo, VideoReader, find_videos
from src.datasets.video_index import indexed_info
from src.utils.errors import UserError

_LOGGER = logging.getLogger(__name__)


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
    """Frames of video files at a rate of their own: the ones that extraction writes.

    Folders of numbered images are videos of that very rate.

    Args:
        folder: the videos; their names are the file names without suffix, or those of the folders of images.
        fps: frames a second.
        keep: see `FrameSource`.
        root: the data root, which keeps an index of the videos' times; None: there is none.

    Raises:
        UserError: no folder, no videos, or two of one name.
    """

    def __init__(self, folder: Path, fps: int, keep: bool, root: Path | None = None) -> None:
        videos = find_videos(folder, image_folders=True)
        super().__init__(tuple(videos), keep)
        self._paths = list(videos.values())
        self._fps, self._root = fps, root
        self._infos: dict[int, VideoInfo] = {}
        self._damaged: set[int] = set()
        self._open: VideoReader | None = None

    def count(self, video: int) -> int:
        return self._info(video).times.count(self._fps)

    def size(self, video: int) -> tuple[int, int]:
        info = self._info(video)
        return info.height, info.width

    def place(self, video: int, frame: int) -> str:
        return f"{self._paths[video]}, second {frame / self._fps:g}"

    def _info(self, video: int) -> VideoInfo:
        if video not in self._infos:
            info = indexed_info(self._paths[video], self._fps, self._root)
            if info.is_truncated:
                raise UserError(info.truncation)
            self._infos[video] = info
            self._tell_changed(video)
        return self._infos[video]

    def _tell_changed(self, video: int) -> None:
        """Warn of a video that is not the one against which its boxes were checked."""
        record = read_record(self._root, self.names[video]) if self._root else None
        if record and record.source and not record.source.has_content_of(FileState.of(self._paths[video])):
            _LOGGER.warning(
                "%s: has changed since its frames were extracted, and its boxes checked against it: prepare the data "
                "again",
                self._paths[video],
            )

    def _decode(self, video: int, indices: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        if not indices:
            return
        info = self._info(video)
        if self._open is None or self._open.path != info.path or not self._open.is_mine:
            if self._open is not None:
                self._open.close()
            self._open = VideoReader(info, self._fps)
        for index, frame in self._open.read(indices):
            yield index, frame.image
        if self._open.is_damaged and video not in self._damaged:
            self._damaged.add(video)
            _LOGGER.warning(
                "%s: the video is damaged before second %g, and frames show what the decoder made of it; "
                "`python -m src.datasets.prepare verify` counts them",
                info.path,
                indices[-1] / self._fps,
            )
