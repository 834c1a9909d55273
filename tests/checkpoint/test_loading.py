"""Which parameters a checkpoint fills, and MindSpore's .ckpt files."""

from pathlib import Path

import numpy as np
import pytest

from src.checkpoint.coverage import as_weights, compare
from src.checkpoint.loading import load_into
from src.checkpoint.mindspore_format import load_checkpoint, save_checkpoint
from src.utils.errors import UserError

SHAPES = {"s1.conv.weight": (4, 3, 1, 7, 7), "s1.bn.gamma": (4,), "head.projection.weight": (5, 4)}
SHAPES["head.projection.bias"] = (5,)


def arrays(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Zeros in the shapes of the network, changed by `shapes` (None leaves one out)."""
    shapes = SHAPES | {name.replace("__", "."): shape for name, shape in shapes.items()}
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items() if shape is not None}


def test_everything_is_loaded_when_all_shapes_agree():
    coverage = compare(arrays(), SHAPES, "a.ckpt", fresh_head=False)
    assert coverage.loaded == SHAPES
    assert coverage.summary() == "4 loaded, 0 mismatched (head of another size), 0 missing, 0 unexpected"


def test_a_head_of_another_size_is_mismatched_as_a_whole():
    head = {"head__projection__weight": (400, 4), "head__projection__bias": (5,)}
    coverage = compare(arrays(**head), SHAPES, "a.ckpt", fresh_head=True)
    assert list(coverage.loaded) == ["s1.conv.weight", "s1.bn.gamma"]
    assert coverage.mismatched == {"head.projection.weight": ((400, 4), (5, 4)), "head.projection.bias": ((5,), (5,))}


def test_a_missing_head_is_listed():
    head = {"head__projection__weight": None, "head__projection__bias": None}
    coverage = compare(arrays(**head), SHAPES, "a.ckpt", fresh_head=True)
    assert coverage.missing == {"head.projection.weight": (5, 4), "head.projection.bias": (5,)}


@pytest.mark.parametrize("shape", [(400, 4), None])
def test_without_fresh_head_the_head_is_required(shape):
    with pytest.raises(UserError, match=r"^a\.ckpt: .*the first is head\.projection\.weight"):
        compare(arrays(head__projection__weight=shape), SHAPES, "a.ckpt", fresh_head=False)


def test_what_the_network_has_no_place_for_is_unexpected():
    coverage = compare(arrays(epoch_num=()), SHAPES, "a.ckpt", fresh_head=False)
    assert coverage.unexpected == {"epoch_num": ()}


def test_a_missing_backbone_parameter_is_an_error():
    with pytest.raises(UserError, match=r"1 parameters of the network are not in it, the first is s1\.bn\.gamma"):
        compare(arrays(s1__bn__gamma=None), SHAPES, "a.ckpt", fresh_head=True)


def test_a_backbone_parameter_of_another_shape_is_an_error():
    with pytest.raises(UserError, match=r"the first is s1\.bn\.gamma: expected \(4,\), the file has \(8,\)"):
        compare(arrays(s1__bn__gamma=(8,)), SHAPES, "a.ckpt", fresh_head=True)


def test_the_table_has_a_line_for_each_parameter():
    head = {"head__projection__weight": (400, 4), "head__projection__bias": None}
    table = compare(arrays(**head, epoch_num=()), SHAPES, "a.ckpt", fresh_head=True).table()
    assert table.splitlines() == [
        "loaded      s1.conv.weight          (4, 3, 1, 7, 7)",
        "loaded      s1.bn.gamma             (4,)",
        "mismatched  head.projection.weight  (400, 4) in the file, (5, 4) here",
        "missing     head.projection.bias    (5,)",
        "unexpected  epoch_num               ()",
    ]


@pytest.fixture
def ckpt(tmp_path):
    path = tmp_path / "model.ckpt"
    save_checkpoint({"s1.bn.gamma": np.array([1.5, -2, 0, 3], np.float32), "epoch_num": np.array(7, np.int64)}, path)
    return path


def test_a_ckpt_gives_back_what_was_saved(ckpt):
    loaded = load_checkpoint(ckpt)
    assert {name: (array.dtype.name, array.tolist()) for name, array in loaded.items()} == {
        "s1.bn.gamma": ("float32", [1.5, -2, 0, 3]),
        "epoch_num": ("int64", 7),
    }
    assert [path.name for path in ckpt.parent.iterdir()] == ["model.ckpt"]


def test_mindspore_reads_our_ckpt(ckpt):
    import mindspore as ms

    assert ms.load_checkpoint(str(ckpt))["s1.bn.gamma"].asnumpy().tolist() == [1.5, -2, 0, 3]


def test_a_failed_save_leaves_the_old_file_and_nothing_else(ckpt, monkeypatch):
    import mindspore as ms

    before = ckpt.read_bytes()

    def full_disk(tensors, path, **_):
        Path(path).with_suffix(".tmp").write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(ms, "save_checkpoint", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint({"a": np.zeros(3, np.float32)}, ckpt)
    assert [path.name for path in ckpt.parent.iterdir()] == ["model.ckpt"]
    assert ckpt.read_bytes() == before


def test_a_ckpt_cut_within_a_record_is_refused(ckpt):
    whole = ckpt.read_bytes()
    accepted = []
    for size in range(len(whole)):
        ckpt.write_bytes(whole[:size])
        try:
            load_checkpoint(ckpt)
            accepted.append(size)
        except UserError as error:
            assert str(error).startswith(f"{ckpt}: ")
    # After either record: a smaller checkpoint without a checksum, as MindSpore writes them by default.
    assert accepted == [46, len(whole) - 17]


def test_a_flipped_bit_is_refused(ckpt):
    whole = bytearray(ckpt.read_bytes())
    for position in range(len(whole)):
        whole[position] ^= 1
        ckpt.write_bytes(whole)
        with pytest.raises(UserError, match=r"model\.ckpt: "):
            load_checkpoint(ckpt)
        whole[position] ^= 1


@pytest.mark.parametrize("content", [b"", b"hello\n", b"PK\x03\x04", b"\n\x03abc"])
def test_what_is_no_ckpt_is_refused(tmp_path, content):
    path = tmp_path / "a.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.ckpt: "):
        load_checkpoint(path)


def test_an_absent_ckpt_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.ckpt: no such file"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_other_suffixes_than_ckpt_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"must end in \.ckpt"):
        save_checkpoint({"a": np.zeros(1)}, tmp_path / "a.bin")


def test_load_into_fills_a_network_and_keeps_a_fresh_head(tmp_path):
    from mindspore import nn

    class Net(nn.Cell):
        def __init__(self):
            super().__init__()
            self.s1 = nn.Dense(2, 3)
            self.head = nn.Dense(3, 2)

    network = Net()
    head = network.head.weight.asnumpy().copy()
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    save_checkpoint(
        {"s1.weight": weight, "s1.bias": np.ones(3, np.float32), "head.weight": np.ones((400, 3), np.float32)},
        tmp_path / "a.ckpt",
    )
    coverage = load_into(network, tmp_path / "a.ckpt", fresh_head=True)
    assert list(coverage.loaded) == ["s1.weight", "s1.bias"]
    assert list(coverage.mismatched) == ["head.weight"]
    assert list(coverage.missing) == ["head.bias"]
    assert np.array_equal(network.s1.weight.asnumpy(), weight)
    assert np.array_equal(network.head.weight.asnumpy(), head)
    quantized = {"s1.weight": np.int8([[1, 2], [3, 4], [5, 6]]), "s1.bias": np.ones(3, np.float32)}
    with pytest.raises(UserError, match=r"given arrays: s1\.weight is of the type int8, expected floating point"):
        load_into(network, quantized, fresh_head=True)
    damaged = {"s1.weight": weight + 1, "s1.bias": np.float32([0, np.nan, 1])}
    with pytest.raises(UserError, match=r"given arrays: s1\.bias holds values that are not finite"):
        load_into(network, damaged, fresh_head=True)
    assert np.array_equal(network.s1.weight.asnumpy(), weight)


def test_a_variance_below_0_is_refused():
    with pytest.raises(UserError, match=r"^a\.pyth: s1_fuse\.bn\.moving_variance holds variances below 0"):
        as_weights(
            {"s1_fuse.bn.beta": np.float32([-1]), "s1_fuse.bn.moving_variance": np.float32([1, -1e-3])}, "a.pyth"
        )


def test_bfloat16_is_read_as_float32(tmp_path):
    import mindspore as ms

    ms.save_checkpoint([{"name": "a", "data": ms.Tensor([1.5, -2], ms.bfloat16)}], str(tmp_path / "a.ckpt"))
    array = load_checkpoint(tmp_path / "a.ckpt")["a"]
    assert (array.dtype, array.tolist()) == (np.float32, [1.5, -2])


def test_a_damaged_ckpt_is_told_in_one_line(ckpt, capfd):
    ckpt.write_bytes(ckpt.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"model\.ckpt: not a whole MindSpore checkpoint: truncated, damaged"):
        load_checkpoint(ckpt)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("cause", "raised", "message"),
    [
        (MemoryError("none left"), MemoryError, "none left"),
        (PermissionError(13, "Permission denied"), UserError, r"a\.ckpt: cannot read the file: Permission denied"),
        (EOFError("early"), UserError, r"a\.ckpt: not a whole MindSpore checkpoint"),
    ],
)
def test_a_file_is_not_called_damaged_for_what_the_machine_lacks(tmp_path, monkeypatch, cause, raised, message):
    def fail(*_: object, **__: object) -> None:
        raise ValueError("Failed to read the checkpoint file") from cause

    (tmp_path / "a.ckpt").write_bytes(b"")  # a checkpoint of nothing is one
    monkeypatch.setattr("mindspore.load_checkpoint", fail)
    with pytest.raises(raised, match=message):
        load_checkpoint(tmp_path / "a.ckpt")


def test_a_shape_beyond_the_content_is_refused(tmp_path):
    """MindSpore would copy as much as the shape says, from memory that is not the file's."""
    import mindspore as ms

    path = tmp_path / "a.ckpt"
    ms.save_checkpoint([{"name": "a", "data": ms.Tensor(np.ones((2, 3), np.float32))}], str(path))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"\x08\x02\x08\x03", b"\x08\x02\x08\x7f"))
    with pytest.raises(UserError, match="not a whole MindSpore checkpoint"):
        load_checkpoint(path)


def test_an_entry_without_a_tensor_is_refused(tmp_path):
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"\n\x03\n\x01a")  # an entry of three bytes: the name
    with pytest.raises(UserError, match="not a whole MindSpore checkpoint"):
        load_checkpoint(path)
