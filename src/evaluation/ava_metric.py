"""The AVA metric: mean average precision of labeled boxes on key frames, at IoU 0.5.

The rules are those of the official AVA evaluation (Gu et al., "AVA: A Video Dataset of Spatio-temporally Localized
Atomic Visual Actions", CVPR 2018), which are Pascal VOC's (Everingham et al., IJCV 2010), class by class:

* A detection is a true positive if the ground-truth box of its class and frame that overlaps it best does so with an
  IoU of 0.5 or more, and no detection before it has taken that box. It is a false positive otherwise, also on a frame
  without ground truth.
* "Before" is in descending score, equal scores in file order. PySlowFast goes in file order instead; see `ORDERS`.
* Average precision is the area under the precision-recall curve after each precision is raised to the highest one
  at equal or higher recall. mAP is the mean over the classes that have ground truth.
* Detections without area, excluded frames and classes that the label map lacks do not count.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from src.ava.box_table import BoxTable, kept_frames, select_rows
from src.ava.rows import SECOND_DECIMALS
from src.evaluation.matching import Ranking
from src.utils.errors import UserError
from src.utils.threads import map_in_threads

ORDERS = ("score", "input")
"""The order in which detections take ground truth: by descending score (official), or of the file (PySlowFast)."""

AP_KEY = "PascalBoxes_PerformanceByCategory/AP@{iou}IOU/{name}"
MEAN_KEY = "PascalBoxes_Precision/mAP@{iou}IOU"


@dataclass(frozen=True)
class AvaResult:
    """What the metric gives.

    Attributes:
        class_names: class name by class id, in the order of the label map.
        iou_thresholds: the thresholds, in the order asked for.
        average_precision: (thresholds, classes) float64; NaN for classes without ground truth.
        num_ground_truth: (classes,) int64, ground-truth boxes that count.
        num_detections: (classes,) int64, detections that count.
    """

    class_names: dict[int, str]
    iou_thresholds: tuple[float, ...]
    average_precision: np.ndarray
    num_ground_truth: np.ndarray
    num_detections: np.ndarray

    @property
    def mean_average_precision(self) -> np.ndarray:
        """mAP at each threshold: (thresholds,) float64; NaN if no class has ground truth."""
        return np.array([mean_of_defined(row) for row in self.average_precision])

    @property
    def map(self) -> float:
        """mAP at the first threshold."""
        return float(self.mean_average_precision[0])

    def metrics(self) -> dict[str, float | None]:
        """The values under the keys that AVA evaluators publish; None where there is no ground truth."""
        values = {}
        for iou, row, mean in zip(
            self.iou_thresholds, self.average_precision, self.mean_average_precision, strict=True
        ):
            values[MEAN_KEY.format(iou=iou)] = float(mean)
            for name, value in zip(self.class_names.values(), row, strict=True):
                values[AP_KEY.format(iou=iou, name=name)] = float(value)
        return {key: None if np.isnan(value) else value for key, value in values.items()}

    def format_table(self) -> str:
        """The values as the published logs show them: a line for each class by name, then the mean."""
        values = self.metrics()
        lines = []
        for iou in self.iou_thresholds:
            for name in sorted(self.class_names.values()):
                lines.append(AP_KEY.format(iou=iou, name=name))
            lines.append(MEAN_KEY.format(iou=iou))
        return "\n".join(f"{key!r}: {'no ground truth' if values[key] is None else repr(values[key])}" for key in lines)


def mean_of_defined(values: np.ndarray) -> float:
    """The mean of the values that are not NaN; NaN if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def evaluate_boxes(
    ground_truth: BoxTable,
    detections: BoxTable,
    label_map: Mapping[int, str],
    *,
    excluded: Collection[tuple[str, float]] = (),
    seconds: Collection[float] | None = None,
    iou_thresholds: Sequence[float] = (0.5,),
    order: str = "score",
) -> AvaResult:
    """Compute the AVA metric.

    Args:
        ground_truth: boxes with classes.
        detections: boxes with classes and scores.
        label_map: class name by class id; other classes are left out.
        excluded: frames (video name, second) that do not count.
        seconds: if given, only frames of these seconds count.
        iou_thresholds: the minimum IoU of a true positive, each above 0.
        order: one of `ORDERS`.

    Returns:
        Average precision for each threshold and class.
    """
    if order not in ORDERS:
        raise ValueError(f"order is {order!r}, expected one of {ORDERS}")
    ranking = Ranking(
        ground_truth, detections, list(label_map), excluded=excluded, seconds=seconds, min_iou=min(iou_thresholds)
    )

    def score_class(index: int) -> tuple[list[float], int, int]:
        ranked = ranking.of_class(index)
        found = [ranked.true_positives(iou, order) for iou in iou_thresholds]
        scores = [average_precision_of(true_positives, ranked.num_ground_truth) for true_positives in found]
        return scores, ranked.num_ground_truth, len(ranked.score)

    scored = map_in_threads(score_class, range(len(label_map)))
    columns, num_ground_truth, num_detections = zip(*scored, strict=True)
    average_precision = np.array(columns).T
    return AvaResult(
        dict(label_map), tuple(iou_thresholds), average_precision, np.array(num_ground_truth), np.array(num_detections)
    )


def average_precision_of(true_positives: np.ndarray, num_ground_truth: int) -> float:
    """Average precision with the VOC envelope.

    Args:
        true_positives: (n,) bool, whether each detection is one, in descending score.
        num_ground_truth: boxes to be found.

    Returns:
        The area under the enveloped precision-recall curve; NaN without ground truth.
    """
    if num_ground_truth == 0:
        return float("nan")
    # Recall moves only at a true positive, by 1 / num_ground_truth; precision there is true positives so far / rank.
    rank = np.flatnonzero(true_positives) + 1
    precision = np.arange(1, len(rank) + 1) / rank
    envelope = np.maximum.accumulate(precision[::-1])
    return float(envelope.sum() / num_ground_truth)


class AvaEvaluator:
    """Gathers a network's scores batch by batch and computes the AVA metric of them.

    Evaluators of several processes, each of which saw other frames, are merged with `state` and `merge`; the result
    is that of a single one to the last bit, whichever process saw what.

    Args:
        ground_truth: boxes with classes, as `box_csv.read_ground_truth` gives them.
        label_map: class name by class id; other classes are left out.
        videos: names of the videos, where metadata give a video by its index.
        excluded: frames (video name, second) that do not count.
        seconds: if given, only frames of these seconds count.
        iou_thresholds: see `evaluate_boxes`.
        order: see `evaluate_boxes`.
    """

    def __init__(
        self,
        ground_truth: BoxTable,
        label_map: Mapping[int, str],
        *,
        videos: Sequence[str] = (),
        excluded: Collection[tuple[str, float]] = (),
        seconds: Collection[float] | None = None,
        iou_thresholds: Sequence[float] = (0.5,),
        order: str = "score",
    ):
        self.ground_truth = select_rows(ground_truth, list(label_map), excluded, seconds)
        self._label_map = dict(label_map)
        self._videos = list(videos)
        self._excluded = excluded
        self._seconds = seconds
        self._iou_thresholds = iou_thresholds
        self._order = order
        self._batches: list[dict[str, np.ndarray]] = []

    def reset(self) -> None:
        """Drop what was gathered."""
        self._batches.clear()

    def process(self, scores: np.ndarray, boxes: np.ndarray, metadata: Iterable[tuple[str | int, float]]) -> None:
        """Add a batch.

        Args:
            scores: (n, classes) probabilities, taken as float32; column c belongs to class id c + 1.
            boxes: (n, 4) boxes, x1 y1 x2 y2 in [0, 1]. Seven decimals are kept, which is what float32 resolves.
            metadata: n pairs: name of the video or its index in `videos`, and the second.

        Raises:
            UserError: a score is not finite, or the label map has more classes than there are columns.
        """
        scores = np.asarray(scores, dtype=np.float32)
        boxes = np.asarray(boxes, dtype=np.float64).round(7)
        pairs = [(v if isinstance(v, str) else self._videos[int(v)], float(second)) for v, second in metadata]
        if scores.ndim != 2 or boxes.shape != (len(scores), 4) or len(pairs) != len(scores):
            raise ValueError(
                f"scores {scores.shape}, boxes {boxes.shape} and {len(pairs)} metadata do not fit together"
            )
        if not pairs:
            return
        if max(self._label_map) > scores.shape[1]:
            raise UserError(
                f"the label map has class id {max(self._label_map)}, but the network gives {scores.shape[1]} scores"
            )
        bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
        if len(bad):
            raise UserError("the network's scores of video {}, second {:g} are not finite".format(*pairs[bad[0]]))
        columns = np.array(list(self._label_map)) - 1
        names, seconds = zip(*pairs, strict=True)
        self._batches.append(
            {
                "video": np.array(names),
                "second": np.array(seconds).round(SECOND_DECIMALS),
                "boxes": boxes,
                "scores": scores[:, columns],
            }
        )

    def state(self) -> dict[str, np.ndarray]:
        """What was gathered, as plain arrays, to be given to another evaluator's `merge`."""
        empty = {
            "video": np.empty(0, dtype=np.str_),
            "second": np.empty(0),
            "boxes": np.empty((0, 4)),
            "scores": np.empty((0, len(self._label_map)), dtype=np.float32),
        }
        return {name: np.concatenate([none, *(b[name] for b in self._batches)]) for name, none in empty.items()}

    def merge(self, state: Mapping[str, np.ndarray]) -> None:
        """Add what another evaluator with the same settings gathered on other frames."""
        self._batches.append(dict(state))

    def detections(self) -> BoxTable:
        """The detections that count: by video name, then second, then in the order in which they came."""
        state = self.state()
        names, video = np.unique(state["video"], return_inverse=True)
        order = np.lexsort((state["second"], video))
        names = tuple(names.tolist())
        video = video.astype(np.int32)
        order = order[kept_frames(names, video[order], state["second"][order], self._excluded, self._seconds)]
        ids = np.array(list(self._label_map), dtype=np.int16)
        return BoxTable(
            video_names=names,
            video=video[order],
            second=state["second"][order],
            boxes_norm=state["boxes"][order],
            row_box=np.repeat(np.arange(len(order), dtype=np.int32), len(ids)),
            row_class=np.tile(ids, len(order)),
            row_score=state["scores"][order].ravel(),
        )

    def evaluate(self, detections: BoxTable | None = None) -> AvaResult:
        """Compute the metric of everything gathered so far, or of detections that were made of it."""
        return evaluate_boxes(
            self.ground_truth,
            self.detections() if detections is None else detections,
            self._label_map,
            iou_thresholds=self._iou_thresholds,
            order=self._order,
        )
