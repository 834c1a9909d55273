"""Nothing of the user's is replaced or removed, by whatever command, wherever it lies."""

import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from src.config.custom_config import load_config
from src.datasets.ava_dataset import AvaDataset
from src.datasets.prepare import ava
from src.datasets.prepare.__main__ import main
from src.datasets.prepare.frames import Extraction, extract_frames
from src.datasets.prepare.verify import verify
from src.utils.errors import run_main

NAMES = ("clip", "other")


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str]]:
    """A function that runs `python -m src.datasets.prepare` and returns its status and what it printed."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["prepare", *map(str, arguments)])
        capsys.readouterr()
        status = run_main(main)
        return status, "".join(capsys.readouterr())

    return run


@pytest.fixture
def data(make_video: Callable, tmp_path: Path) -> Path:
    """Two videos, their boxes and a class list."""
    for name in NAMES:
        make_video(tmp_path / f"data/videos/{name}.mp4", frames=30)
    (tmp_path / "data/boxes.csv").write_text("".join(f"{name},1,0.1,0.1,0.5,0.9,1,0\n" for name in NAMES))
    (tmp_path / "data/labels.txt").write_text("walk\n")
    return tmp_path / "data"


def _custom(data: Path, out: Path, *options: object) -> list[object]:
    arguments = ["custom", "--videos", data / "videos", "--boxes", data / "boxes.csv", "--labels", data / "labels.txt"]
    return [*arguments, "--out", out, "--val-share", 0, "--jobs", 1, *options]


def _state(folder: Path) -> dict[str, tuple[bytes, int, int] | str]:
    """Content, inode and time of all files, target of all links, by path."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


FOREIGN = (
    "notes.txt",
    "frames/notes.txt",
    "frames/holiday/holiday_000001.jpg",
    "frames/.clip.abc.partial/keep.txt",
    "frame_records/readme",
    "ava_annotations/train_diary.csv",
    "ava_annotations/train2.csv",
    "videos/family.avi",
    "output/checkpoints/mine.ckpt",
    "slowfast.yaml.bak",
    ".index/mine",
)


def test_custom_and_verify_leave_foreign_files_as_they_are(data: Path, prepare: Callable, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in FOREIGN:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(name.encode())
    before, inputs = _state(out), _state(data)
    for options in ([], ["--val-share", "0.5"], ["--val-share", "1"], ["--seed", "3"]):
        status, text = prepare(*_custom(data, out, *options))
        assert status == 0, text
        assert prepare("verify", "--root", out)[0] == 0
    after = _state(out)
    assert {name: after[name] for name in FOREIGN} == before
    assert _state(data) == inputs


@pytest.mark.parametrize(
    "name",
    [
        "slowfast.yaml",
        "slowfast_small.yaml",
        "videos.csv",
        "ava_annotations/train.csv",
        "ava_annotations/train_boxes.csv",
        "ava_annotations/label_map.pbtxt",
        "videos/clip.mp4",
    ],
)
def test_a_foreign_file_of_a_name_that_is_needed_is_refused_before_the_first_write(
    data: Path, prepare: Callable, tmp_path: Path, name: str
) -> None:
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_text("mine")
    status, text = prepare(*_custom(data, tmp_path / "out"))
    assert status == 2
    assert f"{tmp_path / 'out' / name}: is not ours, and would be replaced; rename it" in text
    assert set(_state(tmp_path / "out")) == {name}


def test_a_recipe_that_was_edited_is_not_replaced(data: Path, prepare: Callable, tmp_path: Path) -> None:
    assert prepare(*_custom(data, tmp_path / "out"))[0] == 0
    recipe = tmp_path / "out/slowfast.yaml"
    edited = recipe.read_text() + "RNG_SEED: 7\n"
    recipe.write_text(edited)
    status, text = prepare(*_custom(data, tmp_path / "out", "--seed", 1))
    assert status == 2 and "slowfast.yaml: was changed since this program wrote it" in text
    assert recipe.read_text() == edited
    recipe.rename(tmp_path / "out/mine.yaml")
    assert prepare(*_custom(data, tmp_path / "out", "--seed", 1))[0] == 0


def _linked(data: Path) -> Path:
    link = data.parent / "link"
    link.symlink_to(data, target_is_directory=True)
    return link


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (lambda data: data, "--videos {data}/videos: is {data}/videos, which this program would write"),
        (_linked, "which this program would write; choose another --out"),
        (lambda data: data / "videos", "--videos {data}/videos: holds {data}/videos/frames, which"),
        (lambda data: data / "videos/below", "--videos {data}/videos: holds {data}/videos/below/frames, which"),
    ],
    ids=["the folder of videos is OUT/videos", "by a link", "the same folder", "below the videos"],
)
def test_outputs_that_overlap_inputs_are_refused(data: Path, prepare: Callable, out: Callable, message: str) -> None:
    before, target = _state(data), out(data)
    status, text = prepare(*_custom(data, target))
    assert status == 2
    assert message.format(data=data) in text
    after = _state(data)
    assert {name: after[name] for name in before} == before
    assert set(after) == set(before)


def test_a_box_file_that_is_an_output_is_refused_by_name_and_by_hard_link(
    data: Path, prepare: Callable, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert prepare(*_custom(data, out))[0] == 0
    own = out / "ava_annotations/train_boxes.csv"
    os.link(own, data / "linked.csv")
    before = _state(out)
    for boxes in (own, data / "linked.csv"):
        status, text = prepare(*_custom(data, out, "--boxes", boxes))
        assert status == 2
        assert "which this program would write; choose another --out" in text
    assert _state(out) == before


def test_a_link_that_leads_to_itself_is_named(data: Path, prepare: Callable, tmp_path: Path) -> None:
    (data / "loop").symlink_to(data / "loop")
    status, text = prepare(*_custom(data, tmp_path / "out", "--boxes", data / "loop"))
    assert status == 2 and f"--boxes {data / 'loop'}: is a link that leads to itself" in text


def test_a_name_that_is_no_utf8_is_refused(data: Path, prepare: Callable, tmp_path: Path) -> None:
    (data / "videos/clip.mp4").rename(os.fsdecode(os.fsencode(data / "videos") + b"/cl\xffp.mp4"))
    (data / "boxes.csv").write_text("cl_p,1,0.1,0.1,0.5,0.9,1,0\n")
    status, text = prepare(*_custom(data, tmp_path / "out"))
    assert status == 2 and "cl\\udcffp.mp4: the path is no UTF-8" in text
    assert not (tmp_path / "out").exists()


def test_a_mistake_leaves_no_trace(data: Path, prepare: Callable, tmp_path: Path) -> None:
    (data / "boxes.csv").write_text("clip,1,nan,0.1,0.5,0.9,1,0\n")
    (tmp_path / "mine").mkdir()
    status, text = prepare(*_custom(data, tmp_path / "mine/new/out"))
    assert status == 2 and "boxes.csv: row 1" in text
    assert not any((tmp_path / "mine").iterdir())


def test_the_dataset_of_other_videos_is_refused(
    data: Path, prepare: Callable, make_video: Callable, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert prepare(*_custom(data, out))[0] == 0
    before = _state(out)
    make_video(tmp_path / "new/videos/film.mp4", frames=30)
    (tmp_path / "new/boxes.csv").write_text("film,1,0.1,0.1,0.5,0.9,,\n")
    (tmp_path / "new/labels.txt").write_text("walk\n")
    status, text = prepare(*_custom(tmp_path / "new", out, "--val-share", 1))
    assert status == 2
    assert f"{out}: holds the dataset of other videos (clip, other); choose another --out" in text
    assert _state(out) == before


def test_videos_may_move(data: Path, prepare: Callable, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert prepare(*_custom(data, out))[0] == 0
    data = data.rename(tmp_path / "moved")
    status, text = prepare("verify", "--root", out)
    assert status == 0 and "the link leads nowhere" in text
    status, text = prepare(*_custom(data, out))
    assert (status, "extracted anew" in text) == (0, False)
    assert (out / "videos/clip.mp4").resolve() == data / "videos/clip.mp4"
    # A copy on another machine may have another time; then the frames are made anew, to be sure.
    os.utime(data / "videos/clip.mp4", (0, 0))
    status, text = prepare(*_custom(data.rename(tmp_path / "copied"), out))
    assert (status, "extracted anew" in text) == (0, True)


def test_a_replaced_video_is_extracted_anew_and_its_folder_must_be_ours(
    data: Path, prepare: Callable, make_video: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    assert prepare(*_custom(data, out))[0] == 0
    make_video(data / "videos/clip.mp4", frames=40)
    status, text = prepare("verify", "--root", out)
    finding = "videos/clip.mp4: has changed since its frames were extracted, and its boxes checked against it. Run"
    assert status == 1 and finding in text
    from_video = load_config(out / "slowfast.yaml", ["DATA.SOURCE", "video"])
    assert [found.what for found in verify(from_video, 1)] == [finding.partition(": ")[2].partition(". ")[0]]
    with caplog.at_level(logging.WARNING, "src.datasets.sources"):
        AvaDataset(from_video, "train")
    assert "clip.mp4: has changed since its frames were extracted" in caplog.text
    (out / "frames/clip/mine.txt").write_text("mine")
    status, text = prepare(*_custom(data, out))
    assert status == 2 and (out / "frames/clip/mine.txt").read_text() == "mine"
    (out / "frames/clip/mine.txt").unlink()
    status, text = prepare(*_custom(data, out))
    assert status == 0
    assert "clip.mp4 is not the file that its frames were made of: they are extracted anew" in text
    assert len(list((out / "frames/clip").iterdir())) == 40
    assert prepare("verify", "--root", out)[0] == 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (".prepare.json", "", "cannot read the record of what was written here: Invalid JSON: EOF while parsing"),
        (".prepare.json", '{"files": {"videos.csv": "0"}}', "files.videos.csv: Input should be a valid"),
        ("frame_records/clip.json", "", "cannot read the record of the frames: Invalid JSON: EOF while parsing"),
        ("frame_records/clip.json", '{"video": "clip.mp4"}', "cannot read the record of the frames: duration: Field"),
    ],
)
def test_records_of_other_versions_or_damaged_ones_change_nothing(
    data: Path, prepare: Callable, tmp_path: Path, name: str, content: str, message: str
) -> None:
    out = tmp_path / "out"
    assert prepare(*_custom(data, out))[0] == 0
    (out / name).write_text(content)
    before = _state(out)
    status, text = prepare(*_custom(data, out))
    assert status == 2 and f"{out / name}: " in text and message in text
    assert _state(out) == before
    if name.startswith("frame_records"):  # as the message advises
        (out / name).unlink()
        shutil.rmtree(out / "frames/clip")
        assert prepare(*_custom(data, out))[0] == 0
        assert prepare("verify", "--root", out)[0] == 0


def test_a_video_that_changes_while_it_is_extracted_is_told(
    data: Path, prepare: Callable, make_video: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one whose copy has not ended."""
    new, out = make_video(tmp_path / "new.mp4", frames=40), tmp_path / "out"

    def extract(*arguments: object, **options: object) -> Extraction:
        if new.exists():
            new.replace(data / "videos/clip.mp4")
        return extract_frames(*arguments, **options)

    monkeypatch.setattr(ava, "extract_frames", extract)
    status, text = prepare(*_custom(data, out))
    assert status == 2 and "clip.mp4: has changed while its frames were extracted; run the step again" in text
    assert not (out / "slowfast.yaml").exists()
    assert prepare(*_custom(data, out))[0] == 0
    assert len(list((out / "frames/clip").iterdir())) == 40
    assert prepare("verify", "--root", out)[0] == 0


def test_frames_of_others_must_be_those_of_the_video(data: Path, prepare: Callable, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "frames/clip").mkdir(parents=True)
    (out / "frames/clip/clip_000001.jpg").write_bytes(b"mine")
    status, text = prepare(*_custom(data, out))
    assert status == 2 and "frames/clip: is not ours, and holds 1 frames, but clip.mp4 has 30 at 10 a second" in text
    assert [path.name for path in out.rglob("*") if path.is_file()] == ["clip_000001.jpg"]


def test_no_symbolic_links(data: Path, prepare: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on exFAT: the recipe names the folder of the videos instead."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    status, text = prepare(*_custom(data, tmp_path / "out"))
    assert status == 0, text
    assert f"VIDEO_DIR: {data / 'videos'}" in (tmp_path / "out/slowfast.yaml").read_text()


def test_the_steps_of_ava_leave_foreign_files_as_they_are(
    make_video: Callable, prepare: Callable, tmp_path: Path
) -> None:
    for name in ("videos_15min/a.mp4", "videos/a.mp4"):
        make_video(tmp_path / name, frames=10)
    for name in (
        "videos_15min/notes.txt",
        "frames/notes.txt",
        "ava_annotations/ava_train_v2.2.csv",
        "ava_annotations/ava_val_v2.2.csv",
        "ava_annotations/train_notes.csv",
        ".x.partial",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a,901,0.1,0.2,0.5,0.9,1,1\n")
    before = _state(tmp_path)
    for step in ("cut", "frames", "lists"):
        status, text = prepare(step, "--root", tmp_path)
        assert status == 0, text
    assert prepare("verify", "--root", tmp_path)[0] == 1
    after = _state(tmp_path)
    assert {name: after[name] for name in before} == before
    (tmp_path / "ava_annotations/train.csv").write_text("mine")
    status, text = prepare("lists", "--root", tmp_path)
    assert status == 2 and "train.csv: was changed since this program wrote it" in text
    assert (tmp_path / "ava_annotations/train.csv").read_text() == "mine"
