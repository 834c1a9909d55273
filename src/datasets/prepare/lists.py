"""The frames of a video on disk, counted."""

import os
from pathlib import Path

from src.ava.frame_list import frame_name
from src.utils.errors import UserError


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
