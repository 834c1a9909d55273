"""Frames and their times against ffmpeg's own extraction, for ten generated clips and any videos.

    python benchmarks/clock_against_ffmpeg.py [VIDEO ...] [--fps 30]

The clips are of different containers, codecs, rates, starts and shapes; each frame carries its number. Of every video,
the frames that `extract_frames` writes are compared with those of `ffmpeg -vf fps=FPS:start_time=0 -q:v 1`, one by one,
and the frames' times, exactly, with the time stamps of `ffmpeg -vf showinfo`. Ends with status 1 if a number of frames
or a time differs, or a frame by more than an encoder's rounding.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.datasets.prepare.ffmpeg import encode_video, find_ffmpeg
from src.datasets.prepare.frames import extract_frames
from src.datasets.video import VideoDecoder, probe

_WIDTH, _HEIGHT, _FRAMES = 128, 96, 150
# Mean difference of two decoded frames, of 255: one encoder rounds otherwise than another.
_PIXEL_TOLERANCE = 1.0
_CLIPS = {
    "constant 25.mp4": [],
    "29.97.mp4": ["-r", "30000/1001"],
    "59.94.mkv": ["-r", "60000/1001"],
    "variable.mp4": ["-vf", "select='not(mod(n,3))+gt(n,80)'", "-fps_mode", "vfr"],
    "late.mkv": ["-output_ts_offset", "1.7"],
    "stream.ts": ["-bf", "3", "-g", "30"],
    "turned.mp4": [],
    "recording.webm": ["-c:v", "libvpx", "-live", "1"],
    "old.mpg": ["-c:v", "mpeg2video", "-bf", "2", "-q:v", "2"],
    "wide pixels.avi": ["-c:v", "mpeg4", "-q:v", "2", "-vf", "setsar=4/3"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--fps", type=int, default=30)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        videos = [*_generate(folder), *args.videos]
        print(f"{'video':<28}{'stamps':>8}{'worst, s':>12}{'frames':>8}{'ffmpeg':>8}{'worst, of 255':>15}")
        results = [_compare(video, args.fps, folder / f"frames{number}") for number, video in enumerate(videos)]
    stamps, times, ours, theirs, pixels = zip(*results, strict=True)
    print(
        f"{len(videos)} videos: {sum(stamps)} time stamps, worst difference {max(times):.2g} s; {sum(ours)} frames, "
        f"worst mean difference {max(pixels):.3g} of 255"
    )
    is_good = ours == theirs and not any(times) and max(pixels) <= _PIXEL_TOLERANCE
    return 0 if is_good else 1


def _generate(folder: Path) -> list[Path]:
    """Write the clips of `_CLIPS`, made from one whose frames show their numbers as stripes."""
    source = folder / "source.mp4"
    encode_video(source, map(_numbered, range(_FRAMES)), fps=25, width=_WIDTH, height=_HEIGHT)
    paths = []
    for name, options in _CLIPS.items():
        turn = ["-display_rotation", "90"] if name == "turned.mp4" else []
        copied = ["-c", "copy"] if turn else options
        _ffmpeg(*turn, "-i", source, *copied, folder / name)
        paths.append(folder / name)
    return paths


def _numbered(number: int) -> np.ndarray:
    bits = np.array([number >> bit & 1 for bit in range(8)])
    stripes = np.repeat(40 + 180 * bits, _WIDTH // 8)[None, :, None]
    return np.broadcast_to(stripes, (_HEIGHT, _WIDTH, 3)).astype(np.uint8)


def _compare(video: Path, fps: int, folder: Path) -> tuple[int, float, int, int, float]:
    """Return time stamps compared, their worst difference, our and ffmpeg's frames, and the worst mean difference."""
    info = probe(video)
    with VideoDecoder(video) as decoder:
        # A bare stream states a rate but no times, and ffmpeg has to be told to go by it.
        source = ["-i", video] if decoder.is_timed else ["-r", info.rate, "-i", video]
    text = _ffmpeg(*source, "-map", "0:V:0", "-vf", "showinfo", "-f", "null", "-")
    unit = Fraction(re.search(r"config in time_base: (\d+/\d+)", text)[1])
    stamps = [int(ticks) * unit for ticks in re.findall(r" pts: *(-?\d+) ", text)]
    times = [info.times.time_of(frame) for frame in range(len(info.times))]
    is_whole = len(times) == len(stamps)
    worst_time = float(max(abs(a - b) for a, b in zip(times, stamps, strict=True))) if is_whole else np.inf
    count = extract_frames(info, folder / "ours", fps).frames
    (folder / "ffmpeg").mkdir()
    _ffmpeg(
        *source,
        "-map",
        "0:V:0",
        "-vf",
        f"fps={fps}:start_time=0",
        "-q:v",
        "1",
        folder / "ffmpeg" / "%06d.jpg",
    )
    pairs = list(zip(sorted((folder / "ours").iterdir()), sorted((folder / "ffmpeg").iterdir()), strict=False))
    worst = max(_difference(*pair) for pair in pairs)
    theirs = len(list((folder / "ffmpeg").iterdir()))
    print(f"{video.name:<28}{len(stamps):>8}{worst_time:>12.2g}{count:>8}{theirs:>8}{worst:>15.3g}")
    return len(stamps), worst_time, count, theirs, worst


def _difference(first: Path, second: Path) -> float:
    one, other = (cv2.imread(str(path)) for path in (first, second))
    return np.inf if one.shape != other.shape else float(np.abs(one.astype(int) - other).mean())


def _ffmpeg(*arguments: object) -> str:
    command = [find_ffmpeg(), "-hide_banner", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stderr.decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
