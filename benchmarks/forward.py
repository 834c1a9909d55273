"""Time of SlowFast R50's forward pass on the CPU: clips of 32 x 224 x 224, 8 boxes each.

    python benchmarks/forward.py [--batch 1] [--threads 2] [--peer_python PYTHON] [--onnx slowfast.onnx]

Ours with the kernels for CPUs, in float32 and in bfloat16, and with MindSpore's own operators; where they are installed
pytorchvideo's slowfast_r50_detection on PyTorch, in float32 and in bfloat16 with the channels last, and onnxruntime and
OpenVINO on our exported graph (export.py with EXPORT.FORMAT ONNX, EXPORT.BATCH_SIZE as --batch and EXPORT.NUM_BOXES 8).
"""

import argparse
import functools
import sys
from collections.abc import Callable

import clips
import turns


def mindspore_forward(args: argparse.Namespace, kernels: str, level: str = "O0") -> Callable[[], object]:
    """Set up our network; compiling is part of the first call."""
    _, network = clips.our_network(kernels, level)
    import mindspore as ms

    network.set_train(False)
    batch = clips.arrays(args.batch)
    inputs = [ms.Tensor(batch[name]) for name in ("slow", "fast", "boxes")]
    return lambda: network(*inputs).asnumpy()


def pytorch_forward(args: argparse.Namespace, bfloat16: bool = False) -> Callable[[], object]:
    """Set up pytorchvideo's network; in bfloat16 with the channels last, PyTorch's fastest layout."""
    import torch
    from pytorchvideo.models import hub

    torch.set_num_threads(args.threads)
    network = hub.slowfast_r50_detection(pretrained=False).eval()
    batch = clips.arrays(args.batch)
    slow, fast = torch.from_numpy(batch["slow"]), torch.from_numpy(batch["fast"])
    boxes = torch.from_numpy(clips.torch_boxes(batch["boxes"]))
    if bfloat16:
        network = network.to(memory_format=torch.channels_last_3d)
        slow, fast = (clip.to(memory_format=torch.channels_last_3d) for clip in (slow, fast))

    @torch.inference_mode()
    def forward() -> object:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return network([slow, fast], boxes).float().numpy()  # the network changes the list

    return forward


def onnxruntime_forward(args: argparse.Namespace) -> Callable[[], object]:
    """Set up our exported graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(args.onnx, options, providers=["CPUExecutionProvider"])
    batch = clips.arrays(args.batch)
    inputs = {
        item.name: batch[name] for item, name in zip(session.get_inputs(), ("slow", "fast", "boxes"), strict=True)
    }
    return lambda: session.run(None, inputs)


def openvino_forward(args: argparse.Namespace, precision: str) -> Callable[[], object]:
    """Set up our exported graph; `precision` as OpenVINO's hint."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": args.threads, "INFERENCE_PRECISION_HINT": precision}
    model = openvino.compile_model(args.onnx, "CPU", settings)
    batch = clips.arrays(args.batch)
    inputs = [batch[name] for name in ("slow", "fast", "boxes")]
    return lambda: model(inputs)


CANDIDATES = {
    turns.OURS: turns.Candidate(functools.partial(mindspore_forward, kernels="on")),
    turns.PEER: turns.Candidate(pytorch_forward, ("torch", "pytorchvideo")),
    "MindSpore bf16": turns.Candidate(functools.partial(mindspore_forward, kernels="on", level="bf16")),
    "PyTorch bf16": turns.Candidate(functools.partial(pytorch_forward, bfloat16=True), ("torch", "pytorchvideo")),
    "OpenVINO": turns.Candidate(functools.partial(openvino_forward, precision="f32"), ("openvino",), "onnx"),
    "OpenVINO bf16": turns.Candidate(functools.partial(openvino_forward, precision="bf16"), ("openvino",), "onnx"),
    "onnxruntime": turns.Candidate(onnxruntime_forward, ("onnxruntime",), "onnx"),
    "MindSpore's operators": turns.Candidate(functools.partial(mindspore_forward, kernels="off")),
}

if __name__ == "__main__":
    parser = turns.parser(__doc__, calls=5, rounds=3)
    parser.add_argument("--onnx", help="our exported graph, for onnxruntime and OpenVINO")
    sys.exit(turns.run(parser.parse_args(), CANDIDATES))
