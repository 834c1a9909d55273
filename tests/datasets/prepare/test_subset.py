"""Some classes of a dataset: numbered anew, persons without them kept, frames shared."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from src.config.custom_config import load_config
from src.datasets.ava_dataset import AvaDataset
from src.datasets.prepare.__main__ import main
from src.datasets.prepare.subset import _ids
from src.utils.errors import UserError, run_main


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str]]:
    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["prepare", *map(str, arguments)])
        capsys.readouterr()
        status = run_main(main)
        return status, "".join(capsys.readouterr())

    return run


@pytest.fixture
def root(make_video: Callable, prepare: Callable, tmp_path: Path) -> Path:
    """A data root of one video with three actions, one person doing two at once."""
    make_video(tmp_path / "videos/clip.mp4", frames=40)
    (tmp_path / "labels.txt").write_text("walk\nsit\nwave\nrun\n")
    rows = ["1,0.1,0.1,0.5,0.9,1,0", "1,0.1,0.1,0.5,0.9,3,0", "2,0.1,0.1,0.5,0.9,2,0", "3,0.2,0.1,0.5,0.9,3,0"]
    (tmp_path / "boxes.csv").write_text("".join(f"clip,{row}\n" for row in rows))
    options = ["--videos", tmp_path / "videos", "--boxes", tmp_path / "boxes.csv", "--labels", tmp_path / "labels.txt"]
    status, text = prepare("custom", *options, "--out", tmp_path / "root", "--val-share", 0)
    assert status == 0, text
    return tmp_path / "root"


def test_classes_are_numbered_in_the_order_asked_for(root: Path, prepare: Callable, tmp_path: Path) -> None:
    out = tmp_path / "two"
    status, text = prepare("classes", "--root", root, "--classes", "wave, walk", "--out", out)
    assert status == 0, text
    assert text.splitlines()[:2] == ["classes: 1 wave: 2 training boxes", "classes: 2 walk: 1 training boxes"]
    assert (out / "ava_annotations/train_boxes.csv").read_text().splitlines() == [
        "clip,0001,0.1000,0.1000,0.5000,0.9000,2,0",
        "clip,0001,0.1000,0.1000,0.5000,0.9000,1,0",
        "clip,0002,0.1000,0.1000,0.5000,0.9000,-1,0",
        "clip,0003,0.2000,0.1000,0.5000,0.9000,1,0",
    ]
    cfg = load_config(out / "slowfast.yaml")
    assert cfg.MODEL.NUM_CLASSES == 2
    dataset = AvaDataset(cfg, "train")
    assert [dataset.key_frames.multi_hot(index, 2).tolist() for index in range(3)] == [[[1, 1]], [[0, 0]], [[1, 0]]]
    assert prepare("verify", "--root", root, "--cfg", out / "slowfast.yaml")[0] == 0


def test_some_of_some_classes_share_the_frames_too(root: Path, prepare: Callable, tmp_path: Path) -> None:
    assert prepare("classes", "--root", root, "--classes", "wave,walk", "--out", tmp_path / "two")[0] == 0
    assert prepare("verify", "--root", tmp_path / "two")[0] == 0
    assert prepare("classes", "--root", tmp_path / "two", "--classes", "walk", "--out", tmp_path / "one")[0] == 0
    assert prepare("verify", "--root", tmp_path / "one")[0] == 0
    dataset = AvaDataset(load_config(tmp_path / "one/slowfast.yaml"), "train")
    assert [dataset.key_frames.multi_hot(index, 1).tolist() for index in range(3)] == [[[1]], [[0]], [[0]]]


def test_the_config_of_a_copied_root_does_not_name_the_other_in_silence(
    root: Path, prepare: Callable, tmp_path: Path
) -> None:
    copy = shutil.copytree(root, tmp_path / "copy", symlinks=True)
    with pytest.raises(UserError, match=f"names another, {root}; .* DATA.PATH_TO_DATA_DIR {copy} OUTPUT_DIR"):
        load_config(copy / "slowfast_small.yaml")
    assert str(copy) == load_config(copy / "slowfast.yaml", ["DATA.PATH_TO_DATA_DIR", str(copy)]).DATA.PATH_TO_DATA_DIR
    assert prepare("verify", "--root", copy)[0] == 0
    (tmp_path / "link").symlink_to(root)
    assert str(root) == load_config(tmp_path / "link/slowfast.yaml").DATA.PATH_TO_DATA_DIR
    shutil.rmtree(root)  # where it was moved, whoever needs the data says so
    assert str(root) == load_config(copy / "slowfast.yaml").DATA.PATH_TO_DATA_DIR


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("walk,jump", "--classes: there is no class 'jump'; there are walk, sit, wave, run"),
        ("walk,1", "--classes: '1' is named twice"),
        (" , ", "--classes: names no class; there are walk, sit, wave, run"),
        ("walk,run", "the training lists have no box of run"),
    ],
)
def test_mistakes_are_named(root: Path, prepare: Callable, tmp_path: Path, classes: str, message: str) -> None:
    status, text = prepare("classes", "--root", root, "--classes", classes, "--out", tmp_path / "two")
    assert status == 2
    assert message in text
    assert not (tmp_path / "two/slowfast.yaml").exists()


def test_names_may_hold_commas() -> None:
    known = {1: "walk", 2: "talk to (e.g., self)", 3: "self)"}
    assert _ids(known, "talk to (e.g., self), walk") == [2, 1]
    assert _ids(known, "1,talk to (e.g., self)") == [1, 2]
