"""Video-mAP: by hand, and against plain loops on random tubes."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from src.evaluation.tubes import (
    PROTOCOLS,
    TubeTable,
    frame_average_precision,
    trapezoid_precision_of,
    video_average_precision,
)
from tests.evaluation import tube_reference

CLASSES = 2
THRESHOLDS = (0.2, 0.35, 0.5)


def table(tubes: list[tube_reference.Tube]) -> TubeTable:
    names = sorted({video for video, *_ in tubes} | {"a", "b"})
    return TubeTable(
        video=np.array([names.index(video) for video, *_ in tubes], np.int64),
        label=np.array([label for _, label, _, _ in tubes], np.int64),
        first=np.array([min(boxes) for _, _, boxes, _ in tubes], np.int64),
        start=np.cumsum([0, *(len(boxes) for _, _, boxes, _ in tubes)]),
        boxes=np.array([box for _, _, boxes, _ in tubes for box in boxes.values()], np.float64).reshape(-1, 4),
        score=np.array([score or 0 for *_, score in tubes], np.float64),
        box_score=np.array([score or 0 for _, _, boxes, score in tubes for _ in boxes], np.float64),
    )


corners = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(3, 9), st.integers(3, 9)).map(
    lambda c: (c[0], c[1], c[0] + c[2], c[1] + c[3])
)


def tubes(scored: bool) -> st.SearchStrategy:
    return st.builds(
        lambda video, label, first, boxes, score: (
            video,
            label,
            {first + at: box for at, box in enumerate(boxes)},
            score if scored else None,
        ),
        st.sampled_from("ab"),
        st.integers(0, CLASSES - 1),
        st.integers(0, 4),
        st.lists(corners, min_size=1, max_size=5),
        st.sampled_from([0.1, 0.5, 0.9]),
    )


def overlaps(truth, found, protocol, pixel):
    """All overlaps that decide, of tubes and of boxes."""
    added = pixel if protocol == "ucf101-24" else 0.0
    for one in truth:
        for other in found:
            if one[:2] == other[:2]:
                yield tube_reference.tube_iou(one[2], other[2], protocol, pixel)
                for frame in one[2].keys() & other[2].keys():
                    yield tube_reference.box_iou(one[2][frame], other[2][frame], added)


@settings(max_examples=300)
@given(
    st.lists(tubes(scored=False), max_size=6),
    st.lists(tubes(scored=True), max_size=8),
    st.sampled_from(PROTOCOLS),
    st.sampled_from([0.0, 1.0]),
)
def test_equals_plain_loops_over_frames(truth, found, protocol, pixel):
    # What equals a threshold but for rounding may go either way.
    assume(all(abs(iou - t) > 1e-9 for iou in overlaps(truth, found, protocol, pixel) for t in THRESHOLDS))
    for fast, slow in (
        (video_average_precision, tube_reference.video_ap),
        (frame_average_precision, tube_reference.frame_ap),
    ):
        result = fast(table(truth), table(found), CLASSES, THRESHOLDS, protocol, pixel)
        for at, threshold in enumerate(THRESHOLDS):
            for label in range(CLASSES):
                expected = slow(truth, found, label, threshold, protocol, pixel)
                if expected is None:
                    assert np.isnan(result[at, label])
                else:
                    assert result[at, label] == pytest.approx(expected, abs=1e-12)


BOX, HALF = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 5.0)


def steady(first: int, last: int, box=BOX, score=None, label=0) -> tube_reference.Tube:
    return ("a", label, dict.fromkeys(range(first, last + 1), box), score)


def one_ap(truth, found, protocol, threshold, pixel=0.0) -> float:
    return float(video_average_precision(table(truth), table(found), 1, [threshold], protocol, pixel)[0, 0])


@pytest.mark.parametrize(("protocol", "overlap"), [("ucf101-24", 5 / 15), ("multisports", 4 / 14)])
def test_spans_of_time_are_counted_in_frames_or_in_steps(protocol, overlap):
    truth, found = [steady(0, 9)], [steady(5, 14, score=0.5)]
    assert one_ap(truth, found, protocol, overlap) == 1.0
    assert one_ap(truth, found, protocol, overlap + 1e-9) == 0.0


def test_space_and_time_are_multiplied():
    truth, found = [steady(0, 9)], [steady(0, 4, HALF, 0.5)]
    assert one_ap(truth, found, "ucf101-24", 0.25) == 1.0
    assert one_ap(truth, found, "ucf101-24", 0.2501) == 0.0


def test_a_pixel_is_added_where_act_adds_one():
    truth, found = [steady(0, 1, (0.0, 0.0, 9.0, 9.0))], [steady(0, 1, (0.0, 0.0, 9.0, 4.0), 0.5)]
    assert one_ap(truth, found, "ucf101-24", 0.5, pixel=1.0) == 1.0  # 10 x 5 of 10 x 10
    assert one_ap(truth, found, "ucf101-24", 0.5, pixel=0.0) == 0.0  # 9 x 4 of 9 x 9
    assert one_ap(truth, found, "multisports", 0.45, pixel=1.0) == 0.0


def test_the_next_best_is_taken_by_act_and_not_by_multisports():
    near = (0.0, 0.0, 10.0, 9.0)
    truth = [steady(0, 9), steady(0, 9, near)]
    found = [steady(0, 9, BOX, 0.9), steady(0, 9, BOX, 0.8)]
    assert one_ap(truth, found, "ucf101-24", 0.5) == 1.0
    assert one_ap(truth, found, "multisports", 0.5) == 0.5


def test_a_tube_of_one_frame_is_found_by_act_and_not_by_multisports():
    truth, found = [steady(3, 3)], [steady(3, 3, score=0.5)]
    assert one_ap(truth, found, "ucf101-24", 0.9) == 1.0
    assert one_ap(truth, found, "multisports", 0.1) == 0.0
    boxes = frame_average_precision(table(truth), table(found), 1, [0.5], "multisports", 0.0)
    assert boxes[0, 0] == 1.0


def test_the_area_by_trapezoids():
    # Precisions 1, 1/2, 2/3 at recalls 1/2, 1/2, 1: (1 + 1) / 2 / 2 and (1/2 + 2/3) / 2 / 2.
    assert trapezoid_precision_of(np.array([True, False, True]), 2) == pytest.approx(0.5 + 7 / 24, abs=1e-15)
    assert np.isnan(trapezoid_precision_of(np.array([False]), 0))
