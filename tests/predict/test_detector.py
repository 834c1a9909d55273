"""Detectors in ONNX of every common form of output: the same two persons, found in the frame's own coordinates."""

import json
from pathlib import Path

import numpy as np
import pytest

from src.utils.errors import UserError
from tests.predict.onnx_detectors import PERSONS, detr, final, torchvision, write_detector, yolov8, yolox

pytest.importorskip("openvino", reason="OpenVINO is not installed (tests/requirements.txt)")
from src.predict.detector import OnnxDetector, suppress

# A frame of 128 x 64 goes into the networks of 64 x 64 as 64 x 32 pixels.
IMAGE = np.zeros((64, 128, 3), np.uint8)
EXPECTED = [[0.1875, 0.125, 0.3125, 0.625], [0.65625, 0.3125, 0.84375, 0.9375]]


@pytest.mark.parametrize("form", [yolov8, yolox, detr, torchvision, final])
def test_the_form_is_recognized(form, tmp_path: Path) -> None:
    boxes, scores = OnnxDetector(write_detector(tmp_path / "detector.onnx", **form())).detect(IMAGE)
    np.testing.assert_allclose(boxes, EXPECTED, atol=1e-5)
    assert (scores >= 0.79).all()


def test_a_file_beside_it_says_what_cannot_be_seen(tmp_path: Path) -> None:
    """YOLOX whose boxes are decoded within the graph has the same shape as the other."""
    rows = yolox()["output"]
    rows[0, [10, 70], :4] = PERSONS
    path = write_detector(tmp_path / "detector.onnx", output=rows)
    path.with_suffix(".json").write_text(json.dumps({"decoded": True}))
    np.testing.assert_allclose(OnnxDetector(path).detect(IMAGE)[0], EXPECTED, atol=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"form": "cells"}', "form is 'cells', expected rows, final, named"),
        ('{"persons": 1}', "persons is 1, expected the keys form, transposed"),
        ("{", "not a JSON file"),
    ],
)
def test_a_wrong_file_beside_it_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = write_detector(tmp_path / "detector.onnx", **yolox())
    path.with_suffix(".json").write_text(content)
    with pytest.raises(UserError, match=message):
        OnnxDetector(path)


def test_outputs_of_another_form_are_refused(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "detector.onnx", heat=np.zeros((1, 1, 16, 16)))
    with pytest.raises(UserError, match=r"outputs heat \(1, 1, 16, 16\); expected one array of rows"):
        OnnxDetector(path)


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "detector.onnx").write_text("no network")
    with pytest.raises(UserError, match=r"detector.onnx: OpenVINO cannot read the model"):
        OnnxDetector(tmp_path / "detector.onnx")


def test_of_boxes_that_overlap_by_more_than_half_the_best_remains() -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.4], [0.5, 0.5, 1, 1], [0.2, 0.2, 0.2, 0.9]])
    kept, scores = suppress(boxes, np.array([0.6, 0.9, 0.5, 0.99]), (100, 100))
    assert (kept.tolist(), scores.tolist()) == ([[0, 0, 0.5, 0.4], [0.5, 0.5, 1, 1]], [0.9, 0.5])
