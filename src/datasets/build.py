"""Loaders: `mindspore.dataset` pipelines of fixed-shape batches."""

import multiprocessing
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from fvcore.common.config import CfgNode

from src.datasets.ava_dataset import AvaDataset
from src.datasets.sampling import epoch_order
from src.datasets.views import MultiScaleDataset
from src.utils.errors import UserError
from src.utils.logging import get_logger

# Rows that are ready ahead of the network. With fewer, workers stand still while a batch is put together.
_PREFETCH = 8
_ERROR_BYTES = 1024
_SHARED_MEMORY = "/dev/shm"


class Loader:
    """An iterable of batches: dicts of the arrays of the dataset's samples, each with a leading batch axis.

    Each iteration starts its worker processes anew and ends them at its end; they prefetch while the network computes.

    Args:
        dataset: where samples come from.
        sections: (sample indices, clip size) pairs, worked off in turn; sizes are what the dataset's `test_size` gives.
            Their samples count a multiple of `batch_size`; -1 stands for padding.
        batch_size: samples in a batch.
        epoch: counted from 0, for the samples' random choices.
        copies: for each sample, which copy of its key frame within the epoch it is; None: all are the first.
    """

    def __init__(
        self,
        dataset: AvaDataset | MultiScaleDataset,
        sections: list[tuple[np.ndarray, tuple]],
        batch_size: int,
        epoch: int = 0,
        copies: np.ndarray | None = None,
    ) -> None:
        self.dataset = dataset
        self._batch_size = batch_size
        self._workers = _workers(dataset.cfg)
        self._source = _Source(dataset, sections, epoch, copies)

    def __len__(self) -> int:
        return len(self._source) // self._batch_size

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield the batches.

        Raises:
            UserError: a frame that cannot be read, wherever the worker runs; too little shared memory for workers.
        """
        if not len(self):
            return
        if self._workers > 1:
            self._check_shared_memory()
        # Workers are the parallelism; a thread pool of OpenCV would not survive their fork.
        cv2.setNumThreads(1)
        ds.config.set_prefetch_size(_PREFETCH)
        columns = [*self.dataset.columns, "error"]
        pipeline = ds.GeneratorDataset(
            self._source,
            columns,
            shuffle=False,
            num_parallel_workers=self._workers,
            python_multiprocessing=self._workers > 1,
        )
        rows = pipeline.create_dict_iterator(num_epochs=1, output_numpy=True)
        # MindSpore's own batching would copy each clip three times. A thread puts the next batch together while the
        # network computes; only this one asks MindSpore for rows, which does not survive its end in another.
        try:
            with ThreadPoolExecutor(1) as pool:
                ready = None
                for row_group in self._row_groups(rows):
                    following = pool.submit(self.dataset.collate, row_group)
                    if ready is not None:
                        yield ready.result()
                    ready = following
                yield ready.result()
        finally:
            # Left to the garbage collector, it may be collected by a worker of the next iteration, which then hangs.
            rows.stop()

    def _row_groups(self, rows: Iterable[dict[str, np.ndarray]]) -> Iterator[list[dict[str, np.ndarray]]]:
        """Yield the rows of each batch."""
        group = []
        for row in rows:
            error = row.pop("error")
            if error.any():
                raise UserError(error.tobytes().rstrip(b"\0").decode(errors="replace"))
            group.append(row)
            if len(group) == self._batch_size:
                yield group
                group = []

    def _check_shared_memory(self) -> None:
        """Raise if the workers' results will not fit into shared memory: they would die of a bus error."""
        if not Path(_SHARED_MEMORY).is_dir():
            return
        # Of each worker: MindSpore's queue, one row being written, one being read.
        queued = max(2, min(_PREFETCH, 4 * _PREFETCH // self._workers))
        needed = self._workers * (queued + 2) * self._source.row_bytes
        free = shutil.disk_usage(_SHARED_MEMORY).free
        if needed > free:
            raise UserError(
                f"{_SHARED_MEMORY}: {free >> 20} MiB are free, but {self._workers} workers need {needed >> 20} MiB; "
                "enlarge it (docker run --shm-size) or lower DATA_LOADER.NUM_WORKERS (1 needs none)"
            )


class _Source:
    """What `GeneratorDataset` reads: one row for each position.

    A `UserError` travels to the main process in a column of its own, beside padding, because MindSpore would
    bury it in the text of a RuntimeError.
    """

    def __init__(
        self,
        dataset: AvaDataset | MultiScaleDataset,
        sections: list[tuple[np.ndarray, tuple]],
        epoch: int,
        copies: np.ndarray | None,
    ) -> None:
        self._dataset, self._epoch = dataset, epoch
        self._indices = np.concatenate([indices for indices, _ in sections])
        self._copies = copies
        self._sizes = [size for _, size in sections]
        self._ends = np.cumsum([len(indices) for indices, _ in sections])

    @property
    def row_bytes(self) -> int:
        """Size of the largest row."""
        return _ERROR_BYTES + max(self._dataset.row_bytes(size) for size in self._sizes)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> tuple[np.ndarray, ...]:
        index = int(self._indices[position])
        size = self._sizes[np.searchsorted(self._ends, position, side="right")]
        error = b""
        sample = None
        if index >= 0:
            try:
                copy = {} if self._copies is None else {"copy": int(self._copies[position])}
                sample = self._dataset.read(index, self._epoch, **copy)
            except UserError as mistake:
                error = str(mistake).encode()[:_ERROR_BYTES]
        if sample is None:
            sample = self._dataset.padding(size)
        padded = np.frombuffer(error.ljust(_ERROR_BYTES, b"\0"), np.uint8)
        return (*(sample[name] for name in self._dataset.columns), padded)


def _workers(cfg: CfgNode) -> int:
    """Return how many processes read; MindSpore refuses more than there are cores, and takes 1 as its own thread."""
    return min(max(cfg.DATA_LOADER.NUM_WORKERS, 1), multiprocessing.cpu_count())


def build_train_loader(
    dataset: AvaDataset, epoch: int, rank: int = 0, world_size: int = 1, start_step: int = 0
) -> Loader:
    """Return one epoch of training batches of one device.

    Which key frames there are, in which order, follows from TRAIN.SAMPLING, RNG_SEED and the epoch (see `epoch_order`);
    devices take disjoint parts of each global batch, and all the same number of steps. The rest that does not fill a
    global batch is left out.

    Args:
        dataset: the split `train`.
        epoch: counted from 0.
        rank: which device, from 0.
        world_size: how many devices.
        start_step: steps of this epoch to leave out, for a resumed run.

    Raises:
        UserError: fewer key frames than one global batch.
    """
    cfg = dataset.cfg
    batch = cfg.TRAIN.BATCH_SIZE
    order, copies = epoch_order(dataset.key_frames, cfg.TRAIN.SAMPLING, cfg.TRAIN.REPEAT_THRESHOLD, cfg.RNG_SEED, epoch)
    steps = len(order) // (batch * world_size)
    if not steps:
        raise UserError(
            f"{len(order)} key frames are fewer than the {batch * world_size} of one step "
            f"(TRAIN.BATCH_SIZE {batch}, {world_size} devices)"
        )
    mine, copies = (
        array[: steps * world_size * batch].reshape(steps, world_size, batch)[start_step:, rank].reshape(-1)
        for array in (order, copies)
    )
    size = (cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.TRAIN_CROP_SIZE)
    return Loader(dataset, [(mine, size)], batch, epoch, copies)


def build_test_loader(dataset: AvaDataset | MultiScaleDataset, rank: int = 0, world_size: int = 1) -> Loader:
    """Return the test batches of one device, each of one shape.

    Key frames are grouped by the size of their clip, and a group's last batch is filled up with padding (mask zero, key
    -1). Devices share out whole batches: a key frame has the same place in the same batch whatever their number, and so
    the same score to the last bit (vectorized loops round by where in an array a number stands). All devices together
    hold each key frame once; their numbers of batches may differ.

    Args:
        dataset: the split `val` or `test`.
        rank: which device, from 0.
        world_size: how many devices.
    """
    videos = np.unique(dataset.key_frames.video)
    sizes = {int(video): dataset.test_size(dataset.frame_size(int(video))) for video in videos}
    batch, workers = dataset.cfg.TEST.BATCH_SIZE, _workers(dataset.cfg)
    sections = []
    count = len(set(sizes.values()))
    if count > 1 and ms.get_context("device_target") != "CPU":
        get_logger().warning(
            "the frames to score come in %d sizes, and each compiles a graph of its own, which takes long on a device; "
            "DATA.TEST_SCALE_HEIGHT and DATA.TEST_SCALE_WIDTH give all of them one size",
            count,
        )
    for size in sorted(set(sizes.values())):
        group = [video for video, video_size in sizes.items() if video_size == size]
        indices = np.flatnonzero(np.isin(dataset.key_frames.video, group))
        padded = np.pad(indices, (0, -len(indices) % batch), constant_values=-1)
        batches = _deal(padded, workers).reshape(-1, batch)
        sections.append((np.array_split(batches, world_size)[rank].reshape(-1), size))
    return Loader(dataset, sections, batch)


def _deal(indices: np.ndarray, workers: int) -> np.ndarray:
    """Order samples so that each of `workers`, taking every workers-th, meets neighbors, which share frames."""
    parts = np.array_split(indices, workers)
    return np.concatenate([[part[turn] for part in parts if turn < len(part)] for turn in range(len(parts[0]))])
