"""Mutate good box files, and read them: each is read, or refused in one line, quickly.

Run by hand: python -m tests.datasets.prepare.fuzz_boxes [COUNT [SEED [KIND ...]]]
"""

import json
import pickle
import sys
from pathlib import Path

import numpy as np

from src.datasets.prepare.box import Classes
from src.datasets.prepare.boxes import read_boxes
from src.datasets.prepare.frame_records import read_record
from src.datasets.prepare.outputs import Outputs
from tests.datasets.prepare.test_boxes import CLASSES, FORMATS
from tests.mutations import main


def seeds() -> dict[str, tuple[str, bytes]]:
    """Return a good file of each kind: file name and content."""
    files = {
        name: (file, content.encode() if isinstance(content, str) else json.dumps(content).encode())
        for name, (file, content, _) in FORMATS.items()
    }
    results = [{"image_id": "one_000031.jpg", "category_id": 1, "bbox": [20, 20, 40, 60], "score": 0.4}]
    files["COCO results"] = ("r.json", json.dumps(results).encode())
    files["MOT"] = ("one.txt", b"31,-1,20,20,40,60,0.9,-1,-1,-1\n")
    files["proposals"] = ("d.pkl", pickle.dumps({"one,0902": np.array([[0.1, 0.2, 0.5, 0.9, 0.93]])}))
    files["frame record"] = (
        "frame_records/one.json",
        b'{"video": "a", "duration": 1, "width": 2, "height": 2, "video_fps": 1, "fps": 1, "short_side": 0}',
    )
    files["prepare record"] = (".prepare.json", b'{"files": {"a": ["b"]}, "links": {"c": "d"}, "videos": {"e": "f"}}')
    return files


def read(name: str, path: Path) -> None:
    """Read a file by the reader of its kind."""
    if name == "frame record":
        read_record(path.parents[1], "one")
    elif name == "prepare record":
        Outputs(path.parent)
    else:
        read_boxes(path, Classes(CLASSES))


if __name__ == "__main__":
    sys.exit(main(seeds(), read))
