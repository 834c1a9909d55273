"""The AVA recipe: videos of the public list, their 15 annotated minutes, frames at 30 a second, frame lists.

A data root holds
    videos/           what `download` fetched, each with its checksum
    videos_15min/     what `cut` made of them: 901 seconds from second 900
    frames/           NAME/NAME_000001.jpg and so on
    frame_records/    NAME.json: how the frames of NAME were made
    ava_annotations/  frame lists, box lists, excluded timestamps, label map
"""

import functools
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial
from pathlib import Path

import av

from src.ava.frame_list import write_frame_list
from src.datasets.prepare import download, ffmpeg
from src.datasets.prepare.ffmpeg import TargetError
from src.datasets.prepare.frame_records import FileState, FrameRecord, read_record, write_record
from src.datasets.prepare.frames import count_frames, discard_frames, extract_frames, remove_partials
from src.datasets.prepare.jobs import format_bytes, run_all, threads_per_job
from src.datasets.prepare.outputs import Outputs
from src.datasets.video import VideoInfo, VideoReader, find_videos, probe
from src.utils.cluster import job_pool
from src.utils.errors import UserError

# The public places, as cvdfoundation/ava-dataset and PySlowFast's DATASET.md name them.
VIDEO_URL = "https://s3.amazonaws.com/ava-dataset/trainval"
NAMES_URL = "https://s3.amazonaws.com/ava-dataset/annotations"
NAMES_FILE = "ava_file_names_trainval_v2.1.txt"
ANNOTATIONS_URL = "https://dl.fbaipublicfiles.com/pyslowfast/annotation/ava"
ANNOTATIONS_FILE = "ava_annotations.tar"
CUT_START, CUT_SECONDS = 900, 901
FPS = 30
BOX_LISTS = {"train": "ava_train_v2.2.csv", "val": "ava_val_v2.2.csv"}

_MEASURED_VIDEOS = 5
_MEASURED_FRAMES = 6


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
        if not (root / ANNOTATIONS_FILE).exists():
            download.fetch(annotation_urls, ANNOTATIONS_FILE, root / ANNOTATIONS_FILE)
        unpack_annotations(root / ANNOTATIONS_FILE, annotations)
    videos = root / "videos"
    missing = [name for name in video_names(root) if not (videos / name).exists()]
    unchecked = [
        name
        for name in video_names(root)
        if (videos / name).exists() and not download.checksum_file(videos / name).exists()
    ]
    if unchecked:
        print(f"download: {len(unchecked)} videos lie there without a checksum, as {unchecked[0]}; they are kept")
    if dry_run:
        with ThreadPoolExecutor(jobs) as pool:
            sizes = list(pool.map(lambda name: download.remote_size(video_urls, name), missing))
        _print_need(f"download: {len(missing)} videos to fetch", sum(sizes), root)
        return

    def work(name: str) -> str:
        target = root / "videos" / name
        download.fetch(video_urls, name, target)
        return format_bytes(target.stat().st_size)

    with job_pool(jobs) as pool:
        run_all("download", missing, work, pool)


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
            for source in sorted(path for path in unpacked.rglob("*") if path.is_file()):
                target = annotations / source.relative_to(unpacked)
                if os.path.lexists(target):
                    print(f"download: {target} lies there already and is kept")
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    except tarfile.TarError as error:
        raise UserError(f"{archive}: cannot unpack the annotations: {error}") from error
    except OSError as error:
        raise TargetError(f"{annotations}: cannot write the annotations: {error.strerror}") from error


def cut_all(
    root: Path, *, jobs: int, dry_run: bool, cluster: str | None = None, keyframe_seconds: Fraction | None = None
) -> None:
    """Cut every video of videos/ to the annotated minutes, into videos_15min/; those that are there are kept.

    Args:
        root: the data root.
        jobs: videos at a time, on each machine.
        dry_run: only print how much room the cuts will need.
        cluster: see `src.utils.cluster`; None: this machine.
        keyframe_seconds: see `ffmpeg.cut_video`.

    Raises:
        UserError: videos failed.
    """
    if cluster is not None:
        root = root.absolute()  # workers may run in another folder
    videos, target = find_videos(root / "videos"), root / "videos_15min"
    done = set(find_videos(target)) if target.is_dir() and any(target.glob("*.mp4")) else set()
    missing = [name for name in videos if name not in done]
    if dry_run:
        shares = (
            videos[name].stat().st_size * min(1.0, CUT_SECONDS / probe(videos[name]).duration) for name in missing
        )
        _print_need(f"cut: {len(missing)} videos to cut, at the bit rate of the originals", sum(shares), root)
        return
    remove_partials(target)
    if keyframe_seconds is not None and len(missing) < len(videos):
        print(f"cut: {len(videos) - len(missing)} videos are there already and keep the keyframes they have")
    with job_pool(jobs, cluster) as pool:
        run_all("cut", missing, partial(_cut, videos, target, jobs, keyframe_seconds), pool)
    _check_written(target / f"{name}.mp4" for name in missing)


def _cut(videos: dict[str, Path], target: Path, jobs: int, keyframe_seconds: Fraction | None, name: str) -> str:
    """Cut one video; return what came out, for people."""
    cut = target / f"{name}.mp4"
    ffmpeg.cut_video(videos[name], cut, CUT_START, CUT_SECONDS, threads_per_job(jobs), keyframe_seconds)
    return f"{probe(cut).duration:.0f} of {CUT_SECONDS} seconds"


def extract_all(
    root: Path,
    videos: dict[str, Path],
    *,
    fps: int,
    short_side: int,
    jobs: int,
    dry_run: bool,
    cluster: str | None = None,
) -> None:
    """Extract the frames of videos into frames/NAME, with a record of how; finished ones are kept.

    Args:
        root: the data root.
        videos: path by name; the names hold no white space, comma or slash.
        fps: frames a second.
        short_side: pixels of the shorter side; 0: as in the video.
        jobs: videos at a time, on each machine.
        dry_run: only print how much room the frames will need, measured on some of them.
        cluster: see `src.utils.cluster`; None: this machine.

    Raises:
        UserError: videos failed, or frames are there that were made with other settings.
    """
    if cluster is not None:
        root, videos = root.absolute(), {name: video.absolute() for name, video in videos.items()}
    for name in videos:
        if any(character.isspace() or character in ',/"' for character in name):
            raise UserError(
                f"{videos[name]}: the name holds white space, a comma or a quotation mark, which frame lists cannot "
                "carry; rename the file, or prepare the folder with `custom`, which gives safe names"
            )
        if not _is_utf8(f"{name} {videos[name].resolve()}"):
            raise UserError(f"{videos[name]}: the path is no UTF-8, which records are written in; rename the file")
    missing, replaced = [], []
    for name, video in videos.items():
        if not (root / "frames" / name).is_dir():
            missing.append(name)
        elif _is_outdated(root, name, video, fps, short_side):
            replaced.append(name)
    if dry_run:
        need = _frame_bytes([videos[name] for name in (*missing, *replaced)], fps, short_side)
        _print_need(f"frames: {len(missing) + len(replaced)} videos to extract", need, root)
        return
    remove_partials(root / "frames")
    for name in replaced:
        print(f"frames: {videos[name]} is not the file that its frames were made of: they are extracted anew")

    work = partial(_extract, root, videos, frozenset(replaced), fps, short_side, jobs)
    with job_pool(jobs, cluster) as pool:
        run_all("frames", [*missing, *replaced], work, pool)
    _check_written(root / "frames" / name for name in missing)


def _check_written(paths: Iterable[Path]) -> None:
    """Raise where what a job wrote is not to be seen: by a worker of a cluster that has another folder of this name."""
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: is not there; the workers wrote into another folder of this name, share one")


def _extract(
    root: Path, videos: dict[str, Path], replaced: frozenset[str], fps: int, short_side: int, jobs: int, name: str
) -> str:
    """Extract the frames of one video; return what came out, for people."""
    folder = root / "frames" / name
    if folder.is_dir() and name not in replaced:
        # By a worker that was lost before it could say so.
        return f"{count_frames(folder)} frames"
    info = probe(videos[name], fps)
    if info.is_truncated:
        raise UserError(info.truncation)
    if folder.is_dir():
        discard_frames(folder)
    record = FrameRecord(
        video=videos[name].name,
        source=FileState.of(videos[name]),
        duration=info.duration,
        width=info.width,
        height=info.height,
        video_fps=info.fps,
        fps=fps,
        short_side=short_side,
        overlapping=info.times.overlapping,
        decoder=f"PyAV {av.__version__}",
    )
    # Before the folder, so that a finished one always has its record.
    write_record(root, name, record)
    result = extract_frames(info, folder, fps, short_side=short_side, threads=threads_per_job(jobs))
    if FileState.of(videos[name]) != record.source:
        raise UserError(f"{videos[name]}: has changed while its frames were extracted; run the step again")
    write_record(root, name, record.model_copy(update=vars(result)))
    text = f"{result.frames} frames"
    if record.overlapping:
        text += f", {record.overlapping} frames of the video replace others of the same time"
    if result.resized:
        text += f", {result.resized} frames of another size are scaled to {info.width} x {info.height}"
    return text + (f", warning: the video is damaged: {result.fault}" if result.fault else "")


def _is_utf8(text: str) -> bool:
    """Whether a path can be written as UTF-8: file systems of Unix take any bytes for a name."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_outdated(root: Path, name: str, video: Path, fps: int, short_side: int) -> bool:
    """Whether frames are there that were made of another file than the video is now.

    Raises:
        UserError: they were made with other settings.
    """
    record = read_record(root, name)
    if record is None:
        return False
    if (record.fps, record.short_side) != (fps, short_side):
        raise UserError(
            f"{root / 'frames' / name}: these frames have {record.fps} a second and short side "
            f"{record.short_side or 'unchanged'}, not what is asked for now; remove the folder to extract again"
        )
    return record.source is not None and record.source != FileState.of(video)


def write_lists(root: Path) -> None:
    """Write train.csv and val.csv: the videos that each split's boxes name and that have frames.

    Raises:
        UserError: box lists are missing, a frames folder has a gap, or a split has no frames at all.
    """
    writers = {}
    for split, box_list in BOX_LISTS.items():
        names = sorted({row.split(",", 1)[0] for row in _lines(root / "ava_annotations" / box_list) if row})
        counts = {name: count_frames(root / "frames" / name) for name in names if (root / "frames" / name).is_dir()}
        if not counts:
            raise UserError(f"{root / 'frames'}: has frames of none of the {len(names)} videos in {box_list}")
        writers[f"ava_annotations/{split}.csv"] = functools.partial(write_frame_list, frame_counts=counts)
        print(f"lists: {split}.csv: {len(counts)} of {len(names)} videos, {sum(counts.values())} frames")
    Outputs(root).write(writers, {})


def _frame_bytes(videos: Sequence[Path], fps: int, short_side: int) -> float:
    """Estimate the size of all frames from a few frames of a few videos spread over the list."""
    infos = [probe(video) for video in videos]
    sizes = [
        size for info in infos[:: max(1, len(infos) // _MEASURED_VIDEOS)] for size in _some_sizes(info, fps, short_side)
    ]
    return sum(sizes) / max(1, len(sizes)) * fps * sum(info.duration for info in infos)


def _some_sizes(info: VideoInfo, fps: int, short_side: int) -> list[int]:
    """Return the sizes of some frames, spread over a video, as JPEG files."""
    count = info.times.count(fps)
    indices = sorted({count * part // _MEASURED_FRAMES for part in range(_MEASURED_FRAMES)})
    with VideoReader(info, fps) as reader:
        return [len(frame.jpeg(short_side)) for _, frame in reader.read(indices)]


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
