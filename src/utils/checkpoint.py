"""Checkpoints: which parameters of a network a file fills, and MindSpore's .ckpt files."""

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.utils.errors import UserError
from src.utils.files import atomic_path

HEAD = "head."
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Coverage:
    """What a checkpoint does for a network; all names are the network's but `left_over`.

    Attributes:
        loaded: parameters that the checkpoint fills.
        skipped: parameters of the head that it holds in another size: name -> (its shape, the network's shape).
        missing: parameters of the network that it does not hold.
        left_over: what it holds and the network has no place for: name -> shape.
    """

    loaded: dict[str, Shape]
    skipped: dict[str, tuple[Shape, Shape]]
    missing: dict[str, Shape]
    left_over: dict[str, Shape]

    def summary(self) -> str:
        """Return the four counts as one line."""
        return (
            f"{len(self.loaded)} loaded, {len(self.skipped)} skipped (head of another size), "
            f"{len(self.missing)} missing, {len(self.left_over)} left over"
        )

    def table(self) -> str:
        """Return one line per parameter: state, name, shape; the network's first, then what is left over."""
        rows = [("loaded", name, str(shape)) for name, shape in self.loaded.items()]
        rows += [
            ("skipped", name, f"{theirs} in the file, {ours} here") for name, (theirs, ours) in self.skipped.items()
        ]
        rows += [("missing", name, str(shape)) for name, shape in self.missing.items()]
        rows += [("left over", name, str(shape)) for name, shape in self.left_over.items()]
        width = max((len(name) for _, name, _ in rows), default=0)
        return "\n".join(f"{state:<9}  {name:<{width}}  {shape}" for state, name, shape in rows)


def compare(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, Shape], source: str, fresh_head: bool) -> Coverage:
    """Say which parameters of a network `arrays` fills.

    The trunk must be there as a whole. The head (`head.*`) may be absent or of another size when `fresh_head`
    allows it, as in fine-tuning from Kinetics to AVA; it is then left out as a whole.

    Args:
        arrays: name -> array, in the network's names.
        shapes: name -> shape of every parameter of the network.
        source: what to call the checkpoint in an error.
        fresh_head: whether the network may keep the head that it was initialised with.

    Raises:
        UserError: a parameter of the trunk (or of the head, without `fresh_head`) is missing or of another shape.
    """
    shapes = {name: tuple(shape) for name, shape in shapes.items()}
    missing = {name: shape for name, shape in shapes.items() if name not in arrays}
    differing = {n: (arrays[n].shape, s) for n, s in shapes.items() if n in arrays and arrays[n].shape != s}
    if differing:  # half a head is no head
        differing |= {n: (arrays[n].shape, s) for n, s in shapes.items() if n in arrays and n.startswith(HEAD)}

    def required(names: Mapping) -> list[str]:
        return [name for name in names if not (fresh_head and name.startswith(HEAD))]

    if names := required(missing):
        raise UserError(f"{source}: {len(names)} parameters of the network are not in it, the first is {names[0]}")
    if names := required({n: pair for n, pair in differing.items() if pair[0] != pair[1]}):
        theirs, ours = differing[names[0]]
        raise UserError(
            f"{source}: {len(names)} parameters have another shape, the first is {names[0]}: "
            f"expected {ours}, the file has {theirs}"
        )
    return Coverage(
        loaded={name: shape for name, shape in shapes.items() if name not in missing and name not in differing},
        skipped=differing,
        missing=missing,
        left_over={name: array.shape for name, array in arrays.items() if name not in shapes},
    )


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


def load_into(network, source: str | os.PathLike | Mapping[str, np.ndarray], fresh_head: bool = False) -> Coverage:
    """Fill the parameters of a MindSpore `network` from a .ckpt file or from arrays in its names.

    Args:
        network: a `mindspore.nn.Cell`.
        source: the path of a .ckpt, or name -> array.
        fresh_head: as in `compare`: True for fine-tuning, False where the head is needed (evaluation, export).

    Returns:
        What was loaded and what not.

    Raises:
        UserError: see `load_checkpoint` and `compare`; nothing has been loaded then.
    """
    import mindspore as ms

    arrays = source if isinstance(source, Mapping) else load_checkpoint(source)
    parameters = network.parameters_dict()
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    coverage = compare(arrays, shapes, "the given arrays" if arrays is source else str(source), fresh_head)
    for name in coverage.loaded:
        parameters[name].set_data(ms.Tensor(arrays[name], parameters[name].dtype))
    return coverage
