"""Mutating good files, and reading what comes of it: each is read, or refused in one line, quickly."""

import contextlib
import io
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from src.utils.errors import UserError

MAX_SECONDS = 5  # of processor time: a machine may be busy, or stand still
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


def fuzz(
    files: Mapping[str, tuple[str, bytes]],
    read: Callable[[str, Path], object],
    count: int,
    seed: int = 0,
    kinds: Collection[str] = (),
) -> list[str]:
    """Read mutations of files and print how many were read and refused.

    Args:
        files: for each kind of file a good one: name and content.
        read: reads a file of a kind.
        count: mutations of each file.
        seed: of the mutations.
        kinds: which to read; empty: all.

    Returns:
        What went wrong: tracebacks, refusals in several lines, and files that took more than `MAX_SECONDS` of
        processor time.
    """
    rng = random.Random(seed)
    others = [content for _, content in files.values()]
    mistakes = []
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        for kind in kinds or files:
            file, content = files[kind]
            path = Path(folder) / kind.replace(" ", "_") / file
            path.parent.mkdir(parents=True)
            ends, start, slowest = Counter(), time.monotonic(), 0.0
            for _ in range(count):
                data = mutated(content, others, rng)
                path.write_bytes(data)
                before = time.process_time()
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        read(kind, path)
                    ends["read"] += 1
                except UserError as error:
                    ends["refused"] += 1
                    if "\n" in str(error):
                        mistakes.append(f"{kind}: {data!r}: {error}")
                except Exception as error:
                    ends["traceback"] += 1
                    mistakes.append(f"{kind}: {data!r}: {type(error).__name__}: {error}")
                took = time.process_time() - before
                if took > MAX_SECONDS:
                    mistakes.append(f"{kind}: {data!r}: took {took:.1f} s")
                slowest = max(slowest, took)
            print(f"{kind}: {dict(ends)}, {time.monotonic() - start:.0f} s, the slowest {slowest:.3f} s", flush=True)
    return mistakes


def main(files: Mapping[str, tuple[str, bytes]], read: Callable[[str, Path], object]) -> int:
    """Run `fuzz` as a program with the arguments [COUNT [SEED [KIND ...]]]."""
    count, seed = (int(text) for text in (*sys.argv[1:3], *("1000", "0")[len(sys.argv[1:3]) :]))
    mistakes = fuzz(files, read, count, seed, sys.argv[3:])
    print(*mistakes[:20], sep="\n")
    print(f"{len(mistakes)} mistakes; peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")
    return 1 if mistakes else 0
