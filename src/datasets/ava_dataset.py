"""The AVA dataset, or one in its format: one key frame to the arrays of one clip."""

import contextlib
import logging
import math
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode

from src.ava.box_csv import read_ground_truth
from src.ava.box_table import BoxTable
from src.ava.frame_list import FrameList
from src.datasets import transform
from src.datasets.key_frames import KeyFrames, frame_of, load_key_frames
from src.datasets.sources import FrameFiles, FrameSource, VideoFiles
from src.utils.errors import UserError

_LOGGER = logging.getLogger(__name__)
# Validation during training evaluates the seconds divisible by this, as PySlowFast does.
_VALIDATION_STRIDE = 4


class _ClipMemory:
    """Arrays whose memory is used again once nobody refers to them: touching fresh pages takes as long as scaling.

    Args:
        kept: how many blocks may wait for their next use.
    """

    def __init__(self, kept: int) -> None:
        self._free: deque[bytearray] = deque(maxlen=kept)

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return a float32 array that holds anything."""
        size = 4 * math.prod(shape)
        block = self._taken(size) or bytearray(size)
        # NumPy's views refer to the array that owns no memory of NumPy's: it dies after the last of them.
        flat = np.frombuffer(block, np.float32)
        weakref.finalize(flat, self._free.append, block).atexit = False
        return flat.reshape(shape)

    def _taken(self, size: int) -> bytearray | None:
        # Step by step: another thread may give back a block meanwhile.
        for _ in range(len(self._free)):
            with contextlib.suppress(IndexError):
                block = self._free.popleft()
                if len(block) == size:
                    return block
                self._free.append(block)
        return None


class AvaDataset:
    """The key frames of a split, each with the clip around it.

    A dataset that keeps its frames or boxes in another way is a subclass with `frame_source`, `load_key_frames` and
    `ground_truth` of its own, and chosen in `src.datasets.kinds`.

    Attributes:
        cfg: the configuration.
        frames: where frames come from; its `names` are the videos.
        key_frames: tables of key frames, boxes and labels.
        second_stride: key frames are those whose second is divisible by it.
        max_boxes: the largest number of boxes in a key frame; every sample is padded to it.
        columns: names of the arrays that `read` gives.

    Args:
        cfg: the configuration.
        split: `train`: the training lists, augmented; `val`: the test lists at seconds divisible by 4, or at all with
            AVA.FULL_TEST_ON_VAL; `test`: the test lists at every second.

    Raises:
        UserError: lists, boxes or folders that do not fit together; see `FrameList`, `load_key_frames` and `sources`.
    """

    columns = ("clip", "boxes", "labels", "mask", "boxes_norm", "key")

    def __init__(self, cfg: CfgNode, split: str) -> None:
        if split not in ("train", "val", "test"):
            raise ValueError(f"split is {split!r}, expected train, val or test")
        self.cfg = cfg
        self._train = split == "train"
        self.second_stride = _VALIDATION_STRIDE if split == "val" and not cfg.AVA.FULL_TEST_ON_VAL else 1
        root = Path(cfg.DATA.PATH_TO_DATA_DIR)
        self.frames = self.frame_source(root)
        self.key_frames = self.load_key_frames()
        for line in self.key_frames.left_out:
            _LOGGER.warning(line)
        if not len(self.key_frames):
            truth, predicted = self.box_lists()
            raise UserError(
                f"{', '.join(map(str, (*truth, *predicted)))}: no box at a key frame of the {split} split "
                "(see AVA.DETECTION_SCORE_THRESH and AVA.VALID_SECONDS)"
            )
        self._check_inside()
        self.max_boxes = self.key_frames.max_boxes
        # Clips of both pathways at four sizes; two batches, which are large.
        self._memory, self._batch_memory = _ClipMemory(8), _ClipMemory(4)
        self._table = transform.normalization_table(cfg.DATA.MEAN, cfg.DATA.STD)
        self._unit_table = transform.normalization_table([0.0] * 3, [1.0] * 3)

    def __len__(self) -> int:
        return len(self.key_frames)

    def frame_size(self, video: int) -> tuple[int, int]:
        """Return height and width of a video's frames."""
        return self.frames.size(video)

    def test_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of the test clip of frames of `frame_size`."""
        data = self.cfg.DATA
        if data.TEST_SCALE_HEIGHT:
            return data.TEST_SCALE_HEIGHT, data.TEST_SCALE_WIDTH
        return transform.short_side_size(frame_size, data.TEST_CROP_SIZE)

    def frame_indices(self, index: int) -> np.ndarray:
        """Return the frames of the Fast pathway for key frame `index`: int64 (DATA.NUM_FRAMES,)."""
        count = self.frames.count(int(self.key_frames.video[index]))
        return np.clip(self._first_frame(self.key_frames.second[index]) + self._steps(), 0, count - 1)

    def sample(
        self, index: int, epoch: int = 0, clip_size: tuple[int, int] | None = None, copy: int = 0
    ) -> dict[str, np.ndarray]:
        """Return one clip with its boxes; random choices depend on RNG_SEED, epoch, index and copy alone.

        Args:
            index: of the key frame.
            epoch: counted from 0.
            clip_size: height and width, in testing, with the frames' aspect ratio; None: those of the configuration.
            copy: which of several within the epoch, see `epoch_order`.

        Returns:
            slow: float32 (3, NUM_FRAMES // ALPHA, height, width).
            fast: float32 (3, NUM_FRAMES, height, width).
            boxes: float32 (max_boxes, 4), pixels of the clip; zeros where there is no box.
            labels: float32 (max_boxes, classes), zeros and ones.
            mask: float32 (max_boxes,), one for each box.
            boxes_norm: float64 (max_boxes, 4), as in the list.
            key: float64 (2,), index of the video, second.

        Raises:
            UserError: a frame that cannot be read.
        """
        clip, boxes = self._clip_and_boxes(index, epoch, clip_size, copy)
        size = clip[0].shape[:2] if isinstance(clip, list) else clip.shape[2:]
        frames = self.cfg.DATA.NUM_FRAMES
        slow = self._memory.array((3, frames // self.cfg.SLOWFAST.ALPHA, *size))
        fast = self._memory.array((3, frames, *size))
        self._write_pathways(clip, slow, fast)
        return {"slow": slow, "fast": fast} | boxes

    def read(
        self, index: int, epoch: int = 0, clip_size: tuple[int, int] | None = None, copy: int = 0
    ) -> dict[str, np.ndarray]:
        """Return what `sample` does in its small form, in which processes hand it on; `collate` makes batches of it.

        Args:
            index: see `sample`, as the others.

        Returns:
            clip: uint8 (NUM_FRAMES, height, width, 3), BGR, in place of `slow` and `fast`; where colors are augmented,
                `fast` itself.

        Raises:
            UserError: a frame that cannot be read.
        """
        clip, boxes = self._clip_and_boxes(index, epoch, clip_size, copy)
        return {"clip": np.stack(clip) if isinstance(clip, list) else clip} | boxes

    def collate(self, rows: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Return the batch of samples, each array with a leading batch axis, from what `read` and `padding` give."""
        batch = {name: np.stack([row[name] for row in rows]) for name in self.columns if name != "clip"}
        return self.pathways([row["clip"] for row in rows], batch["key"][:, 0] < 0) | batch

    def pathways(self, clips: Sequence[np.ndarray], is_padding: np.ndarray) -> dict[str, np.ndarray]:
        """Return `slow` and `fast` of a batch.

        Args:
            clips: as `read` gives them.
            is_padding: bool (batch,), which of them are zeros.
        """
        frames = self.cfg.DATA.NUM_FRAMES
        size = clips[0].shape[1:3] if clips[0].dtype == np.uint8 else clips[0].shape[2:]
        slow = self._batch_memory.array((len(clips), 3, frames // self.cfg.SLOWFAST.ALPHA, *size))
        fast = self._batch_memory.array((len(clips), 3, frames, *size))
        for at, clip in enumerate(clips):
            if is_padding[at]:
                slow[at], fast[at] = 0, 0
            else:
                self._write_pathways(clip, slow[at], fast[at])
        return {"slow": slow, "fast": fast}

    def _clip_and_boxes(
        self, index: int, epoch: int, clip_size: tuple[int, int] | None, copy: int
    ) -> tuple[list[np.ndarray] | np.ndarray, dict[str, np.ndarray]]:
        """Return frames as the clip shows them, or `fast` where colors are augmented; and the rest of a sample."""
        video = int(self.key_frames.video[index])
        images = self.frames.read(video, self.frame_indices(index))
        boxes_norm = self.key_frames.boxes(index)
        size = images[0].shape[:2]
        boxes = transform.boxes_to_pixels(boxes_norm, size)
        if self._train:
            rng = np.random.Generator(np.random.PCG64([self.cfg.RNG_SEED, epoch, index] + [copy] * bool(copy)))
            clip, boxes = self._augmented(images, boxes, rng)
        else:
            clip, boxes = self._fitted(images, boxes, clip_size or self.test_size(size))
        count = len(boxes)
        result = self._no_boxes()
        result["boxes"][:count] = boxes
        result["labels"][:count] = self.key_frames.multi_hot(index, self.cfg.MODEL.NUM_CLASSES)
        result["mask"][:count] = 1.0
        result["boxes_norm"][:count] = boxes_norm
        result["key"][:] = video, self.key_frames.second[index]
        return clip, result

    def _write_pathways(self, clip: Sequence[np.ndarray] | np.ndarray, slow: np.ndarray, fast: np.ndarray) -> None:
        if clip[0].dtype == np.uint8:
            transform.write_clip(clip, self._table, fast)
        else:
            fast[:] = clip
        chosen = transform.slow_frames(fast.shape[1], self.cfg.SLOWFAST.ALPHA)
        # With another mode NumPy would not write into `out` directly.
        np.take(fast, chosen, axis=1, out=slow, mode="clip")

    def row_bytes(self, size: tuple[int, int]) -> int:
        """Return the memory of what `read` gives with clips of `size`, in bytes."""
        return sum(array.nbytes for array in self.padding(size).values())

    def padding(self, size: tuple[int, int]) -> dict[str, np.ndarray]:
        """Return what fills up a batch of clips of `size`, as `read`: zeros without a box, the key (-1, -1)."""
        frames = self.cfg.DATA.NUM_FRAMES
        if self._train and self.cfg.AVA.TRAIN_USE_COLOR_AUGMENTATION:
            clip = np.zeros((3, frames, *size), np.float32)
        else:
            clip = np.zeros((frames, *size, 3), np.uint8)
        return {"clip": clip} | self._no_boxes()

    def _no_boxes(self) -> dict[str, np.ndarray]:
        """Return all of a sample but its clip, without boxes."""
        return {
            "boxes": np.zeros((self.max_boxes, 4), np.float32),
            "labels": np.zeros((self.max_boxes, self.cfg.MODEL.NUM_CLASSES), np.float32),
            "mask": np.zeros(self.max_boxes, np.float32),
            "boxes_norm": np.zeros((self.max_boxes, 4), np.float64),
            "key": np.full(2, -1.0),
        }

    def _augmented(
        self, images: list[np.ndarray], boxes: np.ndarray, rng: np.random.Generator
    ) -> tuple[list[np.ndarray] | np.ndarray, np.ndarray]:
        """Return clip and boxes with a random short side, crop, flip and colors; boxes end on the border."""
        data, ava = self.cfg.DATA, self.cfg.AVA
        crop = data.TRAIN_CROP_SIZE
        old_size = images[0].shape[:2]
        low, high = data.TRAIN_JITTER_SCALES
        size = transform.short_side_size(old_size, int(rng.integers(low, high, endpoint=True)))
        top, left = (int(rng.integers(0, extent - crop, endpoint=True)) for extent in size)
        flip = data.RANDOM_FLIP and bool(rng.random() < 0.5)
        boxes = transform.crop_boxes(transform.scale_boxes(boxes, old_size, size), top, left)
        if flip:
            boxes = transform.flip_boxes(boxes, crop)
        boxes = transform.clip_boxes(boxes, (crop, crop))
        frames = transform.fit_frames(images, size, (crop, crop), (top, left), flip)
        if not ava.TRAIN_USE_COLOR_AUGMENTATION:
            return frames, boxes
        clip = self._memory.array((3, len(frames), crop, crop))
        transform.write_clip(frames, self._unit_table, clip)
        if not ava.TRAIN_PCA_JITTER_ONLY:
            transform.color_jitter(clip, rng)
        shift = transform.pca_shift(rng, ava.TRAIN_PCA_EIGVAL, ava.TRAIN_PCA_EIGVEC)
        mean, std = np.float32(data.MEAN), np.float32(data.STD)
        clip += (shift - mean)[:, None, None, None]
        clip /= std[:, None, None, None]
        return clip, boxes

    def _fitted(
        self, images: list[np.ndarray], boxes: np.ndarray, size: tuple[int, int]
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Return frames and boxes at test size."""
        scale = transform.stretch_boxes if self.cfg.DATA.TEST_SCALE_HEIGHT else transform.scale_boxes
        boxes = scale(boxes, images[0].shape[:2], size)
        flip = self.cfg.AVA.TEST_FORCE_FLIP
        if flip:
            boxes = transform.flip_boxes(boxes, size[1])
        return transform.fit_frames(images, size, size, flip=flip), transform.clip_boxes(boxes, size)

    def _steps(self) -> np.ndarray:
        return np.arange(self.cfg.DATA.NUM_FRAMES) * self.cfg.DATA.SAMPLING_RATE

    def _first_frame(self, second: np.ndarray) -> np.ndarray:
        """Return the frame, before clipping to the video, at which the clip around a second starts."""
        half = self.cfg.DATA.NUM_FRAMES * self.cfg.DATA.SAMPLING_RATE // 2
        return frame_of(second, self.cfg.AVA.FIRST_SECOND, self.cfg.AVA.FPS) - half

    def load_key_frames(self) -> KeyFrames:
        """Return the split's key frames, whose videos are indices into `self.frames.names`."""
        truth, predicted = self.box_lists()
        return load_key_frames(
            truth,
            predicted,
            self.frames.names,
            num_classes=self.cfg.MODEL.NUM_CLASSES,
            score_threshold=self.cfg.AVA.DETECTION_SCORE_THRESH,
            valid_seconds=tuple(self.cfg.AVA.VALID_SECONDS),
            second_stride=self.second_stride,
            keep_best=self.cfg.AVA.DETECTION_KEEP_BEST,
        )

    @staticmethod
    def ground_truth(cfg: CfgNode) -> BoxTable:
        """Return what the test splits' scores are compared with.

        Raises:
            UserError: AVA.GROUNDTRUTH_FILE cannot be read.
        """
        return read_ground_truth(Path(cfg.DATA.PATH_TO_DATA_DIR) / cfg.AVA.ANNOTATION_DIR / cfg.AVA.GROUNDTRUTH_FILE)

    def box_lists(self) -> tuple[list[Path], list[Path]]:
        """Return the files of the split's true and predicted boxes."""
        ava = self.cfg.AVA
        truth = ava.TRAIN_GT_BOX_LISTS if self._train else []
        predicted = ava.TRAIN_PREDICT_BOX_LISTS if self._train else ava.TEST_PREDICT_BOX_LISTS
        folder = Path(self.cfg.DATA.PATH_TO_DATA_DIR) / ava.ANNOTATION_DIR
        return [folder / name for name in truth], [folder / name for name in predicted]

    def frame_source(self, root: Path) -> FrameSource:
        """Return where the frames of the split's videos come from, below the data root."""
        ava = self.cfg.AVA
        # In testing, neighboring key frames follow each other and share frames.
        keep = not self._train
        if self.cfg.DATA.SOURCE == "video":
            return VideoFiles(root / ava.VIDEO_DIR, ava.FPS, keep, root)
        lists = ava.TRAIN_LISTS if self._train else ava.TEST_LISTS
        frames = FrameList([root / ava.FRAME_LIST_DIR / name for name in lists])
        return FrameFiles(frames, root / ava.FRAME_DIR, keep)

    def _check_inside(self) -> None:
        """Raise for a key frame whose clip would hold no frame but the first or last one, repeated."""
        videos, of_key = np.unique(self.key_frames.video, return_inverse=True)
        counts = np.array([self.frames.count(int(video)) for video in videos])[of_key]
        first = self._first_frame(self.key_frames.second)
        outside = (first >= counts) | (first + self._steps()[-1] < 0)
        if outside.any():
            index = int(np.argmax(outside))
            video, count = int(self.key_frames.video[index]), int(counts[index])
            raise UserError(
                f"{self.frames.place(video, count - 1)}: video {self.frames.names[video]} ends after {count} frames, "
                f"but has boxes at second {self.key_frames.second[index]:g} (see AVA.FPS and AVA.FIRST_SECOND)"
            )
