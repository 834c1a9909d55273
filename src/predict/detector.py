"""Persons in a frame: two small networks whose boxes are merged, or any detector in ONNX."""

import glob
import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt
from typing_extensions import TypedDict

from src.predict.model_files import EFFICIENTDET, MOVENET, model_path
from src.predict.runtime import CompiledModel, multiplies_integers, read_model
from src.utils.errors import UserError
from src.utils.records import read_record

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

    Its products are of 8-bit integers, as in the file, where the processor has instructions for them.

    Args:
        path: the TFLite file.
        threads, precision: see `CompiledModel`.
    """

    _LEVELS, _OCTAVES, _RATIOS, _ANCHOR_SCALE = range(3, 8), (0, 1 / 3, 2 / 3), (1.0, 2.0, 0.5), 3.0
    _PERSON = 0

    def __init__(self, path: Path, threads: int = 1, precision: str = "f32") -> None:
        self._network = CompiledModel(path, threads, precision, in_float=not multiplies_integers())
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


class Layout(TypedDict, total=False):
    """What the JSON file beside a detector may say; docs/predict.md."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")
    form: Literal["rows", "final", "named"]
    transposed: bool
    objectness: bool
    decoded: bool
    person: NonNegativeInt
    box: Literal["cxcywh", "xyxy"]
    unit: Literal["pixels", "fraction"]
    activation: Literal["none", "sigmoid", "softmax"]
    channels: Literal["RGB", "BGR"]
    scale: PositiveFloat
    mean: tuple[float, float, float]
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    resize: Literal["letterbox", "corner", "stretch"]
    padding: Annotated[int, Field(ge=0, le=255)]
    size: tuple[PositiveInt, PositiveInt]


class OnnxDetector(Detector):
    """A detector of somebody else's in ONNX, in one of the common forms of output.

    `rows`: one array of rows of a box and class scores (YOLOX, YOLOv5: center, size, objectness, classes; YOLOv8:
    transposed, without objectness; RT-DETR: few, without objectness). `final`: one array of at most 1000 rows x1 y1 x2
    y2, score, class (YOLOv10, or NMS within the graph). `named`: outputs `boxes` with `scores` and perhaps `labels`, or
    with `logits` (DETR, RT-DETR). What the outputs' shapes and names do not tell can be said in a JSON file beside the
    ONNX file.

    Args:
        path: the ONNX file.
        threads: see `CompiledModel`.

    Raises:
        UserError: it does not take one picture, its outputs have another form, or the JSON file is not as expected.
    """

    _STRIDES = (8, 16, 32)
    _MOST_FINAL_ROWS = 1000
    # How far scores may be outside of 0 to 1 by rounding; corners as shares of the frame may be a little outside of it.
    _SCORE_SLACK, _LARGEST_FRACTION = 1e-2, 1.5

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._path = path
        self._network = CompiledModel(path, threads)
        shapes = [shape for _, shape in self._network.inputs]
        if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] not in (3, None):
            raise UserError(f"{path}: expected one input of images (1, 3, height, width), found {shapes}")
        told = self._told()
        self._size = tuple(told.get("size") or (extent or 640 for extent in shapes[0][2:]))
        picture = np.zeros((1, 3, *self._size), np.float32)
        try:
            outputs = self._network(picture)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UserError(f"{path}: does not take a picture {picture.shape}: {reason}") from error
        self._names = [name.lower() for name, _ in self._network.outputs]
        self._layout = self._recognized([array.shape for array in outputs]) | told
        self._is_unit_sure = False
        self._decode(outputs)  # which tells what does not fit

    def _told(self) -> Layout:
        """Return what the JSON file says, if there is one."""
        path = _layout_file(self._path)
        try:
            return read_record(path, Layout)
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise UserError(f"{path}: {error}; expected the keys {', '.join(Layout.__annotations__)}") from error

    def _recognized(self, shapes: list[tuple[int, ...]]) -> Layout:
        """Return the layout that the outputs' names and shapes tell."""
        # Whole numbers have no place for shares of one.
        scale = 1.0 if self._network.takes_integers else 1 / 255
        common = {"channels": "RGB", "scale": scale, "activation": "none"}
        if len(shapes) == 1:
            (shape,) = shapes
            if len(shape) != 3:
                raise self._unknown()
            cells = sum((self._size[0] // stride) * (self._size[1] // stride) for stride in self._STRIDES)
            undecoded, few = shape[1] == cells, shape[1] <= self._MOST_FINAL_ROWS
            transposed = not undecoded and shape[1] < shape[2]
            # Six numbers are a box, objectness and one class, or a box, score and class; the latter are few.
            final = shape[2] == 6 and not undecoded and few
            # Cells with objectness have three anchors each.
            queries = few and not (undecoded or transposed or final) and shape[1] != 3 * cells
            layout = common | {
                "form": "final" if final else "rows",
                "transposed": transposed,
                "objectness": not (transposed or queries),
                "decoded": not undecoded,
                "person": 0,
                "box": "xyxy" if final else "cxcywh",
                "unit": "fraction" if queries else "pixels",
                "resize": "stretch" if queries else "letterbox",
                "padding": 114,
            }
            # YOLOX takes pixel values as they are, in OpenCV's order, into the upper left corner.
            return layout | ({"channels": "BGR", "scale": 1.0, "resize": "corner"} if undecoded else {})
        boxes, scores = self._named("box"), self._named("score", "logit")
        if boxes is None or scores is None:
            raise self._unknown()
        logits, classes = "logit" in self._names[scores], shapes[scores][-1]
        return common | {
            "form": "named",
            "person": 1 if logits and classes in (91, 92) else 0,
            "box": "cxcywh" if logits else "xyxy",
            "unit": "fraction" if logits else "pixels",
            "activation": ("softmax" if classes == 92 else "sigmoid") if logits else "none",
            "resize": "stretch",
            "padding": 0,
        }

    def _unknown(self) -> UserError:
        found = ", ".join(f"{name} {shape}" for name, shape in self._network.outputs)
        return UserError(
            f"{self._path}: outputs {found}; expected one array of rows (boxes and class scores), or boxes with "
            f"scores or logits (docs/predict.md)"
        )

    def _misread(self, found: str) -> UserError:
        return UserError(
            f"{self._path}: {found}; say in {_layout_file(self._path).name} what its outputs are (docs/predict.md)"
        )

    def _named(self, *parts: str) -> int | None:
        """Return the index of the output whose name holds one of `parts`."""
        return next((index for index, name in enumerate(self._names) if any(part in name for part in parts)), None)

    def detect(self, image: np.ndarray, score: float = SCORE) -> Detections:
        layout = self._layout
        frame = Letterbox(image, self._size, layout["resize"], layout["padding"])
        pixels = frame.image[..., ::-1] if layout["channels"] == "RGB" else frame.image
        pixels = pixels.astype(np.float32) * np.float32(layout["scale"])
        pixels = (pixels - np.float32(layout.get("mean", 0))) / np.float32(layout.get("std", 1))
        outputs = self._network(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32))
        boxes, scores = self._decode(outputs)
        kept = scores >= score
        boxes, scores = boxes[kept].astype(np.float64), scores[kept].astype(np.float64)
        if layout["box"] == "cxcywh":
            boxes = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
        self._check_unit(boxes[scores >= SCORE])
        if layout["unit"] == "fraction":
            boxes = boxes * np.tile(self._size[::-1], 2)
        return suppress(frame.normalized(boxes), scores, image.shape[:2])

    def _check_unit(self, corners: np.ndarray) -> None:
        """Raise if the first boxes that count are in pixels where shares of the frame are expected, or the reverse."""
        if self._is_unit_sure or not len(corners):
            return
        if (corners.max() <= self._LARGEST_FRACTION) != (self._layout["unit"] == "fraction"):
            raise self._misread(f"corners reach {corners.max():g}, expected them in the unit {self._layout['unit']}")
        self._is_unit_sure = True

    def _decode(self, outputs: list[np.ndarray]) -> Detections:
        """Return boxes as the network gives them, and the scores of persons: (n, 4) and (n,)."""
        decode = {"rows": self._rows, "final": self._final, "named": self._pair}[self._layout["form"]]
        boxes, scores = decode(outputs)
        if boxes.shape != (len(scores), 4):
            raise self._unknown()
        return boxes, scores

    def _final(self, outputs: list[np.ndarray]) -> Detections:
        """Return boxes and scores of persons from rows of box, score, class."""
        rows = outputs[0][0]
        scores, classes = self._probabilities(rows[:, 4]), rows[:, 5]
        if (classes != np.round(classes)).any():
            raise self._misread("the sixth numbers of its rows are no classes")
        return rows[:, :4], np.where(classes == self._layout["person"], scores, 0.0)

    def _rows(self, outputs: list[np.ndarray]) -> Detections:
        """Return boxes and scores of persons from rows of box[, objectness], classes."""
        rows = outputs[0][0].T if self._layout["transposed"] else outputs[0][0]
        boxes, classes = rows[:, :4], self._probabilities(rows[:, 4:])
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
        person = self._of_persons(classes)
        return boxes, np.where(person >= classes.max(axis=1), person * objectness, 0.0)

    def _pair(self, outputs: list[np.ndarray]) -> Detections:
        """Return boxes and scores of persons from named outputs."""
        boxes, scores = outputs[self._named("box")], outputs[self._named("score", "logit")]
        if boxes.ndim != 3 or scores.shape[:2] != boxes.shape[:2]:
            raise self._unknown()
        boxes, scores = boxes[0], self._probabilities(scores[0])
        if scores.ndim > 1:
            return boxes, self._of_persons(scores)
        labels = self._named("label", "class")
        return boxes, scores if labels is None else np.where(outputs[labels][0] == self._layout["person"], scores, 0.0)

    def _of_persons(self, scores: np.ndarray) -> np.ndarray:
        """Return the column of persons of scores (n, classes)."""
        if (person := self._layout["person"]) >= scores.shape[1]:
            raise self._misread(f"class {person} is to be the person, and there are {scores.shape[1]} classes")
        return scores[:, person]

    def _probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Return scores (n, ...) behind their activation, having checked that they are probabilities."""
        if self._layout["activation"] == "sigmoid":
            scores = 1 / (1 + np.exp(-scores))
        elif self._layout["activation"] == "softmax":
            powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
            scores = powers / powers.sum(axis=-1, keepdims=True)
        low, high = scores.min(initial=0), scores.max(initial=0)
        if not (low >= -self._SCORE_SLACK and high <= 1 + self._SCORE_SLACK):
            raise self._misread(f"scores go from {low:g} to {high:g}, expected 0 to 1")
        return scores


def detector_files(path: Path) -> list[Path]:
    """Return the files that a detector's boxes depend on: the graph, its weights where they lie beside it, its layout.

    Weights in a file of their own have the graph's name with an ending, as PyTorch writes them.
    """
    weights = sorted(path.parent.glob(f"{glob.escape(path.name)}?*"))
    return [file for file in (path, *weights, _layout_file(path)) if file.is_file()]


def _layout_file(path: Path) -> Path:
    return path.with_suffix(".json")


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
