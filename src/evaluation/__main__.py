"""Score AVA detections: `python -m src.evaluation --groundtruth GT.csv --detections DET.csv --labelmap MAP.pbtxt`."""

import argparse
import json
import sys
import time
from pathlib import Path

from src.ava.box_csv import read_detections, read_excluded, read_ground_truth
from src.ava.label_map import read_label_map
from src.evaluation.ava_metric import ORDERS, evaluate_boxes
from src.evaluation.sanity import check_tables, warning_lines
from src.utils.arguments import OneLineParser
from src.utils.errors import UserError, run_main
from src.utils.files import write_atomic


def _iou(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def _parse() -> argparse.Namespace:
    parser = OneLineParser(
        prog="python -m src.evaluation",
        description="Compute the AVA metric (mean average precision) of detections in AVA's CSV columns.",
    )
    parser.add_argument(
        "--groundtruth", required=True, type=Path, help="video, second, x1, y1, x2, y2, class id[, person id]"
    )
    parser.add_argument("--detections", required=True, type=Path, help="video, second, x1, y1, x2, y2, class id, score")
    parser.add_argument("--labelmap", required=True, type=Path, help="label map (.pbtxt); other classes are left out")
    parser.add_argument("--exclusions", type=Path, help="video, second of frames that do not count")
    parser.add_argument(
        "--order",
        choices=ORDERS,
        default="score",
        help="detections take ground truth by falling score (official, default) or in file order (as PySlowFast)",
    )
    parser.add_argument(
        "--iou", type=_iou, nargs="+", default=[0.5], help="minimum IoU of a true positive; one or several (0.5)"
    )
    parser.add_argument("--json", type=Path, help="write the values to this file")
    parser.add_argument("--report", type=Path, help="write index.html and figures to this folder")
    args = parser.parse_args()
    args.iou = list(dict.fromkeys(args.iou))
    return args


def main() -> int:
    args = _parse()
    start = time.perf_counter()
    label_map = read_label_map(args.labelmap)
    excluded = read_excluded(args.exclusions) if args.exclusions else set()
    ground_truth = read_ground_truth(args.groundtruth)
    detections = read_detections(args.detections)
    result = evaluate_boxes(
        ground_truth, detections, label_map, excluded=excluded, iou_thresholds=args.iou, order=args.order
    )
    print(result.format_table())
    print(f"AVA eval done in {time.perf_counter() - start:.2f} seconds.")
    for line in warning_lines(check_tables(ground_truth, detections, label_map, excluded)):
        print(line, file=sys.stderr)
    try:
        if args.json:
            write_atomic(args.json, json.dumps(result.metrics(), indent=1) + "\n")
        if args.report:
            # Imported here because matplotlib takes as long to load as the metric to compute.
            from src.evaluation.report import write_report

            page = write_report(
                args.report,
                ground_truth,
                detections,
                label_map,
                excluded=excluded,
                iou_thresholds=args.iou,
                order=args.order,
                sources={"ground truth": str(args.groundtruth), "detections": str(args.detections)},
            )
            print(f"report: {page}")
    except OSError as error:
        raise UserError(f"{error.filename}: cannot write: {error.strerror}") from error
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
