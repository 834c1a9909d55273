"""Time of a training step on one and on several CPU workers, and the share of it that all-reduce takes.

    python benchmarks/scaling.py [--workers 1 2] [--steps 5] [--width 16] [--frames 8] [--crop 64] [--batch 2]

Every worker trains on its own batch of random clips (weak scaling), so ideal scaling keeps the time of a step. The
all-reduce is timed by itself, on arrays of the sizes of the gradients, in a graph of its own. Workers share the cores
of this machine: divide them with --threads.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
CLASSES = 80


def measure(args: argparse.Namespace) -> None:
    """Time steps and all-reduce on this worker; the first prints the medians as JSON."""
    sys.path.insert(0, str(REPOSITORY))
    from src.config.custom_config import load_config
    from src.utils.device import set_up_device
    from src.utils.distributed import init_process_group

    set_up_device("CPU", seed=0)
    group = init_process_group()
    import mindspore as ms
    from mindspore import nn

    from src.engine.train_step import NetworkWithLoss, TrainStep
    from src.models.build import build_model
    from src.models.optimizer import build_optimizer

    settings = {"RESNET.WIDTH_PER_GROUP": args.width, "DATA.NUM_FRAMES": args.frames, "MODEL.NUM_CLASSES": CLASSES}
    cfg = load_config(None, [item for pair in settings.items() for item in pair])
    network = build_model(cfg)
    optimizer = build_optimizer(cfg, network, [1e-3] * 1000)
    step = TrainStep(NetworkWithLoss(network), optimizer, world_size=group.size).set_train(True)
    rng = np.random.default_rng(group.rank)
    fast = rng.normal(size=(args.batch, 3, args.frames, args.crop, args.crop)).astype(np.float32)
    boxes = np.tile(np.float32([0, 0, args.crop / 2, args.crop]), (args.batch, 4, 1))
    labels = rng.integers(0, 2, (args.batch, 4, CLASSES)).astype(np.float32)
    slow = fast[:, :, :: cfg.SLOWFAST.ALPHA].copy()
    inputs = [ms.Tensor(array) for array in (slow, fast, boxes, labels, np.ones((args.batch, 4), np.float32))]
    result = {"step": median_seconds(lambda: step(*inputs).asnumpy(), args.steps, group), "all_reduce": 0.0}
    if group.size > 1:

        class Reduce(nn.Cell):
            """What the step does to the gradients."""

            def __init__(self):
                super().__init__(auto_prefix=False)
                self.average = nn.DistributedGradReducer(optimizer.parameters, mean=True, degree=group.size)

            def construct(self, gradients):
                return self.average(gradients)

        reduce = Reduce()
        gradients = tuple(ms.Tensor(np.ones(parameter.shape, np.float32)) for parameter in optimizer.parameters)
        result["all_reduce"] = median_seconds(lambda: reduce(gradients)[-1].asnumpy(), args.steps, group)
    if group.is_main:
        Path(args.result).write_text(json.dumps(result))


def median_seconds(call, repeats: int, group) -> float:
    """Return the median duration of a call, after one that compiles."""
    call()
    seconds = []
    for _ in range(repeats):
        group.barrier()
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def run(workers: int, args: argparse.Namespace) -> dict[str, float]:
    """Start workers and return what the first measured, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [str(Path(__file__).resolve()), "--result", str(result)]
        for name in ("steps", "width", "frames", "crop", "batch"):
            command += [f"--{name}", str(getattr(args, name))]
        binaries = Path(sys.executable).parent
        environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"}
        if args.threads:
            environment["OMP_NUM_THREADS"] = str(args.threads)
        if workers == 1:
            launcher = [sys.executable]
        else:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            numbers = [f"--worker_num={workers}", f"--local_worker_num={workers}", f"--master_port={port}"]
            launcher = [str(binaries / "msrun"), *numbers, f"--log_dir={folder}/logs", "--join=True"]
        done = subprocess.run([*launcher, *command], cwd=folder, env=environment, capture_output=True, text=True)
        if not result.is_file():
            raise SystemExit(f"{workers} workers failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return json.loads(result.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument(
        "--threads", type=int, default=0, help="OMP_NUM_THREADS of each worker; 0: as MindSpore chooses"
    )
    parser.add_argument("--result", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.result:
        measure(args)
        return
    print(f"{args.batch} clips of {args.frames} x {args.crop} x {args.crop} on each worker, width {args.width}")
    print("workers  step (ms)  all-reduce (ms)  share  clips/s")
    for workers in args.workers:
        seconds = run(workers, args)
        step, reduce = seconds["step"], seconds["all_reduce"]
        clips = workers * args.batch / step
        print(f"{workers:7d}  {step * 1e3:9.1f}  {reduce * 1e3:15.1f}  {reduce / step:5.1%}  {clips:7.2f}", flush=True)


if __name__ == "__main__":
    main()
