"""Score AVA detections: `python -m src.evaluation --groundtruth GT.csv --detections DET.csv --labelmap MAP.pbtxt`.

`compare` and `tubes` behind `python -m src.evaluation` are commands of their own; see `compare_command` and
`tubes_command`.
"""

import argparse
import importlib
import sys
import time
from pathlib import Path

from src.evaluation.ava_metric import evaluate_boxes
from src.evaluation.options import (
    REPORT_FILES,
    add_truth_options,
    check_json,
    minimum_iou,
    read_named_detections,
    read_truth,
    write_json,
)
from src.evaluation.sanity import check_tables, warning_lines
from src.utils.arguments import OneLineParser
from src.utils.errors import UserError, run_main
from src.utils.outputs import OutputFiles
from src.utils.threads import map_in_threads

_COMMANDS = {"compare": "src.evaluation.compare_command", "tubes": "src.evaluation.tubes_command"}
"""The module of each; imported when it is asked for, since the metric takes no longer than some imports."""


def _parse() -> argparse.Namespace:
    parser = OneLineParser(
        prog="python -m src.evaluation",
        description="Compute the AVA metric (mean average precision) of detections in AVA's CSV columns.",
        epilog=f"Other commands, each with its own --help: {', '.join(_COMMANDS)}.",
    )
    add_truth_options(parser)
    parser.add_argument("--detections", required=True, type=Path, help="video, second, x1, y1, x2, y2, class id, score")
    parser.add_argument(
        "--iou", type=minimum_iou, nargs="+", default=[0.5], help="minimum IoU of a true positive; one or several (0.5)"
    )
    parser.add_argument("--json", type=Path, help="write the values to this file")
    parser.add_argument("--report", type=Path, help="write index.html and figures to this folder")
    args = parser.parse_args()
    args.iou = list(dict.fromkeys(args.iou))
    return args


def main() -> int:
    if sys.argv[1:2] and sys.argv[1] in _COMMANDS:
        return importlib.import_module(_COMMANDS[sys.argv[1]]).main(sys.argv[2:])
    return _score(_parse())


def _score(args: argparse.Namespace) -> int:
    check_json(args)
    if args.report:
        OutputFiles(args.report).check(*REPORT_FILES)
    start = time.perf_counter()
    truth = read_truth(args)
    ground_truth, label_map, excluded = truth.table, truth.label_map, truth.excluded
    detections = read_named_detections(args.detections, label_map, args.labelmap)
    options = {"excluded": excluded, "iou_thresholds": args.iou, "order": args.order}
    # Side by side: neither keeps all cores busy.
    result, checks = map_in_threads(
        lambda compute: compute(),
        (
            lambda: evaluate_boxes(ground_truth, detections, label_map, **options),
            lambda: check_tables(ground_truth, detections, label_map, excluded),
        ),
    )
    print(result.format_table())
    print(f"AVA eval done in {time.perf_counter() - start:.2f} seconds.")
    for line in warning_lines(checks):
        print(line, file=sys.stderr)
    if args.json:
        write_json(args.json, result.metrics())
    if args.report:
        # Imported here because matplotlib takes as long to load as the metric to compute.
        from src.evaluation.report import write_report

        try:
            page = write_report(
                args.report,
                ground_truth,
                detections,
                label_map,
                **options,
                sources={"ground truth": str(args.groundtruth), "detections": str(args.detections)},
            )
        except OSError as error:
            raise UserError(f"{error.filename}: cannot write: {error.strerror}") from error
        print(f"report: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
