"""Whole runs: scores are eval.py's, and nothing changes when a run is stopped and goes on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fvcore.common.config import CfgNode

from src.ava.box_csv import read_detections
from src.ava.box_table import BoxTable
from src.checkpoint.loading import load_into
from src.checkpoint.mindspore_format import load_checkpoint
from src.datasets.ava_dataset import AvaDataset
from src.datasets.build import build_test_loader
from src.engine.evaluation import evaluate
from src.evaluation.build import build_evaluator
from src.predict.options import Options
from src.predict.run import predict
from tests.tiny import TinyNetwork

pytestmark = pytest.mark.usefixtures("tiny_network")


def scores_of(table: BoxTable) -> dict[tuple, float]:
    boxes = [
        (table.video_names[table.video[at]], *table.second[at : at + 1], *table.boxes_norm[at]) for at in table.row_box
    ]
    return {
        (*box, int(class_id)): float(score)
        for box, class_id, score in zip(boxes, table.row_class, table.row_score, strict=True)
    }


def test_scores_are_those_of_evaluation(
    configure: Callable[..., CfgNode], options: Callable[..., Options], held_out: Path, checkpoint: Path
) -> None:
    cfg = configure(
        "DATA.SOURCE", "video", "AVA.VIDEO_DIR", "videos", "AVA.DETECTION_SCORE_THRESH", 0.0, "AVA.EXCLUSION_FILE", ""
    )
    dataset = AvaDataset(cfg, "test")
    evaluator = build_evaluator(cfg, dataset.frames.names, 1)
    network = TinyNetwork(cfg)
    load_into(network, load_checkpoint(checkpoint))
    evaluate(network, build_test_loader(dataset, 0, 1), evaluator)
    expected = scores_of(evaluator.detections())

    assert predict(options(video_out=False), held_out) == 0
    found = scores_of(read_detections(options().out / "detections.csv"))
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[key] for key in expected], list(expected.values()), atol=1e-4)
    assert np.ptp(list(expected.values())) > 0.2
