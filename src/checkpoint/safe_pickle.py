"""Reading pickles without running them.

A pickle is a program for a stack machine that may call any function of any module. This is the part of that machine
which builds numbers, texts, lists, tuples and dictionaries, and which notes what an array would be made of. Nothing
is imported or called by the names in a file: a name is looked up in a table of what checkpoints hold, and a name
that is not there, like an instruction that is not there, ends the reading.
"""

import math
import pickletools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol

import numpy as np

from src.utils.errors import UserError

# Numbers only: no object arrays, no records, no texts.
_DTYPES = {
    f"{kind}{size}" for kind, sizes in (("f", "248"), ("i", "1248"), ("u", "1248"), ("b", "1")) for size in sizes
}


class LazyArray(Protocol):
    """An array of a file that has not been read yet."""

    shape: tuple[int, ...]

    def read(self) -> np.ndarray:
        """Return the array."""


def as_array(array: "LazyArray | np.ndarray", source: str) -> np.ndarray:
    """Return an array of the file `source`, read if it has not been.

    Raises:
        UserError: its content is damaged.
    """
    try:
        return array if isinstance(array, np.ndarray) else array.read()
    except UnicodeEncodeError as error:
        raise UserError(f"{source}: damaged: the content of an array is no bytes") from error
    except Refused as error:
        raise UserError(f"{source}: damaged: it holds {error}") from error


class Refused(Exception):
    """The pickle holds something other than arrays and plain containers. The message says what."""


@dataclass(frozen=True)
class Name:
    """A module's function or class that a pickle names; never the thing itself."""

    module: str
    name: str


class _DType:
    """The element type of a pickled array; its byte order follows in the state."""

    def __init__(self, code: str, *_flags: object):
        is_text = isinstance(code, str) and re.fullmatch(r"[US]\d+", code)
        if not is_text and (not isinstance(code, str) or code not in _DTYPES):
            raise Refused("an array of something else than numbers")
        self.dtype = None if is_text else np.dtype(code)  # texts, as names of classes, are not read

    def set_state(self, state: tuple) -> None:
        if state[1] == ">" and self.dtype is not None:
            self.dtype = self.dtype.newbyteorder(">")


class PickledArray:
    """A NumPy array in a pickle, not yet made. `shape` is known; `read()` makes it."""

    shape: tuple[int, ...] = ()
    _data: bytes | str | None = None

    def set_state(self, state: tuple) -> None:
        _version, shape, dtype, fortran, data = state
        self._set(data, dtype, shape, "F" if fortran else "C")

    def _set(self, data: bytes | str, dtype: _DType, shape: tuple[int, ...], order: str) -> None:
        if not all(isinstance(side, int) and side >= 0 for side in shape):
            raise Refused("an array whose shape is not made of numbers")
        if order not in ("C", "F"):
            raise Refused("an array whose order is neither C nor F")
        if dtype.dtype is None:
            return
        needed = math.prod(shape) * dtype.dtype.itemsize
        if needed != len(data):
            raise Refused(f"an array that declares {needed} bytes of content and has {len(data)}")
        self.shape = tuple(shape)
        self._data, self._dtype, self._order = data, dtype.dtype, order

    def read(self) -> np.ndarray:
        """Return the array, in the machine's byte order.

        Raises:
            Refused: the pickle makes the array, but says nothing of its content; or that is text.
        """
        data = self._data
        if data is None:
            raise Refused("an array without content")
        if isinstance(data, str):  # Python 2, and old protocols of Python 3, write bytes as Latin-1 texts
            data = data.encode("latin1")
        array = np.frombuffer(data, self._dtype).reshape(self.shape, order=self._order)
        return np.array(array, self._dtype.newbyteorder("="), order="C")


class Inert:
    """Stands for an object beside the weights, such as arguments or a device; what it would hold is dropped."""

    def set_state(self, _state: object) -> None:
        """Drop the state."""


def _inert(*_arguments: object) -> Inert:
    return Inert()


def _inert_dict(*_arguments: object) -> dict:
    """An object that is a dictionary too: pickles fill it by items."""
    return {}


def _inert_list(*_arguments: object) -> list:
    """An object that pickles fill by appending."""
    return []


def _reconstruct(kind: Name, _shape: tuple, _code: object) -> PickledArray:
    if kind != Name("numpy", "ndarray"):
        raise Refused(f"an array of {_describe(kind)}")
    return PickledArray()


def _frombuffer(data: bytes, dtype: _DType, shape: tuple[int, ...], order: str) -> PickledArray:
    array = PickledArray()
    array._set(data, dtype, shape, order)
    return array


def _scalar(dtype: _DType, data: bytes | str) -> int | float | Inert:
    if dtype.dtype is None:
        return Inert()
    array = PickledArray()
    array._set(data, dtype, (), "C")
    return array.read().item()


def _encode(text: str, _encoding: str) -> str:
    # Stays a text until an array needs the bytes: a small pickle could ask for many copies of a long text.
    return text


def _empty() -> bytes:
    # Old protocols write empty bytes as a call without arguments.
    return b""


def _set_item(container: dict, key: object, value: object) -> None:
    if not isinstance(container, dict) or not isinstance(key, str | bytes | int | float | tuple | None):
        raise Refused(f"a dictionary with a key of type {type(key).__name__}")
    container[key] = value


def _describe(value: object) -> str:
    """Name what a pickle names; a value is not printed, because it may be endless."""
    if isinstance(value, Name) and isinstance(value.module, str) and isinstance(value.name, str):
        return repr(f"{value.module}.{value.name}"[:80])
    return f"a {type(value).__name__}"


Builder = Callable[..., object]

_BUILTINS = ("builtins", "__builtin__")
_NUMPY_CORES = ("numpy.core", "numpy._core")
PLAIN: dict[Name, Builder] = {
    Name("collections", "OrderedDict"): dict,
    Name("_codecs", "encode"): _encode,
    **{Name(builtins, "bytes"): _empty for builtins in _BUILTINS},
    Name("numpy", "dtype"): _DType,
    **{Name(f"{core}.multiarray", "_reconstruct"): _reconstruct for core in _NUMPY_CORES},
    **{Name(f"{core}.multiarray", "scalar"): _scalar for core in _NUMPY_CORES},
    **{Name(f"{core}.numeric", "_frombuffer"): _frombuffer for core in _NUMPY_CORES},
}
"""What may be called, and what stands in for it."""

# Classes whose objects people keep beside the weights. They are not made; what a pickle does to them is dropped.
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath")
_OMEGACONF_KINDS = ("Any", "String", "Integer", "Float", "Boolean", "Bytes", "Path", "Enum")
_PLAIN_OBJECTS = ("set", "frozenset", "complex", "range", "xrange", "slice", "bytearray")
_INERT = {
    Name("argparse", "Namespace"),
    Name("types", "SimpleNamespace"),
    Name("torch", "device"),
    Name("uuid", "UUID"),
    Name("decimal", "Decimal"),
    Name("fractions", "Fraction"),
    # Configurations of Hydra and Lightning.
    *(Name("omegaconf.base", name) for name in ("Metadata", "ContainerMetadata")),
    *(Name("omegaconf.nodes", f"{kind}Node") for kind in _OMEGACONF_KINDS),
    Name("mmengine.config.config", "Config"),
    *(Name("datetime", name) for name in ("date", "datetime", "time", "timedelta", "timezone")),
    *(Name(module, name) for module in ("pathlib", "pathlib._local") for name in _PATHS),
    *(Name(module, name) for module in _BUILTINS for name in _PLAIN_OBJECTS),
    # mmengine keeps its logs beside the weights.
    Name("mmengine.logging.history_buffer", "HistoryBuffer"),
}
_INERT_DICTS = {
    *(Name("collections", name) for name in ("OrderedDict", "defaultdict", "Counter")),
    Name("yacs.config", "CfgNode"),
    Name("fvcore.common.config", "CfgNode"),
    Name("mmengine.config.config", "ConfigDict"),
    Name("mmcv.utils.config", "ConfigDict"),
    Name("addict.addict", "Dict"),
    Name("easydict", "EasyDict"),
    Name("munch", "Munch"),
    Name("box.box", "Box"),
    Name("detectron2.config.config", "CfgNode"),
    Name("omegaconf.dictconfig", "DictConfig"),
    Name("pytorch_lightning.utilities.parsing", "AttributeDict"),
    *(Name(f"{package}.utilities.data", "AttributeDict") for package in ("lightning_fabric", "lightning.fabric")),
}
_INERT_LISTS = {Name("collections", "deque"), Name("omegaconf.listconfig", "ListConfig")}
# Types that are arguments of the above, or values: types, and PyTorch's element types.
_TYPES = {
    *(Name(module, name) for module in _BUILTINS for name in ("dict", "list", "tuple", "int", "float", "str", "bool")),
    *(Name(module, "object") for module in _BUILTINS),
    *(Name("torch", name) for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool")),
    Name("numpy", "ndarray"),
    Name("typing", "Any"),
}
# How protocols 0 and 1 make objects: by a call with the class as an argument.
_RECONSTRUCTOR = {Name(module, "_reconstructor") for module in ("copyreg", "copy_reg")}
# mmengine's logs hold tables of the class's own methods.
_LOG = Name("mmengine.logging.history_buffer", "HistoryBuffer")
_GETATTR = {Name(builtins, "getattr") for builtins in _BUILTINS}

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """The stack machine. Instructions are methods; there are no others."""

    def __init__(self, builders: Mapping[Name, Builder], arguments: set[Name], persistent: Builder | None):
        kinds = dict.fromkeys(_INERT, _inert) | dict.fromkeys(_INERT_DICTS, _inert_dict)
        kinds |= dict.fromkeys(_INERT_LISTS, _inert_list)
        self.kinds = kinds
        self.builders = kinds | PLAIN | dict(builders)
        self.known = set(self.builders) | arguments | _TYPES | _GETATTR | _RECONSTRUCTOR
        self.persistent = persistent
        self.stack: list = []
        self.marks: list[list] = []
        self.memo: dict[int, object] = {}

    def run(self, data: bytes) -> object:
        """Return what the program leaves on the stack."""
        for opcode, argument, _position in pickletools.genops(BytesIO(data)):
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            if name in _VALUES:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _TUPLES:
                count = _TUPLES[name]
                self.stack.append(tuple(self.stack.pop() for _ in range(count))[::-1])
            elif method := getattr(self, f"op_{name.lower()}", None):
                method(argument)
            else:
                raise Refused(f"the pickle instruction {name}")
        raise Refused("no end")

    def op_proto(self, _version: int) -> None:
        pass

    def op_frame(self, _size: int) -> None:
        pass

    def op_mark(self, _: None) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def _to_mark(self) -> list:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def op_pop(self, _: None) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._to_mark()

    def op_pop_mark(self, _: None) -> None:
        self._to_mark()

    def op_tuple(self, _: None) -> None:
        items = self._to_mark()
        self.stack.append(tuple(items))

    def op_list(self, _: None) -> None:
        items = self._to_mark()
        self.stack.append(items)

    def op_empty_list(self, _: None) -> None:
        self.stack.append([])

    def op_append(self, _: None) -> None:
        item = self.stack.pop()
        self._extend([item])

    def op_appends(self, _: None) -> None:
        self._extend(self._to_mark())

    def _extend(self, items: list) -> None:
        if not isinstance(self.stack[-1], list):
            raise Refused("an append to what is no list")
        self.stack[-1].extend(items)

    def op_empty_dict(self, _: None) -> None:
        self.stack.append({})

    def op_dict(self, _: None) -> None:
        items = self._to_mark()
        self.stack.append({})
        self._set_items(items)

    def op_setitem(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def op_setitems(self, _: None) -> None:
        self._set_items(self._to_mark())

    def _set_items(self, items: list) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            _set_item(self.stack[-1], key, value)

    def op_memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def op_put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    op_binput = op_long_binput = op_put

    def op_get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    op_binget = op_long_binget = op_get

    def op_global(self, module_and_name: str) -> None:
        self._push_name(*module_and_name.split(" ", 1))

    def op_stack_global(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._push_name(module, name)

    def _push_name(self, module: str, name: str) -> None:
        wanted = Name(module, name)
        if not (isinstance(module, str) and isinstance(name, str)) or wanted not in self.known:
            raise Refused(_describe(wanted))
        self.stack.append(wanted)

    def op_reduce(self, _: None) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name):
            raise Refused(f"a call of {_describe(function)}")
        if function in self.builders:
            self.stack.append(self.builders[function](*arguments))
        elif function in _GETATTR and arguments[0] == _LOG:
            self.stack.append(Inert())
        elif function in _RECONSTRUCTOR:
            self._push_object(arguments[0])
        else:
            raise Refused(f"a call of {_describe(function)}")

    def op_newobj(self, _: None) -> None:
        _arguments, kind = self.stack.pop(), self.stack.pop()
        self._push_object(kind)

    def op_newobj_ex(self, _: None) -> None:
        _keywords, _arguments, kind = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self._push_object(kind)

    def _push_object(self, kind: object) -> None:
        if not isinstance(kind, Name) or kind not in self.kinds:
            raise Refused(f"an object of {_describe(kind)}")
        self.stack.append(self.kinds[kind]())

    def op_empty_set(self, _: None) -> None:
        self.stack.append(Inert())

    def op_additems(self, _: None) -> None:
        self._to_mark()
        if not isinstance(self.stack[-1], Inert):
            raise Refused("an item for what is no set")

    def op_frozenset(self, _: None) -> None:
        self._to_mark()
        self.stack.append(Inert())

    def op_build(self, _: None) -> None:
        state = self.stack.pop()
        built = self.stack[-1]
        if isinstance(built, _DType | PickledArray | Inert):
            built.set_state(state)
        elif not isinstance(built, dict | list):  # their attributes are not weights
            raise Refused(f"a state for {_describe(built)}")

    def op_binpersid(self, _: None) -> None:
        if self.persistent is None:
            raise Refused("a reference to another file")
        self.stack.append(self.persistent(self.stack.pop()))


def read_pickle(
    data: bytes,
    source: str,
    builders: Mapping[Name, Builder] | None = None,
    arguments: set[Name] = frozenset(),
    persistent: Builder | None = None,
) -> object:
    """Read a pickle of numbers, texts, plain containers and NumPy arrays; nothing in it is executed.

    Args:
        data: the pickle.
        source: what to call it in an error.
        builders: further callables that the pickle may name, and what stands in for them.
        arguments: further names that may be arguments of those.
        persistent: what turns a persistent id into an object; without it such ids are refused.

    Returns:
        The object; arrays are `PickledArray`.

    Raises:
        UserError: the pickle holds anything else, or is truncated or damaged.
    """
    if not data.endswith(b"."):  # the last instruction; spares reading what was cut off
        raise UserError(f"{source}: truncated or damaged: it is not a whole pickle")
    try:
        return _Machine(builders or {}, arguments, persistent).run(data)
    except Refused as error:
        raise UserError(f"{source}: refused: it holds {error}; expected arrays and plain containers") from error
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError) as error:
        # What a program that does not fit the machine comes to: too little on the stack, a text for a number, no end.
        raise UserError(f"{source}: truncated or damaged: it is not a whole pickle") from error
