"""What the benchmarks of the network share: clips of 224 x 224 with 8 boxes each, and our network."""

import os
import sys
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
CLASSES = 80
BOXES = 8


def arrays(batch: int, frames: int = 32) -> dict[str, np.ndarray]:
    """Return slow, fast, boxes, labels and mask of a batch, as our network takes them."""
    rng = np.random.default_rng(0)
    fast = rng.normal(size=(batch, 3, frames, 224, 224)).astype(np.float32)
    boxes = np.array([[10 * i, 5 * i, 100 + 10 * i, 140 + 5 * i] for i in range(BOXES)], np.float32)
    return {
        "slow": np.ascontiguousarray(fast[:, :, ::4]),
        "fast": fast,
        "boxes": np.broadcast_to(boxes, (batch, BOXES, 4)).copy(),
        "labels": (rng.random((batch, BOXES, CLASSES)) < 0.05).astype(np.float32),
        "mask": np.ones((batch, BOXES), np.float32),
    }


def our_network(kernels: str, amp_level: str = "O0", *overrides: object) -> tuple[object, object]:
    """Set up the CPU and return the configuration and our network.

    Args:
        kernels: SLOWFAST_CPU_KERNELS.
        amp_level: O0 or bf16.
        overrides: keys of the configuration and their values, in turns.
    """
    os.environ["SLOWFAST_CPU_KERNELS"] = kernels
    sys.path.insert(0, str(REPOSITORY))
    from src.config.custom_config import load_config
    from src.utils.device import set_up_device

    set_up_device("CPU", seed=0)
    from src.models.build import build_model, device_layers

    cfg = load_config(
        REPOSITORY / "configs/AVA/SLOWFAST_32x2_R50_SHORT.yaml", [str(override) for override in overrides]
    )
    return cfg, build_model(cfg, device_layers(cfg, amp_level))


def training_step(cfg: object, network: object) -> object:
    """Return forward, backward and update of our network as one cell."""
    from src.engine.train_step import NetworkWithLoss, TrainStep
    from src.models.optimizer import build_optimizer

    return TrainStep(NetworkWithLoss(network), build_optimizer(cfg, network, [1e-3] * 1000)).set_train(True)


def torch_boxes(boxes: np.ndarray) -> np.ndarray:
    """Return boxes (n, k, 4) as rows of clip, x1, y1, x2, y2."""
    clip = np.repeat(np.arange(len(boxes), dtype=np.float32), boxes.shape[1])
    return np.column_stack((clip, boxes.reshape(-1, 4)))
