"""Scoring a network on a split of the dataset."""

import io
import logging
import time
from collections.abc import Iterable
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn

from src.ava.box_csv import write_boxes
from src.evaluation.ava_metric import AvaEvaluator, AvaResult
from src.utils.distributed import ProcessGroup
from src.utils.logging import get_logger, log_json_stats, progress


def evaluate(
    network: nn.Cell,
    loader: Iterable[dict[str, np.ndarray]],
    evaluator: AvaEvaluator,
    group: ProcessGroup | None = None,
    description: str = "evaluate",
) -> AvaResult | None:
    """Score every box of a loader's batches and compute the metric.

    Args:
        network: a `SlowFast` that gives probabilities.
        loader: batches of this process's share of the key frames, as `build_test_loader` gives them; it has a length.
        evaluator: takes the scores; what it holds already is dropped. Afterwards that of rank 0 holds all detections.
        group: the processes that share the key frames.
        description: what a progress bar says.

    Returns:
        The result, on the process of rank 0; None on others.
    """
    group = group or ProcessGroup()
    evaluator.reset()
    network.set_train(False)
    for batch in progress(loader, len(loader), description):
        scores = network(*(ms.Tensor(batch[name]) for name in ("slow", "fast", "boxes"))).asnumpy()
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


def write_result(
    folder: Path, mode: str, evaluator: AvaEvaluator, result: AvaResult, table_level: int = logging.DEBUG
) -> None:
    """Write detections_MODE.csv and groundtruth_MODE.csv in AVA's columns below a folder, and log the metric.

    Args:
        folder: of the run.
        mode: `val` or `test`.
        evaluator: holds the detections.
        result: its result.
        table_level: level at which the table of classes is logged.
    """
    write_boxes(folder / f"detections_{mode}.csv", evaluator.detections())
    write_boxes(folder / f"groundtruth_{mode}.csv", evaluator.ground_truth)
    get_logger().log(table_level, result.format_table())
    log_json_stats(map=result.map, mode=mode)


def _merge(evaluator: AvaEvaluator, group: ProcessGroup) -> None:
    """Give what every process gathered to the evaluator of rank 0."""
    packed = io.BytesIO()
    np.savez(packed, **evaluator.state())
    for rank, state in enumerate(group.gather(packed.getvalue())):
        if group.is_main and rank != group.rank:
            with np.load(io.BytesIO(state)) as arrays:
                evaluator.merge(dict(arrays))
