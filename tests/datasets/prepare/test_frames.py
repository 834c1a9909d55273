"""Frames come out complete and at the right times, and every way to fail has its message and leaves nothing behind."""

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import pytest

from src.datasets.prepare import ffmpeg
from src.datasets.prepare.ffmpeg import TargetError
from src.datasets.prepare.frames import extract_frames
from src.datasets.video import probe
from src.utils.errors import UserError


@pytest.fixture
def fresh_search() -> Iterator[None]:
    """ffmpeg is looked for anew, in this test and after it."""
    ffmpeg.find_ffmpeg.cache_clear()
    yield
    ffmpeg.find_ffmpeg.cache_clear()


def _message(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_probe_reads_the_header(make_video: Callable, tmp_path: Path) -> None:
    info = probe(make_video(tmp_path / "a.mp4", frames=45, fps=15, width=96, height=64))
    assert (info.duration, info.rate, info.width, info.height) == (3.0, 15, 96, 64)
    assert [info.times.time_of(frame) for frame in (0, 1, 44)] == [0, Fraction(1, 15), Fraction(44, 15)]


def test_frames_at_the_videos_rate_are_its_frames(
    make_video: Callable, frame_numbers: Callable, tmp_path: Path
) -> None:
    video = make_video(tmp_path / "clip.mp4", frames=30, fps=10)
    assert extract_frames(video, tmp_path / "frames" / "clip", 10).frames == 30
    assert frame_numbers(tmp_path / "frames" / "clip") == list(range(30))
    names = [path.name for path in sorted((tmp_path / "frames/clip").iterdir())]
    assert (names[0], names[-1]) == ("clip_000001.jpg", "clip_000030.jpg")
    assert [path.name for path in (tmp_path / "frames").iterdir()] == ["clip"]


def test_folders_of_frames_have_the_permissions_of_the_umask(make_video: Callable, tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.mp4", frames=2)
    for umask, expected in ((0o077, 0o700), (0o002, 0o775)):
        before = os.umask(umask)
        try:
            extract_frames(video, tmp_path / f"{umask:o}", 10)
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / f"{umask:o}").stat().st_mode) == expected


def test_another_rate_keeps_the_times(make_video: Callable, frame_numbers: Callable, tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.mp4", frames=20, fps=10)
    assert extract_frames(video, tmp_path / "double", 20).frames == 40
    doubled = frame_numbers(tmp_path / "double")
    assert all(abs(frame - index / 2) <= 0.5 for index, frame in enumerate(doubled))
    assert extract_frames(video, tmp_path / "half", 5).frames == 10
    assert all(abs(frame - index * 2) <= 1 for index, frame in enumerate(frame_numbers(tmp_path / "half")))


def test_late_frames_are_filled_up_from_the_start(
    make_video: Callable, frame_numbers: Callable, run_ffmpeg: Callable, tmp_path: Path
) -> None:
    """Audio from 0 s, frames from 1 s: frame k still shows second k / fps."""
    video, late = make_video(tmp_path / "clip.mp4", frames=20, fps=10), tmp_path / "late.mkv"
    audio = ("-f", "lavfi", "-i", "sine=duration=3")
    run_ffmpeg(*audio, "-itsoffset", "1", "-i", video, "-map", "0:a", "-map", "1:v", "-c:v", "copy", late)
    assert extract_frames(late, tmp_path / "late", 10).frames == 30
    assert frame_numbers(tmp_path / "late") == [0] * 10 + list(range(20))


def test_a_bare_stream_without_times_gives_all_its_frames(
    make_video: Callable, frame_numbers: Callable, run_ffmpeg: Callable, tmp_path: Path
) -> None:
    """UCF101-24's clips as redistributed are such: MPEG-4 streams named .mp4, without container, times or duration."""
    source = make_video(tmp_path / "clip.mp4", frames=50, fps=25)
    bare = tmp_path / "bare.mp4"
    run_ffmpeg("-i", source, "-c:v", "mpeg4", "-q:v", "1", "-bf", "2", "-f", "m4v", bare)
    info = probe(bare)
    assert (info.rate, info.duration) == (25, 2.0)
    assert extract_frames(bare, tmp_path / "bare", 25).frames == 50
    assert frame_numbers(tmp_path / "bare") == list(range(50))


def test_short_side_scales_and_keeps_the_shape(make_video: Callable, tmp_path: Path) -> None:
    wide = make_video(tmp_path / "wide.mp4", frames=2, width=128, height=64)
    tall = make_video(tmp_path / "tall.mp4", frames=2, width=64, height=128)
    extract_frames(wide, tmp_path / "wide", 10, short_side=32)
    extract_frames(tall, tmp_path / "tall", 10, short_side=32)
    assert cv2.imread(str(tmp_path / "wide/wide_000001.jpg")).shape == (32, 64, 3)
    assert cv2.imread(str(tmp_path / "tall/tall_000001.jpg")).shape == (64, 32, 3)


@pytest.mark.parametrize("name", ["-5KQ66BBWC4", "100% ça va – 動画", "a%06d", "it's"])
def test_awkward_names(make_video: Callable, tmp_path: Path, name: str) -> None:
    video = make_video(tmp_path / f"{name}.mp4", frames=3)
    assert extract_frames(video, tmp_path / "frames" / name, 10).frames == 3
    assert (tmp_path / "frames" / name / f"{name}_000003.jpg").is_file()


def test_cut_takes_the_part_asked_for(make_video: Callable, frame_numbers: Callable, tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.mp4", frames=50, fps=10)
    ffmpeg.cut_video(video, tmp_path / "cut" / "clip.mp4", start=2, seconds=2)
    assert extract_frames(tmp_path / "cut/clip.mp4", tmp_path / "frames", 10).frames == 20
    assert frame_numbers(tmp_path / "frames") == list(range(20, 40))
    with pytest.raises(UserError) as error:
        ffmpeg.cut_video(video, tmp_path / "cut" / "late.mp4", start=5, seconds=2)
    assert _message(error).endswith("clip.mp4: lasts 5 seconds, nothing is left after second 5")
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["clip.mp4"]


def test_cut_sets_keyframes(make_video: Callable, tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.mp4", frames=50, fps=10)
    ffmpeg.cut_video(video, tmp_path / "cut.mp4", start=2, seconds=2, keyframe_seconds=Fraction(1, 2))
    with av.open(str(tmp_path / "cut.mp4")) as container:
        frames = list(container.decode(video=0))
    assert [i for i, frame in enumerate(frames) if frame.key_frame] == [0, 5, 10, 15]


def test_truncated_without_index(make_video: Callable, tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.mp4")
    video.write_bytes(video.read_bytes()[:-600])
    with pytest.raises(UserError) as error:
        extract_frames(video, tmp_path / "frames/clip", 10)
    assert "clip.mp4: cannot open the video: Invalid data" in _message(error)
    assert not (tmp_path / "frames").exists()


def test_truncated_with_index(make_video: Callable, run_ffmpeg: Callable, tmp_path: Path) -> None:
    """The header promises ten seconds, the data end early: ffmpeg itself ends with status 0."""
    video, moved = make_video(tmp_path / "clip.mp4", frames=100, fps=10), tmp_path / "moved.mp4"
    run_ffmpeg("-i", video, "-c", "copy", "-movflags", "+faststart", moved)
    moved.write_bytes(moved.read_bytes()[: int(moved.stat().st_size * 0.7)])
    with pytest.raises(UserError) as error:
        extract_frames(moved, tmp_path / "frames/moved", 10)
    assert "of the 10.0 seconds that the header promises are there; the file is truncated" in _message(error)
    assert not (tmp_path / "frames").exists()


def test_audio_may_outlast_the_frames(make_video: Callable, run_ffmpeg: Callable, tmp_path: Path) -> None:
    video, longer = make_video(tmp_path / "clip.mp4", frames=20, fps=10), tmp_path / "longer.mp4"
    run_ffmpeg("-i", video, "-f", "lavfi", "-i", "sine=duration=6", "-c:v", "copy", longer)
    assert probe(longer).duration == 2.0
    assert extract_frames(longer, tmp_path / "longer", 10).frames == 20


def test_no_video_stream(run_ffmpeg: Callable, tmp_path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", tmp_path / "audio.mp4")
    with pytest.raises(UserError) as error:
        extract_frames(tmp_path / "audio.mp4", tmp_path / "frames/audio", 10)
    assert _message(error).endswith("audio.mp4: the file has no video stream, expected a video")


def test_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    with pytest.raises(UserError) as error:
        probe(tmp_path / "text.mp4")
    assert "text.mp4: cannot open the video: Invalid data" in _message(error)
    with pytest.raises(UserError, match="there is no such video"):
        probe(tmp_path / "absent.mp4")


@pytest.mark.usefixtures("fresh_search")
def test_ffmpeg_missing(monkeypatch: pytest.MonkeyPatch, make_video: Callable, tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.mp4")
    ffmpeg.find_ffmpeg.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError) as error:
        ffmpeg.cut_video(video, tmp_path / "cut.mp4", 0, 1)
    assert _message(error).startswith("ffmpeg was not found: install it")


def test_disk_full(make_video: Callable, mounted: Callable, tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.mp4", frames=200, width=640, height=480)
    target = mounted("size=256k")
    with pytest.raises(TargetError) as error:
        extract_frames(video, target / "frames/clip", 10)
    assert "the disk is full; free some space and run the step again" in _message(error)
    assert list((target / "frames").iterdir()) == []


def test_read_only_target(make_video: Callable, mounted: Callable, tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.mp4")
    target = mounted("ro")
    with pytest.raises(TargetError) as error:
        extract_frames(video, target / "frames/clip", 10)
    assert "frames/clip: cannot write the frames: Read-only file system" in _message(error)
    with pytest.raises(TargetError, match=r"cut\.mp4: the target is on a read-only file system"):
        ffmpeg.cut_video(video, target / "cut.mp4", 0, 1)


def test_existing_frames_are_never_overwritten(make_video: Callable, tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.mp4")
    extract_frames(video, tmp_path / "clip", 10)
    with pytest.raises(UserError, match="exists already; remove it to extract its frames again"):
        extract_frames(video, tmp_path / "clip", 10)
