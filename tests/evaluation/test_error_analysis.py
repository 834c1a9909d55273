"""Kinds of errors and what fixing them adds, with figures worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings

from src.evaluation.ava_metric import evaluate_boxes
from src.evaluation.error_analysis import ERROR_KINDS, ClassAnalysis, analyze
from tests.evaluation.tables import LABELS, LEFT, RIGHT, table
from tests.evaluation.test_ava_metric import CASE

FAR = (0.45, 0.0, 0.49, 0.04)


def walk(truth: list[tuple], found: list[tuple], **options) -> ClassAnalysis:
    """Analysis of class 3; truth rows are (box, class id), found rows (box, class id, score), all on one frame."""
    truth = [("v", 902, *box, class_id) for box, class_id in truth]
    found = [("v", 902, *box, class_id, score) for box, class_id, score in found]
    return analyze(table(truth), table(found, True), LABELS, **options)[1]


def only(**daps: float) -> dict[str, float]:
    """These dAP, and none for the other kinds."""
    return {kind: pytest.approx(daps.get(kind, 0.0), abs=1e-12) for kind in ERROR_KINDS}


def counts(**some: int) -> dict[str, int]:
    """These counts, and none of the other kinds."""
    return dict.fromkeys(ERROR_KINDS, 0) | some


def test_missed_box_need_not_be_found_once_fixed():
    one = walk([(LEFT, 3), (RIGHT, 3)], [(LEFT, 3, 0.9)])
    assert one.average_precision == 0.5
    assert one.count["Miss"] == 1
    assert one.dap == only(Miss=0.5)


def test_class_whose_boxes_are_all_missed_loses_everything_to_it():
    assert walk([(LEFT, 3)], []).dap == only(Miss=1.0)


def test_box_with_a_detection_of_another_class_only_is_missed():
    assert walk([(LEFT, 3)], [(LEFT, 1, 0.9)]).count["Miss"] == 1


def test_localization_error_takes_a_free_box_once_fixed():
    # IoU 0.25 with the box: not missed, and a true positive once fixed.
    one = walk([(LEFT, 3)], [((0.0, 0.0, 0.4, 0.1), 3, 0.9)])
    assert one.count == counts(Loc=1)
    assert one.dap == only(Loc=1.0)


def test_localization_error_at_a_taken_box_is_removed_once_fixed():
    found = [((0.0, 0.0, 0.4, 0.1), 3, 0.9), (LEFT, 3, 0.8)]
    assert walk([(LEFT, 3)], found).dap == only(Loc=0.5)


def test_classification_error_stands_on_a_person_of_another_class():
    # The truth of class 3 is far off; the box of class 1 is where class 3 is claimed.
    one = walk([(LEFT, 1), (RIGHT, 3)], [(LEFT, 3, 0.9), (RIGHT, 3, 0.8)])
    assert one.count == counts(Cls=1)
    assert one.dap == only(Cls=0.5)


def test_both_is_another_class_at_a_place_that_is_not_near_enough():
    # IoU 0.25 with the person of class 1, and nobody of class 3 there.
    one = walk([(LEFT, 1), (RIGHT, 3)], [((0.0, 0.0, 0.4, 0.1), 3, 0.9), (RIGHT, 3, 0.8)])
    assert one.count == counts(Both=1)
    assert one.dap == only(Both=0.5)


def test_background_stands_on_nobody():
    one = walk([(LEFT, 3)], [(RIGHT, 3, 0.9), (LEFT, 3, 0.8)])
    assert one.count["Bkg"] == 1
    assert one.dap == only(Bkg=0.5)


def test_duplicate_costs_only_where_a_box_is_found_after_it():
    found = [(LEFT, 3, 0.9), (LEFT, 3, 0.8), (RIGHT, 3, 0.7)]
    one = walk([(LEFT, 3), (RIGHT, 3)], found)
    assert one.count["Dupe"] == 1
    assert one.dap == only(Dupe=1 - (0.5 + 0.5 * 2 / 3))


def test_errors_are_counted_among_as_many_scores_as_there_are_boxes():
    one = walk([(LEFT, 3)], [(FAR, 3, 0.9), (FAR, 3, 0.8), (FAR, 3, 0.7), (LEFT, 3, 0.6)])
    assert one.count["Bkg"] == 1


def test_bounds_are_those_of_the_orders_of_tied_scores():
    one = walk([(LEFT, 3)], [(FAR, 3, 0.5), (LEFT, 3, 0.5), (FAR, 3, 0.5)])
    assert one.bounds == (pytest.approx(1 / 3), 1.0)
    assert one.average_precision == 0.5


@given(**CASE)
@settings(max_examples=200)
def test_kinds_part_the_false_positives_and_fixing_never_harms(truth, found, excluded, threshold, order):
    options = {"excluded": excluded, "order": order}
    analyses = analyze(table(truth), table(found, True), LABELS, iou_threshold=threshold, **options)
    result = evaluate_boxes(table(truth), table(found, True), LABELS, iou_thresholds=[threshold], **options)
    np.testing.assert_array_equal([one.average_precision for one in analyses], result.average_precision[0])
    for one in analyses:
        top = min(one.num_ground_truth, len(one.true_positives))
        false_on_top = sum(one.count[kind] for kind in ERROR_KINDS if kind != "Miss")
        assert false_on_top + int(one.true_positives[:top].sum()) == top
        assert one.count["Miss"] + int(one.true_positives.sum()) <= one.num_ground_truth
        if one.num_ground_truth:
            assert all(dap > -1e-12 and one.average_precision + dap < 1 + 1e-12 for dap in one.dap.values())
            assert one.bounds[0] - 1e-12 <= one.average_precision <= one.bounds[1] + 1e-12
        else:
            assert all(np.isnan(dap) for dap in one.dap.values())
