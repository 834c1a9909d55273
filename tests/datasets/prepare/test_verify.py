"""Every kind of damage to a data root is found, says what to do, and sets the exit status."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from src.ava.box_csv import box_row
from src.ava.frame_list import write_frame_list
from src.ava.label_map import write_label_map
from src.config.custom_config import load_config
from src.datasets.prepare import ava
from src.datasets.prepare.frames import extract_frames
from src.datasets.prepare.verify import Finding, verify


@pytest.fixture
def root(make_video: Callable, tmp_path: Path) -> Path:
    """A data root of two videos with 40 frames, 10 a second, and one box a second in seconds 1 to 3."""
    videos = {name: make_video(tmp_path / f"videos/{name}.mp4", frames=40, fps=10) for name in ("one", "two")}
    ava.extract_all(tmp_path, videos, fps=10, short_side=0, jobs=2, dry_run=False)
    annotations = tmp_path / "ava_annotations"
    for split, name in (("train", "one"), ("val", "two")):
        write_frame_list(annotations / f"{split}.csv", {name: 40})
        rows = [box_row(name, second, (0.1, 0.2, 0.5, 0.9), 1, 1) for second in (1, 2, 3)]
        (annotations / f"{split}_boxes.csv").write_text("".join(rows))
    write_label_map(annotations / "labels.pbtxt", {1: "walk"})
    (tmp_path / "slowfast.yaml").write_text(
        "MODEL: {NUM_CLASSES: 1}\n"
        "AVA:\n  TRAIN_GT_BOX_LISTS: [train_boxes.csv]\n  TEST_PREDICT_BOX_LISTS: [val_boxes.csv]\n"
        "  GROUNDTRUTH_FILE: val_boxes.csv\n  EXCLUSION_FILE: ''\n  LABEL_MAP_FILE: labels.pbtxt\n"
        "  FPS: 10\n  FIRST_SECOND: 0\n  VALID_SECONDS: [1, 3]\n"
    )
    return tmp_path


def _findings(root: Path) -> list[Finding]:
    return verify(load_config(root / "slowfast.yaml", ["DATA.PATH_TO_DATA_DIR", str(root)]), jobs=2)


def _only(root: Path, *, harmful: bool = True) -> str:
    (finding,) = _findings(root)
    assert finding.harmful == harmful
    return str(finding)


def test_a_good_root_has_no_findings(root: Path) -> None:
    assert _findings(root) == []


def test_a_frame_removed(root: Path) -> None:
    (root / "frames/one/one_000017.jpg").unlink()
    assert "frames/one: 1 of 40 listed frames are missing, the first is one_000017.jpg. Remove" in _only(root)


def test_a_folder_removed(root: Path) -> None:
    shutil.rmtree(root / "frames/two")
    findings = [str(finding) for finding in _findings(root)]
    assert (
        "frames/two: cannot be listed (No such file or directory). Run custom, or the frames step, again."
        in findings[0]
    )


def test_the_last_frame_cut_short(root: Path) -> None:
    path = root / "frames/one/one_000040.jpg"
    path.write_bytes(path.read_bytes()[:-20])
    assert "one_000040.jpg: is not a whole JPEG image" in _only(root)
    path.write_bytes(b"")
    assert "1 files are empty, the first is one_000040.jpg" in _only(root)


def test_frames_that_were_changed_are_all_looked_at(root: Path) -> None:
    path = root / "frames/one/one_000004.jpg"  # not among those that are always decoded
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    assert "one_000004.jpg: is not a whole JPEG image" in _only(root)
    path.write_bytes(content[:-2] + b"\xff\xfe\0\5own\xff\xd9")
    size = sum(frame.stat().st_size for frame in path.parent.iterdir())
    assert f"{size} bytes of whole frames, but {size - 7} were extracted" in _only(root, harmful=False)


def test_frames_of_another_size(root: Path, make_video: Callable) -> None:
    video = make_video(root / "videos/small.mp4", frames=40, fps=10, width=32, height=32)
    extract_frames(video, root / "small", 10, name="one")
    shutil.copy(root / "small/one_000040.jpg", root / "frames/one/one_000040.jpg")
    assert "differ in size (one_000001.jpg 64 x 48, one_000040.jpg 32 x 32)" in _only(root)


def test_frames_lost_at_the_end(root: Path) -> None:
    """Lists and frames agree with each other, but not with the video."""
    for number in range(21, 41):
        (root / f"frames/one/one_0000{number}.jpg").unlink()
    write_frame_list(root / "ava_annotations/train.csv", {"one": 20})
    findings = [str(finding) for finding in _findings(root)]
    assert "frames/one: has 20 frames, but 40 were extracted" in findings[0]
    assert "train_boxes.csv: row 2: 2 annotated seconds of one have no frames, as 2; its 20 frames" in findings[1]


def test_fewer_frames_than_the_video_lasts(root: Path) -> None:
    path = root / "frame_records/one.json"
    path.write_text(path.read_text().replace('"duration": 4.0', '"duration": 6.0'))
    assert "frames/one: has 40 frames, but one.mp4 lasts 6 s, which is 60" in _only(root)


def test_joints_in_a_video_are_noted(root: Path) -> None:
    path = root / "frame_records/one.json"
    path.write_text(path.read_text().replace('"overlapping": 0', '"overlapping": 2'))
    assert "2 frames of one.mp4 begin when others were shown already, and replace" in _only(root, harmful=False)
    path.write_text(path.read_text().replace('"overlapping": 2', '"resized": 7'))
    assert "7 frames of one.mp4 have another size than its first, to which" in _only(root, harmful=False)


def test_another_rate_than_the_recipe(root: Path) -> None:
    text = (root / "slowfast.yaml").read_text().replace("FPS: 10", "FPS: 5")
    (root / "slowfast.yaml").write_text(text)
    assert "has 10 frames a second, but AVA.FPS is 5" in str(_findings(root)[0])


def test_frames_of_unknown_origin_are_noted(root: Path) -> None:
    shutil.rmtree(root / "frame_records")
    findings = _findings(root)
    assert [finding.harmful for finding in findings] == [False, False]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("one,1,0.1,0.2,0.5,0.9,2,1", "row 4: class id is '2', expected an integer from 1 to 1"),
        ("one,1,0.5,0.2,0.1,0.9,1,1", "row 4: the box ends before it begins"),
        ("one,1,0.1,0.2,0.5,0.9", "row 4: 6 columns, expected 7 or 8"),
        ("one,1,0.1,x,0.5,0.9,1,1", "row 4: y1 is 'x', expected a finite number"),
    ],
)
def test_bad_rows(root: Path, row: str, message: str) -> None:
    with (root / "ava_annotations/train_boxes.csv").open("a") as file:
        file.write(row + "\n")
    assert message in _only(root)


def test_boxes_of_an_unlisted_video_and_outside_the_valid_seconds_are_noted(root: Path) -> None:
    with (root / "ava_annotations/train_boxes.csv").open("a") as file:
        file.write("three,1,0.1,0.2,0.5,0.9,1,1\none,0,0.1,0.2,0.5,0.9,1,1\n")
    findings = _findings(root)
    assert [finding.harmful for finding in findings] == [False, False]
    assert "1 of its 2 videos are not among the frames or videos, as three" in str(findings[0])
    assert "1 key frames lie outside AVA.VALID_SECONDS 1 to 3" in str(findings[1])


def test_missing_lists(root: Path) -> None:
    for name in ("train.csv", "val_boxes.csv", "labels.pbtxt"):
        (root / "ava_annotations" / name).unlink()
    text = "\n".join(str(finding) for finding in _findings(root) if finding.harmful)
    for name in ("train.csv", "val_boxes.csv", "labels.pbtxt"):
        assert f"ava_annotations/{name}: cannot " in text or f"{name}: no such file" in text


def test_videos_without_frames(root: Path) -> None:
    shutil.rmtree(root / "frames")
    settings = ["DATA.PATH_TO_DATA_DIR", str(root), "DATA.SOURCE", "video", "AVA.VIDEO_DIR", "videos"]
    cfg = load_config(root / "slowfast.yaml", settings)
    assert verify(cfg, jobs=2) == []
    path = root / "videos/one.mp4"
    path.write_bytes(path.read_bytes()[:300])
    first, second = verify(cfg, jobs=2)
    assert "one.mp4: cannot open the video" in first.what
    assert "3 annotated seconds of one have no frames, as 1" in second.what


def test_exit_status(root: Path, repository: Path) -> None:
    command = [sys.executable, "-m", "src.datasets.prepare", "verify", "--root", str(root)]
    good = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert (good.returncode, good.stdout) == (0, f"verify: {root}: fit to train on, 0 notes\n")
    (root / "frames/one/one_000017.jpg").unlink()
    bad = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stdout.splitlines()[-1]) == (
        1,
        f"verify: {root}: 1 findings would harm training, 0 notes",
    )
