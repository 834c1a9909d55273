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
