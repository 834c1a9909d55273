"""Folding batch norm, and the way from a checkpoint to a graph."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from fvcore.common.config import CfgNode
from mindspore import nn

from src.checkpoint.class_names import with_class_names
from src.checkpoint.mindspore_format import save_checkpoint
from src.config.custom_config import load_config
from src.deploy.export import export, fold_batch_norm, random_inputs
from src.deploy.formats import FORMATS, Format
from src.deploy.manifest import (
    Description,
    FileRecord,
    GraphFile,
    Manifest,
    describe_graph,
    open_specs,
    read_manifest,
)
from src.models.common import Conv3d, ConvBn, batch_norm
from src.models.video_model_builder import SlowFast
from src.utils.errors import UserError
from src.utils.files import sha256_of
from tests.weights import weights

TINY = ["MODEL.NUM_CLASSES", "3", "RESNET.WIDTH_PER_GROUP", "8", "DATA.NUM_FRAMES", "4", "SLOWFAST.ALPHA", "2"]
SIZE = ["DATA.TEST_SCALE_HEIGHT", "32", "DATA.TEST_SCALE_WIDTH", "48", "EXPORT.NUM_BOXES", "2"]


class Normalized(nn.Cell):
    def __init__(self, has_bias: bool) -> None:
        super().__init__()
        self.conv = Conv3d(1, 2, (1, 1, 1), 1, has_bias=has_bias)
        self.bn = batch_norm(2, 0.25, 0.1)
        self.convolve = ConvBn(self.conv, self.bn, relu=False)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.convolve(x)


@pytest.mark.parametrize(("has_bias", "bias"), [(False, [3.0, -19.0]), (True, [4.0, -7.0])])
def test_batch_norm_becomes_weight_and_bias(has_bias: bool, bias: list[float]) -> None:
    network = Normalized(has_bias).set_train(False)
    network.conv.weight.set_data(ms.Tensor(np.float32([2, 4]).reshape(2, 1, 1, 1, 1)))
    if has_bias:
        network.conv.bias.set_data(ms.Tensor([1.0, 2.0]))
    for parameter, values in (
        ("gamma", [1, 6]),
        ("beta", [1, 5]),
        ("moving_mean", [-2, 4]),
        ("moving_variance", [0.75, 0.75]),
    ):
        getattr(network.bn, parameter).set_data(ms.Tensor(np.float32(values)))
    fold_batch_norm(network)
    # sqrt(0.75 + 0.25) = 1, so the scales are 1 and 6.
    assert network.conv.weight.asnumpy().ravel().tolist() == [2, 24]
    assert network.conv.bias.asnumpy().tolist() == bias
    assert network(ms.Tensor(np.float32([[[[10]]]]))).asnumpy().ravel().tolist() == [20 + bias[0], 240 + bias[1]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.ckpt"
    cfg = load_config(None, TINY)
    parameters = SlowFast(cfg).parameters_dict()
    arrays = {name: weights(name, parameter.shape) for name, parameter in parameters.items()}
    save_checkpoint(with_class_names(arrays, {1: "sit", 2: "stand", 3: "walk"}), path)
    return path


@pytest.mark.slow
def test_graph_is_described_and_checked(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cfg = load_config(None, [*TINY, *SIZE, "EXPORT.CLIP_DTYPE", "float16", "EXPORT.BATCH_SIZE", "2"])
    out = tmp_path / "späces in a päth 動画"
    export(cfg, checkpoint, out)
    assert "largest difference from the network on random input" in capsys.readouterr().out
    manifest = read_manifest(out / "slowfast.mindir")
    assert [spec.shape for spec in manifest.inputs] == [(2, 3, 2, 32, 48), (2, 3, 4, 32, 48), (2, 2, 4)]
    assert [spec.dtype for spec in manifest.inputs] == ["float16", "float16", "float32"]
    assert manifest.output.shape == (2, 2, 3)
    assert manifest.slow_frames == (0, 3)
    assert manifest.num_classes == 3
    assert manifest.class_names == {1: "sit", 2: "stand", 3: "walk"}
    assert sorted(path.name for path in out.iterdir()) == ["slowfast.json", "slowfast.mindir"]


@pytest.mark.slow
def test_one_dynamic_onnx_takes_any_number_of_clips_and_boxes_and_any_size(checkpoint: Path, tmp_path: Path) -> None:
    import onnxruntime

    cfg = load_config(None, [*TINY, "EXPORT.FORMAT", "ONNX", "EXPORT.DYNAMIC", "True", "DATA.TEST_CROP_SIZE", "32"])
    export(cfg, checkpoint, tmp_path)
    manifest = read_manifest(tmp_path / "slowfast.onnx")
    assert [spec.shape for spec in manifest.inputs] == [(-1, 3, 2, -1, -1), (-1, 3, 4, -1, -1), (-1, -1, 4)]
    session = onnxruntime.InferenceSession(str(tmp_path / "slowfast.onnx"), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)

    def scores(fast: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        inputs = {"slow": fast[:, :, manifest.slow_frames], "fast": fast, "boxes": boxes.astype(np.float32)}
        return session.run(None, inputs)[0]

    fast = rng.standard_normal((3, 3, 4, 40, 56), np.float32)
    boxes = np.tile([[0, 0, 55, 39], [8, 4, 30, 33]], (3, 1, 1))
    together = scores(fast, boxes)
    assert together.shape == (3, 2, 3)
    for clip in range(3):
        for box in range(2):
            alone = scores(fast[clip : clip + 1], boxes[clip : clip + 1, box : box + 1])
            np.testing.assert_allclose(alone[0, 0], together[clip, box], rtol=0, atol=1e-5)
    assert scores(fast[:1], np.zeros((1, 0, 4))).shape == (1, 0, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        [],
        pytest.param(["DETECTION.ALIGNED", "False"], marks=pytest.mark.long),
        ["DETECTION.ALIGNED", "False", "DETECTION.SAMPLING_RATIO", "2", "DETECTION.ROI_END_MODE", "1"],
        pytest.param(
            ["NONLOCAL.LOCATION", "[[[], []], [[1], []], [[1], [2]], [[], []]]", "SLOWFAST.FUSION_NORM", "False"],
            marks=pytest.mark.long,
        ),
        [
            *("NONLOCAL.LOCATION", "[[[], []], [[1], []], [[], []], [[], []]]", "NONLOCAL.INSTANTIATION", "softmax"),
            *("MODEL.LOSS_FUNC", "cross_entropy", "MODEL.HEAD_ACT", "softmax"),
        ],
        ["MODEL.HEAD_TEMPORAL_POOL", "max", "MODEL.HEAD_CONTEXT", "True", "SLOWFAST.FUSION_NORM", "False"],
        ["MODEL.HEAD_ACRN", "24"],
    ],
)
def test_3d_kernels_and_roi_align_of_onnx_compute_what_the_network_does(tmp_path: Path, settings: list[str]) -> None:
    overrides = ["EXPORT.FORMAT", "ONNX", "EXPORT.DYNAMIC", "True", "MODEL.HEAD_ACT", "none"]
    cfg = load_config(None, [*TINY, *overrides, *settings])
    network = SlowFast(cfg)
    for name, parameter in network.parameters_dict().items():
        parameter.set_data(ms.Tensor(weights(name, parameter.shape)))
    network.set_train(False)
    inputs, _ = open_specs(cfg, 2, 4, 40, 56)
    _, fast, boxes = random_inputs(cfg, inputs)
    boxes[:, :3] = [[0, 0, 55, 39], [3, 5, 6, 9], [20, 1, 41, 38]]
    arrays = fast[:, :, [0, 3]], fast, boxes
    expected = network(*map(ms.Tensor, arrays)).asnumpy()
    fold_batch_norm(network)
    FORMATS["ONNX"].write(cfg, network, arrays, describe_graph(cfg, {}), tmp_path / "graph.onnx")
    found = FORMATS["ONNX"].run(tmp_path / "graph.onnx", None, arrays)
    assert expected.std() > 0.05
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.long
@pytest.mark.parametrize(
    "head",
    [
        ("MODEL.HEAD_TEMPORAL_POOL", "max", "MODEL.HEAD_ACRN", 24),
        ("MODEL.HEAD_CONTEXT", True, "MODEL.LOSS_FUNC", "cross_entropy", "MODEL.HEAD_ACT", "softmax"),
    ],
)
def test_every_head_is_exported(tmp_path: Path, head: tuple[object, ...]) -> None:
    cfg = load_config(None, [*TINY, *SIZE, "EXPORT.FORMAT", "ONNX", *head])
    parameters = SlowFast(cfg).parameters_dict()
    save_checkpoint({name: weights(name, one.shape) for name, one in parameters.items()}, tmp_path / "head.ckpt")
    # Compares the graph's scores with the network's, or raises.
    export(cfg, tmp_path / "head.ckpt", tmp_path / "out")
    manifest = read_manifest(tmp_path / "out" / "slowfast.onnx")
    assert manifest.output.activation == cfg.MODEL.HEAD_ACT
    assert manifest.output.shape == (1, 2, 3)


@pytest.mark.slow
def test_graph_that_computes_something_else_is_not_kept(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(cfg: CfgNode, network: nn.Cell, inputs: list[np.ndarray], description: Description, path: Path) -> None:
        path.write_bytes(b"a graph")

    wrong = Format(".mindir", write, lambda *arguments: np.zeros((1, 2, 3), np.float32))
    monkeypatch.setitem(FORMATS, "MINDIR", wrong)
    with pytest.raises(UserError, match="the exported graph's scores differ from the network's by"):
        export(load_config(None, [*TINY, *SIZE]), checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_open_size_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set DATA\.TEST_SCALE_HEIGHT and DATA\.TEST_SCALE_WIDTH"):
        export(load_config(None, TINY), checkpoint, tmp_path / "out")


def test_averages_are_exported_where_they_are_tested(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tiny\.ckpt: holds no averaged weights"):
        export(load_config(None, [*TINY, *SIZE, "TEST.USE_EMA", "True"]), checkpoint, tmp_path / "out")


def test_dynamic_mindir_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a graph in the format MINDIR has fixed shapes; take ONNX"):
        export(load_config(None, [*TINY, "EXPORT.DYNAMIC", "True"]), checkpoint, tmp_path / "out")


def test_files_of_another_origin_are_not_replaced(checkpoint: Path, tmp_path: Path) -> None:
    cfg = load_config(None, [*TINY, *SIZE])
    (tmp_path / "slowfast.mindir").write_text("mine")
    with pytest.raises(UserError, match=r"slowfast\.mindir: is there without slowfast\.json"):
        export(cfg, checkpoint, tmp_path)
    (tmp_path / "slowfast.json").write_text('{"mine": 1}')
    with pytest.raises(UserError, match=r"slowfast\.json: not from export\.py"):
        export(cfg, checkpoint, tmp_path)
    (tmp_path / "slowfast.json").write_text(manifest_text(cfg, "slowfast.onnx"))
    with pytest.raises(UserError, match=r"describes slowfast\.onnx; give slowfast\.mindir another OUTPUT_DIR"):
        export(cfg, checkpoint, tmp_path)
    assert (tmp_path / "slowfast.mindir").read_text() == "mine"


def manifest_text(cfg: CfgNode, file: str = "slowfast.mindir", digest: str = "0") -> str:
    model = GraphFile(file=file, bytes=3, sha256=digest)
    checkpoint = FileRecord(file="a.ckpt", sha256="0")
    return Manifest(**dict(describe_graph(cfg, {})), model=model, checkpoint=checkpoint).model_dump_json()


def test_graph_of_another_description_is_refused(tmp_path: Path) -> None:
    (tmp_path / "slowfast.mindir").write_bytes(b"one")
    description = tmp_path / "slowfast.json"
    description.write_text(manifest_text(load_config(None, [*TINY, *SIZE])))
    with pytest.raises(UserError, match=r"slowfast\.mindir: not the graph that slowfast\.json describes"):
        read_manifest(tmp_path / "slowfast.mindir")
    whole = json.loads(description.read_text())
    for change, message in (
        ({"slow_frames": [0, "3"]}, r"slow_frames\.1: Input should be a valid integer"),
        ({"inputs": whole["inputs"][:2]}, r"it lacks inputs\.2"),
        ({"num_classes": 0}, r"num_classes: Input should be greater than 0"),
    ):
        description.write_text(json.dumps(whole | change))
        with pytest.raises(UserError, match=rf"slowfast\.json: not from export\.py: {message}"):
            read_manifest(tmp_path / "slowfast.mindir")
    description.write_text("{}")
    with pytest.raises(UserError, match=r"slowfast\.json: not from export\.py: it lacks format"):
        read_manifest(tmp_path / "slowfast.mindir")
    description.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"slowfast\.json: not from export\.py: Invalid JSON"):
        read_manifest(tmp_path / "slowfast.mindir")
    description.unlink()
    with pytest.raises(UserError, match=r"slowfast\.json: cannot read the file: No such file"):
        read_manifest(tmp_path / "slowfast.mindir")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("preprocessing", lambda whole: whole["preprocessing"].update(mean=[0.1, 0.1, 0.1])),
        ("inputs", lambda whole: whole["inputs"].reverse()),
        ("num_classes", lambda whole: whole.update(num_classes=79)),
        ("class_names", lambda whole: whole.update(class_names={"99": "walk"})),
        ("config", lambda whole: whole["config"]["DATA"].update(MEAN=[0.1, 0.1, 0.1])),
    ],
)
def test_a_description_that_was_changed_by_hand_is_refused(tmp_path: Path, field: str, change: Callable) -> None:
    graph, description = tmp_path / "slowfast.mindir", tmp_path / "slowfast.json"
    graph.write_bytes(b"one")
    whole = json.loads(manifest_text(load_config(None, [*TINY, *SIZE]), digest=sha256_of(graph)))
    description.write_text(json.dumps(whole))
    assert read_manifest(graph).model.file == "slowfast.mindir"
    change(whole)
    description.write_text(json.dumps(whole))
    with pytest.raises(UserError, match=rf"slowfast\.json: the field {field} is not what export\.py wrote"):
        read_manifest(graph)


def test_a_manifest_needs_no_mindspore(repository: Path) -> None:
    code = "import sys, src.deploy.manifest; sys.exit('mindspore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=repository, check=False).returncode == 0
