"""The AVA recipe: videos of the public list, their 15 annotated minutes, frames at 30 a second, frame lists.

A data root holds
    videos/           what `download` fetched, each with its checksum
    videos_15min/     what `cut` made of them: 901 seconds from second 900
    frames/           NAME/NAME_000001.jpg and so on
    frame_records/    NAME.json: how the frames of NAME were made
    ava_annotations/  frame lists, box lists, excluded timestamps, label map
"""

import json
import shutil
import tarfile
import tempfile
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from src.ava.frame_list import write_frame_list
from src.datasets.prepare import download, ffmpeg, lists
from src.datasets.prepare.ffmpeg import TargetError
from src.datasets.prepare.jobs import format_bytes, run_all, threads_per_job
from src.utils.errors import UserError
from src.utils.files import write_atomic

# The public places, as cvdfoundation/ava-dataset and PySlowFast's DATASET.md name them.
VIDEO_URL = "https://s3.amazonaws.com/ava-dataset/trainval"
NAMES_URL = "https://s3.amazonaws.com/ava-dataset/annotations"
NAMES_FILE = "ava_file_names_trainval_v2.1.txt"
ANNOTATIONS_URL = "https://dl.fbaipublicfiles.com/pyslowfast/annotation/ava"
ANNOTATIONS_FILE = "ava_annotations.tar"
CUT_START, CUT_SECONDS = 900, 901
FPS = 30
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
BOX_LISTS = {"train": "ava_train_v2.2.csv", "val": "ava_val_v2.2.csv"}

_MEASURED_VIDEOS = 5
_MEASURED_FRAMES = 6


def find_videos(folder: Path) -> dict[str, Path]:
    """Return the videos of a folder by name, without the suffix, sorted.

    Raises:
        UserError: no folder, no videos, or two videos of one name.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; expected one with videos")
    videos: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in VIDEO_SUFFIXES:
            continue
        name = unicodedata.normalize("NFC", path.stem)
        if name in videos:
            raise UserError(f"{path}: there is also {videos[name].name}; two videos cannot share the name {name}")
        videos[name] = path
    if not videos:
        raise UserError(f"{folder}: holds no videos ({' '.join(VIDEO_SUFFIXES)})")
    return videos


def video_names(root: Path) -> list[str]:
    """Return the file names of AVA's training and validation videos, from the list in ava_annotations.

    Raises:
        UserError: the list is not there.
    """
    path = root / "ava_annotations" / NAMES_FILE
    try:
        names = path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise UserError(f"{path}: cannot read the list of videos: {error.strerror}; run the download step") from error
    for row, name in enumerate(names, start=1):
        if "/" in name:
            raise UserError(f"{path}: row {row}: {name!r} is not a file name")
    return names


def download_all(
    root: Path,
    *,
    video_urls: Sequence[str],
    names_urls: Sequence[str],
    annotation_urls: Sequence[str],
    jobs: int,
    dry_run: bool,
) -> None:
    """Fetch the list of videos, the annotations and the videos; what is there already is not fetched again."""
    annotations = root / "ava_annotations"
    if not (annotations / NAMES_FILE).exists():
        download.fetch(names_urls, NAMES_FILE, annotations / NAMES_FILE)
    if any(not (annotations / name).exists() for name in BOX_LISTS.values()) and not dry_run:
        download.fetch(annotation_urls, ANNOTATIONS_FILE, root / ANNOTATIONS_FILE)
        unpack_annotations(root / ANNOTATIONS_FILE, annotations)
    missing = [
        name
        for name in video_names(root)
        if not ((root / "videos" / name).exists() and download.checksum_file(root / "videos" / name).exists())
    ]
    if dry_run:
        with ThreadPoolExecutor(jobs) as pool:
            sizes = list(pool.map(lambda name: download.remote_size(video_urls, name), missing))
        _print_need(f"download: {len(missing)} videos to fetch", sum(sizes), root)
        return

    def work(name: str) -> str:
        target = root / "videos" / name
        download.fetch(video_urls, name, target)
        return format_bytes(target.stat().st_size)

    run_all("download", missing, work, jobs)


def unpack_annotations(archive: Path, annotations: Path) -> None:
    """Unpack a tar of annotations into the folder `annotations`, without the folder that the archive wraps them in.

    Raises:
        UserError: not a tar archive, or a member that would land outside the folder.
    """
    try:
        annotations.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=annotations.parent) as temporary, tarfile.open(archive) as tar:
            tar.extractall(temporary, filter="data")
            unpacked = Path(temporary)
            while len(entries := list(unpacked.iterdir())) == 1 and entries[0].is_dir():
                unpacked = entries[0]
            shutil.copytree(unpacked, annotations, dirs_exist_ok=True)
    except tarfile.TarError as error:
        raise UserError(f"{archive}: cannot unpack the annotations: {error}") from error
    except OSError as error:
        raise TargetError(f"{annotations}: cannot write the annotations: {error.strerror}") from error


def cut_all(root: Path, *, jobs: int, dry_run: bool) -> None:
    """Cut every video of videos/ to the annotated minutes, into videos_15min/; those that are there are kept."""
    videos, target = find_videos(root / "videos"), root / "videos_15min"
    done = set(find_videos(target)) if target.is_dir() and any(target.glob("*.mp4")) else set()
    missing = [name for name in videos if name not in done]
    if dry_run:
        shares = (
            videos[name].stat().st_size * min(1.0, CUT_SECONDS / ffmpeg.probe(videos[name]).duration)
            for name in missing
        )
        _print_need(f"cut: {len(missing)} videos to cut, at the bit rate of the originals", sum(shares), root)
        return
    ffmpeg.remove_partials(target)

    def work(name: str) -> str:
        cut = target / f"{name}.mp4"
        ffmpeg.cut_video(videos[name], cut, CUT_START, CUT_SECONDS, threads_per_job(jobs))
        return f"{ffmpeg.probe(cut).duration:.0f} of {CUT_SECONDS} seconds"

    run_all("cut", missing, work, jobs)


def extract_all(root: Path, videos: dict[str, Path], *, fps: int, short_side: int, jobs: int, dry_run: bool) -> None:
    """Extract the frames of videos into frames/NAME, with a record of how; finished ones are kept.

    Args:
        root: the data root.
        videos: path by name; the names hold no white space, comma or slash.
        fps: frames a second.
        short_side: pixels of the shorter side; 0: as in the video.
        jobs: videos at a time.
        dry_run: only print how much room the frames will need, measured on some of them.

    Raises:
        UserError: videos failed, or frames are there that were made with other settings.
    """
    for name in videos:
        if any(character.isspace() or character in ',/"' for character in name):
            raise UserError(
                f"{videos[name]}: the name holds white space, a comma or a quotation mark, which frame lists cannot "
                "carry; rename the file, or prepare the folder with `custom`, which gives safe names"
            )
    missing = []
    for name in videos:
        if not (root / "frames" / name).is_dir():
            missing.append(name)
            continue
        record = read_record(root, name)
        if record and (record["fps"], record["short_side"]) != (fps, short_side):
            raise UserError(
                f"{root / 'frames' / name}: these frames have {record['fps']} a second and short side "
                f"{record['short_side'] or 'unchanged'}, not what is asked for now; remove the folder to extract again"
            )
    if dry_run:
        need = _frame_bytes([videos[name] for name in missing], fps, short_side)
        _print_need(f"frames: {len(missing)} videos to extract", need, root)
        return
    ffmpeg.remove_partials(root / "frames")

    def work(name: str) -> str:
        info = ffmpeg.probe(videos[name])
        threads = threads_per_job(jobs)
        record = {
            "video": videos[name].name,
            "duration": info.duration,
            "width": info.width,
            "height": info.height,
            "video_fps": info.fps,
            "sound": info.sound,
            "fps": fps,
            "short_side": short_side,
            "ffmpeg": ffmpeg.ffmpeg_version(),
        }
        # Before the folder, so that a finished one always has its record.
        _write_record(root, name, record)
        count = ffmpeg.extract_frames(videos[name], root / "frames" / name, fps, short_side=short_side, threads=threads)
        _write_record(root, name, record | {"frames": count})
        return f"{count} frames"

    run_all("frames", missing, work, jobs)


def write_lists(root: Path) -> None:
    """Write train.csv and val.csv: the videos that each split's boxes name and that have frames.

    Raises:
        UserError: box lists are missing, a frames folder has a gap, or a split has no frames at all.
    """
    for split, box_list in BOX_LISTS.items():
        names = sorted({row.split(",", 1)[0] for row in _lines(root / "ava_annotations" / box_list) if row})
        counts = {
            name: lists.count_frames(root / "frames" / name) for name in names if (root / "frames" / name).is_dir()
        }
        if not counts:
            raise UserError(f"{root / 'frames'}: has frames of none of the {len(names)} videos in {box_list}")
        path = root / "ava_annotations" / f"{split}.csv"
        write_frame_list(path, counts)
        print(f"lists: {path.name}: {len(counts)} of {len(names)} videos, {sum(counts.values())} frames")


def read_record(root: Path, name: str) -> dict | None:
    """Return how the frames of a video were made, or None where they came from elsewhere."""
    path = root / "frame_records" / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot read the record of the frames: {error}") from error


def _write_record(root: Path, name: str, record: dict) -> None:
    path = root / "frame_records" / f"{name}.json"
    try:
        write_atomic(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise TargetError(f"{path}: cannot write the record of the frames: {error.strerror}") from error


def _frame_bytes(videos: Sequence[Path], fps: int, short_side: int) -> float:
    """Estimate the size of all frames from a few frames of a few videos spread over the list."""
    durations = [ffmpeg.probe(video).duration for video in videos]
    step = max(1, len(videos) // _MEASURED_VIDEOS)
    sizes = [
        len(ffmpeg.grab_frame(video, duration * part / _MEASURED_FRAMES, short_side))
        for video, duration in list(zip(videos, durations, strict=True))[::step]
        for part in range(_MEASURED_FRAMES)
    ]
    return sum(sizes) / max(1, len(sizes)) * fps * sum(durations)


def _print_need(what: str, need: float, root: Path) -> None:
    folder = root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    print(f"{what}: about {format_bytes(need)}; {format_bytes(free)} free")
    if need > free:
        print(f"{what.split(':')[0]}: NOT ENOUGH ROOM, {format_bytes(need - free)} are lacking")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot read the box list: {error.strerror}; run the download step") from error
