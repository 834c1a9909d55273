"""Scoring a network on a split of the data set."""

import io
import time
from pathlib import Path

import mindspore as ms
import numpy as np
from fvcore.common.config import CfgNode
from mindspore import nn

from src.ava.box_csv import write_boxes
from src.datasets.ava_dataset import AvaDataset
from src.datasets.build import build_test_loader
from src.evaluation.ava_metric import AvaEvaluator, AvaResult
from src.evaluation.build import build_evaluator
from src.utils.distributed import ProcessGroup
from src.utils.logging import get_logger, log_json_stats, progress


def evaluate(
    cfg: CfgNode, network: nn.Cell, dataset: AvaDataset, mode: str, output: Path, group: ProcessGroup | None = None
) -> AvaResult | None:
    """Score every box of a test split and compute the AVA metric.

    Writes detections_MODE.csv and groundtruth_MODE.csv in AVA's columns below `output`, and logs the table.

    Args:
        cfg: the configuration.
        network: a `SlowFast` that gives probabilities.
        dataset: the split `val` or `test`.
        mode: `val` or `test`, for the names of files and in the log.
        output: a folder.
        group: the processes that share the key frames.

    Returns:
        The result, on the process of rank 0; None on others.
    """
    group = group or ProcessGroup()
    evaluator = build_evaluator(cfg, dataset.frames.names, dataset.second_stride)
    loader = build_test_loader(dataset, group.rank, group.size)
    network.set_train(False)
    for batch in progress(loader, len(loader), f"evaluate {mode}"):
        scores = network(*(ms.Tensor(batch[name]) for name in ("slow", "fast", "boxes"))).asnumpy()
        real = batch["mask"] > 0
        keys = np.broadcast_to(batch["key"][:, None], (*real.shape, 2))
        evaluator.process(scores[real], batch["boxes_norm"][real], keys[real])
    _merge(evaluator, group)
    if not group.is_main:
        return None
    write_boxes(output / f"detections_{mode}.csv", evaluator.detections())
    write_boxes(output / f"groundtruth_{mode}.csv", evaluator.ground_truth)
    start = time.monotonic()
    result = evaluator.evaluate()
    logger = get_logger()
    logger.info(result.format_table())
    logger.info("AVA eval done in %.2f seconds.", time.monotonic() - start)
    log_json_stats(map=result.map, mode=mode)
    return result


def _merge(evaluator: AvaEvaluator, group: ProcessGroup) -> None:
    """Give what every process gathered to the evaluator of rank 0."""
    packed = io.BytesIO()
    np.savez(packed, **evaluator.state())
    for rank, state in enumerate(group.gather(packed.getvalue())):
        if group.is_main and rank != group.rank:
            with np.load(io.BytesIO(state)) as arrays:
                evaluator.merge(dict(arrays))
