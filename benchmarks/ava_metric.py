"""Time and memory of the AVA metric on files of the size of AVA v2.2 validation, against a bare reading of the CSV.

    python -m benchmarks.ava_metric [SMALL_PREFIX LARGE_PREFIX]

The baseline, taken in the same run, is a loop that reads the detections with Python's csv module and turns the four
coordinates into floats: a ratio to it says the same on a fast machine and on a slow one. Files of 8 and 64 videos
(0.7 and 5.8 million detections) are made up in a temporary folder, unless prefixes of files PREFIX_gt.csv and
PREFIX_det.csv are given.
"""

import argparse
import csv
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from src.ava.box_csv import read_detections, read_ground_truth, write_boxes
from src.ava.box_table import BoxTable
from src.evaluation.ava_metric import AvaEvaluator

VIDEOS = (8, 64)
NUM_CLASSES = 60
REPEATS = 3


def make_files(prefix: str, videos: int, seed: int = 0) -> None:
    """Write PREFIX_gt.csv and PREFIX_det.csv: 897 key frames a video, 1.7 people a frame, 60 scores a person."""
    rng = np.random.default_rng(seed)
    per_frame = 1 + np.minimum(rng.poisson(0.7, videos * 897), 6)
    frame = np.repeat(np.arange(len(per_frame)), per_frame)
    low = rng.uniform(0, 0.6, (len(frame), 2))
    people = np.concatenate([low, low + rng.uniform(0.15, 0.4, (len(frame), 2))], axis=1).round(3)
    labels = rng.random((len(frame), NUM_CLASSES)) < rng.dirichlet(np.full(NUM_CLASSES, 0.3)) * 2.3
    person, class_index = np.nonzero(labels)
    names = tuple(f"video{index:06d}" for index in range(videos))

    def table(boxes: np.ndarray, of: np.ndarray, row_box: np.ndarray, row_class: np.ndarray, score=None) -> BoxTable:
        video, second = (of // 897).astype(np.int32), (902 + of % 897).astype(np.int32)
        return BoxTable(names, video, second, boxes, row_box.astype(np.int32), row_class.astype(np.int16), score)

    write_boxes(f"{prefix}_gt.csv", table(people, frame, person, class_index + 1))
    found = rng.random(len(frame)) < 0.9
    size = np.tile(people[:, 2:] - people[:, :2], 2)
    near = np.clip(people + rng.normal(0, 0.07, people.shape) * size, 0, 1).round(3)[found]
    score = (rng.beta(0.3, 8, labels.shape) + labels * 0.6 * rng.random(labels.shape)).clip(0, 0.97)[found]
    rows = np.repeat(np.arange(len(near)), NUM_CLASSES), np.tile(np.arange(1, NUM_CLASSES + 1), len(near))
    write_boxes(f"{prefix}_det.csv", table(near, frame[found], *rows, score.ravel().astype(np.float32)))


def baseline(prefix: str) -> float:
    """Seconds to read the detections with Python's csv module and turn the coordinates into floats."""
    start = time.perf_counter()
    with Path(f"{prefix}_det.csv").open(newline="") as file:
        for row in csv.reader(file):
            float(row[2]), float(row[3]), float(row[4]), float(row[5])
    return time.perf_counter() - start


def from_csv(prefix: str, label_map: str) -> tuple[float, float]:
    """Seconds and peak MB of the command line, from CSV files to mAP, with the start of Python and all imports."""
    arguments = ["--groundtruth", f"{prefix}_gt.csv", "--detections", f"{prefix}_det.csv", "--labelmap", label_map]
    command = [sys.executable, "-m", "src.evaluation", *arguments]
    start = time.perf_counter()
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        child = os.posix_spawn(
            sys.executable, command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1)]
        )
        _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def from_arrays(prefix: str, label_map: dict[int, str]) -> float:
    """Seconds from a network's scores in memory to mAP, in batches of 64 boxes."""
    truth, found = read_ground_truth(f"{prefix}_gt.csv"), read_detections(f"{prefix}_det.csv")
    scores = np.zeros((len(found.video), max(label_map)), dtype=np.float32)
    scores[found.row_box, found.row_class - 1] = found.row_score
    metadata = np.stack([found.video, found.second], axis=1)
    start = time.perf_counter()
    evaluator = AvaEvaluator(truth, label_map, videos=found.video_names)
    for low in range(0, len(scores), 64):
        batch = slice(low, low + 64)
        evaluator.process(scores[batch], found.boxes_norm[batch], metadata[batch])
    evaluator.evaluate()
    return time.perf_counter() - start


def measure(prefix: str, label_map: dict[int, str], label_file: str) -> tuple[float, float]:
    """Print the figures of one pair of files; seconds from CSV and from arrays."""
    runs = [from_csv(prefix, label_file) for _ in range(REPEATS)]
    csv_seconds, megabytes = min(run[0] for run in runs), max(run[1] for run in runs)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        array_seconds = min(pool.submit(from_arrays, prefix, label_map).result() for _ in range(REPEATS))
    unit = min(baseline(prefix) for _ in range(REPEATS - 1))
    print(f"  baseline     {unit:7.2f} s")
    print(
        f"  from CSV     {csv_seconds:7.2f} s  {csv_seconds / unit:.3f} times the baseline  {megabytes:.0f} MB at most"
    )
    print(f"  from arrays  {array_seconds:7.2f} s  {array_seconds / unit:.3f} times the baseline")
    return csv_seconds, array_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefixes", nargs="*", help="prefixes of a small and a large pair of files")
    prefixes = parser.parse_args().prefixes
    if len(prefixes) not in (0, 2):
        parser.error("expected no prefix or two")
    with tempfile.TemporaryDirectory() as folder:
        if not prefixes:
            prefixes = [f"{folder}/{videos}" for videos in VIDEOS]
            with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
                list(pool.map(make_files, prefixes, VIDEOS))
        label_map = {class_id: f"class {class_id}" for class_id in range(1, 81)}
        label_file = f"{folder}/labels.pbtxt"
        items = [f'item {{ name: "{name}" id: {class_id} }}\n' for class_id, name in label_map.items()]
        Path(label_file).write_text("".join(items))
        seconds, rows = [], []
        for prefix in prefixes:
            with Path(f"{prefix}_det.csv").open("rb") as file:
                rows.append(sum(1 for _ in file))
            print(f"{rows[-1]:,} detections")
            seconds.append(measure(prefix, label_map, label_file))
    growth = rows[1] / rows[0]
    for name, small, large in zip(("CSV", "arrays"), *seconds, strict=True):
        print(f"from {name}: {large / small:.1f} times as long for {growth:.1f} times the detections")


if __name__ == "__main__":
    main()
