"""Frames from image files and from videos are the same frames."""

import logging
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.ava.frame_list import FrameList
from src.datasets import video_index
from src.datasets.ava_dataset import AvaDataset
from src.datasets.build import build_test_loader
from src.datasets.prepare.ffmpeg import encode_video, find_ffmpeg
from src.datasets.prepare.frames import extract_frames
from src.datasets.prepare.verify import verify
from src.datasets.sources import FrameFiles, VideoFiles
from src.datasets.video import probe
from src.utils.errors import UserError

HEIGHT, WIDTH, SECONDS = 96, 128, 16


def bar(number: int) -> np.ndarray:
    """A bar that wanders over a colored ground, as fast as one frame can be told from the next."""
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    image[...] = np.linspace(40, 200, WIDTH)[None, :, None] * np.array([0.4, 1.0, 0.7])
    left = number * 5 % (WIDTH - 16)
    image[number % 60 :, left : left + 16] = (60, 90, 230)
    return cv2.GaussianBlur(image, (5, 5), 0)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "bar.mp4"
    frames = (bar(number) for number in range(25 * SECONDS))
    encode_video(path, frames, fps=25, width=WIDTH, height=HEIGHT)
    return path


def extracted(video: Path, fps: int, folder: Path, keep: bool = False) -> FrameFiles:
    """The frames of one video as the extraction step writes them."""
    count = extract_frames(video, folder / "frames" / video.stem, fps).frames
    rows = "".join(f"{video.stem} 0 {k} {video.stem}/{video.stem}_{k + 1:06d}.jpg\n" for k in range(count))
    (folder / "list.csv").write_text(f"original_vido_id video_id frame_id path labels\n{rows}")
    return FrameFiles(FrameList([folder / "list.csv"]), folder / "frames", keep)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(int) - second).mean())


def assert_same_frames(videos: VideoFiles, files: FrameFiles, indices: list[int]) -> None:
    """Close, and closer than the frames before and after."""
    assert videos.count(0) == files.count(0)
    assert videos.size(0) == files.size(0)
    for index, found in zip(indices, videos.read(0, indices), strict=True):
        near = [k for k in (index - 1, index, index + 1) if 0 <= k < files.count(0)]
        distances = dict(zip(near, (difference(found, frame) for frame in files.read(0, near)), strict=True))
        assert distances[index] < 2.0
        assert distances[index] == min(distances.values())


@pytest.mark.parametrize("fps", [10, 25, 30])
def test_a_video_gives_the_frames_that_extraction_writes(video, tmp_path, fps):
    files, videos = extracted(video, fps, tmp_path), VideoFiles(video.parent, fps, keep=False)
    last = files.count(0) - 1
    # From the end to the start, so that seeking is needed, then on and on.
    for first in (last - 8, last // 2, 0, 5, 9, last // 3):
        assert_same_frames(videos, files, [*range(first, first + 8, 2), first + 8])


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".ts", ["-bf", "3", "-g", "40", "-c:v", "libx264"]),
        (".mp4", ["-c:v", "libx264", "-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709"]),
        (".mkv", ["-c:v", "libx264", "-pix_fmt", "yuvj420p", "-color_range", "pc"]),
        (".avi", ["-c:v", "mpeg4", "-q:v", "2"]),
        # A bare stream: rate, but neither times nor duration.
        (".m4v", ["-c:v", "mpeg4", "-q:v", "2", "-f", "m4v"]),
        (".mp4", ["-c:v", "libx264", "-vf", "crop=97:75:0:0,format=yuv444p"]),
    ],
    ids=["transport stream", "bt709", "full range", "avi", "bare stream", "odd size"],
)
def test_containers_and_colors_of_all_kinds_give_the_same_frames(video, tmp_path, suffix, options):
    (tmp_path / "videos").mkdir()
    other = tmp_path / "videos" / f"other{suffix}"
    subprocess.run([find_ffmpeg(), "-v", "error", "-t", "8", "-i", video, *options, other], check=True)
    if suffix == ".m4v":  # extraction asks for a duration; from a container the frames are the same
        boxed = tmp_path / "other.avi"
        subprocess.run([find_ffmpeg(), "-v", "error", "-r", "25", "-i", other, "-c", "copy", boxed], check=True)
    files = extracted(boxed if suffix == ".m4v" else other, 30, tmp_path)
    videos = VideoFiles(other.parent, 30, keep=False)
    for first in (files.count(0) - 10, 60, 0):
        assert_same_frames(videos, files, list(range(first, first + 10, 3)))


def test_a_turned_video_is_turned_upright(video, tmp_path):
    (tmp_path / "videos").mkdir()
    turned = tmp_path / "videos" / "turned.mp4"
    command = [find_ffmpeg(), "-v", "error", "-display_rotation", "90", "-t", "2", "-i", video, "-c", "copy", turned]
    subprocess.run(command, check=True)
    files, videos = extracted(turned, 25, tmp_path), VideoFiles(turned.parent, 25, keep=False)
    assert videos.size(0) == (WIDTH, HEIGHT)
    assert_same_frames(videos, files, [0, 10, 20])


def test_neighboring_clips_share_decoded_frames(video, tmp_path):
    for source in (extracted(video, 25, tmp_path, keep=True), VideoFiles(video.parent, 25, keep=True)):
        first, second = source.read(0, [4, 6, 8]), source.read(0, [6, 8, 10, 10])
        assert second[0] is first[1] and second[1] is first[2]
        assert second[3] is second[2]
        third = source.read(0, [4])
        assert third[0] is not first[0]
        np.testing.assert_array_equal(third[0], first[0])


def video_config(cfg, folder: Path, **settings):
    cfg.defrost()
    cfg.DATA.SOURCE, cfg.AVA.VIDEO_DIR, cfg.AVA.FPS = "video", str(folder), 25
    for key, value in settings.items():
        cfg.DATA_LOADER[key] = value
    return cfg


ROWS = [f"bar,{second},0.1,0.2,0.5,0.8,{second},1.0" for second in range(1, 13)]


def test_a_data_set_of_videos_needs_no_frames_and_no_lists(video, tmp_path, write_data):
    cfg = write_data({}, ROWS)
    (tmp_path / "ava_annotations" / "val.csv").unlink()
    files = extracted(video, 25, tmp_path)
    dataset = AvaDataset(video_config(cfg, video.parent), "test")
    assert dataset.frames.names == ("bar",)
    sample = dataset.sample(3)
    np.testing.assert_array_equal(sample["key"], [0, 4])
    np.testing.assert_array_equal(dataset.frame_indices(3), [96, 98, 100, 102])
    for step, frame in enumerate(files.read(0, [96, 98, 100, 102])):
        expected = cv2.resize(frame, (42, 32))[..., ::-1].transpose(2, 0, 1)
        assert difference((sample["fast"][:, step] * 0.225 + 0.45) * 255, expected) < 2.0


def test_workers_decode_the_same_clips_as_the_process_itself(video, write_data):
    cfg = video_config(write_data({}, ROWS), video.parent, NUM_WORKERS=2)
    dataset = AvaDataset(cfg, "test")
    alone = {tuple(sample["key"]): sample["fast"] for sample in map(dataset.sample, range(len(dataset)))}
    shared = list(build_test_loader(dataset))
    assert len(shared) == 6
    for batch in shared:
        for key, fast in zip(batch["key"], batch["fast"], strict=True):
            np.testing.assert_array_equal(fast, alone[tuple(key)])


def test_the_times_of_a_video_are_read_once(video, tmp_path, monkeypatch):
    """Until the file changes: the index lies in the data root, not beside the video."""
    probed = []
    monkeypatch.setattr(video_index, "probe", lambda path: probed.append(path) or probe(path))
    path = tmp_path / "videos/bar.mp4"
    path.parent.mkdir()
    shutil.copy(video, path)
    for _ in range(2):
        videos = VideoFiles(path.parent, 25, keep=False, root=tmp_path / "root")
        assert (videos.count(0), videos.size(0)) == (400, (HEIGHT, WIDTH))
        assert difference(videos.read(0, [300])[0], bar(300)) < 3.0
    found, expected = video_index.indexed_info(path, 0, tmp_path / "root"), probe(path)
    assert np.array_equal(found.times.ticks, expected.times.ticks)
    assert np.array_equal(found._keyframes, expected._keyframes)
    for name in ("path", "rate", "width", "height", "pixel_aspect", "promised", "first_image", "duration"):
        assert getattr(found, name) == getattr(expected, name), name
    assert (probed, [file.name for file in path.parent.iterdir()]) == ([path], ["bar.mp4"])
    with path.open("ab") as file:
        file.write(b"\0" * 100)
    assert VideoFiles(path.parent, 25, keep=False, root=tmp_path / "root").count(0) == 400
    assert probed == [path, path]


def test_an_index_of_other_fields_is_built_anew(video, tmp_path, monkeypatch):
    """As an earlier version of this package left it."""
    fields = ("ticks", "end", "size", "keyframes", "fractions", "promised")
    arrays = video_index._to_arrays(probe(video))
    with monkeypatch.context() as earlier:
        earlier.setattr(video_index, "_FIELDS", fields)
        earlier.setattr(video_index, "_to_arrays", lambda info: {name: arrays[name] for name in fields})
        with pytest.raises(KeyError, match="is timed"):
            video_index.indexed_info(video, 0, tmp_path)
    assert len(list((tmp_path / ".index").iterdir())) == 1
    assert video_index.indexed_info(video, 0, tmp_path).is_timed
    assert len(list((tmp_path / ".index").iterdir())) == 1


def test_damage_is_told_when_clips_are_read_and_counted_by_verify(video, tmp_path, write_data, monkeypatch):
    data = bytearray(video.read_bytes())
    middle = data.find(b"mdat") + (len(data) - data.find(b"mdat")) // 2
    for place in range(middle, middle + 2000, 13):
        data[place] ^= 0xFF
    path = tmp_path / "videos/bar.mp4"
    path.parent.mkdir()
    path.write_bytes(data)
    told = []
    monkeypatch.setattr(logging.getLogger("src.datasets.sources"), "warning", lambda text, *of: told.append(text % of))
    videos = VideoFiles(path.parent, 25, keep=False)
    videos.read(0, [0, 5])
    assert not told
    for _ in range(2):
        videos.read(0, [240, 249])
    (warning,) = told
    assert f"{path}: the video is damaged before second 9.96" in warning
    cfg = video_config(write_data({}, ROWS, "MODEL.NUM_CLASSES", 12), path.parent)
    (finding,) = [finding for finding in verify(cfg, jobs=1) if "is damaged" in finding.what]
    errors, damaged, _ = video_index.count_faults(path, 0, tmp_path).values()
    assert errors + damaged > 0 and not finding.harmful
    assert f"{errors} packets could not be decoded, and in {damaged} frames faults were concealed" in finding.what


def test_a_truncated_video_is_named(video, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    # With the index at the start, as downloads have it, a cut file still opens.
    whole = tmp_path / "whole.mp4"
    command = [find_ffmpeg(), "-v", "error", "-i", video, "-c", "copy", "-movflags", "+faststart", whole]
    subprocess.run(command, check=True)
    cut = folder / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(UserError) as caught:
        VideoFiles(folder, 25, keep=False).count(0)
    assert str(caught.value).startswith(f"{cut}: only ") and "\n" not in str(caught.value)
    assert "of the 16.0 seconds that the header promises are there; the file is truncated" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no video at all"])
def test_a_file_that_is_no_video_is_named(tmp_path, content):
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path}: cannot open the video"):
        VideoFiles(tmp_path, 25, keep=False).count(0)


def test_a_file_with_sound_alone_is_named(tmp_path):
    path = tmp_path / "sound.mp4"
    command = [find_ffmpeg(), "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", path]
    subprocess.run(command, check=True)
    with pytest.raises(UserError, match=f"{path}: the file has no video stream, expected a video"):
        VideoFiles(tmp_path, 25, keep=False).count(0)
