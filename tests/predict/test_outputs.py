"""Files of the user's are not replaced; boxes that are given are read strictly."""

from pathlib import Path

import pytest

from src.predict.given_boxes import read_given_boxes
from src.predict.outputs import OutputFolder
from src.utils.errors import UserError


def test_a_file_that_predict_did_not_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(UserError, match=r"index.html: is there, and not from predict.py"):
        OutputFolder(tmp_path).claim("index.html")
    assert (tmp_path / "index.html").read_text() == "mine"


def test_its_own_file_is_replaced(tmp_path: Path) -> None:
    OutputFolder(tmp_path).claim("index.html").write_text("old")
    assert OutputFolder(tmp_path).claim("index.html") == tmp_path / "index.html"


def test_a_box_in_several_rows_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("a,0002,0.1,0.2,0.3,0.4,12,0\na,0002,0.1,0.2,0.3,0.4,17,0\n")
    boxes, scores = read_given_boxes(path)["a"][2.0]
    assert (boxes.tolist(), scores.tolist()) == ([[0.1, 0.2, 0.3, 0.4]], [1.0])


def test_a_row_of_two_fields_is_a_key_frame_without_boxes(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("a,3,0.1,0.2,0.3,0.4,-1,0.5\na,2.5\n")
    boxes = read_given_boxes(path)["a"]
    assert [(second, found.shape, scores.tolist()) for second, (found, scores) in boxes.items()] == [
        (2.5, (0, 4), []),
        (3.0, (1, 4), [0.5]),
    ]


def test_a_wrong_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("a,2,0.1,0.2,0.3,0.4,1\na,2,0.5,0.2,0.3,0.4,1\n")
    with pytest.raises(UserError, match=r"row 2: the box ends before it begins, expected x1 <= x2 and y1 <= y2"):
        read_given_boxes(path)
