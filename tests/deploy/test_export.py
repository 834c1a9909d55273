"""Folding batch norm, and the way from a checkpoint to a graph."""

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from fvcore.common.config import CfgNode
from mindspore import nn

from src.checkpoint.mindspore_format import save_checkpoint
from src.config.custom_config import load_config
from src.deploy import export as deploy_export
from src.deploy.export import export, fold_batch_norm
from src.deploy.manifest import describe_graph, read_model
from src.models.build import build_model
from src.models.common import Conv3d, ConvBn, batch_norm
from src.utils.errors import UserError

TINY = ["MODEL.NUM_CLASSES", "3", "RESNET.WIDTH_PER_GROUP", "8", "DATA.NUM_FRAMES", "4", "SLOWFAST.ALPHA", "2"]
SIZE = ["DATA.TEST_SCALE_HEIGHT", "32", "DATA.TEST_SCALE_WIDTH", "48", "EXPORT.NUM_BOXES", "2"]


class Normalised(nn.Cell):
    def __init__(self, has_bias: bool) -> None:
        super().__init__()
        self.conv = Conv3d(1, 2, (1, 1, 1), 1, has_bias=has_bias)
        self.bn = batch_norm(2, 0.25, 0.1)
        self.convolve = ConvBn(self.conv, self.bn, relu=False)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.convolve(x)


@pytest.mark.parametrize(("has_bias", "bias"), [(False, [3.0, -19.0]), (True, [4.0, -7.0])])
def test_batch_norm_becomes_weight_and_bias(has_bias: bool, bias: list[float]) -> None:
    network = Normalised(has_bias).set_train(False)
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


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    network = build_model(load_config(None, TINY))
    rng = np.random.default_rng(0)
    arrays = {}
    for name, parameter in network.parameters_dict().items():
        arrays[name] = parameter.asnumpy()
        if name.endswith(("gamma", "beta", "moving_mean", "moving_variance")):
            arrays[name] = rng.uniform(0.5, 1.0, parameter.shape).astype(np.float32)
    save_checkpoint(arrays, tmp_path / "tiny.ckpt")
    return tmp_path / "tiny.ckpt"


@pytest.mark.slow
def test_graph_is_described_and_checked(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    cfg = load_config(None, [*TINY, *SIZE, "EXPORT.CLIP_DTYPE", "float16", "EXPORT.BATCH_SIZE", "2"])
    export(cfg, checkpoint, tmp_path / "out")
    assert "largest difference from the network on random input" in capsys.readouterr().out
    model = read_model(tmp_path / "out/slowfast.mindir")
    assert [entry["shape"] for entry in model["inputs"]] == [[2, 3, 2, 32, 48], [2, 3, 4, 32, 48], [2, 2, 4]]
    assert [entry["dtype"] for entry in model["inputs"]] == ["float16", "float16", "float32"]
    assert model["output"]["shape"] == [2, 2, 3]
    assert model["slow_frames"] == [0, 3]
    assert model["num_classes"] == 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["slowfast.json", "slowfast.mindir"]


@pytest.mark.slow
def test_graph_that_computes_something_else_is_not_kept(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ms.set_context(mode=ms.GRAPH_MODE)

    def write(cfg: CfgNode, network: nn.Cell, inputs: list[np.ndarray], folder: Path) -> Path:
        (folder / "slowfast.mindir").write_bytes(b"a graph")
        return folder / "slowfast.mindir"

    monkeypatch.setattr(deploy_export, "write_graph", write)
    monkeypatch.setattr(deploy_export, "run_graph", lambda *arguments: np.zeros((1, 2, 3), np.float32))
    with pytest.raises(UserError, match=r"the exported graph's scores differ from the network's by 0\."):
        export(load_config(None, [*TINY, *SIZE]), checkpoint, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_open_size_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs DATA\.TEST_SCALE_HEIGHT and DATA\.TEST_SCALE_WIDTH"):
        export(load_config(None, TINY), checkpoint, tmp_path / "out")


def test_graph_of_another_description_is_refused(tmp_path: Path) -> None:
    (tmp_path / "slowfast.mindir").write_bytes(b"one")
    model = describe_graph(load_config(None, [*TINY, *SIZE])) | {"model": {"sha256": "0"}}
    (tmp_path / "slowfast.json").write_text(json.dumps(model))
    with pytest.raises(UserError, match=r"slowfast\.mindir: not the graph that slowfast\.json describes"):
        read_model(tmp_path / "slowfast.mindir")
    (tmp_path / "slowfast.json").write_text("{}")
    with pytest.raises(UserError, match=r"slowfast\.json: not from export\.py: it lacks boxes"):
        read_model(tmp_path / "slowfast.mindir")
    (tmp_path / "slowfast.json").unlink()
    with pytest.raises(UserError, match=r"slowfast\.json: cannot read the file: No such file"):
        read_model(tmp_path / "slowfast.mindir")
