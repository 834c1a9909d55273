"""Persons in a frame: two small networks whose boxes are merged, or any detector in ONNX."""

import json
import math
from abc import ABC, abstractmethod
from pathlib import Path

import cv2
import numpy as np

from src.predict.model_files import EFFICIENTDET, MOVENET, model_path
from src.predict.runtime import CompiledModel, read_model
from src.utils.errors import UserError

SCORE = 0.4
"""Boxes below this score are left out."""
_NMS_IOU = 0.5

Detections = tuple[np.ndarray, np.ndarray]
"""Boxes, normalized x1 y1 x2 y2: float64 (n, 4); their scores: float64 (n,)."""


class Detector(ABC):
    """Finds the persons of a frame."""

    @abstractmethod
    def detect(self, image: np.ndarray, score: float = SCORE) -> Detections:
        """Return the persons of a frame.

        Args:
            image: uint8 (height, width, 3), BGR.
            score: the minimum score.
        """


class PersonDetector(Detector):
    """Boxes of several detectors, merged: of those that overlap by more than half, the best remains."""

    def __init__(self, *detectors: Detector) -> None:
        self._detectors = detectors

    def detect(self, image: np.ndarray, score: float = SCORE) -> Detections:
        parts = [detector.detect(image, score) for detector in self._detectors]
        return suppress(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)), image.shape[:2])


class MoveNet(Detector):
    """MoveNet MultiPose: a heat map of body centers, and at each of them a box.

    The network is cut off at its heads: what follows them in the file keeps six persons at most.

    Args:
        path: the TFLite file.
        threads, precision: see `CompiledModel`.
        long_side: frames are scaled to this.
    """

    _HEADS = ("Sigmoid", "box_scale_0/conv2d_5/BiasAdd", "box_offset_0/conv2d_6/BiasAdd")
    _STRIDE, _MULTIPLE, _PEAK = 4, 32, 5

    def __init__(self, path: Path, threads: int = 1, precision: str = "f32", long_side: int = 256) -> None:
        self._network = CompiledModel(read_model(path, self._HEADS), threads, precision)
        self._long_side = long_side

    def detect(self, image: np.ndarray, score: float = SCORE) -> Detections:
        ratio = self._long_side / max(image.shape[:2])
        height, width = (math.ceil(extent * ratio / self._MULTIPLE) * self._MULTIPLE for extent in image.shape[:2])
        frame = Letterbox(image, (height, width))
        heat, scale, offset = (array[0] for array in self._network(frame.image[None, ..., ::-1]))
        heat = heat[..., 0]
        peaks = heat >= cv2.dilate(heat, np.ones((self._PEAK, self._PEAK), np.uint8))
        rows, columns = np.nonzero(peaks & (heat >= score))
        # Heads are y before x, in cells.
        centers = np.stack([rows, columns], axis=1) + offset[rows, columns]
        halves = np.maximum(scale[rows, columns], 0) / 2
        corners = self._STRIDE * np.concatenate([centers - halves, centers + halves], axis=1)[:, [1, 0, 3, 2]]
        return frame.normalized(corners), heat[rows, columns].astype(np.float64)


class EfficientDet(Detector):
    """EfficientDet-Lite0, its class `person`.

    Args:
        path: the TFLite file.
        threads, precision: see `CompiledModel`.
    """

    _LEVELS, _OCTAVES, _RATIOS, _ANCHOR_SCALE = range(3, 8), (0, 1 / 3, 2 / 3), (1.0, 2.0, 0.5), 3.0
    _PERSON = 0

    def __init__(self, path: Path, threads: int = 1, precision: str = "f32") -> None:
        self._network = CompiledModel(path, threads, precision, in_float=True)
        _, (_, height, width, _) = self._network.inputs[0]
        self._size = (height, width)
        self._anchors = np.concatenate([self._level_anchors(level) for level in self._LEVELS])

    def _level_anchors(self, level: int) -> np.ndarray:
        """Return the anchors of a feature map as center y, x, height, width: (cells * 9, 4)."""
        rows, columns = (math.ceil(extent / 2**level) for extent in self._size)
        steps = np.array([self._size[0] / rows, self._size[1] / columns])
        cells = (np.stack(np.mgrid[:rows, :columns], axis=-1).reshape(-1, 1, 2) + 0.5) * steps
        shapes = np.array(
            [
                (steps[0] * self._ANCHOR_SCALE * 2**octave) * np.array([ratio**-0.5, ratio**0.5])
                for octave in self._OCTAVES
                for ratio in self._RATIOS
            ]
        )
        count, kinds = len(cells), len(shapes)
        return np.concatenate(
            [np.broadcast_to(cells, (count, kinds, 2)), np.broadcast_to(shapes, (count, kinds, 2))], axis=2
        ).reshape(-1, 4)

    def detect(self, image: np.ndarray, score: float = SCORE) -> Detections:
        frame = Letterbox(image, self._size)
        outputs = self._network(np.ascontiguousarray(frame.image[None, ..., ::-1]))
        scores, offsets = sorted((array[0] for array in outputs), key=lambda array: -array.shape[-1])
        persons = np.flatnonzero(scores[:, self._PERSON] >= score)
        anchors, offsets = self._anchors[persons], offsets[persons]
        centers = offsets[:, :2] * anchors[:, 2:] + anchors[:, :2]
        halves = np.exp(offsets[:, 2:]) * anchors[:, 2:] / 2
        corners = np.concatenate([centers - halves, centers + halves], axis=1)[:, [1, 0, 3, 2]]
        return frame.normalized(corners), scores[persons, self._PERSON].astype(np.float64)


class OnnxDetector(Detector):
    """A detector of somebody else's in ONNX, in one of the two common forms of output.

    `rows`: one array of rows of a box and class scores (YOLOX, YOLOv5: center, size, objectness, classes; YOLOv8:
    transposed, without objectness). `final`: one array of at most 1000 rows x1 y1 x2 y2, score, class (YOLOv10, or NMS
    within the graph). `named`: outputs `boxes` with `scores` and perhaps `labels`, or with `logits`
    (DETR, RT-DETR). What the outputs' shapes and names do not tell can be said in a JSON file beside the ONNX file.

    Args:
        path: the ONNX file.
        threads: see `CompiledModel`.

    Raises:
        UserError: the outputs have another form, or the JSON file is not as expected.
    """

    _SETTINGS = {
        "form": ("rows", "final", "named"),
        "transposed": bool,
        "objectness": bool,
        "decoded": bool,
        "person": int,
        "box": ("cxcywh", "xyxy"),
        "unit": ("pixels", "fraction"),
        "activation": ("none", "sigmoid", "softmax"),
        "channels": ("RGB", "BGR"),
        "scale": float,
        "mean": list,
        "std": list,
        "resize": ("letterbox", "corner", "stretch"),
        "padding": int,
        "size": list,
    }
    _STRIDES = (8, 16, 32)
    _MOST_FINAL_ROWS = 1000

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._path = path
        self._network = CompiledModel(path, threads)
        shapes = [shape for _, shape in self._network.inputs]
        if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] not in (3, None):
            raise UserError(f"{path}: expected one input of images (1, 3, height, width), found {shapes}")
        told = self._told()
        self._size = tuple(told.get("size") or (extent or 640 for extent in shapes[0][2:]))
        self._layout = self._recognized() | told

    def _told(self) -> dict:
        """Return what the JSON file says, if there is one."""
        path = self._path.with_suffix(".json")
        if not path.is_file():
            return {}
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: not a JSON file: {error}") from error
        for name, value in told.items() if isinstance(told, dict) else [("", None)]:
            kind = self._SETTINGS.get(name)
            good = value in kind if isinstance(kind, tuple) else kind is not None and isinstance(value, (kind, int))
            if not good:
                options = ", ".join(kind) if isinstance(kind, tuple) else kind.__name__ if kind else None
                expected = f"expected {options}" if options else f"expected the keys {', '.join(self._SETTINGS)}"
                raise UserError(f"{path}: {name or 'content'} is {value!r}, {expected}")
        return told

    def _recognized(self) -> dict:
        """Return the layout that the outputs' names and shapes tell."""
        outputs = dict(self._network.outputs)
        if len(outputs) == 1:
            (shape,) = outputs.values()
            if len(shape) != 3:
                raise self._unknown()
            cells = sum((self._size[0] // stride) * (self._size[1] // stride) for stride in self._STRIDES)
            undecoded = shape[1] == cells
            transposed = not undecoded and None not in shape and shape[1] < shape[2]
            # Six numbers are a box, objectness and one class, or a box, score and class; the latter are few.
            final = shape[2] == 6 and not undecoded and (shape[1] or 0) <= self._MOST_FINAL_ROWS
            return {
                "form": "final" if final else "rows",
                "transposed": transposed,
                "objectness": not transposed,
                "decoded": not undecoded,
                "person": 0,
                "box": "xyxy" if final else "cxcywh",
                "unit": "pixels",
                # YOLOX takes pixel values as they are, in OpenCV's order, into the upper left corner.
                **(
                    {"channels": "BGR", "scale": 1.0, "resize": "corner"}
                    if undecoded
                    else {"channels": "RGB", "scale": 1 / 255, "resize": "letterbox"}
                ),
                "padding": 114,
            }
        boxes, scores = self._named("box"), self._named("score", "logit")
        if boxes is None or scores is None:
            raise self._unknown()
        logits = "logit" in self._network.outputs[scores][0].lower()
        classes = self._network.outputs[scores][1][-1]
        return {
            "form": "named",
            "person": 1 if logits and classes in (91, 92) else 0,
            "box": "cxcywh" if logits else "xyxy",
            "unit": "fraction" if logits else "pixels",
            "activation": ("softmax" if classes == 92 else "sigmoid") if logits else "none",
            "channels": "RGB",
            "scale": 1 / 255,
            "resize": "stretch",
            "padding": 0,
        }

    def _unknown(self) -> UserError:
        found = ", ".join(f"{name} {shape}" for name, shape in self._network.outputs)
        return UserError(
            f"{self._path}: outputs {found}; expected one array of rows (boxes and class scores), or boxes with "
            f"scores or logits (docs/predict.md)"
        )

    def _named(self, *parts: str) -> int | None:
        """Return the index of the output whose name holds one of `parts`."""
        names = [name.lower() for name, _ in self._network.outputs]
        return next((index for index, name in enumerate(names) if any(part in name for part in parts)), None)

    def detect(self, image: np.ndarray, score: float = SCORE) -> Detections:
        layout = self._layout
        frame = Letterbox(image, self._size, layout["resize"], layout["padding"])
        pixels = frame.image[..., ::-1] if layout["channels"] == "RGB" else frame.image
        pixels = pixels.astype(np.float32) * np.float32(layout["scale"])
        pixels = (pixels - np.float32(layout.get("mean", 0))) / np.float32(layout.get("std", 1))
        outputs = self._network(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32))
        decode = {"rows": self._rows, "final": self._final, "named": self._pair}[layout["form"]]
        boxes, scores = decode(outputs)
        kept = scores >= score
        boxes, scores = boxes[kept].astype(np.float64), scores[kept].astype(np.float64)
        if layout["box"] == "cxcywh":
            boxes = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
        if layout["unit"] == "fraction":
            boxes = boxes * np.tile(self._size[::-1], 2)
        return suppress(frame.normalized(boxes), scores, image.shape[:2])

    def _final(self, outputs: list[np.ndarray]) -> Detections:
        """Return boxes and scores of persons from rows of box, score, class."""
        rows = outputs[0][0]
        return rows[:, :4], np.where(rows[:, 5] == self._layout["person"], rows[:, 4], 0.0)

    def _rows(self, outputs: list[np.ndarray]) -> Detections:
        """Return boxes and scores of persons from rows of box[, objectness], classes."""
        rows = outputs[0][0].T if self._layout["transposed"] else outputs[0][0]
        boxes, classes = rows[:, :4], rows[:, 4:]
        objectness = 1.0
        if self._layout["objectness"]:
            objectness, classes = classes[:, 0], classes[:, 1:]
        if not self._layout["decoded"]:
            cells, steps = [], []
            for stride in self._STRIDES:
                grid = np.mgrid[: self._size[0] // stride, : self._size[1] // stride]
                cells.append(np.stack(grid[::-1], axis=-1).reshape(-1, 2))
                steps.append(np.full((len(cells[-1]), 1), stride))
            step = np.concatenate(steps)
            boxes = np.concatenate([(boxes[:, :2] + np.concatenate(cells)) * step, np.exp(boxes[:, 2:]) * step], axis=1)
        # A row is a person where no other class is likelier.
        person = classes[:, self._layout["person"]]
        return boxes, np.where(person >= classes.max(axis=1), person * objectness, 0.0)

    def _pair(self, outputs: list[np.ndarray]) -> Detections:
        """Return boxes and scores of persons from named outputs."""
        boxes, scores = outputs[self._named("box")][0], outputs[self._named("score", "logit")][0]
        person = self._layout["person"]
        if scores.ndim == 1:
            labels = self._named("label", "class")
            return boxes, scores if labels is None else np.where(outputs[labels][0] == person, scores, 0.0)
        if self._layout["activation"] == "sigmoid":
            scores = 1 / (1 + np.exp(-scores))
        elif self._layout["activation"] == "softmax":
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores = powers / powers.sum(axis=1, keepdims=True)
        return boxes, scores[:, person]


class Letterbox:
    """A frame scaled into a size and padded, and the way back for boxes.

    Args:
        image: uint8 (height, width, 3).
        size: height and width.
        resize: `letterbox` (aspect kept, centered), `corner` (aspect kept, upper left) or `stretch`.
        padding: value of the border.

    Attributes:
        image: uint8 (*size, 3).
    """

    def __init__(self, image: np.ndarray, size: tuple[int, int], resize: str = "letterbox", padding: int = 0) -> None:
        height, width = image.shape[:2]
        ratio = min(size[0] / height, size[1] / width)
        inner = size if resize == "stretch" else (max(1, round(height * ratio)), max(1, round(width * ratio)))
        top, left = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2) if resize == "letterbox" else (0, 0)
        self.image = np.full((*size, 3), padding, np.uint8)
        self.image[top : top + inner[0], left : left + inner[1]] = cv2.resize(image, (inner[1], inner[0]))
        self._shift = np.array([left, top, left, top], np.float64)
        self._extent = np.array([inner[1], inner[0], inner[1], inner[0]], np.float64)

    def normalized(self, corners: np.ndarray) -> np.ndarray:
        """Return boxes in pixels of the scaled frame as fractions of the original: float64 (n, 4), within [0, 1]."""
        return np.clip((corners.reshape(-1, 4) - self._shift) / self._extent, 0.0, 1.0)


def suppress(boxes_norm: np.ndarray, scores: np.ndarray, size: tuple[int, int]) -> Detections:
    """Return the boxes that no better one overlaps by more than half, best first; empty ones are left out."""
    full = (boxes_norm[:, 2:] > boxes_norm[:, :2]).all(axis=1)
    boxes_norm, scores = boxes_norm[full], scores[full]
    if not len(scores):
        return np.zeros((0, 4)), np.zeros(0)
    boxes = boxes_norm * np.array([size[1], size[0], size[1], size[0]])
    corners_and_sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxes(corners_and_sizes.tolist(), scores.tolist(), 0.0, _NMS_IOU)
    kept = np.asarray(kept, int).reshape(-1)
    return boxes_norm[kept], scores[kept]


def default_detector(precision: str = "f32") -> PersonDetector:
    """Return MoveNet and EfficientDet together: the one misses close-ups, the other people in sport.

    Args:
        precision: `f32` or `bf16`.

    Raises:
        UserError: their files cannot be fetched.
    """
    return PersonDetector(
        MoveNet(model_path(MOVENET), precision=precision), EfficientDet(model_path(EFFICIENTDET), precision=precision)
    )
