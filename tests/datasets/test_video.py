"""One clock and one geometry: frames on disk, frames from the video, and ffmpeg's own are the same ones."""

import gc
import re
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.datasets.prepare.ffmpeg import find_ffmpeg
from src.datasets.prepare.frames import extract_frames
from src.datasets.sources import VideoFiles
from src.datasets.video import FrameTimes, VideoDecoder, at_rate, find_videos, probe
from src.utils.errors import UserError

WIDTH, HEIGHT = 64, 48


def numbered(number: int) -> np.ndarray:
    """Eight upright stripes: the bits of a number, white for one."""
    bits = np.array([number >> bit & 1 for bit in range(8)])
    return np.broadcast_to(255 * np.repeat(bits, WIDTH // 8)[None, :, None], (HEIGHT, WIDTH, 3)).astype(np.uint8)


def read_number(image: np.ndarray) -> int:
    return sum(2**bit for bit, stripe in enumerate(np.array_split(image.mean(axis=(0, 2)), 8)) if stripe.mean() > 128)


def write_video(path: Path, ticks: Sequence[int], unit: Fraction, codec: str = "libx264", gop: int = 12) -> Path:
    """Write a video whose frame i carries the number i and begins at `ticks[i]`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = stream.codec_context.time_base = unit
        stream.gop_size = gop
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(numbered(number), "bgr24")
            frame.pts, frame.time_base = tick, unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_fields(path: Path, count: int) -> Path:
    """Write bare H.264 of numbered frames of 64 x 64, each field of a frame a picture of its own (PAFF)."""

    def fixed(size: int, value: int) -> str:
        return f"{value:0{size}b}"

    def golomb(*values: int) -> str:
        return "".join("0" * (len(f"{value + 1:b}") - 1) + f"{value + 1:b}" for value in values)

    def unit(header: int, bits: str) -> bytes:
        bits += "1" + "0" * (-(len(bits) + 1) % 8)
        return b"\0\0\0\1" + bytes([header, *(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))])

    profile = fixed(8, 77) + fixed(8, 0) + fixed(8, 30)
    # Frames may be fields; no usability information but the timing, 50 fields a second.
    sequence = profile + golomb(0, 4, 0, 4, 2) + "0" + golomb(3, 1) + "001" + "01" + "00001" + fixed(32, 1)
    sequence += fixed(32, 50) + "10000"
    parameters = unit(0x67, sequence) + unit(
        0x68, golomb(0, 0) + "00" + golomb(0, 0, 0) + "000" + golomb(0, 0, 0) + "000"
    )
    content = b""
    for number in range(count):
        # Samples are stored as they are; 1 to 254 need no escape.
        rows = np.clip(numbered(number)[:16, :, 0], 1, 254)
        blocks = [rows[:, x : x + 16].tobytes() + b"\x80" * 128 for x in range(0, WIDTH, 16)] * 2
        content += parameters
        for is_bottom in (0, 1):
            bits = golomb(0, 7, 0) + fixed(8, 0) + f"1{is_bottom}" + ("" if is_bottom else golomb(number % 2))
            bits += fixed(8, is_bottom) + ("0" if is_bottom else "00") + golomb(0)
            for block in blocks:
                bits += golomb(25)
                bits += "0" * (-len(bits) % 8) + "".join(map("{:08b}".format, block))
            content += unit(0x61 if is_bottom else 0x65, bits)
    path.write_bytes(content)
    return path


def run_ffmpeg(*arguments: object) -> str:
    command = [find_ffmpeg(), "-hide_banner", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stderr.decode(errors="replace")


def ffmpegs_times(path: Path) -> list[float]:
    """The time stamps that ffmpeg's showinfo prints."""
    text = run_ffmpeg("-i", path, "-map", "0:V:0", "-vf", "showinfo", "-f", "null", "-")
    return [float(time) for time in re.findall(r"pts_time:([-\d.e]+)", text)]


def ffmpegs_frames(path: Path, fps: int, folder: Path) -> list[int]:
    folder.mkdir()
    run_ffmpeg("-i", path, "-map", "0:V:0", "-vf", f"fps={fps}:start_time=0", "-q:v", "1", folder / "%06d.jpg")
    return [read_number(cv2.imread(str(file))) for file in sorted(folder.iterdir())]


def assert_one_clock(path: Path, fps: int, folder: Path) -> None:
    info = probe(path)
    stamps = ffmpegs_times(path)
    assert [float(info.times.time_of(frame)) for frame in range(len(info.times))] == pytest.approx(stamps, abs=6e-4)
    count = extract_frames(path, folder / "disk", fps).frames
    disk = [read_number(cv2.imread(str(file))) for file in sorted((folder / "disk").iterdir())]
    assert disk == ffmpegs_frames(path, fps, folder / "ffmpeg")
    assert count == len(disk) == info.times.count(fps)
    videos = VideoFiles(path.parent, fps, keep=False)
    assert videos.count(0) == count
    order = [*range(count - 1, -1, -7), *range(0, count, 3)]
    assert [read_number(videos.read(0, [k])[0]) for k in order] == [disk[k] for k in order]
    # The frame at a whole second is the one that a box at this second is drawn on.
    with VideoDecoder(path, threads=1) as decoder:
        numbers = [read_number(frame.image) for frame in decoder]
    seconds = range(-(-count // fps))
    assert [numbers[info.times.frame_at(second, fps)] for second in seconds] == [disk[s * fps] for s in seconds]


CONTAINERS = {
    "mp4": (".mp4", "libx264"),
    "mkv": (".mkv", "libx264"),
    "transport stream": (".ts", "libx264"),
    "webm": (".webm", "libvpx"),
    "mov, no B-frames": (".mov", "mpeg4"),
}


@settings(max_examples=12)
@given(
    container=st.sampled_from(sorted(CONTAINERS)),
    steps=st.lists(st.sampled_from([17, 33, 40, 42, 100, 100, 350, 1300]), min_size=4, max_size=60),
    start=st.sampled_from([0, 0, 200, 1500]),
    fps=st.sampled_from([10, 25, 30]),
)
def test_any_times_are_ffmpegs_times(container: str, steps: list[int], start: int, fps: int) -> None:
    """Variable rates, gaps of seconds, and a first frame that is not at 0."""
    suffix, codec = CONTAINERS[container]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "videos").mkdir()
        ticks = (start + np.cumsum([0, *steps[:-1]])).tolist()
        path = write_video(Path(folder) / "videos" / f"v{suffix}", ticks, Fraction(1, 1000), codec)
        assert_one_clock(path, fps, Path(folder))


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(25), Fraction(15)])
@pytest.mark.parametrize("container", [".mp4", ".mkv", ".ts", ".avi"])
def test_constant_rates_are_exact(tmp_path: Path, rate: Fraction, container: str) -> None:
    (tmp_path / "videos").mkdir()
    path = tmp_path / f"videos/v{container}"
    codec = "mpeg4" if container == ".avi" else "libx264"
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(45):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number), "bgr24")))
        output.mux(stream.encode(None))
    assert probe(path).rate == rate
    assert_one_clock(path, 30, tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Sixty numbered frames at 30 a second, a keyframe at every tenth."""
    return write_video(tmp_path / "source.mp4", range(60), Fraction(1, 30), gop=10)


@pytest.mark.parametrize(
    "options",
    [
        ("-ss", "0.5", "-i", "SOURCE", "-c", "copy", "OUT.mp4"),
        ("-itsoffset", "0.7", "-i", "SOURCE", "-c", "copy", "OUT.mkv"),
        ("-i", "SOURCE", "-c", "copy", "-output_ts_offset", "95443.5", "OUT.ts"),
        ("-i", "SOURCE", "-c", "copy", "-movflags", "frag_keyframe+empty_moov", "OUT.mp4"),
        ("-i", "SOURCE", "-c:v", "mpeg4", "-bf", "2", "OUT.avi"),
        ("-i", "SOURCE", "-c:v", "libvpx", "-live", "1", "-f", "webm", "OUT.webm"),
        ("-i", "SOURCE", "-c:v", "mpeg2video", "-q:v", "2", "OUT.mpg"),
    ],
    ids=["edit list", "late start", "clock wraps", "fragments", "B-frames without times", "no duration", "program"],
)
def test_containers_of_all_kinds_have_one_clock(tmp_path: Path, source: Path, options: tuple) -> None:
    (tmp_path / "videos").mkdir()
    arguments = [str(option).replace("SOURCE", str(source)) for option in options]
    path = tmp_path / "videos" / arguments.pop().replace("OUT", "v")
    run_ffmpeg(*arguments, path)
    assert_one_clock(path, 30, tmp_path)


@pytest.mark.parametrize("suffix", ["ts", "mkv", "mp4", "h264"])
def test_two_fields_in_packets_of_their_own_are_one_frame(tmp_path: Path, suffix: str) -> None:
    """Interlaced H.264, as camcorders write it."""
    (tmp_path / "videos").mkdir()
    fields, path = write_fields(tmp_path / "fields.h264", 40), tmp_path / f"videos/v.{suffix}"
    run_ffmpeg("-r", "50", "-i", fields, "-c", "copy", path)
    info = probe(path)
    assert (len(info.times), info.rate) == (40, 25)
    assert info.times.time_of(25) == pytest.approx(1)
    assert_one_clock(path, 25, tmp_path)


@pytest.mark.parametrize("codec", ["mpeg4", "libxvid", "libx264"])
def test_b_frames_of_files_that_state_no_times_of_theirs(tmp_path: Path, codec: str) -> None:
    """AVI, where XviD puts two frames into a packet, and what `ffmpeg -c copy` makes of it: times of decoding."""
    source = write_video(tmp_path / "source.mkv", range(0, 60), Fraction(1, 25))
    for folder in ("avi", "mp4"):
        (tmp_path / folder / "videos").mkdir(parents=True)
    path, copy = tmp_path / "avi/videos/v.avi", tmp_path / "mp4/videos/v.mp4"
    run_ffmpeg("-r", "25", "-i", source, "-c:v", codec, "-bf", "2", "-g", "12", "-q:v", "2", path)
    run_ffmpeg("-i", path, "-c", "copy", copy)
    for video in (path, copy):
        assert_one_clock(video, 25, video.parents[1])


def test_an_avi_that_was_cut_short_is_told(tmp_path: Path) -> None:
    """What its size seems to hold is not what its header promises."""
    path = write_video(tmp_path / "v.avi", range(120), Fraction(1, 30), "mpeg4")
    assert not probe(path).is_truncated
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    info = probe(path)
    assert info.is_truncated
    assert "of the 4.0 seconds that the header promises are there" in info.truncation


def test_a_transport_stream_whose_times_begin_again_goes_on(tmp_path: Path, source: Path) -> None:
    (tmp_path / "videos").mkdir()
    first, second, path = tmp_path / "a.ts", tmp_path / "b.ts", tmp_path / "videos/v.ts"
    run_ffmpeg("-i", source, "-c", "copy", "-output_ts_offset", "600", first)
    run_ffmpeg("-i", source, "-c", "copy", second)
    path.write_bytes(first.read_bytes() + second.read_bytes())
    info = probe(path)
    assert len(info.times) == 120
    assert info.duration == pytest.approx(4.0, abs=0.1)
    assert_one_clock(path, 30, tmp_path)


def test_the_last_frame_stays_and_other_streams_may_outlast_it(tmp_path: Path, source: Path) -> None:
    still = write_video(tmp_path / "still.mp4", [*range(0, 900, 100), 8000], Fraction(1, 1000))
    assert extract_frames(still, tmp_path / "still", 10).frames == 80
    numbers = [read_number(cv2.imread(str(file))) for file in sorted((tmp_path / "still").iterdir())]
    assert numbers == [*range(9), *[8] * 71]
    longer = tmp_path / "longer.mkv"
    run_ffmpeg("-i", source, "-f", "lavfi", "-i", "sine=duration=9", "-c:v", "copy", longer)
    info = probe(longer)
    assert (info.duration, info.is_truncated) == (2.0, False)


# How ffmpeg's option names them, and what has to be done to the stored frame.
MATRICES = {
    "90": (("-display_rotation", "90"), lambda image: np.rot90(image, 1)),
    "180": (("-display_rotation", "180"), lambda image: np.rot90(image, 2)),
    "270": (("-display_rotation", "270"), lambda image: np.rot90(image, 3)),
    "mirrored": (("-display_hflip",), lambda image: image[:, ::-1]),
    "mirrored and turned": (("-display_rotation", "90", "-display_hflip"), None),
    "7 degrees": (("-display_rotation", "7"), None),
}


@pytest.mark.parametrize("name", MATRICES)
def test_display_matrices_are_applied_as_ffmpeg_does(tmp_path: Path, source: Path, name: str) -> None:
    options, expected = MATRICES[name]
    path = tmp_path / "turned.mp4"
    run_ffmpeg(*options, "-i", source, "-c", "copy", path)
    run_ffmpeg("-i", path, "-frames:v", "1", "-q:v", "1", tmp_path / "ffmpeg.jpg")
    with VideoDecoder(path, threads=1) as decoder:
        frame = next(iter(decoder))
    assert frame.jpeg() != b""
    theirs = cv2.imread(str(tmp_path / "ffmpeg.jpg"))
    assert frame.image.shape == theirs.shape
    assert np.abs(frame.image.astype(int) - theirs).mean() < 3
    if expected is not None:
        assert np.abs(frame.image.astype(int) - expected(numbered(0))).mean() < 3
    info = probe(path)
    assert (info.height, info.width) == frame.image.shape[:2]


def test_frames_of_another_size_take_the_size_of_the_first(tmp_path: Path, source: Path) -> None:
    small, large, path = tmp_path / "a.ts", tmp_path / "b.ts", tmp_path / "v.ts"
    run_ffmpeg("-i", source, "-c", "copy", small)
    run_ffmpeg("-i", source, "-vf", "scale=128:96", "-c:v", "libx264", "-output_ts_offset", "2", large)
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with VideoDecoder(path, threads=1) as decoder:
        assert [frame.image.shape for frame in decoder] == [(HEIGHT, WIDTH, 3)] * 120
        assert (decoder.errors, decoder.resized) == (0, 60)


def test_frames_whose_times_begin_again_replace_others_and_are_counted(tmp_path: Path, source: Path) -> None:
    """As where a camera's recordings are joined: 60 and 60 frames, two of them at the same times."""
    first, second, path = tmp_path / "a.ts", tmp_path / "b.ts", tmp_path / "v.ts"
    run_ffmpeg("-i", source, "-c", "copy", first)
    run_ffmpeg("-i", source, "-vf", "scale=128:96", "-c:v", "libx264", "-output_ts_offset", 2, second)
    path.write_bytes(first.read_bytes() + second.read_bytes())
    times = probe(path).times
    assert (len(times), times.overlapping, times.count(30)) == (120, 2, 118)
    assert [float(time) for time in map(times.time_of, range(120))] == pytest.approx(ffmpegs_times(path), abs=1e-5)
    result = extract_frames(path, tmp_path / "frames", 30)
    assert (result.frames, result.resized, result.fault) == (118, 60, "")
    shown = [read_number(cv2.imread(str(file))) for file in sorted((tmp_path / "frames").iterdir())]
    assert shown == [*range(59), *range(1, 60)]


def test_pixels_that_are_not_square(tmp_path: Path, source: Path) -> None:
    path = tmp_path / "v.mp4"
    run_ffmpeg("-i", source, "-vf", "setsar=3/2", path)
    info = probe(path)
    assert (info.width, info.height, info.pixel_aspect, info.display_size) == (64, 48, Fraction(3, 2), (96, 48))


def test_damage_is_counted_and_decoding_goes_on(tmp_path: Path, source: Path) -> None:
    data = bytearray(source.read_bytes())
    middle = data.find(b"mdat") + 300
    for place in range(middle, middle + 400, 13):
        data[place] ^= 0xFF
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    result = extract_frames(path, tmp_path / "frames", 30)
    assert result.frames == 60
    assert result.errors + result.damaged > 0
    assert result.fault.startswith(f"{result.errors} packets cannot be decoded, {result.damaged} frames are damaged")


def test_what_a_transport_stream_lost_is_counted(tmp_path: Path, source: Path) -> None:
    """The decoder says nothing of it where references are missing; joined streams have lost nothing."""
    path = tmp_path / "a.ts"
    run_ffmpeg("-i", source, "-c:v", "libx264", "-g", "30", path)
    data = path.read_bytes()
    packets = len(data) // 188
    path.write_bytes(data[: packets // 2 * 188] + data[(packets // 2 + 3) * 188 :])
    with VideoDecoder(path) as decoder:
        count = len(list(decoder))
        assert decoder.errors >= 1
    assert count < 60
    path.write_bytes(data + data)
    with VideoDecoder(path) as decoder:
        assert len(list(decoder)) == 120
        assert decoder.errors == 0


def test_the_rate_is_that_of_most_frames(tmp_path: Path) -> None:
    """In thousandths of a second, 30 a second is 33, 33, 34; then comes one at a tenth of a second."""
    ticks = [round(1000 * frame / 30) for frame in range(60)] + [2000 + 100 * frame for frame in range(40)]
    assert probe(write_video(tmp_path / "v.mkv", ticks, Fraction(1, 1000))).rate == 30


def test_a_long_pause_does_not_make_the_rate(tmp_path: Path) -> None:
    """An mp4 states the mean, here 1.98 a second: as of a screen that was recorded while nothing moved."""
    ticks = [*range(0, 4000, 40), *range(100_000, 104_000, 40)]
    assert probe(write_video(tmp_path / "v.mp4", ticks, Fraction(1, 1000))).rate == 25


def test_an_edit_list_may_begin_with_a_pause(tmp_path: Path) -> None:
    """As where the picture began after the sound, which was taken out: nothing is shown for two seconds."""
    path = write_video(tmp_path / "v.mp4", range(2000, 8000, 40), Fraction(1, 1000))
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 4
    empty, lasting = struct.unpack_from(">I", content, at + 8)[0], at + 20
    assert struct.unpack_from(">II", content, at + 4) == (2, 2000) and empty == 2000
    struct.pack_into(">I", content, lasting, 4000)  # of the six seconds
    path.write_bytes(content)
    info = probe(path)
    assert (info.is_truncated, info.duration, len(info.times)) == (False, 4.0, 100)


def test_what_is_cropped_on_the_left_is_not_shown(tmp_path: Path) -> None:
    source, path = write_video(tmp_path / "v.mp4", range(3), Fraction(1, 10)), tmp_path / "cropped.mp4"
    run_ffmpeg("-i", source, "-c", "copy", "-bsf:v", "h264_metadata=crop_left=6", path)
    info = probe(path)
    with VideoDecoder(path, threads=1) as decoder:
        image, whole = next(iter(decoder)).image, next(iter(VideoDecoder(source, threads=1))).image
    assert (info.width, image.shape) == (WIDTH - 6, (HEIGHT, WIDTH - 6, 3))
    assert np.array_equal(image[:, 2:], whole[:, 8:])  # color of two pixels is one


def test_other_videos_of_a_file_are_counted(tmp_path: Path) -> None:
    front, rear = (
        write_video(tmp_path / f"{name}.mp4", range(count), Fraction(1, 10)) for name, count in (("f", 3), ("r", 5))
    )
    run_ffmpeg("-i", front, "-i", rear, "-map", "0:v", "-map", "1:v", "-c", "copy", tmp_path / "both.mp4")
    info = probe(tmp_path / "both.mp4")
    assert (info.others, len(info.times)) == (1, 3)
    assert probe(front).others == 0


def test_the_rules_of_rounding() -> None:
    times = FrameTimes(np.array([0, 50, 150, 151, 260]), 300, Fraction(1, 1000))
    assert times.slots(10).tolist() == [0, 1, 2, 2, 3]
    assert times.count(10) == 3
    assert [times.frame_at(second, 10) for second in (0, Fraction(1, 10), 0.2, 0.3, 5)] == [0, 1, 3, 4, 4]
    assert (times.time_of(3), times.duration) == (Fraction(151, 1000), Fraction(3, 10))


def test_frames_that_nobody_holds_are_freed_at_once(source: Path) -> None:
    """Not when the garbage collector comes by: it counts objects, and a frame of 8K takes 50 MB."""
    gc.collect()
    gc.disable()
    try:
        with VideoDecoder(source, threads=1) as decoder:
            frames = iter(decoder)
            before = _frames_in_memory()
            for _ in range(20):
                _ = next(frames).image
            assert _frames_in_memory() - before < 10
    finally:
        gc.enable()


def _frames_in_memory() -> int:
    return sum(type(thing) is av.VideoFrame for thing in gc.get_objects())


def test_a_rate_of_its_own_for_what_is_decoded(source: Path) -> None:
    with VideoDecoder(source, threads=1) as decoder:
        shown = [(index, read_number(frame.image)) for index, frame in at_rate(decoder, 10, Fraction(2))]
    assert shown == [(k, min(3 * k + 1, 59)) for k in range(20)]


def test_videos_are_known_by_suffix_or_content(tmp_path: Path, source: Path) -> None:
    folder = tmp_path / "above" / "videos"
    folder.mkdir(parents=True)
    (folder / "a.MTS").write_bytes(b"broken")
    source.rename(folder / "b.without_suffix")
    (folder / "notes.txt").write_text("no video")
    cv2.imwrite(str(folder / "image.png"), numbered(1))
    cv2.imwrite(str(tmp_path / "photo.png"), numbered(1))
    run_ffmpeg("-i", tmp_path / "photo.png", "-frames:v", "1", "-c:v", "libx264", "-f", "mp4", folder / "a.heic")
    assert list(find_videos(folder)) == ["a", "b"]
    with pytest.raises(UserError, match=r"holds no videos; .*; \S+/videos/a\.MTS is one level too deep"):
        find_videos(tmp_path / "above")
    with pytest.raises(UserError, match=r"a\.MTS: cannot open the video"):
        probe(folder / "a.MTS")
