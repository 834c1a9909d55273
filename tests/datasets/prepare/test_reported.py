"""What people report of their files: boxes and frames of the inputs kept for each report are the right ones."""

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.datasets.prepare.__main__ import main
from src.datasets.prepare.frames import extract_frames
from src.datasets.sources import VideoFiles
from src.datasets.video import probe
from src.utils.errors import run_main

WHOLE = "0.1000,0.1000,0.5000,0.9000"
DRAWN = "0.1250,0.2083,0.3750,0.8333"
SHRUNK = "0.5000,0.2500,0.8750,0.8750"


def _at(name: str, seconds: list[int], corners: str, class_id: int = 1, person: int = 0) -> list[str]:
    return [f"{name},{second:04d},{corners},{class_id},{person}" for second in seconds]


def _each_person(name: str, seconds: range, corners: str) -> list[str]:
    return [row for second in seconds for row in _at(name, [second], corners, 1, second - seconds[0])]


def _moved(second: int) -> str:
    """Corners of a box of 40 x 60 pixels that moves by five pixels a second."""
    left = 5 + 5 * second
    return f"{left / 160:.4f},0.2083,{(left + 40) / 160:.4f},0.8333"


# Report, box file, options, and the rows that are written.
BOXES = [
    ("01", "short.csv", [], _at("phone", [1, 2], "0.1042,0.1250,0.6250,0.5625")),
    ("01", "tall.csv", [], _at("phone", [1, 2], "0.1042,0.6250,0.6250,0.9375")),
    ("02", "boxes_to_the_end.csv", [], [_at("webcam", [s], WHOLE, 1 + s % 2)[0] for s in range(1, 6)]),
    ("03", "boxes", [], _at("vfr", [0, 1, 2, 3, 4, 5], DRAWN)),
    ("06", "boxes.csv", [], _at("film", [1, 2, 3], WHOLE)),
    ("08", "boxes.csv", [], _at("screen_mkv", [1, 2, 5], WHOLE) + _at("screen_mp4", [1, 2, 5], WHOLE)),
    ("14", "annotations.xml", [], _at("one", [1, 2, 3], DRAWN) + _at("two", [1, 2, 3], DRAWN, 2)),
    ("15", "annotations.xml", [], _each_person("one", range(4), DRAWN)),
    (
        "16",
        "boxes",
        ["--first-second", 900],
        _at("one", [901, 902, 903], WHOLE) + _at("two", [901, 902, 903], WHOLE, 2),
    ),
    ("16", "small", ["--first-second", 1], _at("one", [2, 3], WHOLE) + _at("two", [2, 3], WHOLE, 2)),
    ("17", "frame_text.json", [], _at("one", [2], DRAWN)),
    ("17", "attributes_list.json", [], _at("one", [2], DRAWN) + _at("one", [2], DRAWN, 2)),
    ("17", "bom.json", [], _at("one", [2], DRAWN)),
    ("21", "class_1_0.csv", [], _at("one", [2], WHOLE)),
    ("21", "spaces.csv", [], _at("one", [2], WHOLE)),
    ("21", "windows_path.csv", [], _at("one", [2], WHOLE)),
    ("31", "boxes.json", [], [_at("one", [s], _moved(s), (s + 1) % 3 + 1, s)[0] for s in range(9)]),
    ("40", "boxes", ["--fps", 5, "--short-side", 16], _at("tv", list(range(160)), DRAWN)),
    ("42", "boxes.csv", [], [row for name in ("00001", "blu", "dvd", "phone") for row in _at(name, [1], WHOLE)]),
    ("43", "boxes.csv", [], _at("one", [1], WHOLE)),
    ("49", "boxes", [], _at("clip", [0, 1, 2], DRAWN)),
    ("54", "boxes.json", ["--fps", 30], _each_person("one", range(1, 4), SHRUNK)),
    ("54", "boxes.xml", ["--fps", 30], _each_person("one", range(1, 4), SHRUNK)),
]
# Report, box file, options, and what is said; nothing is written.
REFUSED = [
    ("17", "second_null.json", [], "annotation 1: cannot tell video and time"),
    ("17", "annotation_not_object.json", [], "annotation 0: Input should be a valid dictionary"),
    ("21", "class_float.csv", [], "row 1: class id is '2.7', expected an integer"),
    ("21", "second_inf.csv", [], "row 1: second is 'inf', expected a number"),
    ("21", "corner_nan.csv", [], "row 1: "),
    ("27", "boxes", [], "no box of walk is left"),
]
# Report, box file, options, and what is told beside the result.
TOLD = [
    ("18", "boxes", [], "2 boxes say 'Sit', which is no class and counts as none; is 'sit' meant?"),
    ("27", "boxes", ["--key-every", "0.2"], "50 boxes read: "),
    ("39", "boxes.csv", ["--detections", "yolo.csv"], "4 of 6 detections score below 0.8"),
    ("43", "boxes.csv", [], "half_copied.mp4: cannot open the video"),
    ("46", "boxes.csv", [], "warning: the video is damaged"),
]
# Report, video, and how many frames there are at 30 a second.
FRAMES = [
    ("01", "phone.mp4", 120),
    ("02", "webcam.webm", 178),
    ("03", "vfr.mp4", 180),
    ("06", "film.mkv", 150),
    ("08", "screen_mkv.mkv", 327),
    ("08", "screen_mp4.mp4", 327),
    ("13", "selfie.mp4", 60),
    ("13", "selfie_tall.mp4", 60),
    ("13", "tilted.mp4", 60),
    ("05", "cut.mp4", 135),
    ("09", "hdr.mp4", 90),
    *(("10", name, 90) for name in ("alpha.webm", "anamorphic.mp4", "av1.mp4", "flash.flv", "gray.mkv", "old.mpg")),
    *(("10", name, 90) for name in ("interlaced.ts", "mjpeg.avi", "png.mov", "rgb.mkv", "wmv.wmv")),
    ("10", "opengop.mp4", 150),
    ("12", "covered.mkv", 60),
    ("12", "covered4.mp4", 60),
    ("45", "cut_open_gop.mp4", 99),
    ("45", "cut_open_gop_ts.ts", 120),
    ("45", "video_before_zero.mp4", 135),
    *(("45", f"{name}.mp4", 150) for name in ("aac_priming", "camera_fragments", "neg_cts")),
    *(("45", name, 150) for name in ("live.mkv", "stream.flv", "wrap.ts")),
]


@pytest.fixture
def custom(
    shared_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., tuple[int, str, Path]]:
    """A function that prepares the input of a report, and returns exit status, what was printed, and the data root."""

    def run(report: str, boxes: str, options: list[object]) -> tuple[int, str, Path]:
        (folder,) = (shared_dir / "cases").glob(f"{report}-*")
        options = [folder / option if option == "yolo.csv" else option for option in options]
        inputs = ["--videos", folder / "videos", "--boxes", folder / boxes, "--labels", folder / "labels.txt"]
        outputs = ["--out", tmp_path / "out", "--val-share", 0, "--jobs", 1]
        monkeypatch.setattr(sys, "argv", ["prepare", "custom", *map(str, [*inputs, *outputs, *options])])
        status = run_main(main)
        return status, "".join(capsys.readouterr()), tmp_path / "out"

    return run


@pytest.mark.parametrize(("report", "boxes", "options", "rows"), BOXES)
def test_boxes_lie_where_and_when_they_were_drawn(
    custom: Callable, report: str, boxes: str, options: list[object], rows: list[str]
) -> None:
    status, text, out = custom(report, boxes, options)
    assert status == 0, text
    assert (out / "ava_annotations/train_boxes.csv").read_text().split() == rows


@pytest.mark.parametrize(("report", "boxes", "options", "message"), REFUSED)
def test_what_cannot_be_taken_is_refused_before_anything_is_written(
    custom: Callable, report: str, boxes: str, options: list[object], message: str
) -> None:
    status, text, out = custom(report, boxes, options)
    assert (status, out.exists()) == (2, False)
    assert message in text.splitlines()[-1]


@pytest.mark.parametrize(("report", "boxes", "options", "message"), TOLD)
def test_what_is_strange_is_told(
    custom: Callable, report: str, boxes: str, options: list[object], message: str
) -> None:
    status, text, _ = custom(report, boxes, options)
    assert status == 0 and message in text


@pytest.mark.parametrize(("report", "name", "count"), FRAMES)
def test_frames_are_those_of_ffmpeg_on_disk_and_from_the_video(
    shared_dir: Path, run_ffmpeg: Callable, tmp_path: Path, report: str, name: str, count: int
) -> None:
    (video,) = (shared_dir / "cases").glob(f"**/{report}-*/videos/{name}")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / name).symlink_to(video)
    (tmp_path / "ffmpeg").mkdir()
    assert extract_frames(video, tmp_path / "disk", 30).frames == probe(video).times.count(30) == count
    run_ffmpeg(
        "-i", video, "-map", "0:V:0", "-vf", "fps=30:start_time=0", "-q:v", 1, tmp_path / "ffmpeg" / "disk_%06d.jpg"
    )
    theirs = sorted((tmp_path / "ffmpeg").iterdir())
    assert len(theirs) == count
    source = VideoFiles(tmp_path / "videos", 30, keep=False)
    for index in {*range(0, count, 31), count - 1}:
        ours = cv2.imread(str(tmp_path / "disk" / theirs[index].name)).astype(int)
        assert np.abs(ours - cv2.imread(str(theirs[index]))).mean() < 1
        assert np.abs(ours - source.read(0, [index])[0]).mean() < 3
