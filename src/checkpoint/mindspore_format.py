"""MindSpore's .ckpt files, read and written whole."""

import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from src.utils.errors import UserError
from src.utils.files import atomic_path

# A .ckpt file is one protocol-buffer message `Checkpoint { repeated Value value = 1; }`, so a row of records that
# start with the tag of field 1, and may end with "crc_num" and the CRC-32 of all before it in ten bytes.
_RECORD_TAG = 0x0A
_CRC_MARK = b"crc_num"
_CRC_SIZE = len(_CRC_MARK) + 10


def check_ckpt(path: str | os.PathLike) -> None:
    """Raise `UserError` unless the file is a whole MindSpore checkpoint; reads it without MindSpore."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a MindSpore checkpoint (.ckpt)")
    data = path.read_bytes()
    end = len(data)
    if data[-_CRC_SIZE:].startswith(_CRC_MARK):
        end -= _CRC_SIZE
    if not data or data[0] != _RECORD_TAG:
        raise UserError(f"{path}: not a MindSpore checkpoint")
    position = 0
    while position < end:
        if data[position] != _RECORD_TAG:
            raise UserError(f"{path}: damaged at byte {position}: expected a record of a MindSpore checkpoint")
        position += 1
        length = shift = 0
        while position < end and data[position] & 0x80 and shift < 63:  # a base-128 number, lowest digits first
            length |= (data[position] & 0x7F) << shift
            shift += 7
            position += 1
        if position < end:
            length |= (data[position] & 0x7F) << shift
        position += 1 + length
    if position != end:
        raise UserError(f"{path}: truncated: its records need {position} bytes, it has {end}")
    if end != len(data) and zlib.crc32(memoryview(data)[:end]) != int.from_bytes(data[end + len(_CRC_MARK) :], "big"):
        raise UserError(f"{path}: damaged: its checksum (CRC-32) does not fit its content")


def load_checkpoint(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read a MindSpore checkpoint.

    Returns:
        name -> array, in the order of the file.

    Raises:
        UserError: the file is absent, truncated, damaged or no MindSpore checkpoint.
    """
    check_ckpt(path)
    import mindspore as ms

    try:
        parameters = ms.load_checkpoint(str(path))
    except ValueError as error:
        raise UserError(f"{path}: not a MindSpore checkpoint: {str(error).splitlines()[0]}") from error
    return {name: parameter.asnumpy() for name, parameter in parameters.items()}


def save_checkpoint(arrays: Mapping[str, np.ndarray], path: str | os.PathLike) -> None:
    """Write `arrays` as a MindSpore checkpoint with a checksum; the file appears whole or not at all.

    Raises:
        UserError: `path` does not end in .ckpt, which MindSpore wants.
    """
    path = Path(path)
    if path.suffix != ".ckpt":
        raise UserError(f"{path}: the name of a MindSpore checkpoint must end in .ckpt")
    import mindspore as ms

    tensors = [{"name": name, "data": ms.Tensor(array)} for name, array in arrays.items()]
    with atomic_path(path) as temporary:
        try:
            ms.save_checkpoint(tensors, str(temporary), crc_check=True)
        finally:
            temporary.with_suffix(".tmp").unlink(missing_ok=True)  # MindSpore's own temporary, left when it fails
