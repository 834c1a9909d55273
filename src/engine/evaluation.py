"""Scoring a network on a split of the data set."""

import time
from pathlib import Path

import mindspore as ms
import numpy as np
from fvcore.common.config import CfgNode
from mindspore import nn

from src.datasets.ava_dataset import AvaDataset
from src.datasets.build import build_test_loader
from src.evaluation.ava_csv import read_excluded, read_ground_truth, write_boxes
from src.evaluation.ava_metric import AVAEvaluator, AVAResult
from src.utils.label_map import read_label_map
from src.utils.logging import get_logger, log_json_stats, progress


def build_evaluator(cfg: CfgNode, dataset: AvaDataset) -> AVAEvaluator:
    """Return an evaluator for a test split: the ground truth, classes and exclusions that AVA.* name.

    Raises:
        UserError: a file that cannot be read, or a label map that does not fit MODEL.NUM_CLASSES.
    """
    annotations = Path(cfg.DATA.PATH_TO_DATA_DIR) / cfg.AVA.ANNOTATION_DIR
    ground_truth = read_ground_truth(annotations / cfg.AVA.GROUNDTRUTH_FILE)
    excluded = read_excluded(annotations / cfg.AVA.EXCLUSION_FILE) if cfg.AVA.EXCLUSION_FILE else ()
    stride = dataset.second_stride
    return AVAEvaluator(
        ground_truth,
        read_label_map(annotations / cfg.AVA.LABEL_MAP_FILE),
        videos=dataset.frames.names,
        excluded=excluded,
        seconds=None if stride == 1 else range(0, int(ground_truth.second.max()) + 1, stride),
    )


def evaluate(cfg: CfgNode, network: nn.Cell, dataset: AvaDataset, mode: str, output: Path) -> AVAResult:
    """Score every box of a test split and compute the AVA metric.

    Writes detections_MODE.csv and groundtruth_MODE.csv in AVA's columns below `output`, and logs the table.

    Args:
        cfg: the configuration.
        network: a `SlowFast` that gives probabilities.
        dataset: the split `val` or `test`.
        mode: `val` or `test`, for the names of files and in the log.
        output: a folder.
    """
    evaluator = build_evaluator(cfg, dataset)
    loader = build_test_loader(dataset)
    network.set_train(False)
    for batch in progress(loader, len(loader), f"evaluate {mode}"):
        scores = network(*(ms.Tensor(batch[name]) for name in ("slow", "fast", "boxes"))).asnumpy()
        real = batch["mask"] > 0
        keys = np.broadcast_to(batch["key"][:, None], (*real.shape, 2))
        evaluator.process(scores[real], batch["boxes_norm"][real], keys[real])
    write_boxes(output / f"detections_{mode}.csv", evaluator.detections())
    write_boxes(output / f"groundtruth_{mode}.csv", evaluator.ground_truth)
    start = time.monotonic()
    result = evaluator.evaluate()
    logger = get_logger()
    logger.info(result.format_table())
    logger.info("AVA eval done in %.2f seconds.", time.monotonic() - start)
    log_json_stats(map=result.map, mode=mode)
    return result
