"""Every box is accounted for: it stands for the key frame that is nearest, or it is told why not."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.datasets.prepare.box import Box, Classes
from src.datasets.prepare.key_boxes import (
    Account,
    KeyBox,
    Timing,
    known_names,
    lost_classes,
    report,
    select_key_boxes,
    tell_doubles,
)
from src.datasets.video import FrameTimes, VideoInfo
from src.utils.errors import UserError

FILE = Path("boxes.xml")
CORNERS = (0.1, 0.1, 0.5, 0.9)


def _info(rate: Fraction, seconds: float) -> VideoInfo:
    """A video of constant rate."""
    count = round(seconds * rate)
    times = FrameTimes(np.arange(count), count, 1 / rate)
    return VideoInfo(Path("a.mp4"), times, rate, 160, 96, Fraction(1), None, np.empty((0, 2), np.int64))


def _box(person: str = "0", **changes: object) -> Box:
    settings = {"video": "a.mp4", "corners": CORNERS, "classes": (1,), "last": person, "where": "boxes.xml: row 1"}
    return Box(**settings | changes)


def _select(boxes: list[Box], info: VideoInfo, timing: Timing | None = None) -> tuple[list[KeyBox], Account]:
    timing = timing or Timing(fps=30)
    kept, accounts = select_key_boxes({FILE: boxes}, FILE, {"a": Path("a.mp4")}, {"a": info}, timing, None, {})
    return kept, accounts[FILE]


@given(
    frames=st.lists(st.integers(0, 299), min_size=1, max_size=80),
    every=st.sampled_from([Fraction(1), Fraction(1, 5)]),
    rate=st.sampled_from([Fraction(30), Fraction(30000, 1001), Fraction(25)]),
)
def test_the_numbers_of_an_account_add_up(frames: list[int], every: Fraction, rate: Fraction) -> None:
    info = _info(rate, 10.01)
    boxes = [_box(frame=min(frame, len(info.times) - 1)) for frame in frames]
    try:
        kept, account = _select(boxes, info, Timing(fps=30, key_every=every))
    except UserError as error:
        assert "no box lies at a key frame" in str(error)
        return
    assert account.read == len(boxes) == account.taken + account.merged + account.left_out.total()
    assert account.taken == len(kept) == len({box.second for box in kept})
    for box in kept:
        assert box.second / float(every) == pytest.approx(round(box.second / float(every)))


def test_each_key_frame_takes_the_annotated_frame_that_is_nearest() -> None:
    kept, account = _select([_box(frame=frame) for frame in (28, 29, 31, 32, 60)], _info(Fraction(30), 4))
    assert [(box.second) for box in kept] == [1.0, 2.0]
    # 29 and 31 are equally near: the same person stands there once.
    assert (account.taken, account.left_out) == (2, Counter({"between key frames": 3}))


def test_the_frame_that_is_shown_goes_before_one_that_is_nearer() -> None:
    """A screen recording: the picture of 0.875 s stays until 1.0625 s."""
    ticks = np.array([0, 4, 8, 14, 17, 20, 24, 28])
    times = FrameTimes(ticks, 32, Fraction(1, 16))
    info = VideoInfo(Path("a.mp4"), times, Fraction(4), 160, 96, Fraction(1), None, np.empty((0, 2), np.int64))
    assert times.frame_at(1, 30) == 3
    corners = [(0.1 + frame / 100, 0.1, 0.5, 0.9) for frame in range(8)]
    kept, account = _select([_box(frame=frame, corners=corners[frame]) for frame in range(8)], info)
    assert [(box.second, box.corners) for box in kept] == [(0.0, corners[0]), (1.0, corners[3])]
    assert str(account) == "8 boxes read: 2 taken, 0 merged, 6 left out (6 between key frames)"


def test_frames_of_29_97_a_second_keep_their_seconds_for_minutes() -> None:
    """Every 30th frame drifts by a millisecond a second; each stands for the second that is nearest."""
    boxes = [_box(frame=30 * number) for number in range(160)]
    kept, account = _select(boxes, _info(Fraction(30000, 1001), 160.16))
    assert [box.second for box in kept] == list(range(160))
    assert account.left_out.total() == 0


def test_film_rate_does_not_drift_at_all() -> None:
    rate = Fraction(24000, 1001)
    boxes = [_box(frame=round(second * rate)) for second in range(0, 1200, 20)]
    kept, _ = _select(boxes, _info(rate, 1201.2))
    assert [box.second for box in kept] == list(range(0, 1200, 20))


def test_a_track_to_the_last_frame_is_no_mistake() -> None:
    kept, account = _select([_box(frame=frame) for frame in range(90)], _info(Fraction(30), 3))
    assert [box.second for box in kept] == [0.0, 1.0, 2.0]
    assert account.left_out == {"between key frames": 87}
    kept, account = _select([_box(second=second) for second in (1.0, 2.0, 2.967)], _info(Fraction(30), 3))
    assert [box.second for box in kept] == [1.0, 2.0]
    assert account.left_out == {"between key frames": 1}


def test_denser_key_frames() -> None:
    kept, _ = _select(
        [_box(frame=frame) for frame in range(25)], _info(Fraction(25), 1), Timing(25, key_every=Fraction(1, 5))
    )
    assert [box.second for box in kept] == [0.0, 0.2, 0.4, 0.6, 0.8]


def test_boxes_that_stand_twice_are_one_whoever_they_are(capsys) -> None:
    """Two exports of one task may number persons otherwise; other boxes of one person are told."""
    other_class, nearly = _box(second=1.0, classes=(2,)), (0.1, 0.1, 0.51, 0.9)
    boxes = [_box(second=1.0), _box(second=1.0), _box("1", second=1.0), other_class]
    kept, account = _select(boxes, _info(Fraction(30), 3))
    assert str(account) == "4 boxes read: 2 taken, 2 merged, 0 left out"
    tell_doubles(kept)
    assert capsys.readouterr().out == ""
    far = _box(second=1.0, corners=(0.5, 0.1, 0.9, 0.9))
    kept, _ = _select([*boxes, _box(second=1.0, corners=nearly, where="row 5"), far], _info(Fraction(30), 3))
    tell_doubles(kept)
    text = (
        "2 pairs of boxes of one key frame overlap by 0.8 or more, as boxes.xml: row 1 and row 5; if that is one person"
    )
    assert f"custom: warning: {text} twice" in capsys.readouterr().out


def test_the_rate_of_images_is_told_from_their_numbers_or_stated(capsys) -> None:
    boxes = [_box(image=number) for number in range(1, 10)]
    kept, _ = _select(boxes, _info(Fraction(30), 9))
    assert [box.second for box in kept] == list(range(9))
    text = capsys.readouterr().out
    assert "at 1 a second they run through the videos: so they are taken" in text
    assert (
        "image N is taken for the frame at (N - 1) / 1 s, as ffmpeg's filter fps=1:start_time=0:round=up extracts "
        "them; without round=up they show what comes 0.5 s later" in text
    )
    kept, _ = _select(boxes, _info(Fraction(30), 9), Timing(30, annotation_fps=Fraction(2)))
    assert [box.second for box in kept] == [0.0, 1.0, 2.0, 3.0, 4.0]
    capsys.readouterr()
    kept, _ = _select([_box(image=31), _box(image=61)], _info(Fraction(30), 9))
    assert [box.second for box in kept] == [1.0, 2.0]
    told = "custom: image N is taken for the frame at (N - 1) / 30 s; --annotation-fps says otherwise\n"
    assert capsys.readouterr().out == told


def test_images_may_count_from_0(capsys) -> None:
    kept, _ = _select([_box(image=number) for number in (0, 30, 60)], _info(Fraction(30), 3))
    assert [box.second for box in kept] == [0.0, 1.0, 2.0]
    assert "images are taken to count from 0, as there is one of this number" in capsys.readouterr().out
    # The image of this number may have no box.
    boxes, info, timing = (
        [_box(image=3), _box(image=5)],
        _info(Fraction(30), 10),
        Timing(30, annotation_fps=Fraction(1)),
    )
    for images, seconds in (({"a.mp4": {0, 3, 5}}, [3, 5]), ({"logo": {0}}, [2, 4])):
        kept, _ = select_key_boxes({FILE: boxes}, FILE, {"a": Path("a.mp4")}, {"a": info}, timing, None, {}, images)
        assert [box.second for box in kept] == seconds


def test_as_many_images_as_frames_are_these(capsys) -> None:
    """As `ffmpeg -i a.mp4 a_%06d.jpg` or OpenCV extract them, also where key frames are told at half the rate."""
    boxes, info, videos = [_box(image=61), _box(image=121)], _info(Fraction(60), 10), {"a": Path("a.mp4")}
    listed = {"a": range(1, 601)}
    kept, _ = select_key_boxes({FILE: boxes}, FILE, videos, {"a": info}, Timing(30), None, {}, listed)
    assert [box.second for box in kept] == [1, 2]
    assert "custom: 1 videos have as many images as frames, as a: image for image" in capsys.readouterr().out
    timing = Timing(30, annotation_fps=Fraction(30))
    kept, _ = select_key_boxes({FILE: boxes}, FILE, videos, {"a": info}, timing, None, {}, listed)
    assert [box.second for box in kept] == [2, 4]


def test_images_without_boxes_tell_the_rate_too() -> None:
    boxes, info, videos = [_box(image=3), _box(image=5)], _info(Fraction(30), 10), {"a": Path("a.mp4")}
    kept, _ = select_key_boxes({FILE: boxes}, FILE, videos, {"a": info}, Timing(30), None, {}, {"a": range(1, 11)})
    assert [box.second for box in kept] == [2, 4]


def test_a_stated_rate_makes_frames_of_images() -> None:
    """YOLO's NAME_3.txt is the third frame of a video, or the third image that was extracted."""
    boxes = [_box(image=number, frame=number - 1) for number in range(1, 91)]
    kept, _ = _select(boxes, _info(Fraction(30), 3))
    assert [box.second for box in kept] == [0.0, 1.0, 2.0]
    kept, _ = _select(boxes[:3], _info(Fraction(30), 3), Timing(30, annotation_fps=Fraction(1)))
    assert [box.second for box in kept] == [0.0, 1.0, 2.0]


def test_an_image_of_two_videos_is_refused() -> None:
    boxes = [_box(video="a", image=31, other_names=("b",))]
    videos = {name: Path(f"{name}.mp4") for name in "ab"}
    infos = dict.fromkeys(videos, _info(Fraction(30), 3))
    with pytest.raises(UserError, match="by its name and folders the image may be one of a or of b"):
        select_key_boxes({FILE: boxes}, FILE, videos, infos, Timing(30), None, {})


def test_frames_that_a_tool_counted_at_its_own_rate() -> None:
    """Label Studio plays at 24 frames a second whatever the video's rate is, and says how many it counted."""
    kept, _ = _select([_box(frame=48, frames=240)], _info(Fraction(30), 10))
    assert [box.second for box in kept] == [2.0]


def test_frames_that_were_counted_at_a_stated_rate() -> None:
    """A tracker took every third frame of half of the video."""
    kept, _ = _select([_box(frame=20, frames=50, rate=10.0)], _info(Fraction(30), 10))
    assert [box.second for box in kept] == [2.0]
    with pytest.raises(UserError, match=r"lies at 12 s of the video a, which lasts 10 s$"):
        _select([_box(frame=120, frames=150, rate=10.0)], _info(Fraction(30), 10))


def test_boxes_of_turned_or_cut_copies_of_an_image_are_refused() -> None:
    """Roboflow writes several copies of an image, and calls them by a number of their own."""
    info = _info(Fraction(30), 3)
    boxes = [_box(image=31, copy="0a"), _box(image=31, copy="1b")]
    assert len(_select(boxes, info)[0]) == 1
    mirrored = _box(image=31, copy="1b", corners=(0.5, 0.1, 0.9, 0.9), where="row 2")
    with pytest.raises(UserError, match=r"row 2: is of a copy of the image of boxes.xml: row 1, with other boxes"):
        _select([boxes[0], mirrored], info)


def test_options_without_effect_are_told(capsys) -> None:
    info = _info(Fraction(30), 3)
    _select([_box(second=1.0, units="shares")], info, Timing(30, annotation_fps=Fraction(5)))
    assert "--annotation-fps has no effect here: no box names an extracted image" in capsys.readouterr().out
    videos, infos = {"a": Path("a.mp4")}, {"a": info}
    select_key_boxes({FILE: [_box(second=1.0, units="shares")]}, FILE, videos, infos, Timing(30), "pixels", {})
    assert "--coordinates has no effect here: boxes.xml says which unit it has" in capsys.readouterr().out


def test_boxes_outside_of_the_frame_are_left_out() -> None:
    kept, account = _select(
        [_box(second=1.0, units="shares"), _box(second=2.0, corners=(1.01, 0.1, 1.2, 0.9), units="shares")],
        _info(Fraction(30), 3),
    )
    assert len(kept) == 1
    assert account.left_out == {"outside of the frame": 1}


def test_what_the_file_marks_as_no_person_is_left_out_and_told() -> None:
    kept, account = _select([_box(second=1.0), _box("1", second=1.0, is_marked=True)], _info(Fraction(30), 3))
    assert len(kept) == 1
    assert str(account) == ("2 boxes read: 1 taken, 0 merged, 1 left out (1 marked as a crowd or to be ignored)")


def test_a_file_is_known_by_its_whole_name_before_others_without_suffix() -> None:
    names = known_names({"a": Path("a.mp4"), "a.mp4": Path("a.mp4.mkv"), "_b_": Path(" b .mp4")})
    assert names["a.mp4"] == names["a"] == "a"
    assert names["a.mp4.mkv"] == "a.mp4"
    assert names["b .mp4"] == names[" b .mp4"] == names["b"] == "_b_"


@pytest.mark.parametrize("other", ["two/a.mp4", r"C:\two\a.mp4", "a/two/a.mp4"])
def test_files_of_one_name_in_two_folders_are_not_taken_for_one_video(other: str) -> None:
    boxes = [_box(video=name, second=1.0, where=f"row {row}") for row, name in enumerate(("one/a.mp4", "a.mp4", other))]
    with pytest.raises(UserError) as error:
        _select(boxes, _info(Fraction(30), 3))
    assert f"row 2: {other!r}, and 'one/a.mp4' of row 0, would both be the video a.mp4" in str(error.value)
    assert len(_select(boxes[:2], _info(Fraction(30), 3))[0]) == 1


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (_box(video="b.mp4", second=1.0), "there is no video 'b.mp4' among the 1 videos; the nearest is 'a.mp4'"),
        (
            _box(video="frame", image=31),
            "the 1 videos; so CVAT calls every video's frames: export 'CVAT for video 1.1'",
        ),
        (_box(video="", second=1.0), "there is no video '' among the 1 videos"),
        (_box(second=9.0), "lies at 9 s of the video a, which lasts 3 s; seconds count from the video's start"),
        (_box(second=3.0), "second 3 is not in the video, which has 90 frames"),
        (_box(frame=200), "the video a.mp4 has 90 frames; is it the one that was annotated?"),
        (_box(frame=14), "no box lies at a key frame, one every 1 s"),
        (
            _box(frame=2, listed=3),
            "the task has 3 images, which this format numbers anew, but the video a.mp4 has 90 frames",
        ),
    ],
)
def test_boxes_at_no_time_of_their_video_are_refused(box: Box, message: str) -> None:
    with pytest.raises(UserError) as error:
        _select([box], _info(Fraction(30), 3))
    assert message in str(error.value)


def test_what_was_lost_is_told(capsys) -> None:
    boxes = [_box(frame=30), *(_box(frame=frame, classes=(2,)) for frame in range(10, 20))]
    kept, account = _select(boxes, _info(Fraction(30), 3))
    classes = Classes({1: "walk", 2: "kick"})
    classes.near_misses["Walk", "walk"] = 3
    classes.acting["person"], classes.idle = 8, Counter({"person": 2, "ball": 5, "Walk": 3})
    classes.by_number, classes.detected = (1, "kick"), Counter({"0": 9, "56": 2, "2": 0})
    report({FILE: account}, classes)
    assert capsys.readouterr().out.splitlines() == [
        "custom: boxes.xml: 11 boxes read: 1 taken, 0 merged, 10 left out (10 between key frames)",
        "custom: warning: 10 of 11 boxes are left out, most between key frames: a smaller --key-every makes key "
        "frames denser, and --annotation-fps states the rate of images",
        "custom: warning: 3 boxes say 'Walk', which is no class and counts as none; is 'walk' meant?",
        "custom: warning: none of the 5 boxes labeled 'ball' names a class: each counts as a person who does nothing; "
        "take them out if they are no persons",
        "custom: warning: boxes are of 2 classes of the file's own (9 of 0, 2 of 56), and all count as persons: leave "
        "out what is none",
        "custom: no names lie beside YOLO's files: their numbers are taken for the class list's order, 1 for 'kick' "
        "and so on; data.yaml or classes.txt beside them says otherwise",
    ]
    assert lost_classes({FILE: boxes}, kept, classes.names) == ["kick"]


def test_a_video_shorter_than_its_task_is_told(capsys) -> None:
    """As one that was cut at its start, or converted to fewer frames a second, behind the annotation."""
    _select([_box(frame=30, task_end=300)], _info(Fraction(30), 10))
    assert "task" not in capsys.readouterr().out
    _select([_box(frame=30, task_end=450)], _info(Fraction(30), 10))
    assert "CVAT's task of a.mp4 has frames up to 450, but the video has 300: if it was cut" in capsys.readouterr().out


def test_coordinates_that_may_be_percent_are_told(capsys) -> None:
    info = replace(_info(Fraction(30), 10), width=640, height=360)
    for largest, is_told in ((98.5, True), (101.0, False)):
        _select([_box(second=1, corners=(10.0, 20.0, 50.0, largest), units=None)], info)
        assert ("if they are percent, divide them by 100" in capsys.readouterr().out) == is_told


def test_key_frames_that_several_files_annotate_are_told(capsys) -> None:
    """As by two people; but not a file for each class, whose boxes are the same."""
    one, other = Path("one.xml"), Path("other.xml")
    for corners, is_told in ((CORNERS, False), ((0.3, 0.1, 0.7, 0.9), True)):
        files = {one: [_box(second=1)], other: [_box(second=1, classes=(2,), corners=corners)]}
        info = _info(Fraction(30), 10)
        kept, _ = select_key_boxes(files, FILE, {"a": Path("a.mp4")}, {"a": info}, Timing(fps=30), None, {})
        assert len(kept) == 2
        text = "1 key frames have boxes of several files, as a at 1 s of one.xml and other.xml"
        assert (text in capsys.readouterr().out) == is_told


@pytest.mark.parametrize(("is_ava", "text"), [(True, "(--first-second)?"), (False, "seconds count from the video's")])
def test_a_second_outside_of_the_video_is_told_with_what_helps(is_ava: bool, text: str) -> None:
    with pytest.raises(UserError) as raised:
        _select([_box(second=902, is_ava=is_ava)], _info(Fraction(30), 10))
    assert text in str(raised.value)
