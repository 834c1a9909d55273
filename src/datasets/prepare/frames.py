"""Frames of a video, written as JPEG files."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from src.ava.frame_list import frame_name
from src.datasets.prepare.ffmpeg import PARTIAL_PREFIX, TargetError
from src.datasets.video import VideoDecoder, VideoInfo, at_rate, probe
from src.utils.errors import UserError

_REMOVAL_ATTEMPTS = 20


@dataclass(frozen=True)
class Extraction:
    """What came out of a video.

    Attributes:
        frames: how many were written.
        bytes: that they have together.
        errors: packets of the video that could not be read or decoded.
        damaged: decoded frames in which the decoder reported faults, and concealed them.
        resized: decoded frames that were scaled to the size of the first.
    """

    frames: int
    bytes: int
    errors: int
    damaged: int
    resized: int

    @property
    def fault(self) -> str:
        """What was wrong with the video; empty: nothing."""
        if not (self.errors or self.damaged):
            return ""
        return f"{self.errors} packets cannot be decoded, {self.damaged} frames are damaged and were concealed"


def extract_frames(
    video: str | os.PathLike | VideoInfo,
    folder: str | os.PathLike,
    fps: int,
    *,
    name: str | None = None,
    short_side: int = 0,
    threads: int = 0,
) -> Extraction:
    """Write the frames of a video as FOLDER/NAME_000001.jpg and so on; FOLDER exists only when it is complete.

    Frame k (from 0) shows the video at k / fps seconds, in the quality of AVA's recipe.

    Args:
        video: a file, a folder of `fps` images a second, or what `probe` said of it.
        folder: where the frames go; must not exist yet.
        fps: frames a second on disk, whatever the video's own rate is.
        name: start of the file names; the folder's name by default.
        short_side: scale the shorter side to so many pixels; 0 keeps the size.
        threads: that decode; 0: as many as they like.

    Raises:
        UserError: the video cannot be read, or holds less than its header promises.
        TargetError: the target cannot be written or is full.
    """
    info, folder = video if isinstance(video, VideoInfo) else probe(video, fps), Path(folder)
    name = folder.name if name is None else name
    if info.is_truncated:
        raise UserError(info.truncation)
    decoder = VideoDecoder(info.path, threads=threads, image_rate=info.image_rate)
    with decoder, _partial_folder(folder) as partial:
        count, size, last, content = 0, 0, None, b""
        for index, frame in at_rate(decoder, fps, info.times.duration):
            if frame is not last:
                last, content = frame, frame.jpeg(short_side)
            (partial / frame_name(name, index + 1)).write_bytes(content)
            count, size = index + 1, size + len(content)
        if last is None:
            raise UserError(f"{info.path}: holds no frame that can be decoded; fetch or copy it again")
        return Extraction(count, size, decoder.errors, decoder.damaged, decoder.resized)


def count_frames(folder: str | os.PathLike) -> int:
    """Return the number of frames of one video's folder, NAME_000001.jpg and on without a gap.

    Raises:
        UserError: no frames, a foreign file, or a gap; names the first missing frame.
    """
    folder = Path(folder)
    try:
        names = {entry.name for entry in os.scandir(folder)}
    except OSError as error:
        raise UserError(f"{folder}: cannot list the frames: {error.strerror}") from error
    if not names:
        raise UserError(f"{folder}: has no frames; remove the folder and run custom, or the frames step, again")
    for number in range(1, len(names) + 1):
        if frame_name(folder.name, number) not in names:
            raise UserError(
                f"{folder}: {frame_name(folder.name, number)} is missing among {len(names)} files; "
                "remove the folder and run custom, or the frames step, again"
            )
    return len(names)


def discard_frames(folder: Path) -> None:
    """Remove a folder of frames that this package wrote.

    Raises:
        UserError: it holds something else as well; nothing is removed.
    """
    count = count_frames(folder)
    for number in range(1, count + 1):
        (folder / frame_name(folder.name, number)).unlink()
    folder.rmdir()


def remove_partials(folder: Path) -> None:
    """Remove what a killed run left half-written in `folder`.

    Raises:
        TargetError: it cannot be removed.
    """
    for path in sorted(folder.glob(f"{PARTIAL_PREFIX}*")) if folder.is_dir() else []:
        if path.is_dir():
            _remove_folder(path)
        else:
            path.unlink()


def _remove_folder(path: Path) -> None:
    """Remove a folder that another process may still be filling."""
    for _ in range(_REMOVAL_ATTEMPTS):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
    raise TargetError(f"{path}: cannot remove this left-over of a killed run; is it still running?")


@contextlib.contextmanager
def _partial_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; on success it takes that name, else it is removed."""
    partial = None
    try:
        if folder.exists():
            raise UserError(f"{folder}: exists already; remove it to extract its frames again")
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = folder.with_name(f"{PARTIAL_PREFIX}{secrets.token_hex(4)}")
        made.mkdir()  # with the permissions of the umask, which tempfile.mkdtemp passes over
        partial = made
        yield partial
        partial.rename(folder)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise TargetError(f"{folder}: the disk is full; free some space and run the step again to go on") from error
        raise TargetError(f"{folder}: cannot write the frames: {error.strerror}") from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
