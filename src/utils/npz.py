"""Reading of NumPy archives that this package wrote, whatever became of them since."""

import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np


def read_npz(path: Path, fields: Collection[str]) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file.

    Args:
        path: the file.
        fields: the arrays that it must hold, and no others.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: it cannot be read, is damaged, or holds other arrays, as those of another version of this package.
    """
    try:
        # NumPy meets an array's check sum only if the header, which may be what is damaged, says to read to the end.
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise ValueError(f"Bad CRC-32 for file {damaged!r}")
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
    except FileNotFoundError:
        raise
    # TypeError: a bare array; NotImplementedError and RuntimeError: damaged flags of a zip archive's members.
    except (OSError, EOFError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if arrays.keys() != set(fields):
        raise ValueError(f"it holds {', '.join(sorted(arrays))}, expected {', '.join(sorted(fields))}")
    return arrays
