"""The user's own videos and boxes, made into a data root and its configs."""

import collections
import functools
import math
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import yaml

from src.ava.box_csv import box_row
from src.ava.frame_list import write_frame_list
from src.ava.label_map import read_class_list, write_label_map
from src.ava.rows import NO_ACTION
from src.config.custom_config import load_config
from src.datasets.prepare import ava
from src.datasets.prepare.box import Classes, Images, number
from src.datasets.prepare.boxes import read_boxes
from src.datasets.prepare.frame_records import FileState, read_record
from src.datasets.prepare.frames import count_frames
from src.datasets.prepare.jobs import ignores_case
from src.datasets.prepare.key_boxes import (
    KeyBox,
    Timing,
    known_names,
    lost_classes,
    report,
    select_key_boxes,
    tell_doubles,
)
from src.datasets.prepare.outputs import Outputs, check_apart
from src.datasets.prepare.tube_boxes import of_known_videos
from src.datasets.video import VideoInfo, find_videos, probe
from src.utils.errors import UserError

_FOLDERS = ("frames", "frame_records", "ava_annotations", "videos", "output")
_ANNOTATIONS, _LINKS = "ava_annotations", "videos"
_RECIPES = ("slowfast.yaml", "slowfast_small.yaml")
_NAMES = "videos.csv"
_UNITS = {None: None, "normalized": "shares", "pixels": "pixels"}
# Of the published recipe; stated in the config that is written, because detectors differ.
_SCORE_THRESHOLD = 0.8
_MOST_FPS = 30
# Of the 255 bytes that file systems take, what is left beside `.` and `.12345678.json`.
_LONGEST_NAME = 240
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
    key_every: Fraction,
    annotation_fps: Fraction,
    val_share: float,
    seed: int,
    short_side: int,
    jobs: int,
) -> None:
    """Write frames, lists, label map and configs for the videos that have boxes.

    Everything that can be checked is checked before the first file is written.

    Args:
        videos_folder: folder of videos of any length, rate and size, or of folders of `fps` images a second.
        boxes_path: boxes in any form that `read_boxes` reads; a file or a folder of them.
        labels_path: class names in any form that `read_class_list` reads.
        out: the data root to make; a run that was stopped goes on.
        detections_path: boxes of a person detector with scores, to validate on; None: the true boxes.
        coordinates: normalized or pixels; None: told from the values.
        fps: frames a second to extract; 0: the most common rate of the videos, at most 30.
        first_second: the second that AVA's columns give to a video's first frame.
        key_every: seconds between two key frames.
        annotation_fps: rate of the extracted images that were annotated; 0: told from their numbers, else `fps`.
        val_share: share of the videos to validate on; 0: validate on the training videos; 1: nothing to train on, and
            boxes need no class.
        seed: another seed splits otherwise.
        short_side: pixels of the frames' shorter side; 0: as in the video.
        jobs: videos at a time.

    Raises:
        UserError: names the file and row, and what was expected.
    """
    inputs = {"--videos": videos_folder, "--boxes": boxes_path, "--labels": labels_path}
    inputs |= {"--detections": detections_path} if detections_path else {}
    check_apart(inputs, [out / name for name in (*_FOLDERS, *_RECIPES, _NAMES)])
    class_names = read_classes(labels_path, boxes_path)
    videos = safe_names(find_videos(videos_folder, image_folders=True))
    infos, faults = _infos(videos, fps)
    _tell_assumptions(infos)
    fps = fps or most_common_rate([info.fps for info in infos.values()])
    images = Images()
    key_boxes = functools.partial(
        _key_boxes,
        class_names=class_names,
        videos=videos,
        infos=infos,
        coordinates=coordinates,
        fps=fps,
        first_second=first_second,
        key_every=key_every,
        annotation_fps=annotation_fps,
        images=images,
        faults=faults,
    )
    boxes = key_boxes(boxes_path, keep_classes=val_share < 1)
    if val_share < 1 and not any(class_id != NO_ACTION for box in boxes for class_id in box.classes):
        raise UserError(f"{boxes_path}: no box names a class of {labels_path} (to only score videos: --val-share 1)")
    used = {class_id for box in boxes for class_id in box.classes}
    unused = [name for class_id, name in class_names.items() if class_id not in used]
    if unused and val_share < 1:
        print(f"custom: {len(unused)} classes have no box, and cannot be learned: {', '.join(unused[:5])}")
    detections = None
    if detections_path is not None:
        detections = key_boxes(detections_path, scored=True)
        _check_scores(detections)
        _tell_uncovered(boxes, detections)
    annotated = {box.name for box in boxes}
    left_out = sorted(set(videos) - annotated)
    if left_out:
        print(f"custom: {len(left_out)} videos of which no box is taken are left out: {', '.join(left_out[:5])}")
    for name in sorted(set(left_out) & set(faults)):
        print(f"custom: note: {faults[name]}")
    videos = {name: path for name, path in videos.items() if name in annotated}
    splits = split_videos(boxes, val_share, seed)
    outputs = Outputs(out)
    _check_case(out, videos)
    _check_same_dataset(outputs, videos)
    links = {f"{_LINKS}/{name}{'' if video.is_dir() else video.suffix}": video for name, video in videos.items()}
    outputs.check_links_free(links)
    outputs.check_free([*_annotation_files(splits), *_RECIPES, _NAMES])

    _check_frames_of_others(out, videos, infos, fps)

    ava.extract_all(out, videos, fps=fps, short_side=short_side, jobs=jobs, dry_run=False)
    counts = {name: _count_whole_frames(out, name) for name in videos}
    has_links = outputs.link(links)
    if not has_links:
        print("custom: this file system has no symbolic links; the config names the folder of the videos instead")
    trained = _key_frames(boxes, splits.get("train", ()))
    recipe = _recipe(
        out, class_names, boxes, fps, first_second, None if has_links else videos_folder.resolve(), len(trained)
    )
    writers = _list_writers(boxes, detections, splits, counts)
    writers |= {
        f"{_ANNOTATIONS}/{_LABEL_MAP}": lambda path: write_label_map(path, class_names),
        _NAMES: lambda path: path.write_text(_names(videos, splits), encoding="utf-8"),
        _RECIPES[0]: lambda path: path.write_text(recipe, encoding="utf-8"),
        _RECIPES[1]: lambda path: path.write_text(_small_recipe(), encoding="utf-8"),
    }
    outputs.write(writers, videos)
    for split, names in splits.items():
        print(f"custom: {split}: {len(names)} videos, {len(_key_frames(boxes, names))} key frames")
    print(f"custom: configs: {out / _RECIPES[0]} and, for a CPU, {out / _RECIPES[1]}")


def _key_frames(boxes: Sequence[KeyBox], names: Collection[str]) -> set[tuple[str, float]]:
    """Return the key frames, as name and second, of some videos."""
    return {(box.name, box.second) for box in boxes if box.name in names}


def _infos(videos: Mapping[str, Path], image_rate: int) -> tuple[dict[str, VideoInfo], dict[str, UserError]]:
    """Read the headers of videos; return them, and what is wrong with the other videos, by name."""
    infos, faults = {}, {}
    for name, path in videos.items():
        try:
            info = probe(path, image_rate)
            if info.is_truncated:
                raise UserError(info.truncation)
            infos[name] = info
        except UserError as error:
            faults[name] = error
    if not infos:
        raise next(iter(faults.values()))
    return infos, faults


def _tell_assumptions(infos: Mapping[str, VideoInfo]) -> None:
    """Say how folders of images, streams without times, and files of several videos are taken."""
    bare = [info for info in infos.values() if not info.is_timed]
    if bare:
        rates = ", ".join(f"{info.path.name} for {info.fps:g} frames a second" for info in bare[:3])
        print(
            f"custom: warning: {len(bare)} videos are bare streams, without times, and taken as they state their rate, "
            f"which may be a default: {rates}; `ffmpeg -r RATE -i IN -c copy OUT.mp4` says another"
        )
    several = [info for info in infos.values() if info.others]
    if several:
        sizes = ", ".join(f"{info.path.name} of {info.width} x {info.height}" for info in several[:3])
        print(
            f"custom: warning: {len(several)} files hold several videos, as of two cameras, and the first is taken: "
            f"{sizes}; `ffmpeg -i IN -map 0:v:1 -c copy OUT.mp4` makes a file of the second"
        )
    folders = [info for info in infos.values() if info.image_rate]
    if folders:
        print(
            f"custom: {len(folders)} folders of images are taken for videos of {folders[0].image_rate} images a second "
            f"(--fps), as {folders[0].path.name}: {len(folders[0].times)} images, the first at 0 s"
        )


def _key_boxes(
    path: Path,
    class_names: Mapping[int, str],
    videos: Mapping[str, Path],
    infos: Mapping[str, VideoInfo],
    coordinates: str | None,
    fps: int,
    first_second: int,
    *,
    key_every: Fraction = Fraction(1),
    annotation_fps: Fraction = Fraction(0),
    images: Images | None = None,
    faults: Mapping[str, UserError] | None = None,
    keep_classes: bool = False,
    scored: bool = False,
) -> list[KeyBox]:
    """Read box files, keep what lies at key frames, and print an account of it.

    Args:
        images: what the files say of images, for those that are read later.
        faults: of videos that cannot be read, by name; they are raised if boxes name them.
        keep_classes: every class that has boxes must keep one.
        scored: boxes are those of a detector.
    """
    classes = Classes(class_names, images=images or Images())
    files = of_known_videos(read_boxes(path, classes), known_names(videos))
    timing = Timing(fps, first_second, key_every, annotation_fps)
    boxes, accounts = select_key_boxes(
        files, path, videos, infos, timing, _UNITS[coordinates], faults or {}, classes.images.numbers, scored=scored
    )
    report(accounts, classes)
    if not scored:
        tell_doubles(boxes)
    lost = lost_classes(files, boxes, class_names) if keep_classes else []
    if lost:
        raise UserError(
            f"{path}: no box of {', '.join(lost)} is left, as told above; if acts are that short, make key frames "
            "denser with a smaller --key-every, or take the classes out of the list"
        )
    return boxes


def _check_frames_of_others(out: Path, videos: Mapping[str, Path], infos: Mapping[str, VideoInfo], fps: int) -> None:
    """Raise where frames that another program extracted are not those of their video."""
    for name in videos:
        folder = out / "frames" / name
        if folder.is_dir() and read_record(out, name) is None:
            found, expected = count_frames(folder), infos[name].times.count(fps)
            if found != expected:
                raise UserError(
                    f"{folder}: is not ours, and holds {found} frames, but {videos[name].name} has {expected} at {fps} "
                    "a second; move it, or choose another --out"
                )


def _count_whole_frames(out: Path, name: str) -> int:
    """Return the number of frames of a video; tell where they are not those that were extracted.

    Raises:
        UserError: see `count_frames`; or a frame is empty, as after a copy that failed.
    """
    folder = out / "frames" / name
    count = count_frames(folder)
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    if empty := sorted(file for file, size in sizes.items() if not size):
        raise UserError(f"{folder}: {empty[0]} is empty; remove the folder and run custom again")
    record = read_record(out, name)
    if record is not None and record.bytes not in (None, total := sum(sizes.values())):
        print(
            f"custom: warning: {folder}: its frames have {total} bytes, but {record.bytes} were extracted: they were "
            "changed, or a copy failed; verify looks at each, or remove the folder and run custom again"
        )
    return count


def _check_case(out: Path, names: Collection[str]) -> None:
    """Raise where two videos would share a folder of frames, as where a file system is that of Windows or a Mac."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name and ignores_case(out):
            raise UserError(f"{out}: takes {other} and {name} for one name, as its file system does; rename a video")


def _check_same_dataset(outputs: Outputs, videos: Mapping[str, Path]) -> None:
    """Raise if the folder holds what was made of other videos; the same ones may have moved."""
    files = {str(path.resolve()) for path in videos.values()}
    if not outputs.videos or files & set(outputs.videos.values()):
        return
    records = {name: read_record(outputs.root, name) for name in videos}
    sources = {name: record.source for name, record in records.items() if record and record.source}
    if not any(source.has_content_of(FileState.of(videos[name])) for name, source in sources.items()):
        names = ", ".join(list(outputs.videos)[:3])
        raise UserError(f"{outputs.root}: holds the dataset of other videos ({names}); choose another --out")


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
        UserError: two videos end up with one name, or the names of their files would be longer than file systems take.
    """
    safe: dict[str, Path] = {}
    for name, path in videos.items():
        candidate = re.sub(r"[^\w.-]", "_", name)
        if candidate in safe:
            raise UserError(f"{path}: becomes {candidate}, as {safe[candidate].name} does; rename one of them")
        if (size := len(candidate.encode())) > _LONGEST_NAME:
            raise UserError(f"{path}: its name has {size} bytes, expected at most {_LONGEST_NAME}; rename it")
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


def _check_scores(boxes: Sequence[KeyBox]) -> None:
    """Check that detections have scores, and tell how many evaluation will not take."""
    scores, by_place, several = [], {}, set()
    for box in boxes:
        score = number(box.last, box.where, "score")
        if not 0 <= score <= 1:
            raise UserError(f"{box.where}: score is {box.last!r}, expected a number in [0, 1]")
        scores.append(score)
        place = box.name, box.second, box.corners
        if by_place.setdefault(place, score) != score:
            several.add(place)
    if several:
        name, second, _ = min(several)
        print(
            f"custom: warning: {len(several)} detected boxes have several scores, as one of {name} at {second:g} s, of "
            "which the highest counts; scores of actions, as eval.py writes them, are none of persons"
        )
    low = sum(score < _SCORE_THRESHOLD for score in scores)
    if low:
        print(
            f"custom: warning: {low} of {len(scores)} detections score below {_SCORE_THRESHOLD:g}, the threshold "
            "AVA.DETECTION_SCORE_THRESH, and do not count; the config states it: lower it there to take them"
        )


def _tell_uncovered(boxes: Sequence[KeyBox], detections: Sequence[KeyBox]) -> None:
    """Tell where there are annotated boxes or detections alone."""
    names = {box.name for box in boxes}
    annotated, detected = (_key_frames(some, names) for some in (boxes, detections))
    for here, there, text in (
        (annotated, detected, "annotated key frames have no detection: all on them counts as missed"),
        (detected, annotated, "key frames with detections are not annotated: all on them counts as false"),
    ):
        alone = sorted(here - there)
        if alone:
            name, second = alone[0]
            print(f"custom: warning: {len(alone)} of {len(here)} {text}, as {name} at {second:g} s")


def _annotation_files(splits: Mapping[str, Sequence[str]]) -> list[str]:
    lists = [f"{_ANNOTATIONS}/{split}{part}.csv" for split in splits for part in ("", "_boxes", "_detections")]
    return [*lists, f"{_ANNOTATIONS}/{_LABEL_MAP}"]


def _list_writers(
    boxes: Sequence[KeyBox],
    detections: Sequence[KeyBox] | None,
    splits: Mapping[str, Sequence[str]],
    counts: Mapping[str, int],
) -> dict[str, Callable[[Path], object]]:
    """Return what writes the lists of each split, by path."""
    writers: dict[str, Callable[[Path], object]] = {}
    for split, names in splits.items():
        members = set(names)
        truth = _truth_rows([box for box in boxes if box.name in members])
        chosen = [box for box in (boxes if detections is None else detections) if box.name in members]
        rows = _detection_rows(chosen, scored=detections is not None)
        frames = {name: counts[name] for name in names}
        writers[f"{_ANNOTATIONS}/{split}.csv"] = functools.partial(write_frame_list, frame_counts=frames)
        writers[f"{_ANNOTATIONS}/{split}_boxes.csv"] = functools.partial(Path.write_text, data=truth, encoding="utf-8")
        writers[f"{_ANNOTATIONS}/{split}_detections.csv"] = functools.partial(
            Path.write_text, data=rows, encoding="utf-8"
        )
    return writers


def _truth_rows(boxes: Sequence[KeyBox]) -> str:
    """Return AVA's rows, persons numbered from 0 in each video where the file gives other names."""
    persons: dict[str, dict[str, int]] = collections.defaultdict(dict)
    rows = []
    for box in boxes:
        person = persons[box.name].setdefault(box.last, len(persons[box.name]))
        rows += [box_row(box.name, box.second, box.corners, class_id, person) for class_id in box.classes]
    return "".join(rows)


def _detection_rows(boxes: Sequence[KeyBox], *, scored: bool) -> str:
    """Return each box once, with its highest score, or 1 for true boxes."""
    rows: dict[tuple, str] = {}
    for box in boxes:
        place, score = (box.name, box.second, box.corners), box.last if scored else "1.0"
        rows[place] = max(rows.get(place, score), score, key=float)
    return "".join(box_row(name, second, corners, NO_ACTION, score) for (name, second, corners), score in rows.items())


def _names(videos: Mapping[str, Path], splits: Mapping[str, Sequence[str]]) -> str:
    """Say which file each safe name stands for."""
    rows = ["video,split,file\n"]
    for name, video in videos.items():
        split = "+".join(split for split, names in splits.items() if name in names)
        file = video.name.replace('"', '""')
        rows.append(f'{name},{split},"{file}"\n')
    return "".join(rows)


def _recipe(
    out: Path,
    class_names: Mapping[int, str],
    boxes: Sequence[KeyBox],
    fps: int,
    first_second: int,
    videos: Path | None,
    trained: int,
) -> str:
    """Return the config.

    Args:
        out: the data root.
        class_names: by id.
        boxes: of all splits.
        fps: frames a second.
        first_second: the second of a video's first frame.
        videos: the folder to take in the place of links; None: there are links.
        trained: key frames to train on; 0: none.
    """
    seconds = [box.second for box in boxes]
    training: dict[str, int] = {"EVAL_PERIOD": 5}
    batch_size = load_config(None).TRAIN.BATCH_SIZE
    if 0 < trained < batch_size:
        print(f"custom: the config takes {trained} clips a step, as many as there are key frames, not {batch_size}")
        training["BATCH_SIZE"] = trained
    settings = {
        "OUTPUT_DIR": str(out / "output"),
        "TRAIN": training,
        "MODEL": {"NUM_CLASSES": max(class_names)},
        "DATA": {"PATH_TO_DATA_DIR": str(out)},
        "AVA": {
            "VIDEO_DIR": str(videos or _LINKS),
            "TRAIN_LISTS": ["train.csv"] if trained else [],
            "TRAIN_GT_BOX_LISTS": ["train_boxes.csv"] if trained else [],
            "TEST_PREDICT_BOX_LISTS": ["val_detections.csv"],
            "DETECTION_SCORE_THRESH": _SCORE_THRESHOLD,
            "GROUNDTRUTH_FILE": "val_boxes.csv",
            "EXCLUSION_FILE": "",
            "LABEL_MAP_FILE": _LABEL_MAP,
            "FPS": fps,
            "FIRST_SECOND": first_second,
            "VALID_SECONDS": [math.floor(min(seconds)), math.ceil(max(seconds))],
            "FULL_TEST_ON_VAL": True,
        },
        "SOLVER": {"AUTO_SCALE_LR": True},
    }
    return _FULL_RECIPE + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def _small_recipe() -> str:
    return _SMALL_RECIPE + yaml.safe_dump({"_BASE_": _RECIPES[0], **_SMALL_SETTINGS}, sort_keys=False)
