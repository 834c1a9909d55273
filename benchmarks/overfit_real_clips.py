"""Prepare real clips, train a narrow SlowFast on them from scratch, and say how long it took to learn them.

    python benchmarks/overfit_real_clips.py CLIPS OUT

CLIPS holds videos/, keyframes.csv (AVA's columns) and label_map.pbtxt. Validation is on the training clips: this shows
that the whole way from video files to detections can learn, not that it generalises. OUT must not exist. Exit status 1
if the mAP at the end is 0.9 or less.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
GOAL = 0.9


def run(*command: str | Path) -> list[str]:
    """Run a Python command of the repository, show its output, and return its lines."""
    with subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as process:
        lines = []
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with status {process.returncode}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, metavar="CLIPS")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("overrides", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="configuration keys to set")
    args = parser.parse_args()
    clips, out = args.clips.resolve(), args.out.resolve()
    start = time.monotonic()
    files = ("--videos", clips / "videos", "--boxes", clips / "keyframes.csv", "--labels", clips / "label_map.pbtxt")
    run("-m", "src.datasets.prepare", "custom", *files, "--out", out, "--val-share", "0")
    run("-m", "src.datasets.prepare", "verify", "--root", out)
    prepared = time.monotonic()
    lines = run("train.py", "--cfg", out / "slowfast_small.yaml", *args.overrides)
    trained = time.monotonic()
    stats = [json.loads(line.split("json_stats: ", 1)[1]) for line in lines if "json_stats: " in line]
    score = [entry["map"] for entry in stats if "map" in entry][-1]
    print(f"prepared in {prepared - start:.0f} s, trained in {trained - prepared:.0f} s on {os.cpu_count()} CPUs")
    print(f"mAP on the training clips: {score:.4f}, wanted: more than {GOAL}")
    return 0 if score > GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
