"""Time of SlowFast R50's forward pass on the CPU: one clip of 32 x 224 x 224, 8 boxes, float32.

    python benchmarks/forward.py [--calls 5] [--rounds 3] [--threads 2] [--peer_python PYTHON]

MindSpore, and where they are installed pytorchvideo's slowfast_r50_detection on PyTorch, in turns.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import turns

REPOSITORY = Path(__file__).resolve().parents[1]


def mindspore_forward(threads: int) -> Callable[[], object]:
    """Set up our network; compiling is part of the first call."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    sys.path.insert(0, str(REPOSITORY))
    from src.config.custom_config import load_config
    from src.utils.device import set_up_device

    set_up_device("CPU", seed=0)
    import mindspore as ms
    import numpy as np

    from src.models.build import build_model

    network = build_model(load_config(REPOSITORY / "configs/AVA/SLOWFAST_32x2_R50_SHORT.yaml")).set_train(False)
    rng = np.random.default_rng(0)
    fast = rng.normal(size=(1, 3, 32, 224, 224)).astype(np.float32)
    boxes = np.array([[[10 * i, 5 * i, 100 + 10 * i, 140 + 5 * i] for i in range(8)]], np.float32)
    inputs = [ms.Tensor(array) for array in (np.ascontiguousarray(fast[:, :, ::4]), fast, boxes)]
    return lambda: network(*inputs).asnumpy()


def pytorch_forward(threads: int) -> Callable[[], object]:
    """Set up pytorchvideo's network."""
    import torch
    from pytorchvideo.models import hub

    torch.set_num_threads(threads)
    network = hub.slowfast_r50_detection(pretrained=False).eval()
    fast = torch.randn(1, 3, 32, 224, 224)
    slow = fast[:, :, ::4].contiguous()
    boxes = torch.tensor([[0, 10 * i, 5 * i, 100 + 10 * i, 140 + 5 * i] for i in range(8)], dtype=torch.float32)

    @torch.inference_mode()
    def forward() -> object:
        return network([slow, fast], boxes).numpy()  # the network changes the list

    return forward


if __name__ == "__main__":
    sys.exit(turns.run(__doc__, {"MindSpore": mindspore_forward, turns.PEER: pytorch_forward}, calls=5, rounds=3))
