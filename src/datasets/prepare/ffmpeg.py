"""Videos in, frames out: the calls of ffmpeg, and what its failures mean."""

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
from dataclasses import dataclass
from pathlib import Path

from src.utils.errors import UserError

# A container's header rounds durations, and streams end a little apart; beyond this a video counts as cut short.
_DURATION_SLACK_SECONDS = 1.0
_PARTIAL_SUFFIX = ".partial"
_REMOVAL_ATTEMPTS = 20


class TargetError(UserError):
    """The target cannot take any file: it is full or not writable. Every other video would fail as well."""


@dataclass(frozen=True)
class VideoInfo:
    """What the header of a video promises.

    Attributes:
        duration: in seconds.
        fps: frames a second.
        width: in pixels.
        height: in pixels.
        timed: whether frames carry times. A bare stream, without a container, has neither times nor a duration: its
            frames are counted and taken to follow each other at `fps`.
        sound: whether there is sound. It may outlast the picture, and the duration is that of the longer.
    """

    duration: float
    fps: float
    width: int
    height: int
    timed: bool
    sound: bool


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


def probe(video: str | os.PathLike) -> VideoInfo:
    """Read the header of a video.

    Raises:
        UserError: not a video, no video stream, or no duration.
    """
    video = _existing(video)
    # Without an output ffmpeg prints what it found and exits with status 1.
    text = _run(["-i", f"file:{video}"], video, expect_failure=True).stderr.decode(errors="replace")
    if "Input #0" not in text:
        raise UserError(f"{video}: ffmpeg cannot read this video: {_reason(text)}")
    # A cover picture of a sound file is listed as a video stream too.
    streams = [
        line for line in text.splitlines() if re.search(r"Stream #.*Video:", line) and "attached pic" not in line
    ]
    if not streams:
        raise UserError(f"{video}: the file has no video stream, expected a video")
    size = re.search(r"[ ,](\d{2,5})x(\d{2,5})[ ,]", streams[0] + " ")
    rate = re.search(r"([\d.]+)(k?) (?:fps|tbr)", streams[0])
    if not size or not rate:
        raise UserError(f"{video}: the header states no size or frame rate; is the file complete?")
    fps = float(rate.group(1)) * (1000 if rate.group(2) else 1)
    duration = re.search(r"Duration: (\d+):(\d+):(\d+(?:\.\d+)?)", text)
    if duration:
        hours, minutes, seconds = map(float, duration.groups())
        length = hours * 3600 + minutes * 60 + seconds
    else:
        length = _count_frames(video, fps) / fps
    sound = re.search(r"Stream #.*Audio:", text) is not None
    return VideoInfo(length, fps, int(size.group(1)), int(size.group(2)), timed=duration is not None, sound=sound)


def extract_frames(
    video: str | os.PathLike,
    folder: str | os.PathLike,
    fps: int,
    *,
    name: str | None = None,
    short_side: int = 0,
    threads: int = 0,
) -> int:
    """Write the frames of a video as FOLDER/NAME_000001.jpg and so on; FOLDER exists only when it is complete.

    Frame k (from 0) shows the video at k / fps seconds, as AVA's recipe (`fps` filter, JPEG quality `-q:v 1`).

    Args:
        video: any file that ffmpeg reads.
        folder: where the frames go; must not exist yet.
        fps: frames a second on disk, whatever the video's own rate is.
        name: start of the file names; the folder's name by default.
        short_side: scale the shorter side to so many pixels; 0 keeps the size.
        threads: threads of ffmpeg; 0: as many as it likes.

    Returns:
        The number of frames written.

    Raises:
        UserError: ffmpeg is missing, failed or was killed, or the video holds less than its header promises.
        TargetError: the target cannot be written or is full.
    """
    video, folder = _existing(video), Path(folder)
    name = folder.name if name is None else name
    info = probe(video)
    # start_time=0 fills the start of a video whose picture sets in after its sound.
    filters = [f"fps={fps}:start_time=0"]
    if not info.timed:
        filters.insert(0, _times_filter(info.fps))
    if short_side:
        filters.append(_scale_filter(short_side))
    with _partial_folder(folder) as partial:
        arguments = ["-threads", str(threads), "-i", f"file:{video.resolve()}", "-map", "0:V:0", "-an", "-sn"]
        # Run inside the folder: a percent sign in its path would be taken for part of the pattern.
        pattern = f"file:{name.replace('%', '%%')}_%06d.jpg"
        arguments += ["-vf", ",".join(filters), "-threads", str(threads), "-q:v", "1", pattern]
        result = _run(["-v", "error", *arguments], video, target=folder, folder=partial)
        count = sum(1 for entry in os.scandir(partial) if entry.stat().st_size > 0)
        faults = _reason(result.stderr.decode(errors="replace"))
        short = count < (info.duration - _DURATION_SLACK_SECONDS) * fps
        if count == 0 or (short and (faults or not info.sound)):
            raise UserError(
                f"{video}: only {count / fps:.1f} of the {info.duration:.1f} seconds that the header promises could "
                f"be decoded ({faults or 'no error was reported'}); "
                "the file is truncated or damaged, fetch or copy it again"
            )
    return count


def cut_video(video: str | os.PathLike, target: str | os.PathLike, start: int, seconds: int, threads: int = 0) -> None:
    """Write the part of a video that begins at second `start` as an H.264 MP4 file; `target` is whole or absent.

    Raises:
        UserError: ffmpeg failed, or the video ends before `start`.
        TargetError: the target cannot be written or is full.
    """
    video, target = _existing(video), Path(target)
    duration = probe(video).duration
    if duration <= start:
        raise UserError(f"{video}: lasts {duration:.0f} seconds, nothing is left after second {start}")
    with _partial_file(target) as partial:
        arguments = ["-y", "-v", "error", "-threads", str(threads), "-ss", str(start), "-t", str(seconds)]
        arguments += ["-i", f"file:{video}", "-map", "0:V:0", "-map", "0:a:0?", "-c:v", "libx264", "-c:a", "aac"]
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


def grab_frame(video: str | os.PathLike, seconds: float, short_side: int = 0) -> bytes:
    """Return the frame at `seconds` as JPEG in the quality of `extract_frames`."""
    arguments = ["-v", "error", "-ss", f"{seconds:.3f}", "-i", f"file:{_existing(video)}", "-map", "0:V:0"]
    if short_side:
        arguments += ["-vf", _scale_filter(short_side)]
    arguments += ["-frames:v", "1", "-q:v", "1", "-c:v", "mjpeg", "-f", "image2pipe", "pipe:1"]
    return _run(arguments, video).stdout


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


def remove_partials(folder: Path) -> None:
    """Remove what a killed run left half-written in `folder`.

    Raises:
        TargetError: it cannot be removed.
    """
    partials = sorted(folder.glob(f".*{_PARTIAL_SUFFIX}")) if folder.is_dir() else []
    for path in partials:
        if path.is_dir():
            _remove_folder(path)
        else:
            path.unlink()


def _remove_folder(path: Path) -> None:
    """Remove a folder that the ffmpeg of a killed run may still be filling; without its folder it ends."""
    for _ in range(_REMOVAL_ATTEMPTS):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
    raise TargetError(f"{path}: cannot remove this left-over of a killed run; is an ffmpeg still running?")


@contextlib.contextmanager
def _partial_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; on success it takes that name, else it is removed."""
    partial = None
    try:
        if folder.exists():
            raise UserError(f"{folder}: exists already; remove it to extract its frames again")
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=_PARTIAL_SUFFIX, dir=folder.parent))
        yield partial
        partial.chmod(0o755)
        partial.rename(folder)
    except OSError as error:
        raise TargetError(f"{folder}: cannot write the frames: {error.strerror}") from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _partial_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes that name, else it is removed."""
    partial = path.with_name(f".{path.name}{_PARTIAL_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise TargetError(f"{path}: cannot write the file: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):  # a read-only target holds nothing to remove
            partial.unlink(missing_ok=True)


def _times_filter(fps: float) -> str:
    """Give the frames of a bare stream the times that follow from their numbers."""
    return f"setpts=N/({fps}*TB)"


def _scale_filter(short_side: int) -> str:
    return f"scale='if(lt(iw,ih),{short_side},-2)':'if(lt(iw,ih),-2,{short_side})'"


def _count_frames(video: Path, fps: float) -> int:
    """Decode a bare stream and return the number of its frames."""
    arguments = ["-v", "error", "-stats", "-i", f"file:{video}", "-map", "0:V:0", "-vf", _times_filter(fps)]
    text = _run([*arguments, "-f", "null", "-"], video).stderr.decode(errors="replace")
    counts = re.findall(r"frame= *(\d+)", text)
    return int(counts[-1]) if counts else 0


def _existing(video: str | os.PathLike) -> Path:
    video = Path(video)
    if not video.is_file():
        raise UserError(f"{video}: there is no such video")
    return video


def _run(
    arguments: Sequence[str],
    subject: str | os.PathLike,
    *,
    target: Path | None = None,
    folder: Path | None = None,
    expect_failure: bool = False,
) -> subprocess.CompletedProcess:
    """Run ffmpeg in `folder`; a failure becomes a UserError about `subject`, or about the `target` of its writing."""
    command = [find_ffmpeg(), "-hide_banner", *arguments]
    try:
        result = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise UserError(f"{command[0]}: cannot run ffmpeg: {error.strerror}") from error
    if result.returncode < 0 or (result.returncode and not expect_failure):
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
