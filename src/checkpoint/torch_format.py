"""PyTorch's zip checkpoints, read and written without PyTorch.

The archive (PyTorch's documentation, "Serialization semantics") holds one folder with `data.pkl`, a pickle whose
tensors refer to storages by a persistent id, and `data/KEY`, the raw bytes of each storage. Records are not compressed.
"""

import io
import math
import struct
import zipfile
from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np

from src.checkpoint.safe_pickle import Name, Refused, read_pickle
from src.utils.errors import UserError

_STORAGES = {
    Name("torch", f"{kind}Storage"): np.dtype(code)
    for kind, code in {
        **{"Float": "<f4", "Double": "<f8", "Half": "<f2", "Long": "<i8", "Int": "<i4", "Short": "<i2"},
        **{"Char": "i1", "Byte": "u1", "Bool": "?", "BFloat16": "<u2"},
    }.items()
}
_BFLOAT16 = Name("torch", "BFloat16Storage")


def widen_bfloat16(halves: np.ndarray) -> np.ndarray:
    """Return bfloat16 numbers, given as the uint16 of their bits, as float32: the upper half of its bits."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


class StoredTensor:
    """A tensor of an archive, not yet read. `shape` is known; `read()` makes the array."""

    def __init__(self, storage: "_Storage", offset: int, size: tuple[int, ...], stride: tuple[int, ...]):
        numbers = (offset, *size, *stride)
        if len(size) != len(stride) or not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise Refused("a tensor whose shape is not made of numbers")
        last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
        # A view may repeat elements (stride 0), but the content of a file may not grow by it.
        if math.prod(size) > storage.count or (math.prod(size) and last >= storage.count):
            raise Refused(f"a tensor of {math.prod(size)} elements in a storage of {storage.count}")
        self.shape = tuple(size)
        self._storage, self._offset, self._stride = storage, offset, stride

    def read(self) -> np.ndarray:
        """Return the tensor as an array of its own."""
        elements = self._storage.read()
        if not math.prod(self.shape):
            return np.zeros(self.shape, elements.dtype)
        steps = tuple(step * elements.itemsize for step in self._stride)
        return np.array(np.lib.stride_tricks.as_strided(elements[self._offset :], self.shape, steps), order="C")


class _Storage:
    """One `data/KEY` of an archive."""

    def __init__(self, archive: "_Archive", key: str, kind: Name, count: int):
        dtype = _STORAGES[kind]
        size = archive.size(f"data/{key}")
        if size != count * dtype.itemsize:
            raise Refused(f"a storage that declares {count * dtype.itemsize} bytes and has {size}")
        self.count = count
        self._archive, self._key, self._kind = archive, key, kind

    def read(self) -> np.ndarray:
        elements = np.frombuffer(self._archive.read(f"data/{self._key}"), _STORAGES[self._kind])
        return widen_bfloat16(elements) if self._kind == _BFLOAT16 else elements


class _Archive:
    """The records of the one folder of a zip file."""

    def __init__(self, data: bytes, source: str):
        self._source = source
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError) as error:
            raise UserError(f"{source}: truncated or damaged: it is not a whole zip file") from error
        self._records: dict[str, zipfile.ZipInfo] = {}
        folders = set()
        for record in self._zip.infolist():
            path = PurePosixPath(record.filename)
            if path.is_absolute() or ".." in path.parts or "\\" in record.filename or len(path.parts) < 2:
                raise UserError(f"{source}: refused: it has a record outside of its folder: {record.filename[:80]!r}")
            folders.add(path.parts[0])
            name = str(PurePosixPath(*path.parts[1:]))
            if record.compress_type != zipfile.ZIP_STORED or name in self._records or len(folders) > 1:
                raise UserError(f"{source}: not a PyTorch checkpoint: expected one folder of uncompressed records")
            if record.file_size != record.compress_size or record.header_offset + record.file_size > len(data):
                raise UserError(f"{source}: truncated or damaged: its record {name[:80]!r} does not fit into the file")
            self._records[name] = record
        self._cache: dict[str, bytes] = {}

    def size(self, name: str) -> int:
        """Return the bytes of a record; raise `Refused` if there is none."""
        if name not in self._records:
            raise Refused(f"a reference to a record that is not there ({name[:80]!r})")
        return self._records[name].file_size

    def read(self, name: str) -> bytes:
        """Return a record; it is kept, because many tensors may share one."""
        if name not in self._cache:
            try:
                self._cache[name] = self._zip.read(self._records[name])
            except (zipfile.BadZipFile, EOFError, struct.error, ValueError, RuntimeError, OSError) as error:
                raise UserError(f"{self._source}: truncated or damaged in its record {name!r}") from error
        return self._cache[name]

    def __contains__(self, name: str) -> bool:
        return name in self._records


def _rebuild_tensor(storage: _Storage, offset: int, size: tuple, stride: tuple, *_gradient_and_hooks) -> StoredTensor:
    if not isinstance(storage, _Storage):
        raise Refused("a tensor without a storage")
    return StoredTensor(storage, offset, size, stride)


def _rebuild_parameter(tensor: StoredTensor, *_gradient_and_hooks) -> StoredTensor:
    return tensor


def _rebuild_from_type(function: Name, _kind: object, arguments: tuple, _state: object) -> StoredTensor:
    """What PyTorch calls for subclasses of tensors and tensors with attributes."""
    if not isinstance(function, Name) or function not in _TENSOR_BUILDERS:
        raise Refused("a tensor of an unknown kind")
    return _TENSOR_BUILDERS[function](*arguments)


_TENSOR_BUILDERS = {
    Name("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    Name("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    Name("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
}
_BUILDERS = {
    **_TENSOR_BUILDERS,
    Name("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
    Name("torch", "Size"): tuple,
}
# Classes of tensors, which are arguments of the above.
_KINDS = {Name("torch", "Tensor"), Name("torch.nn.parameter", "Parameter"), Name("torch.nn.parameter", "Buffer")}


def read_torch(data: bytes, source: str) -> object:
    """Read what `torch.save` wrote in its zip format; nothing in it is executed.

    Args:
        data: the content of the file.
        source: what to call it in an error.

    Returns:
        The object; tensors are `StoredTensor`.

    Raises:
        UserError: it is no such file, holds anything but tensors and plain containers, or is truncated or damaged.
    """
    archive = _Archive(data, source)
    if "data.pkl" not in archive:
        raise UserError(f"{source}: not a PyTorch checkpoint: the archive has no data.pkl")
    if "byteorder" in archive and archive.read("byteorder") != b"little":
        raise UserError(f"{source}: refused: written on a big-endian machine")

    def storage(persistent_id: tuple) -> _Storage:
        _kind, dtype, key, _device, count = persistent_id
        if not (isinstance(dtype, Name) and dtype in _STORAGES and isinstance(key, str) and isinstance(count, int)):
            raise Refused("a storage of something else than numbers")
        return _Storage(archive, key, dtype, count)

    return read_pickle(archive.read("data.pkl"), source, _BUILDERS, set(_STORAGES) | _KINDS, storage)


# Opcodes of the pickle below, by their names in the standard library's pickletools.
_PROTO_2, _MARK, _STOP = b"\x80\x02", b"(", b"."
_EMPTY_DICT, _SETITEMS, _REDUCE, _BINPERSID = b"}", b"u", b"R", b"Q"
_EMPTY_TUPLE, _TUPLE, _NEWFALSE = b")", b"t", b"\x89"


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _integers(numbers: tuple[int, ...]) -> bytes:
    return _MARK + b"".join(b"J" + struct.pack("<i", number) for number in numbers) + _TUPLE


def _tensor(key: str, array: np.ndarray) -> bytes:
    """Return the instructions that make PyTorch rebuild a float32 tensor from the storage `key`."""
    count = b"J" + struct.pack("<i", array.size)
    storage = _MARK + _text("storage") + _global("torch", "FloatStorage") + _text(key) + _text("cpu") + count + _TUPLE
    stride = tuple(step // array.itemsize for step in array.strides)
    offset = b"J" + struct.pack("<i", 0)
    hooks = _global("collections", "OrderedDict") + _EMPTY_TUPLE + _REDUCE
    arguments = storage + _BINPERSID + offset + _integers(array.shape) + _integers(stride) + _NEWFALSE + hooks
    return _global("torch._utils", "_rebuild_tensor_v2") + _MARK + arguments + _TUPLE + _REDUCE


def write_torch(arrays: Mapping[str, np.ndarray], key: str = "model_state") -> bytes:
    """Return a PyTorch checkpoint `{key: {name: tensor}}`, which `torch.load(file, weights_only=True)` reads.

    Args:
        arrays: name -> float32 array.
        key: `model_state`, where PySlowFast looks; mmengine looks at `state_dict`.
    """
    arrays = {name: np.asarray(array, "<f4", order="C") for name, array in arrays.items()}
    entries = b"".join(_text(name) + _tensor(str(key), array) for key, (name, array) in enumerate(arrays.items()))
    state = _EMPTY_DICT + _MARK + entries + _SETITEMS
    program = _PROTO_2 + _EMPTY_DICT + _MARK + _text(key) + state + _SETITEMS + _STOP
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        # A fixed date: equal weights give equal files.
        def add(name: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)

        add("data.pkl", program)
        add("byteorder", b"little")
        for key, array in enumerate(arrays.values()):
            add(f"data/{key}", array.tobytes())
        add("version", b"3\n")
    return file.getvalue()
