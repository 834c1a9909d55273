"""The tables that predict writes: detections.csv, tracks.csv and actions.json."""

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from src.predict.parts import Part
from src.predict.timeline import Action
from src.predict.tracker import MAX_GAP
from src.utils.files import atomic_path, write_atomic

SCHEMA = "slowfast-actions-1"


@dataclass
class VideoResult:
    """What came out of one video.

    Attributes:
        name: of the video, without suffix.
        source: where it lies.
        part: its persons and scores.
        actions: what they do when.
        start: the first second looked at.
        end: the last.
        width: of its frames.
        height: of its frames.
        media: the file beside the page that a browser plays; None: there is none.
        gap: seconds between two sightings of a person within which boxes are interpolated.
    """

    name: str
    source: str
    part: Part
    actions: list[Action]
    start: float
    end: float
    width: int
    height: int
    media: str | None = None
    gap: float = MAX_GAP


def counted(count: int, noun: str) -> str:
    """Return a number and what it counts, for people."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def write_detections(path: Path, results: Iterable[VideoResult]) -> int:
    """Write every score in AVA's columns: video, second, x1, y1, x2, y2, class id, score.

    AVA's key frames lie on whole seconds; others stand in tracks.csv alone.

    Returns:
        How many key frames do not lie on a whole second.
    """
    left_out = 0
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for result in results:
            for frame in result.part.key_frames:
                if frame.time != int(frame.time):
                    left_out += 1
                    continue
                second = f"{int(frame.time):04d}"
                for box, scores in zip(frame.boxes_norm.tolist(), frame.scores, strict=True):
                    # The shortest decimals that read as the same numbers.
                    for class_id, score in enumerate(scores.astype(str), start=1):
                        writer.writerow([result.name, second, *box, class_id, score])
    return left_out


def write_tracks(path: Path, results: Iterable[VideoResult]) -> None:
    """Write where everybody is: video, second, track, x1, y1, x2, y2, score, with a header."""

    def rows(writer) -> None:
        writer.writerow(["video", "second", "track", "x1", "y1", "x2", "y2", "score"])
        for result in results:
            for second, track, *box, score in result.part.sightings.tolist():
                numbers = [f"{value:.5f}" for value in box]
                writer.writerow([result.name, f"{second:.3f}", int(track), *numbers, f"{score:.4f}"])

    _write_csv(path, rows)


def _write_csv(path: Path, rows: Callable) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows(csv.writer(file, lineterminator="\n"))


def actions_document(results: Iterable[VideoResult], labels: dict[int, str], model: dict) -> dict:
    """Return the content of actions.json; docs/predict.md gives its schema."""
    videos = []
    for result in results:
        persons: dict[int, list[dict]] = {}
        for frame in result.part.key_frames:
            for track in frame.tracks.tolist():
                persons.setdefault(track, [])
        for action in result.actions:
            persons[action.track].append(
                {
                    "class_id": action.class_id,
                    "class": labels[action.class_id],
                    "start": action.start,
                    "end": action.end,
                    "score": round(action.score, 4),
                }
            )
        videos.append(
            {
                "video": result.name,
                "source": result.source,
                "start": result.start,
                "end": result.end,
                "width": result.width,
                "height": result.height,
                "persons": [{"track": track, "actions": actions} for track, actions in sorted(persons.items())],
            }
        )
    return {"schema": SCHEMA, "model": model, "videos": videos}


def write_actions(path: Path, document: dict) -> None:
    """Write actions.json."""
    write_atomic(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
