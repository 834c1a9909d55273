"""Time for a clip of SlowFast R50 (32 x 224 x 224, 8 boxes) on the CPU, in one run.

    python benchmarks/inference.py [--clips 8] [--rounds 3] [--threads N] [--candidates NAME ...] [--peer_python FILE]

Candidates: the C++ runner on a MINDIR (MindSpore Lite) and on an ONNX graph (OpenVINO, float32 and bfloat16), the same
graphs in Python with OpenVINO and onnxruntime, MindSpore in Python, and pytorchvideo's slowfast_r50_detection on
PyTorch. Needs ascend310_infer/build.sh to have been run; a library that is not there is said. Each runs in a process of
its own, in turns, after one clip to warm up. Printed are the median and the minimum over all clips, and the ratio to
PyTorch.
"""

import argparse
import functools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

RECIPE = REPOSITORY / "configs/AVA/SLOWFAST_32x2_R50_SHORT.yaml"
SIZES = ["DATA.TEST_SCALE_HEIGHT", "224", "DATA.TEST_SCALE_WIDTH", "224", "EXPORT.NUM_BOXES", "8"]
GRAPHS = {
    "lite": ["EXPORT.FORMAT", "MINDIR_V1"],
    "onnx": ["EXPORT.FORMAT", "ONNX"],
    "dynamic": ["EXPORT.FORMAT", "ONNX", "EXPORT.DYNAMIC", "True"],
}


def prepare(folder: Path) -> None:
    """Write a checkpoint of the initial weights, its graphs and an example of their inputs."""
    from src.config.custom_config import load_config
    from src.cpu import library
    from src.utils.device import set_up_device

    library.turn_off()  # as export.py
    set_up_device("CPU", seed=0)
    from src.checkpoint.mindspore_format import save_checkpoint
    from src.deploy.export import export, random_inputs
    from src.deploy.manifest import graph_specs
    from src.models.build import build_model

    cfg = load_config(RECIPE, SIZES)
    weights = {name: parameter.asnumpy() for name, parameter in build_model(cfg).parameters_dict().items()}
    save_checkpoint(weights, folder / "r50.ckpt")
    for name, settings in GRAPHS.items():
        export(load_config(RECIPE, [*SIZES, *settings]), folder / "r50.ckpt", folder / name)
    np.savez(folder / "example.npz", *random_inputs(cfg, graph_specs(cfg)[0]))


def example(folder: Path) -> list[np.ndarray]:
    """Return slow, fast and boxes."""
    with np.load(folder / "example.npz") as arrays:
        return [arrays[name] for name in arrays.files]


def timed(score: Callable[[], object], clips: int) -> list[float]:
    """Return the milliseconds of each of `clips` calls, after one that is not counted."""
    times = []
    for _ in range(clips + 1):
        start = time.perf_counter()
        score()
        times.append(1000 * (time.perf_counter() - start))
    return times[1:]


def time_cpp(folder: Path, clips: int, threads: int, graph: str, precision: str = "f32") -> list[float]:
    """The runner tells the median itself; it stands for each clip."""
    from src.deploy.manifest import read_manifest
    from src.deploy.runner import run_on_cpu, write_arrays

    path = folder / graph
    manifest = read_manifest(path)
    _, fast, boxes = example(folder)
    rows = clips + 1  # the first is not counted
    inputs = path.parent / "inputs"
    inputs.mkdir(exist_ok=True)
    write_arrays(manifest, np.repeat(fast, rows, 0), np.repeat(boxes, rows, 0), inputs)
    output = run_on_cpu(path, inputs, path.parent / f"result_{precision}", folder, threads, precision)
    return [float(re.search(r"median: ([\d.]+) ms", output)[1])] * clips


def time_openvino(folder: Path, clips: int, threads: int, precision: str) -> list[float]:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    core, inputs = openvino.Core(), example(folder)
    graph = core.read_model(folder / "dynamic/slowfast.onnx")
    graph.reshape({index: array.shape for index, array in enumerate(inputs)})
    compiled = core.compile_model(graph, "CPU", settings)
    return timed(lambda: compiled(inputs), clips)


def time_onnxruntime(folder: Path, clips: int, threads: int) -> list[float]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    path = str(folder / "onnx/slowfast.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = dict(zip([item.name for item in session.get_inputs()], example(folder), strict=True))
    return timed(lambda: session.run(None, inputs), clips)


def time_mindspore(folder: Path, clips: int, threads: int) -> list[float]:
    from src.config.custom_config import load_config
    from src.utils.device import set_up_device

    set_up_device("CPU", seed=0)
    import mindspore as ms

    from src.models.build import build_model

    network = build_model(load_config(RECIPE, SIZES)).set_train(False)
    inputs = [ms.Tensor(array) for array in example(folder)]
    return timed(lambda: network(*inputs).asnumpy(), clips)


def time_pytorch(folder: Path, clips: int, threads: int) -> list[float]:
    import torch
    from pytorchvideo.models import hub

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = hub.slowfast_r50_detection(pretrained=False).eval()
    clip = torch.randn(1, 3, 32, 224, 224)
    slow = clip[:, :, torch.linspace(0, 31, 8).long()].clone()
    boxes = torch.tensor([[0, 10 * i, 5 * i, 100 + 10 * i, 140 + 5 * i] for i in range(8)], dtype=torch.float32)
    with torch.inference_mode():
        return timed(lambda: network([slow, clip], boxes).numpy(), clips)


CANDIDATES: dict[str, tuple[str, Callable[[Path, int, int], list[float]]]] = {
    "lite": ("C++ runner, MindSpore Lite", functools.partial(time_cpp, graph="lite/slowfast.mindir")),
    "cpp": ("C++ runner, OpenVINO float32", functools.partial(time_cpp, graph="dynamic/slowfast.onnx")),
    "cpp_bf16": (
        "C++ runner, OpenVINO bfloat16",
        functools.partial(time_cpp, graph="dynamic/slowfast.onnx", precision="bf16"),
    ),
    "openvino": ("OpenVINO in Python, float32", functools.partial(time_openvino, precision="f32")),
    "openvino_bf16": ("OpenVINO in Python, bfloat16", functools.partial(time_openvino, precision="bf16")),
    "onnxruntime": ("onnxruntime in Python", time_onnxruntime),
    "mindspore": ("MindSpore in Python", time_mindspore),
    "pytorch": ("pytorchvideo on PyTorch", time_pytorch),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8, help="clips in a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds in which all take turns")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the C++ runner and PyTorch")
    parser.add_argument("--peer_python", default=sys.executable, metavar="FILE", help="a Python with PyTorch")
    parser.add_argument("--candidates", nargs="+", choices=CANDIDATES, default=[*CANDIDATES], metavar="NAME")
    parser.add_argument("--only", choices=("prepare", *CANDIDATES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only == "prepare":
        prepare(args.folder)
        return 0
    if args.only:
        print("times:", *CANDIDATES[args.only][1](args.folder, args.clips, args.threads))
        return 0

    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="slowfast-") as folder:

        def start(what: str, python: str = sys.executable) -> subprocess.CompletedProcess:
            options = ["--only", what, "--folder", folder, "--clips", str(args.clips), "--threads", str(args.threads)]
            return subprocess.run([python, __file__, *options], text=True, capture_output=True, check=False)

        done = start("prepare")
        print(done.stdout, done.stderr if done.returncode else "", sep="")
        for number in range(args.rounds):
            for name in args.candidates:
                done = start(name, args.peer_python if name == "pytorch" else sys.executable)
                line = next((line for line in done.stdout.splitlines() if line.startswith("times:")), None)
                if line is None:
                    reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
                    print(f"round {number + 1}: {CANDIDATES[name][0]}: not timed: {reason}")
                    continue
                some = [float(value) for value in line.split()[1:]]
                times.setdefault(name, []).extend(some)
                print(f"round {number + 1}: {CANDIDATES[name][0]}: {statistics.median(some):.0f} ms", flush=True)
    baseline = statistics.median(times["pytorch"]) if "pytorch" in times else None
    for name, some in times.items():
        median = statistics.median(some)
        ratio = f", {median / baseline:.2f} times PyTorch" if baseline else ""
        print(f"{CANDIDATES[name][0]}: {median:.0f} ms a clip (minimum {min(some):.0f}){ratio}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
