"""Detectors in ONNX of every common form of output, all of which find the same two persons."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Center and size of two persons and a dog in pixels of 64 x 32.
PERSONS = np.array([[16, 12, 8, 16], [48, 20, 12, 20]], np.float32)
DOG = np.array([[32, 16, 10, 10]], np.float32)
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


def rtdetr() -> dict[str, np.ndarray]:
    """RT-DETR as Ultralytics exports it: 100 rows of a box, as shares of the stretched frame, and 20 class scores."""
    rows = np.zeros((100, 24), np.float32)
    rows[[4, 7, 8], :4] = np.concatenate([PERSONS, DOG]) / [64, 32, 64, 32]
    rows[[4, 7, 8], [4, 4, 20]] = 0.9, 0.8, 0.95
    return {"output0": rows[None]}


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
