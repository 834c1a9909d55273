"""Whether one set of detections is better than another beyond the chance that chose the videos: a paired bootstrap.

Videos are drawn with replacement, as many as there are (Efron and Tibshirani, "An Introduction to the Bootstrap",
1993); both sets are scored on the same draws, and the middle 95 % of the differences are the interval (percentile
method). Frames of a video resemble each other, so they are drawn together.

Each draw is scored exactly, without going through the detections again. A video that is drawn w times counts as w
videos with the same boxes. Nothing is matched across videos, so which detections are true positives does not depend
on the draw; only how often each counts does. Precision is needed at the true positives alone, and there it is the
weight of the true positives so far over the weight of all detections so far. The latter is a product of two tables:
how many detections of each video stand so high, and how often each video was drawn. Copies of a detection follow each
other in the ranking, and precision does not fall from one copy of a true positive to the next, so that all of them
get the precision of the last.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from src.ava.box_table import BoxTable
from src.evaluation.ava_metric import average_precision_of, mean_of_defined
from src.evaluation.matching import RankedDetections, Ranking
from src.utils.errors import UserError
from src.utils.threads import map_in_threads

LEVEL = 0.95
# True positives of which tables are made at a time: a few MB, for a thousand draws.
_TRUE_POSITIVES_AT_A_TIME = 256


@dataclass(frozen=True)
class Difference:
    """Two values, the second's gain over the first, and between which values it lies by the bootstrap.

    Attributes:
        first: value of the first set; NaN where it is not defined.
        second: value of the second set.
        low: lower end of the interval of `second - first`; NaN where too few videos hold ground truth.
        high: upper end.
    """

    first: float
    second: float
    low: float
    high: float

    @property
    def gain(self) -> float:
        return self.second - self.first

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the interval leaves out zero; False where there is none."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Comparison:
    """What the comparison gives.

    Attributes:
        map: of the mean average precision.
        classes: of the average precision, by class name in the order of the label map.
        num_ground_truth: ground-truth boxes by class name.
        num_truth_videos: videos that hold them, by class name.
        num_videos: videos that were drawn from.
        resamples: draws.
        seed: of the draws.
        iou_threshold: the minimum IoU of a true positive.
    """

    map: Difference
    classes: dict[str, Difference]
    num_ground_truth: dict[str, int]
    num_truth_videos: dict[str, int]
    num_videos: int
    resamples: int
    seed: int
    iou_threshold: float


def compare(
    ground_truth: BoxTable,
    first: BoxTable,
    second: BoxTable,
    label_map: Mapping[int, str],
    *,
    excluded: Collection[tuple[str, float]] = (),
    iou_threshold: float = 0.5,
    order: str = "score",
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two sets of detections of the same videos.

    Args:
        ground_truth: boxes with classes.
        first: boxes with classes and scores.
        second: boxes with classes and scores.
        label_map: class name by class id; other classes are left out.
        excluded: frames (video name, second) that do not count.
        iou_threshold: a detection must overlap its ground truth at least so much, above 0.
        order: one of `ava_metric.ORDERS`.
        resamples: draws of videos.
        seed: another one draws otherwise.

    Raises:
        UserError: there are fewer than two videos to draw from.
    """
    ids = list(label_map)
    rankings = [
        Ranking(ground_truth, detections, ids, excluded=excluded, min_iou=iou_threshold)
        for detections in (first, second)
    ]
    videos = _Videos(rankings, len(ids))
    if videos.count < 2:
        raise UserError(
            f"the files hold {videos.count} video{'s' * (videos.count != 1)} that count, and a bootstrap over videos "
            "needs at least 2"
        )
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(videos.count, np.full(videos.count, 1 / videos.count), resamples).astype(np.float64)

    def score_class(index: int) -> tuple[list[float], list[np.ndarray], np.ndarray]:
        truth = videos.truth_counts(index)
        values, samples = [], []
        for ranking, video in zip(rankings, videos.of_detections, strict=True):
            ranked = ranking.of_class(index)
            true_positives = ranked.true_positives(iou_threshold, order)
            values.append(average_precision_of(true_positives, ranked.num_ground_truth))
            samples.append(_resampled(ranked, true_positives, video, truth, drawn))
        return values, samples, truth

    results = map_in_threads(score_class, range(len(ids)))
    values = np.array([values for values, _, _ in results])  # (classes, 2)
    samples = np.array([samples for _, samples, _ in results])  # (classes, 2, resamples)
    truths = [truth for _, _, truth in results]
    names = list(label_map.values())
    return Comparison(
        map=_difference(*(mean_of_defined(column) for column in values.T), _gain_of_means(samples)),
        classes={
            name: _difference(*values[at], samples[at, 1] - samples[at, 0], np.count_nonzero(truths[at]) > 1)
            for at, name in enumerate(names)
        },
        num_ground_truth={name: int(truth.sum()) for name, truth in zip(names, truths, strict=True)},
        num_truth_videos={name: int(np.count_nonzero(truth)) for name, truth in zip(names, truths, strict=True)},
        num_videos=videos.count,
        resamples=resamples,
        seed=seed,
        iou_threshold=iou_threshold,
    )


class _Videos:
    """The videos that have a row that counts, numbered in all tables alike: by name.

    Attributes:
        count: how many there are.
        of_detections: for each table of detections (boxes,) int64, the video of each box, -1 for those without rows
            that count.
    """

    def __init__(self, rankings: list[Ranking], num_classes: int):
        tables = [rankings[0].ground_truth, *(ranking.detections for ranking in rankings)]
        classes = [rankings[0].truth_class, *(ranking.detection_class for ranking in rankings)]
        boxes = [np.unique(table.row_box[index < num_classes]) for table, index in zip(tables, classes, strict=True)]
        counting = [np.unique(table.video[box]).tolist() for table, box in zip(tables, boxes, strict=True)]
        names = {table.video_names[v] for table, videos in zip(tables, counting, strict=True) for v in videos}
        number = {name: index for index, name in enumerate(sorted(names))}
        self.count = len(number)
        of_boxes = [np.array([number.get(name, -1) for name in t.video_names], np.int64)[t.video] for t in tables]
        self.of_detections = of_boxes[1:]
        self._truth_class = classes[0]
        self._truth_video = of_boxes[0][tables[0].row_box]

    def truth_counts(self, index: int) -> np.ndarray:
        """Return the ground-truth boxes of a class in each video: (videos,) int64."""
        return np.bincount(self._truth_video[self._truth_class == index], minlength=self.count)


def _resampled(
    ranked: RankedDetections, true_positives: np.ndarray, box_video: np.ndarray, truth: np.ndarray, drawn: np.ndarray
) -> np.ndarray:
    """Return the average precision of a class in each draw.

    Args:
        ranked: the detections of the class.
        true_positives: (n,) bool, whether each is a true positive.
        box_video: (boxes,) the video of each box of the table of detections.
        truth: (videos,) ground-truth boxes of the class.
        drawn: (resamples, videos) float64, how often each video was drawn.

    Returns:
        (resamples,) float64; NaN where no video with ground truth was drawn.
    """
    at = np.flatnonzero(true_positives)
    video = box_video[ranked.box[: at[-1] + 1 if len(at) else 0]]
    area, best = np.zeros(len(drawn)), np.zeros(len(drawn))
    # From the last to the first, because precision is raised to the highest at equal or higher recall.
    for low in reversed(range(0, len(at), _TRUE_POSITIVES_AT_A_TIME)):
        ends, first = at[low : low + _TRUE_POSITIVES_AT_A_TIME], at[low - 1] + 1 if low else 0
        true = drawn[:, video[ends]]
        true_so_far = np.cumsum(true, axis=1) + _weight(video[at[:low]], drawn)
        found_so_far = _weight_up_to(video[first : ends[-1] + 1], ends - first, drawn) + _weight(video[:first], drawn)
        # Where nothing was drawn so far, no true positive was drawn either.
        precision = true_so_far / np.maximum(found_so_far, 1)
        np.maximum(precision[:, -1], best, out=precision[:, -1])
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        best = envelope[:, 0]
        area += np.einsum("ij,ij->i", true, envelope)
    total = drawn @ truth
    return np.divide(area, total, out=np.full(len(total), np.nan), where=total > 0)


def _weight(video: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Sum how often the video of each detection was drawn: (resamples, 1)."""
    return (drawn @ np.bincount(video, minlength=drawn.shape[1]))[:, None]


def _weight_up_to(video: np.ndarray, at: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Sum how often the video of each detection was drawn, from the first to each of `at`.

    Args:
        video: (n,) the video of each detection, in the order of the ranking.
        at: (true_positives,) rising positions, the last of them n - 1.
        drawn: (resamples, videos).

    Returns:
        (resamples, true_positives) float64.
    """
    some, row = np.unique(video, return_inverse=True)
    cell = row * len(at) + np.searchsorted(at, np.arange(len(video)))
    counts = np.bincount(cell, minlength=len(some) * len(at)).reshape(len(some), len(at))
    return drawn[:, some] @ np.cumsum(counts, axis=1, dtype=np.float64)


def _gain_of_means(samples: np.ndarray) -> np.ndarray:
    """Return the difference of mAP in each draw: (resamples,); NaN where no class has ground truth.

    Args:
        samples: (classes, 2, resamples) average precisions; NaN at the same places for both sets.
    """
    defined = ~np.isnan(samples[:, 0])
    gain = np.where(defined, samples[:, 1] - samples[:, 0], 0).sum(axis=0)
    count = defined.sum(axis=0)
    return np.divide(gain, count, out=np.full(len(count), np.nan), where=count > 0)


def _difference(first: float, second: float, gains: np.ndarray, is_sampled: bool = True) -> Difference:
    """Return two values with the interval of their differences, if there is one."""
    gains = gains[~np.isnan(gains)]
    if not (is_sampled and len(gains)):
        return Difference(float(first), float(second), float("nan"), float("nan"))
    low, high = np.quantile(gains, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(float(first), float(second), float(low), float(high))
