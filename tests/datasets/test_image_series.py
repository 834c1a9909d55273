"""Folders of numbered images are videos: each image has its time, whichever way it is read."""

import shutil
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from src.datasets.image_series import image_series, is_image_folder
from src.datasets.prepare.frames import extract_frames
from src.datasets.sources import VideoFiles
from src.datasets.video import find_videos, probe
from src.utils.errors import UserError


def numbered(number: int) -> np.ndarray:
    """Eight upright stripes: the bits of a number, white for one."""
    bits = np.array([number >> bit & 1 for bit in range(8)])
    return np.broadcast_to(255 * np.repeat(bits, 8)[None, :, None], (48, 64, 3)).astype(np.uint8)


def read_number(image: np.ndarray) -> int:
    return sum(2**bit for bit, stripe in enumerate(np.array_split(image.mean(axis=(0, 2)), 8)) if stripe.mean() > 128)


@pytest.fixture
def write_images() -> Callable[..., Path]:
    """A function that writes images which carry their place in the row, under a name with their number."""

    def write(folder: Path, name: str, count: int, first: int) -> Path:
        folder.mkdir(parents=True)
        for index in range(count):
            assert cv2.imwrite(str(folder / name.format(first + index)), numbered(index))
        return folder

    return write


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("img_{:05d}.jpg", 1),
        ("{:05d}.png", 0),
        ("frame{}.bmp", 95),
        ("100% {:03d} x_{:06d}.JPG", 7),
        ("{:06d}.webp", 1),
    ],
)
def test_images_of_any_numbering_are_frames_at_the_stated_rate(
    write_images: Callable, tmp_path: Path, name: str, first: int
) -> None:
    name = name if name.count("{") == 1 else name.replace("{:03d}", "007")
    folder = write_images(tmp_path / "videos" / "a clip.v2 50%", name, 60, first)
    (folder / "Thumbs.db").write_bytes(b"")
    info = probe(folder, 25)
    assert (len(info.times), info.rate, info.first_image) == (60, 25, first)
    assert [info.times.time_of(frame) for frame in (0, 1, 59)] == [0, Fraction(1, 25), Fraction(59, 25)]
    assert info.times.duration == Fraction(60, 25)
    assert extract_frames(folder, tmp_path / "disk", 25).frames == 60
    files = sorted((tmp_path / "disk").iterdir())
    assert [read_number(cv2.imread(str(file))) for file in files] == list(range(60))
    videos = VideoFiles(tmp_path / "videos", 25, keep=False)
    assert videos.names == ("a clip.v2 50%",) and videos.count(0) == 60
    order = [59, 0, 30, 29, 31, 58]
    assert [read_number(videos.read(0, [index])[0]) for index in order] == order


def _jpeg(image: np.ndarray, orientation: int) -> bytes:
    """A JPEG file that says in EXIF how to turn it."""
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + tiff
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_as_they_say(tmp_path: Path, orientation: int) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    image = numbered(0b11010010)
    image = np.concatenate([image[:24], image[24:] // 2])
    for number in range(3):
        (folder / f"IMG_{number}.JPG").write_bytes(_jpeg(image, orientation))
    (folder / "IMG_3.JPG").write_bytes(_jpeg(image, 1))
    extraction = extract_frames(probe(folder, 25), tmp_path / "out", 25)
    is_lying = orientation > 4
    assert (extraction.frames, extraction.resized) == (4, int(is_lying))
    found = cv2.imread(str(tmp_path / "out/out_000001.jpg"))
    expected = cv2.imread(str(folder / "IMG_0.JPG"))  # OpenCV turns it
    assert found.shape == expected.shape == ((64, 48, 3) if is_lying else (48, 64, 3))
    assert np.abs(found.astype(int) - expected).mean() < 3


def test_a_damaged_image_leaves_the_times_of_the_others(write_images: Callable, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "videos/clip", "{:05d}.jpg", 30, 1)
    (folder / "00011.jpg").write_bytes(b"no image")
    found = extract_frames(folder, tmp_path / "disk", 25)
    assert (found.frames, found.errors) == (30, 1)
    shown = [read_number(cv2.imread(str(file))) for file in sorted((tmp_path / "disk").iterdir())]
    assert shown == [*range(10), 9, *range(11, 30)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: (folder / "img_00004.jpg").unlink(),
            "img_00004.jpg is missing: images are numbered from 1 to 9",
        ),
        (
            lambda folder: (folder / "img_00004.jpg").write_bytes(b""),
            "img_00004.jpg is empty; extract or copy the images again",
        ),
        (
            lambda folder: shutil.copy(folder / "img_00001.jpg", folder / "other_1.jpg"),
            "holds images of several names (img_....jpg, other_....jpg); keep those of one video in a folder",
        ),
    ],
    ids=["a gap", "no content", "two names"],
)
def test_what_is_no_row_of_images_is_refused(
    write_images: Callable, tmp_path: Path, change: Callable, message: str
) -> None:
    folder = write_images(tmp_path / "clip", "img_{:05d}.jpg", 9, 1)
    change(folder)
    with pytest.raises(UserError, match=message.replace("(", r"\(").replace(")", r"\)")):
        probe(folder, 25)


def test_optical_flow_beside_the_frames_is_passed_over(write_images: Callable, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "clip", "img_{:05d}.jpg", 9, 1)
    for name in ("flow_x_00001.jpg", "flow_y_00001.jpg"):
        shutil.copy(folder / "img_00001.jpg", folder / name)
    assert image_series(folder).count == 9


def test_images_without_a_rate_are_refused(write_images: Callable, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "clip", "img_{:05d}.jpg", 9, 1)
    with pytest.raises(UserError, match=f"{folder}: is a folder of images, which do not state their rate: say --fps"):
        probe(folder)


def test_a_video_goes_before_the_folder_of_its_frames(write_images: Callable, tmp_path: Path) -> None:
    write_images(tmp_path / "videos/a", "{:05d}.jpg", 3, 1)
    write_images(tmp_path / "videos/b", "{:05d}.jpg", 3, 1)
    (tmp_path / "videos/empty").mkdir()
    (tmp_path / "videos/loop").symlink_to(tmp_path / "videos/loop")
    with av.open(str(tmp_path / "videos/a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, width=64, height=48, pix_fmt="yuv420p")
        container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(1), "bgr24")))
        container.mux(stream.encode(None))
    found = {"a": tmp_path / "videos/a.mp4", "b": tmp_path / "videos/b"}
    assert find_videos(tmp_path / "videos", image_folders=True) == found
    assert list(find_videos(tmp_path / "videos")) == ["a"]
    assert is_image_folder(tmp_path / "videos/b") and not is_image_folder(tmp_path / "videos/loop")
