"""Key frames from box lists, and how mistakes in them are named."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.ava.frame_list import FrameList
from src.datasets.key_frames import frame_of, load_key_frames
from src.utils import cache
from src.utils.errors import UserError


def load(tmp_path, truth="", predicted="", names=("a", "b"), **settings):
    lists = []
    for name, text in (("truth.csv", truth), ("predicted.csv", predicted)):
        (tmp_path / name).write_text(text)
        lists.append([tmp_path / name] if text else [])
    options = {"num_classes": 80, "score_threshold": 0.8, "valid_seconds": (902, 1798)} | settings
    return load_key_frames(*lists, names, **options)


def test_a_second_between_two_frames_is_the_later_one():
    seconds = np.array([900.5, 901.5, 900.1, 900.3, 900.833333])
    assert frame_of(seconds, 900, 25).tolist() == [13, 38, 3, 8, 21]
    assert frame_of(0.833333, 0, 15) == 13  # the fifth of key frames a sixth of a second apart
    assert frame_of(np.arange(902, 1799), 900, 30).tolist() == list(range(60, 26970, 30))


def test_the_same_box_in_several_rows_is_one_box_with_several_labels(tmp_path):
    truth = (
        "b,0904,0.5,0.5,0.9,0.9,7,1\n"
        "a,0902,0.3,0.2,0.5,0.6,12,0\n"
        "a,0902,0.1,0.2,0.5,0.6,80,1\n"
        "a,0902,0.3,0.2,0.5,0.6,1,0\n"
        "a,0902,0.3,0.2,0.5,0.6,12,0\n"
    )
    keys = load(tmp_path, truth)
    assert (keys.video.tolist(), keys.second.tolist()) == ([0, 1], [902, 904])
    assert keys.boxes(0).tolist() == [[0.3, 0.2, 0.5, 0.6], [0.1, 0.2, 0.5, 0.6]]
    assert [np.flatnonzero(row).tolist() for row in keys.multi_hot(0, 80)] == [[0, 11], [79]]
    assert keys.boxes(1).tolist() == [[0.5, 0.5, 0.9, 0.9]]
    assert np.flatnonzero(keys.multi_hot(1, 80)[0]).tolist() == [6]
    assert keys.max_boxes == 2
    assert np.flatnonzero(keys.class_counts(80)).tolist() == [0, 6, 11, 79]
    assert keys.class_counts(81)[[0, 80]].tolist() == [1, 0]


def test_a_person_without_an_action_is_a_box_without_labels(tmp_path):
    keys = load(tmp_path, predicted="a,0902,0.1,0.2,0.5,0.6,-1,0.9\na,0902,0.2,0.2,0.5,0.6,,0.95\n")
    assert len(keys.boxes(0)) == 2
    assert not keys.multi_hot(0, 80).any()


def test_truth_is_taken_whole_and_predictions_from_the_threshold_on(tmp_path):
    truth = "a,902,0.1,0.1,0.5,0.5,1,0\n"
    predicted = "".join(f"a,902,0.{n},0.2,0.9,0.9,2,{score}\n" for n, score in enumerate(["0.79", "0.8", "0.81"]))
    keys = load(tmp_path, truth, predicted)
    assert keys.boxes(0)[:, 0].tolist() == [0.1, 0.1, 0.2]
    assert keys.left_out == (
        f"{tmp_path}/predicted.csv: left out 1 of 3 rows, whose score is below 0.8 (AVA.DETECTION_SCORE_THRESH)",
    )


def test_a_truth_list_may_lack_the_person_column(tmp_path):
    assert len(load(tmp_path, "a,902,0.1,0.1,0.5,0.5,1\n")) == 1


def test_only_valid_seconds_divisible_by_the_stride_count(tmp_path):
    truth = "".join(f"a,{second},0.1,0.1,0.5,0.5,1,0\n" for second in (901, 902, 904, 905, 1796, 1798, 1800))
    assert load(tmp_path, truth).second.tolist() == [902, 904, 905, 1796, 1798]
    assert load(tmp_path, truth, second_stride=4).second.tolist() == [904, 1796]


def test_rows_of_other_videos_are_left_out_and_told_of(tmp_path):
    keys = load(tmp_path, "x,902,0.1,0.1,0.5,0.5,1,0\nb,902,0.1,0.1,0.5,0.5,1,0\n")
    assert keys.video.tolist() == [1]
    assert keys.left_out == (f"{tmp_path}/truth.csv: left out the rows of 1 unknown videos: x",)


GOOD = "a,902,0.1,0.2,0.5,0.6,1,0.9\n"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,902,0.1,0.2,0.5,0.6,81,0.9", "class id is '81', expected an integer from 1 to 80, or -1 for a person"),
        ("a,902,0.1,0.2,320,0.6,1,0.9", "x2 is '320', expected 0 to 1"),
        ("a,902,0.1,0.2,1.02,0.6,1,0.9", "x2 is '1.02', expected 0 to 1"),
        ("a,902,0.6,0.2,0.5,0.6,1,0.9", "the box ends before it begins"),
        # Rows that do not count are checked all the same.
        ("x,1,0.1,0.2,0.5,0.6,81,0.1", "class id is '81'"),
    ],
)
def test_a_bad_box_row_is_named(tmp_path, row, message):
    with pytest.raises(UserError) as caught:
        load(tmp_path, predicted=f"{GOOD}{GOOD}{row}\n{GOOD}")
    assert str(caught.value).startswith(f"{tmp_path}/predicted.csv: row 3: {message}")
    assert "\n" not in str(caught.value)


def test_a_corner_may_lie_a_little_outside(tmp_path):
    assert load(tmp_path, "a,902,-0.004,0.1,1.004,0.5,1\n").boxes(0).tolist() == [[-0.004, 0.1, 1.004, 0.5]]


def test_seconds_may_have_a_fraction(tmp_path):
    keys = load(tmp_path, "a,902.0,0.1,0.1,0.5,0.5,1\na,902.2,0.1,0.1,0.5,0.5,1\na,0902,0.1,0.1,0.5,0.5,2.0\n")
    assert keys.second.tolist() == [902.0, 902.2]
    assert np.flatnonzero(keys.multi_hot(0, 80)[0]).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,902,0.1,0.2,0.5,0.6,1,0.9\n", "names no video of the dataset, but x"),
        ("x,902,0,0,1,1,1,1\ny,902,0,0,1,1,1,1\n", "names no video of the dataset, but x, y"),
        ("x,902\n", "names no video of the dataset, but none at all"),
    ],
)
def test_a_box_list_that_names_no_known_video_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=re.escape(f"predicted.csv: {message}")):
        load(tmp_path, predicted=text)


@settings(max_examples=60)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.integers(902, 905),
            st.sampled_from([0.1, 0.2, 0.3]),
            st.sampled_from([-1, 1, 2, 5]),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_tables_hold_what_a_dictionary_of_the_rows_would(tmp_path_factory, rows):
    expected: dict[tuple[int, int], dict[float, set[int]]] = {}
    for video, second, x1, label in rows:
        labels = expected.setdefault(("ab".index(video), second), {}).setdefault(x1, set())
        if label > 0:
            labels.add(label - 1)
    text = "".join(f"{video},{second},{x1},0.0,0.5,0.5,{label},1\n" for video, second, x1, label in rows)
    keys = load(tmp_path_factory.mktemp("boxes"), text)
    assert list(zip(keys.video.tolist(), keys.second.tolist(), strict=True)) == sorted(expected)
    for index, key in enumerate(sorted(expected)):
        assert keys.boxes(index)[:, 0].tolist() == list(expected[key])
        found = [set(np.flatnonzero(row)) for row in keys.multi_hot(index, 5)]
        assert found == list(expected[key].values())


def test_lists_read_the_same_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_MIN_BYTES", 0)
    frame_list, boxes = tmp_path / "list.csv", tmp_path / "boxes.csv"
    frame_list.write_text(
        "original_vido_id video_id frame_id path labels\n" + 'b 0 0 b/1.jpg ""\nb 0 1 b/2.jpg ""\na 1 0 a/1.jpg ""\n'
    )
    boxes.write_text("a,3,0.1,0.2,0.3,0.4,2,0\nx,3,0.1,0.2,0.3,0.4,2,0\n")
    for _ in range(2):
        frames = FrameList([frame_list])
        keys = load_key_frames([boxes], [], frames.names, num_classes=80, score_threshold=0.5, valid_seconds=(0, 9))
        assert (frames.names, frames.counts.tolist(), frames.path(0, 1)) == (("b", "a"), [2, 1], "b/2.jpg")
        assert (keys.video.tolist(), keys.boxes(0).tolist()) == ([1], [[0.1, 0.2, 0.3, 0.4]])
        assert keys.left_out == (f"{boxes}: left out the rows of 1 unknown videos: x",)
    assert len(list((tmp_path / ".index").iterdir())) == 2
