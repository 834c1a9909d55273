"""Calls of the C++ runner. Needs no MindSpore."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.cpu import library
from src.deploy.manifest import Manifest
from src.deploy.shards import BOXES, MANIFEST, SCORES, Inputs
from src.utils.errors import UserError
from src.utils.files import write_atomic

RUNNER = Path(__file__).resolve().parents[2] / "ascend310_infer" / "build" / "main"


class NotRunnableError(Exception):
    """This machine has nothing that runs the graph; the message says what is missing."""


def run_on_cpu(graph: Path, inputs: Path, result: Path, folder: Path, threads: int = 0, precision: str = "f32") -> str:
    """Score a folder of inputs with the C++ runner and return what it printed.

    Args:
        graph: the file of the graph.
        inputs: a folder from `write_shard` or `write_arrays`.
        result: where scores.bin goes.
        folder: where the runner runs and leaves time_Result.
        threads: 0: as many as the machine has cores.
        precision: in which an ONNX graph is computed, f32 or bf16.

    Raises:
        NotRunnableError: the runner is not built.
        UserError: the runner failed.
    """
    if not RUNNER.is_file():
        raise NotRunnableError("ascend310_infer/build.sh has not been run")
    # The runner's current folder is another than ours.
    command = [RUNNER, "--mindir_path", graph.resolve(), "--input_path", inputs.resolve()]
    command += ["--result_path", result.resolve(), "--threads", str(threads), "--precision", precision]
    with library.not_held():
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"the C++ runner failed: {done.stderr.strip() or f'status {done.returncode}'}")
    return done.stdout


def run_once(graph: Path, manifest: Manifest, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Score one batch with the C++ runner on the CPU.

    Args:
        graph: the file of the graph.
        manifest: what the JSON file beside it says.
        inputs: slow (which is taken from fast), fast and boxes.

    Raises:
        NotRunnableError, UserError: see `run_on_cpu`.
    """
    _, fast, boxes = inputs
    with tempfile.TemporaryDirectory(prefix="slowfast-") as name:
        folder = Path(name)
        write_arrays(manifest, fast, boxes, folder)
        run_on_cpu(graph, folder, folder / "result", folder)
        scores = np.fromfile(folder / "result" / SCORES, np.float32)
        return scores.reshape(*boxes.shape[:2], manifest.num_classes)


def write_arrays(manifest: Manifest, fast: np.ndarray, boxes: np.ndarray, folder: Path) -> None:
    """Write inputs that are at hand: clips (rows, 3, time, height, width) and boxes (rows, k, 4).

    Axes that the graph leaves open get the arrays' sizes, the batch one row.
    """
    names = [f"fast_{row:06d}.bin" for row in range(len(fast))]
    for name, clip in zip(names, fast, strict=True):
        (folder / name).write_bytes(clip.tobytes())
    (folder / BOXES).write_bytes(boxes.tobytes())
    sizes = {"slow": (1, *fast.shape[1:]), "fast": (1, *fast.shape[1:])}
    sizes |= dict.fromkeys(("boxes", "scores"), (1, *boxes.shape[1:]))
    inputs = Inputs(
        format=manifest.format,
        model=manifest.model,
        inputs=tuple(spec.closed(sizes[spec.name]) for spec in manifest.inputs),
        output=manifest.output.closed(sizes["scores"]),
        slow_frames=manifest.slow_frames,
        clip_files=tuple(names),
        box_file=BOXES,
        row_clips=tuple(range(len(fast))),
    )
    write_atomic(folder / MANIFEST, inputs.model_dump_json())
