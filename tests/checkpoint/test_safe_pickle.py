"""Pickles are read, never run."""

import argparse
import collections
import datetime
import os
import pathlib
import pickle
import struct
import sys
import types
import typing

import numpy as np
import pytest
from fvcore.common.config import CfgNode
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from src.checkpoint.safe_pickle import PickledArray, as_array, read_pickle
from src.utils.errors import UserError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
)


@given(content=PLAIN, protocol=st.sampled_from(PROTOCOLS))
def test_plain_containers_come_back_as_they_were(content, protocol):
    assert read_pickle(pickle.dumps(content, protocol), "a.pkl") == content


@given(
    array=hnp.arrays(
        st.sampled_from(["<f4", ">f4", "<f8", "<f2", "<i8", ">i4", "u1", "?"]),
        hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=3),
    ),
    protocol=st.sampled_from(PROTOCOLS),
    fortran=st.booleans(),
)
def test_arrays_come_back_bit_by_bit(array, protocol, fortran):
    array = np.asarray(array, order="F") if fortran else array
    content = read_pickle(pickle.dumps({"a": array}, protocol), "a.pkl")
    read = as_array(content["a"], "a.pkl")
    assert content["a"].shape == read.shape == array.shape
    assert read.dtype == array.dtype.newbyteorder("=")
    assert read.tobytes() == array.astype(read.dtype).tobytes()


def test_a_pickle_of_python_2_is_read():
    # What Python 2 writes for {"w": numpy.array([1, 2], "float32"), "lr": numpy.float64(0.5)}: bytes as texts.
    data = (
        b"\x80\x02}q\x00(U\x01wcnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nq\x03U\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK"
        b"\x00tb\x89U\x08\x00\x00\x80?\x00\x00\x00@tbU\x02lrcnumpy.core.multiarray\nscalar\nh\x03U\x02f8K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbU\x08\x00\x00\x00\x00\x00\x00\xe0?\x86Ru."
    )
    assert pickle.loads(data, encoding="latin1")["lr"] == 0.5  # the bytes above are what they claim to be
    content = read_pickle(data, "a.pkl")
    assert as_array(content["w"], "a.pkl").tolist() == [1, 2]
    assert content["lr"] == 0.5


@pytest.mark.parametrize("protocol", PROTOCOLS[2:])
def test_ordered_dictionaries_are_read_as_dictionaries(protocol):
    assert read_pickle(pickle.dumps(collections.OrderedDict(a=1, b=2), protocol), "a.pkl") == {"a": 1, "b": 2}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_queues_are_read_as_lists(protocol):
    """Losses of the last steps, say."""
    assert read_pickle(pickle.dumps({"a": collections.deque([1, 2], maxlen=3)}, protocol), "a.pkl") == {"a": [1, 2]}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "harmless",
    [
        argparse.Namespace(lr=0.1, names=["a"]),
        types.SimpleNamespace(a=1),
        {1, 2},
        frozenset({1}),
        pathlib.PurePosixPath("a/b"),
        pathlib.Path("a"),
        datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
        range(3),
        2j,
    ],
)
def test_harmless_objects_beside_the_weights_are_read_as_inert(harmless, protocol):
    content = read_pickle(pickle.dumps({"before": [harmless], "w": np.arange(2.0), "after": 3}, protocol), "a.pkl")
    assert type(content["before"][0]).__name__ == "Inert"
    assert vars(content["before"][0]) == {}
    assert as_array(content["w"], "a.pkl").tolist() == [0, 1]
    assert content["after"] == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", [collections.Counter, CfgNode, lambda items: collections.defaultdict(list, items)])
def test_kinds_of_dictionaries_are_read_as_dictionaries(kind, protocol):
    content = read_pickle(pickle.dumps({"cfg": kind({"a": 1})}, protocol), "a.pkl")
    assert isinstance(content["cfg"], dict)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_texts_beside_the_weights_are_not_read(protocol):
    """Names of classes, say."""
    content = {"classes": np.array(["walk", "sit"]), "best": np.str_("walk"), "w": np.arange(2.0)}
    found = read_pickle(pickle.dumps(content, protocol), "a.pkl")
    assert as_array(found["w"], "a.pkl").tolist() == [0, 1]
    with pytest.raises(UserError, match="an array without content"):
        as_array(found["classes"], "a.pkl")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("module", "name", "base"),
    [
        ("omegaconf.dictconfig", "DictConfig", object),
        ("omegaconf.listconfig", "ListConfig", list),
        ("omegaconf.base", "ContainerMetadata", object),
        ("lightning_fabric.utilities.data", "AttributeDict", dict),
        ("munch", "Munch", dict),
    ],
)
def test_configurations_of_other_packages_are_dropped(monkeypatch, module, name, base, protocol):
    kind = type(name, (base,), {"__module__": module})
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(parts[end - 1]))
    setattr(sys.modules[module], name, kind)
    value = kind()
    value.__dict__["_content"] = {"kind": typing.Any, "type": dict}
    found = read_pickle(pickle.dumps({"cfg": value, "w": np.arange(2.0)}, protocol), "a.pkl")
    assert as_array(found["w"], "a.pkl").tolist() == [0, 1]


class Command:
    """Unpickled by `pickle`, this runs a command."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("function", [os.system, eval, exec, __import__, getattr, np.load, np.array, Command])
def test_calls_are_refused_and_not_made(tmp_path, function, protocol):
    mark = tmp_path / "mark"
    data = pickle.dumps({"blobs": Command(function, f"touch {mark}")}, protocol)
    with pytest.raises(UserError, match=r"^a\.pkl: refused: it holds .*; expected arrays and plain containers$"):
        read_pickle(data, "a.pkl")
    assert not mark.exists()


def test_getattr_serves_the_log_of_mmengine_only():
    log = b"cmmengine.logging.history_buffer\nHistoryBuffer\n"
    read_pickle(b"\x80\x02cbuiltins\ngetattr\n" + log + b"X\x04\x00\x00\x00mean\x86R.", "a.pkl")
    with pytest.raises(UserError, match=r"a call of 'builtins\.getattr'"):
        read_pickle(b"\x80\x02cbuiltins\ngetattr\n}X\x04\x00\x00\x00mean\x86R.", "a.pkl")


def test_the_log_of_mmengine_is_dropped():
    log = b"cmmengine.logging.history_buffer\nHistoryBuffer\n"
    content = read_pickle(b"\x80\x02(K\x01" + log + b")\x81}X\x01\x00\x00\x00aK\x02sbl.", "a.pkl")
    assert content[0] == 1
    assert vars(content[1]) == {}


@pytest.mark.parametrize(
    "data",
    [
        b"(ios\nsystem\n.",  # INST
        b"(cos\nsystem\no.",  # OBJ
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x04X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93.",  # STACK_GLOBAL
        b"\x80\x04))\x93.",  # STACK_GLOBAL without texts
        b"\x80\x02ccollections\nOrderedDict\n}b.",  # a state for a class
        b"\x80\x02K\x01Q.",  # persistent id
        b"\x80\x04](K\x01\x90.",  # an item of a set for a list
        b"\x80\x02}]K\x01s.",  # a list as key
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85U\x01b\x87R.",
        b"\x80\x02cnumpy\ndtype\nU\x01OK\x00K\x01\x87R.",  # objects
        b"\x80\x02cnumpy\ndtype\n(lK\x00K\x01\x87R.",
    ],
)
def test_other_ways_to_objects_are_refused(data):
    with pytest.raises(UserError, match=r"^a\.pkl: refused: "):
        read_pickle(data, "a.pkl")


def declared(count: int, content: bytes) -> bytes:
    """Return a pickle of a float32 array that says it has `count` elements."""
    size = struct.pack("<q", count)
    return (
        b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01\x8a\x08"
        + size
        + b"\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R\x89U"
        + bytes([len(content)])
        + content
        + b"tbs."
    )


def test_an_array_must_have_the_content_that_it_declares():
    assert as_array(read_pickle(declared(1, b"\0\0\x80?"), "a.pkl")["w"], "a.pkl").tolist() == [1]
    with pytest.raises(UserError, match="an array that declares 10000000000 bytes of content and has 4"):
        read_pickle(declared(2_500_000_000, b"\0\0\x80?"), "a.pkl")
    with pytest.raises(UserError, match="shape is not made of numbers"):
        read_pickle(declared(-1, b"\0\0\x80?"), "a.pkl")


def test_an_array_without_content_is_refused_when_it_is_read():
    """The pickle calls what makes an array, and never sets its state."""
    data = b"\x80\x02}U\x01wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87Rs."
    with pytest.raises(UserError, match=r"^a\.pkl: damaged: it holds an array without content$"):
        as_array(read_pickle(data, "a.pkl")["w"], "a.pkl")


def test_a_text_that_is_no_bytes_is_refused_when_it_is_read():
    data = declared(1, b"\0\0\x80?").replace(b"U\x04\0\0\x80?", b"X\x06\0\0\0\0\0\xe2\x82\xac\0")  # a euro sign
    with pytest.raises(UserError, match=r"^a\.pkl: damaged"):
        as_array(read_pickle(data, "a.pkl")["w"], "a.pkl")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 10**10) + b"abc.",  # BINBYTES8
        b"\x80\x04\x95" + struct.pack("<Q", 10**10) + b"X\xff\xff\xff\x7fa.",  # FRAME, BINUNICODE
        b"L" + b"9" * 10**6 + b"L\n.",
        b"\x80\x02.",
        b"\x80\x02K\x01a.",
        b"\x80\x02h\x05.",
        b"",
        b"junk",
        b"junk.",
        b"\x80\x02c__builtin__\nbytes\nJ\x00\xe4\x0bT\x85R.",  # bytes(1410000000)
    ],
)
def test_what_is_no_pickle_is_refused(data):
    with pytest.raises(UserError, match=r"^a\.pkl: "):
        read_pickle(data, "a.pkl")


def test_a_far_memo_entry_takes_no_memory():
    assert read_pickle(b"\x80\x02K\x07r\xff\xff\xff\x7f0j\xff\xff\xff\x7f.", "a.pkl") == 7


WHOLE = pickle.dumps({"blobs": {"a": np.arange(4, dtype=np.float32), "b": [1, (2.5, "c")]}, "n": None}, 2)


@given(position=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.booleans())
@example(position=225, byte=196, cut=False)  # an array whose content is a text beyond Latin-1
def test_a_damaged_pickle_is_read_or_refused(position, byte, cut):
    data = WHOLE[:position] if cut else WHOLE[:position] + bytes([byte]) + WHOLE[position + 1 :]
    try:
        content = read_pickle(data, "a.pkl")
    except UserError:
        return
    blobs = content.get("blobs", {}) if isinstance(content, dict) else {}
    for value in blobs.values() if isinstance(blobs, dict) else ():
        if isinstance(value, PickledArray):
            try:
                array = as_array(value, "a.pkl")
            except UserError as error:
                assert str(error).startswith("a.pkl: damaged: ") and "\n" not in str(error)
            else:
                assert array.nbytes <= len(WHOLE)


@given(program=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(program):
    try:
        read_pickle(program + b".", "a.pkl")
    except UserError as error:
        assert "\n" not in str(error)


def test_an_unknown_order_of_an_array_is_refused():
    program = pickle.dumps(np.zeros(2, np.float32), 5)
    assert program.count(b"\x8c\x01C") == 1
    with pytest.raises(UserError, match=r"^a\.pkl: refused: it holds an array whose order is neither C nor F"):
        read_pickle(program.replace(b"\x8c\x01C", b"\x8c\x01\x05"), "a.pkl")
