"""Scores of actions times those of persons."""

import numpy as np
import pytest

from src.evaluation.ava_metric import evaluate_boxes
from src.evaluation.person_score import times_person_scores
from tests.evaluation.tables import LABELS, LEFT, RIGHT, table


def test_each_action_has_the_score_of_its_persons_box():
    actions = table(
        [("v", 1, *LEFT, 1, 0.5), ("v", 1, *LEFT, 3, 0.4), ("w", 1, *LEFT, 1, 0.5), ("v", 2, *RIGHT, 1, 0.5)], True
    )
    persons = [
        table([("w", 1, *LEFT, -1, 0.9), ("v", 1, *RIGHT, -1, 0.1), ("v", 1, *LEFT, -1, 0.8)], True),
        table([("v", 2, *RIGHT, -1, 0.6), ("v", 1, *LEFT, -1, 0.7)], True),
    ]
    result = times_person_scores(actions, persons)
    np.testing.assert_allclose(result.row_score, [0.4, 0.32, 0.45, 0.3], rtol=1e-12)
    assert result.row_class is actions.row_class


def test_a_box_that_no_list_holds_is_an_error():
    with pytest.raises(ValueError, match="none of the lists"):
        times_person_scores(table([("v", 1, *LEFT, 1, 0.5)], True), [table([("v", 1, *RIGHT, 1, 0.5)], True)])


def test_an_unsure_person_is_ranked_behind_a_sure_one():
    truth = table([("v", 1, *LEFT, 1)])
    actions = table([("v", 1, *RIGHT, 1, 0.6), ("v", 1, *LEFT, 1, 0.5)], True)
    persons = table([("v", 1, *RIGHT, -1, 0.5), ("v", 1, *LEFT, -1, 0.9)], True)
    assert evaluate_boxes(truth, actions, LABELS).map == 0.5
    assert evaluate_boxes(truth, times_person_scores(actions, [persons]), LABELS).map == 1.0
