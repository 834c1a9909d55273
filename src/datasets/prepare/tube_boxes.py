"""Boxes of the annotation pickles of UCF101-24, JHMDB and MultiSports; see `src.ava.tube_files` for their layouts."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from src.ava.tube_files import tube_annotations
from src.datasets.prepare.box import Box, Classes
from src.datasets.prepare.key_boxes import plain_name


def read_tubes(path: Path, content: Mapping, classes: Classes) -> Iterator[Box]:
    """Yield the boxes of all tubes, each tube a person of its own in its video."""
    annotations = tube_annotations(content, path)
    for person, tube in enumerate(annotations.tubes):
        named = classes.named(annotations.labels[tube.label], {}, tube.where)
        for frame, corners in zip(tube.frames.tolist(), tube.boxes.tolist(), strict=True):
            yield Box(
                tube.video,
                tuple(corners),
                named,
                str(person),
                f"{tube.where}, frame {frame}",
                frame=frame,
                frames=annotations.frame_counts.get(tube.video),
                size=annotations.sizes.get(tube.video),
                units="pixels",
                of_dataset=True,
                is_whole=True,
            )


def of_known_videos(files: Mapping[Path, list[Box]], known: Collection[str]) -> dict[Path, list[Box]]:
    """Return boxes without those of a published dataset whose videos are not here; says how many that are.

    A file of such a dataset names all of its videos, of which people take some. In other files an unknown video is a
    mistake, which is told where times are looked up.

    Args:
        files: boxes by file.
        known: what videos here are called, as `key_boxes.known_names` gives it.
    """
    result = {}
    for file, boxes in files.items():
        absent = [box for box in boxes if box.of_dataset and plain_name(box.video) not in known]
        result[file] = boxes
        if absent and len(absent) < len(boxes):
            dropped = set(map(id, absent))
            result[file] = [box for box in boxes if id(box) not in dropped]
            names = {box.video for box in absent}
            print(
                f"custom: {file.name}: {len(absent)} boxes of {len(names)} videos that are not here are left out; "
                f"{len(result[file])} boxes stay"
            )
    return result
