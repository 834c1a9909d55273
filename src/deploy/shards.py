"""Inputs for the C++ runner, the runner itself, and its results. Needs no MindSpore.

A shard is a part of the test split: a folder with one file of each clip's Fast pathway (the runner takes the Slow
one from it), one of all boxes, and manifest.json, which comes last and says that the rest is whole. A row is what
the graph scores at a time: a clip with as many boxes as it takes. A key frame with more boxes is several rows.
"""

import hashlib
import json
import multiprocessing
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from src.datasets.ava_dataset import AvaDataset
from src.deploy.manifest import TensorSpec, read_json, tensor_specs
from src.evaluation.ava_metric import AvaEvaluator
from src.utils.errors import UserError
from src.utils.files import write_atomic

RUNNER = Path(__file__).resolve().parents[2] / "ascend310_infer" / "build" / "main"
_MANIFEST = "manifest.json"
_BOXES = "boxes.bin"
_SCORES = "scores.bin"
# What the runner wants to know of the graph.
_OF_THE_GRAPH = ("format", "model", "inputs", "output", "slow_frames")


class NotRunnableError(Exception):
    """This machine has nothing that runs the graph; the message says what is missing."""


def count_shards(dataset: AvaDataset, model: dict, disk_budget: int) -> int:
    """Return into how many shards a split must be cut for the inputs of one to fit into `disk_budget` bytes.

    Raises:
        UserError: not even one clip fits.
    """
    (_, fast, boxes), _ = tensor_specs(model)
    most_rows = -(-dataset.max_boxes // boxes.shape[1])
    clip_bytes = fast.row_bytes + most_rows * boxes.row_bytes
    clips = disk_budget // clip_bytes
    if not clips:
        raise UserError(f"the disk budget of {disk_budget} bytes is less than one clip's {clip_bytes}")
    return -(-len(dataset) // clips)


def run_id(dataset: AvaDataset, model: dict, shards: int) -> str:
    """Return a name for one way to score a split: another graph, other key frames or another cut give another."""
    digest = hashlib.sha256(json.dumps([model, list(dataset.frames.names), shards], sort_keys=True).encode())
    table = dataset.key_frames
    for array in (table.video, table.second, table.box_start, table.boxes_norm):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def write_shard(dataset: AvaDataset, model: dict, folder: Path, shard: int, shards: int) -> None:
    """Write the inputs of one shard.

    Args:
        dataset: the split `test`.
        model: what the JSON file beside the graph says.
        folder: where to write; what a broken run left there is overwritten.
        shard: which one, from 1.
        shards: how many there are.

    Raises:
        UserError: a frame cannot be read, or the disk is full.
    """
    (_, fast, boxes), _ = tensor_specs(model)
    indices = np.array_split(np.arange(len(dataset)), shards)[shard - 1]
    if not len(indices):
        raise UserError(f"shard {shard} of {shards} would be empty: there are only {len(dataset)} key frames")
    names = [f"fast_{index:06d}.bin" for index in indices]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MANIFEST).unlink(missing_ok=True)
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
                rows.append({"video": video, "second": second, "boxes_norm": sample["boxes_norm"][part].tolist()})
        (folder / _BOXES).write_bytes(np.stack(box_rows).tobytes())
        manifest = {key: model[key] for key in (*_OF_THE_GRAPH, "config_sha256")}
        manifest |= {"run": run_id(dataset, model, shards), "shard": shard, "shards": shards}
        manifest |= {"clip_files": names, "box_file": _BOXES, "row_clips": row_clips, "rows": rows}
        write_atomic(folder / _MANIFEST, json.dumps(manifest, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{error.filename or folder}: cannot write the inputs: {error.strerror}") from error


def _write_clips(dataset: AvaDataset, indices: np.ndarray, fast: TensorSpec, paths: list[Path]) -> list[dict]:
    """Write clips in several processes and return what else their samples hold, in order."""
    workers = min(max(dataset.cfg.DATA_LOADER.NUM_WORKERS, 1), multiprocessing.cpu_count(), len(indices))
    context = multiprocessing.get_context("fork")  # which shares the tables of the data set
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


def write_arrays(model: dict, fast: np.ndarray, boxes: np.ndarray, folder: Path) -> None:
    """Write inputs that are at hand: clips (rows, 3, time, height, width) and boxes (rows, k, 4)."""
    names = [f"fast_{row:06d}.bin" for row in range(len(fast))]
    for name, clip in zip(names, fast, strict=True):
        (folder / name).write_bytes(clip.tobytes())
    (folder / _BOXES).write_bytes(boxes.tobytes())
    manifest = {key: model[key] for key in _OF_THE_GRAPH}
    manifest |= {"clip_files": names, "box_file": _BOXES, "row_clips": list(range(len(fast)))}
    write_atomic(folder / _MANIFEST, json.dumps(manifest))


def run_on_cpu(graph: Path, inputs: Path, result: Path, folder: Path, threads: int = 0) -> str:
    """Score a folder of inputs with the C++ runner and return what it printed.

    Args:
        graph: the file of the graph.
        inputs: a folder from `write_shard` or `write_arrays`.
        result: where scores.bin goes.
        folder: where the runner runs and leaves time_Result.
        threads: 0: as many as the machine has cores.

    Raises:
        NotRunnableError: the runner is not built.
        UserError: the runner failed.
    """
    if not RUNNER.is_file():
        raise NotRunnableError("ascend310_infer/build.sh has not been run")
    command = [RUNNER, "--mindir_path", graph.resolve(), "--input_path", inputs, "--result_path", result]
    command += ["--threads", str(threads)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"the C++ runner failed: {done.stderr.strip() or f'status {done.returncode}'}")
    return done.stdout


def run_once(graph: Path, model: dict, inputs: list[np.ndarray]) -> np.ndarray:
    """Score one batch with the C++ runner on the CPU.

    Args:
        graph: the file of the graph.
        model: what the JSON file beside it says.
        inputs: slow (which is taken from fast), fast and boxes.

    Raises:
        NotRunnableError, UserError: see `run_on_cpu`.
    """
    _, fast, boxes = inputs
    _, output = tensor_specs(model)
    with tempfile.TemporaryDirectory(prefix="slowfast-") as name:
        folder = Path(name)
        write_arrays(model, fast, boxes, folder)
        run_on_cpu(graph, folder, folder / "result", folder)
        return np.fromfile(folder / "result" / _SCORES, output.dtype).reshape(output.shape)


def gather_results(folder: Path, evaluator: AvaEvaluator, model: dict) -> int:
    """Give the results of all shards below a folder to an evaluator.

    Args:
        folder: holds one folder for each shard, as the runner wrote it.
        evaluator: takes the scores.
        model: what the JSON file beside the graph says.

    Returns:
        The number of scored boxes.

    Raises:
        UserError: a shard is missing, damaged, of another run, or there twice.
    """
    manifests = {path.parent: read_json(path) for path in sorted(folder.glob(f"*/{_MANIFEST}"))}
    if not manifests:
        raise UserError(f"{folder}: no results; expected a folder for each shard with {_MANIFEST}")
    first = next(iter(manifests.values()))
    found: dict[int, Path] = {}
    for path, manifest in manifests.items():
        if missing := {*_OF_THE_GRAPH, "run", "shard", "shards", "rows"} - manifest.keys():
            raise UserError(f"{path / _MANIFEST}: not from preprogress.py: it lacks {min(missing)}")
        if manifest["model"]["sha256"] != model["model"]["sha256"]:
            raise UserError(f"{path}: results of another graph than {model['model']['file']}")
        if manifest["run"] != first["run"]:
            raise UserError(f"{path}: results of another run than {next(iter(manifests))}; keep each in its own folder")
        if manifest["shard"] in found:
            raise UserError(f"{path}: shard {manifest['shard']} is there twice, also in {found[manifest['shard']]}")
        found[manifest["shard"]] = path
    missing = sorted(set(range(1, first["shards"] + 1)) - set(found))
    if missing:
        raise UserError(f"{folder}: shard {missing[0]} of {first['shards']} is missing ({len(missing)} in all)")
    return sum(_gather_shard(found[shard], manifests[found[shard]], evaluator) for shard in sorted(found))


def _gather_shard(folder: Path, manifest: dict, evaluator: AvaEvaluator) -> int:
    _, output = tensor_specs(manifest)
    rows = manifest["rows"]
    path = folder / _SCORES
    expected = len(rows) * output.row_bytes
    size = path.stat().st_size if path.is_file() else 0
    if size != expected:
        raise UserError(f"{path}: has {size} bytes, expected {expected} for {len(rows)} rows")
    scores = np.fromfile(path, output.dtype).reshape(len(rows), *output.shape[1:])
    boxes = [np.array(row["boxes_norm"]) for row in rows]
    keys = [(row["video"], row["second"]) for row, some in zip(rows, boxes, strict=True) for _ in some]
    kept = np.concatenate([row_scores[: len(some)] for row_scores, some in zip(scores, boxes, strict=True)])
    evaluator.process(kept, np.concatenate(boxes), keys)
    return len(kept)
