"""What makes a run the same run when it goes on: its configuration, its data and its classes."""

import hashlib
from collections.abc import Mapping

import numpy as np
from fvcore.common.config import CfgNode

from src.datasets.ava_dataset import AvaDataset
from src.utils.nested import leaves

# Keys that may change when a run goes on: where things are, how often something is written or looked at, how many
# devices share a step (clips a step are compared), and what only testing and export read.
_FREE = (
    "OUTPUT_DIR",
    "LOG_PERIOD",
    "DATA.PATH_TO_DATA_DIR",
    "DATA.SOURCE",
    "DATA_LOADER.",
    "AVA.FRAME_DIR",
    "AVA.VIDEO_DIR",
    "TEST.",
    "EXPORT.",
    "TRAIN.BATCH_SIZE",
    "TRAIN.ACCUMULATE_STEPS",
    "TRAIN.EVAL_PERIOD",
    "TRAIN.CHECKPOINT_PERIOD",
    "TRAIN.CHECKPOINT_STEPS",
    "TRAIN.KEEP_CHECKPOINTS",
    "TRAIN.AUTO_RESUME",
    "TRAIN.CHECKPOINT_FILE_PATH",
    "TRAIN.TENSORBOARD",
)


def run_settings(
    cfg: CfgNode, dataset: AvaDataset, class_names: Mapping[int, str], clips_per_step: int, steps_per_epoch: int
) -> dict[str, object]:
    """Return by name what must not change when a run goes on.

    Args:
        cfg: the configuration.
        dataset: the training split.
        class_names: class name by class id; empty: not known.
        clips_per_step: on all devices.
        steps_per_epoch: steps.
    """
    return {
        **{key: value for key, value in leaves(cfg) if not key.startswith(_FREE)},
        "the list of classes": [f"{number} {name}" for number, name in sorted(class_names.items())],
        "the training data": f"{len(dataset)} key frames, digest {_digest(dataset)}",
        "clips a step": clips_per_step,
        "steps an epoch": steps_per_epoch,
    }


def _digest(dataset: AvaDataset) -> str:
    """Return a digest of the key frames: videos by name, seconds, boxes and labels."""
    digest = hashlib.sha256("\n".join(dataset.frames.names).encode())
    frames = dataset.key_frames
    for array in (frames.video, frames.second, frames.box_start, frames.boxes_norm, frames.label_start, frames.labels):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]
