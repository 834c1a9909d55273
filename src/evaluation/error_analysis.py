"""What keeps the mean average precision down: TIDE's kinds of errors, and dAP, what fixing each kind alone adds.

Kinds and fixes follow TIDE (Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV
2020), fitted to a task in which every person's box carries a score for every class (see docs/metric.md). Errors are
counted among the n highest scores of a class, n its number of ground-truth boxes, as Hoiem et al. do ("Diagnosing Error
in Object Detectors", ECCV 2012): further down nearly everything is a false positive, and hardly matters.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from src.ava.box_table import BoxTable
from src.evaluation.ava_metric import average_precision_of
from src.evaluation.matching import RankedDetections, Ranking
from src.utils.threads import map_in_threads

BACKGROUND_IOU = 0.1
"""A box that overlaps by less lies on the background (TIDE's background threshold)."""

ERROR_KINDS = {
    "Cls": "Classification: the box is on a person, but this person does not do this. Fixed: removed.",
    "Loc": "Localization: the class is right, but the box overlaps by an IoU of only 0.1 or more. Fixed: the overlap "
    "suffices; it counts if the ground truth is still free and is removed otherwise.",
    "Both": "Classification and localization: the box overlaps a person by an IoU of only 0.1 or more, who does not do "
    "this. Fixed: removed.",
    "Dupe": "Duplicate: the ground truth has been found already, by a higher score. Fixed: removed.",
    "Bkg": "Background: there is nobody (IoU with all ground truth below 0.1). Fixed: removed.",
    "Miss": "Missed: no detection of the class overlaps the ground truth by 0.1. Fixed: it need not be found.",
}


@dataclass(frozen=True)
class ClassAnalysis:
    """One class: its curve, its scores, its errors.

    Attributes:
        average_precision: NaN without ground truth.
        num_ground_truth: boxes to be found.
        score: (n,) scores of the detections that count, descending.
        true_positives: (n,) bool, which of them are.
        count: errors of each kind: of the false positives, those among the `num_ground_truth` highest scores.
        dap: what fixing all errors of each kind alone adds to the average precision; NaN without ground truth.
        bounds: minimum and maximum of the average precision over all orders of tied scores.
    """

    average_precision: float
    num_ground_truth: int
    score: np.ndarray
    true_positives: np.ndarray
    count: dict[str, int]
    dap: dict[str, float]
    bounds: tuple[float, float]


def analyze(
    ground_truth: BoxTable,
    detections: BoxTable,
    label_map: Mapping[int, str],
    *,
    excluded: Collection[tuple[str, float]] = (),
    iou_threshold: float = 0.5,
    order: str = "score",
) -> list[ClassAnalysis]:
    """Analyze every class of the label map, in its order. Arguments are those of `evaluate_boxes`."""
    ranking = Ranking(
        ground_truth, detections, list(label_map), excluded=excluded, min_iou=min(BACKGROUND_IOU, iou_threshold)
    )

    def analyze_class(index: int) -> ClassAnalysis:
        ranked = ranking.of_class(index)
        return _analyze_class(ranked, ranking.iou_of_any_class[ranked.box], iou_threshold, order)

    return map_in_threads(analyze_class, range(len(label_map)))


def _analyze_class(
    ranked: RankedDetections, iou_of_any_class: np.ndarray, threshold: float, order: str
) -> ClassAnalysis:
    true_positives = ranked.true_positives(threshold, order)
    total = ranked.num_ground_truth
    masks = _false_positives(ranked, true_positives, iou_of_any_class, threshold)
    average_precision = average_precision_of(true_positives, total)
    fixed = {kind: average_precision_of(true_positives[~mask], total) for kind, mask in masks.items()}
    fixed["Loc"] = average_precision_of(_with_localization_fixed(ranked, true_positives, masks["Loc"]), total)
    to_find = total - ranked.num_missed
    # With nothing left to miss, nothing is lost.
    fixed["Miss"] = average_precision_of(true_positives, to_find) if to_find or not total else 1.0

    return ClassAnalysis(
        average_precision=average_precision,
        num_ground_truth=total,
        score=ranked.score,
        true_positives=true_positives,
        count={**{kind: int(mask[:total].sum()) for kind, mask in masks.items()}, "Miss": ranked.num_missed},
        dap={kind: fixed[kind] - average_precision for kind in ERROR_KINDS},
        bounds=_bounds(ranked.score, true_positives, total),
    )


def _false_positives(
    ranked: RankedDetections, true_positives: np.ndarray, iou_of_any_class: np.ndarray, threshold: float
) -> dict[str, np.ndarray]:
    """Return which detections are false positives of each kind: (n,) bool, the first kind that fits."""
    conditions = {
        "Dupe": ranked.best_iou >= threshold,
        "Cls": iou_of_any_class >= threshold,
        "Loc": ranked.best_iou >= BACKGROUND_IOU,
        "Both": iou_of_any_class >= BACKGROUND_IOU,
        "Bkg": np.ones(len(true_positives), dtype=bool),
    }
    masks, left = {}, ~true_positives
    for kind, condition in conditions.items():
        masks[kind] = left & condition
        left = left & ~condition
    return masks


def _with_localization_fixed(
    ranked: RankedDetections, true_positives: np.ndarray, localization: np.ndarray
) -> np.ndarray:
    """Return which of the detections that are left are true positives: localization errors count for free ground truth.

    Those whose ground truth is taken are left out.
    """
    free = np.flatnonzero(localization & ~np.isin(ranked.best, ranked.best[true_positives]))
    _, first = np.unique(ranked.best[free], return_index=True)
    fixed = true_positives.copy()
    fixed[free[first]] = True
    return fixed[fixed | ~localization]


def _bounds(score: np.ndarray, true_positives: np.ndarray, total: int) -> tuple[float, float]:
    """Return average precision with the true positives last, and first, among equal scores."""
    low, high = (
        average_precision_of(true_positives[np.lexsort((first, -score))], total)
        for first in (true_positives, ~true_positives)
    )
    return low, high
