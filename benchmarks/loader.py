"""Clips per second and core of the data loader, stage by stage, for frames on disk and for videos.

    python benchmarks/loader.py [--seconds 150] [--size 360 640] [--workers 2]

Draws a moving scene with noise, encodes it as a 30 frames/s video, extracts its frames as for AVA, cuts it as `prepare
cut --keyframes 0.5` does, and reads 32-frame test and training clips of each on one core. The plain way decodes every
frame of each clip, brings it to float32, divides, subtracts and divides again over the whole clip, and takes the frames
of the Slow pathway from that; its output is the same to 1e-5. Times are processor time; the last table is wall-clock
time of the loader with worker processes.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.ava.frame_list import write_frame_list
from src.config.custom_config import load_config
from src.datasets import transform
from src.datasets.ava_dataset import AvaDataset
from src.datasets.prepare.ffmpeg import cut_video, encode_video
from src.datasets.prepare.frames import extract_frames

_FPS = 30


def scene(frames: int, height: int, width: int) -> Iterator[np.ndarray]:
    """Yield a textured ground that drifts, three figures that cross it, and the noise of a camera."""
    rng = np.random.Generator(np.random.PCG64(0))
    coarse = rng.integers(0, 256, (height // 24, width // 12, 3), np.uint8)
    ground = cv2.resize(coarse, (2 * width, height), interpolation=cv2.INTER_CUBIC)
    for frame in range(frames):
        image = ground[:, frame % width :][:, :width].copy()
        for figure in range(3):
            center = (int((frame * (3 + figure) + figure * width / 3) % width), int(height * (0.4 + 0.1 * figure)))
            cv2.ellipse(image, center, (height // 12, height // 4), 10 * np.sin(frame / 9), 0, 360, (40, 90, 220), -1)
        noise = rng.normal(0, 3, image.shape).astype(np.float32)
        yield np.clip(image + noise, 0, 255).astype(np.uint8)


def write_data(root: Path, seconds: int, height: int, width: int) -> None:
    """Write a video, its frames, and lists with two boxes at each second."""
    video = root / "videos_15min" / "scene.mp4"
    encode_video(video, scene(seconds * _FPS, height, width), fps=_FPS, width=width, height=height)
    count = extract_frames(video, root / "frames" / "scene", _FPS).frames
    for split in ("train", "val"):
        write_frame_list(root / "ava_annotations" / f"{split}.csv", {"scene": count})
    rows = [f"scene,{s},{x},0.2,{x + 0.3},0.9,1,1.0\n" for s in range(2, seconds - 1) for x in (0.1, 0.5)]
    (root / "ava_annotations" / "boxes.csv").write_text("".join(rows))


def cut_with_keyframes(root: Path, target: Path, seconds: int) -> None:
    """Write the same video with a keyframe each half second, and the same lists."""
    shutil.copytree(root / "ava_annotations", target / "ava_annotations")
    names = [folder / "videos_15min" / "scene.mp4" for folder in (root, target)]
    cut_video(*names, 0, seconds, keyframe_seconds=Fraction(1, 2))
    cut_video(names[0], target / "plain.mp4", 0, seconds)
    sizes = [path.stat().st_size / 1e6 for path in (names[1], target / "plain.mp4")]
    print(f"cut with a keyframe each half second: {sizes[0]:.1f} MB, without {sizes[1]:.1f} MB")


def plain_sample(dataset: AvaDataset, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the Slow and Fast pathway of a test clip, computed step by step over float32 frames."""
    data = dataset.cfg.DATA
    folder = Path(data.PATH_TO_DATA_DIR) / "frames" / "scene"
    images = [cv2.imread(str(folder / f"scene_{k + 1:06d}.jpg")) for k in dataset.frame_indices(index)]
    size = dataset.test_size(images[0].shape[:2])
    images = [cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR) for image in images]
    clip = np.stack([image.astype(np.float32)[..., ::-1] for image in images])
    clip = clip / np.float32(255)
    clip = (clip - np.float32(data.MEAN)) / np.float32(data.STD)
    fast = np.ascontiguousarray(clip.transpose(3, 0, 1, 2))
    return fast[:, transform.slow_frames(len(images), dataset.cfg.SLOWFAST.ALPHA)], fast


def milliseconds(work: Callable[[], object], calls: int) -> float:
    """Return the processor time of a call, the best of three rounds of `calls`."""
    rounds = []
    for _ in range(3):
        start = time.process_time()
        for _ in range(calls):
            work()
        rounds.append((time.process_time() - start) / calls * 1e3)
    return min(rounds)


def one_pass(dataset: AvaDataset, order: list[int]) -> float:
    """Return the processor time per clip of reading the clips in `order`, in milliseconds."""

    def read() -> None:
        for index in order:
            dataset.sample(index)

    return milliseconds(read, 1) / len(order)


def report(name: str, value: float, plain: float) -> None:
    print(f"{name:58s} {value:8.1f} {1e3 / value:10.1f} {value / plain:8.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=150, help="length of the video")
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the last table")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root, cut = Path(folder) / "data", Path(folder) / "cut"
        write_data(root, args.seconds, *args.size)
        cut_with_keyframes(root, cut, args.seconds)
        run(root, cut, args.workers)
    return 0


def run(root: Path, cut: Path, workers: int) -> None:
    """Print the tables.

    Args:
        root: holds video and frames.
        cut: holds the video with more keyframes.
        workers: processes of the last table.
    """

    def dataset(source: str, split: str, root: Path = root) -> AvaDataset:
        settings = {
            "DATA.PATH_TO_DATA_DIR": str(root),
            "DATA.SOURCE": source,
            "AVA.FIRST_SECOND": 0,
            "AVA.VALID_SECONDS": [0, 900],
            "AVA.TRAIN_GT_BOX_LISTS": ["boxes.csv"],
            "AVA.TEST_PREDICT_BOX_LISTS": ["boxes.csv"],
            "DATA_LOADER.NUM_WORKERS": workers,
        }
        return AvaDataset(load_config(None, [item for pair in settings.items() for item in pair]), split)

    frames, videos = dataset("frames", "test"), dataset("video", "test")
    in_order = list(range(len(frames)))
    # Neighbours are seven key frames apart, so that their clips have no frame in common.
    apart = [index for start in range(7) for index in in_order[start::7]]
    middle = len(frames) // 2
    slow, fast = plain_sample(frames, middle)
    sample = frames.sample(middle)
    error = max(np.abs(sample["fast"] - fast).max(), np.abs(sample["slow"] - slow).max())
    pixels = np.abs(videos.sample(middle)["fast"] - fast).mean() * 255 * np.mean(frames.cfg.DATA.STD)
    print(f"largest difference of the output from the plain way: {error:.1e}")
    print(f"mean absolute difference of video from frames, in pixel values of 255: {pixels:.2f}\n")

    paths = [root / "frames" / "scene" / f"scene_{k + 1:06d}.jpg" for k in frames.frame_indices(middle)]
    files = [np.frombuffer(path.read_bytes(), np.uint8) for path in paths]
    images = [cv2.imdecode(file, cv2.IMREAD_COLOR) for file in files]
    size = frames.test_size(images[0].shape[:2])
    scaled = [cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR) for image in images]
    table = transform.normalization_table(frames.cfg.DATA.MEAN, frames.cfg.DATA.STD)
    out = np.empty((3, len(images), *size), np.float32)
    plain = milliseconds(lambda: plain_sample(frames, middle), 5)
    print(
        f"{'one core, 32 frames of ' + 'x'.join(map(str, images[0].shape[1::-1])):58s} {'ms/clip':>8s} {'clips/s':>10s}"
        f" {'of plain':>8s}"
    )
    report("plain way", plain, plain)
    report("  stage: read files", milliseconds(lambda: [path.read_bytes() for path in paths], 5), plain)
    report("  stage: decode", milliseconds(lambda: [cv2.imdecode(file, cv2.IMREAD_COLOR) for file in files], 5), plain)
    scale = milliseconds(lambda: [cv2.resize(image, size[::-1]) for image in images], 5)
    report("  stage: scale", scale, plain)
    report("  stage: normalize", milliseconds(lambda: transform.write_clip(scaled, table, out), 5), plain)
    for name, source, data in (
        ("frames", "frames", frames),
        ("video", "video", videos),
        ("video, keyframe each 0.5 s", "video", dataset("video", "test", cut)),
    ):
        report(f"{name}: test clips a second apart, in order", one_pass(data, in_order), plain)
        report(f"{name}: test clips that share no frame", one_pass(data, apart), plain)
        train = dataset(source, "train", Path(data.cfg.DATA.PATH_TO_DATA_DIR))
        order = np.random.Generator(np.random.PCG64(0)).permutation(len(train)).tolist()
        report(f"{name}: training clips (224 x 224), shuffled", one_pass(train, order), plain)
    from src.datasets.build import build_test_loader

    print(f"\n{f'loader, {workers} worker processes, wall-clock':58s} {'s':>8s} {'clips/s':>10s}")
    for name, data in (("frames", frames), ("video", videos)):
        batches = iter(build_test_loader(data))
        next(batches)  # workers take a moment to start
        start = time.perf_counter()
        clips = sum(int(batch["mask"].any(axis=1).sum()) for batch in batches)
        seconds = time.perf_counter() - start
        print(f"{name + ': test clips a second apart':58s} {seconds:8.2f} {clips / seconds:10.1f}")


if __name__ == "__main__":
    sys.exit(main())
