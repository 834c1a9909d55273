"""PyTorch's zip format without PyTorch."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.checkpoint.torch_format import read_torch, write_torch
from src.utils.errors import UserError

ARRAYS = {
    "s1.conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 1, 2, 2),
    "s1.bn.bias": np.array([1.5, -2.5], np.float32),
    "scale": np.array(3, np.float32),
    "none": np.zeros((0, 3), np.float32),
}
# What PyTorch 2.15 writes into data.pkl for {"t": torch.arange(6.)[1:].reshape(5, 1).t()}: offset 1, size (1, 5),
# stride (1, 1).
VIEW = (
    b"\x80\x02}q\x00X\x01\x00\x00\x00tq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((X\x07\x00\x00\x00storageq\x03"
    b"ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x06tq\x07QK\x01K\x01K\x05\x86q\x08"
    b"K\x01K\x01\x86q\t\x89ccollections\nOrderedDict\nq\n)Rq\x0btq\x0cRq\rs."
)
STORAGE = np.arange(6, dtype=np.float32).tobytes()


def archive(records: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as opened:
        for name, data in records.items():
            opened.writestr(name, data)
    return file.getvalue()


def test_what_is_written_is_read_bit_by_bit():
    state = read_torch(write_torch(ARRAYS), "a.pyth")["model_state"]
    assert list(state) == list(ARRAYS)
    for name, array in ARRAYS.items():
        read = state[name].read()
        assert (read.dtype, read.shape, read.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_arrays_in_another_order_are_written_by_value():
    array = np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3))
    read = read_torch(write_torch({"a": array}), "a.pyth")["model_state"]["a"].read()
    assert read.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_equal_weights_give_equal_files():
    assert write_torch(ARRAYS) == write_torch(dict(ARRAYS))


def test_a_view_of_pytorch_is_read():
    tensor = read_torch(archive({"x/data.pkl": VIEW, "x/data/0": STORAGE, "x/byteorder": b"little"}), "a.pyth")["t"]
    assert tensor.shape == (1, 5)
    assert tensor.read().tolist() == [[1, 2, 3, 4, 5]]


def test_tensors_of_other_types_are_read():
    program = VIEW.replace(b"FloatStorage", b"LongStorage")
    tensor = read_torch(archive({"x/data.pkl": program, "x/data/0": np.arange(6).tobytes()}), "a.pyth")["t"]
    assert tensor.read().tolist() == [[1, 2, 3, 4, 5]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"K\x06t", b"K\x07t", "a storage that declares 28 bytes and has 24"),
        (b"K\x06t", b"\x8a\x05\x00\x00\x00\x90\x00t", "a storage that declares 9663676416 bytes and has 24"),
        (b"QK\x01K\x01K\x05", b"QK\x02K\x01K\x05", "a tensor of 5 elements in a storage of 6"),  # offset
        (b"K\x01K\x01K\x05\x86", b"K\x01K\x02K\x05\x86", "a tensor of 10 elements"),  # size
        (
            b"K\x01K\x05\x86q\x08K\x01K\x01",
            b"K\x01J\x00\xe4\x0bT\x86q\x08K\x00K\x00",
            "a tensor of 1410065408 elements",
        ),
        (b"q\x08K\x01K\x01", b"q\x08K\x01K\x02", "a tensor of 5 elements in a storage of 6"),  # stride
        (b"q\x08K\x01K\x01", b"q\x08K\x01J\xff\xff\xff\xff", "a tensor whose shape is not made of numbers"),
        (b"\x000q\x05", b"\x001q\x05", "a reference to a record that is not there"),
        (b"ctorch\nFloatStorage", b"ctorch\nQInt8Storage", "'torch.QInt8Storage'"),
        (b"ctorch\nFloatStorage", b"cposix\nsystem", "'posix.system'"),
        (b"_rebuild_tensor_v2", b"_import_dotted_name", "'torch._utils._import_dotted_name'"),
    ],
)
def test_tensors_that_do_not_fit_their_storage_are_refused(old, new, message):
    assert VIEW.count(old) == 1
    data = archive({"x/data.pkl": VIEW.replace(old, new), "x/data/0": STORAGE})
    with pytest.raises(UserError, match=rf"^a\.pyth: refused: it holds {message}"):
        read_torch(data, "a.pyth")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"x/data.pkl": VIEW, "x/../../evil": b""}, "a record outside of its folder"),
        ({"x/data.pkl": VIEW, "/etc/evil": b""}, "a record outside of its folder"),
        ({"x/data.pkl": VIEW, "x\\..\\evil": b""}, "a record outside of its folder"),
        ({"data.pkl": VIEW}, "a record outside of its folder"),
        ({"x/data.pkl": VIEW, "y/data/0": STORAGE}, "expected one folder"),
        ({"x/data.pkl": VIEW, "x/./data.pkl": VIEW}, "expected one folder"),
        ({"x/weights.bin": b""}, "the archive has no data.pkl"),
        ({"x/data.pkl": VIEW, "x/byteorder": b"big"}, "big-endian"),
        ({"x/data.pkl": b"\x80\x02K\x01"}, "not a whole pickle"),
        ({"x/data.pkl": pickle.dumps([1])[:-1] + b"a."}, "not a whole pickle"),
    ],
)
def test_other_archives_are_refused(records, message):
    with pytest.raises(UserError, match=rf"^a\.pyth: .*{message}"):
        read_torch(archive(records), "a.pyth")


def test_compressed_archives_are_refused():
    data = archive({"x/data.pkl": VIEW, "x/data/0": STORAGE}, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="uncompressed records"):
        read_torch(data, "a.pyth")


def test_a_record_larger_than_the_file_is_refused():
    data = archive({"x/data.pkl": VIEW, "x/data/0": STORAGE})
    lie = data.replace(struct.pack("<II", 24, 24), struct.pack("<II", 2**32 - 16, 2**32 - 16))
    with pytest.raises(UserError, match=r"its record 'data/0' does not fit into the file"):
        read_torch(lie, "a.pyth")


def test_a_damaged_storage_is_refused_when_it_is_read():
    data = write_torch({"a": np.full(3, 7.25, np.float32)})
    damaged = data.replace(struct.pack("<f", 7.25), struct.pack("<f", 7.5), 1)
    with pytest.raises(UserError, match=r"^a\.pyth: truncated or damaged in its record 'data/0'"):
        read_torch(damaged, "a.pyth")["model_state"]["a"].read()


WHOLE = write_torch({"a": ARRAYS["s1.bn.bias"], "b": ARRAYS["scale"]})


@pytest.mark.parametrize("size", range(0, len(WHOLE), 7))
def test_a_cut_file_is_refused(size):
    with pytest.raises(UserError, match=r"^a\.pyth: truncated or damaged"):
        read_torch(WHOLE[:size], "a.pyth")


@given(position=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255))
def test_a_damaged_file_is_read_or_refused(position, byte):
    data = WHOLE[:position] + bytes([byte]) + WHOLE[position + 1 :]
    try:
        content = read_torch(data, "a.pyth")
        for tensor in content["model_state"].values():
            tensor.read()
    except (UserError, KeyError) as error:  # KeyError: the byte was in the text "model_state"
        assert "\n" not in str(error)
