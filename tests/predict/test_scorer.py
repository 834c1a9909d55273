"""What scores a key frame: by MindSpore and by OpenVINO, on SlowFast R50 at its real depth."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fvcore.common.config import CfgNode

from src.checkpoint.mindspore_format import save_checkpoint
from src.deploy.export import export
from src.deploy.manifest import describe_files, describe_graph
from src.models.build import build_model
from src.predict.scorer import MindSporeScorer, OpenVinoScorer, Scorer
from src.utils.errors import UserError
from tests.weights import weights

pytest.importorskip("openvino", reason="OpenVINO is not installed (tests/requirements.txt)")

FRAME = (48, 64)
BOXES = np.array([[0.0, 0.0, 1.0, 1.0], [0.1, 0.2, 0.5, 0.9], [0.6, 0.1, 0.8, 0.7]])


@pytest.fixture
def network(configure: Callable[..., CfgNode], tmp_path: Path) -> Callable[..., CfgNode]:
    """Return a function from overrides to the configuration of a network whose weights are written."""

    def made(*overrides: object) -> CfgNode:
        path = tmp_path / "network.ckpt"
        cfg = configure("TEST.CHECKPOINT_FILE_PATH", str(path), *overrides)
        parameters = build_model(cfg).parameters_dict()
        save_checkpoint({name: weights(name, parameter.shape) for name, parameter in parameters.items()}, path)
        return cfg

    return made


def scores_of(scorer: Scorer) -> np.ndarray:
    frames = np.random.default_rng(0).integers(0, 256, (4, *FRAME, 3), np.uint8)
    return scorer.score([scorer.small(frame) for frame in frames], BOXES, FRAME)


@pytest.mark.slow
@pytest.mark.parametrize(
    "head",
    [
        ("MODEL.HEAD_TEMPORAL_POOL", "max", "MODEL.HEAD_ACRN", 24),
        pytest.param(
            ("MODEL.HEAD_CONTEXT", True, "MODEL.LOSS_FUNC", "cross_entropy", "MODEL.HEAD_ACT", "softmax"),
            marks=pytest.mark.long,
        ),
    ],
)
def test_both_engines_give_the_scores_of_every_head(eager, network, tmp_path: Path, head: tuple[object, ...]) -> None:
    cfg = network(*head, "EXPORT.FORMAT", "ONNX", "EXPORT.DYNAMIC", True)
    export(cfg, Path(cfg.TEST.CHECKPOINT_FILE_PATH), tmp_path / "graph")
    expected = scores_of(MindSporeScorer(cfg))
    assert np.ptp(expected, axis=0).max() > 0.05
    np.testing.assert_allclose(scores_of(OpenVinoScorer(tmp_path / "graph/slowfast.onnx")), expected, rtol=0, atol=1e-5)


def test_a_graph_for_several_clips_at_a_time_is_refused(configure: Callable[..., CfgNode], tmp_path: Path) -> None:
    size = ("DATA.TEST_SCALE_HEIGHT", 32, "DATA.TEST_SCALE_WIDTH", 48)
    cfg, graph = configure("EXPORT.FORMAT", "ONNX", "EXPORT.BATCH_SIZE", 3, *size), tmp_path / "slowfast.onnx"
    graph.write_bytes(b"not read")
    graph.with_suffix(".json").write_text(describe_files(describe_graph(cfg, {}), graph, graph).model_dump_json())
    with pytest.raises(UserError, match=r"slowfast\.onnx: the graph takes 3 clips at a time, expected 1"):
        OpenVinoScorer(graph)


@pytest.mark.slow
def test_the_precision_is_that_of_the_configuration(eager, network) -> None:
    full, half = (scores_of(MindSporeScorer(network("TEST.AMP_LEVEL", level))) for level in ("O0", "O2"))
    assert 1e-5 < np.abs(half - full).max() < 0.05
