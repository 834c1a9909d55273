"""The page that shows who does what, and when: index.html, filled from page.html."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.predict.render import CROWD, CROWD_LINES
from src.predict.results import VideoResult
from src.predict.tracker import STAY
from src.utils.files import write_atomic

_TEMPLATE = Path(__file__).with_name("page.html")
_STEPS = 65535


def write_page(
    path: Path, results: Sequence[VideoResult], labels: dict[int, str], model: dict, threshold: float
) -> None:
    """Write the page; the videos that it plays lie beside it.

    Args:
        path: an HTML file.
        results: the videos.
        labels: class name by id.
        model: `name` and `recipe` of the network.
        threshold: the minimum score that is shown at first.
    """
    write_atomic(path, render_page([video_data(result) for result in results], labels, model, threshold))


def render_page(
    videos: list[dict], labels: dict[int, str], model: dict, threshold: float, is_live: bool = False
) -> str:
    """Return the page's HTML."""
    data = {
        "videos": videos,
        "labels": {str(class_id): name for class_id, name in labels.items()},
        "model": model,
        "threshold": threshold,
        "stay": STAY,
        "crowd": CROWD,
        "crowdLines": CROWD_LINES,
        "live": is_live,
    }
    # A script element ends at the first "</script", whatever is in it, but not behind "<!--<script".
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return _TEMPLATE.read_text(encoding="utf-8").replace("__DATA__", text)


def video_data(result: VideoResult) -> dict:
    """Return what the page needs of a video."""
    actions: dict[int, list[list[float]]] = {}
    for action in result.actions:
        actions.setdefault(action.track, []).append([action.class_id, action.start, action.end, round(action.score, 3)])
    tracks = sorted({int(track) for frame in result.part.key_frames for track in frame.tracks})
    sightings = result.part.sightings
    return {
        "name": result.name,
        "media": result.media,
        "start": result.start,
        "end": result.end,
        "width": result.width,
        "height": result.height,
        "gap": result.gap,
        "persons": [
            _person(result, track, sightings[sightings[:, 1] == track], actions.get(track, [])) for track in tracks
        ],
    }


def _person(result: VideoResult, track: int, rows: np.ndarray, actions: list[list[float]]) -> dict:
    times = (rows[:, 0] * 1000).round().astype("<u4")
    boxes = (np.clip(rows[:, 2:6], 0, 1) * _STEPS).round().astype("<u2")
    image = result.part.thumbnails.get(track)
    return {
        "track": track,
        "times": _packed(times),
        "boxes": _packed(boxes),
        "spans": _spans(rows[:, 0], result.gap),
        "actions": actions,
        "thumbnail": f"data:image/jpeg;base64,{base64.b64encode(image).decode()}" if image else None,
    }


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _spans(times: np.ndarray, gap: float) -> list[list[float]]:
    """Return beginning and end of each stretch in which a person is seen."""
    if not len(times):
        return []
    cuts = np.flatnonzero(np.diff(times) > gap + 1e-6) + 1
    return [[round(float(part[0]), 3), round(float(part[-1]), 3)] for part in np.split(times, cuts)]
