"""The bootstrap of differences in mAP: against copies of the files that are scored one by one, and on known cases."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.evaluation import comparison
from src.evaluation.ava_metric import evaluate_boxes, mean_of_defined
from src.evaluation.comparison import compare
from src.utils.errors import UserError
from tests.evaluation.reference import average_precisions
from tests.evaluation.tables import LABELS, LEFT, RIGHT, table

CLASSES = (1, 3)
NEAR_LEFT = (0.0, 0.0, 0.4, 0.35)
DRAWS = 12

frames = st.tuples(st.sampled_from("abcd"), st.integers(1, 2))
truth_rows = st.builds(
    lambda frame, box, class_id: (*frame, *box, class_id),
    frames,
    st.sampled_from([LEFT, RIGHT]),
    st.sampled_from(CLASSES),
)
found_rows = st.builds(
    lambda frame, box, class_id, score: (*frame, *box, class_id, score),
    frames,
    st.sampled_from([LEFT, NEAR_LEFT, RIGHT]),
    st.sampled_from(CLASSES),
    st.sampled_from([0.2, 0.5, 0.8]),  # few scores: many ties
)


def copies(rows: list[tuple], weight: dict[str, int]) -> list[tuple]:
    """Each row as often as its video was drawn, every time in a video of its own; copies follow each other."""
    return [(f"{row[0]}{copy}", *row[1:]) for row in rows for copy in range(weight[row[0]])]


def slow_gains(truth: list[tuple], first: list[tuple], second: list[tuple], seed: int, order: str) -> np.ndarray:
    """The gain of each class and of the mean, for each draw, from files written out: (classes + 1, draws)."""
    videos = sorted({row[0] for row in [*truth, *first, *second]})
    rng = np.random.default_rng(seed)
    gains = []
    for drawn in rng.multinomial(len(videos), [1 / len(videos)] * len(videos), DRAWS):
        weight = dict(zip(videos, drawn, strict=True))
        old, new = (
            average_precisions(copies(truth, weight), copies(found, weight), list(CLASSES), order=order)
            for found in (first, second)
        )
        values = [np.nan if old[c] is None else new[c] - old[c] for c in CLASSES]
        gains.append([*values, mean_of_defined(np.array(values))])
    return np.array(gains).T


@settings(max_examples=120)
@given(
    st.lists(truth_rows, min_size=1, max_size=8, unique=True),
    st.lists(found_rows, max_size=10),
    st.lists(found_rows, max_size=10),
    st.integers(0, 100),
    st.sampled_from(["score", "input"]),
    st.integers(1, 3),
)
def test_intervals_are_those_of_files_written_out_and_scored(truth, first, second, seed, order, block):
    if len({row[0] for row in [*truth, *first, *second]}) < 2:
        return
    labels = {class_id: LABELS[class_id] for class_id in CLASSES}
    tables = table(truth), table(first, True), table(second, True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "_TRUE_POSITIVES_AT_A_TIME", block)
        result = compare(*tables, labels, order=order, resamples=DRAWS, seed=seed)
    gains = slow_gains(truth, first, second, seed, order)
    plain = [evaluate_boxes(tables[0], found, labels, order=order) for found in tables[1:]]
    assert [result.map.first, result.map.second] == [one.map for one in plain]
    for at, value in enumerate([*result.classes.values(), result.map]):
        expected = gains[at][~np.isnan(gains[at])]
        if at < len(CLASSES) and len({row[0] for row in truth if row[6] == CLASSES[at]}) < 2:
            assert np.isnan(value.low)
            assert not value.is_beyond_noise
        elif len(expected):
            assert [value.low, value.high] == pytest.approx(np.quantile(expected, [0.025, 0.975]), abs=1e-12)
        else:
            assert np.isnan(value.low)


def many(scores: list[float]) -> list[tuple]:
    """In each of 40 videos, a right and a wrong detection of class 1; the right one has the video's score."""
    rows = []
    for video, score in enumerate(scores):
        rows += [(f"v{video}", 1, *LEFT, 1, score), (f"v{video}", 1, *RIGHT, 1, 0.5)]
    return rows


TRUTH = [(f"v{video}", 1, *LEFT, 1) for video in range(40)]


def test_a_set_compared_with_itself_differs_by_nothing():
    found = table(many([0.4, 0.9] * 20), True)
    result = compare(table(TRUTH), found, found, {1: "stand"})
    assert (result.map.gain, result.map.low, result.map.high) == (0, 0, 0)
    assert not result.map.is_beyond_noise


def test_a_gain_in_every_video_is_beyond_noise_and_one_in_two_of_forty_is_not():
    before, after = table(many([0.4] * 40), True), table(many([0.9] * 40), True)
    result = compare(table(TRUTH), before, after, {1: "stand"})
    assert result.map.low > 0.4
    assert result.classes["stand"].is_beyond_noise
    assert compare(table(TRUTH), after, before, {1: "stand"}).map.high < -0.4
    mixed = table(many([0.9] * 38 + [0.4] * 2), True)
    turned = table(many([0.4] * 2 + [0.9] * 38), True)
    assert not compare(table(TRUTH), mixed, turned, {1: "stand"}).map.is_beyond_noise


def test_the_draws_follow_the_seed():
    tables = table(TRUTH), table(many([0.4, 0.9] * 20), True), table(many([0.9] * 30 + [0.4] * 10), True)
    results = [compare(*tables, {1: "stand"}, seed=seed) for seed in (3, 3, 4)]
    assert results[0] == results[1]
    assert results[0].map.low != results[2].map.low
    assert results[0].map.first == results[2].map.first


def test_one_video_is_too_few():
    one = table([("v", 1, *LEFT, 1, 0.5)], True)
    with pytest.raises(UserError, match=r"the files hold 1 video that count, .* at least 2"):
        compare(table([("v", 1, *LEFT, 1)]), one, one, {1: "stand"})


def lines(rows: list[tuple]) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def test_the_command_says_in_a_sentence_what_to_make_of_it(repository, tmp_path):
    (tmp_path / "map.pbtxt").write_text('item { name: "walk" id: 1 }\nitem { name: "run" id: 2 }\n')
    (tmp_path / "gt.csv").write_text(lines(TRUTH))
    (tmp_path / "a.csv").write_text(lines(many([0.4] * 40)))
    (tmp_path / "b.csv").write_text(lines(many([0.9] * 40)))
    command = [sys.executable, "-m", "src.evaluation", "compare", str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    command += ["--groundtruth", str(tmp_path / "gt.csv"), "--labelmap", str(tmp_path / "map.pbtxt")]
    command += ["--json", str(tmp_path / "out.json"), "--resamples", "200"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    written = json.loads((tmp_path / "out.json").read_text())
    # 40 wrong ones before the first right one: the best precision is 40 / 80.
    assert (written["mAP"]["first"], written["mAP"]["second"]) == (0.5, 1.0)
    assert written["verdict"] in done.stdout
    assert written["verdict"].startswith("B is better than A by 0.5000 in mAP@0.5, beyond noise (95% interval +0.5000")
    assert written["classes"]["run"]["first"] is None
    assert "run        0       0  no ground truth\n" in done.stdout
    assert "200 resamples of 40 videos in" in done.stdout


def test_a_file_that_cannot_be_read_ends_with_one_line(repository, tmp_path):
    (tmp_path / "map.pbtxt").write_text('item { name: "walk" id: 1 }\n')
    (tmp_path / "gt.csv").write_text(lines(TRUTH))
    (tmp_path / "a.csv").write_text("v0,1,0,0,1\n")
    command = [sys.executable, "-m", "src.evaluation", "compare", str(tmp_path / "a.csv"), str(tmp_path / "a.csv")]
    command += ["--groundtruth", str(tmp_path / "gt.csv"), "--labelmap", str(tmp_path / "map.pbtxt")]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path / 'a.csv'}: row 1: 5 columns, expected 8")
    assert done.stderr.count("\n") == 1
