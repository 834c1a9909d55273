"""A small dataset of moving figures whose action shows only in their motion, laid out exactly as AVA.

    python -m src.datasets.sample OUT [--train-videos 40] [--val-videos 8] [--seed 0]

Each figure has five joints that can swing: its place, its height above the ground, its legs, its trunk and its arms.
An action sets some of them moving, the others stay frozen at a random point of the same swing. So every pose is
equally likely under every action, and a single frame says nothing about it; nor do colors, size or place, which are
drawn independently. No two actions are mirror images of each other.
"""

import argparse
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pydantic

from src.ava.box_csv import box_row
from src.ava.frame_list import write_frame_list
from src.ava.label_map import write_label_map
from src.datasets.prepare import ava, ffmpeg
from src.datasets.prepare.frames import count_frames
from src.utils.arguments import OneLineParser, positive, whole
from src.utils.errors import UserError, run_main
from src.utils.files import write_atomic
from src.utils.records import read_record

FPS = 15
WIDTH, HEIGHT = 160, 120
SCENE_SECONDS = 3
SCENES = 8
SECONDS = SCENE_SECONDS * SCENES
CLASSES = ("stand", "walk", "jump", "sway", "wave")

# Figures are drawn so many times larger and shrunk, for smooth edges.
_SCALE = 2
# Which joints each action sets moving. Every figure does one of the first four; some wave as well.
_BODY_ACTIONS = ("stand", "walk", "jump", "sway")
_MOVES = {"stand": (), "walk": ("place", "legs"), "jump": ("height",), "sway": ("trunk",), "wave": ("arms",)}
# The joints, and how many swings a second each makes when it moves: from slowest to fastest.
_RATES = {"place": (0.5, 0.7), "trunk": (0.8, 1.0), "legs": (1.0, 1.3), "height": (1.3, 1.6), "arms": (1.4, 1.8)}
# How far a figure's colors are from the background's mean, in levels of RGB space.
_CONTRAST = 110
_WAVE_CHANCE = 0.5
_PAIR_CHANCE = 0.5
_DETECTION_THRESHOLD = 0.8
_RECORD_FILE = "sample.json"


@dataclass(frozen=True)
class Figure:
    """One person of a scene. Lengths are in pixels of the video, phases in radians, rates in swings a second."""

    center: float
    ground: float
    size: float
    limb: float
    colors: dict[str, tuple[int, int, int]]
    phases: dict[str, float]
    rates: dict[str, float]
    actions: tuple[str, ...]

    def swing(self, joint: str, seconds: float) -> float:
        """Return where `joint` is in its swing, in [-1, 1]."""
        moving = any(joint in _MOVES[action] for action in self.actions)
        return math.sin(self.phases[joint] + (2 * math.pi * self.rates[joint] * seconds if moving else 0.0))


@dataclass(frozen=True)
class Scene:
    """A still background with one or two figures."""

    background: np.ndarray
    figures: tuple[Figure, ...]


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw the background and the figures of a scene; nothing but the joints' movement depends on the actions."""
    pair = rng.random() < _PAIR_CHANCE
    centers = rng.permutation([0.25, 0.75]) if pair else [rng.uniform(0.25, 0.75)]
    body_actions = rng.permutation(_BODY_ACTIONS)
    background = _draw_background(rng)
    shade = background.mean((0, 1))
    figures = tuple(
        _draw_figure(rng, WIDTH * (center + rng.uniform(-0.03, 0.03)), str(action), shade)
        for center, action in zip(centers, body_actions, strict=False)
    )
    return Scene(background, figures)


def render(scene: Scene, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Return the (HEIGHT, WIDTH, 3) uint8 BGR frame of a scene at `seconds` after its start."""
    canvas = cv2.resize(scene.background, None, fx=_SCALE, fy=_SCALE, interpolation=cv2.INTER_LINEAR)
    for figure in scene.figures:
        for start, end, width, part in _limbs(figure, seconds):
            color = figure.colors[part]
            first, last = _pixels(start), _pixels(end)
            cv2.line(canvas, first, last, color, max(1, round(width * _SCALE)), cv2.LINE_AA)
    frame = cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32)
    frame += rng.normal(0, 2, frame.shape)
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8)


def figure_box(figure: Figure, seconds: float) -> tuple[float, float, float, float]:
    """Return the box around a figure, x1 y1 x2 y2 in [0, 1]."""
    corners = []
    for start, end, width, _ in _limbs(figure, seconds):
        for x, y in (start, end):
            corners += [(x - width / 2, y - width / 2), (x + width / 2, y + width / 2)]
    (x1, y1), (x2, y2) = np.min(corners, axis=0), np.max(corners, axis=0)
    box = np.clip([x1 / WIDTH, y1 / HEIGHT, x2 / WIDTH, y2 / HEIGHT], 0, 1)
    return tuple(box.tolist())


def _draw_figure(rng: np.random.Generator, center: float, body_action: str, shade: np.ndarray) -> Figure:
    size = rng.uniform(66, 86)
    parts = ("skin", "hair", "shirt", "trousers")
    return Figure(
        center=center,
        ground=HEIGHT - rng.uniform(4, 12),
        size=size,
        limb=size * rng.uniform(0.07, 0.11),
        colors={part: _draw_color(rng, shade) for part in parts},
        phases={joint: rng.uniform(0, 2 * math.pi) for joint in _RATES},
        rates={joint: rng.uniform(*limits) for joint, limits in _RATES.items()},
        actions=(body_action, "wave") if rng.random() < _WAVE_CHANCE else (body_action,),
    )


def _draw_color(rng: np.random.Generator, shade: np.ndarray) -> tuple[int, int, int]:
    """Draw a color that stands out from a background of the mean color `shade`."""
    while True:
        color = rng.integers(0, 256, 3)
        if np.linalg.norm(color - shade) >= _CONTRAST:
            return tuple(int(value) for value in color)


def _draw_background(rng: np.random.Generator) -> np.ndarray:
    """Return a (HEIGHT, WIDTH, 3) uint8 texture: noise of several grain sizes, and a few boxes as furniture."""
    texture = np.full((HEIGHT, WIDTH, 3), rng.uniform(50, 205, 3), np.float32)
    for grain, strength in ((60, 14), (20, 7), (6, 4), (2, 2)):
        size = (HEIGHT // grain + 1, WIDTH // grain + 1)
        noise = (rng.normal(0, strength, (*size, 1)) + rng.normal(0, strength / 3, (*size, 3))).astype(np.float32)
        texture += cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(0, 5)):
        x, y = int(rng.integers(0, WIDTH)), int(rng.integers(0, HEIGHT))
        right, bottom = x + int(rng.integers(8, 50)), y + int(rng.integers(8, 50))
        texture[y:bottom, x:right] = 0.8 * texture[y:bottom, x:right] + 0.2 * rng.uniform(0, 255, 3)
    return np.clip(texture, 0, 255).astype(np.uint8)


def _limbs(figure: Figure, seconds: float) -> list[tuple]:
    """Return the strokes of a figure, back to front: start, end (pixels of the video), width and part."""
    swing = {joint: figure.swing(joint, seconds) for joint in _RATES}
    size, limb = figure.size, figure.limb
    foot = figure.ground - 0.13 * size * (1 + swing["height"])
    hip = np.array([figure.center + 14 * swing["place"], foot - 0.45 * size])
    stride = math.radians(20) * (1 + swing["legs"])
    lean = math.radians(36) * swing["trunk"]
    # 0 hangs down, 180 degrees points up.
    lift = math.radians(90 + 70 * swing["arms"])
    shoulder = hip - 0.33 * size * _direction(lean)
    head = shoulder - 0.13 * size * _direction(lean)
    strokes = [(hip, hip + 0.42 * size * _direction(side * stride), limb, "trousers") for side in (-1, 1)]
    strokes.append((hip, shoulder, 2.2 * limb, "shirt"))
    for side in (-1, 1):
        elbow = shoulder + 0.2 * size * _direction(lean + side * lift)
        strokes.append((shoulder, elbow, 1.6 * limb, "shirt"))
        strokes.append((elbow, elbow + 0.2 * size * _direction(lean + side * lift), 1.6 * limb, "skin"))
    strokes.append((head - 0.03 * size * _direction(lean), head - 0.03 * size * _direction(lean), 0.17 * size, "hair"))
    strokes.append((head, head, 0.15 * size, "skin"))
    return strokes


def _direction(angle: float) -> np.ndarray:
    """Return the unit vector `angle` radians off straight down, to the right where positive."""
    return np.array([math.sin(angle), math.cos(angle)])


def _pixels(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0]) * _SCALE), round(float(point[1]) * _SCALE)


def make_sample(out: Path, train_videos: int, val_videos: int, seed: int) -> None:
    """Write the dataset to the folder `out`, which must not exist: videos/, frames/ and ava_annotations/.

    Raises:
        UserError: the folder cannot be written, or ffmpeg is missing.
    """
    names = {
        "train": [f"sample_train_{number:02d}" for number in range(1, train_videos + 1)],
        "val": [f"sample_val_{number:02d}" for number in range(1, val_videos + 1)],
    }
    annotations = out / "ava_annotations"
    for split_number, (split, videos) in enumerate(names.items()):
        truth, detections, excluded, paths = [], [], [], {}
        for number, video in enumerate(videos):
            rng = np.random.default_rng([seed, split_number, number])
            scenes = [draw_scene(rng) for _ in range(SCENES)]
            paths[video] = out / "videos" / f"{video}.mp4"
            frames = (render(scene, frame / FPS, rng) for scene in scenes for frame in range(SCENE_SECONDS * FPS))
            ffmpeg.encode_video(paths[video], frames, fps=FPS, width=WIDTH, height=HEIGHT)
            # Around a cut a clip shows two scenes: those key frames have detections but are left out.
            cuts = range(SCENE_SECONDS, SECONDS, SCENE_SECONDS)
            excluded += [f"{video},{second:04d}\n" for second in cuts]
            for second in range(1, SECONDS - 1):
                scene, seconds = scenes[second // SCENE_SECONDS], second % SCENE_SECONDS
                detections += _detection_rows(rng, video, second, scene, seconds)
                if second not in cuts:
                    truth += _truth_rows(video, second, scene, seconds)
        ava.extract_all(out, paths, fps=FPS, short_side=0, jobs=os.cpu_count() or 1, dry_run=False)
        counts = {video: count_frames(out / "frames" / video) for video in videos}
        write_frame_list(annotations / f"{split}.csv", counts)
        write_atomic(annotations / f"ava_{split}_v2.2.csv", "".join(truth))
        write_atomic(annotations / f"ava_{split}_excluded_timestamps_v2.2.csv", "".join(excluded))
        write_atomic(annotations / f"ava_{split}_predicted_boxes.csv", "".join(detections))
    write_label_map(annotations / "ava_action_list_v2.2_for_activitynet_2019.pbtxt", dict(enumerate(CLASSES, start=1)))


def _truth_rows(video: str, second: int, scene: Scene, seconds: float) -> Iterator[str]:
    for person, figure in enumerate(scene.figures):
        for action in figure.actions:
            box = figure_box(figure, seconds)
            yield box_row(video, second, box, CLASSES.index(action) + 1, person)


def _detection_rows(rng: np.random.Generator, video: str, second: int, scene: Scene, seconds: float) -> Iterator[str]:
    """Yield what a person detector would find: each figure a little off, and now and then something doubtful."""
    for figure in scene.figures:
        x1, y1, x2, y2 = figure_box(figure, seconds)
        size = np.array([x2 - x1, y2 - y1, x2 - x1, y2 - y1])
        box = np.clip(np.array([x1, y1, x2, y2]) + rng.uniform(-0.04, 0.04, 4) * size, 0, 1)
        yield box_row(video, second, box, -1, f"{rng.uniform(_DETECTION_THRESHOLD + 0.05, 1):.6f}")
    if rng.random() < 0.3:
        x1, y1 = rng.uniform(0, 0.6, 2)
        box = (x1, y1, x1 + 0.2, y1 + 0.3)
        yield box_row(video, second, box, -1, f"{rng.uniform(0.1, _DETECTION_THRESHOLD - 0.05):.6f}")


class _Record(pydantic.BaseModel):
    made_with: dict[str, int]
    ffmpeg: str


def _made_with(folder: Path) -> dict[str, int]:
    """Return what a sample dataset was made with; nothing where a folder is none."""
    try:
        return read_record(folder / _RECORD_FILE, _Record).made_with
    except (FileNotFoundError, ValueError):
        return {}


def main() -> int:
    """Write the sample dataset, unless the same one is there already."""
    parser = OneLineParser(
        prog="python -m src.datasets.sample",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to make")
    parser.add_argument(
        "--train-videos", type=positive, default=40, metavar="N", help="videos to train on (default: 40)"
    )
    parser.add_argument("--val-videos", type=positive, default=8, metavar="N", help="held-out videos (default: 8)")
    parser.add_argument("--seed", type=whole, default=0, help="another seed draws other videos (default: 0)")
    args = parser.parse_args()
    record = {"train_videos": args.train_videos, "val_videos": args.val_videos, "seed": args.seed}
    if args.out.exists():
        if _made_with(args.out) != record:
            raise UserError(f"{args.out}: exists and is not this sample dataset; remove it or name another folder")
        print(f"{args.out}: the sample dataset is there already")
        return 0
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{args.out.name}.", suffix=".partial", dir=args.out.parent))
    except OSError as error:
        raise UserError(f"{args.out}: cannot make the folder: {error.strerror}") from error
    try:
        make_sample(partial, args.train_videos, args.val_videos, args.seed)
        content = _Record(made_with=record, ffmpeg=ffmpeg.ffmpeg_version())
        write_atomic(partial / _RECORD_FILE, content.model_dump_json() + "\n")
        partial.chmod(0o755)
        partial.rename(args.out)
    except OSError as error:
        raise UserError(f"{args.out}: cannot write the sample data: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{args.out}: {args.train_videos} training and {args.val_videos} validation videos of {SECONDS} seconds")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
