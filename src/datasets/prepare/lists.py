"""The files that training reads, written: frame lists, box rows and label maps."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from src.utils.errors import UserError
from src.utils.files import atomic_path, write_atomic

FRAME_LIST_HEADER = "original_vido_id video_id frame_id path labels"


def count_frames(folder: str | os.PathLike) -> int:
    """Return the number of frames of one video's folder, NAME_000001.jpg and on without a gap.

    Raises:
        UserError: no frames, a foreign file, or a gap; names the first missing frame.
    """
    folder = Path(folder)
    try:
        names = {entry.name for entry in os.scandir(folder)}
    except OSError as error:
        raise UserError(f"{folder}: cannot list the frames: {error.strerror}") from error
    if not names:
        raise UserError(f"{folder}: has no frames; remove the folder and run the frames step again")
    for number in range(1, len(names) + 1):
        if frame_name(folder.name, number) not in names:
            raise UserError(
                f"{folder}: {frame_name(folder.name, number)} is missing among {len(names)} files; "
                "remove the folder and run the frames step again"
            )
    return len(names)


def frame_name(video: str, number: int) -> str:
    """Return the file name of frame `number` (from 1) of a video."""
    return f"{video}_{number:06d}.jpg"


def write_frame_list(path: str | os.PathLike, frame_counts: Mapping[str, int]) -> None:
    """Write a frame list in PySlowFast's format: space separated, one row a frame, paths relative to the frames.

    Args:
        path: the list, as ava_annotations/train.csv.
        frame_counts: number of frames of each video; the order numbers the videos from 0.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(FRAME_LIST_HEADER + "\n")
        for index, (video, count) in enumerate(frame_counts.items()):
            file.writelines(
                f'{video} {index} {frame} {video}/{frame_name(video, frame + 1)} ""\n' for frame in range(count)
            )


def box_row(video: str, second: int, box: Iterable[float], class_id: int | str, last: int | str) -> str:
    """Return one line in AVA's columns: video,second,x1,y1,x2,y2,class,person (or score)."""
    corners = ",".join(f"{corner:.4f}" for corner in box)
    return f"{video},{second:04d},{corners},{class_id},{last}\n"


def write_label_map(path: str | os.PathLike, names: Mapping[int, str]) -> None:
    """Write a label map, class name by class id (from 1), as AVA's pbtxt."""
    items = []
    for class_id, name in names.items():
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        items.append(f'item {{\n  name: "{escaped}"\n  id: {class_id}\n}}\n')
    write_atomic(path, "".join(items))
