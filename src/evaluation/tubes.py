"""Video-mAP: mean average precision of tubes, beside frame-mAP, that of their boxes.

A tube is a box in each of some consecutive frames of a video, with a class and, if it was detected, a score. Two tubes
overlap by the mean IoU of their boxes over the frames that both have, times the overlap of their spans of time. What is
done with that differs between the two evaluations that published figures come from:

* `ucf101-24`: boxes in pixels are x2 - x1 + 1 wide, spans last - first + 1 frames long. A detection takes the best
  ground truth of its class and video that is still free. The area below the precision-recall curve is summed by
  trapezoids, from precision 1 at recall 0.
* `multisports`: boxes are x2 - x1 wide, spans last - first long. A detection takes the best ground truth, if that is
  still free. Precision is raised to the highest at equal or higher recall (Pascal VOC).

`ucf101-24` is the evaluation of ACT (Kalogeiton et al., "Action Tubelet Detector for Spatio-Temporal Action
Localization", ICCV 2017; `ACT.py`), which work on UCF101-24 and JHMDB uses since; `multisports` that of MultiSports
(Li et al., ICCV 2021; `evaluate_multisports.py`), by which a tube of one frame has no length and is never found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from src.evaluation.ava_metric import average_precision_of
from src.evaluation.matching import expand, pieces

PROTOCOLS = ("ucf101-24", "multisports")


@dataclass(frozen=True)
class TubeTable:
    """Tubes without gaps, as arrays.

    Attributes:
        video: (tubes,) int64, which video.
        label: (tubes,) int64, which class, from 0.
        first: (tubes,) int64, first frame.
        start: (tubes + 1,) int64, where the boxes of each tube begin in `boxes`, and where the last end.
        boxes: (boxes, 4) float64, x1 y1 x2 y2, one for each frame from the first on.
        score: (tubes,) float64; empty in ground truth.
        box_score: (boxes,) float64; empty in ground truth.
    """

    video: np.ndarray
    label: np.ndarray
    first: np.ndarray
    start: np.ndarray
    boxes: np.ndarray
    score: np.ndarray
    box_score: np.ndarray

    @property
    def length(self) -> np.ndarray:
        """How many frames each tube has: (tubes,) int64."""
        return np.diff(self.start)


def video_average_precision(
    truth: TubeTable, found: TubeTable, num_classes: int, iou_thresholds: Sequence[float], protocol: str, pixel: float
) -> np.ndarray:
    """Return the average precision of tubes.

    Args:
        truth: ground truth.
        found: detections.
        num_classes: how many classes there are.
        iou_thresholds: minimum overlaps, each above 0.
        protocol: one of `PROTOCOLS`.
        pixel: the side of a pixel in the unit of the boxes; 0: not known, and nothing is added to widths and heights.

    Returns:
        (thresholds, classes) float64; NaN for classes without ground truth.
    """
    of_truth, of_found = _equal_pairs(*(table.video * num_classes + table.label for table in (truth, found)))
    iou = tube_iou(truth, found, of_truth, of_found, protocol, pixel)
    pairs = of_truth, of_found, iou
    return _average_precision(truth.label, found.label, found.score, pairs, num_classes, iou_thresholds, protocol)


def frame_average_precision(
    truth: TubeTable, found: TubeTable, num_classes: int, iou_thresholds: Sequence[float], protocol: str, pixel: float
) -> np.ndarray:
    """Return the average precision of the boxes of tubes; see `video_average_precision`."""
    frames = 1 + max(int((table.first + table.length).max(initial=0)) for table in (truth, found))
    labels, keys = [], []
    for table in (truth, found):
        tube, frame = expand(table.first, table.length)
        labels.append(table.label[tube])
        keys.append((table.video[tube] * num_classes + table.label[tube]) * frames + frame)
    of_truth, of_found = _equal_pairs(*keys)
    iou = _box_iou(truth.boxes[of_truth], found.boxes[of_found], protocol, pixel)
    pairs = of_truth, of_found, iou
    return _average_precision(*labels, found.box_score, pairs, num_classes, iou_thresholds, protocol)


def tube_iou(
    truth: TubeTable, found: TubeTable, of_truth: np.ndarray, of_found: np.ndarray, protocol: str, pixel: float
) -> np.ndarray:
    """Return the overlap of pairs of tubes of the same video.

    Args:
        truth: one table.
        found: the other.
        of_truth: (pairs,) which tube of the one.
        of_found: (pairs,) which tube of the other.
        protocol: one of `PROTOCOLS`.
        pixel: see `video_average_precision`.

    Returns:
        (pairs,) float64.
    """
    firsts = truth.first[of_truth], found.first[of_found]
    lasts = firsts[0] + truth.length[of_truth] - 1, firsts[1] + found.length[of_found] - 1
    low, high = np.maximum(*firsts), np.minimum(*lasts)
    added = 1 if protocol == "ucf101-24" else 0
    common, union = high - low + added, np.maximum(*lasts) - np.minimum(*firsts) + added
    result = np.zeros(len(low))
    meets = np.flatnonzero((high >= low) & (common > 0))
    count = (high - low + 1)[meets]
    at_truth = (truth.start[of_truth] + low - firsts[0])[meets]
    at_found = (found.start[of_found] + low - firsts[1])[meets]
    for some in pieces(count):
        _, row = expand(at_truth[some], count[some])
        _, other = expand(at_found[some], count[some])
        iou = _box_iou(truth.boxes[row], found.boxes[other], protocol, pixel)
        ends = np.cumsum(count[some])
        if len(ends):
            result[meets[some]] = np.add.reduceat(iou, ends - count[some]) / count[some]
    result[meets] *= common[meets] / union[meets]
    return result


def _box_iou(a: np.ndarray, b: np.ndarray, protocol: str, pixel: float) -> np.ndarray:
    """IoU of boxes (n, 4) with boxes (n, 4), row by row; 0 where neither has area."""
    added = pixel if protocol == "ucf101-24" else 0.0
    a, b = a.T, b.T
    width = np.maximum(0, np.minimum(a[2], b[2]) + added - np.maximum(a[0], b[0]))
    height = np.maximum(0, np.minimum(a[3], b[3]) + added - np.maximum(a[1], b[1]))
    overlap = width * height
    areas = [(box[2] - box[0] + added) * (box[3] - box[1] + added) for box in (a, b)]
    union = areas[0] + areas[1] - overlap
    return np.divide(overlap, union, out=np.zeros(len(union)), where=union > 0)


def _equal_pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of entries with equal keys: their positions in `first` and in `second`."""
    by_key = np.argsort(first, kind="stable")
    low = np.searchsorted(first[by_key], second, side="left")
    count = np.searchsorted(first[by_key], second, side="right") - low
    of_second, at = expand(low, count)
    return by_key[at], of_second


def _average_precision(
    truth_label: np.ndarray,
    found_label: np.ndarray,
    score: np.ndarray,
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
    num_classes: int,
    iou_thresholds: Sequence[float],
    protocol: str,
) -> np.ndarray:
    """Match and score class by class; entries are tubes or boxes, pairs those of one class that may overlap."""
    ranking = np.lexsort((-score, found_label))  # by class, then falling score, then as they stand
    rank = np.empty(len(ranking), np.int64)
    rank[ranking] = np.arange(len(ranking))
    edges = np.concatenate([[0], np.cumsum(np.bincount(found_label, minlength=num_classes))])
    wanted = np.bincount(truth_label, minlength=num_classes)
    of_truth, of_found, iou = pairs
    # In the order in which detections look at ground truth, the best first.
    order = np.lexsort((of_truth, -iou, rank[of_found]))
    of_truth, of_rank, iou = of_truth[order], rank[of_found][order], iou[order]
    if protocol == "multisports":
        is_best = np.ones(len(of_rank), bool)
        is_best[1:] = of_rank[1:] != of_rank[:-1]
        of_truth, of_rank, iou = of_truth[is_best], of_rank[is_best], iou[is_best]
    area = trapezoid_precision_of if protocol == "ucf101-24" else average_precision_of
    result = np.empty((len(iou_thresholds), num_classes))
    for row, threshold in zip(result, iou_thresholds, strict=True):
        near = iou >= threshold
        true_positives = _matched(of_rank[near], of_truth[near], len(ranking))
        row[:] = [
            area(true_positives[low:high], total) for (low, high), total in zip(pairwise(edges), wanted, strict=True)
        ]
    return result


def _matched(of_rank: np.ndarray, of_truth: np.ndarray, count: int) -> np.ndarray:
    """Give each detection, in turn, the first ground truth on its list that is free: (count,) bool, who got one."""
    true_positives, taken = np.zeros(count, bool), set()
    for rank, truth in zip(of_rank.tolist(), of_truth.tolist(), strict=True):
        if not true_positives[rank] and truth not in taken:
            true_positives[rank] = True
            taken.add(truth)
    return true_positives


def trapezoid_precision_of(true_positives: np.ndarray, num_ground_truth: int) -> float:
    """Average precision by trapezoids.

    Args:
        true_positives: (n,) bool, whether each detection is a true positive, in descending score.
        num_ground_truth: what is to be found.

    Returns:
        The area under the straight lines between the points of the precision-recall curve, which starts from precision
        1 at recall 0; NaN without ground truth.
    """
    if num_ground_truth == 0:
        return float("nan")
    precision = np.concatenate([[1.0], np.cumsum(true_positives) / np.arange(1, len(true_positives) + 1)])
    return float(((precision[1:] + precision[:-1])[true_positives]).sum() / 2 / num_ground_truth)
