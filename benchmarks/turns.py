"""Timing candidates in turns, each in a process of its own, so that ratios hold while the machine's speed drifts."""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

OURS, PEER = "MindSpore", "PyTorch"


@dataclass(frozen=True)
class Candidate:
    """One of those that are timed.

    Attributes:
        set_up: takes the parsed arguments, sets itself up, and returns what is to be timed.
        modules: what has to be importable; with any, it runs in the peers' Python.
        file_option: the option that names a file it needs, without dashes; None: it needs none.
    """

    set_up: Callable[[argparse.Namespace], Callable[[], object]]
    modules: tuple[str, ...] = ()
    file_option: str | None = None


def parser(description: str, calls: int, rounds: int) -> argparse.ArgumentParser:
    """Return a parser of the options that all benchmarks in turns share.

    Args:
        description: what is timed.
        calls: timed calls in a round, after one that is not.
        rounds: how often each takes its turn.
    """
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--calls", type=int, default=calls, help=f"timed calls in a turn (default: {calls})")
    result.add_argument("--rounds", type=int, default=rounds, help=f"turns of each (default: {rounds})")
    result.add_argument("--threads", type=int, default=2, help="threads (default: 2)")
    result.add_argument("--batch", type=int, default=1, help="clips in a batch (default: 1)")
    result.add_argument("--peer_python", default=sys.executable, help="the Python that has PyTorch and the other peers")
    result.add_argument("--candidates", nargs="+", metavar="NAME", help="those to time (default: all that can run)")
    result.add_argument("--only", help=argparse.SUPPRESS)
    return result


def run(args: argparse.Namespace, candidates: Mapping[str, Candidate]) -> int:
    """Be the main program of a benchmark: time the candidates and print medians and ratios to PyTorch's.

    Args:
        args: what the parser made of the command line.
        candidates: by name, `OURS` among them; those whose packages are not installed are left out. Seconds are of
            the wall clock; `cpu` is processor time.
    """
    if args.only:
        os.environ["OMP_NUM_THREADS"] = str(args.threads)
        print("times:", *_time(candidates[args.only].set_up(args), args.calls))
        return 0

    times = {name: [] for name in args.candidates or candidates if _can_run(args, name, candidates[name])}
    for number in range(args.rounds):
        for name, results in times.items():
            python = args.peer_python if candidates[name].modules else sys.executable
            output = subprocess.run(
                [python, *sys.argv, "--only", name], check=True, text=True, stdout=subprocess.PIPE
            ).stdout
            numbers = [float(value) for value in output.split("times:")[1].split()]
            some = list(zip(numbers[::2], numbers[1::2], strict=True))
            results += some
            print(f"round {number + 1}: {name}: {statistics.median(wall for wall, _ in some):.3f} s", flush=True)
    medians = {name: statistics.median(wall for wall, _ in some) for name, some in times.items()}
    # Ours comes last: the closing line is what scripts read.
    for name in sorted(medians, key=lambda name: name == OURS):
        walls, cpus = zip(*times[name], strict=True)
        spread = f"minimum {min(walls):.3f} s, cpu {statistics.median(cpus):.3f} s"
        ratio = f", {medians[name] / medians[PEER]:.2f} times {PEER}" if PEER in medians else ""
        print(f"{name}: median {medians[name]:.3f} s{ratio} ({spread})")
    return 0


def _can_run(args: argparse.Namespace, name: str, candidate: Candidate) -> bool:
    if candidate.file_option and not getattr(args, candidate.file_option):
        print(f"{name} is left out: it needs --{candidate.file_option}")
        return False
    if not candidate.modules:
        return True
    command = [args.peer_python, "-c", f"import {', '.join(candidate.modules)}"]
    if subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0:
        return True
    print(f"{name} is left out: {args.peer_python} has no {' or no '.join(candidate.modules)}")
    return False


def _time(call: Callable[[], object], calls: int) -> list[float]:
    """Return the seconds and the processor seconds of each of `calls` calls, after one that is not counted."""
    times = []
    for _ in range(calls + 1):
        start, processor = time.perf_counter(), time.process_time()
        call()
        times += [time.perf_counter() - start, time.process_time() - processor]
    return times[2:]
