"""Time for a clip of SlowFast R50 (32 x 224 x 224, 8 boxes, float32) on the CPU, in one run:

the C++ runner on the exported graph, MindSpore in Python, and pytorchvideo's slowfast_r50_detection on PyTorch.

    python benchmarks/inference.py [--clips 8] [--rounds 3] [--threads N]

Needs ascend310_infer/build.sh to have been run, and benchmarks/requirements.txt. Each runs in a process of its own, in
turns, after one clip to warm up. Printed is the median over all clips, and its ratio to PyTorch.
"""

import argparse
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
OVERRIDES = ["DATA.TEST_SCALE_HEIGHT", "224", "DATA.TEST_SCALE_WIDTH", "224", "EXPORT.NUM_BOXES", "8"]
OVERRIDES += ["EXPORT.FORMAT", "MINDIR_V1"]
CONTESTANTS = {"cpp": "C++ runner", "mindspore": "MindSpore in Python", "pytorch": "pytorchvideo on PyTorch"}


def prepare(folder: Path) -> None:
    """Write a checkpoint of the initial weights and export it."""
    from src.config.custom_config import load_config
    from src.utils.device import set_up_device

    set_up_device("CPU", seed=0)
    from src.checkpoint.mindspore_format import save_checkpoint
    from src.deploy.export import export
    from src.models.build import build_model

    cfg = load_config(RECIPE, OVERRIDES)
    weights = {name: parameter.asnumpy() for name, parameter in build_model(cfg).parameters_dict().items()}
    save_checkpoint(weights, folder / "r50.ckpt")
    export(cfg, folder / "r50.ckpt", folder)


def timed(score: Callable[[], object], clips: int) -> list[float]:
    """Return the milliseconds of each of `clips` calls, after one that is not counted."""
    times = []
    for _ in range(clips + 1):
        start = time.perf_counter()
        score()
        times.append(1000 * (time.perf_counter() - start))
    return times[1:]


def time_cpp(folder: Path, clips: int, threads: int) -> list[float]:
    """The runner tells the median itself; it stands for each clip."""
    from src.deploy.export import random_inputs
    from src.deploy.manifest import read_model
    from src.deploy.shards import run_on_cpu, write_arrays

    model = read_model(folder / "slowfast.mindir")
    _, fast, boxes = random_inputs(model)
    rows = clips + 1  # the first is not counted
    inputs = folder / "inputs"
    inputs.mkdir(exist_ok=True)
    write_arrays(model, np.repeat(fast, rows, 0), np.repeat(boxes, rows, 0), inputs)
    output = run_on_cpu(folder / "slowfast.mindir", inputs, folder / "result", folder, threads)
    return [float(re.search(r"median: ([\d.]+) ms", output)[1])] * clips


def time_mindspore(folder: Path, clips: int, threads: int) -> list[float]:
    from src.config.custom_config import load_config
    from src.utils.device import set_up_device

    set_up_device("CPU", seed=0)
    import mindspore as ms

    from src.deploy.export import random_inputs
    from src.deploy.manifest import describe_graph
    from src.models.build import build_model

    cfg = load_config(RECIPE, OVERRIDES)
    network = build_model(cfg).set_train(False)
    inputs = [ms.Tensor(array) for array in random_inputs(describe_graph(cfg))]
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8, help="clips in a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds in which all take turns")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the C++ runner and PyTorch")
    parser.add_argument("--only", choices=("prepare", *CONTESTANTS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only == "prepare":
        prepare(args.folder)
        return 0
    if args.only:
        contest = {"cpp": time_cpp, "mindspore": time_mindspore, "pytorch": time_pytorch}[args.only]
        print("times:", *contest(args.folder, args.clips, args.threads))
        return 0

    times = {name: [] for name in CONTESTANTS}
    with tempfile.TemporaryDirectory(prefix="slowfast-") as folder:

        def start(what: str) -> str:
            options = ["--only", what, "--folder", folder, "--clips", str(args.clips), "--threads", str(args.threads)]
            return subprocess.run(
                [sys.executable, __file__, *options], check=True, text=True, stdout=subprocess.PIPE
            ).stdout

        print(start("prepare"))
        for number in range(args.rounds):
            for name in CONTESTANTS:
                line = next(line for line in start(name).splitlines() if line.startswith("times:"))
                some = [float(value) for value in line.split()[1:]]
                times[name] += some
                print(f"round {number + 1}: {CONTESTANTS[name]}: {statistics.median(some):.0f} ms")
    yardstick = statistics.median(times["pytorch"])
    for name, title in CONTESTANTS.items():
        median = statistics.median(times[name])
        print(f"{title}: {median:.0f} ms a clip, {median / yardstick:.2f} times PyTorch")
    return 0


if __name__ == "__main__":
    sys.exit(main())
