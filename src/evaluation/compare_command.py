"""`python -m src.evaluation compare A.csv B.csv ...`: is the difference in mAP more than chance?"""

import math
import sys
import time
from pathlib import Path

from src.evaluation.comparison import LEVEL, Comparison, Difference, compare
from src.evaluation.options import (
    add_truth_options,
    check_json,
    minimum_iou,
    read_named_detections,
    read_truth,
    write_json,
)
from src.evaluation.sanity import check_tables, warning_lines
from src.utils.arguments import OneLineParser, positive, whole

# Below this an interval over videos is too narrow to be taken at its word.
_FEW_VIDEOS = 20


def main(arguments: list[str]) -> int:
    """Compare the detections that the arguments name; returns the exit status."""
    parser = OneLineParser(
        prog="python -m src.evaluation compare",
        description="Tell whether two files of detections differ in mAP beyond the chance that chose the videos.",
    )
    parser.add_argument("first", type=Path, metavar="A.csv", help="video, second, x1, y1, x2, y2, class id, score")
    parser.add_argument("second", type=Path, metavar="B.csv", help="the same; differences are B - A")
    add_truth_options(parser)
    parser.add_argument("--iou", type=minimum_iou, default=0.5, help="minimum IoU of a true positive (0.5)")
    parser.add_argument("--resamples", type=positive, default=1000, help="draws of the bootstrap (1000)")
    parser.add_argument("--seed", type=whole, default=0, help="of the draws (0)")
    parser.add_argument("--json", type=Path, help="write the values to this file")
    args = parser.parse_args(arguments)
    check_json(args)
    start = time.perf_counter()
    truth = read_truth(args)
    first, second = (read_named_detections(path, truth.label_map, args.labelmap) for path in (args.first, args.second))
    result = compare(
        truth.table,
        first,
        second,
        truth.label_map,
        excluded=truth.excluded,
        iou_threshold=args.iou,
        order=args.order,
        resamples=args.resamples,
        seed=args.seed,
    )
    print(format_comparison(result))
    print(f"{result.resamples} resamples of {result.num_videos} videos in {time.perf_counter() - start:.2f} seconds.")
    for path, detections in ((args.first, first), (args.second, second)):
        for line in warning_lines(check_tables(truth.table, detections, truth.label_map, truth.excluded)):
            print(f"{path}: {line}", file=sys.stderr)
    if args.json:
        write_json(args.json, _values(result))
    return 0


def format_comparison(result: Comparison) -> str:
    """Return a line for each class, the largest gain first, then the mean and what to make of it."""
    width = max(len(name) for name in [*result.classes, "class"])
    lines = [f"{'class':{width}}  boxes  videos       A       B    B - A   {LEVEL:.0%} interval"]
    for name, value in sorted(result.classes.items(), key=lambda item: -_or(item[1].gain, -math.inf)):
        counts = f"{result.num_ground_truth[name]:5d}  {result.num_truth_videos[name]:6d}"
        lines.append(f"{name:{width}}  {counts}  {_row(value) if result.num_ground_truth[name] else 'no ground truth'}")
    lines.append(f"{'mean':{width}}  {'':5}  {result.num_videos:6d}  {_row(result.map)}")
    scored = [value for value in result.classes.values() if not math.isnan(value.low)]
    beyond = sum(value.is_beyond_noise for value in scored)
    lines.append(
        f"* {beyond} of {len(scored)} classes differ beyond noise; by chance alone about "
        f"{(1 - LEVEL) * len(scored):.1f} of them would."
    )
    if result.num_videos < _FEW_VIDEOS:
        lines.append(f"There are only {result.num_videos} videos: the intervals are rather too narrow.")
    return "\n".join([*lines, verdict(result)])


def verdict(result: Comparison) -> str:
    """Return one sentence that says whether the difference in mAP is beyond noise."""
    value = result.map
    if math.isnan(value.gain):
        return "No class has ground truth: there is nothing to compare."
    what = f"mAP@{result.iou_threshold:g}"
    over = f"{LEVEL:.0%} interval {value.low:+.4f} to {value.high:+.4f} over {result.resamples} draws of the videos"
    if not value.is_beyond_noise:
        return f"The difference of {value.gain:+.4f} in {what} is within noise ({over})."
    better, worse = ("B", "A") if value.gain > 0 else ("A", "B")
    return f"{better} is better than {worse} by {abs(value.gain):.4f} in {what}, beyond noise ({over})."


def _row(value: Difference) -> str:
    numbers = f"{value.first:.4f}  {value.second:.4f}  {value.gain:+.4f}"
    if math.isnan(value.low):
        return f"{numbers}   none: ground truth in one video only"
    return f"{numbers}   {value.low:+.4f} to {value.high:+.4f}{' *' if value.is_beyond_noise else ''}"


def _values(result: Comparison) -> dict[str, object]:
    def one(value: Difference) -> dict[str, object]:
        numbers = {"first": value.first, "second": value.second, "difference": value.gain}
        numbers |= {"low": value.low, "high": value.high}
        return {key: _or(number, None) for key, number in numbers.items()} | {"beyond_noise": value.is_beyond_noise}

    return {
        "iou": result.iou_threshold,
        "level": LEVEL,
        "resamples": result.resamples,
        "seed": result.seed,
        "videos": result.num_videos,
        "verdict": verdict(result),
        "mAP": one(result.map),
        "classes": {
            name: one(value)
            | {"ground_truth": result.num_ground_truth[name], "ground_truth_videos": result.num_truth_videos[name]}
            for name, value in result.classes.items()
        },
    }


def _or(number: float, otherwise: float | None) -> float | None:
    return otherwise if math.isnan(number) else number
