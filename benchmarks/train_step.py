"""Time of one training step of SlowFast R50 on the CPU: clips of 32 x 224 x 224, 8 boxes each.

    python benchmarks/train_step.py [--batch 1] [--threads 2] [--peer_python PYTHON]

Forward, backward and the momentum update, batch norm with the batch's statistics. Ours with the kernels for CPUs, in
float32 and in bfloat16, and with MindSpore's own operators; where they are installed pytorchvideo's
slowfast_r50_detection on PyTorch, in float32 and in bfloat16 with the channels last.
"""

import argparse
import functools
import sys
from collections.abc import Callable

import clips
import turns


def mindspore_step(args: argparse.Namespace, kernels: str, level: str = "O0") -> Callable[[], object]:
    """Set up our training step; compiling is part of the first call."""
    cfg, network = clips.our_network(kernels, level)
    import mindspore as ms

    step = clips.training_step(cfg, network)
    inputs = [ms.Tensor(array) for array in clips.arrays(args.batch).values()]
    return lambda: step(*inputs).asnumpy()


def pytorch_step(args: argparse.Namespace, bfloat16: bool = False) -> Callable[[], object]:
    """Set up the same step with pytorchvideo's network; in bfloat16 with the channels last."""
    import torch
    from pytorchvideo.models import hub

    torch.set_num_threads(args.threads)
    network = hub.slowfast_r50_detection(pretrained=False).train()
    batch = clips.arrays(args.batch)
    slow, fast = torch.from_numpy(batch["slow"]), torch.from_numpy(batch["fast"])
    boxes = torch.from_numpy(clips.torch_boxes(batch["boxes"]))
    labels = torch.from_numpy(batch["labels"].reshape(-1, clips.CLASSES))
    if bfloat16:
        network = network.to(memory_format=torch.channels_last_3d)
        slow, fast = (clip.to(memory_format=torch.channels_last_3d) for clip in (slow, fast))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-7)

    def step() -> object:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            scores = network([slow, fast], boxes)  # changes the list
        # A probability of bfloat16 may be 1, whose logarithm's gradient is none.
        scores = scores.float().clamp(1e-6, 1 - 1e-6) if bfloat16 else scores
        loss = torch.nn.functional.binary_cross_entropy(scores, labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


CANDIDATES = {
    turns.OURS: turns.Candidate(functools.partial(mindspore_step, kernels="on")),
    turns.PEER: turns.Candidate(pytorch_step, ("torch", "pytorchvideo")),
    "MindSpore bf16": turns.Candidate(functools.partial(mindspore_step, kernels="on", level="bf16")),
    "PyTorch bf16": turns.Candidate(functools.partial(pytorch_step, bfloat16=True), ("torch", "pytorchvideo")),
    "MindSpore's operators": turns.Candidate(functools.partial(mindspore_step, kernels="off")),
}

if __name__ == "__main__":
    sys.exit(turns.run(turns.parser(__doc__, calls=3, rounds=2).parse_args(), CANDIDATES))
