"""Recall and precision of the person detectors on annotated videos, and their time a frame.

    python benchmarks/detection.py FOLDER [--step 5] [--threads 1] [--precision f32|bf16] [--detector FILE.onnx]

FOLDER holds videos/NAME.mp4 and boxes.csv with the columns video, frame0 (from 0), x1, y1, x2, y2 (normalized). Every
STEP-th annotated frame counts. Precision is a lower bound where not everybody is annotated.
"""

import argparse
import csv
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from src.predict.detector import Detector, EfficientDet, MoveNet, OnnxDetector, PersonDetector
from src.predict.model_files import EFFICIENTDET, MOVENET, model_path
from src.predict.tracker import overlaps

_SCORES = (0.3, 0.4, 0.5)
_IOU = 0.5


def annotated_frames(folder: Path, step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield every `step`-th annotated frame (BGR) with its boxes, normalized (n, 4)."""
    boxes: dict[str, dict[int, list]] = defaultdict(lambda: defaultdict(list))
    with (folder / "boxes.csv").open() as file:
        for row in csv.DictReader(file):
            boxes[row["video"]][int(row["frame0"])].append([float(row[name]) for name in ("x1", "y1", "x2", "y2")])
    for name, frames in sorted(boxes.items()):
        capture, index = cv2.VideoCapture(str(folder / "videos" / f"{name}.mp4")), 0
        while (read := capture.read())[0]:
            if index in frames and index % step == 0:
                yield read[1], np.array(frames[index])
            index += 1


def matches(boxes: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Tell which boxes, in descending score, find a truth that no better one found: bool (n,)."""
    overlap = overlaps(boxes, truth)
    found = np.zeros(len(boxes), bool)
    for index in np.argsort(-scores, kind="stable"):
        best = int(np.argmax(overlap[index]))
        if overlap[index, best] >= _IOU:
            found[index] = True
            overlap[:, best] = -1.0
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--step", type=int, default=5, help="take every so many annotated frames (default: 5)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each detector (default: 1)")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32", help="of the default ones (f32)")
    parser.add_argument("--detector", type=Path, help="a detector in ONNX beside the default ones")
    args = parser.parse_args()
    movenet = MoveNet(model_path(MOVENET), args.threads, args.precision)
    efficientdet = EfficientDet(model_path(EFFICIENTDET), args.threads, args.precision)
    detectors: dict[str, Detector] = {
        "both (default)": PersonDetector(movenet, efficientdet),
        "MoveNet": PersonDetector(movenet),
        "EfficientDet-Lite0": PersonDetector(efficientdet),
    }
    if args.detector:
        detectors[args.detector.name] = OnnxDetector(args.detector, args.threads)
    right, scored, times = defaultdict(list), defaultdict(list), defaultdict(list)
    count = 0
    for image, truth in annotated_frames(args.folder, args.step):
        count += len(truth)
        for name, detector in detectors.items():
            start = time.perf_counter()
            boxes, scores = detector.detect(image, min(_SCORES))
            times[name].append(time.perf_counter() - start)
            right[name].append(matches(boxes, scores, truth))
            scored[name].append(scores)
    print(f"{count} boxes; recall / precision at IoU {_IOU}, by score; milliseconds a frame")
    for name in detectors:
        found, scores = np.concatenate(right[name]), np.concatenate(scored[name])
        cells = [
            f"{found[scores >= threshold].sum() / count:.3f} / {found[scores >= threshold].mean():.3f} at {threshold}"
            for threshold in _SCORES
        ]
        print(f"{name}: {', '.join(cells)}; {1e3 * statistics.median(times[name]):.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
