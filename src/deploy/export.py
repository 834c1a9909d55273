"""From a trained network to the graph that is deployed."""

import json
import tempfile
from pathlib import Path

import mindspore as ms
import numpy as np
from fvcore.common.config import CfgNode
from mindspore import nn

from src.checkpoint.loading import load_into
from src.deploy.manifest import describe_files, describe_graph, tensor_specs
from src.deploy.mindir import read_mindir, write_mindir_v1
from src.deploy.onnx_model import write_onnx
from src.deploy.shards import NotRunnableError, run_once
from src.models.build import build_model, plain_layers
from src.models.common import Conv3d, ConvBn
from src.utils.errors import UserError
from src.utils.files import write_atomic

# Suffix of the file by EXPORT.FORMAT.
_SUFFIXES = {"MINDIR": ".mindir", "MINDIR_V1": ".mindir", "ONNX": ".onnx", "AIR": ".air"}
# How far the scores of a graph may be from the network's.
_TOLERANCE = 1e-4


def fold_batch_norm(network: nn.Cell) -> None:
    """Merge every batch norm into its convolution, in place: weight and bias, nothing to compute.

    With running mean m and variance v, gamma * (w x - m) / sqrt(v + epsilon) + beta is a convolution with the weight
    scaled by gamma / sqrt(v + epsilon) for each output channel, and a bias. Computed in float64.
    """
    for _, cell in network.cells_and_names():
        if isinstance(cell, ConvBn) and isinstance(cell.norm, nn.BatchNorm2d):
            _merge(cell.conv, cell.norm)
            cell.norm = nn.Identity()


def _merge(convolution: Conv3d, norm: nn.BatchNorm2d) -> None:
    weight = convolution.weight.asnumpy().astype(np.float64)
    variance, mean = norm.moving_variance.asnumpy().astype(np.float64), norm.moving_mean.asnumpy()
    scale = norm.gamma.asnumpy() / np.sqrt(variance + norm.eps)
    bias = norm.beta.asnumpy() - mean * scale
    if convolution.bias is not None:
        bias += convolution.bias.asnumpy() * scale
    convolution.weight.set_data(ms.Tensor((weight * scale.reshape(-1, 1, 1, 1, 1)).astype(np.float32)))
    name = convolution.weight.name.removesuffix("weight") + "bias"
    convolution.bias = ms.Parameter(ms.Tensor(bias.astype(np.float32)), name=name)


def export(cfg: CfgNode, checkpoint: Path, output: Path) -> None:
    """Write the graph of a checkpoint as slowfast.* and slowfast.json, once it computes what the network does.

    Args:
        cfg: the configuration.
        checkpoint: a MindSpore checkpoint.
        output: a folder.

    Raises:
        UserError: the checkpoint does not fit, the format cannot be written here, or the graph's scores differ from
            the network's by more than 1e-4; nothing is written then.
    """
    description = describe_graph(cfg)
    inputs = random_inputs(description)
    network, folded = (build_model(cfg, plain_layers(cfg)) for _ in range(2))
    for one in (network, folded):
        load_into(one, checkpoint)
        one.set_train(False)
    fold_batch_norm(folded)
    expected = network(*(ms.Tensor(array.astype(np.float32)) for array in inputs)).asnumpy()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=output) as temporary:
        graph = write_graph(cfg, folded, inputs, Path(temporary))
        model = description | describe_files(graph, checkpoint)
        try:
            difference = np.abs(run_graph(cfg, graph, inputs, model) - expected).max()
            difference = float(difference / max(1.0, np.abs(expected).max()))  # logits may be large
        except NotRunnableError as reason:
            print(f"not compared with the network: {reason}")
        else:
            print(f"largest difference from the network on random input: {difference:.2g}")
            if not difference <= _TOLERANCE:
                raise UserError(f"the exported graph's scores differ from the network's by {difference:.2g}")
        path = output / graph.name
        description_path = path.with_suffix(".json")
        description_path.unlink(missing_ok=True)  # graph and description never stand beside another's
        graph.replace(path)
        path.chmod(0o644)  # MindSpore makes it readable by its owner alone
        write_atomic(description_path, json.dumps(model, indent=1) + "\n")
    print(f"{path}: {model['model']['bytes']} bytes, described in {description_path.name}")


class _ClipsIn(nn.Cell):
    """A network whose clips come in another type; it computes in float32."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__()
        self.network = network

    def construct(self, slow: ms.Tensor, fast: ms.Tensor, boxes: ms.Tensor) -> ms.Tensor:
        return self.network(slow.astype(ms.float32), fast.astype(ms.float32), boxes)


def random_inputs(model: dict, seed: int = 0) -> list[np.ndarray]:
    """Return normally distributed clips and random boxes, the last of several padding, as a graph's manifest says."""
    rng = np.random.default_rng(seed)
    (_, fast, boxes), _ = tensor_specs(model)
    height, width = fast.shape[3:]
    corners = np.sort(rng.uniform(0, 1, (*boxes.shape[:2], 2, 2)), axis=2).reshape(boxes.shape)
    corners *= np.array([width, height, width, height])
    if boxes.shape[1] > 1:
        corners[:, -1] = model["boxes"]["padding"]
    clip = rng.standard_normal(fast.shape, np.float32).astype(fast.dtype)
    return [clip[:, :, model["slow_frames"]], clip, corners.astype(boxes.dtype)]


def write_graph(cfg: CfgNode, network: nn.Cell, inputs: list[np.ndarray], folder: Path) -> Path:
    """Write the graph of a network in EXPORT.FORMAT.

    Args:
        cfg: the configuration.
        network: a `SlowFast` whose batch norm is folded.
        inputs: arrays of the graph's shapes and types.
        folder: where to write.

    Returns:
        The file, called slowfast.

    Raises:
        UserError: MindSpore refuses the format on this device, or an operator has no translation to it.
    """
    network = network if cfg.EXPORT.CLIP_DTYPE == "float32" else _ClipsIn(network)
    kind = cfg.EXPORT.FORMAT
    if kind == "AIR" and ms.get_context("device_target") != "Ascend":
        raise UserError("EXPORT.FORMAT AIR: MindSpore writes AIR on an Ascend device only; take MINDIR")
    path = folder / f"slowfast{_SUFFIXES[kind]}"
    source = folder / f"mindspore{'.air' if kind == 'AIR' else '.mindir'}"
    ms.export(network, *map(ms.Tensor, inputs), file_name=str(source), file_format="AIR" if kind == "AIR" else "MINDIR")
    if kind == "MINDIR_V1":
        write_mindir_v1(read_mindir(source), path)
    elif kind == "ONNX":
        write_onnx(read_mindir(source), path)
    else:
        source.replace(path)
    return path


def run_graph(cfg: CfgNode, path: Path, inputs: list[np.ndarray], manifest: dict) -> np.ndarray:
    """Run an exported graph with what this machine has for its format.

    Args:
        cfg: the configuration.
        path: the graph.
        inputs: arrays of the graph's shapes and types; slow is ignored by the C++ runner, which takes it from fast.
        manifest: what `model_manifest` says of the graph.

    Returns:
        The scores.

    Raises:
        NotRunnableError: this machine has nothing that runs the format.
    """
    match cfg.EXPORT.FORMAT:
        case "MINDIR":
            return nn.GraphCell(ms.load(str(path)))(*map(ms.Tensor, inputs)).asnumpy()
        case "MINDIR_V1":
            return run_once(path, manifest, inputs)
        case "ONNX":
            return _run_onnx(path, inputs)
    raise NotRunnableError("AIR is for CANN's converter")


def _run_onnx(path: Path, inputs: list[np.ndarray]) -> np.ndarray:
    try:
        import onnxruntime
    except ImportError as error:
        raise NotRunnableError("onnxruntime is not installed") from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))[0]
