"""What a user gets wrong ends train.py with one line that names the culprit, status 2, and no checkpoint."""

from collections.abc import Callable
from pathlib import Path

import pytest

import train
from src.utils.errors import run_main

RECIPE = Path(__file__).parents[1] / "configs/sample/SLOWFAST_SAMPLE.yaml"
TRUTH = "ava_annotations/ava_train_v2.2.csv"


@pytest.fixture
def data(sample: Path, tmp_path: Path) -> Path:
    """A copy of the sample whose lists may be changed; a video's folder is a link until a test replaces it."""
    root = tmp_path / "data"
    (root / "frames").mkdir(parents=True)
    for video in (sample / "frames").iterdir():
        (root / "frames" / video.name).symlink_to(video)
    (root / "ava_annotations").mkdir()
    for file in (sample / "ava_annotations").iterdir():
        (root / "ava_annotations" / file.name).write_bytes(file.read_bytes())
    return root


def copy_frames(data: Path, video: str) -> Path:
    """Replace the link to a video's frames by links to each, so that one can be changed."""
    folder = data / "frames" / video
    frames = sorted(folder.iterdir())
    target = folder.resolve()
    folder.unlink()
    folder.mkdir()
    for frame in frames:
        (folder / frame.name).symlink_to(target / frame.name)
    return folder


def refuse(data: Path, capsys: pytest.CaptureFixture, *overrides: str) -> str:
    """Run train.py, check how it ends, and return its message."""
    output = data.parent / "output"
    arguments = ["--cfg", str(RECIPE), "--device_target", "CPU", "DATA.PATH_TO_DATA_DIR", str(data)]
    arguments += ["OUTPUT_DIR", str(output), *overrides]
    assert run_main(lambda: train.main(arguments)) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert "\n" not in error
    assert not list(output.rglob("*.ckpt"))
    return error


def append(row: str) -> Callable[[Path], str]:
    """Return a change that appends a row to the training boxes and says where: `file: row N`-like parts."""

    def change(data: Path) -> str:
        path = data / TRUTH
        content = path.read_text()
        path.write_text(content + row + "\n")
        return str(len(content.splitlines()) + 1)

    return change


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("sample_train_01,5,0.1,0.1,0.5,0.5", "columns"),
        ("sample_train_01,5,0.9,0.1,0.5,0.5,1,0", "x2"),
        ("sample_train_01,5,0.1,0.1,0.5,0.5,81,0", "81"),
        ("sample_train_01,5,0.1,0.1,left,0.5,1,0", "left"),
        ("sample_train_01,5,10,20,110,220,1,0", "expected 0 to 1"),
    ],
)
def test_a_bad_box_row_is_named_by_file_and_row(data, capsys, row, expected):
    number = append(row)(data)
    error = refuse(data, capsys)
    assert f"{data / TRUTH}" in error
    assert number in error
    assert expected in error


def test_boxes_of_unknown_videos_only(data, capsys):
    path = data / TRUTH
    path.write_text("some_other_film,5,0.1,0.1,0.5,0.5,1,0\n")
    error = refuse(data, capsys)
    assert str(path) in error
    assert "some_other_film" in error


def test_a_missing_folder_of_frames(data, capsys):
    error = refuse(data, capsys, "AVA.FRAME_DIR", "nowhere")
    assert str(data / "nowhere") in error


def test_a_video_without_frames(data, capsys):
    folder = data / "frames" / "sample_train_01"
    folder.unlink()
    folder.mkdir()
    assert "sample_train_01" in refuse(data, capsys)


def test_a_frame_that_is_no_image(data, capsys):
    folder = copy_frames(data, "sample_train_01")
    for frame in sorted(folder.iterdir())[1:-1]:
        frame.unlink()
        frame.write_bytes(b"\xff\xd8 not an image")
    assert str(folder) in refuse(data, capsys)


def test_a_missing_list(data, capsys):
    (data / "ava_annotations/train.csv").unlink()
    assert str(data / "ava_annotations/train.csv") in refuse(data, capsys)


def test_a_missing_checkpoint(data, capsys):
    assert "nowhere.ckpt" in refuse(data, capsys, "TRAIN.CHECKPOINT_FILE_PATH", "nowhere.ckpt")


def test_fewer_clips_than_a_batch(data, capsys):
    assert "TRAIN.BATCH_SIZE 4096" in refuse(data, capsys, "TRAIN.BATCH_SIZE", "4096")
