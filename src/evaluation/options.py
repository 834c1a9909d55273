"""What the command lines of the evaluation share: options, and the tables that they name."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from src.ava.box_csv import read_detections, read_excluded, read_ground_truth
from src.ava.box_table import BoxTable
from src.ava.label_map import read_label_map
from src.checkpoint.class_names import check_class_names
from src.evaluation.ava_metric import ORDERS
from src.utils.errors import UserError
from src.utils.outputs import OutputFiles


@dataclass(frozen=True)
class Truth:
    """What detections are held against.

    Attributes:
        table: boxes with classes.
        label_map: class name by class id.
        excluded: frames (video name, second) that do not count.
    """

    table: BoxTable
    label_map: dict[int, str]
    excluded: set[tuple[str, float]]


REPORT_FILES = ("index.html", "dap.png", "average_precision.png", "errors.png", "precision_recall.png", "scores.png")
"""What `--report` writes: the page, and its figures."""


def minimum_iou(text: str) -> float:
    """Parse an IoU threshold; a type for `add_argument`."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def add_truth_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `read_truth` reads, and the order of matching."""
    parser.add_argument(
        "--groundtruth", required=True, type=Path, help="video, second, x1, y1, x2, y2, class id[, person id]"
    )
    parser.add_argument("--labelmap", required=True, type=Path, help="label map (.pbtxt); other classes are left out")
    parser.add_argument("--exclusions", type=Path, help="video, second of frames that do not count")
    parser.add_argument(
        "--order",
        choices=ORDERS,
        default="score",
        help="detections take ground truth by falling score (official, default) or in file order (as PySlowFast)",
    )


def read_truth(args: argparse.Namespace) -> Truth:
    """Read the files that the options name.

    Raises:
        UserError: a file that cannot be read.
    """
    label_map = read_label_map(args.labelmap)
    excluded = read_excluded(args.exclusions) if args.exclusions else set()
    return Truth(read_ground_truth(args.groundtruth), label_map, excluded)


def read_named_detections(path: Path, label_map: Mapping[int, str], label_map_path: Path) -> BoxTable:
    """Read detections; a label map of the same name beside them, as eval.py writes it, says what their classes are.

    Raises:
        UserError: a file that cannot be read, or the two label maps give a class two names.
    """
    beside = path.with_suffix(".pbtxt")
    if beside.is_file():
        check_class_names(read_label_map(beside), label_map, str(path), str(label_map_path))
    return read_detections(path)


def check_json(args: argparse.Namespace) -> None:
    """Check that `--json`, if it is given, may be written.

    Raises:
        UserError: it is one of the inputs, or a file that is not this program's.
    """
    if args.json is None:
        return
    inputs = [value for name, value in vars(args).items() if isinstance(value, Path) and name != "json"]
    if any(args.json.resolve() == given.resolve() for given in inputs):
        raise UserError(f"--json {args.json}: would replace an input; give another file")
    OutputFiles(args.json.parent).check(args.json.name)


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write values as JSON, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        with OutputFiles(path.parent).replacing(path.name) as temporary:
            temporary.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{error.filename}: cannot write: {error.strerror}") from error
