"""Images show each person's actions in the color of the metric's verdict."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.utils.errors import run_main
from src.visualization import detections
from tests.evaluation.tables import LEFT, RIGHT, table

LABELS = {1: "stand", 3: "walk", 4: "跑"}
GREEN, RED, WHITE = (90, 220, 90), (80, 80, 255), (255, 255, 255)


def test_actions_are_sorted_and_colored_by_the_ground_truth():
    truth = table([("v", 902, *LEFT, 3), ("v", 902, *RIGHT, 1)])
    found = [
        ("v", 902, *LEFT, 1, 0.6),
        ("v", 902, *LEFT, 3, 0.9),
        ("v", 902, *LEFT, 4, 0.4),
        ("v", 902, *RIGHT, 1, 0.3),
        ("v", 903, *LEFT, 4, 0.7),
    ]
    assert detections.persons_of_frames(truth, table(found, scored=True), LABELS, 0.4) == {
        ("v", 902): [
            (LEFT, [("walk 0.90", GREEN), ("stand 0.60", RED), ("class 4 0.40", RED)]),
            (RIGHT, []),
        ],
        ("v", 903): [(LEFT, [("class 4 0.70", WHITE)])],
    }


def test_boxes_are_drawn_on_an_enlarged_copy():
    image = np.zeros((120, 160, 3), np.uint8)
    persons = [((0.25, 0.25, 0.5, 0.75), [("walk 0.90", GREEN)]), ((0.75, 0.5, 0.875, 0.75), [])]
    drawn = detections.draw(image, persons)
    assert drawn.shape == (480, 640, 3)
    assert not image.any()
    assert tuple(drawn[360, 240]) == GREEN  # below the caption
    assert tuple(drawn[300, 480]) == WHITE
    assert not drawn[400:].any()
    assert drawn[125:145, 165:200].any()


def draw(arguments: list, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["detections", *map(str, arguments)])
    return run_main(detections.main)


def test_as_many_images_as_asked_for(sample, recipe, recipe_file, tmp_path, monkeypatch):
    truth = sample / "ava_annotations/ava_val_v2.2.csv"
    rows = [row.rsplit(",", 1)[0] for row in truth.read_text().splitlines()]
    detections = tmp_path / "detections.csv"
    detections.write_text("".join(f"{row},0.9\n" for row in rows))
    arguments = ["--cfg", recipe_file, "--detections", detections, "--out", tmp_path / "out", "--count", 3, *recipe]
    assert draw(arguments, monkeypatch) == 0
    keys = [tuple(row.split(",")[:2]) for row in rows]
    names = sorted(path.name for path in (tmp_path / "out").glob("*.jpg"))
    assert len(names) == 3
    assert names[0] == f"{keys[0][0]}_{int(keys[0][1]):04d}.jpg"
    assert set(names) <= {f"{video}_{int(second):04d}.jpg" for video, second in keys}
    frame = cv2.imread(str(next((sample / "frames" / keys[0][0]).iterdir())))
    assert cv2.imread(str(tmp_path / "out" / names[0])).shape[0] == max(480, frame.shape[0])


def test_detections_of_other_classes_are_refused(sample, recipe, recipe_file, tmp_path, monkeypatch, capsys):
    (tmp_path / "detections.csv").write_text("other,5,0.1,0.1,0.5,0.5,1,0.9\n")
    (tmp_path / "detections.pbtxt").write_text('item { name: "fly" id: 1 }')
    arguments = ["--cfg", recipe_file, "--detections", tmp_path / "detections.csv", "--out", tmp_path / "out", *recipe]
    assert draw(arguments, monkeypatch) == 2
    assert "detections.csv: its classes are 1 fly; " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ("other,5,0.1,0.1,0.5,0.5,1,0.9", [], "no detection is of a key frame"),
        ("other,5,0.1,0.1,0.5,0.5,1", [], "row 1: 7 columns"),
        ("other,5,0.1,0.1,0.5,0.5,1,0.9", ["--count", "0"], "'0', expected a whole number of at least 1"),
        ("other,5,0.1,0.1,0.5,0.5,1,0.9", ["--threshold", "2"], "--threshold is 2.0, expected 0 to 1"),
    ],
)
def test_mistakes_end_in_one_line(sample, recipe, recipe_file, tmp_path, monkeypatch, capsys, row, options, message):
    detections: Path = tmp_path / "detections.csv"
    detections.write_text(row + "\n")
    out = tmp_path / "out"
    arguments = ["--cfg", recipe_file, "--detections", detections, "--out", out, *options, *recipe]
    assert draw(arguments, monkeypatch) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()
