"""Videos made on the spot, and file systems that are full or read-only."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.datasets.prepare import ffmpeg


@pytest.fixture
def make_video() -> Callable[..., Path]:
    """A function that writes a video whose frames carry their numbers, and returns its path."""

    def make(path: Path, *, frames: int = 30, fps: int = 10, width: int = 64, height: int = 48) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        images = (_numbered(number, width, height) for number in range(frames))
        ffmpeg.encode_video(path, images, fps=fps, width=width, height=height)
        return path

    return make


@pytest.fixture
def frame_numbers() -> Callable[[Path], list[int]]:
    """A function that reads the numbers of the frames in a folder, in the order of the file names."""

    def read(folder: Path) -> list[int]:
        images = [cv2.imread(str(path)) for path in sorted(folder.iterdir())]
        stripes = [np.array_split(image.mean(axis=(0, 2)), 8) for image in images]
        return [sum(2**bit for bit, stripe in enumerate(s) if stripe.mean() > 128) for s in stripes]

    return read


def _numbered(number: int, width: int, height: int) -> np.ndarray:
    """Return an image of eight upright stripes: the bits of `number`, white for one."""
    bits = np.array([number >> bit & 1 for bit in range(8)])
    return np.broadcast_to(255 * np.repeat(bits, width // 8)[None, :, None], (height, width, 3)).astype(np.uint8)


@pytest.fixture
def run_ffmpeg() -> Callable[..., None]:
    """A function that runs ffmpeg with some arguments."""

    def run(*arguments: str | Path) -> None:
        subprocess.run([ffmpeg.find_ffmpeg(), "-y", "-v", "error", *map(str, arguments)], check=True)

    return run


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """A function that mounts a small file system in memory, as `mounted("size=200k")`; skips without the rights."""
    with contextlib.ExitStack() as stack:

        def mount(options: str) -> Path:
            folder = tmp_path / "mount"
            folder.mkdir()
            command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
            try:
                subprocess.run(command, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                pytest.skip("mounting needs root")
            stack.callback(subprocess.run, ["umount", str(folder)], check=True)
            return folder

        yield mount
