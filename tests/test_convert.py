"""The converter from the command line: every source, every target, and files that mean harm."""

import hashlib
import importlib.util
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import zlib
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

import convert_ckpt_caffe2ms
from src.checkpoint.mindspore_format import load_checkpoint
from src.checkpoint.names import to_pyslowfast
from src.checkpoint.torch_format import write_torch
from src.checkpoint.weight_files import read_weights
from src.utils.errors import UserError, run_main
from tests.checkpoint.test_torch_format import archive

TINY = "RESNET:\n  WIDTH_PER_GROUP: 16\nDATA:\n  NUM_FRAMES: 8\nMODEL:\n  NUM_CLASSES: 5\n  HEAD_ACT: none\n"
MMACTION2 = """
RESNET:
  WIDTH_PER_GROUP: 16
  SPATIAL_DILATIONS: [[1, 1], [1, 1], [1, 1], [1, 1]]
DATA:
  NUM_FRAMES: 8
MODEL:
  NUM_CLASSES: 6
SLOWFAST:
  FUSION_NORM: False
DETECTION:
  ROI_XFORM_RESOLUTION: 8
"""


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the converter in an empty folder that holds tiny.yaml; returns its exit status."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["convert_ckpt_caffe2ms.py", *map(str, arguments)])
        return run_main(convert_ckpt_caffe2ms.main)

    return run


@pytest.fixture(scope="session")
def reference(shared_dir):
    """The module that defines the reference's weights and clips."""
    spec = importlib.util.spec_from_file_location("weights", shared_dir / "parity/weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parameters(shared_dir: Path, name: str, reference) -> dict[str, np.ndarray]:
    """The weights of a reference pass, in PySlowFast's names."""
    shapes = json.loads((shared_dir / f"parity/{name}.json").read_text())["parameters"]
    return {parameter: reference.weight(parameter, shape) for parameter, shape in shapes.items()}


def caffe2_checkpoint(shared_dir: Path, weights: dict[str, np.ndarray]) -> bytes:
    """Pickle weights as Caffe2 does, with what its files hold beside them."""
    names = json.loads((shared_dir / "parity/caffe2_blobs_slowfast_r50.json").read_text())
    blobs = {name: weights[to_pyslowfast(name, "caffe2")] for name in names}
    momentum = {
        f"{name}_momentum": np.zeros_like(blob) for name, blob in blobs.items() if name[-2:] not in ("rm", "iv")
    }
    return pickle.dumps({"blobs": blobs | momentum | {"lr": np.float32(0.1), "model_iter": 196000}}, 2)


def logits(cfg: str | None, ckpt: str, slow: np.ndarray, fast: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Run the network that a recipe describes with converted weights."""
    import mindspore as ms

    from src.checkpoint.loading import load_into
    from src.config.custom_config import load_config
    from src.models.build import build_model

    network = build_model(load_config(cfg, ["MODEL.HEAD_ACT", "none"]))
    network.set_train(False)
    load_into(network, ckpt)
    return network(ms.Tensor(slow), ms.Tensor(fast), ms.Tensor(boxes)).asnumpy()


def reference_error(shared_dir: Path, name: str, reference, cfg: str | None, ckpt: str) -> float:
    """Return the largest difference of the logits from the reference's, relative to its largest logit."""
    case = json.loads((shared_dir / f"parity/{name}.json").read_text())
    expected = np.load(shared_dir / f"parity/{name}.npz")
    clip = reference.clip(case["clip_seed"], case["batch"], case["frames"], case["height"], case["width"])
    boxes = [expected["boxes"][expected["boxes"][:, 0] == sample, 1:] for sample in range(case["batch"])]
    count = max(map(len, boxes))
    padded = np.stack([np.pad(rows, ((0, count - len(rows)), (0, 0))) for rows in boxes]).astype(np.float32)
    found = logits(cfg, ckpt, clip[:, :, reference.slow_indices(case["frames"], 4)], clip, padded)
    found = np.concatenate([found[sample, : len(rows)] for sample, rows in enumerate(boxes)])
    order = np.argsort(expected["boxes"][:, 0], kind="stable")
    return np.abs(found - expected["logits"][order]).max() / np.abs(expected["logits"]).max()


def test_caffe2_weights_give_the_reference_output(eager, run, shared_dir, reference, capsys):
    weights = parameters(shared_dir, "forward_tiny", reference)
    averaged = {"ema": {"shadow": {"conv1_w": np.zeros(3)}}}
    content = pickle.loads(caffe2_checkpoint(shared_dir, weights))
    Path("SLOWFAST_8x8_R50.pkl").write_bytes(pickle.dumps(averaged | content))
    assert run("--cfg", "tiny.yaml") == 0
    printed = capsys.readouterr()
    assert "552 loaded, 0 mismatched (head of another size), 0 missing, 334 unexpected" in printed.out
    assert "also holds weights of a SlowFast that were not read: under ema.shadow\n" in printed.err
    assert reference_error(shared_dir, "forward_tiny", reference, "tiny.yaml", "SLOWFAST_8x8_R50.pkl.ckpt") < 2e-4


def test_pyslowfast_weights_come_back_bit_by_bit(run, shared_dir, reference):
    weights = parameters(shared_dir, "forward_tiny", reference)
    Path("a.pyth").write_bytes(write_torch(weights))
    assert run("--src", "a.pyth", "--dst", "a.ckpt", "--cfg", "tiny.yaml") == 0
    assert run("--src", "a.ckpt", "--dst", "b.pyth", "--cfg", "tiny.yaml", "--to", "pyth") == 0
    assert run("--src", "b.pyth", "--dst", "b.safetensors", "--cfg", "tiny.yaml", "--to", "safetensors") == 0
    assert run("--src", "b.safetensors", "--dst", "b.ckpt", "--cfg", "tiny.yaml", "--from", "safetensors") == 0
    first, last = load_checkpoint("a.ckpt"), load_checkpoint("b.ckpt")
    assert list(first) == list(last)
    assert all(first[name].tobytes() == last[name].tobytes() for name in first)
    assert {to_pyslowfast(name, "ckpt"): array.tobytes() for name, array in last.items()} == {
        name: array.tobytes() for name, array in weights.items()
    }


@pytest.mark.slow
def test_full_size_weights_give_the_reference_output(run, shared_dir, reference):
    weights = parameters(shared_dir, "forward_r50_224", reference)
    Path("a.pyth").write_bytes(write_torch(weights))
    Path("SLOWFAST_8x8_R50.pkl").write_bytes(caffe2_checkpoint(shared_dir, weights))
    assert run("--src", "a.pyth") == 0
    assert run() == 0
    assert Path("a.pyth.ckpt").read_bytes() == Path("SLOWFAST_8x8_R50.pkl.ckpt").read_bytes()
    assert reference_error(shared_dir, "forward_r50_224", reference, None, "SLOWFAST_8x8_R50.pkl.ckpt") < 2e-4


def pattern(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Fill a parameter with waves that its name shifts: scales about 1, everything else about 0."""
    wave = np.sin(np.arange(np.prod(shape)) * 1.7 + zlib.crc32(name.encode()) % 1000).reshape(shape)
    if name.endswith("running_var") or (name.endswith(".weight") and len(shape) == 1):
        value = 1 + 0.3 * wave
    elif len(shape) == 1:
        value = 0.1 * wave
    else:
        value = wave * np.sqrt(4 / np.prod(shape[1:]))
    return value.astype(np.float32)


def mmaction2_checkpoint(
    repository: Path, fusion_kernel: int = 7, features: int = 576, acrn: bool = False
) -> dict[str, np.ndarray]:
    """A quarter of the width of mmaction2's detector, six classes and the background.

    Args:
        repository: holds the names of its parameters.
        fusion_kernel: temporal kernel of the lateral connections.
        features: of a box.
        acrn: with an actor relation.
    """
    weights = {}
    for layer, shape in ((1, (576, 1152, 1, 1, 1)), (2, (576, 576, 1, 3, 3))) if acrn else ():
        name = f"roi_head.shared_head.conv{layer}"
        weights[f"{name}.conv.weight"] = pattern(f"{name}.conv.weight", shape)
        for key in ("weight", "bias", "running_mean", "running_var"):
            weights[f"{name}.bn.{key}"] = pattern(f"{name}.bn.{key}", (576,))
    for line in (repository / "tests/checkpoint/names/mmaction2_slowfast_r50_8x8_ava.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        name, *sides = line.split()
        outputs, *others = map(int, sides)
        if len(others) and others[0] != 3:
            others[0] //= 4
        if name.endswith("_lateral.conv.weight"):
            others[1] = fusion_kernel
        if name.endswith("fc_cls.weight"):
            others[0] = features
        weights[name] = pattern(name, (7 if outputs == 81 else outputs // 4, *others))
    return weights


# Logits of two boxes, computed by mmaction2 1.1.0 (ResNet3dSlowFast, SingleRoIExtractor3D, ACRNHead, BBoxHeadAVA),
# without the background: alpha, head, checkpoint, arrays in it, logits.
MMACTION2_HEADS = {
    "mean": (
        *(4, "", {}, 536),
        [21.7374, 8.9235, -11.8834, -22.1705, -12.8099, 7.7506],
        [20.5008, 8.5206, -11.0978, -20.8883, -12.1605, 7.1952],
    ),
    "max": (
        *(4, "  HEAD_TEMPORAL_POOL: max", {}, 536),
        [25.2422, 10.0920, -14.0805, -25.7979, -14.6725, 9.2934],
        [23.1265, 9.3077, -12.8426, -23.6282, -13.4821, 8.4559],
    ),
    "context": (
        *(8, "  HEAD_CONTEXT: True", {"fusion_kernel": 5, "features": 1152}, 536),
        [-3.4840, -28.9178, 25.1458, 10.1040, -32.7404, 14.3974],
        [-3.5236, -28.7970, 25.0951, 10.0211, -32.6278, 14.3960],
    ),
    "acrn": (
        *(4, "  HEAD_ACRN: 576", {"acrn": True}, 546),
        [2.4430, 9.4657, 8.0179, -0.4397, -8.3906, -9.0343],
        [2.3563, 8.9939, 7.5765, -0.4619, -7.9741, -8.5459],
    ),
}


@pytest.mark.parametrize(
    "head", [name if name == "mean" else pytest.param(name, marks=pytest.mark.slow) for name in MMACTION2_HEADS]
)
def test_mmaction2_weights_give_mmaction2s_output(eager, run, repository, capsys, head):
    alpha, setting, checkpoint, count, *expected = MMACTION2_HEADS[head]
    Path("a.pth").write_bytes(write_torch(mmaction2_checkpoint(repository, **checkpoint)))
    slowfast = f"SLOWFAST:\n  ALPHA: {alpha}\n  FUSION_KERNEL_SZ: {checkpoint.get('fusion_kernel', 7)}"
    recipe = MMACTION2.replace("SLOWFAST:", slowfast).replace("  NUM_CLASSES: 6", f"  NUM_CLASSES: 6\n{setting}")
    Path("mm.yaml").write_text(recipe)
    assert run("--src", "a.pth", "--dst", "a.ckpt", "--cfg", "mm.yaml") == 0
    said = f"mmaction2 names; {count} loaded, 0 mismatched (head of another size), 0 missing, 0 unexpected"
    assert said in capsys.readouterr().out
    clip = np.sin(np.arange(3 * 8 * 64 * 80) * 1.7).reshape(1, 3, 8, 64, 80).astype(np.float32)
    boxes = np.array([[[0, 0, 80, 64], [10, 12, 33, 60]]], np.float32)
    found = logits("mm.yaml", "a.ckpt", clip[:, :, ::alpha], clip, boxes)[0]
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_mmaction2_weights_need_their_own_recipe(run, repository, capsys):
    Path("a.pth").write_bytes(write_torch(mmaction2_checkpoint(repository)))
    assert run("--src", "a.pth", "--cfg", "tiny.yaml") == 2
    assert "16 parameters of the network are not in it, the first is s1_fuse.bn." in capsys.readouterr().err
    assert not Path("a.pth.ckpt").exists()


def test_kinetics_weights_load_the_backbone_and_leave_the_head(run, shared_dir, reference, capsys):
    weights = parameters(shared_dir, "forward_tiny", reference)
    weights["head.projection.weight"] = np.zeros((400, 576), np.float32)
    weights["head.projection.bias"] = np.zeros(400, np.float32)
    Path("a.pkl").write_bytes(caffe2_checkpoint(shared_dir, weights))
    assert run("--src", "a.pkl", "--cfg", "tiny.yaml", "--report") == 0
    output = capsys.readouterr().out
    lines = [line.split(maxsplit=2) for line in output.splitlines()]
    assert ["loaded", "s1.pathway0_stem.conv.weight", "(16, 3, 1, 7, 7)"] in lines
    assert ["mismatched", "head.projection.weight", "(400, 576) in the file, (5, 576) here"] in lines
    assert ["unexpected", "model_iter", "()"] in lines
    assert "550 loaded, 2 mismatched (head of another size), 0 missing, 334 unexpected" in output
    written = load_checkpoint("a.pkl.ckpt")
    assert len(written) == 550
    assert not any(name.startswith("head.") for name in written)


def test_weights_of_a_deeper_network_are_pointed_out(run, shared_dir, reference, capsys):
    weights = parameters(shared_dir, "forward_tiny", reference)
    weights["s4.pathway0_res22.branch2.c.weight"] = np.zeros((256, 64, 1, 1, 1), np.float32)
    Path("a.pyth").write_bytes(write_torch(weights))
    assert run("--src", "a.pyth", "--cfg", "tiny.yaml") == 0
    assert "no place for 1 weights, such as s4.pathway0_res22.branch2.c.weight" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["missing", "reshaped"])
def test_a_backbone_that_does_not_fit_writes_nothing(run, shared_dir, reference, capsys, change):
    weights = parameters(shared_dir, "forward_tiny", reference)
    if change == "missing":
        del weights["s3.pathway1_res0.branch2.b_bn.running_var"]
    else:
        weights["s3.pathway1_res0.branch2.b_bn.running_var"] = np.ones(5, np.float32)
    Path("a.pyth").write_bytes(write_torch(weights))
    assert run("--src", "a.pyth", "--cfg", "tiny.yaml") == 2
    error = capsys.readouterr().err
    assert "s3.pathway1_res0.branch2.b_bn.moving_variance" in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["a.pyth", "tiny.yaml"]


@pytest.mark.parametrize("key", ["blobs", "model_state", "state_dict", None])
def test_parameters_are_found_under_the_usual_keys(run, key, capsys):
    blobs = {"conv1_w": np.zeros((64, 3, 1, 7, 7), np.float32)}
    Path("a.pkl").write_bytes(pickle.dumps({key: blobs, "epoch": 3} if key else blobs))
    assert run("--src", "a.pkl", "--cfg", "tiny.yaml") == 2
    assert "a.pkl: 549 parameters of the network are not in it" in capsys.readouterr().err


def test_other_arrays_beside_the_parameters_are_passed_over(run, capsys):
    blobs = {"conv1_w": np.zeros((64, 3, 1, 7, 7), np.float32)}
    content = {"random_state": np.zeros(9, np.uint8), "log": deque([1]), "run": {"losses": np.zeros(3)}, "blobs": blobs}
    Path("a.pkl").write_bytes(pickle.dumps(content))
    assert run("--src", "a.pkl", "--cfg", "tiny.yaml") == 2
    assert "a.pkl: 549 parameters of the network are not in it" in capsys.readouterr().err


def test_each_dictionary_is_searched_once(tmp_path):
    weights = {"conv1_w": np.zeros(3)}
    many = weights
    for _ in range(3):  # 10^12 ways lead to the weights
        many = dict.fromkeys(map(str, range(10000)), many)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"backup": many, "model_state": weights, "model": weights}))
    _, arrays, others = read_weights(tmp_path / "a.pkl")
    assert list(arrays) == ["conv1_w"]
    assert others == []


def write_parts(folder: Path, parts: dict[str, list[str]], places: dict[str, str]) -> Path:
    """Write a checkpoint in several files, by the names that each holds, and its index."""
    for file, names in parts.items():
        (folder / file).write_bytes(save({name: np.float32([ord(name)]) for name in names}))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 8}, "weight_map": places}))
    return index


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def test_a_checkpoint_in_several_files_is_read_by_its_index(tmp_path):
    index = write_parts(tmp_path, {FIRST: ["a", "b"], SECOND: ["c"]}, {"a": FIRST, "c": SECOND, "b": FIRST})
    found, arrays, others = read_weights(index)
    assert (found, {name: array.tolist() for name, array in arrays.items()}, others) == (
        "safetensors",
        {"a": [97], "b": [98], "c": [99]},
        [],
    )
    with pytest.raises(UserError, match=r"a part of a checkpoint; expected the index of its parts, model\.safet"):
        read_weights(tmp_path / SECOND)


@pytest.mark.parametrize(
    ("second", "places", "message"),
    [
        (None, {"a": FIRST, "b": SECOND}, f"names the part '{SECOND}', but there is no such file beside it"),
        (["a", "b"], {"a": FIRST, "b": SECOND}, f"{SECOND} also holds a, unlike the index says"),
        (["b", "c"], {"a": FIRST, "b": SECOND}, f"{SECOND} also holds c, unlike the index says"),
        (["b"], {"a": FIRST, "b": FIRST}, f"{FIRST} lacks b, unlike the index says"),
        (["b"], {"a": FIRST, "b": f"../x/{SECOND}"}, "names the part '../x/"),
        (["b"], {}, "its parts are none"),
        (["b"], {"a": 1}, "not the index of a checkpoint's parts: weight_map.a: "),
    ],
)
def test_parts_of_a_checkpoint_that_do_not_belong_together_are_refused(tmp_path, second, places, message):
    index = write_parts(tmp_path, {FIRST: ["a"]} | ({SECOND: second} if second else {}), places)
    (tmp_path / "x").mkdir()
    with pytest.raises(UserError) as raised:
        read_weights(index)
    assert f"model.safetensors.index.json: {message}" in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--src", "absent.pkl"], "absent.pkl: no such file"),
        ([], "SLOWFAST_8x8_R50.pkl: no such file"),
        (["--src", "a.pyth", "--dst", "./a.pyth"], "would replace the source"),
        (["--src", "a.pyth", "--dst", "."], "a folder; --dst expected a file"),
        (["--src", "a.pyth", "--from", "safetensors"], "not a safetensors file, its content is torch"),
        (["--src", "a.pyth", "--from", "ckpt"], "not a ckpt file, its content is torch"),
        (["--src", "a.pyth", "--from", "caffe2"], "550 parameters of the network are not in it"),
        (["--src", "a.pyth"], "no SlowFast checkpoint of a known kind"),
    ],
)
def test_mistakes_end_with_one_line(run, capsys, arguments, message):
    Path("a.pyth").write_bytes(write_torch({"w": np.zeros(3)}))
    before = Path("a.pyth").read_bytes()
    assert run("--cfg", "tiny.yaml", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["a.pyth", "tiny.yaml"]
    assert Path("a.pyth").read_bytes() == before


def test_a_ckpt_must_be_called_ckpt(run, shared_dir, reference, capsys):
    Path("a.pyth").write_bytes(write_torch(parameters(shared_dir, "forward_tiny", reference)))
    assert run("--src", "a.pyth", "--dst", "a.bin", "--cfg", "tiny.yaml") == 2
    assert "a.bin: the name of a MindSpore checkpoint must end in .ckpt" in capsys.readouterr().err


class Command:
    """Unpickled by `pickle`, this runs a command."""

    def __reduce__(self):
        return os.system, ("touch mark",)


GOOD = write_torch({"s1.pathway0_stem.bn.weight": np.ones(64)})
TEN_GB = struct.pack("<q", 2_500_000_000)
BIG_TENSOR = (
    b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu\x8a\x08" + TEN_GB + b"tQK\x00\x8a\x08" + TEN_GB + b"\x85K\x01\x85\x89}tRs."
)
BIG_ARRAY = (
    b"\x80\x02}X\x07\x00\x00\x00conv1_wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
    b"\x8a\x08" + TEN_GB + b"\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R\x89U\x04abcdtbs."
)
BIG_HEADER = json.dumps({"w": {"dtype": "F32", "shape": [2_500_000_000], "data_offsets": [0, 10_000_000_000]}}).encode()
ATTACKS = {
    "a pickle that runs a command": (pickle.dumps({"blobs": {"conv1_w": Command()}}, 2), "refused"),
    "a zip that runs a command": (archive({"x/data.pkl": pickle.dumps(Command(), 2)}), "refused"),
    "a zip with a path outside": (archive({"x/data.pkl": b"\x80\x02}.", "../../mark": b""}), "refused"),
    "a zip with an absolute path": (archive({"x/data.pkl": b"\x80\x02}.", "/mark": b""}), "refused"),
    "a truncated pickle": (pickle.dumps({"blobs": {"conv1_w": np.ones(9)}}, 2)[:-9], "truncated"),
    "a truncated zip": (GOOD[:-9], "truncated"),
    "a truncated safetensors file": (struct.pack("<Q", 99) + b'{"w":', "not a safetensors file"),
    "a 10 GB array in a small pickle": (BIG_ARRAY, "declares 10000000000 bytes of content and has 4"),
    "10 GB of bytes in a small pickle": (b"\x80\x04\x8e" + struct.pack("<Q", 10**10) + b"abc.", "truncated"),
    "a 10 GB tensor in a small zip": (
        archive({"x/data.pkl": BIG_TENSOR, "x/data/0": b"abcd"}),
        "declares 10000000000 bytes and has 4",
    ),
    "a 10 GB tensor in a small safetensors file": (
        struct.pack("<Q", len(BIG_HEADER)) + BIG_HEADER + b"abcd",
        "not a safetensors file",
    ),
    "an empty file": (b"", "not a checkpoint"),
    "a text": (b"Not found\n", "not a checkpoint"),
    "PyTorch's old format": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(40), "write it anew in PyTorch"),
}


def convert_in_4_gb(repository: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run the converter in a process that can have no 10 GB, where MindSpore cannot be loaded."""
    blocked = folder / "blocked/mindspore.py"
    blocked.parent.mkdir()
    blocked.write_text("raise SystemExit('the file was not refused before the network was built')")
    return subprocess.run(
        [sys.executable, str(repository / "convert_ckpt_caffe2ms.py"), *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(blocked.parent)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused_before_anything_is_loaded_or_written(repository, tmp_path, attack):
    data, message = ATTACKS[attack]
    (tmp_path / "a.pkl").write_bytes(data)
    done = convert_in_4_gb(repository, tmp_path, "--src", "a.pkl")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: a.pkl: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pkl", "blocked"]


@pytest.mark.parametrize("data", [b"\n\x20\n\x01w\x12\x1b\x08\x04", b"\n\x80\xc8\xaf\xa0\x25abc"])
def test_a_mindspore_file_that_declares_more_than_it_has_is_refused(run, capfd, data):
    """Read by MindSpore, which is loaded for it."""
    Path("a.ckpt").write_bytes(data)
    assert run("--src", "a.ckpt", "--dst", "b.ckpt", "--cfg", "tiny.yaml") == 2
    error = capfd.readouterr().err
    assert error == "error: a.ckpt: not a whole MindSpore checkpoint: truncated, damaged, or another format\n"


@pytest.mark.parametrize("position", [0, len(GOOD) // 2, len(GOOD) - 1])
def test_a_flipped_byte_does_not_pass_its_sha256(repository, tmp_path, position):
    flipped = bytearray(GOOD)
    flipped[position] ^= 0x20
    (tmp_path / "a.pyth").write_bytes(flipped)
    done = convert_in_4_gb(repository, tmp_path, "--src", "a.pyth", "--sha256", hashlib.sha256(GOOD).hexdigest())
    assert done.returncode == 2, done.stderr
    assert "a.pyth: its SHA-256 is" in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pyth", "blocked"]


def test_the_right_sha256_passes(run, shared_dir, reference):
    data = write_torch(parameters(shared_dir, "forward_tiny", reference))
    Path("a.pyth").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest().upper()
    assert run("--src", "a.pyth", "--cfg", "tiny.yaml", "--sha256", digest) == 0


def test_a_malformed_sha256_is_refused(run, capsys):
    assert run("--sha256", "abc") == 2
    assert "expected 64 hexadecimal digits" in capsys.readouterr().err
