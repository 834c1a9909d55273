"""Test clips at several sizes and mirrored, for scores that are averaged over them."""

import functools
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np

from src.datasets import transform
from src.datasets.ava_dataset import AvaDataset

Size = tuple[int, int]
# What differs from size to size, when read and in a batch; the rest of a sample is the same for all.
_READ, _SCALED = ("clip", "boxes"), ("slow", "fast", "boxes")


class MultiScaleDataset:
    """A test split whose samples hold their clip at several sizes, of frames that are read once.

    What it reads is that of `AvaDataset` at the first size; clip and boxes of the n-th further size are `clip_n` and
    `boxes_n`, in a batch `slow_n`, `fast_n` and `boxes_n`. A clip size is here a tuple of sizes.

    Args:
        dataset: the split `val` or `test`.
        short_sides: pixels of the short side, one for each size; the aspect ratio is kept.
    """

    def __init__(self, dataset: AvaDataset, short_sides: Sequence[int]) -> None:
        self._dataset, self._short_sides = dataset, tuple(short_sides)
        self.cfg, self.key_frames = dataset.cfg, dataset.key_frames
        # A loader asks for all of them before its workers start; each costs the decoding of a frame.
        self.frame_size = functools.cache(dataset.frame_size)
        self.columns = (
            *dataset.columns,
            *(_numbered(name, at) for at in range(1, len(short_sides)) for name in _READ),
        )

    def test_size(self, frame_size: Size) -> tuple[Size, ...]:
        """Return height and width of each clip of frames of `frame_size`."""
        return tuple(transform.short_side_size(frame_size, side) for side in self._short_sides)

    def read(self, index: int, epoch: int = 0) -> dict[str, np.ndarray]:
        """Return one key frame's clips and boxes; errors are those of `AvaDataset.read`."""
        # The dataset keeps the frames of the last sample: they are decoded for the first size alone.
        size = self.frame_size(int(self.key_frames.video[index]))
        return _joined([self._dataset.read(index, epoch, clip_size) for clip_size in self.test_size(size)])

    def row_bytes(self, sizes: tuple[Size, ...]) -> int:
        """Return the memory of what `read` gives with clips of `sizes`, in bytes."""
        return sum(array.nbytes for array in self.padding(sizes).values())

    def padding(self, sizes: tuple[Size, ...]) -> dict[str, np.ndarray]:
        """Return what fills up a batch; see `AvaDataset.padding`."""
        return _joined([self._dataset.padding(size) for size in sizes])

    def collate(self, rows: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Return the batch of what `read` and `padding` give."""
        batch = self._dataset.collate(rows)
        for at in range(1, len(self._short_sides)):
            clips = self._dataset.pathways([row[_numbered("clip", at)] for row in rows], batch["key"][:, 0] < 0)
            batch |= {_numbered(name, at): clip for name, clip in clips.items()}
            batch[_numbered("boxes", at)] = np.stack([row[_numbered("boxes", at)] for row in rows])
        return batch


def views(batch: Mapping[str, np.ndarray], mirrored: bool) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield slow, fast and boxes of each size in a batch, and of its mirror image if that is wanted.

    Mirrored boxes are those that `transform.flip_boxes` gives; places without a box stay zero.
    """
    at = 0
    while _numbered("fast", at) in batch:
        slow, fast, boxes = (batch[_numbered(name, at)] for name in _SCALED)
        yield slow, fast, boxes
        if mirrored:
            flipped = transform.flip_boxes(boxes.reshape(-1, 4), fast.shape[-1]).reshape(boxes.shape)
            flipped = np.where(batch["mask"][..., None] > 0, flipped, boxes)
            yield _mirrored(slow), _mirrored(fast), flipped
        at += 1


def _mirrored(clips: np.ndarray) -> np.ndarray:
    """Mirror clips (..., width) from left to right; twice as fast as a copy of NumPy's backward view."""
    return cv2.flip(clips.reshape(-1, clips.shape[-1]), 1).reshape(clips.shape)


def _numbered(name: str, at: int) -> str:
    return f"{name}_{at}" if at else name


def _joined(samples: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    joined = dict(samples[0])
    for at, sample in enumerate(samples[1:], start=1):
        joined |= {_numbered(name, at): sample[name] for name in _READ}
    return joined
