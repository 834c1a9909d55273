"""Inputs for the C++ runner, and its results. Needs no MindSpore.

A shard is a part of the test split: a folder with one file of each clip's Fast pathway (the runner takes the Slow
one from it), one of all boxes, and manifest.json, which comes last and says that the rest is whole. A row is what
the graph scores at a time: a clip with as many boxes as it takes. A key frame with more boxes is several rows.
"""

import hashlib
import multiprocessing
import re
from pathlib import Path

import cv2
import numpy as np

from src.datasets.ava_dataset import AvaDataset
from src.deploy.manifest import (
    GraphFile,
    Manifest,
    OutputSpec,
    Record,
    TensorSpec,
    graph_specs,
    read_record,
)
from src.evaluation.ava_metric import AvaEvaluator
from src.utils.errors import UserError
from src.utils.files import write_atomic

MANIFEST = "manifest.json"
BOXES = "boxes.bin"
SCORES = "scores.bin"
# What a folder of inputs holds; the last is what a killed run may leave of the manifest.
_OWN_FILES = re.compile(r"fast_\d+\.bin|boxes\.bin|manifest\.json|\.manifest\.[0-9a-f]+\.json")


class Inputs(Record):
    """The runner's manifest: what the graph takes and gives at a time, and where the inputs are.

    Attributes:
        format: EXPORT.FORMAT of the graph.
        model: the graph.
        inputs: slow, fast and boxes of one batch, without open axes.
        output: the scores.
        slow_frames: the frames of fast that slow takes.
        clip_files: one file of fast for each clip.
        box_file: the file of all rows' boxes.
        row_clips: the clip of each row.
    """

    format: str
    model: GraphFile
    inputs: tuple[TensorSpec, TensorSpec, TensorSpec]
    output: OutputSpec
    slow_frames: tuple[int, ...]
    clip_files: tuple[str, ...]
    box_file: str
    row_clips: tuple[int, ...]


class Row(Record):
    """The boxes that one row holds, of the key frame at `second` of `video`."""

    video: str
    second: float
    boxes_norm: tuple[tuple[float, float, float, float], ...]


class Shard(Inputs):
    """The runner's manifest for a part of a split.

    Attributes:
        class_names: as in slowfast.json.
        config_sha256: as in slowfast.json.
        run: see `run_id`.
        shard: which part, from 1.
        shards: how many there are.
        rows: the key frame and the boxes of each row.
    """

    class_names: dict[int, str]
    config_sha256: str
    run: str
    shard: int
    shards: int
    rows: tuple[Row, ...]


def count_shards(dataset: AvaDataset, disk_budget: int) -> int:
    """Return into how many shards a split must be cut for the inputs of one to fit into `disk_budget` bytes.

    Raises:
        UserError: not even one clip fits.
    """
    (_, fast, boxes), _ = graph_specs(dataset.cfg)
    most_rows = -(-dataset.max_boxes // boxes.shape[1])
    clip_bytes = fast.row_bytes + most_rows * boxes.row_bytes
    clips = disk_budget // clip_bytes
    if not clips:
        raise UserError(f"the disk budget of {disk_budget} bytes is less than one clip's {clip_bytes}")
    return -(-len(dataset) // clips)


def run_id(dataset: AvaDataset, manifest: Manifest, shards: int) -> str:
    """Return a name for one way to score a split: another graph, other key frames or another cut give another."""
    digest = hashlib.sha256(manifest.model_dump_json().encode())
    digest.update(repr((list(dataset.frames.names), shards)).encode())
    table = dataset.key_frames
    for array in (table.video, table.second, table.box_start, table.boxes_norm):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def write_shard(dataset: AvaDataset, manifest: Manifest, folder: Path, shard: int, shards: int) -> None:
    """Write the inputs of one shard.

    Args:
        dataset: the split `test`.
        manifest: what the JSON file beside the graph says.
        folder: where to write; inputs that are there are replaced.
        shard: which one, from 1.
        shards: how many there are.

    Raises:
        UserError: a frame cannot be read, the disk is full, or the folder holds files of another origin.
    """
    inputs, output = graph_specs(dataset.cfg)
    _, fast, boxes = inputs
    indices = np.array_split(np.arange(len(dataset)), shards)[shard - 1]
    if not len(indices):
        raise UserError(f"shard {shard} of {shards} would be empty: there are only {len(dataset)} key frames")
    names = [f"fast_{index:06d}.bin" for index in indices]
    _check_own(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)  # until the inputs are whole again
        rows, box_rows, row_clips = [], [], []
        for clip, sample in enumerate(_write_clips(dataset, indices, fast, [folder / name for name in names])):
            video, second = dataset.frames.names[int(sample["key"][0])], float(sample["key"][1])
            count = int(sample["mask"].sum())
            for start in range(0, count, boxes.shape[1]):
                part = slice(start, min(start + boxes.shape[1], count))
                padded = np.zeros(boxes.shape[1:], boxes.dtype)
                padded[: part.stop - part.start] = sample["boxes"][part]
                box_rows.append(padded)
                row_clips.append(clip)
                rows.append(
                    Row(video=video, second=second, boxes_norm=tuple(map(tuple, sample["boxes_norm"][part].tolist())))
                )
        (folder / BOXES).write_bytes(np.stack(box_rows).tobytes())
        record = Shard(
            format=manifest.format,
            model=manifest.model,
            inputs=inputs,
            output=output,
            slow_frames=manifest.slow_frames,
            clip_files=tuple(names),
            box_file=BOXES,
            row_clips=tuple(row_clips),
            class_names=manifest.class_names,
            config_sha256=manifest.config_sha256,
            run=run_id(dataset, manifest, shards),
            shard=shard,
            shards=shards,
            rows=tuple(rows),
        )
        write_atomic(folder / MANIFEST, record.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{error.filename or folder}: cannot write the inputs: {error.strerror}") from error


def _check_own(folder: Path) -> None:
    """Raise UserError if a folder holds anything that is not inputs of an earlier run."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if not _OWN_FILES.fullmatch(path.name):
            raise UserError(f"{path}: not from preprogress.py; expected an empty folder, or one with inputs of its own")


def _write_clips(dataset: AvaDataset, indices: np.ndarray, fast: TensorSpec, paths: list[Path]) -> list[dict]:
    """Write clips in several processes and return what else their samples hold, in order."""
    workers = min(max(dataset.cfg.DATA_LOADER.NUM_WORKERS, 1), multiprocessing.cpu_count(), len(indices))
    context = multiprocessing.get_context("fork")  # which shares the tables of the dataset
    started = []
    # Neighbouring key frames share frames, which a process that has them in a row decodes once.
    for part in np.array_split(np.arange(len(indices)), workers):
        jobs = [(int(indices[place]), paths[place]) for place in part]
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_write_part, args=(dataset, fast, jobs, sender), daemon=True)
        process.start()
        sender.close()
        started.append((process, receiver))
    try:
        samples = []
        for _, receiver in started:
            result = receiver.recv()
            if isinstance(result, Exception):
                raise result
            samples += result
        return samples
    except EOFError as error:
        raise UserError("a process that prepares clips was ended from outside, perhaps for want of memory") from error
    finally:
        for process, _ in started:
            process.terminate()
            process.join()


def _write_part(dataset: AvaDataset, fast: TensorSpec, jobs: list[tuple[int, Path]], sender) -> None:
    samples = []
    cv2.setNumThreads(1)  # the processes share the cores already
    try:
        for index, path in jobs:
            sample = dataset.sample(index)
            if sample["fast"].shape != fast.shape[1:]:
                raise ValueError(f"the clip is {sample['fast'].shape}, but the graph takes {fast.shape[1:]}")
            path.write_bytes(sample["fast"].astype(fast.dtype).tobytes())
            samples.append({name: sample[name] for name in ("key", "mask", "boxes", "boxes_norm")})
    except Exception as error:  # raised again by the parent
        sender.send(error)
    else:
        sender.send(samples)


def gather_results(folder: Path, evaluator: AvaEvaluator, manifest: Manifest) -> int:
    """Give the results of all shards below a folder to an evaluator.

    Args:
        folder: holds one folder for each shard, as the runner wrote it.
        evaluator: takes the scores.
        manifest: what the JSON file beside the graph says.

    Returns:
        The number of scored boxes.

    Raises:
        UserError: a shard is missing, damaged, of another run, or there twice.
    """
    records = {path.parent: read_record(path, Shard, "preprogress.py") for path in sorted(folder.glob(f"*/{MANIFEST}"))}
    if not records:
        raise UserError(f"{folder}: no results; expected a folder for each shard with {MANIFEST}")
    first = next(iter(records.values()))
    found: dict[int, Path] = {}
    for path, record in records.items():
        if record.model.sha256 != manifest.model.sha256:
            raise UserError(f"{path}: results of another graph than {manifest.model.file}")
        if record.run != first.run:
            raise UserError(f"{path}: results of another run than {next(iter(records))}; keep each in its own folder")
        if record.shard in found:
            raise UserError(f"{path}: shard {record.shard} is there twice, also in {found[record.shard]}")
        found[record.shard] = path
    missing = sorted(set(range(1, first.shards + 1)) - set(found))
    if missing:
        raise UserError(f"{folder}: shard {missing[0]} of {first.shards} is missing ({len(missing)} in all)")
    return sum(_gather_shard(found[shard], records[found[shard]], evaluator) for shard in sorted(found))


def _gather_shard(folder: Path, record: Shard, evaluator: AvaEvaluator) -> int:
    path = folder / SCORES
    expected = len(record.rows) * record.output.row_bytes
    size = path.stat().st_size if path.is_file() else 0
    if size != expected:
        raise UserError(f"{path}: has {size} bytes, expected {expected} for {len(record.rows)} rows")
    scores = np.fromfile(path, record.output.dtype).reshape(len(record.rows), *record.output.shape[1:])
    keys = [(row.video, row.second) for row in record.rows for _ in row.boxes_norm]
    kept = [row_scores[: len(row.boxes_norm)] for row_scores, row in zip(scores, record.rows, strict=True)]
    boxes = np.array([box for row in record.rows for box in row.boxes_norm]).reshape(-1, 4)
    evaluator.process(np.concatenate(kept), boxes, keys)
    return len(boxes)
