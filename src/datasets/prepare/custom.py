"""The user's own videos and boxes, made into a data root and a recipe."""

import collections
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from src.ava.box_csv import box_row
from src.ava.frame_list import write_frame_list
from src.ava.label_map import read_class_list, write_label_map
from src.ava.rows import NO_ACTION
from src.datasets.prepare import ava
from src.datasets.prepare.boxes import normalise, read_boxes, tell_coordinates
from src.datasets.prepare.frames import count_frames
from src.datasets.video import VideoInfo, find_videos, probe
from src.utils.errors import UserError
from src.utils.files import write_atomic

# Key frames are whole seconds; a box within this distance of one stands for it.
KEY_FRAME_SLACK_SECONDS = 0.1
_MOST_FPS = 30
_LABEL_MAP = "label_map.pbtxt"

_FULL_RECIPE = """\
# SlowFast R50 on the data in this folder, made by `python -m src.datasets.prepare custom`.
"""
_SMALL_RECIPE = """\
# A narrow SlowFast on the data in this folder: small enough to train from scratch on a CPU.
"""
_SMALL_SETTINGS = {
    "MODEL": {"DROPOUT_RATE": 0.0},
    "RESNET": {"WIDTH_PER_GROUP": 16},
    "SLOWFAST": {"BETA_INV": 4},
    "DATA": {
        "NUM_FRAMES": 16,
        "TRAIN_JITTER_SCALES": [96, 112],
        "TRAIN_CROP_SIZE": 96,
        "TEST_CROP_SIZE": 96,
    },
    "DATA_LOADER": {"NUM_WORKERS": 1},
    "SOLVER": {
        "BASE_LR": 0.4,
        "LR_POLICY": "cosine",
        "MAX_EPOCH": 25,
        "WARMUP_EPOCHS": 4.0,
        "WARMUP_START_LR": 0.04,
        "WEIGHT_DECAY": 1e-4,
    },
}


@dataclass(frozen=True)
class KeyBox:
    """A box that is ready to be written: safe name, whole second, corners in [0, 1]."""

    name: str
    second: int
    corners: tuple[float, float, float, float]
    classes: tuple[int, ...]
    last: str
    where: str


def prepare_custom(
    videos_folder: Path,
    boxes_path: Path,
    labels_path: Path,
    out: Path,
    *,
    detections_path: Path | None,
    coordinates: str | None,
    fps: int,
    first_second: int,
    val_share: float,
    seed: int,
    short_side: int,
    jobs: int,
) -> None:
    """Write frames, lists, label map and recipes for the videos that have boxes.

    Everything that can be checked is checked before the first frame is extracted.

    Args:
        videos_folder: folder of videos of any length, rate and size.
        boxes_path: AVA columns (.csv), CVAT (.xml) or COCO-style (.json); a file or a folder of them.
        labels_path: class names in any form that `read_class_list` reads.
        out: the data root to make; a run that was stopped goes on.
        detections_path: boxes of a person detector with scores (AVA columns), to validate on; None: the true boxes.
        coordinates: normalised or pixels; None: told from the values.
        fps: frames a second to extract; 0: the most common rate of the videos, at most 30.
        first_second: the second that annotations give to a video's first frame.
        val_share: share of the videos to validate on; 0: validate on the training videos; 1: nothing to train on, and
            boxes need no class.
        seed: another seed splits otherwise.
        short_side: pixels of the frames' shorter side; 0: as in the video.
        jobs: videos at a time.

    Raises:
        UserError: names the file and row, and what was expected.
    """
    class_names = read_classes(labels_path, boxes_path)
    videos = safe_names(find_videos(videos_folder))
    infos = {name: probe(path) for name, path in videos.items()}
    fps = fps or most_common_rate([info.fps for info in infos.values()])
    boxes = _key_boxes(boxes_path, class_names, videos, infos, coordinates, fps, first_second)
    if val_share < 1 and not any(class_id != NO_ACTION for box in boxes for class_id in box.classes):
        raise UserError(f"{boxes_path}: no box names a class of {labels_path} (to only score videos: --val-share 1)")
    detections = None
    if detections_path is not None:
        detections = _key_boxes(detections_path, class_names, videos, infos, coordinates, fps, first_second)
        for box in detections:
            _check_score(box)
    annotated = {box.name for box in boxes}
    videos = {name: path for name, path in videos.items() if name in annotated}
    if len(annotated) < len(infos):
        left_out = sorted(set(infos) - annotated)
        print(f"custom: {len(left_out)} videos without boxes are left out: {', '.join(left_out[:5])}")
    splits = split_videos(boxes, val_share, seed)

    ava.extract_all(out, videos, fps=fps, short_side=short_side, jobs=jobs, dry_run=False)
    counts = {name: count_frames(out / "frames" / name) for name in videos}
    for box in [*boxes, *(detections or [])]:
        if box.name in counts and not 0 <= (box.second - first_second) * fps < counts[box.name]:
            raise UserError(
                f"{box.where}: second {box.second} is not in the video, which has {counts[box.name]} frames"
            )
    annotations = out / "ava_annotations"
    if "train" not in splits:
        for old in annotations.glob("train*.csv"):  # of an earlier run with another share
            old.unlink()
    for split, names in splits.items():
        members = set(names)
        truth = [box for box in boxes if box.name in members]
        found = truth if detections is None else [box for box in detections if box.name in members]
        write_frame_list(annotations / f"{split}.csv", {name: counts[name] for name in names})
        write_atomic(annotations / f"{split}_boxes.csv", _truth_rows(truth))
        write_atomic(annotations / f"{split}_detections.csv", _detection_rows(found, scored=detections is not None))
        print(f"custom: {split}: {len(names)} videos, {len({(b.name, b.second) for b in truth})} key frames")
    write_label_map(annotations / _LABEL_MAP, class_names)
    _write_names(out / "videos.csv", videos, splits)
    _link_videos(out / "videos", videos)
    _write_recipes(out, class_names, boxes, fps, first_second)
    print(f"custom: recipes: {out / 'slowfast.yaml'} and, for a CPU, {out / 'slowfast_small.yaml'}")


def read_classes(path: Path, boxes_path: Path) -> dict[int, str]:
    """Read class names by id (from 1), and tell where ids of the list were counted from 0.

    Raises:
        UserError: see `read_class_list`; or the list counts from 0 and the boxes are AVA's columns, whose class ids may
            mean either.
    """
    classes = read_class_list(path)
    if classes.from_zero:
        if boxes_path.suffix.lower() == ".csv":
            raise UserError(
                f"{path}: counts classes from 0, but class ids of {boxes_path.name} count from 1: write the list with "
                f"the ids of that file, one in each line, as `1: {next(iter(classes.names.values()))}`"
            )
        print(f"custom: {path.name} counts classes from 0; class ids in the files written are one more")
    return classes.names


def safe_names(videos: Mapping[str, Path]) -> dict[str, Path]:
    """Give videos names that frame lists can carry: what is no letter, digit, `-`, `.` or `_` becomes `_`.

    Raises:
        UserError: two videos end up with one name.
    """
    safe: dict[str, Path] = {}
    for name, path in videos.items():
        candidate = re.sub(r"[^\w.-]", "_", name)
        if candidate in safe:
            raise UserError(f"{path}: becomes {candidate}, as {safe[candidate].name} does; rename one of them")
        safe[candidate] = path
    return safe


def most_common_rate(rates: Sequence[float]) -> int:
    """Return the most common of some frame rates, whole and at most 30; of equally common ones the highest."""
    counts = collections.Counter(min(_MOST_FPS, max(1, round(rate))) for rate in rates)
    return max(counts, key=lambda rate: (counts[rate], rate))


def split_videos(boxes: Sequence[KeyBox], val_share: float, seed: int) -> dict[str, list[str]]:
    """Split the videos into train and val, so that training keeps a video of every class where it can.

    Raises:
        UserError: a split is asked for, but there is only one video.
    """
    classes = collections.defaultdict(set)
    for box in boxes:
        classes[box.name].update(class_id for class_id in box.classes if class_id != NO_ACTION)
    names = sorted(classes)
    if val_share == 0:
        print("custom: no video is held out: validation is on the training videos")
        return {"train": names, "val": names}
    if val_share == 1:
        print("custom: all videos are held out: they can be scored, not trained on")
        return {"val": names}
    if len(names) < 2:
        raise UserError(f"{names[0]} is the only video with boxes; more are needed to hold one out, or --val-share 0")
    wanted = min(len(names) - 1, max(1, round(val_share * len(names))))
    order = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    videos_of_class = collections.Counter(class_id for name in names for class_id in classes[name])
    val: list[str] = []
    for name in order:
        if len(val) < wanted and all(videos_of_class[class_id] > 1 for class_id in classes[name]):
            val.append(name)
            videos_of_class.subtract(classes[name])
    if not val:
        val = order[:wanted]
    train = [name for name in names if name not in val]
    unseen = {c for name in val for c in classes[name]} - {c for name in train for c in classes[name]}
    if unseen:
        print(f"custom: warning: no training video shows the classes {sorted(unseen)}; they cannot be learned")
    elif len(val) < wanted:
        print(f"custom: {len(val)} instead of {wanted} videos are held out: others are the only ones of a class")
    return {"train": train, "val": sorted(val)}


def _key_boxes(
    path: Path,
    class_names: Mapping[int, str],
    videos: Mapping[str, Path],
    infos: Mapping[str, VideoInfo],
    coordinates: str | None,
    fps: int,
    first_second: int,
) -> list[KeyBox]:
    """Read a box file and keep what lies at whole seconds, of each second the annotated frame that is nearest."""
    boxes = read_boxes(path, class_names, fps)
    coordinates = coordinates or tell_coordinates(boxes, path)
    known = {alias: name for name, video in videos.items() for alias in (video.name, video.stem, name)}
    known = {unicodedata.normalize("NFC", alias): name for alias, name in known.items()}
    at_second: dict[tuple[str, int], list[tuple[float, KeyBox]]] = collections.defaultdict(list)
    between = 0
    for box in boxes:
        name = known.get(unicodedata.normalize("NFC", Path(box.video).name))
        if name is None:
            raise UserError(f"{box.where}: there is no video {box.video!r} among the {len(videos)} videos")
        info = infos[name]
        # A second of AVA's columns counts from first_second; frames and frame names from the start of the video.
        offset = first_second if box.frame is None and path.suffix.lower() == ".csv" else 0
        time = (box.second if box.frame is None else box.frame / info.fps) - offset
        if not -0.5 / info.fps <= time <= info.duration:
            raise UserError(
                f"{box.where}: lies at {time:g} s of the video {name}, which lasts {info.duration:g} s"
                + ("; do seconds begin elsewhere (--first-second)?" if box.frame is None else "")
            )
        second = round(time)
        distance = abs(time - second)
        if distance > KEY_FRAME_SLACK_SECONDS:
            between += 1
            continue
        corners = normalise(box, coordinates, info.width, info.height)
        key_box = KeyBox(name, second + first_second, corners, box.classes, box.last, box.where)
        at_second[name, second].append((distance, key_box))
    if not at_second:
        raise UserError(
            f"{path}: no box lies within {KEY_FRAME_SLACK_SECONDS} s of a whole second, where key frames are; "
            "annotate one frame a second, at whole seconds"
        )
    if between:
        print(f"custom: {path.name}: {between} of {len(boxes)} boxes lie between key frames and are left out")
    result = []
    for key in sorted(at_second):
        nearest = min(distance for distance, _ in at_second[key])
        result += [box for distance, box in at_second[key] if distance == nearest]
    return result


def _check_score(box: KeyBox) -> None:
    try:
        valid = 0 <= float(box.last) <= 1
    except ValueError:
        valid = False
    if not valid:
        raise UserError(f"{box.where}: score is {box.last!r}, expected a number in [0, 1] in the eighth column")


def _truth_rows(boxes: Sequence[KeyBox]) -> str:
    """Return AVA's rows, persons numbered from 0 in each video where the file gives other names."""
    persons: dict[str, dict[str, int]] = collections.defaultdict(dict)
    rows = []
    for box in boxes:
        person = persons[box.name].setdefault(box.last, len(persons[box.name]))
        rows += [box_row(box.name, box.second, box.corners, class_id, person) for class_id in box.classes]
    return "".join(rows)


def _detection_rows(boxes: Sequence[KeyBox], *, scored: bool) -> str:
    """Return each box once, with its score, or 1 for true boxes."""
    rows = {(box.name, box.second, box.corners): box.last if scored else "1.0" for box in boxes}
    return "".join(box_row(name, second, corners, NO_ACTION, score) for (name, second, corners), score in rows.items())


def _write_names(path: Path, videos: Mapping[str, Path], splits: Mapping[str, Sequence[str]]) -> None:
    """Record which file each safe name stands for."""
    rows = ["video,split,file\n"]
    for name, video in videos.items():
        split = "+".join(split for split, names in splits.items() if name in names)
        file = video.name.replace('"', '""')
        rows.append(f'{name},{split},"{file}"\n')
    write_atomic(path, "".join(rows))


def _link_videos(folder: Path, videos: Mapping[str, Path]) -> None:
    """Link the videos under their safe names, so that clips can be read straight from them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, video in videos.items():
        link = folder / f"{name}{video.suffix}"
        link.unlink(missing_ok=True)
        link.symlink_to(video.resolve())


def _write_recipes(
    out: Path, class_names: Mapping[int, str], boxes: Sequence[KeyBox], fps: int, first_second: int
) -> None:
    seconds = [box.second for box in boxes]
    settings = {
        "OUTPUT_DIR": str(out / "output"),
        "TRAIN": {"EVAL_PERIOD": 5},
        "MODEL": {"NUM_CLASSES": max(class_names)},
        "DATA": {"PATH_TO_DATA_DIR": str(out)},
        "AVA": {
            "VIDEO_DIR": "videos",
            "TRAIN_GT_BOX_LISTS": ["train_boxes.csv"],
            "TEST_PREDICT_BOX_LISTS": ["val_detections.csv"],
            "GROUNDTRUTH_FILE": "val_boxes.csv",
            "EXCLUSION_FILE": "",
            "LABEL_MAP_FILE": _LABEL_MAP,
            "FPS": fps,
            "FIRST_SECOND": first_second,
            "VALID_SECONDS": [min(seconds), max(seconds)],
            "FULL_TEST_ON_VAL": True,
        },
        "SOLVER": {"AUTO_SCALE_LR": True},
    }
    write_atomic(out / "slowfast.yaml", _FULL_RECIPE + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    small = {"_BASE_": "slowfast.yaml", **_SMALL_SETTINGS}
    write_atomic(out / "slowfast_small.yaml", _SMALL_RECIPE + yaml.safe_dump(small, sort_keys=False))
