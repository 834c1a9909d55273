"""Labels on frames: every letter has a picture, at any size, within the frame."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from src.datasets.video import VideoDecoder, probe
from src.predict.parts import Part
from src.predict.render import Overlay, color_of, find_font, write_playable
from src.predict.results import VideoResult
from src.predict.timeline import Action

LABELS = {1: "größer žluť Ж", 2: "跑"}


def drawn(size: tuple[int, int], box: tuple[float, ...], *classes: int, labels: dict[int, str] = LABELS) -> np.ndarray:
    """A black frame with a person who does something."""
    height, width = size
    part = Part(0.0, sightings=np.array([[second, 3, *box, 0.9] for second in (0.0, 0.5, 1.0)]))
    actions = [Action(3, class_id, 0.0, 1.0, 0.75) for class_id in classes]
    frame = np.zeros((*size, 3), np.uint8)
    Overlay(VideoResult("v", "v.mp4", part, actions, 0, 1, width, height), labels, size).draw(frame, 0.25)
    return frame


@pytest.mark.parametrize("size", [(64, 96), (360, 640), (2160, 3840)])
def test_a_label_is_readable_at_any_size(size: tuple[int, int]) -> None:
    height, width = size
    frame = drawn(size, (0.02, 0.25, 0.75, 0.9), 1)
    # Bright on dark, a line of letters below the person's number, right of the box's line.
    left = round(0.02 * width) + round(height / 300) + 1
    inside = frame[round(0.25 * height) : round(0.85 * height), left : round(0.7 * width)]
    rows = (inside.max(axis=2) > 120).any(axis=1)
    assert rows.sum() >= 12
    assert (frame[round(0.88 * height), round(0.02 * width)] == color_of(1)[::-1]).all()  # the box


def test_letters_that_latin_fonts_lack_are_not_all_alike() -> None:
    font = find_font(40, "跑走坐")
    pictures = {bytes(font.getmask(letter)) for letter in "跑走坐"}
    if len(pictures) == 1:
        pytest.skip("no font with Chinese letters is installed (on Debian: apt-get install fonts-noto-cjk)")
    assert len(pictures) == 3


def test_texts_share_a_font() -> None:
    """Each takes a tenth of a megabyte, and a long video shows thousands of texts."""
    fonts = [find_font(20, f"walk 0.{score:02d}") for score in range(100)]
    assert all(font is fonts[0] for font in fonts)


def test_accents_and_cyrillic_are_drawn() -> None:
    font = find_font(40, "éžЖ")
    assert len({bytes(font.getmask(letter)) for letter in "éžЖ\U0010fffe"}) == 4


def test_labels_stay_within_the_frame() -> None:
    frame = drawn(
        (120, 160), (0.9, 0.9, 1.0, 1.0), 1, 1, 1, labels={1: "a name that is far longer than the frame is wide"}
    )
    assert frame[:, :30].any()
    assert frame.shape == (120, 160, 3)


def test_labels_of_persons_that_stand_close_do_not_cover_each_other() -> None:
    rows = [[second, track, 0.4 + 0.02 * track, 0.4, 0.6, 0.9, 0.9] for second in (0.0, 0.5) for track in range(3)]
    actions = [Action(track, 1, 0.0, 1.0, 0.5 + track / 10) for track in range(3)]
    result = VideoResult("v", "v.mp4", Part(0.0, sightings=np.array(rows)), actions, 0, 1, 640, 360)
    frame, overlay = np.zeros((360, 640, 3), np.uint8), Overlay(result, LABELS, (360, 640))
    overlay.draw(frame, 0.25)
    for track in range(3):
        for text, color in ((f"#{track}", (255, 255, 255)), (f"{LABELS[1]} {0.5 + track / 10:.2f}", color_of(1))):
            label = np.ascontiguousarray(overlay._draw_text(text, color))
            x, y = cv2.minMaxLoc(cv2.matchTemplate(frame, label, cv2.TM_SQDIFF))[2]
            assert (frame[y : y + label.shape[0], x : x + label.shape[1]] == label).all(), text


def test_between_boxes_far_apart_a_person_moves_and_behind_the_last_the_box_soon_goes() -> None:
    rows = np.array([[0.0, 0, 0.0, 0.2, 0.2, 0.8, 1.0], [4.0, 0, 0.4, 0.2, 0.6, 0.8, 1.0]])
    result = VideoResult("v", "v.mp4", Part(0.0, sightings=rows), [], 0, 8, 100, 100, gap=6.0)
    overlay, columns = Overlay(result, LABELS, (100, 100)), []
    for time in (2.0, 4.4, 4.6):
        frame = np.zeros((100, 100, 3), np.uint8)
        overlay.draw(frame, time)
        columns.append(np.flatnonzero(frame[70].any(axis=1)).tolist())
    assert columns == [[20, 40], [40, 60], []]


def test_nobody_is_drawn_where_nobody_is() -> None:
    assert not drawn((64, 96), (0.1, 0.1, 0.2, 0.2))[:, 48:].any()


@pytest.mark.parametrize(("first", "angle", "is_copied"), [(0, 90, True), (2000, 0, False), (0, 30, False)])
def test_what_a_browser_would_show_otherwise_is_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, angle: int, is_copied: bool
) -> None:
    """Browsers count from the file's own 0, and turn by quarters. The name looks like an address."""
    monkeypatch.chdir(tmp_path)
    source, copy = Path("12:30.mp4"), Path("12:30_source.mp4")
    with av.open("file:12:30.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(angle)
        for index in range(10):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * index, np.uint8), format="bgr24")
            picture.pts, picture.time_base = first + 40 * index, Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    write_playable(probe(source), copy, lambda _: None)
    assert (copy.read_bytes() == source.read_bytes()) == is_copied
    with VideoDecoder(copy) as decoder, av.open("file:12:30_source.mp4") as container:
        assert not any(frame.is_askew for frame in decoder)
        assert container.start_time == 0


def write_with_sound(path: Path, codec: str, rate: int, layout: str) -> None:
    """Two seconds of gray with a tone of 500 Hz; the file's clock starts at 3 seconds."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream(codec, rate=rate)
        audio.codec_context.layout = layout
        for index in range(20):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 99, np.uint8), format="bgr24")
            picture.pts, picture.time_base = 30 + index, Fraction(1, 10)
            container.mux(video.encode(picture))
        wave = (9000 * np.sin(2 * np.pi * 500 * np.arange(2 * rate) / rate)).astype(np.int16)
        for first in range(0, 2 * rate, 1000):
            samples = np.repeat(wave[first : first + 1000], 1 + (layout == "stereo"))[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
            frame.rate, frame.pts, frame.time_base = rate, 3 * rate + first, Fraction(1, rate)
            container.mux(audio.encode(frame))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def sound_of(path: Path) -> tuple[str, int, np.ndarray]:
    """Layout, rate and the first channel."""
    with av.open(str(path)) as container:
        context = container.streams.audio[0].codec_context
        samples = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        return context.layout.name, context.sample_rate, np.concatenate(samples)


@pytest.mark.parametrize(
    ("name", "layout", "rate", "expected"),
    [("a.avi", "mono", 8000, 8000), ("a.mkv", "stereo", 44100, 44100), ("b.mkv", "mono", 5000, 48000)],
)
def test_sound_without_compression_is_encoded(tmp_path: Path, name: str, layout: str, rate: int, expected: int) -> None:
    """PCM of AVI and Matroska does not say which channels it has; 5000 Hz is no rate of AAC."""
    write_with_sound(tmp_path / name, "pcm_s16le", rate, layout)
    write_playable(probe(tmp_path / name), tmp_path / "copy.mp4", lambda _: None)
    found, found_rate, samples = sound_of(tmp_path / "copy.mp4")
    assert (found, found_rate) == (layout, expected)
    assert len(samples) / expected == pytest.approx(2, abs=0.3)
    second = samples[expected // 2 : expected // 2 + expected]
    assert np.abs(np.fft.rfft(second)).argmax() == 500


def test_damaged_sound_is_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "a.mkv"
    write_with_sound(path, "ac3", 44100, "mono")
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size]
    for position, size in packets[5:15]:
        content[position + 10 : position + size] = bytes(size - 10)
    path.write_bytes(content)
    write_playable(probe(path), tmp_path / "copy.mp4", lambda _: None)
    _, rate, samples = sound_of(tmp_path / "copy.mp4")
    assert len(samples) / rate > 1
    assert "a.mkv: damaged audio, left out at " in capsys.readouterr().out
