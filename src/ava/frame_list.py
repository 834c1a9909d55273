"""Frame lists: which images are the frames of a video, as PySlowFast's `frame_lists` name them."""

import codecs
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from src.ava.text_files import check_text_file
from src.utils.cache import cached_arrays
from src.utils.errors import UserError
from src.utils.files import atomic_path

FRAME_LIST_HEADER = "original_vido_id video_id frame_id path labels"
_HEADER = FRAME_LIST_HEADER.split()[0].encode()
_BLOCK_BYTES = 1 << 23


class FrameList:
    """The frames of every video, from lists of `original_vido_id video_id frame_id path labels` rows.

    The lists stay on disk, mapped into memory; kept are eight bytes a row. A video's frames are its rows in the order
    in which they stand in the lists.

    Attributes:
        names: the videos, in the order of their first rows.
        counts: int64 (videos,), how many frames each has.

    Args:
        paths: list files.

    Raises:
        UserError: a list that cannot be read or has no header line, or a row with fewer than four fields.
    """

    def __init__(self, paths: Sequence[str | os.PathLike]) -> None:
        self._paths = [Path(path) for path in paths]
        self._maps = [_map_file(path) for path in self._paths]
        # Rows are addressed as if the lists stood in one file.
        self._bases = np.cumsum([0] + [len(mapped) for mapped in self._maps])
        tables = cached_arrays(self._paths, "frames", self._read, fields=("names", "counts", "rows"))
        self.names = tuple(os.fsdecode(name) for name in tables["names"].tobytes().split(b"\n")[:-1])
        self.counts = tables["counts"]
        self._first_row = np.append(0, np.cumsum(self.counts))
        self._rows = tables["rows"]

    def _read(self) -> dict[str, np.ndarray]:
        runs: dict[bytes, list[np.ndarray]] = {}
        for path, base in zip(self._paths, self._bases[:-1], strict=True):
            for name, starts in _video_runs(path):
                runs.setdefault(name, []).append(starts + base)
        return {
            "names": np.frombuffer(b"".join(name + b"\n" for name in runs), np.uint8),
            "counts": np.array([sum(map(len, pieces)) for pieces in runs.values()], np.int64),
            "rows": np.concatenate([np.empty(0, np.int64), *(piece for pieces in runs.values() for piece in pieces)]),
        }

    def path(self, video: int, frame: int) -> str:
        """Return the path field of a video's frame, both counted from 0."""
        mapped, offset, _ = self._locate(video, frame)
        end = mapped.find(b"\n", offset)
        line = mapped[offset : end if end >= 0 else len(mapped)]
        return os.fsdecode(line.split(b" ", 4)[3].rstrip(b"\r"))

    def where(self, video: int, frame: int) -> str:
        """Return "list file: row N" of a video's frame, for messages."""
        mapped, offset, path = self._locate(video, frame)
        row = mapped[:offset].count(b"\n") + 1
        return f"{path}: row {row}"

    def _locate(self, video: int, frame: int) -> tuple[mmap.mmap, int, Path]:
        if not 0 <= frame < self.counts[video]:
            raise IndexError(f"frame {frame} of video {self.names[video]} with {self.counts[video]} frames")
        row = self._rows[self._first_row[video] + frame]
        file = int(np.searchsorted(self._bases, row, side="right")) - 1
        return self._maps[file], int(row - self._bases[file]), self._paths[file]


def _map_file(path: Path) -> mmap.mmap:
    check_text_file(path, "frame list")
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UserError(f"{path}: cannot read the frame list: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path}: the frame list is empty") from error


def _video_runs(path: Path) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yield (video name, int64 offsets of its rows in the file) for each run of rows of one video."""
    with path.open("rb") as file:
        header = file.readline()
        if not header.removeprefix(codecs.BOM_UTF8).startswith(_HEADER):
            raise UserError(f"{path}: row 1: expected the header 'original_vido_id video_id frame_id path labels'")
        offset, row = len(header), 2
        while block := file.read(_BLOCK_BYTES):
            block += file.readline()  # up to the end of a row
            if not block.endswith(b"\n"):
                block += b"\n"
            data = np.frombuffer(block, np.uint8)
            newlines = np.flatnonzero(data == ord("\n"))
            starts = np.concatenate([[0], newlines[:-1] + 1])
            spaces = np.append(np.flatnonzero(data == ord(" ")), len(data))
            first_space = np.searchsorted(spaces, starts)
            short = np.searchsorted(spaces, newlines) - first_space < 3
            if short.any():
                blank = starts == newlines
                if (short & ~blank).any():
                    at = int(np.argmax(short & ~blank))
                    found = block[starts[at] : newlines[at]].decode(errors="replace")
                    raise UserError(
                        f"{path}: row {row + at}: expected 'original_vido_id video_id frame_id path labels' "
                        f"separated by spaces, found {found!r}"
                    )
                starts, first_space = starts[~blank], first_space[~blank]
            lengths = spaces[first_space] - starts
            for begin, end in _equal_runs(data, starts, lengths):
                yield block[starts[begin] : starts[begin] + lengths[begin]], starts[begin:end] + offset
            offset += len(block)
            row += len(newlines)


def _equal_runs(data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> list[tuple[int, int]]:
    """Return (begin, end) of the runs of neighboring rows whose first `lengths` bytes are the same."""
    if not len(starts):
        return []
    differs = lengths[1:] != lengths[:-1]
    for column in range(int(lengths.max())):
        # Beyond a name's end any byte will do: the column does not count there.
        byte = data.take(starts + column, mode="clip")
        differs |= (byte[1:] != byte[:-1]) & (column < lengths[1:])
    heads = np.concatenate([[0], np.flatnonzero(differs) + 1, [len(starts)]]).tolist()
    return list(pairwise(heads))


def frame_name(video: str, number: int) -> str:
    """Return the file name of frame `number` (from 1) of a video."""
    return f"{video}_{number:06d}.jpg"


def write_frame_list(path: str | os.PathLike, frame_counts: Mapping[str, int]) -> None:
    """Write a frame list in PySlowFast's format: space separated, one row a frame, paths relative to the frames.

    Args:
        path: the list, as ava_annotations/train.csv.
        frame_counts: number of frames of each video; the order numbers the videos from 0.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(FRAME_LIST_HEADER + "\n")
        for index, (video, count) in enumerate(frame_counts.items()):
            file.writelines(
                f'{video} {index} {frame} {video}/{frame_name(video, frame + 1)} ""\n' for frame in range(count)
            )
