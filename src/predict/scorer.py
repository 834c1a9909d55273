"""What each person of a key frame does: the network on the clip around it.

Clips are made as in testing (`src.datasets.transform`), so scores are those of eval.py for the same boxes.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from fvcore.common.config import CfgNode

from src.checkpoint.class_names import class_names
from src.datasets import transform
from src.deploy.manifest import manifest_config, read_manifest
from src.predict import runtime
from src.predict.runtime import CompiledModel, openvino
from src.utils.errors import UserError
from src.utils.files import sha256_of

# Boxes are padded to a multiple of this: every new number of boxes compiles the network again.
_BOXES_AT_ONCE = 16


class Scorer(ABC):
    """Scores boxes on clips.

    Attributes:
        cfg: the configuration of the network.
        name: which network this is, for people.
        digest: of all that scores depend on beside the video and its boxes: weights, configuration, precision.
        class_names: those that it was trained with, by class id; empty where its files do not say.
    """

    cfg: CfgNode
    name: str
    digest: str
    class_names: dict[int, str]

    @abstractmethod
    def clip_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the clips of a video whose frames have a height and width."""

    @abstractmethod
    def _run(self, fast: np.ndarray, boxes_px: np.ndarray) -> np.ndarray:
        """Return scores (k, classes) of a clip (1, 3, time, height, width) and boxes (1, k, 4), k as `_capacity`."""

    @property
    def capacity(self) -> int:
        """How many boxes one call takes."""
        return _BOXES_AT_ONCE

    def clip_steps(self) -> np.ndarray:
        """Return the frames of a clip, at AVA.FPS frames a second, counted from the key frame: int64 (time,)."""
        data = self.cfg.DATA
        return np.arange(data.NUM_FRAMES) * data.SAMPLING_RATE - data.NUM_FRAMES * data.SAMPLING_RATE // 2

    def small(self, image: np.ndarray) -> np.ndarray:
        """Return a frame scaled to the size of clips; clips share such frames."""
        height, width = self.clip_size(image.shape[:2])
        if image.shape[:2] == (height, width):
            return image
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)

    def score(self, images: Sequence[np.ndarray], boxes_norm: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
        """Return what the persons of a key frame do.

        Args:
            images: the clip's frames as `small` gives them, one for each of `clip_steps`.
            boxes_norm: float64 (n, 4).
            frame_size: height and width of the video's own frames.

        Returns:
            float32 (n, classes): probabilities.
        """
        data, size = self.cfg.DATA, images[0].shape[:2]
        fast = np.empty((1, 3, len(images), *size), np.float32)
        transform.write_clip(images, transform.normalization_table(data.MEAN, data.STD), fast[0])
        scale = transform.stretch_boxes if data.TEST_SCALE_HEIGHT else transform.scale_boxes
        boxes = scale(transform.boxes_to_pixels(boxes_norm, frame_size), frame_size, size)
        boxes = transform.clip_boxes(boxes, size).astype(np.float32)
        scores = np.empty((len(boxes), self.cfg.MODEL.NUM_CLASSES), np.float32)
        for first in range(0, len(boxes), self.capacity):
            some = boxes[first : first + self.capacity]
            padded = np.zeros((1, self.capacity, 4), np.float32)
            padded[0, : len(some)] = some
            scores[first : first + len(some)] = self._run(fast, padded)[: len(some)]
        if self.cfg.MODEL.HEAD_ACT == "none":
            scores = 1 / (1 + np.exp(-scores))
        return scores

    def _slow(self, fast: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(fast[:, :, transform.slow_frames(fast.shape[2], self.cfg.SLOWFAST.ALPHA)])


class MindSporeScorer(Scorer):
    """A checkpoint, run by MindSpore.

    Args:
        cfg: the configuration; TEST.CHECKPOINT_FILE_PATH names the checkpoint.

    Raises:
        UserError: the checkpoint does not fit.
    """

    def __init__(self, cfg: CfgNode) -> None:
        import mindspore as ms

        from src.checkpoint.loading import load_arrays
        from src.checkpoint.mindspore_format import load_checkpoint
        from src.engine.checkpointer import averaged_weights
        from src.engine.mixed_precision import to_mixed_precision
        from src.models.build import build_model, device_layers

        path, level = Path(cfg.TEST.CHECKPOINT_FILE_PATH), cfg.TEST.AMP_LEVEL
        self.cfg, self.name = cfg, path.name
        arrays = load_checkpoint(path)
        self.class_names = class_names(arrays)
        network = build_model(cfg, device_layers(cfg, level))
        self._network = to_mixed_precision(network, level, ms.get_context("device_target"))
        weights = averaged_weights(arrays, str(path)) if cfg.TEST.USE_EMA else arrays
        load_arrays(self._network, weights, str(path))
        self._network.set_train(False)
        self.digest = f"{sha256_of(path)}-{_config_digest(cfg)}"

    def clip_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        return _test_size(self.cfg, frame_size)

    def _run(self, fast: np.ndarray, boxes_px: np.ndarray) -> np.ndarray:
        import mindspore as ms

        return self._network(*(ms.Tensor(array) for array in (self._slow(fast), fast, boxes_px))).asnumpy()[0]


class OpenVinoScorer(Scorer):
    """An exported graph (slowfast.onnx with its slowfast.json), run by OpenVINO; MindSpore is not needed.

    Args:
        path: the graph.
        precision: `f32` or `bf16`.
        threads: 0: one for each core.

    Raises:
        UserError: the files do not belong together, or the graph is no ONNX.
    """

    def __init__(self, path: Path, precision: str = "f32", threads: int = 0) -> None:
        manifest = read_manifest(path)
        if manifest.format != "ONNX":
            raise UserError(f"{path}: the graph is {manifest.format}, expected ONNX (export.py EXPORT.FORMAT ONNX)")
        clips = manifest.inputs[0].shape[0]
        if clips > 1:
            raise UserError(
                f"{path}: the graph takes {clips} clips at a time, expected 1 (export.py EXPORT.BATCH_SIZE 1, or "
                "EXPORT.DYNAMIC True)"
            )
        self.cfg, self.name = manifest_config(manifest, "."), path.name
        self.class_names = dict(manifest.class_names)
        self.digest = f"{manifest.model.sha256}-{_config_digest(self.cfg)}-{precision}"
        _, self._fast, self._boxes = manifest.inputs
        self._path, self._precision, self._threads = path, precision, threads
        self._compiled: dict[tuple[int, int], CompiledModel] = {}

    @property
    def capacity(self) -> int:
        boxes = self._boxes.shape[1]
        return boxes if _is_fixed(boxes) else _BOXES_AT_ONCE

    def clip_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        height, width = self._fast.shape[3:]
        return (height, width) if _is_fixed(height) else _test_size(self.cfg, frame_size)

    def _run(self, fast: np.ndarray, boxes_px: np.ndarray) -> np.ndarray:
        size = fast.shape[3:]
        if size not in self._compiled:
            slow = self._slow(fast)
            model = runtime.read_model(self._path)
            # Known shapes compile to faster code.
            model.reshape(
                {port: list(array.shape) for port, array in zip(model.inputs, (slow, fast, boxes_px), strict=True)}
            )
            self._compiled = {size: CompiledModel(model, self._threads, self._precision)}
        clips = [array.astype(self._fast.dtype) for array in (self._slow(fast), fast)]
        return self._compiled[size](*clips, boxes_px)[0][0]


def _config_digest(cfg: CfgNode) -> str:
    """Return the SHA-256 of what a configuration says of the network and its clips."""
    nodes = (cfg.MODEL, cfg.RESNET, cfg.NONLOCAL, cfg.SLOWFAST, cfg.BN, cfg.DETECTION, cfg.DATA)
    texts = [node.dump() for node in nodes] + [str((cfg.AVA.FPS, cfg.TEST.AMP_LEVEL, cfg.TEST.USE_EMA))]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def _is_fixed(extent: object) -> bool:
    return isinstance(extent, int) and extent > 0


def _test_size(cfg: CfgNode, frame_size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the test clip of frames of `frame_size`."""
    if cfg.DATA.TEST_SCALE_HEIGHT:
        return cfg.DATA.TEST_SCALE_HEIGHT, cfg.DATA.TEST_SCALE_WIDTH
    return transform.short_side_size(frame_size, cfg.DATA.TEST_CROP_SIZE)


def supports_bfloat16() -> bool:
    """Whether this processor computes in bfloat16."""
    return "BF16" in openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
