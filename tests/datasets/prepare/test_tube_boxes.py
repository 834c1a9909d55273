"""The annotation pickles of UCF101-24, JHMDB and MultiSports become data roots."""

import csv
import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from src.ava.tube_files import UCF101_24_CLASSES
from src.config.custom_config import load_config
from src.datasets.prepare.box import Classes
from src.datasets.prepare.boxes import read_boxes
from src.datasets.prepare.custom import prepare_custom
from src.datasets.prepare.verify import verify
from src.utils.errors import UserError


def _settings(**changes: object) -> dict[str, object]:
    settings = {"detections_path": None, "coordinates": None, "fps": 0, "first_second": 0, "key_every": Fraction(1)}
    settings |= {"annotation_fps": Fraction(0), "val_share": 0.5, "seed": 0, "short_side": 0, "jobs": 2}
    return settings | changes


def _write(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content, 2))
    return path


def _truth(out: Path) -> list[list[str]]:
    rows = []
    for split in ("train", "val"):
        with (out / f"ava_annotations/{split}_boxes.csv").open(newline="") as file:
            rows += csv.reader(file)
    return sorted(rows)


def test_frames_count_from_1_and_each_tube_is_a_person(tmp_path: Path) -> None:
    tube = np.array([[11, 16.0, 12.0, 32.0, 48.0], [12, 17.0, 12.0, 32.0, 48.0]])
    content = {"labels": ["walk", "wave"], "gttubes": {"walk/one": {0: [tube], 1: [tube[1:]]}}}
    content |= {"nframes": {"walk/one": 40}, "resolution": {"walk/one": (48, 64)}}
    path = _write(tmp_path / "JHMDB-GT.pkl", content)
    boxes = read_boxes(path, Classes({3: "walk", 5: "wave"}))[path]
    assert [(box.frame, box.corners, box.classes, box.last) for box in boxes] == [
        (10, (16.0, 12.0, 32.0, 48.0), (3,), "0"),
        (11, (17.0, 12.0, 32.0, 48.0), (3,), "0"),
        (11, (17.0, 12.0, 32.0, 48.0), (5,), "1"),
    ]
    assert {(box.video, box.frames, box.size, box.units) for box in boxes} == {("walk/one", 40, (64, 48), "pixels")}
    with pytest.raises(UserError, match=r"walk/one, wave, tube 0: label 'wave' is not in the class list"):
        read_boxes(path, Classes({3: "walk"}))


def test_a_dataset_is_prepared_from_the_videos_that_are_here(make_video: Callable, tmp_path: Path, capsys) -> None:
    for name in ("one", "two"):
        make_video(tmp_path / f"videos/{name}.avi", frames=40, fps=10, width=64, height=48)
    rows = np.array([[frame, 16.0, 12.0, 32.0, 48.0] for frame in range(6, 37)])
    videos = {"walk/one": 0, "wave/two": 1, "swim/three": 2}
    content = {
        "labels": ["walk", "wave", "swim"],
        "gttubes": {video: {label: [rows]} for video, label in videos.items()},
        "nframes": dict.fromkeys(videos, 40),
        "resolution": dict.fromkeys(videos, (48, 64)),
    }
    path = _write(tmp_path / "multisports_GT.pkl", content)
    (tmp_path / "classes.txt").write_text("walk\nwave\nswim\n")
    out = tmp_path / "out"
    prepare_custom(tmp_path / "videos", path, tmp_path / "classes.txt", out, **_settings())
    printed = capsys.readouterr().out
    assert "31 boxes of 1 videos that are not here are left out; 62 boxes stay\n" in printed
    assert "multisports_GT.pkl: 62 boxes read: 6 taken, 0 merged, 56 left out (56 between key frames)" in printed
    # Frame 11 is the one shown at second 1.
    corners = ["0.2500", "0.2500", "0.5000", "1.0000"]
    expected = [["one", f"{second:04d}", *corners, "1", "0"] for second in (1, 2, 3)]
    assert _truth(out) == expected + [["two", f"{second:04d}", *corners, "2", "0"] for second in (1, 2, 3)]
    assert verify(load_config(out / "slowfast.yaml"), jobs=1) == []
    with pytest.raises(UserError, match="there is no video 'walk/one' among the 1 videos"):
        make_video(tmp_path / "others/four.avi", frames=10)
        prepare_custom(tmp_path / "others", path, tmp_path / "classes.txt", tmp_path / "none", **_settings())


def test_real_annotations_of_ucf101_give_the_boxes_at_whole_seconds(shared_dir: Path, tmp_path: Path) -> None:
    """Two of nine clips, as pyannot.pkl has them; keyframes.csv has the boxes at whole seconds, but not at the ends."""
    names = ("v_Basketball_g01_c02", "v_Biking_g01_c01")
    (tmp_path / "videos").mkdir()
    content: dict = {}
    with (shared_dir / "data/ucf24/boxes.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["video"] in names]
    for video, label, tube in dict.fromkeys((row["video"], int(row["class0"]), row["tube"]) for row in rows):
        some = [row for row in rows if (row["video"], row["tube"]) == (video, tube)]
        corners = np.array([[float(row[key]) for key in ("x1", "y1", "x2", "y2")] for row in some])
        boxes = np.rint(corners * [320, 240, 320, 240])
        boxes[:, 2:] -= boxes[:, :2]
        first, last = int(some[0]["frame0"]), int(some[-1]["frame0"])
        annotation = {"label": label, "sf": first, "ef": last + 1, "boxes": boxes.astype(np.int16)}
        entry = content.setdefault(f"{UCF101_24_CLASSES[label]}/{video}", {"annotations": [], "label": label})
        entry["annotations"].append(annotation)
    for video in names:
        (tmp_path / f"videos/{video}.mp4").symlink_to(shared_dir / f"data/ucf24/videos/{video}.mp4")
        content[next(name for name in content if name.endswith(video))]["numf"] = 0
    (tmp_path / "classes.txt").write_text("\n".join(UCF101_24_CLASSES) + "\n")
    path = _write(tmp_path / "pyannot.pkl", content)
    prepare_custom(
        tmp_path / "videos", path, tmp_path / "classes.txt", tmp_path / "out", **_settings(val_share=0.0, short_side=64)
    )
    with (shared_dir / "data/ucf24/keyframes.csv").open(newline="") as file:
        expected = sorted(row for row in csv.reader(file) if row[0] in names)
    keys = [row[:2] for row in expected]
    found = [row for row in _truth(tmp_path / "out") if row[:2] in keys]
    assert found[::2] == found[1::2]  # both splits hold the two videos
    assert [row[:2] + row[6:] for row in found[::2]] == [row[:2] + row[6:] for row in expected]
    corners = [np.array([row[2:6] for row in rows], float) for rows in (found[::2], expected)]
    assert np.abs(corners[0] - corners[1]).max() < 2e-4
