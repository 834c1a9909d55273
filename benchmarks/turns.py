"""Timing contestants in turns, each in a process of its own, so that ratios hold while the machine's speed drifts."""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

Contestant = Callable[[int], Callable[[], object]]
"""Takes the number of threads, sets itself up, and returns what is to be timed."""

PEER = "PyTorch"


def run(description: str, contestants: Mapping[str, Contestant], calls: int, rounds: int) -> int:
    """Be the main program of a benchmark: time the contestants and print medians and ratios to PyTorch's.

    Args:
        description: what is timed.
        contestants: by name; `PEER` is left out where its packages are not installed.
        calls: timed calls in a round, after one that is not.
        rounds: how often each takes its turn.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=calls, help=f"timed calls in a turn (default: {calls})")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"turns of each (default: {rounds})")
    parser.add_argument("--threads", type=int, default=2, help="threads (default: 2)")
    parser.add_argument("--peer_python", default=sys.executable, help=f"the Python that has {PEER}")
    parser.add_argument("--only", choices=list(contestants), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print("times:", *_time(contestants[args.only](args.threads), args.calls))
        return 0

    pythons = {name: args.peer_python if name == PEER else sys.executable for name in contestants}
    if subprocess.run([args.peer_python, "-c", "import torch, pytorchvideo"], stderr=subprocess.DEVNULL).returncode:
        print(f"{PEER} and pytorchvideo are not installed (benchmarks/requirements.txt); no ratio")
        del pythons[PEER]
    times = {name: [] for name in pythons}
    for number in range(args.rounds):
        for name, python in pythons.items():
            options = ["--only", name, "--calls", str(args.calls), "--threads", str(args.threads)]
            output = subprocess.run(
                [python, sys.argv[0], *options], check=True, text=True, stdout=subprocess.PIPE
            ).stdout
            some = [float(value) for value in output.split("times:")[1].split()]
            times[name] += some
            print(f"round {number + 1}: {name}: {statistics.median(some):.2f} s", flush=True)
    medians = {name: statistics.median(some) for name, some in times.items()}
    for name, median in medians.items():
        ratio = f", {median / medians[PEER]:.2f} times {PEER}" if PEER in medians else ""
        print(f"{name}: median {median:.2f} s{ratio}")
    return 0


def _time(call: Callable[[], object], calls: int) -> list[float]:
    """Return the seconds of each of `calls` calls, after one that is not counted."""
    times = []
    for _ in range(calls + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times[1:]
