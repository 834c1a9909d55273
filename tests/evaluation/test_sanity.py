"""Each check of the files finds what it is for, and nothing in good files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.evaluation.sanity import Check, check_tables, warning_lines
from tests.evaluation.tables import LABELS, LEFT, RIGHT, table

TRUTH = [("a", 902, *LEFT, 1), ("a", 903, *LEFT, 3), ("b", 902, *RIGHT, 7)]
FOUND = [(*row, 0.5) for row in TRUTH]


def found_by_checks(truth=TRUTH, found=FOUND, **options) -> dict[str, Check]:
    """The checks that found something, by title."""
    checks = check_tables(table(truth), table(found, True), LABELS, **options)
    assert len(checks) == 21
    return {check.title: check for check in checks if check.level != "ok"}


def test_good_files_are_well():
    assert found_by_checks() == {}


def test_frames_and_videos_of_one_file_only():
    checks = found_by_checks(found=[FOUND[0], ("c", 950, *LEFT, 1, 0.5), ("a", 904, *LEFT, 1, 0.5)])
    assert {title: (check.count, check.total, check.examples) for title, check in checks.items()} == {
        "videos in the ground truth but not in the detections": (1, 2, ["b"]),
        "frames in the ground truth but not in the detections": (2, 3, ["a,0903", "b,0902"]),
        "videos in the detections but not in the ground truth": (1, 2, ["c"]),
        "frames in the detections but not in the ground truth": (2, 3, ["c,0950", "a,0904"]),
    }


def test_exclusions_that_exclude_nothing():
    (check,) = found_by_checks(excluded={("a.mp4", 902), ("b", 2)}).values()
    assert (check.level, check.count, check.examples) == ("note", 2, ["a.mp4,0902", "b,0002"])
    assert found_by_checks(excluded={("a", 902), ("b", 2)}) == {}


def test_excluded_frames_are_not_looked_at():
    extra = ("a", 1000, *LEFT, 1, 0.5)
    assert found_by_checks(found=[*FOUND, extra], excluded={("a", 1000)}) == {}


@pytest.mark.parametrize(
    ("box", "title"),
    [
        ((10, 20, 100, 200), "boxes of the detections in pixels"),
        ((-0.1, 0, 0.5, 0.5), "boxes of the detections outside [0, 1]"),
        ((0.5, 0.5, 0.9, 1.2), "boxes of the detections outside [0, 1]"),
        ((0.5, 0.5, 0.5, 0.9), "boxes of the detections without area"),
    ],
)
def test_boxes_that_cannot_be(box, title):
    checks = found_by_checks(found=[*FOUND, ("a", 902, *box, 1, 0.5)])
    assert list(checks) == [title]
    assert (checks[title].count, checks[title].total, checks[title].level) == (1, 4, "problem")
    assert checks[title].examples == [f"a,0902: {' '.join(f'{x:g}' for x in box)}"]


def test_boxes_that_have_nothing_to_do_with_each_other():
    """As those of x and y swapped, or of another second."""
    truth = [("a", 902, 0.1, 0.3, 0.4, 0.9, 1), ("b", 902, *RIGHT, 7)]
    checks = found_by_checks(truth, [("a", 902, 0.3, 0.1, 0.9, 0.4, 1, 0.5), ("b", 902, *LEFT, 7, 0.5)])
    check = checks.pop("no detection overlaps a true box by half")
    assert (check.count, check.total, check.level, checks) == (1, 1, "problem", {})
    assert check.examples == ["a,0902: 0.3 0.1 0.9 0.4"]
    assert found_by_checks(truth, [("a", 902, 0.3, 0.1, 0.9, 0.4, 1, 0.5), ("b", 902, *RIGHT, 7, 0.5)]) == {}


def test_classes_that_are_numbered_otherwise():
    swapped = {1: 3, 3: 7, 7: 1}
    found = [(*row[:6], swapped[row[6]], row[7]) for row in FOUND]
    title = "no detection that overlaps a true box by half has its class"
    (check,) = found_by_checks(found=found).values()
    assert (check.title, check.level, check.examples) == (title, "problem", ["a,0902: 0 0 0.4 0.4"])
    assert found_by_checks(found=[*found, FOUND[2]]) == {}


def test_true_boxes_without_a_class_have_none_to_share():
    truth = [(*row[:6], -1) for row in TRUTH]
    (check,) = found_by_checks(truth).values()
    assert (check.title, check.examples) == ("class ids of the ground truth not in the label map", ["-1 (3 rows)"])


def test_scores_that_may_be_ids_of_persons():
    (check,) = found_by_checks(found=[(*row, person % 2) for person, row in enumerate(TRUTH)]).values()
    assert check.title == "scores that are whole numbers, all of them"
    assert (check.level, check.count) == ("note", 3)


def test_detections_that_are_there_twice():
    checks = found_by_checks(found=[*FOUND, (*TRUTH[0], 0.7)])
    check = checks.pop("rows of the detections that repeat a box and class")
    assert (check.count, check.total, check.level, checks) == (1, 4, "problem", {})
    assert check.examples == ["a,0902: class id 1"]


def test_class_ids_that_the_label_map_lacks():
    checks = found_by_checks(truth=[*TRUTH, ("a", 902, *LEFT, -1)], found=[*FOUND, ("a", 902, *LEFT, 2, 0.5)] * 2)
    assert checks["class ids of the ground truth not in the label map"].examples == ["-1 (1 rows)"]
    assert checks["class ids of the detections not in the label map"].examples == ["2 (2 rows)"]


def test_scores_beyond_0_and_1():
    checks = found_by_checks(found=[*FOUND[:2], (*TRUTH[2], 1.5)])
    assert checks["scores outside [0, 1]"].examples == ["1.5"]


def test_ground_truth_that_is_there_twice():
    checks = found_by_checks(truth=[*TRUTH, TRUTH[1], ("a", 903, *LEFT, 7)])
    check = checks["rows of the ground truth that repeat a box and class"]
    assert (check.count, check.examples) == (1, ["a,0903: class id 3"])


CORNER = st.sampled_from([0.0, -0.0, 0.5])
ROWS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([1, 2]), *[CORNER] * 4, st.sampled_from([1, 3])))


@given(rows=ROWS)
def test_rows_that_repeat_are_those_that_equal_an_earlier_one(rows):
    seen, repeated = set(), []
    for row in rows:
        if row in seen:
            repeated.append(f"{row[0]},{row[1]:04d}: class id {row[6]}")
        seen.add(row)
    checks = {check.title: check for check in check_tables(table(rows), table(FOUND, True), LABELS, max_examples=99)}
    assert checks["rows of the ground truth that repeat a box and class"].examples == repeated


def test_only_the_first_few_are_named_but_all_are_counted():
    checks = found_by_checks(found=[*FOUND, *[("a", 1000 + at, *LEFT, 1, 0.5) for at in range(20)]], max_examples=3)
    check = checks["frames in the detections but not in the ground truth"]
    assert (check.count, check.examples) == (20, ["a,1000", "a,1001", "a,1002"])


def test_names_that_differ_by_a_suffix_and_files_with_nothing_in_common():
    truth = [(f"{video}.mp4", *rest) for video, *rest in TRUTH]
    checks = found_by_checks(truth=truth)
    check = checks["video names that differ by a suffix only"]
    assert (check.count, check.examples, check.level) == (2, ["a.mp4 and a", "b.mp4 and b"], "problem")
    assert checks["ground truth and detections have no frame in common"].level == "problem"
    swapped = check_tables(table(TRUTH), table([(f"{video}.mp4", *rest) for video, *rest in FOUND], True), LABELS)
    assert [c.examples for c in swapped if c.title == check.title] == [["a and a.mp4", "b and b.mp4"]]


def test_what_was_found_makes_a_line_each_problems_first():
    checks = check_tables(table(TRUTH), table([*FOUND, ("a", 904, *LEFT, 2, 1.5)], True), LABELS)
    checks += check_tables(table([]), table([("a", 904, 10, 10, 90, 90, 1, 0.5)], True), LABELS)
    assert [line[:60] for line in warning_lines(checks)] == [
        "warning: videos in the detections but not in the ground trut",
        "warning: boxes of the detections in pixels: 1 of 1 (a,0904: ",
        "note: frames in the detections but not in the ground truth: ",
        "note: class ids of the detections not in the label map: 1 of",
        "note: scores outside [0, 1]: 1 of 4 (1.5); the metric only n",
        "note: frames in the detections but not in the ground truth: ",
    ]
