"""Time and memory of the index of a dataset of AVA's size: built, and from its cache; and what workers share.

    python benchmarks/index.py [--videos 235] [--box_rows 1600000]

Writes lists of the given size (27,030 frames a video, three persons in 784 key frames a video) to a temporary folder,
loads them in a fresh process without and with a cache, and forks four workers that read all of the tables.
"""

import argparse
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.ava.frame_list import FrameList
from src.datasets.key_frames import KeyFrames, load_key_frames

_FRAMES, _SECONDS, _PERSONS, _WORKERS = 27_030, 784, 3, 4


def write_lists(folder: Path, videos: int, box_rows: int) -> None:
    """Write frames.csv and boxes.csv."""
    rng = np.random.Generator(np.random.PCG64(0))
    labels = np.full(videos * _SECONDS * _PERSONS, box_rows // (videos * _SECONDS * _PERSONS))
    labels[: box_rows - labels.sum()] += 1
    corners = rng.uniform(0, 0.5, (len(labels), 2)).round(3)
    with (folder / "frames.csv").open("w") as frames, (folder / "boxes.csv").open("w") as boxes:
        frames.write("original_vido_id video_id frame_id path labels\n")
        box = 0
        for video in range(videos):
            name = f"video{video:06d}"
            frames.writelines(f'{name} {video} {k} {name}/{name}_{k + 1:06d}.jpg ""\n' for k in range(_FRAMES))
            for second in range(902, 902 + _SECONDS):
                for person in range(_PERSONS):
                    x, y = corners[box]
                    place = f"{name},{second:04d},{x:.3f},{y:.3f},{x + 0.2:.3f},{y + 0.4:.3f}"
                    boxes.writelines(f"{place},{1 + label},{person}\n" for label in range(labels[box]))
                    box += 1


def load(folder: Path) -> tuple[FrameList, KeyFrames]:
    """Load both lists."""
    frames = FrameList([folder / "frames.csv"])
    settings = {"num_classes": 80, "score_threshold": 0.8, "valid_seconds": (902, 1798)}
    return frames, load_key_frames([folder / "boxes.csv"], [], frames.names, **settings)


def measure(folder: Path) -> None:
    """Load in this process and print what it took, then fork workers."""
    before = _peak()
    wall, cpu = time.perf_counter(), time.process_time()
    frames, key_frames = load(folder)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"{frames.counts.sum():,} frames, {len(key_frames):,} key frames, {len(key_frames.labels):,} labels: "
        f"{wall:.2f} s ({cpu:.2f} s of processor time), peak {_peak():.0f} MB, of which {before:.0f} MB imports"
    )
    with multiprocessing.get_context("fork").Pool(_WORKERS, _keep, (frames, key_frames)) as pool:
        private = pool.map(_read_all, range(_WORKERS), chunksize=1)
    print(f"  each of {_WORKERS} workers that read all of it: {max(private):.1f} MB of its own")


_kept: tuple[FrameList, KeyFrames]


def _keep(*index: object) -> None:
    global _kept
    _kept = index


def _read_all(_: int) -> float:
    """Visit every key frame and its first frame's path; return how much private memory that cost, in MB."""
    frames, key_frames = _kept
    before = _private()
    for index in range(len(key_frames)):
        key_frames.multi_hot(index, 80)
        frames.path(int(key_frames.video[index]), index % int(frames.counts[0]))
    return _private() - before


def _private() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1e3


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=235)
    parser.add_argument("--box_rows", type=int, default=1_600_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write_lists(Path(folder), args.videos, args.box_rows)
        for state in ("built", "from the cache"):
            print(state, flush=True)
            subprocess.run([sys.executable, __file__, "--measure", folder], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
