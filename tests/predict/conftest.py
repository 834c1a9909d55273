"""Predict with the tiny network in SlowFast's place, on the sample's held-out video and its boxes."""

import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fvcore.common.config import CfgNode
from mindspore.ops import zeros_like

from src.checkpoint.mindspore_format import save_checkpoint
from src.predict.options import Options
from tests.predict.onnx_detectors import torchvision, write_detector
from tests.tiny import TinyNetwork

_NETWORKS: dict[str, TinyNetwork] = {}


def shared_network(cfg: CfgNode, *_: object) -> TinyNetwork:
    """Return one network for all that differ in weights alone, so that its graphs are compiled once."""
    shape = str((cfg.MODEL, cfg.BN, cfg.SLOWFAST, cfg.DATA.NUM_FRAMES))
    if shape not in _NETWORKS:
        _NETWORKS[shape] = TinyNetwork(cfg)
    for parameter in _NETWORKS[shape].get_parameters():
        parameter.set_data(zeros_like(parameter))  # whoever asks for it has to load all weights
    return _NETWORKS[shape]


@pytest.fixture
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever builds a network in this process gets the tiny one; the device is set up already."""
    monkeypatch.setattr("src.models.build.SlowFast", shared_network)
    monkeypatch.setattr("src.utils.device.set_up_device", lambda *_: "CPU")


@pytest.fixture
def checkpoint(configure: Callable[..., CfgNode], tmp_path: Path) -> Path:
    """Random weights of the tiny network whose scores differ from box to box."""
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(0, 0.3, parameter.shape).astype(np.float32) + name.endswith(("gamma", "variance"))
        for name, parameter in TinyNetwork(configure()).parameters_dict().items()
    }
    save_checkpoint(weights, tmp_path / "tiny.ckpt")
    return tmp_path / "tiny.ckpt"


@pytest.fixture
def held_out(sample: Path) -> Path:
    """The sample's held-out video, 24 seconds long."""
    return next((sample / "videos").glob("*val*"))


@pytest.fixture
def options(
    sample: Path, recipe: list[object], recipe_file: Path, checkpoint: Path, tmp_path: Path
) -> Callable[..., Options]:
    """Return a function from changes to the options of a run on given boxes."""

    def made(**changes: object) -> Options:
        overrides = (*map(str, recipe), "TEST.CHECKPOINT_FILE_PATH", str(checkpoint))
        given = {"out": tmp_path / "out", "cfg": recipe_file, "overrides": overrides} | {"every_part": 7.0}
        given |= {"boxes": sample / "ava_annotations/ava_val_predicted_boxes.csv"}
        return Options(**given | changes)

    return made


@pytest.fixture
def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def detector_file(tmp_path: Path) -> Path:
    """A detector that finds two persons wherever it looks."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed (tests/requirements.txt)")
    return write_detector(tmp_path / "detector.onnx", **torchvision())
