"""Detections of each class in descending score, and the ground truth that each overlaps best."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from src.ava.box_table import BoxTable, class_index, frame_keys, in_frames, kept_boxes

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
            first of equals); -1 where none reaches the minimum IoU.
        best_iou: (n,) that IoU, 0 where none.
        num_ground_truth: ground-truth boxes of the class.
        num_missed: those among them that no detection of the class overlaps by the minimum IoU.
    """

    score: np.ndarray
    row: np.ndarray
    box: np.ndarray
    best: np.ndarray
    best_iou: np.ndarray
    num_ground_truth: int
    num_missed: int

    def true_positives(self, iou_threshold: float, order: str = "score") -> np.ndarray:
        """Which detections are true positives: (n,) bool. Each takes the box that it overlaps best if that is free."""
        near = np.flatnonzero(self.best_iou >= iou_threshold)
        if order == "input":
            near = near[np.argsort(self.row[near], kind="stable")]
        _, first = np.unique(self.best[near], return_index=True)
        true_positives = np.zeros(len(self.score), dtype=bool)
        true_positives[near[first]] = True
        return true_positives


class Ranking:
    """Ranks detections class by class; what all classes share is computed once, here.

    Where the ground truth lists frames without boxes, as AVA-Kinetics does, it lists all frames that were annotated:
    detections on others do not count.

    Args:
        ground_truth: boxes with classes.
        detections: boxes with classes and scores.
        ids: the class ids that count.
        excluded: frames (video name, second) that do not count.
        seconds: if given, only frames of these seconds count.
        min_iou: overlaps below this are not looked at; above 0.
    """

    def __init__(
        self,
        ground_truth: BoxTable,
        detections: BoxTable,
        ids: Sequence[int],
        *,
        excluded: Collection[tuple[str, float]] = (),
        seconds: Collection[float] | None = None,
        min_iou: float,
    ):
        self.ground_truth = ground_truth
        self.detections = detections
        self.truth_class = class_index(ground_truth, kept_boxes(ground_truth, excluded, seconds), ids)
        with_area = (detections.boxes_norm[:, 2:] > detections.boxes_norm[:, :2]).all(axis=1)
        truth_keys, found_keys = frame_keys(ground_truth, detections)
        found_kept = kept_boxes(detections, excluded, seconds) & with_area
        if ground_truth.empty_frames:
            found_kept &= np.isin(found_keys, truth_keys) | in_frames(detections, ground_truth.empty_frames)
        self.detection_class = class_index(detections, found_kept, ids)

        self._num_ground_truth = np.bincount(self.truth_class, minlength=len(ids) + 1)
        self._by_class = np.argsort(self.detection_class, kind="stable").astype(np.int32)
        self._class_edges = _edges(self.detection_class, len(ids))

        #: (boxes,) the highest IoU of each detected box with any ground truth of its frame; 0 below `min_iou`.
        self.iou_of_any_class = np.zeros(len(detections.boxes_norm))
        self._pairs = self._overlaps(found_kept, truth_keys, found_keys, min_iou)
        self._pair_edges = _edges(self.truth_class[self._pairs[1]], len(ids))

    def of_class(self, index: int) -> RankedDetections:
        """The detections of the class at this position in `ids`. May be called from several threads."""
        row = self._by_class[self._class_edges[index] : self._class_edges[index + 1]]
        score, box = self.detections.row_score[row], self.detections.row_box[row]
        found, truth, iou = (part[self._pair_edges[index] : self._pair_edges[index + 1]] for part in self._pairs)
        # The rows are in file order here and so are their boxes: a box is found by bisection.
        first, last = np.searchsorted(box, found, side="left"), np.searchsorted(box, found, side="right")
        num_reached = len(np.unique(truth[first < last]))
        is_best = np.ones(len(found), dtype=bool)
        is_best[1:] = found[1:] != found[:-1]
        which, at = expand(first[is_best], (last - first)[is_best])
        best = np.full(len(row), -1, dtype=np.int32)
        best_iou = np.zeros(len(row))
        best[at], best_iou[at] = truth[is_best][which], iou[is_best][which]
        order = np.argsort(-score, kind="stable")
        return RankedDetections(
            score=score[order],
            row=row[order],
            box=box[order],
            best=best[order],
            best_iou=best_iou[order],
            num_ground_truth=int(self._num_ground_truth[index]),
            num_missed=int(self._num_ground_truth[index]) - num_reached,
        )

    def _overlaps(
        self, found_kept: np.ndarray, truth_keys: np.ndarray, found_keys: np.ndarray, min_iou: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All pairs of a detected box and a ground-truth row on its frame that overlap enough: box, row, IoU.

        They are sorted by class, box, falling IoU and ground-truth row, so that a box's best comes first.
        """
        truth_rows = np.flatnonzero(self.truth_class < len(self._num_ground_truth) - 1)
        row_edges = _edges(self.ground_truth.row_box[truth_rows], len(truth_keys))
        by_frame = np.argsort(truth_keys, kind="stable")
        found = np.flatnonzero(found_kept)
        first = np.searchsorted(truth_keys[by_frame], found_keys[found], side="left")
        count = np.searchsorted(truth_keys[by_frame], found_keys[found], side="right") - first
        parts = []
        for some in pieces(count):
            which, at = expand(first[some], count[some])
            box, truth_box = found[some][which], by_frame[at]
            iou = paired_iou(self.detections.boxes_norm[box], self.ground_truth.boxes_norm[truth_box])
            near = iou >= min_iou
            box, truth_box, iou = box[near], truth_box[near], iou[near]
            np.maximum.at(self.iou_of_any_class, box, iou)
            which, at = expand(row_edges[truth_box], row_edges[truth_box + 1] - row_edges[truth_box])
            parts.append((box[which], truth_rows[at], iou[which]))
        box, truth, iou = (np.concatenate([part[at] for part in parts]) for at in range(3))
        order = np.lexsort((truth, -iou, box, self.truth_class[truth]))
        return box[order], truth[order], iou[order]


def _edges(values: np.ndarray, count: int) -> np.ndarray:
    """Where each of 0 ... count - 1 begins in `values` once sorted, and where the last ends: (count + 1,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(values, minlength=count)[:count])])


def expand(first: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """List the ranges first[i] ... first[i] + count[i] - 1 one after the other: i, and the number, of each entry."""
    which = np.repeat(np.arange(len(count)), count)
    return which, np.arange(len(which)) + (first - (np.cumsum(count) - count))[which]


def pieces(count: np.ndarray) -> list[slice]:
    """Cut a list into slices whose counts sum to about `_PAIRS_AT_A_TIME`; at least one slice."""
    total = np.cumsum(count)
    marks = np.arange(_PAIRS_AT_A_TIME, total[-1] if len(total) else 0, _PAIRS_AT_A_TIME)
    edges = np.unique(np.concatenate([[0], np.searchsorted(total, marks), [len(count)]]))
    return [slice(low, high) for low, high in pairwise(edges)] or [slice(0, 0)]


def paired_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of boxes (n, 4) with boxes (n, 4), row by row; the first has area."""
    a, b = a.T, b.T
    width = np.maximum(0, np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]))
    height = np.maximum(0, np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]))
    overlap = width * height
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)
