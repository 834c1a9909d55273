"""The sample dataset: laid out as AVA, the same for the same seed, and telling actions apart by motion alone."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.datasets import sample


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample") / "data"
    sample.make_sample(out, train_videos=2, val_videos=1, seed=3)
    return out


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_frames_and_lists_are_laid_out_as_ava(data: Path) -> None:
    lines = (data / "ava_annotations" / "train.csv").read_text().splitlines()
    assert lines[0] == "original_vido_id video_id frame_id path labels"
    assert lines[1] == 'sample_train_01 0 0 sample_train_01/sample_train_01_000001.jpg ""'
    assert lines[-1] == 'sample_train_02 1 359 sample_train_02/sample_train_02_000360.jpg ""'
    assert len(lines) == 1 + 2 * 360
    for line in lines[1:]:
        assert (data / "frames" / line.split()[3]).is_file()
    image = cv2.imread(str(data / "frames/sample_val_01/sample_val_01_000360.jpg"))
    assert image.shape == (120, 160, 3)


def test_truth_is_at_key_frames_away_from_cuts_and_detections_at_cuts_too(data: Path) -> None:
    truth = _rows(data / "ava_annotations/ava_val_v2.2.csv")
    detections = _rows(data / "ava_annotations/ava_val_predicted_boxes.csv")
    excluded = _rows(data / "ava_annotations/ava_val_excluded_timestamps_v2.2.csv")
    assert [int(row[1]) for row in excluded] == [3, 6, 9, 12, 15, 18, 21]
    assert {int(row[1]) for row in truth} == {1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16, 17, 19, 20, 22}
    assert {int(row[1]) for row in detections} == set(range(1, 23))
    assert {int(row[6]) for row in truth} == {1, 2, 3, 4, 5}
    assert {row[6] for row in detections} == {"-1"}
    for row in truth + detections:
        x1, y1, x2, y2 = map(float, row[2:6])
        assert 0 <= x1 < x2 <= 1
        assert 0 <= y1 < y2 <= 1
    scores = [float(row[7]) for row in detections]
    assert min(scores) < 0.8 < max(scores)


def test_boxes_hold_the_drawn_figure() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scene = sample.draw_scene(rng)
        still = sample.Scene(scene.background, ())
        difference = np.abs(
            sample.render(scene, 0.7, np.random.default_rng(1)).astype(int)
            - sample.render(still, 0.7, np.random.default_rng(1))
        ).max(axis=2)
        ys, xs = np.nonzero(difference > 16)
        boxes = np.array([sample.figure_box(figure, 0.7) for figure in scene.figures])
        drawn = np.array([xs.min() / 160, ys.min() / 120, (xs.max() + 1) / 160, (ys.max() + 1) / 120])
        around = np.array([*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)])
        np.testing.assert_allclose(drawn, around, atol=0.05)


def test_a_single_frame_does_not_tell_the_action(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poses at a key frame have the same distribution under every action: means and spreads agree."""
    # Thousands of backgrounds would take nearly all of the time.
    monkeypatch.setattr(sample, "_draw_background", lambda rng: np.zeros((sample.HEIGHT, sample.WIDTH, 3), np.uint8))
    rng = np.random.default_rng(0)
    figures = [figure for _ in range(3000) for figure in sample.draw_scene(rng).figures]
    for joint in ("place", "height", "legs", "trunk", "arms"):
        for action in sample.CLASSES:
            swings = np.array([figure.swing(joint, 1.0) for figure in figures if action in figure.actions])
            # The sine of an even phase has mean 0 and standard deviation sqrt(1/2); about 1000 figures each.
            assert abs(swings.mean()) < 0.1, (joint, action)
            assert abs(swings.std() - 0.7071) < 0.05, (joint, action)


def test_an_action_moves_its_joints_and_no_others() -> None:
    rng = np.random.default_rng(0)
    moves = {"stand": set(), "walk": {"place", "legs"}, "jump": {"height"}, "sway": {"trunk"}}
    seen = set()
    for _ in range(50):
        for figure in sample.draw_scene(rng).figures:
            expected = moves[figure.actions[0]] | ({"arms"} if "wave" in figure.actions else set())
            times = np.arange(0, 1, 1 / 15)
            moved = {
                joint
                for joint in ("place", "height", "legs", "trunk", "arms")
                if np.ptp([figure.swing(joint, time) for time in times]) > 0.1
            }
            assert moved == expected
            seen.add(figure.actions)
    assert len(seen) == 8


def test_one_seed_gives_one_data_set(data: Path, tmp_path: Path) -> None:
    sample.make_sample(tmp_path / "again", train_videos=2, val_videos=1, seed=3)
    for path in sorted(data.rglob("*")):
        if path.is_file():
            assert _content(path) == _content(tmp_path / "again" / path.relative_to(data)), path.name


def _content(path: Path) -> object:
    """Return what a file holds; of the record of a video's frames, all but when the video was written."""
    if path.suffix != ".json":
        return path.read_bytes()
    record = json.loads(path.read_text())
    del record["source"]["time"]
    return record


def _run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "src.datasets.sample", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)


def test_command_keeps_what_is_there_and_refuses_a_foreign_folder(tmp_path: Path) -> None:
    out = tmp_path / "data"
    first = _run(str(out), "--train-videos", "1", "--val-videos", "1")
    assert first.returncode == 0, first.stderr
    before = (out / "ava_annotations/train.csv").stat().st_mtime_ns
    again = _run(str(out), "--train-videos", "1", "--val-videos", "1")
    assert (again.returncode, "is there already" in again.stdout) == (0, True)
    assert (out / "ava_annotations/train.csv").stat().st_mtime_ns == before
    other = _run(str(out), "--train-videos", "2", "--val-videos", "1")
    assert other.returncode == 2
    assert other.stderr.startswith(f"error: {out}: exists and is not this sample dataset")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
