"""Tables that take long to build, kept beside the files that they were built from."""

import hashlib
import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from src.utils.files import atomic_path
from src.utils.npz import read_npz

_LOGGER = logging.getLogger(__name__)
# Raise it whenever the meaning of the tables changes.
_VERSION = 3
# Smaller texts are read in less time than a cache is worth.
_MIN_BYTES = 1 << 24
_SAMPLED_BYTES = 1 << 16
_FOLDER = ".index"


def cached_arrays(
    files: Sequence[Path],
    settings: object,
    build: Callable[[], dict[str, np.ndarray]],
    *,
    fields: Collection[str],
    root: Path | None = None,
    min_bytes: int | None = None,
) -> dict[str, np.ndarray]:
    """Return what `build` returns, from a cache if it was built before from the same files with the same settings.

    A file is the same while its size, time of change, and first and last 64 KiB are. The cache lies in a folder
    `.index`; where that cannot be written, or the files are small, there is none.

    Args:
        files: what `build` reads.
        settings: what else the result depends on; its `repr` counts.
        build: returns arrays by name, none of objects.
        fields: these names; a cache with others, of another version of this package, is built anew.
        root: where `.index` lies; None: beside the first file.
        min_bytes: of all files, for which a cache is worth it; None: 16 MiB, of texts.
    """
    try:
        if sum(file.stat().st_size for file in files) < (_MIN_BYTES if min_bytes is None else min_bytes):
            return build()
        fingerprint = _digest(_VERSION, settings, *map(_state, files))
    except OSError:
        return build()  # which says what is wrong with the file
    # One cache for each use of the files: a changed file replaces it.
    folder = (files[0].parent if root is None else root) / _FOLDER
    path = folder / f"{_digest(settings, *(str(file.resolve()) for file in files))[:24]}.npz"
    try:
        stored = read_npz(path, ["fingerprint", *fields])
        if str(stored.pop("fingerprint")) == fingerprint:
            return stored
    except FileNotFoundError:
        pass
    except ValueError as error:
        _LOGGER.warning("%s: building the index anew, its cache cannot be read: %s", path, error)
    arrays = build()
    try:
        with atomic_path(path) as temporary:
            np.savez(temporary, fingerprint=np.array(fingerprint), **arrays)
    except OSError as error:
        _LOGGER.info("%s: the index is not kept: %s", path, error.strerror)
    return arrays


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _state(file: Path) -> tuple[str, int, int, bytes, bytes]:
    stat = file.stat()
    with file.open("rb") as stream:
        head = stream.read(_SAMPLED_BYTES)
        stream.seek(max(stat.st_size - _SAMPLED_BYTES, 0))
        tail = stream.read()
    return str(file.resolve()), stat.st_size, stat.st_mtime_ns, head, tail
