"""mmaction2's proposals become a list, of which its own rule takes the boxes."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from src.ava.box_csv import read_detections
from src.datasets.key_frames import load_key_frames
from src.datasets.prepare.__main__ import main
from src.utils.errors import run_main

PROPOSALS = {
    "one,0902": np.array([[0.011, 0.157, 0.655, 0.983, 0.998163], [0.5, 0.1, 0.9, 0.9, 0.85]]),
    "one,0903": np.array([[0.054, 0.088, 0.91, 0.998, 0.3], [0.016, 0.161, 0.519, 0.974, 0.7], [0, 0, 1, 1, 0.1]]),
    "two,0902": np.array([[0.1, 0.1, 0.2, 0.2, 0.9]]),
    "two,0904": np.zeros((0, 5)),
}


def convert(monkeypatch, source: Path, out: Path) -> int:
    monkeypatch.setattr(sys, "argv", ["prepare", "proposals", "--proposals", str(source), "--out", str(out)])
    return run_main(main)


@pytest.fixture
def boxes(tmp_path, monkeypatch, capsys) -> Path:
    (tmp_path / "dense.pkl").write_bytes(pickle.dumps(PROPOSALS, 2))
    assert convert(monkeypatch, tmp_path / "dense.pkl", tmp_path / "dense.csv") == 0
    assert capsys.readouterr().out == (
        "proposals: 6 boxes of 3 key frames of 2 videos, 3 with a score of at least 0.8, "
        f"2 with a score of at least 0.9: {tmp_path / 'dense.csv'}\n"
    )
    return tmp_path / "dense.csv"


def test_all_digits_are_kept(boxes):
    table = read_detections(boxes)
    np.testing.assert_array_equal(
        np.column_stack([table.boxes_norm, table.row_score]), np.concatenate(list(PROPOSALS.values()))
    )
    assert set(table.row_class) == {-1}
    assert boxes.read_text().startswith("one,0902,0.011,0.157,0.655,0.983,-1,0.998163\n")


@pytest.mark.parametrize(("threshold", "keep_best"), [(0.9, True), (0.9, False), (0.8, False), (0.2, True)])
def test_boxes_are_taken_by_the_rule_of_either(boxes, threshold, keep_best):
    found = load_key_frames(
        [],
        [boxes],
        ["one", "two"],
        num_classes=80,
        score_threshold=threshold,
        valid_seconds=(902, 1798),
        keep_best=keep_best,
    )
    expected = []
    for key, rows in PROPOSALS.items():
        video, second = key.split(",")
        least = min(threshold, rows[:, 4].max(initial=0)) if keep_best else threshold
        if (taken := rows[rows[:, 4] >= least]).size:
            expected.append((["one", "two"].index(video), float(second), taken[:, :4].tolist()))
    assert [(int(found.video[at]), found.second[at], found.boxes(at).tolist()) for at in range(len(found))] == expected


def test_nothing_is_replaced_and_other_files_are_refused(boxes, tmp_path, monkeypatch, capsys):
    before = boxes.read_bytes()
    assert convert(monkeypatch, tmp_path / "dense.pkl", boxes) == 2
    assert capsys.readouterr().err == f"error: {boxes}: is there already; choose another file\n"
    assert boxes.read_bytes() == before
    assert convert(monkeypatch, boxes, tmp_path / "new.csv") == 2
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1]))
    assert convert(monkeypatch, tmp_path / "list.pkl", tmp_path / "new.csv") == 2
    assert not (tmp_path / "new.csv").exists()
