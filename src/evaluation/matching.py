"""Detections of each class in descending score, and the ground truth that each overlaps best."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from src.evaluation.boxes import BoxTable, class_index, frame_keys, kept_boxes

# Pairs of boxes whose overlap is computed at a time: keeps the temporary arrays within tens of MB.
_PAIRS_AT_A_TIME = 1 << 20


@dataclass(frozen=True)
class RankedDetections:
    """The detections of one class in descending score, equal scores in file order, and what each overlaps best.

    Attributes:
        score: (n,) scores.
        row: (n,) row in the table of detections.
        box: (n,) box in the table of detections.
        best: (n,) row in the table of ground truth: of this class and frame, the one with the highest IoU (the
            first of equals); -1 where none reaches the smallest IoU asked for.
        best_iou: (n,) that IoU, 0 where none.
        num_ground_truth: Ground-truth boxes of the class.
    """

    score: np.ndarray
    row: np.ndarray
    box: np.ndarray
    best: np.ndarray
    best_iou: np.ndarray
    num_ground_truth: int

    def true_positives(self, iou_threshold: float, order: str = "score") -> np.ndarray:
        """Which detections are right: (n,) bool. Each takes the box that it overlaps best if that is still free."""
        near = np.flatnonzero(self.best_iou >= iou_threshold)
        if order == "input":
            near = near[np.argsort(self.row[near], kind="stable")]
        _, first = np.unique(self.best[near], return_index=True)
        hits = np.zeros(len(self.score), dtype=bool)
        hits[near[first]] = True
        return hits


def ranked_by_class(
    ground_truth: BoxTable,
    detections: BoxTable,
    label_map: Mapping[int, str],
    *,
    excluded: Collection[tuple[str, int]] = (),
    seconds: Collection[int] | None = None,
    min_iou: float,
) -> Iterator[RankedDetections]:
    """Yield the detections of each class of the label map, with their best overlap of at least `min_iou`."""
    ids = list(label_map)
    truth_keys, found_keys = frame_keys(ground_truth, detections)
    truth_kept = kept_boxes(ground_truth, excluded, seconds)
    size = detections.boxes_norm[:, 2:] - detections.boxes_norm[:, :2]
    found_kept = kept_boxes(detections, excluded, seconds) & (size > 0).all(axis=1)

    truth_class = class_index(ground_truth, truth_kept, ids)
    truth_count = np.bincount(truth_class, minlength=len(ids) + 1)
    overlaps = _best_overlaps(
        ground_truth, truth_keys, truth_class, detections, found_keys, found_kept, len(ids), min_iou
    )

    found_class = class_index(detections, found_kept, ids)
    by_class = np.argsort(found_class, kind="stable").astype(np.int32)
    ends = np.cumsum(np.bincount(found_class, minlength=len(ids) + 1))
    best = np.full(len(detections.boxes_norm), -1, dtype=np.int32)
    best_iou = np.zeros(len(detections.boxes_norm))
    for index in range(len(ids)):
        row = by_class[ends[index - 1] if index else 0 : ends[index]]
        row = row[np.argsort(-detections.row_score[row], kind="stable")]
        box = detections.row_box[row]
        of_class = overlaps.of_class(index)
        best[of_class.box], best_iou[of_class.box] = of_class.truth, of_class.iou
        yield RankedDetections(
            score=detections.row_score[row],
            row=row,
            box=box,
            best=best[box],
            best_iou=best_iou[box],
            num_ground_truth=int(truth_count[index]),
        )
        best[of_class.box], best_iou[of_class.box] = -1, 0


@dataclass(frozen=True)
class _Overlaps:
    """Best ground truth of boxes, by class: parallel arrays sorted by class, and where each class ends."""

    box: np.ndarray
    truth: np.ndarray
    iou: np.ndarray
    ends: np.ndarray

    def of_class(self, index: int) -> "_Overlaps":
        part = slice(self.ends[index - 1] if index else 0, self.ends[index])
        return _Overlaps(self.box[part], self.truth[part], self.iou[part], self.ends)


def _best_overlaps(
    ground_truth: BoxTable,
    truth_keys: np.ndarray,
    truth_class: np.ndarray,
    detections: BoxTable,
    found_keys: np.ndarray,
    found_kept: np.ndarray,
    num_classes: int,
    min_iou: float,
) -> _Overlaps:
    """For each detected box and class, the ground-truth row with the highest IoU, if that is at least `min_iou`."""
    rows = np.flatnonzero(truth_class < num_classes)
    rows = rows[np.argsort(truth_keys[ground_truth.row_box[rows]], kind="stable")]
    keys = truth_keys[ground_truth.row_box[rows]]
    found = np.flatnonzero(found_kept)
    first = np.searchsorted(keys, found_keys[found], side="left")
    count = np.searchsorted(keys, found_keys[found], side="right") - first
    parts = []
    for some in _parts(count):
        box = np.repeat(found[some], count[some])
        offset = np.cumsum(count[some]) - count[some]
        truth = rows[np.arange(len(box)) + np.repeat(first[some] - offset, count[some])]
        iou = _iou(detections.boxes_norm[box], ground_truth.boxes_norm[ground_truth.row_box[truth]])
        near = iou >= min_iou
        parts.append((box[near], truth[near], iou[near]))
    box, truth, iou = (np.concatenate([part[at] for part in parts]) for at in range(3))
    index = truth_class[truth]
    order = np.lexsort((truth, -iou, box, index))
    index, box, truth, iou = index[order], box[order], truth[order], iou[order]
    best = np.ones(len(box), dtype=bool)
    best[1:] = (box[1:] != box[:-1]) | (index[1:] != index[:-1])
    ends = np.cumsum(np.bincount(index[best], minlength=num_classes))
    return _Overlaps(box[best], truth[best], iou[best], ends)


def _parts(count: np.ndarray) -> list[slice]:
    """Cut a list into slices whose counts sum to about `_PAIRS_AT_A_TIME`; at least one slice."""
    total = np.cumsum(count)
    marks = np.arange(_PAIRS_AT_A_TIME, total[-1] if len(total) else 0, _PAIRS_AT_A_TIME)
    edges = np.unique(np.concatenate([[0], np.searchsorted(total, marks), [len(count)]]))
    return [slice(low, high) for low, high in pairwise(edges)] or [slice(0, 0)]


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of boxes (n, 4) with boxes (n, 4), row by row; the first has area."""
    a, b = np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)
    width = np.maximum(0, np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]))
    height = np.maximum(0, np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]))
    overlap = width * height
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)
