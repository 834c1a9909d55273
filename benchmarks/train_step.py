"""Time of one training step of SlowFast R50 on the CPU: one clip of 32 x 224 x 224, 8 boxes, float32.

    python benchmarks/train_step.py [--calls 3] [--rounds 2] [--threads 2] [--peer_python PYTHON]

Forward, backward and the momentum update, batch norm with the batch's statistics. MindSpore, and where they are
installed pytorchvideo's slowfast_r50_detection on PyTorch, in turns.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import turns

REPOSITORY = Path(__file__).resolve().parents[1]
CLASSES = 80


def mindspore_step(threads: int) -> Callable[[], object]:
    """Set up our training step; compiling is part of the first call."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    sys.path.insert(0, str(REPOSITORY))
    from src.config.custom_config import load_config
    from src.utils.device import set_up_device

    set_up_device("CPU", seed=0)
    import mindspore as ms
    import numpy as np

    from src.engine.train_step import NetworkWithLoss, TrainStep
    from src.models.build import build_model
    from src.models.optimizer import build_optimizer

    cfg = load_config(REPOSITORY / "configs/AVA/SLOWFAST_32x2_R50_SHORT.yaml")
    network = build_model(cfg)
    step = TrainStep(NetworkWithLoss(network), build_optimizer(cfg, network, [1e-3] * 1000)).set_train(True)
    rng = np.random.default_rng(0)
    fast = rng.normal(size=(1, 3, 32, 224, 224)).astype(np.float32)
    boxes = np.array([[[10 * i, 5 * i, 100 + 10 * i, 140 + 5 * i] for i in range(8)]], np.float32)
    labels = (rng.random((1, 8, CLASSES)) < 0.05).astype(np.float32)
    arrays = (np.ascontiguousarray(fast[:, :, ::4]), fast, boxes, labels, np.ones((1, 8), np.float32))
    inputs = [ms.Tensor(array) for array in arrays]
    return lambda: step(*inputs).asnumpy()


def pytorch_step(threads: int) -> Callable[[], object]:
    """Set up the same step with pytorchvideo's network."""
    import torch
    from pytorchvideo.models import hub

    torch.set_num_threads(threads)
    network = hub.slowfast_r50_detection(pretrained=False).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-7)
    fast = torch.randn(1, 3, 32, 224, 224)
    slow = fast[:, :, ::4].contiguous()
    boxes = torch.tensor([[0, 10 * i, 5 * i, 100 + 10 * i, 140 + 5 * i] for i in range(8)], dtype=torch.float32)
    labels = (torch.rand(8, CLASSES) < 0.05).float()

    def step() -> object:
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy(network([slow, fast], boxes), labels)  # changes the list
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    sys.exit(turns.run(__doc__, {"MindSpore": mindspore_step, turns.PEER: pytorch_step}, calls=3, rounds=2))
