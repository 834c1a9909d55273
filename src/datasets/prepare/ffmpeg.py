"""Videos written: the calls of ffmpeg, and what its failures mean."""

import contextlib
import errno
import functools
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from src.datasets.video import probe
from src.utils.errors import UserError

# Streams end a little apart; beyond this a video counts as cut short.
_DURATION_SLACK_SECONDS = 1.0
PARTIAL_PREFIX = ".slowfast-prepare."
"""How the names of this package's unfinished files and folders begin."""


class TargetError(UserError):
    """The target cannot take any file: it is full or not writable. Every other video would fail as well."""


@functools.cache
def find_ffmpeg() -> str:
    """Return the path of ffmpeg: the system's, else the one that imageio-ffmpeg brings.

    Raises:
        UserError: there is none.
    """
    system = shutil.which("ffmpeg")
    if system:
        return system
    try:
        import imageio_ffmpeg  # only where the system has none

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise UserError(
            "ffmpeg was not found: install it (`apt install ffmpeg`) or run `pip install imageio-ffmpeg`"
        ) from error


@functools.cache
def ffmpeg_version() -> str:
    """Return the first line of `ffmpeg -version`."""
    return _run(["-version"], "ffmpeg").stdout.decode(errors="replace").splitlines()[0]


def cut_video(
    video: str | os.PathLike,
    target: str | os.PathLike,
    start: int,
    seconds: int,
    threads: int = 0,
    keyframe_seconds: Fraction | None = None,
) -> None:
    """Write the part of a video that begins at second `start` as an H.264 MP4 file; `target` is whole or absent.

    Args:
        video: what to cut.
        target: the MP4 file.
        start: in seconds.
        seconds: how many.
        threads: of ffmpeg; 0: as many as it likes.
        keyframe_seconds: at most so far apart are keyframes; None: as the encoder likes, up to 250 frames.

    Raises:
        UserError: ffmpeg failed, or the video ends before `start`.
        TargetError: the target cannot be written or is full.
    """
    target = Path(target)
    info = probe(video)
    if info.is_truncated:
        raise UserError(info.truncation)
    duration = info.duration
    if duration <= start:
        raise UserError(f"{video}: lasts {duration:.0f} seconds, nothing is left after second {start}")
    with _partial_file(target) as partial:
        arguments = ["-y", "-v", "error", "-threads", str(threads), "-ss", str(start), "-t", str(seconds)]
        arguments += ["-i", f"file:{video}", "-map", "0:V:0", "-map", "0:a:0?", "-c:v", "libx264", "-c:a", "aac"]
        if keyframe_seconds is not None:
            arguments += ["-force_key_frames", f"expr:gte(t,n_forced*{float(keyframe_seconds)})"]
        arguments += ["-pix_fmt", "yuv420p", "-threads", str(threads), "-f", "mp4", f"file:{partial}"]
        result = _run(arguments, video, target=target)
        expected = min(seconds, duration - start)
        found = probe(partial).duration
        if found < expected - _DURATION_SLACK_SECONDS:
            faults = _reason(result.stderr.decode(errors="replace")) or "no error was reported"
            raise UserError(
                f"{video}: only {found:.1f} of {expected:.1f} seconds could be cut ({faults}); "
                "the file is truncated or damaged, fetch or copy it again"
            )


def encode_video(path: str | os.PathLike, frames: Iterator, *, fps: int, width: int, height: int) -> None:
    """Encode frames as an H.264 MP4 file; `path` is whole or absent.

    Args:
        path: the MP4 file.
        frames: (height, width, 3) uint8 arrays in BGR order.
        fps: frames a second.
        width: even number of pixels.
        height: even number of pixels.

    Raises:
        UserError: ffmpeg failed.
        TargetError: the target cannot be written or is full.
    """
    path = Path(path)
    command = [find_ffmpeg(), "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}"]
    command += ["-r", str(fps), "-i", "pipe:0", "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p"]
    # One thread and no version strings: the same frames give the same file.
    command += ["-threads", "1", "-bitexact", "-f", "mp4"]
    with _partial_file(path) as partial, tempfile.TemporaryFile() as errors:
        # If the pipe breaks, ffmpeg's own message says more.
        with (
            subprocess.Popen([*command, f"file:{partial}"], stdin=subprocess.PIPE, stderr=errors) as process,
            contextlib.suppress(BrokenPipeError),
        ):
            for frame in frames:
                process.stdin.write(frame.tobytes())
            process.stdin.close()
        if process.returncode:
            errors.seek(0)
            raise _failure(path, path, process.returncode, errors.read())


@contextlib.contextmanager
def _partial_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes that name, else it is removed."""
    partial = path.with_name(f"{PARTIAL_PREFIX}{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise TargetError(f"{path}: cannot write the file: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):  # a read-only target holds nothing to remove
            partial.unlink(missing_ok=True)


def _run(
    arguments: Sequence[str],
    subject: str | os.PathLike,
    *,
    target: Path | None = None,
) -> subprocess.CompletedProcess:
    """Run ffmpeg; a failure becomes a UserError about `subject`, or about the `target` of its writing."""
    command = [find_ffmpeg(), "-hide_banner", *arguments]
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise UserError(f"{command[0]}: cannot run ffmpeg: {error.strerror}") from error
    if result.returncode:
        raise _failure(subject, target or subject, result.returncode, result.stderr)
    return result


def _failure(subject: str | os.PathLike, target: str | os.PathLike, status: int, errors: bytes) -> UserError:
    """Say in one line why ffmpeg ended with `status`."""
    text = errors.decode(errors="replace")
    if status < 0:
        name = signal.Signals(-status).name
        return UserError(f"{subject}: ffmpeg was killed by {name} (out of memory?); run the step again")
    if os.strerror(errno.ENOSPC) in text:
        return TargetError(f"{target}: the disk is full; free some space and run the step again to go on")
    if os.strerror(errno.EROFS) in text:
        return TargetError(f"{target}: the target is on a read-only file system")
    return UserError(f"{subject}: ffmpeg failed with status {status}: {_reason(text)}")


def _reason(text: str) -> str:
    """Return the first line of ffmpeg's messages that names a fault, without the address of its decoder."""
    lines = [re.sub(r"^(\[[^]]*\] ?)+", "", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    faults = [
        line for line in lines if re.search(r"not found|[Ii]nvalid|[Ee]rror|[Ff]ailed|partial|No such|denied", line)
    ]
    return next(iter(faults or lines), "")
