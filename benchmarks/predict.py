"""What predict.py takes for a video, part by part, beside the same job with PyTorch; and its memory over a long one.

    python benchmarks/predict.py speed VIDEO --model slowfast.onnx [--cfg FILE --checkpoint FILE] [--labels FILE]
        [--peer_python FILE]
    python benchmarks/predict.py memory VIDEO --model slowfast.onnx [--labels FILE] [--hours 1] [--every 1]

speed: the whole of predict.py in float32, and in bfloat16 where the processor has it (a process each, everything
included: decoding, detection, scores, the video with labels, the page), on OpenVINO, and on MindSpore where --cfg and
--checkpoint name the network that was exported; then each part by itself on OpenVINO, over the same seconds; then
pytorchvideo's slowfast_r50_detection on the boxes that predict found, each clip decoded and prepared as in its
tutorial. The last needs an interpreter with torch and pytorchvideo, named by --peer_python.

memory: predict.py on the video, repeated until it is long enough; the resident memory of its process, minute by minute
of the video, its peak, and how it grows.
"""

import argparse
import csv
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

_SHORT_SIDE = 224
_FRAMES, _RATE, _ALPHA, _FPS = 32, 2, 4, 30


def run_predict(args: argparse.Namespace, out: Path, *network: object) -> tuple[float, float]:
    """Run predict.py with these options for the network; return the video's seconds and those that it took."""
    command = [sys.executable, REPOSITORY / "predict.py", "--video", args.video, "--out", out]
    command += [*(["--labels", args.labels] if args.labels else []), *network]
    start = time.perf_counter()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return float(re.search(r"(\d+) seconds of video in", done.stdout)[1]), time.perf_counter() - start


def time_parts(args: argparse.Namespace, precision: str) -> Iterator[tuple[str, float]]:
    """Yield name and seconds of each part of the work, one after the other."""
    from src.datasets.video import VideoReader, probe
    from src.predict.detector import SCORE, default_detector
    from src.predict.parts import Part, PartAnalyzer, Sampling
    from src.predict.render import write_annotated
    from src.predict.results import VideoResult
    from src.predict.scorer import OpenVinoScorer
    from src.predict.timeline import Rules, find_actions

    def timed(name: str, work: object) -> tuple[str, float]:
        start = time.perf_counter()
        list(work)
        return name, time.perf_counter() - start

    start = time.perf_counter()
    info, scorer, detector = probe(args.video), OpenVinoScorer(args.model, precision), default_detector(precision)
    fps = scorer.cfg.AVA.FPS
    count = info.times.count(fps)
    with VideoReader(info, fps) as reader:
        frame = next(reader.read([0]))[1].image
    clip = [scorer.small(frame)] * len(scorer.clip_steps())
    import numpy as np

    boxes = np.array([[0.1 + 0.15 * index, 0.2, 0.2 + 0.15 * index, 0.8] for index in range(5)])
    scorer.score(clip, boxes, frame.shape[:2])
    yield "loading and compiling", time.perf_counter() - start

    slots = range(0, count, _RATE)
    looked = set(range(0, count, round(fps / 5)))
    with VideoReader(info, fps) as reader:
        yield timed(
            "decoding and scaling, every second frame", (scorer.small(frame.image) for _, frame in reader.read(slots))
        )
    with VideoReader(info, fps) as reader:
        images = [frame.image for _, frame in reader.read(sorted(looked)[:50])]
    name, seconds = timed("persons, 5 frames a second", (detector.detect(image, SCORE) for image in images))
    yield name, seconds * len(looked) / len(images)
    keys = list(range(0, count, fps))
    some = keys[:15]
    name, seconds = timed("scores, one key frame a second", (scorer.score(clip, boxes, frame.shape[:2]) for _ in some))
    yield name, seconds * len(keys) / len(some)
    analyzer = PartAnalyzer(info, detector, scorer, Sampling(every=5))
    (part,) = (step for step in analyzer.analyze(0, 10) if isinstance(step, Part))
    labels = {class_id: f"class {class_id}" for class_id in range(1, scorer.cfg.MODEL.NUM_CLASSES + 1)}
    actions = find_actions(part.key_frames, Rules(labels, 0.3, 5, 5.0, info.duration))
    result = VideoResult("video", "", part, actions, 0, info.duration, info.width, info.height)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        write_annotated(info, Path(folder) / "video.mp4", result, labels, lambda _: None)
        yield "drawing and encoding the video with labels", time.perf_counter() - start


def peer(video: str, tracks: str, limit: int) -> None:
    """Score key frames with pytorchvideo as its tutorial does; print seconds of decoding, preparing and scoring."""
    import numpy as np
    import torch
    import torchvision.transforms._functional_tensor as moved

    # pytorchvideo 0.1.5 knows torchvision's module by its former name.
    sys.modules["torchvision.transforms.functional_tensor"] = moved
    from pytorchvideo.data.encoded_video import EncodedVideo
    from pytorchvideo.models.hub import slowfast_r50_detection
    from pytorchvideo.transforms.functional import (
        clip_boxes_to_image,
        short_side_scale_with_boxes,
        uniform_temporal_subsample,
    )

    boxes: dict[int, list] = {}
    with Path(tracks).open() as file:
        for row in csv.DictReader(file):
            if float(row["second"]).is_integer():
                boxes.setdefault(int(float(row["second"])), []).append(
                    [float(row[f"{c}"]) for c in ("x1", "y1", "x2", "y2")]
                )
    model = slowfast_r50_detection(False).eval()
    source = EncodedVideo.from_path(video)
    took = []
    mean, std = torch.tensor([0.45] * 3).view(3, 1, 1, 1), torch.tensor([0.225] * 3).view(3, 1, 1, 1)
    half = _FRAMES * _RATE / _FPS / 2
    seconds = [second for second in sorted(boxes) if half < second < float(source.duration) - half][: limit + 1]
    for second in seconds:
        start = time.perf_counter()
        clip = source.get_clip(second - half, second + half)["video"]
        decoded = time.perf_counter()
        height, width = clip.shape[2:]
        clip = uniform_temporal_subsample(clip, _FRAMES).float() / 255
        found = np.array(boxes[second]) * [width, height, width, height]
        found = clip_boxes_to_image(found, height, width)
        clip, found = short_side_scale_with_boxes(clip, size=_SHORT_SIDE, boxes=found)
        clip = (clip - mean) / std
        found = torch.from_numpy(np.concatenate([np.zeros((len(found), 1)), found], axis=1)).float()
        fast = clip[None]
        slow = torch.index_select(fast, 2, torch.linspace(0, _FRAMES - 1, _FRAMES // _ALPHA).long())
        prepared = time.perf_counter()
        with torch.no_grad():
            model([slow, fast], found)
        took.append((decoded - start, prepared - decoded, time.perf_counter() - prepared))
    # The first is a warm-up.
    print(json.dumps([statistics.mean(column) for column in zip(*took[1:], strict=True)]))


def speed(args: argparse.Namespace) -> None:
    """Print the table of speed."""
    from src.predict.scorer import supports_bfloat16

    precisions = ["float32", *["bfloat16"] * supports_bfloat16()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for precision in precisions:
            networks = {"OpenVINO": ["--model", args.model, "--precision", precision]}
            if args.checkpoint:
                level = {"float32": "O0", "bfloat16": "bf16"}[precision]
                overrides = ["TEST.CHECKPOINT_FILE_PATH", args.checkpoint, "TEST.AMP_LEVEL", level]
                networks["MindSpore"] = ["--cfg", args.cfg, *overrides]
            for engine, network in networks.items():
                seconds, took = run_predict(args, folder / f"{engine}-{precision}", *network)
                times = f"{took:.1f} s for {seconds:.0f} s, {seconds / took:.2f} times as fast as it plays"
                print(f"predict.py, {engine}, {precision}: {times}", flush=True)
        for precision in precisions:
            print(f"part by part, {precision}, in s for a second of video:")
            for part, took in time_parts(args, {"float32": "f32", "bfloat16": "bf16"}[precision]):
                whole = part.startswith("loading")
                print(f"  {part}: {took if whole else took / seconds:.3f}{' s, once' if whole else ''}", flush=True)
        if args.peer_python:
            tracks = folder / "OpenVINO-float32/tracks.csv"
            command = [args.peer_python, __file__, "peer", args.video, tracks, args.clips]
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr)
            parts = json.loads(done.stdout.splitlines()[-1])
            told = ", ".join(f"{n} {s:.3f}" for n, s in zip(("decoding", "preparing", "network"), parts, strict=True))
            print(f"pytorchvideo, given the boxes: {sum(parts):.3f} s a key frame ({told})")


def memory(args: argparse.Namespace) -> None:
    """Print the memory of a long run, as minutes of the video are scored and as the files are written."""
    from src.datasets.prepare.ffmpeg import find_ffmpeg

    with tempfile.TemporaryDirectory() as name:
        long, out = Path(name) / "long.mp4", Path(name) / "out"
        loop = [find_ffmpeg(), "-v", "error", "-stream_loop", "-1", "-i", args.video, "-c", "copy", "-an"]
        subprocess.run([*loop, "-t", str(round(3600 * args.hours)), str(long)], check=True)
        command = [sys.executable, REPOSITORY / "predict.py", "--model", args.model, "--video", long, "--out", out]
        command += ["--every", args.every, *(["--labels", args.labels] if args.labels else [])]
        with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
            start, told, sizes = time.monotonic(), -1, []
            while process.poll() is None:
                status = Path(f"/proc/{process.pid}/status").read_text()
                minutes = len(list((out / ".predict/parts").rglob("*.npz")))
                if found := re.search(r"VmRSS:\s+(\d+)", status):
                    sizes.append((minutes, int(found[1]) / 1000))
                    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1000
                    if minutes != told:
                        told = minutes
                        print(
                            f"{time.monotonic() - start:6.0f} s, {minutes} minutes scored: {sizes[-1][1]:.0f} MB, "
                            f"at most {peak:.0f} MB so far",
                            flush=True,
                        )
                time.sleep(1)
            print(process.stdout.read())
        if process.returncode:
            sys.exit(f"predict.py ended with status {process.returncode}")
        scoring = [(minutes, size) for minutes, size in sizes if 1 <= minutes < told]
        slope = statistics.linear_regression(*zip(*scoring, strict=True)).slope
        first, last = (max(size for minutes, size in sizes if minutes <= at) for at in (1, told))
        print(f"at most {first:.0f} MB until minute 2 was scored, {last:.0f} MB in all, {peak:.0f} MB for moments")
        print(f"{slope:.2f} MB more a minute of video from then until {told} minutes were scored")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    for name in ("speed", "memory"):
        mode = modes.add_parser(name)
        mode.add_argument("video", help="a file of 640 x 360 with about five people says most")
        mode.add_argument("--model", type=Path, required=True, help="slowfast.onnx")
        mode.add_argument("--labels", help="label map, where the model brings none")
    modes.choices["speed"].add_argument("--peer_python", help="an interpreter with torch and pytorchvideo")
    modes.choices["speed"].add_argument("--cfg", help="the exported network's configuration, for MindSpore")
    modes.choices["speed"].add_argument("--checkpoint", help="its weights")
    modes.choices["speed"].add_argument("--clips", type=int, default=5, help="key frames for the peer (default: 5)")
    modes.choices["memory"].add_argument("--hours", type=float, default=1.0)
    modes.choices["memory"].add_argument("--every", type=float, default=1.0, help="seconds between key frames")
    hidden = modes.add_parser("peer")
    hidden.add_argument("video")
    hidden.add_argument("tracks")
    hidden.add_argument("clips", type=int)
    args = parser.parse_args()
    if args.mode == "speed" and (args.cfg is None) != (args.checkpoint is None):
        parser.error("--cfg and --checkpoint go together")
    if args.mode == "peer":
        peer(args.video, args.tracks, args.clips)
    else:
        {"speed": speed, "memory": memory}[args.mode](args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
