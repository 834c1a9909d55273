"""The metric: rule by rule with figures worked out by hand, against a slow reference, against other evaluators."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from src.ava.box_csv import read_detections, read_ground_truth, write_boxes
from src.ava.box_table import BoxTable
from src.ava.label_map import read_label_map
from src.evaluation import matching
from src.evaluation.ava_metric import ORDERS, AvaEvaluator, average_precision_of, evaluate_boxes
from src.evaluation.matching import Ranking
from src.utils.errors import UserError
from tests.evaluation.reference import average_precisions
from tests.evaluation.tables import LABELS, LEFT, RIGHT, table


def walk_ap(truth: list[tuple], found: list[tuple], **options) -> float:
    """AP of class 3; truth rows are (second, box), found rows (second, box, score)."""
    truth = [("v", second, *box, 3) for second, box in truth]
    found = [("v", second, *box, 3, score) for second, box, score in found]
    return evaluate_boxes(table(truth), table(found, scored=True), LABELS, **options).average_precision[0, 1]


def test_perfect_detection_scores_one():
    assert walk_ap([(902, LEFT)], [(902, LEFT, 0.1)]) == 1.0


def test_iou_of_exactly_one_half_is_enough():
    assert walk_ap([(902, (0.0, 0.0, 0.5, 0.5))], [(902, (0.0, 0.0, 0.5, 0.25), 0.9)]) == 1.0
    assert walk_ap([(902, (0.0, 0.0, 0.5, 0.5))], [(902, (0.0, 0.0, 0.5, 0.2499), 0.9)]) == 0.0


def test_second_detection_of_a_box_is_false():
    # Hit, duplicate, hit: precision 1 at recall 1/2, 2/3 at recall 1.
    found = [(902, LEFT, 0.9), (902, LEFT, 0.8), (902, RIGHT, 0.7)]
    assert walk_ap([(902, LEFT), (902, RIGHT)], found) == pytest.approx(0.5 + 0.5 * 2 / 3, abs=1e-15)


def test_detection_whose_best_box_is_taken_does_not_take_the_next_best():
    wide, narrow = (0.0, 0.0, 0.4, 0.4), (0.0, 0.0, 0.4, 0.3)
    assert walk_ap([(902, wide), (902, narrow)], [(902, wide, 0.9), (902, (0.0, 0.0, 0.4, 0.38), 0.8)]) == 0.5


def test_detection_on_a_frame_without_ground_truth_is_false():
    assert walk_ap([(902, LEFT)], [(903, LEFT, 0.9), (902, LEFT, 0.8)]) == 0.5


def test_box_without_area_is_dropped():
    assert walk_ap([(902, LEFT)], [(902, (0.4, 0.0, 0.4, 0.4), 0.9), (902, LEFT, 0.8)]) == 1.0
    assert walk_ap([(902, LEFT)], [(902, (0.0, 0.4, 0.4, 0.0), 0.9), (902, LEFT, 0.8)]) == 1.0


def test_excluded_frame_does_not_count():
    truth = [(902, LEFT), (903, LEFT)]
    found = [(902, LEFT, 0.8), (903, RIGHT, 0.9)]
    assert walk_ap(truth, found) == 0.25
    assert walk_ap(truth, found, excluded={("v", 903), ("unknown", 1)}) == 1.0


def test_only_the_given_seconds_count():
    truth = [(902, LEFT), (904, LEFT)]
    found = [(902, RIGHT, 0.9), (904, LEFT, 0.8)]
    assert walk_ap(truth, found, seconds=range(900, 1000, 4)) == 1.0


def test_equal_scores_keep_file_order():
    truth = [(902, LEFT)]
    assert walk_ap(truth, [(902, LEFT, 0.5), (902, RIGHT, 0.5)]) == 1.0
    assert walk_ap(truth, [(902, RIGHT, 0.5), (902, LEFT, 0.5)]) == 0.5
    # Also among many, where an unstable sort would mix them.
    many = [(902, RIGHT, 0.5)] * 99
    assert walk_ap(truth, [*many, (902, LEFT, 0.5), *many]) == pytest.approx(1 / 100, abs=1e-15)


def test_file_order_lets_a_low_score_take_the_box_first():
    # The low score takes the box, so the high one is false: hit at rank 2.
    truth, found = [(902, LEFT)], [(902, LEFT, 0.2), (902, LEFT, 0.9)]
    assert walk_ap(truth, found, order="score") == 1.0
    assert walk_ap(truth, found, order="input") == 0.5


def test_precision_is_raised_to_the_highest_at_higher_recall():
    # Precisions at the true positives: 1/2, 2/3, 3/4; each is raised to 3/4. One box is never found.
    true_positives = np.array([False, True, True, True, False])
    assert average_precision_of(true_positives, 4) == pytest.approx(0.75 * 0.75, abs=1e-15)


def test_class_without_ground_truth_is_none_and_not_in_the_mean():
    result = evaluate_boxes(
        table([("v", 902, *LEFT, 3)]), table([("v", 902, *LEFT, 1, 0.9), ("v", 902, *LEFT, 3, 0.9)], True), LABELS
    )
    assert result.metrics() == {
        "PascalBoxes_Precision/mAP@0.5IOU": 1.0,
        "PascalBoxes_PerformanceByCategory/AP@0.5IOU/stand": None,
        "PascalBoxes_PerformanceByCategory/AP@0.5IOU/walk": 1.0,
        "PascalBoxes_PerformanceByCategory/AP@0.5IOU/run": None,
    }


def test_class_outside_the_label_map_is_left_out():
    truth = [("v", 902, *LEFT, 3), ("v", 902, *LEFT, 2), ("v", 902, *LEFT, -1)]
    found = [("v", 902, *LEFT, 3, 0.5), ("v", 902, *RIGHT, 2, 0.9), ("v", 902, *RIGHT, -1, 0.9)]
    assert evaluate_boxes(table(truth), table(found, True), LABELS).map == 1.0


def test_nothing_found_scores_zero_and_nothing_at_all_none():
    empty, truth = table([], scored=True), table([("v", 902, *LEFT, 3)])
    assert evaluate_boxes(truth, empty, LABELS).map == 0.0
    assert evaluate_boxes(table([]), empty, LABELS).metrics()["PascalBoxes_Precision/mAP@0.5IOU"] is None


def test_table_is_printed_in_the_published_form():
    found = table([("v", 902, *RIGHT, 3, 0.9), ("v", 902, *LEFT, 3, 0.8)], True)
    result = evaluate_boxes(table([("v", 902, *LEFT, 3)]), found, LABELS)
    assert result.format_table().splitlines() == [
        "'PascalBoxes_PerformanceByCategory/AP@0.5IOU/run': no ground truth",
        "'PascalBoxes_PerformanceByCategory/AP@0.5IOU/stand': no ground truth",
        "'PascalBoxes_PerformanceByCategory/AP@0.5IOU/walk': 0.5",
        "'PascalBoxes_Precision/mAP@0.5IOU': 0.5",
    ]


def test_several_thresholds_give_what_each_gives_alone():
    truth = [(902, LEFT), (903, LEFT)]
    found = [(902, (0.0, 0.0, 0.4, 0.31), 0.9), (903, (0.0, 0.0, 0.4, 0.25), 0.8)]
    rows = [("v", s, *b, 3) for s, b in truth], [("v", s, *b, 3, score) for s, b, score in found]
    result = evaluate_boxes(table(rows[0]), table(rows[1], True), LABELS, iou_thresholds=[0.5, 0.75, 0.9])
    assert result.average_precision[:, 1].tolist() == [1.0, 0.5, 0.0]
    assert result.metrics()["PascalBoxes_Precision/mAP@0.75IOU"] == 0.5


# Few values each, so that ties, duplicates, equal overlaps, flat boxes and overlaps of exactly 1/2 are common.
VIDEO, SECOND, CLASS = st.sampled_from("ab"), st.integers(902, 903), st.sampled_from([1, 2, 3, 7])
EDGE = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
SCORE = st.sampled_from([0.1, 0.5, 0.5, 0.9]) | st.floats(0, 1)
DETECTION = st.tuples(VIDEO, SECOND, EDGE, EDGE, EDGE, EDGE, CLASS, SCORE)
TRUTH = st.tuples(VIDEO, SECOND, EDGE, EDGE, EDGE, EDGE, CLASS).filter(
    lambda row: row[2] <= row[4] and row[3] <= row[5]
)
CASE = {
    "truth": st.lists(TRUTH, max_size=12),
    "found": st.lists(DETECTION, max_size=40),
    "excluded": st.sets(st.tuples(VIDEO, SECOND), max_size=2),
    "threshold": st.sampled_from([0.25, 0.5, 0.75, 1.0]),
    "order": st.sampled_from(ORDERS),
}


@given(**CASE)
@settings(max_examples=400)
@example(truth=[], found=[], excluded=set(), threshold=0.5, order="score")
def test_equals_the_definition_in_loops(truth, found, excluded, threshold, order):
    expected = average_precisions(truth, found, list(LABELS), excluded, threshold, order)
    result = evaluate_boxes(
        table(truth), table(found, True), LABELS, excluded=excluded, iou_thresholds=[threshold], order=order
    )
    for value, reference in zip(result.average_precision[0], expected.values(), strict=True):
        assert (reference is None and np.isnan(value)) or value == pytest.approx(reference, abs=1e-12)


@given(**CASE)
@settings(max_examples=50)
def test_result_does_not_depend_on_how_pairs_are_cut(truth, found, excluded, threshold, order):
    options = {"excluded": excluded, "iou_thresholds": [threshold], "order": order}
    whole = evaluate_boxes(table(truth), table(found, True), LABELS, **options).average_precision
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_PAIRS_AT_A_TIME", 3)
        cut = evaluate_boxes(table(truth), table(found, True), LABELS, **options).average_precision
    np.testing.assert_array_equal(whole, cut)


@given(truth=CASE["truth"], found=CASE["found"])
@settings(max_examples=100)
def test_csv_files_give_what_the_arrays_give(tmp_path_factory, truth, found):
    folder = tmp_path_factory.mktemp("csv")
    if not truth or not found:
        return
    write_boxes(folder / "gt.csv", table(truth))
    write_boxes(folder / "det.csv", table(found, True))
    expected = evaluate_boxes(table(truth), table(found, True), LABELS).average_precision
    read = evaluate_boxes(read_ground_truth(folder / "gt.csv"), read_detections(folder / "det.csv"), LABELS)
    np.testing.assert_array_equal(read.average_precision, expected)


def random_scores(seed: int, count: int = 200) -> tuple[BoxTable, np.ndarray, np.ndarray, list[tuple[str, int]]]:
    """Ground truth, and scores (count, 7), boxes and metadata of a network's evaluation. Scores tie now and then."""
    rng = np.random.default_rng(seed)
    pairs = sorted((f"v{rng.integers(3)}", int(rng.integers(902, 925))) for _ in range(count))
    low = rng.uniform(0, 0.5, (count, 2)).round(3)
    boxes = np.concatenate([low, low + 0.3], axis=1).round(3).astype(np.float32)
    truth = [
        (*pair, *np.round(box.astype(float) + rng.normal(0, 0.03, 4), 3), int(class_id))
        for pair, box in zip(pairs, boxes, strict=True)
        for class_id in rng.choice([1, 2, 3, 7], 2, replace=False)
    ]
    return table(truth), rng.random((count, 7)).round(2).astype(np.float32), boxes, pairs


def test_evaluator_equals_the_function_on_its_tables_and_files(tmp_path):
    truth, scores, boxes, pairs = random_scores(0)
    evaluator = AvaEvaluator(truth, LABELS)
    for low in range(0, len(pairs), 16):
        evaluator.process(scores[low : low + 16], boxes[low : low + 16], pairs[low : low + 16])
    result = evaluator.evaluate()
    assert 0.01 < result.map < 0.99
    rows = [
        (*pair, *map(float, map(str, box)), class_id, float(score[class_id - 1]))
        for pair, box, score in zip(pairs, boxes, scores, strict=True)
        for class_id in LABELS
    ]
    direct = evaluate_boxes(truth, table(rows, True), LABELS)
    np.testing.assert_array_equal(result.average_precision, direct.average_precision)

    write_boxes(tmp_path / "gt.csv", evaluator.ground_truth)
    write_boxes(tmp_path / "det.csv", evaluator.detections())
    read = evaluate_boxes(read_ground_truth(tmp_path / "gt.csv"), read_detections(tmp_path / "det.csv"), LABELS)
    np.testing.assert_array_equal(result.average_precision, read.average_precision)


@pytest.mark.parametrize("workers", [2, 3])
def test_merged_evaluators_equal_a_single_one(workers):
    truth, scores, boxes, pairs = random_scores(1)
    single = AvaEvaluator(truth, LABELS)
    single.process(scores, boxes, pairs)
    frames = sorted(set(pairs))
    parts = [AvaEvaluator(truth, LABELS) for _ in range(workers)]
    for rank, part in enumerate(parts):
        mine = [at for at, pair in enumerate(pairs) if frames.index(pair) % workers == rank]
        part.process(scores[mine], boxes[mine], [pairs[at] for at in mine])
    merged = AvaEvaluator(truth, LABELS)
    for part in reversed(parts):
        merged.merge(part.state())
    np.testing.assert_array_equal(merged.evaluate().average_precision, single.evaluate().average_precision)


def test_metadata_may_give_videos_by_index():
    truth = table([("a", 902, *LEFT, 3), ("b", 904, *RIGHT, 3)])
    evaluator = AvaEvaluator(truth, LABELS, videos=["a", "b"])
    scores = np.zeros((2, 7), dtype=np.float32)
    scores[:, 2] = 0.5
    evaluator.process(scores, np.array([LEFT, RIGHT]), np.array([[0.0, 902.0], [1.0, 904.0]], dtype=np.float32))
    assert evaluator.evaluate().average_precision[0, 1] == 1.0


def test_evaluator_counts_only_the_seconds_and_frames_asked_for():
    truth = table([("a", 902, *LEFT, 3), ("a", 904, *LEFT, 3), ("a", 908, *LEFT, 3)])
    evaluator = AvaEvaluator(truth, LABELS, excluded={("a", 908)}, seconds=range(900, 1000, 4))
    scores = np.eye(7, dtype=np.float32)[[2, 2]]
    evaluator.process(scores, np.array([RIGHT, LEFT]), [("a", 902), ("a", 904)])
    assert evaluator.ground_truth.num_rows == 1
    assert evaluator.evaluate().map == 1.0


def test_scores_that_are_not_finite_are_refused():
    evaluator = AvaEvaluator(table([("a", 902, *LEFT, 3)]), LABELS)
    with pytest.raises(UserError, match="video a, second 902 are not finite"):
        evaluator.process(np.full((1, 7), np.nan), np.array([LEFT]), [("a", 902)])


def test_label_map_with_more_classes_than_scores_is_refused():
    evaluator = AvaEvaluator(table([("a", 902, *LEFT, 3)]), LABELS)
    with pytest.raises(UserError, match="class id 7, but the network gives 5 scores"):
        evaluator.process(np.zeros((1, 5)), np.array([LEFT]), [("a", 902)])


def test_metric_does_not_import_mindspore():
    code = "import sys; import src.evaluation.ava_metric, src.evaluation.report; sys.exit('mindspore' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def key(name: str) -> str:
    return f"PascalBoxes_PerformanceByCategory/AP@0.5IOU/{name}"


MEAN = "PascalBoxes_Precision/mAP@0.5IOU"


def test_mmaction2_sample(shared_dir):
    folder = shared_dir / "data/ava_eval/mmaction2_sample"
    tables = read_ground_truth(folder / "gt.csv"), read_detections(folder / "pred.csv")
    assert evaluate_boxes(*tables, read_label_map(folder / "action_list.txt")).map == pytest.approx(
        0.09385522, abs=5e-9
    )


@pytest.fixture(scope="module")
def eight_videos(shared_dir, tmp_path_factory) -> tuple[BoxTable, BoxTable]:
    """Ground truth and 0.7 million detections of the size that AVA has for eight videos."""
    prefix = tmp_path_factory.mktemp("scale") / "s"
    maker = shared_dir / "bench/make_ava_scale.py"
    subprocess.run([sys.executable, maker, prefix, "--videos", "8", "--seed", "0"], check=True)
    return read_ground_truth(f"{prefix}_gt.csv"), read_detections(f"{prefix}_det.csv")


@pytest.mark.parametrize("order", ORDERS)
def test_eight_videos_of_full_size_equal_the_official_evaluator(shared_dir, eight_videos, order):
    labels = read_label_map(shared_dir / "data/ava/ava_action_list_v2.2_for_activitynet_2019.pbtxt")
    expected = json.loads((shared_dir / "parity/evaluator_make_ava_scale_8_videos_seed_0.json").read_text())[order]
    assert evaluate_boxes(*eight_videos, labels, order=order).metrics() == pytest.approx(expected, abs=1e-9)


def tie_values(truth: BoxTable, found: BoxTable, label_map: dict[int, str], index: int, order: str) -> list[float]:
    """Every AP that a class can get by reordering detections of equal score."""
    ranked = Ranking(truth, found, list(label_map), min_iou=0.5).of_class(index)
    true_positives = ranked.true_positives(0.5, order)
    groups = [true_positives[ranked.score == score] for score in -np.unique(-ranked.score)]
    arrangements = [sorted(set(itertools.permutations(group.tolist()))) for group in groups]
    return [
        average_precision_of(np.array(list(itertools.chain(*choice))), ranked.num_ground_truth)
        for choice in itertools.product(*arrangements)
    ]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("name", "tied"),
    [
        ("sal", {"cut (an object)"}),
        ("peixe", {"sprinkle (an object)", "stir (an object)"}),
    ],
)
def test_real_predictions_equal_the_official_evaluator(shared_dir, name, tied, order):
    """Every class is equal but those in which a hit and a false detection have the same score.

    The official evaluator sorts them with NumPy's quicksort, which leaves their order to chance; there the published
    value must be one that an order of the tied detections gives.
    """
    folder = shared_dir / "data/ava_eval" / name
    truth, found = read_ground_truth(folder / "groundtruth.csv"), read_detections(folder / "detections.csv")
    labels = read_label_map(folder / "labelmap.pbtxt")
    expected = json.loads((folder / "expected.json").read_text())[order]
    values = evaluate_boxes(truth, found, labels, order=order).metrics()
    assert values.keys() == expected.keys()
    for index, class_name in enumerate(labels.values()):
        published = expected[key(class_name)]
        if class_name in tied:
            possible = tie_values(truth, found, labels, index, order)
            assert min(abs(value - published) for value in possible) < 1e-9
            assert values[key(class_name)] in possible
            values[key(class_name)] = published
        else:
            assert values[key(class_name)] == (published and pytest.approx(published, abs=1e-9)), class_name
    defined = [values[key(class_name)] for class_name in labels.values() if values[key(class_name)] is not None]
    assert sum(defined) / len(defined) == pytest.approx(expected[MEAN], abs=1e-9)
