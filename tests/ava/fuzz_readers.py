"""Mutate AVA's files and the metric's, and read them: each is read, or refused in one line, quickly.

Run by hand: python -m tests.ava.fuzz_readers [COUNT [SEED [KIND ...]]]
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from src.ava.box_csv import check_rows, read_boxes, read_detections, read_excluded, read_ground_truth
from src.ava.box_table import BoxTable
from src.ava.frame_list import FRAME_LIST_HEADER, FrameList
from src.ava.label_map import read_class_list, read_label_map
from src.ava.rows import RowRule
from src.evaluation.ava_metric import evaluate_boxes
from src.evaluation.error_analysis import analyze
from src.evaluation.sanity import check_tables, warning_lines
from tests.mutations import main

TRUTH = (
    b"abc,0902,0.077,0.151,0.283,0.811,80,1\nabc,0902,0.077,0.151,0.283,0.811,9,1\n"
    b"abc,0903,0.1,0.2,0.5,0.6,-1,2\nde f,902.5,0,0,1,1,3.0,7\nde f,0904\n"
)
FOUND = (
    b"abc,0902,0.08,0.15,0.28,0.8,80,0.9\nabc,0902,0.08,0.15,0.28,0.8,9,0.25\n"
    b'"de f",902.5,0.3,0.2,0.1,0.9,3,1e-3\nabc,0905,0,0,1,1,80,1\n'
)
LABELS = b'item {\n  name: "talk to"\n  id: 80\n}\nitem { name: "read" id: 9 }\n'
FULL_LABELS = b'label {\n  name: "talk to"\n  label_id: 80\n  label_type: PERSON_INTERACTION\n}\n'
FRAMES = f"{FRAME_LIST_HEADER}\n".encode() + b'abc 0 0 abc/1.jpg ""\nabc 0 1 abc/2.jpg ""\nde 1 0 de/1.jpg ""\n'
FILES = {
    "ground truth": ("truth.csv", TRUTH),
    "detections": ("found.csv", FOUND),
    "training boxes": ("boxes.csv", TRUTH),
    "rows": ("rows.csv", TRUTH),
    "exclusions": ("excluded.csv", b"abc,0905\nde f,902.5\n"),
    "frame list": ("frames.csv", FRAMES),
    "label map": ("labels.pbtxt", LABELS),
    "full label map": ("labels.pbtxt", FULL_LABELS),
    "class list": ("names.txt", b"1: walk\n2: sit\n"),
    "class JSON": ("names.json", b'{"walk": 1, "sit": 2}'),
    "class YAML": ("names.yaml", b"names:\n  0: walk\n  1: sit\n"),
    "metric of ground truth": ("truth.csv", TRUTH),
    "metric of detections": ("found.csv", FOUND),
}
NAMES = {80: "talk to", 9: "read", 3: "bend"}


def read(kind: str, path: Path) -> None:
    """Read a file by the reader of its kind, and use what it holds."""
    if kind in ("ground truth", "metric of ground truth"):
        table = read_ground_truth(path)
        if kind.startswith("metric"):
            score(table, GOOD_FOUND)
    elif kind in ("detections", "metric of detections"):
        table = read_detections(path)
        if kind.startswith("metric"):
            score(GOOD_TRUTH, table)
    elif kind == "training boxes":
        table = read_boxes(path, RowRule(scored=False, normalized=True, num_classes=80))
        assert ((table.boxes_norm >= -0.01) & (table.boxes_norm <= 1.01)).all()
    elif kind == "rows":
        list(check_rows(path, RowRule(scored=False)))
    elif kind == "exclusions":
        read_excluded(path)
    elif kind == "frame list":
        frames = FrameList([path])
        for video, count in enumerate(frames.counts):
            frames.path(video, count - 1), frames.where(video, count - 1)
    elif kind in ("label map", "full label map"):
        read_label_map(path)
    else:
        read_class_list(path)


def score(truth: BoxTable, found: BoxTable) -> None:
    """Do what `python -m src.evaluation` does with its files."""
    result = evaluate_boxes(truth, found, NAMES)
    precision = result.average_precision[~np.isnan(result.average_precision)]
    assert ((precision >= 0) & (precision <= 1)).all()
    assert result.format_table()
    analyze(truth, found, NAMES)
    warning_lines(check_tables(truth, found, NAMES))


def _table(content: bytes, reader: Callable[[str], BoxTable]) -> BoxTable:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return reader(file.name)


GOOD_TRUTH, GOOD_FOUND = _table(TRUTH, read_ground_truth), _table(FOUND, read_detections)

if __name__ == "__main__":
    sys.exit(main(FILES, read))
