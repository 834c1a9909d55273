"""Detectors in ONNX of every common form of output: the same two persons, found in the frame's own coordinates."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from src.utils.errors import UserError

pytest.importorskip("openvino", reason="OpenVINO is not installed (tests/requirements.txt)")
from src.predict.detector import OnnxDetector, suppress

# A frame of 128 x 64 goes into a network of 64 x 64 as 64 x 32 pixels.
IMAGE = np.zeros((64, 128, 3), np.uint8)
# Center and size of two persons and a dog in pixels of 64 x 32.
PERSONS = np.array([[16, 12, 8, 16], [48, 20, 12, 20]], np.float32)
DOG = np.array([[32, 16, 10, 10]], np.float32)
EXPECTED = [[0.1875, 0.125, 0.3125, 0.625], [0.65625, 0.3125, 0.84375, 0.9375]]
TOP = np.array([0, 16, 0, 0], np.float32)  # a letterbox has 16 rows above


def corners(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)


def write_detector(path: Path, **outputs: np.ndarray) -> Path:
    """A network whose outputs are what is given, whatever the picture."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["nothing"]),
    ]
    for name in outputs:
        nodes.append(helper.make_node("Add", [f"{name}_values", "nothing"], [name]))
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 64, 64))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape) for name, values in outputs.items()],
        [numpy_helper.from_array(values.astype(np.float32), f"{name}_values") for name, values in outputs.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def yolov8() -> dict[str, np.ndarray]:
    """Boxes and 20 class scores of each of 84 cells, transposed, letterboxed."""
    rows = np.zeros((84, 24), np.float32)
    rows[3, :4], rows[3, 4] = PERSONS[0] + TOP, 0.9
    rows[9, :4], rows[9, 4] = PERSONS[1] + TOP, 0.8
    rows[20, :4], rows[20, [4, 20]] = DOG[0] + TOP, (0.5, 0.7)
    return {"output0": rows.T[None]}


def yolox() -> dict[str, np.ndarray]:
    """Cells of strides 8, 16 and 32 that are not decoded; the frame lies in the upper left corner."""
    rows = np.zeros((84, 85), np.float32)
    # Cell (x 2, y 1) of stride 8, and cell (x 2, y 1) of stride 16, whose first is number 64.
    for number, box, cell, step, score in ((10, PERSONS[0], (2, 1), 8, 0.9), (64 + 6, PERSONS[1], (2, 1), 16, 0.8)):
        rows[number, :2], rows[number, 2:4] = box[:2] / step - cell, np.log(box[2:] / step)
        rows[number, 4:6] = score, 1.0
    return {"output": rows[None]}


def detr() -> dict[str, np.ndarray]:
    """COCO's 91 classes and none, by softmax; boxes as shares of the stretched frame."""
    logits = np.full((100, 92), -5, np.float32)
    logits[:, 91] = 5
    logits[4, [1, 91]], logits[7, [1, 91]], logits[8, [18, 91]] = (5, -5), (4, -5), (5, -5)
    boxes = np.full((100, 4), 0.5, np.float32)
    boxes[[4, 7, 8]] = np.concatenate([PERSONS, DOG]) / [64, 32, 64, 32]
    return {"logits": logits[None], "pred_boxes": boxes[None]}


def torchvision() -> dict[str, np.ndarray]:
    """Boxes in pixels of the stretched frame, with labels and scores."""
    boxes = corners(np.concatenate([PERSONS, DOG])) * [1, 2, 1, 2]
    return {"boxes": boxes[None], "labels": np.array([[0.0, 0, 16]]), "scores": np.array([[0.9, 0.8, 0.99]])}


def final() -> dict[str, np.ndarray]:
    """Few rows of corners, score and class, as behind NMS."""
    boxes = corners(np.concatenate([PERSONS, DOG]) + TOP)
    return {"output0": np.concatenate([boxes, [[0.9, 0], [0.8, 0], [0.95, 16]]], axis=1)[None]}


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
