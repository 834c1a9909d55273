"""Detectors in ONNX of every common form of output: the same two persons, found in the frame's own coordinates."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from src.utils.errors import UserError
from tests.predict.onnx_detectors import PERSONS, detr, final, rtdetr, torchvision, write_detector, yolov8, yolox

pytest.importorskip("openvino", reason="OpenVINO is not installed (tests/requirements.txt)")
from src.predict.detector import OnnxDetector, suppress

# A frame of 128 x 64 goes into the networks of 64 x 64 as 64 x 32 pixels.
IMAGE = np.zeros((64, 128, 3), np.uint8)
EXPECTED = [[0.1875, 0.125, 0.3125, 0.625], [0.65625, 0.3125, 0.84375, 0.9375]]


@pytest.mark.parametrize("form", [yolov8, yolox, rtdetr, detr, torchvision, final])
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
        ('{"form": "cells"}', "form: Input should be 'rows', 'final' or 'named'"),
        ('{"persons": 1}', "persons: .* expected the keys form, transposed"),
        ('{"size": [64]}', r"size\.1: Field required"),
        ('{"person": 80}', r"detector\.onnx: class 80 is to be the person, and there are 80 classes; say in det"),
        ("{", r"detector\.json: Invalid JSON"),
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


def scored(low: float, high: float) -> dict[str, np.ndarray]:
    rows = yolov8()["output0"]
    rows[0, 5:] = low
    rows[0, 4, 3] = high
    return {"output0": rows}


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (scored(-4.0, 2.0), "scores go from -4 to 2, expected 0 to 1; say in detector.json"),  # logits
        (scored(40.0, 0.9), "scores go from 0 to 40, expected 0 to 1"),  # key points, as of a network for poses
        ({"output0": final()["output0"] + 0.04}, "the sixth numbers of its rows are no classes"),
        ({name: array[0] for name, array in torchvision().items()}, r"outputs boxes \(3, 4\), labels \(3,\)"),
    ],
)
def test_outputs_that_are_no_boxes_and_scores_of_persons_are_refused(
    tmp_path: Path, outputs: dict[str, np.ndarray], message: str
) -> None:
    path = write_detector(tmp_path / "detector.onnx", **outputs)
    with pytest.raises(UserError, match=message):
        OnnxDetector(path)


def test_boxes_in_another_unit_are_refused(tmp_path: Path) -> None:
    outputs = torchvision()
    detector = OnnxDetector(write_detector(tmp_path / "detector.onnx", **outputs | {"boxes": outputs["boxes"] / 64}))
    with pytest.raises(UserError, match=r"corners reach 0\.9375, expected them in the unit pixels; say in detector"):
        detector.detect(IMAGE)


def test_scores_behind_no_activation_get_the_one_that_is_named(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "detector.onnx", **scored(-4.0, 3.0))
    path.with_suffix(".json").write_text('{"activation": "sigmoid"}')
    np.testing.assert_allclose(OnnxDetector(path).detect(IMAGE, 0.9)[1], [1 / (1 + np.exp(-3.0))], rtol=1e-6)


def test_a_network_that_takes_whole_numbers_gets_pixels_from_0_to_255(tmp_path: Path) -> None:
    """Shares of one would all be cut to 0: a black picture."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["floats"], ["brightest"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["brightest", "share"], ["scores"]),
        helper.make_node("Identity", ["given"], ["boxes"]),
    ]
    outputs = {"boxes": (1, 1, 4), "scores": (1, 1)}
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, (1, 3, 64, 64))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [
            numpy_helper.from_array(np.array([[[8, 8, 40, 40]]], np.float32), "given"),
            numpy_helper.from_array(np.array([[1 / 255]], np.float32), "share"),
        ],
    )
    path = tmp_path / "whole.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    _, scores = OnnxDetector(path).detect(np.full((64, 64, 3), 204, np.uint8))
    np.testing.assert_allclose(scores, [0.8], rtol=1e-6)


def test_a_network_for_several_pictures_at_a_time_is_refused(tmp_path: Path) -> None:
    path = write_detector(tmp_path / "detector.onnx", **yolov8())
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, path)
    with pytest.raises(UserError, match=r"detector.onnx: does not take a picture \(1, 3, 64, 64\)"):
        OnnxDetector(path)


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "detector.onnx").write_text("no network")
    with pytest.raises(UserError, match=r"detector.onnx: OpenVINO cannot read the model"):
        OnnxDetector(tmp_path / "detector.onnx")


def test_of_boxes_that_overlap_by_more_than_half_the_best_remains() -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.4], [0.5, 0.5, 1, 1], [0.2, 0.2, 0.2, 0.9]])
    kept, scores = suppress(boxes, np.array([0.6, 0.9, 0.5, 0.99]), (100, 100))
    assert (kept.tolist(), scores.tolist()) == ([[0, 0, 0.5, 0.4], [0.5, 0.5, 1, 1]], [0.9, 0.5])
