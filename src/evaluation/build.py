"""The evaluator that a configuration describes."""

from collections.abc import Sequence
from pathlib import Path

from fvcore.common.config import CfgNode

from src.ava.box_csv import read_excluded
from src.ava.label_map import read_label_map
from src.datasets.kinds import dataset_class
from src.evaluation.ava_metric import AvaEvaluator


def read_class_names(cfg: CfgNode) -> dict[int, str]:
    """Return class name by class id from AVA.LABEL_MAP_FILE; nothing where there is no such file.

    Raises:
        UserError: a file that is no label map.
    """
    path = Path(cfg.DATA.PATH_TO_DATA_DIR) / cfg.AVA.ANNOTATION_DIR / cfg.AVA.LABEL_MAP_FILE
    return read_label_map(path) if path.is_file() else {}


def build_evaluator(cfg: CfgNode, videos: Sequence[str] = (), second_stride: int = 1) -> AvaEvaluator:
    """Return an evaluator with the dataset's ground truth and the classes and exclusions that AVA.* name.

    Args:
        cfg: the configuration.
        videos: names of the videos, where metadata give a video by its index.
        second_stride: only seconds divisible by it count.

    Raises:
        UserError: a file that cannot be read.
    """
    annotations = Path(cfg.DATA.PATH_TO_DATA_DIR) / cfg.AVA.ANNOTATION_DIR
    ground_truth = dataset_class(cfg).ground_truth(cfg)
    excluded = read_excluded(annotations / cfg.AVA.EXCLUSION_FILE) if cfg.AVA.EXCLUSION_FILE else ()
    seconds = None if second_stride == 1 else range(0, int(ground_truth.second.max(initial=0)) + 1, second_stride)
    return AvaEvaluator(
        ground_truth,
        read_label_map(annotations / cfg.AVA.LABEL_MAP_FILE),
        videos=videos,
        excluded=excluded,
        seconds=seconds,
    )
