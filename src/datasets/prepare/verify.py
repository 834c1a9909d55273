"""Is a data root fit to train on? Every finding says what is wrong and what to do."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from fvcore.common.config import CfgNode

from src.ava.box_csv import check_rows, find_row, read_boxes, read_excluded
from src.ava.frame_list import FRAME_LIST_HEADER, frame_name
from src.ava.label_map import read_label_map
from src.ava.rows import RowError, RowRule
from src.datasets.key_frames import frame_of
from src.datasets.prepare.frame_records import FileState, Oddities, read_record
from src.datasets.video import find_videos
from src.datasets.video_index import count_faults, indexed_info
from src.utils.errors import UserError

# Frames of a video that are decoded: the first, the last and some between.
_DECODED_FRAMES = 6
_DURATION_SLACK_SECONDS = 1.0
_SHOWN_ROWS = 3
_LIST_AGAIN = "Run custom, or the lists step, again"


@dataclass(frozen=True)
class Finding:
    """Something about the data that is not as it should be.

    Attributes:
        harmful: training would stop or learn from wrong data.
        subject: the file or folder.
        what: what is wrong.
        advice: what to do about it.
    """

    harmful: bool
    subject: str
    what: str
    advice: str

    def __str__(self) -> str:
        return f"{'HARM' if self.harmful else 'note'}  {self.subject}: {self.what}. {self.advice}."


def verify(cfg: CfgNode, jobs: int) -> list[Finding]:
    """Check the lists, frames and boxes that a configuration names against each other.

    Args:
        cfg: the config; reads DATA.PATH_TO_DATA_DIR, DATA.SOURCE, MODEL.NUM_CLASSES and AVA.
        jobs: videos at a time.

    Returns:
        The findings, harmful ones first.
    """
    root = Path(cfg.DATA.PATH_TO_DATA_DIR)
    frame_dir, list_dir, annotations = (
        root / folder for folder in (cfg.AVA.FRAME_DIR, cfg.AVA.FRAME_LIST_DIR, cfg.AVA.ANNOTATION_DIR)
    )
    findings: list[Finding] = []
    counts: dict[str, int] = {}
    if cfg.DATA.SOURCE == "video":
        source_dir = root / cfg.AVA.VIDEO_DIR
        videos = find_videos(source_dir, image_folders=True)
        check, names = (lambda name: _check_video(root, name, videos[name], cfg.AVA.FPS)), list(videos)
    else:
        source_dir, listed = frame_dir, {}
        for name in [*cfg.AVA.TRAIN_LISTS, *cfg.AVA.TEST_LISTS]:
            findings += _check_frame_list(list_dir / name, listed)
        check, names = (lambda name: _check_frames(root, frame_dir, name, listed[name], cfg.AVA.FPS)), list(listed)
    for name in names:
        findings += _check_source(root, name, root / cfg.AVA.VIDEO_DIR)
    with ThreadPoolExecutor(jobs) as pool:
        for name, (count, found) in zip(names, pool.map(check, names), strict=True):
            counts[name] = count
            findings += found
    boxed: set[str] = set()
    truths = [*cfg.AVA.TRAIN_GT_BOX_LISTS, cfg.AVA.GROUNDTRUTH_FILE]
    detections = [*cfg.AVA.TRAIN_PREDICT_BOX_LISTS, *cfg.AVA.TEST_PREDICT_BOX_LISTS]
    for name in dict.fromkeys([*truths, *detections]):
        findings += _check_boxes(annotations / name, name in detections, cfg, counts, boxed)
    findings += [
        Finding(False, str(source_dir / name), "has no boxes", "It is not used; annotate it to use it")
        for name in names
        if name not in boxed
    ]
    findings += _check_label_map(annotations / cfg.AVA.LABEL_MAP_FILE, cfg.MODEL.NUM_CLASSES)
    if cfg.AVA.EXCLUSION_FILE:
        findings += _check_exclusions(annotations / cfg.AVA.EXCLUSION_FILE)
    return sorted(findings, key=lambda finding: not finding.harmful)


def report(findings: Sequence[Finding], subject: str, *, to_train: bool) -> int:
    """Print findings and return the exit status: 1 if one is harmful.

    Args:
        findings: of `verify`.
        subject: what was verified.
        to_train: whether the config names lists to train on; else it is there to score.
    """
    for finding in findings:
        print(finding)
    harmful = sum(finding.harmful for finding in findings)
    if harmful:
        purpose = "training" if to_train else "scoring"
        print(f"verify: {subject}: {harmful} findings would harm {purpose}, {len(findings) - harmful} notes")
        return 1
    print(f"verify: {subject}: fit to {'train on' if to_train else 'score'}, {len(findings)} notes")
    return 0


def _check_frame_list(path: Path, listed: dict[str, int]) -> Iterator[Finding]:
    """Check the rows of a frame list, and add the number of frames of its videos to `listed`."""
    counts: dict[str, int] = defaultdict(int)
    try:
        with path.open(encoding="utf-8-sig") as file:
            if file.readline().split() != FRAME_LIST_HEADER.split():
                yield Finding(True, f"{path}: row 1", "is not the header of a frame list", _LIST_AGAIN)
            for number, line in enumerate(file, start=2):
                fields = line.split()
                expected = f"{fields[0]}/{frame_name(fields[0], counts[fields[0]] + 1)}" if fields else ""
                if len(fields) < 4 or fields[3] != expected:
                    what = f"is {line.strip()!r}, expected the path {expected}"
                    yield Finding(True, f"{path}: row {number}", what, _LIST_AGAIN)
                    return
                counts[fields[0]] += 1
    except (OSError, UnicodeDecodeError) as error:
        yield Finding(True, str(path), f"cannot be read ({error})", _LIST_AGAIN)
    if not counts:
        yield Finding(True, str(path), "lists no frames", "Run custom, or the frames and lists steps, again")
    listed.update(counts)


def _check_video(root: Path, name: str, path: Path, fps: int) -> tuple[int, list[Finding]]:
    """Check a video that clips are read from, all through; return how many frames it gives at `fps`."""
    advice = "Fetch or copy it again, or take it away with its boxes"
    try:
        info = indexed_info(path, fps, root)
        record = read_record(root, name)
        is_known = record is not None and record.frames is not None and record.source == FileState.of(path)
        oddities = record if is_known else Oddities(**count_faults(path, fps, root), overlapping=info.times.overlapping)
    except UserError as error:
        return 0, [Finding(True, str(path), str(error), advice)]
    findings = [Finding(True, str(path), info.truncation, advice)] if info.is_truncated else []
    return info.times.count(fps), [*findings, *_check_oddities(path.name, oddities, str(path))]


def _check_frames(root: Path, frame_dir: Path, name: str, listed: int, fps: int) -> tuple[int, list[Finding]]:
    """Check the frames of one video; return how many there are in a row."""
    folder = frame_dir / name
    again = f"Remove {folder} and run custom, or the frames and lists steps, again"
    try:
        files = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    except OSError as error:
        return 0, [
            Finding(True, str(folder), f"cannot be listed ({error.strerror})", "Run custom, or the frames step, again")
        ]
    findings = []
    numbers = range(1, max(listed, len(files)) + 1)
    missing = [number for number in numbers if frame_name(name, number) not in files]
    present = [number for number in numbers if frame_name(name, number) in files]
    gaps = [number for number in missing if number <= listed]
    if gaps:
        what = f"{len(gaps)} of {listed} listed frames are missing, the first is {frame_name(name, gaps[0])}"
        findings.append(Finding(True, str(folder), what, again))
    if len(present) > listed:
        what = f"has {len(present)} frames, of which only {listed} are listed"
        findings.append(Finding(True, str(folder), what, _LIST_AGAIN))
    empty = [number for number in present if files[frame_name(name, number)] == 0]
    if empty:
        what = f"{len(empty)} files are empty, the first is {frame_name(name, empty[0])}"
        findings.append(Finding(True, str(folder), what, again))
    if not gaps:
        findings += _check_record(root, name, len(present), fps, str(folder), again)
    record, total = read_record(root, name), sum(files.values())
    is_changed = record is not None and len(present) == record.frames and record.bytes not in (None, total)
    whole = [number for number in present if number not in empty]
    faults = list(_check_images(folder, whole, again, every=is_changed))
    if is_changed and not (faults or empty):
        what = f"has {total} bytes of whole frames, but {record.bytes} were extracted: they were changed"
        findings.append(Finding(False, str(folder), what, again))
    findings += faults
    return len(present), findings


def _check_record(root: Path, name: str, count: int, fps: int, subject: str, again: str) -> Iterator[Finding]:
    """Compare frames with the record of how they were made, and the record with the video."""
    record = read_record(root, name)
    if record is None:
        what = "nothing tells how these frames were made, so their number is not checked against the video"
        yield Finding(False, subject, what, "Extract them with custom or the frames step to have that checked")
        return
    if record.fps != fps:
        what = f"has {record.fps} frames a second, but AVA.FPS is {fps}"
        yield Finding(True, subject, what, f"Set AVA.FPS {record.fps}, or extract the frames again")
    if count != (count if record.frames is None else record.frames):
        yield Finding(True, subject, f"has {count} frames, but {record.frames} were extracted", again)
    elif count < (record.duration - _DURATION_SLACK_SECONDS) * record.fps:
        expected = record.duration * record.fps
        what = f"has {count} frames, but {record.video} lasts {record.duration:g} s, which is {expected:.0f}"
        yield Finding(True, subject, what, again)
    yield from _check_oddities(record.video, record, subject)


def _check_oddities(video: str, oddities: Oddities, subject: str) -> Iterator[Finding]:
    """Tell what was met in decoding a video."""
    if oddities.errors or oddities.damaged:
        what = (
            f"{video} is damaged: {oddities.errors} packets could not be decoded, and in {oddities.damaged} frames "
            "faults were concealed; others may show what came out of those"
        )
        yield Finding(False, subject, what, "Look at the frames, or fetch or copy the video again")
    if oddities.overlapping:
        what = f"{oddities.overlapping} frames of {video} begin when others were shown already, and replace them"
        yield Finding(False, subject, what, "Recordings were joined there; look whether boxes fit on both sides")
    if oddities.resized:
        what = f"{oddities.resized} frames of {video} have another size than its first, to which they were scaled"
        yield Finding(False, subject, what, "Look whether their shape suffered and boxes fit; else cut the video there")


def _check_source(root: Path, name: str, links: Path) -> Iterator[Finding]:
    """Compare the record of a video's frames with the video, where a link to it lies in the data root."""
    record = read_record(root, name)
    if record is None or record.source is None:
        return
    link = links / (name + Path(record.video).suffix)
    if not link.is_symlink():  # those to folders of images have no suffix
        link = links / name
    if not link.is_symlink():
        return
    if not link.exists():
        what = f"the link leads nowhere: {link.readlink()} is gone"
        yield Finding(False, str(link), what, "Frames on disk still serve; DATA.SOURCE video does not")
    elif FileState.of(link) != record.source:
        what = "has changed since its frames were extracted, and its boxes checked against it"
        yield Finding(True, str(link), what, "Run `custom` again")


def _check_images(folder: Path, numbers: Sequence[int], again: str, *, every: bool) -> Iterator[Finding]:
    """Decode every frame, or the first, the last and some between: each must be whole, and all of one size."""
    if not numbers:
        return
    chosen = numbers if every else {numbers[int(at)] for at in np.linspace(0, len(numbers) - 1, _DECODED_FRAMES)}
    sizes: dict[tuple[int, int], str] = {}
    for number in sorted(chosen):
        path = folder / frame_name(folder.name, number)
        data = path.read_bytes()
        # A JPEG ends with its end marker; decoders fill up what is cut off with gray.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data.endswith(b"\xff\xd9") else None
        if image is None:
            yield Finding(True, str(path), "is not a whole JPEG image", again)
        else:
            sizes.setdefault(image.shape[:2], path.name)
    if len(sizes) > 1:
        shown = ", ".join(f"{name} {width} x {height}" for (height, width), name in sizes.items())
        yield Finding(True, str(folder), f"the frames differ in size ({shown})", again)


def _check_boxes(
    path: Path, is_detection: bool, cfg: CfgNode, counts: dict[str, int], boxed: set[str]
) -> Iterator[Finding]:
    """Check the rows of a box list against the frames, and add its videos to `boxed`."""
    rule = RowRule(is_detection, normalized=True, num_classes=cfg.MODEL.NUM_CLASSES)
    try:
        table = read_boxes(path, rule)
    except UserError as error:
        faults: dict[str, list[int]] = defaultdict(list)
        for number, row in check_rows(path, rule) if path.is_file() else ():
            if isinstance(row, RowError):
                faults[str(row)].append(number)
            else:
                boxed.add(row.video)
        for fault, rows in faults.items():
            shown = ", ".join(f"row {row}" for row in rows[:_SHOWN_ROWS])
            shown += f" and {len(rows) - _SHOWN_ROWS} more" if len(rows) > _SHOWN_ROWS else ""
            yield Finding(True, f"{path}: {shown}", fault, "Correct or remove the rows")
        if not faults:
            yield _unreadable(path, error, "Put the box list there, or correct the config")
        return
    videos = set(table.video_names)
    if not videos:
        yield Finding(True, str(path), "holds no box", "Put boxes there, or take it out of the config")
    boxed |= videos
    unknown = sorted(videos - set(counts))
    if unknown:
        what = f"{len(unknown)} of its {len(videos)} videos are not among the frames or videos, as {unknown[0]}"
        advice = "Their boxes are left out; prepare the videos to have them"
        yield Finding(len(unknown) == len(videos), str(path), what, advice)
    low, high = cfg.AVA.VALID_SECONDS
    early = 0
    for number, name in enumerate(table.video_names):
        seconds = np.unique(table.second[table.video == number])
        valid = (seconds >= low) & (seconds <= high)
        early += int((~valid).sum())
        if name not in counts:
            continue
        frames = frame_of(seconds, cfg.AVA.FIRST_SECOND, cfg.AVA.FPS)
        outside = seconds[valid & ~((frames >= 0) & (frames < counts[name]))]
        if len(outside):
            what = (
                f"{len(outside)} annotated seconds of {name} have no frames, as {outside[0]:g}; "
                f"its {counts[name]} frames show the seconds from {cfg.AVA.FIRST_SECOND} "
                f"to {cfg.AVA.FIRST_SECOND + (counts[name] - 1) // cfg.AVA.FPS}"
            )
            advice = "Extract the frames again if the video is longer, else check AVA.FPS and AVA.FIRST_SECOND"
            yield Finding(True, f"{path}: row {find_row(path, name, outside[0])}", what, advice)
    if early:
        what = f"{early} key frames lie outside AVA.VALID_SECONDS {low} to {high}"
        yield Finding(False, str(path), what, "They are left out; widen AVA.VALID_SECONDS to use them")


def _unreadable(path: Path, error: UserError, advice: str) -> Finding:
    """Return the finding for a file that its reader refused; readers name the file first."""
    return Finding(True, str(path), str(error).removeprefix(f"{path}: "), advice)


def _check_label_map(path: Path, num_classes: int) -> Iterator[Finding]:
    try:
        highest = max(read_label_map(path))
    except UserError as error:
        yield _unreadable(path, error, "Put the label map there, or correct the config")
        return
    if highest > num_classes:
        what = f"has class {highest}, but MODEL.NUM_CLASSES is {num_classes}"
        yield Finding(True, str(path), what, f"Set MODEL.NUM_CLASSES {highest}")


def _check_exclusions(path: Path) -> Iterator[Finding]:
    try:
        read_excluded(path)
    except UserError as error:
        yield _unreadable(path, error, 'Correct the list, or set AVA.EXCLUSION_FILE ""')
