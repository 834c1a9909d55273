"""How time and memory of SlowFast on the CPU grow with clips, frames, depth and threads.

    python benchmarks/growth.py [--amp_level O0] [--calls 2] [--cases NAME ...]

A forward pass and a training step of clips of 224 x 224, 8 boxes each, with the kernels for CPUs. Each case differs in
one thing from R50 on one clip of 32 frames by two threads, and runs in a process of its own, whose largest memory it
prints; that of a training step includes its compilation.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

import clips

CASES = {
    "R50, 1 clip of 32, 2 threads": {},
    **{f"{batch} clips": {"batch": batch} for batch in (2, 4, 8, 16)},
    **{f"{frames} frames": {"frames": frames} for frames in (8, 16, 64)},
    "R101": {"depth": 101},
    "1 thread": {"threads": 1},
}


def measure(
    train: bool, amp_level: str, calls: int, batch: int = 1, frames: int = 32, depth: int = 50, threads: int = 2
) -> None:
    """Print the median seconds of a call and the largest memory of this process, in GiB."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    cfg, network = clips.our_network("on", amp_level, "DATA.NUM_FRAMES", frames, "RESNET.DEPTH", depth)
    import mindspore as ms

    arrays = clips.arrays(batch, frames)
    if train:
        call = clips.training_step(cfg, network)
    else:
        call = network.set_train(False)
        arrays = {name: arrays[name] for name in ("slow", "fast", "boxes")}
    inputs = [ms.Tensor(array) for array in arrays.values()]
    call(*inputs).asnumpy()
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        call(*inputs).asnumpy()
        seconds.append(time.perf_counter() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"measured: {statistics.median(seconds):.3f} {memory:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--amp_level", default="O0", choices=["O0", "bf16"])
    parser.add_argument("--calls", type=int, default=2, help="timed calls, after one that compiles (default: 2)")
    parser.add_argument("--cases", nargs="+", metavar="NAME", choices=CASES, default=list(CASES))
    parser.add_argument("--only", choices=["forward", "step"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        measure(args.only == "step", args.amp_level, args.calls, **CASES[args.cases[0]])
        return
    print("case                           forward (s)  memory (GiB)  step (s)  memory (GiB)")
    for case in args.cases:
        shared = ["--amp_level", args.amp_level, "--calls", str(args.calls), "--cases", case]
        numbers = []
        for only in ("forward", "step"):
            command = [sys.executable, __file__, *shared, "--only", only]
            done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            # What needs more memory than there is, the system ends.
            numbers += done.stdout.split("measured:")[1].split() if done.returncode == 0 else ["none", "none"]
        print(f"{case:29s}  {numbers[0]:>11s}  {numbers[1]:>12s}  {numbers[2]:>8s}  {numbers[3]:>12s}", flush=True)


if __name__ == "__main__":
    main()
