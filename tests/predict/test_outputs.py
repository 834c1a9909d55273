"""Files of the user's are not replaced; boxes that are given are read strictly."""

import io
import random
from pathlib import Path

import numpy as np
import pytest

from src.predict.given_boxes import read_given_boxes
from src.predict.outputs import OutputFolder
from src.predict.parts import KeyFrame, Part
from src.utils.errors import UserError


def test_a_file_that_predict_did_not_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(UserError, match=r"index.html: is there, and not from predict.py"):
        OutputFolder(tmp_path).claim("index.html")
    assert (tmp_path / "index.html").read_text() == "mine"


def test_its_own_file_is_replaced(tmp_path: Path) -> None:
    OutputFolder(tmp_path).claim("index.html").write_text("old")
    assert OutputFolder(tmp_path).claim("index.html") == tmp_path / "index.html"


def test_a_part_that_is_damaged_or_of_another_version_is_to_be_done_again(tmp_path: Path) -> None:
    path = tmp_path / "000000.npz"
    frame = KeyFrame(1.0, np.array([7]), np.zeros((1, 4)), np.ones(1), np.ones((1, 2), np.float32))
    Part(0.0, [frame], np.zeros((3, 7)), {7: b"a JPEG file"}).save(path)
    whole, chance = path.read_bytes(), random.Random(0)
    assert Part.load(path).thumbnails == {7: b"a JPEG file"}
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        part = Part.load(path)
        assert part is None or part.thumbnails == {7: b"a JPEG file"}
    with np.load(io.BytesIO(whole)) as arrays:
        np.savez(path, **{name: arrays[name] for name in arrays.files if name != "thumbnails"})
    assert Part.load(path) is None


def test_a_run_that_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "new" / "out")
    with pytest.raises(UserError), folder.held():
        folder.claim("index.html")
        raise UserError("the video cannot be read")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_later_keeps_what_it_wrote(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "out")
    part = folder.part_path("clip", "a" * 64, 0)
    with pytest.raises(UserError), folder.held():
        folder.claim("index.html")
        folder.claim("clip_actions.mp4").write_text("whole")
        Part(0.0).save(part)
        raise UserError("the disk is full")
    assert part.is_file()
    assert [folder.is_own(name) for name in ("index.html", "clip_actions.mp4")] == [False, True]


def test_two_runs_at_once_in_one_folder_are_refused_unless_they_share_it(tmp_path: Path) -> None:
    first, second = OutputFolder(tmp_path), OutputFolder(tmp_path)
    with first.held(is_shared=True), second.held(is_shared=True):
        pass
    for first_is_shared, second_is_shared in ((True, False), (False, True), (False, False)):
        with (
            first.held(first_is_shared),
            pytest.raises(UserError, match="another run of predict works there"),
            second.held(second_is_shared),
        ):
            pass


def test_parts_of_other_settings_and_of_killed_writers_are_removed(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    whole, of_another = (folder.part_path("clip", digest * 64, 0) for digest in "ab")
    unfinished, of_another_video = whole.with_name(".000001.1a2b3c4d.npz"), folder.part_path("other", "b" * 64, 0)
    for path in (whole, of_another, unfinished, of_another_video):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    folder.drop_other_parts("clip", "a" * 64)
    assert [path.exists() for path in (whole, of_another, unfinished, of_another_video)] == [True, False, False, True]


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
