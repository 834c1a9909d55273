"""What keeps the mean average precision down: kinds of errors, and what mending each alone would gain.

The kinds and the way to mend them follow TIDE (Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection
Errors", ECCV 2020), fitted to a task in which every person's box carries a score for every class. Errors are counted
among the n highest scores of a class, n its number of ground-truth boxes, as Hoiem et al. do ("Diagnosing Error in
Object Detectors", ECCV 2012): further down nearly everything is false, and hardly matters.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from src.ava.box_table import BoxTable
from src.evaluation.ava_metric import average_precision_of
from src.evaluation.matching import RankedDetections, Ranking
from src.utils.threads import map_in_threads

NEAR_IOU = 0.1
"""A box that overlaps by less is not near (TIDE's background threshold)."""

ERROR_KINDS = {
    "missed": "No detection of the class comes near the box (IoU below 0.1). Mended: the box need not be found.",
    "badly localised": "The class is right, but the box overlaps by an IoU of only 0.1 or more. Mended: the overlap "
    "suffices; it counts if the ground truth is still free and is removed otherwise.",
    "wrong class": "The box is on a person, but this person does not do this. Mended: removed.",
    "background": "There is no person there, or barely. Mended: removed.",
    "duplicate": "The ground truth has been found already, by a higher score. Mended: removed.",
}


@dataclass(frozen=True)
class ClassAnalysis:
    """One class: its curve, its scores, its errors.

    Attributes:
        average_precision: NaN without ground truth.
        num_ground_truth: Boxes to be found.
        score: (n,) scores of the detections that count, descending.
        hits: (n,) bool, which of them are right.
        count: Errors of each kind: of the false ones, those among the `num_ground_truth` highest scores.
        gain: What mending all errors of each kind alone adds to the average precision; NaN without ground truth.
        bounds: The lowest and highest average precision that another order of tied scores could give.
    """

    average_precision: float
    num_ground_truth: int
    score: np.ndarray
    hits: np.ndarray
    count: dict[str, int]
    gain: dict[str, float]
    bounds: tuple[float, float]


def analyse(
    ground_truth: BoxTable,
    detections: BoxTable,
    label_map: Mapping[int, str],
    *,
    excluded: Collection[tuple[str, float]] = (),
    iou_threshold: float = 0.5,
    order: str = "score",
) -> list[ClassAnalysis]:
    """Analyse every class of the label map, in its order. Arguments are those of `evaluate_boxes`."""
    ranking = Ranking(
        ground_truth, detections, list(label_map), excluded=excluded, min_iou=min(NEAR_IOU, iou_threshold)
    )

    def analyse_class(index: int) -> ClassAnalysis:
        ranked = ranking.of_class(index)
        on_person = ranking.iou_of_any_class[ranked.box] >= iou_threshold
        return _analyse_class(ranked, on_person, iou_threshold, order)

    return map_in_threads(analyse_class, range(len(label_map)))


def _analyse_class(ranked: RankedDetections, on_person: np.ndarray, threshold: float, order: str) -> ClassAnalysis:
    hits = ranked.true_positives(threshold, order)
    total = ranked.num_ground_truth
    false = ~hits
    duplicate = false & (ranked.best_iou >= threshold)
    wrong_class = false & ~duplicate & on_person
    localised = false & ~duplicate & ~on_person & (ranked.best_iou >= NEAR_IOU)
    masks = {
        "badly localised": localised,
        "wrong class": wrong_class,
        "background": false & ~duplicate & ~wrong_class & ~localised,
        "duplicate": duplicate,
    }

    average_precision = average_precision_of(hits, total)
    mended = {kind: average_precision_of(hits[~mask], total) for kind, mask in masks.items()}
    mended["badly localised"] = average_precision_of(*_with_localised_mended(ranked, hits, localised))
    to_find = total - ranked.num_missed
    # With nothing left to miss, nothing is lost.
    mended["missed"] = average_precision_of(hits, to_find) if to_find or not total else 1.0

    return ClassAnalysis(
        average_precision=average_precision,
        num_ground_truth=total,
        score=ranked.score,
        hits=hits,
        count={"missed": ranked.num_missed, **{kind: int(mask[:total].sum()) for kind, mask in masks.items()}},
        gain={kind: mended[kind] - average_precision for kind in ERROR_KINDS},
        bounds=_bounds(ranked.score, hits, total),
    )


def _with_localised_mended(ranked: RankedDetections, hits: np.ndarray, localised: np.ndarray) -> tuple[np.ndarray, int]:
    """The detections left when badly localised ones count for free ground truth and else are gone."""
    free = np.flatnonzero(localised & ~np.isin(ranked.best, ranked.best[hits]))
    _, first = np.unique(ranked.best[free], return_index=True)
    mended = hits.copy()
    mended[free[first]] = True
    return mended[mended | ~localised], ranked.num_ground_truth


def _bounds(score: np.ndarray, hits: np.ndarray, total: int) -> tuple[float, float]:
    """Average precision with the hits last, and first, among equal scores."""
    low, high = (average_precision_of(hits[np.lexsort((first, -score))], total) for first in (hits, ~hits))
    return low, high
