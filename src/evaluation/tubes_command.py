"""`python -m src.evaluation tubes ...`: video-mAP and frame-mAP of tubes."""

import math
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np

from src.ava.label_map import read_label_map
from src.ava.text_files import read_text
from src.evaluation.ava_metric import mean_of_defined
from src.evaluation.options import check_json, minimum_iou, write_json
from src.evaluation.tube_sources import MULTISPORTS_LEFT_OUT, Account, read_found, read_truth, tables
from src.evaluation.tubes import PROTOCOLS, TubeTable, frame_average_precision, video_average_precision
from src.utils.arguments import OneLineParser, positive

_FRAME_IOU = 0.5
# Means over thresholds that are published, as their authors compute them.
_MEANS = {"0.5:0.95": [0.5 + 0.05 * step for step in range(10)]}
_MULTISPORTS_MEANS = {
    "0.05:0.45": [0.05 + 0.05 * step for step in range(9)],
    "0.1:0.9": [0.1 + 0.1 * step for step in range(9)],
}


def _rate(text: str) -> Fraction:
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise ArgumentTypeError(f"{text!r}, expected a number as 25 or 30000/1001") from error
    if value <= 0:
        raise ArgumentTypeError(f"{text!r}, expected more than 0")
    return value


def main(arguments: list[str]) -> int:
    """Score the tubes that the arguments name; returns the exit status."""
    args = _parse(arguments)
    check_json(args)
    account = Account()
    label_map = read_label_map(args.labelmap) if args.labelmap else None
    videos = read_text(args.videos, "list of videos").splitlines() if args.videos else None
    truth = read_truth(args.groundtruth, label_map, args.split, videos, args.fps, account)
    truth_table, found_table = tables(truth, read_found(args.detections, truth, account), account)

    labels = list(truth.labels.values())
    counts = np.bincount(truth_table.label, minlength=len(labels))
    counted = [args.protocol != "multisports" or name not in MULTISPORTS_LEFT_OUT for name in labels]
    columns = _columns(truth_table, found_table, len(labels), args.iou, args.protocol, truth.pixel)
    columns = {name: np.where(counted, values, np.nan) for name, values in columns.items()}
    print(_format(labels, counts, counted, columns))
    print(
        f"{len(truth_table.label)} tubes of {len(truth.videos)} videos, {len(found_table.label)} detected; "
        f"protocol {args.protocol}."
    )
    notes = account.lines()
    if args.fps is None and truth.fps is not None:
        notes.append(f"{float(truth.fps):g} frames make a second, by the smallest step of the ground truth (--fps)")
    if args.protocol == "ucf101-24" and not truth.pixel:
        notes.append("boxes are shares of the frame: the pixel that this protocol adds to widths and heights is not")
    if len(found_table.label) == 0:
        notes.append("there is no detected tube in the videos that count")
    for line in notes:
        print(f"note: {line}", file=sys.stderr)
    if args.json:
        write_json(args.json, _values(args.protocol, labels, counts, columns))
    return 0


def _parse(arguments: list[str]) -> Namespace:
    parser = OneLineParser(
        prog="python -m src.evaluation tubes",
        description="Compute video-mAP and frame-mAP of tubes: where one person does one thing, frame by frame.",
    )
    parser.add_argument(
        "--groundtruth",
        required=True,
        type=Path,
        help="UCF101v2-GT.pkl, pyannot.pkl, JHMDB-GT.pkl, multisports_GT.pkl, or AVA's columns with a person id",
    )
    parser.add_argument(
        "--detections",
        required=True,
        type=Path,
        help="MultiSports' video_detections.pkl, AVA's columns with the tube in the ninth, or predict's folder",
    )
    parser.add_argument("--protocol", choices=PROTOCOLS, default=PROTOCOLS[0], help="whose rules (ucf101-24)")
    parser.add_argument("--labelmap", type=Path, help="label map (.pbtxt), for AVA's columns")
    parser.add_argument("--split", type=positive, default=1, help="which test split of a pickle (1)")
    parser.add_argument("--videos", type=Path, help="text file of the videos that count, one a line")
    parser.add_argument("--fps", type=_rate, help="frames a second, where seconds are to become frames")
    parser.add_argument(
        "--iou", type=minimum_iou, nargs="+", default=[0.2, 0.5], help="minimum overlap of tubes; one or several"
    )
    parser.add_argument("--json", type=Path, help="write the values to this file")
    return parser.parse_args(arguments)


def _columns(
    truth: TubeTable, found: TubeTable, num_classes: int, ious: list[float], protocol: str, pixel: float
) -> dict[str, np.ndarray]:
    """Return the average precision of each class under each name that is printed."""
    means = _MEANS | (_MULTISPORTS_MEANS if protocol == "multisports" else {})
    thresholds = sorted({*ious, *(value for values in means.values() for value in values)})
    values = video_average_precision(truth, found, num_classes, thresholds, protocol, pixel)
    video = dict(zip(thresholds, values, strict=True))
    (frame,) = frame_average_precision(truth, found, num_classes, [_FRAME_IOU], protocol, pixel)
    columns = {f"frame@{_FRAME_IOU:g}": frame} | {f"video@{iou:g}": video[iou] for iou in ious}
    return columns | {f"video@{name}": np.mean([video[iou] for iou in some], axis=0) for name, some in means.items()}


def _values(
    protocol: str, labels: list[str], counts: np.ndarray, columns: Mapping[str, np.ndarray]
) -> dict[str, object]:
    """Return what the JSON file holds."""
    classes = {
        label: {name: _or_none(column[at]) for name, column in columns.items()} | {"tubes": int(counts[at])}
        for at, label in enumerate(labels)
    }
    means = {name: _or_none(mean_of_defined(column)) for name, column in columns.items()}
    return {"protocol": protocol, "mAP": means, "classes": classes}


def _format(labels: list[str], counts: np.ndarray, counted: list[bool], columns: Mapping[str, np.ndarray]) -> str:
    width = max(map(len, [*labels, "class"]))
    lines = [f"{'class':{width}}  tubes  " + "  ".join(f"{name:>15}" for name in columns)]
    for at, label in enumerate(labels):
        cells = "  ".join(f"{column[at]:15.4f}" for column in columns.values())
        why = "no ground truth" if counted[at] else "left out, as MultiSports' evaluation does"
        lines.append(f"{label:{width}}  {counts[at]:5d}  " + (cells if counted[at] and counts[at] else why))
    means = "  ".join(f"{mean_of_defined(column):15.4f}" for column in columns.values())
    return "\n".join([*lines, f"{'mAP':{width}}  {int(counts[np.array(counted)].sum()):5d}  {means}"])


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
