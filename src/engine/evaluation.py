"""Scoring a network on a split of the dataset."""

import io
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn

from src.ava.box_csv import read_detections, write_boxes
from src.ava.box_table import BoxTable
from src.ava.label_map import write_label_map
from src.datasets.views import views
from src.evaluation.ava_metric import AvaEvaluator, AvaResult
from src.evaluation.person_score import times_person_scores
from src.utils.distributed import ProcessGroup
from src.utils.logging import get_logger, log_json_stats, progress
from src.utils.outputs import OutputFiles


def evaluate(
    network: nn.Cell | Sequence[nn.Cell],
    loader: Iterable[dict[str, np.ndarray]],
    evaluator: AvaEvaluator,
    group: ProcessGroup | None = None,
    description: str = "evaluate",
    mirrored: bool = False,
) -> AvaResult | None:
    """Score every box of a loader's batches and compute the metric.

    Args:
        network: a `SlowFast` that gives probabilities; several of them: their probabilities are averaged.
        loader: batches of this process's share of the key frames, as `build_test_loader` gives them; it has a length.
        evaluator: takes the scores; what it holds already is dropped. Afterwards that of rank 0 holds all detections.
        group: the processes that share the key frames.
        description: what a progress bar says.
        mirrored: average over clips and their mirror images. Over several sizes is averaged where batches hold them.

    Returns:
        The result, on the process of rank 0; None on others.
    """
    group = group or ProcessGroup()
    evaluator.reset()
    networks = [network] if isinstance(network, nn.Cell) else list(network)
    for each in networks:
        each.set_train(False)
    for batch in progress(loader, len(loader), description):
        scores = _mean_scores(networks, batch, mirrored)
        real = batch["mask"] > 0
        keys = np.broadcast_to(batch["key"][:, None], (*real.shape, 2))
        evaluator.process(scores[real], batch["boxes_norm"][real], keys[real])
    _merge(evaluator, group)
    if not group.is_main:
        return None
    start = time.monotonic()
    result = evaluator.evaluate()
    get_logger().debug("AVA eval done in %.2f seconds.", time.monotonic() - start)
    return result


def _mean_scores(networks: Sequence[nn.Cell], batch: Mapping[str, np.ndarray], mirrored: bool) -> np.ndarray:
    """Return what all networks give for all views of a batch, on the average: float32 (batch, boxes, classes)."""
    scores = []
    for arrays in views(batch, mirrored):
        view = [ms.Tensor(array) for array in arrays]
        scores += [network(*view).asnumpy() for network in networks]
    return scores[0] if len(scores) == 1 else np.mean(scores, axis=0, dtype=np.float64).astype(np.float32)


def result_files(mode: str, *, person: bool = False) -> tuple[str, ...]:
    """Return the names of the files of results: detections, their classes and ground truth.

    Args:
        mode: `val` or `test`.
        person: whether there are detections whose scores are times the person's.
    """
    names = (f"detections_{mode}.csv", f"detections_{mode}.pbtxt", f"groundtruth_{mode}.csv")
    return (*names, f"detections_{mode}_person.csv", f"detections_{mode}_person.pbtxt") if person else names


def write_result(
    outputs: OutputFiles, mode: str, evaluator: AvaEvaluator, result: AvaResult, table_level: int = logging.DEBUG
) -> None:
    """Write `result_files(mode)`, tables in AVA's columns and the names of the classes as a label map; log the metric.

    Args:
        outputs: of the run's folder.
        mode: `val` or `test`.
        evaluator: holds the detections.
        result: its result.
        table_level: level at which the table of classes is logged.

    Raises:
        UserError: such files are there that are not this program's.
    """
    _write_detections(outputs, f"detections_{mode}", evaluator.detections(), result)
    with outputs.replacing(f"groundtruth_{mode}.csv") as path:
        write_boxes(path, evaluator.ground_truth)
    get_logger().log(table_level, result.format_table())
    log_json_stats(map=result.map, mode=mode)


def write_person_result(
    outputs: OutputFiles, mode: str, evaluator: AvaEvaluator, plain: AvaResult, person_lists: Sequence[Path]
) -> None:
    """Write detections_MODE_person.csv (and .pbtxt), scores times those of the persons' boxes, and log both mAP.

    Args:
        outputs: of the run's folder.
        mode: `val` or `test`.
        evaluator: holds the detections.
        plain: its result.
        person_lists: the files of detected persons that the boxes are from.
    """
    detections = times_person_scores(evaluator.detections(), [read_detections(path) for path in person_lists])
    _write_detections(outputs, f"detections_{mode}_person", detections, plain)
    result = evaluator.evaluate(detections)
    get_logger().info("mAP %.6f with scores times the person's, %.6f without", result.map, plain.map)
    log_json_stats(map_person=result.map, mode=mode)


def _write_detections(outputs: OutputFiles, stem: str, detections: BoxTable, result: AvaResult) -> None:
    with outputs.replacing(f"{stem}.csv") as path:
        write_boxes(path, detections)
    with outputs.replacing(f"{stem}.pbtxt") as path:
        write_label_map(path, result.class_names)


def _merge(evaluator: AvaEvaluator, group: ProcessGroup) -> None:
    """Give what every process gathered to the evaluator of rank 0."""
    packed = io.BytesIO()
    np.savez(packed, **evaluator.state())
    for rank, state in enumerate(group.gather(packed.getvalue())):
        if group.is_main and rank != group.rank:
            with np.load(io.BytesIO(state)) as arrays:
                evaluator.merge(dict(arrays))
