"""Mutate good box files and class lists, and read them: each is read, or refused in one line, quickly.

Run by hand: python -m tests.datasets.prepare.fuzz_boxes [COUNT] [SEED]
"""

import contextlib
import io
import json
import pickle
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from src.ava.label_map import read_class_list
from src.datasets.prepare.box import Classes
from src.datasets.prepare.boxes import read_boxes
from src.datasets.prepare.frame_records import read_record
from src.datasets.prepare.outputs import Outputs
from src.utils.errors import UserError
from tests.datasets.prepare.test_boxes import CLASSES, FORMATS

MOST_SECONDS = 5
TOKENS = [
    b"nan",
    b"inf",
    b"-1",
    b"1e999",
    b"null",
    b'""',
    b"[]",
    b"{}",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\0",
    b";",
    b"true",
]


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
    files["class list"] = ("names.txt", b"1: walk\n2: sit\n")
    files["class JSON"] = ("names.json", b'{"walk": 1, "sit": 2}')
    files["class YAML"] = ("names.yaml", b"names:\n  0: walk\n  1: sit\n")
    files["frame record"] = (
        "frame_records/one.json",
        b'{"video": "a", "duration": 1, "width": 2, "height": 2, "video_fps": 1, "fps": 1, "short_side": 0}',
    )
    files["prepare record"] = (".prepare.json", b'{"files": {"a": ["b"]}, "links": {"c": "d"}, "videos": {"e": "f"}}')
    return files


def mutated(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return content with some of its bytes replaced, cut out, doubled, or taken from another file."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        start = rng.randint(0, len(data))
        end = min(len(data), start + rng.choice((0, 1, 1, 2, 4, 16, 64)))
        other = rng.choice(others)
        cut = rng.randint(0, len(other))
        data[start:end] = rng.choice(
            (
                b"",
                bytes(rng.randbytes(rng.randint(1, 4))),
                rng.choice(TOKENS),
                bytes(data[start:end]) * rng.randint(2, 5),
                other[cut : cut + 40],
            )
        )
    return bytes(data)


def read(name: str, path: Path) -> None:
    """Read a file by the reader of its kind."""
    if name.startswith("class"):
        read_class_list(path)
    elif name == "frame record":
        read_record(path.parents[1], "one")
    elif name == "prepare record":
        Outputs(path.parent)
    else:
        read_boxes(path, Classes(CLASSES))


def main() -> int:
    """Fuzz every reader and print what came of it."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    files = seeds()
    others = [content for _, content in files.values()]
    bad = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        for name, (file, content) in files.items():
            path = Path(folder) / name.replace(" ", "_") / file
            path.parent.mkdir(parents=True)
            ends, start, slowest = Counter(), time.monotonic(), 0.0
            for _ in range(count):
                data = mutated(content, others, rng)
                path.write_bytes(data)
                before = time.monotonic()
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        read(name, path)
                    ends["read"] += 1
                except UserError as error:
                    is_good = "\n" not in str(error)
                    ends["refused" if is_good else "several lines"] += 1
                    if not is_good:
                        print(f"{name}: {data!r}: {error}")
                except Exception as error:
                    ends["traceback"] += 1
                    if ends["traceback"] <= 3:
                        print(f"{name}: {data!r}: {type(error).__name__}: {error}")
                slowest = max(slowest, time.monotonic() - before)
            bad += ends["traceback"] + ends["several lines"] + (slowest > MOST_SECONDS)
            print(f"{name}: {dict(ends)}, {time.monotonic() - start:.0f} s, the slowest {slowest:.3f} s", flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
