"""How the frames of each video were made: one small file a video, so that a later run knows what still holds."""

import hashlib
from pathlib import Path

import pydantic

from src.datasets.image_series import image_series
from src.datasets.prepare.ffmpeg import TargetError
from src.utils import records
from src.utils.errors import UserError
from src.utils.files import write_atomic

_FOLDER = "frame_records"
_SAMPLED_BYTES = 1 << 16


class FileState(pydantic.BaseModel):
    """What tells one state of a file, or folder of images, from another without reading all of it.

    Attributes:
        size: in bytes.
        time: of its last change, in nanoseconds.
        digest: SHA-256 of its first and last 64 KiB.
    """

    size: int
    time: int
    digest: str

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """Return the state of a file now, or of a folder of images: the time of the newest, and both ends' content."""
        if path.is_dir():
            series = image_series(path)
            files = [series.path(index) for index in range(series.count)]
            ends = [cls.of(files[0]), cls.of(files[-1])]
            stats = [file.stat() for file in files]
            return cls(
                size=sum(stat.st_size for stat in stats),
                time=max(stat.st_mtime_ns for stat in stats),
                digest=hashlib.sha256("".join(end.digest for end in ends).encode()).hexdigest(),
            )
        stat = path.stat()
        with path.open("rb") as file:
            digest = hashlib.sha256(file.read(_SAMPLED_BYTES))
            file.seek(max(stat.st_size - _SAMPLED_BYTES, 0))
            digest.update(file.read(_SAMPLED_BYTES))
        return cls(size=stat.st_size, time=stat.st_mtime_ns, digest=digest.hexdigest())

    def has_content_of(self, other: "FileState") -> bool:
        """Whether both are of one content, as far as can be told; a copy has another time."""
        return (self.size, self.digest) == (other.size, other.digest)


class Oddities(pydantic.BaseModel):
    """What was met in decoding a video.

    Attributes:
        errors: packets that could not be read or decoded.
        damaged: frames that the decoder concealed.
        resized: frames of another size than the first, to which they were scaled.
        overlapping: frames that begin when others were shown already, whose place they take.
    """

    errors: int = 0
    damaged: int = 0
    resized: int = 0
    overlapping: int = 0


class FrameRecord(Oddities):
    """How the frames of a video were made.

    Attributes:
        video: file name of the video.
        source: its state; None in records of earlier versions.
        duration: of the video, in seconds.
        width: of its upright frames, in pixels.
        height: of its upright frames, in pixels.
        video_fps: its own frames a second.
        fps: frames a second on disk.
        short_side: pixels of the frames' shorter side; 0: as in the video.
        frames: how many are on disk; None until the extraction has ended.
        bytes: that they have together; None in records of earlier versions, too.
        decoder: what decoded them.
    """

    video: str
    source: FileState | None = None
    duration: float
    width: int
    height: int
    video_fps: float
    fps: int
    short_side: int
    frames: int | None = None
    bytes: int | None = None
    decoder: str = ""


def read_record(root: Path, name: str) -> FrameRecord | None:
    """Return how the frames of a video were made, or None where they came from elsewhere.

    Raises:
        UserError: the record cannot be read.
    """
    path = _path(root, name)
    try:
        return records.read_record(path, FrameRecord)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(
            f"{path}: cannot read the record of the frames: {error}; remove it and the folder of the frames {name}, "
            "and prepare them again"
        ) from error


def write_record(root: Path, name: str, record: FrameRecord) -> None:
    """Write a record.

    Raises:
        TargetError: it cannot be written.
    """
    path = _path(root, name)
    try:
        write_atomic(path, record.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise TargetError(f"{path}: cannot write the record of the frames: {error.strerror}") from error


def _path(root: Path, name: str) -> Path:
    return root / _FOLDER / f"{name}.json"
