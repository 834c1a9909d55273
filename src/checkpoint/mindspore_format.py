"""MindSpore's .ckpt files, read and written whole."""

import logging
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from src.utils.errors import UserError
from src.utils.files import atomic_path

if TYPE_CHECKING:
    import mindspore as ms

# Of the checksum behind the content.
_CHECKSUM_BYTES = 17


def load_checkpoint(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read a MindSpore checkpoint; its checksum is compared where it has one.

    Returns:
        name -> array, in the order of the file; bfloat16 as float32.

    Raises:
        UserError: the file is absent, cannot be read, is truncated, damaged or no MindSpore checkpoint.
        MemoryError: there is no memory for it; the file may be whole.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a MindSpore checkpoint (.ckpt)")
    import mindspore as ms

    damaged = UserError(f"{path}: not a whole MindSpore checkpoint: truncated, damaged, or another format")
    if not _is_consistent(path):
        raise damaged
    # MindSpore logs its guesses (encryption, permissions) where a file is damaged; the name of its logger changes.
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        parameters = ms.load_checkpoint(str(path), crc_check=True)
        return {name: _array(value) for name, value in parameters.items() if not isinstance(value, str)}
    except (ValueError, TypeError, RuntimeError, LookupError, OverflowError) as error:
        # MindSpore turns whatever goes wrong into a ValueError.
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__ from error
        if isinstance(error.__cause__, OSError):
            raise UserError(f"{path}: cannot read the file: {error.__cause__.strerror}") from error
        raise damaged from error
    finally:
        logging.disable(disabled)


def _is_consistent(path: Path) -> bool:
    """Whether each tensor of a checkpoint has the content that its shape needs.

    MindSpore copies as much as the shape says, whatever there is.

    Raises:
        UserError: the file cannot be read.
    """
    from google.protobuf.message import DecodeError
    from mindspore.train.checkpoint_pb2 import Checkpoint

    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read the file: {error.strerror}") from error
    checkpoint = Checkpoint()
    try:
        checkpoint.ParseFromString(data[:-_CHECKSUM_BYTES] if data[-_CHECKSUM_BYTES:].startswith(b"crc_num") else data)
    except (DecodeError, UnicodeDecodeError):
        return False
    lacking: dict[str, int] = {}
    for value in checkpoint.value:
        bits = re.search(r"\d+$", value.tensor.tensor_type)
        if bits:
            count = math.prod(value.tensor.dims) if list(value.tensor.dims) != [0] else 1  # a scalar
            # Large tensors come in several parts.
            needed = lacking.get(value.tag, count * int(bits[0]) // 8)
            lacking[value.tag] = needed - len(value.tensor.tensor_content)
    return not any(lacking.values())


def _array(parameter: "ms.Parameter | list") -> np.ndarray:
    import mindspore as ms

    if not isinstance(parameter, ms.Tensor):
        raise TypeError("an entry without a tensor, which MindSpore gives as a list")
    return parameter.float().asnumpy() if parameter.dtype == ms.bfloat16 else parameter.asnumpy()


def check_name(path: Path) -> None:
    """Raise UserError unless MindSpore takes the name of a checkpoint."""
    if path.suffix != ".ckpt":
        raise UserError(f"{path}: the name of a MindSpore checkpoint must end in .ckpt")


def save_checkpoint(arrays: Mapping[str, np.ndarray], path: str | os.PathLike) -> None:
    """Write `arrays` as a MindSpore checkpoint with a checksum; the file appears whole or not at all.

    Raises:
        UserError: `path` does not end in .ckpt, which MindSpore wants.
    """
    path = Path(path)
    check_name(path)
    import mindspore as ms

    tensors = [{"name": name, "data": ms.Tensor(array)} for name, array in arrays.items()]
    with atomic_path(path) as temporary:
        try:
            ms.save_checkpoint(tensors, str(temporary), crc_check=True)
        finally:
            temporary.with_suffix(".tmp").unlink(missing_ok=True)  # MindSpore's own temporary, left when it fails
