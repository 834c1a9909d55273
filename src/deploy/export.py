"""From a trained network to the graph that is deployed."""

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
from fvcore.common.config import CfgNode
from mindspore import nn

from src.ava.label_map import read_label_map
from src.checkpoint.class_names import check_class_names, class_names
from src.checkpoint.loading import load_arrays
from src.checkpoint.mindspore_format import load_checkpoint
from src.datasets.transform import slow_frames
from src.deploy.formats import FORMATS
from src.deploy.manifest import (
    Manifest,
    TensorSpec,
    describe_files,
    describe_graph,
    graph_specs,
    open_specs,
    read_record,
)
from src.deploy.runner import NotRunnableError
from src.engine.checkpointer import averaged_weights
from src.models.common import Conv3d, ConvBn
from src.models.video_model_builder import SlowFast
from src.utils.errors import UserError
from src.utils.files import atomic_path, write_atomic

# How far the scores of a graph may be from the network's.
_TOLERANCE = 1e-4
_DESCRIPTION = "slowfast.json"
# What MindSpore takes for the path of an exported file.
_PLAIN_PATH = re.compile(r"[\w./-]+", re.ASCII)


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
        UserError: the checkpoint does not fit, the format cannot be written here, the graph's scores differ from
            the network's by more than 1e-4, or the folder holds such files of another origin; nothing is written then.
    """
    target = FORMATS[cfg.EXPORT.FORMAT]
    if cfg.EXPORT.DYNAMIC and not target.dynamic:
        raise UserError(f"EXPORT.DYNAMIC: a graph in the format {cfg.EXPORT.FORMAT} has fixed shapes; take ONNX")
    trials = [random_inputs(cfg, specs) for specs in _trial_specs(cfg)]
    path = output / f"slowfast{target.suffix}"
    _check_own(path)

    arrays = load_checkpoint(checkpoint)
    weights = averaged_weights(arrays, str(checkpoint)) if cfg.TEST.USE_EMA else arrays
    network, folded = (SlowFast(cfg) for _ in range(2))
    for one in (network, folded):
        load_arrays(one, weights, str(checkpoint))
        one.set_train(False)
    fold_batch_norm(folded)
    description = describe_graph(cfg, _class_names(cfg, arrays, checkpoint))
    with tempfile.TemporaryDirectory(prefix="slowfast-", dir=_plain_folder()) as temporary:
        graph = Path(temporary) / path.name
        target.write(cfg, folded, trials[0], description, graph)
        manifest = describe_files(description, graph, checkpoint)
        _compare(network, graph, manifest, trials)
        output.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as copy, graph.open("rb") as source, copy.open("wb") as file:
            shutil.copyfileobj(source, file)
        # If this is not reached, the old description does not fit the new graph, and says so when it is read.
        write_atomic(output / _DESCRIPTION, manifest.model_dump_json(indent=1) + "\n")
    print(f"{path}: {manifest.model.bytes} bytes, described in {_DESCRIPTION}")


def _class_names(cfg: CfgNode, arrays: Mapping[str, np.ndarray], checkpoint: Path) -> dict[int, str]:
    """Return the checkpoint's class names; where it has none, those of the dataset's label map, which is told."""
    names = class_names(arrays)
    path = Path(cfg.DATA.PATH_TO_DATA_DIR) / cfg.AVA.ANNOTATION_DIR / cfg.AVA.LABEL_MAP_FILE
    if not path.is_file():
        return names
    label_map = read_label_map(path)
    check_class_names(names, label_map, str(checkpoint), str(path))
    if not names:
        print(f"{checkpoint} holds no class names; those of {path} are taken")
    return names or label_map


def _compare(network: nn.Cell, graph: Path, manifest: Manifest, trials: Sequence[list[np.ndarray]]) -> None:
    """Print how far a graph is from the network on random input; raise UserError if that is too far."""
    differences = []
    for inputs in trials:
        expected = network(*(ms.Tensor(array.astype(np.float32)) for array in inputs)).asnumpy()
        try:
            scores = FORMATS[manifest.format].run(graph, manifest, inputs)
        except NotRunnableError as reason:
            print(f"not compared with the network: {reason}")
            return
        differences.append(np.abs(scores - expected).max() / max(1.0, np.abs(expected).max()))  # logits may be large
    difference = float(np.max(differences))
    print(f"largest difference from the network on random input: {difference:.2g}")
    if not difference <= _TOLERANCE:
        raise UserError(f"the exported graph's scores differ from the network's by {difference:.2g}")


def _check_own(path: Path) -> None:
    """Raise UserError unless a graph and a description at its place are those of an earlier export."""
    description = path.with_name(_DESCRIPTION)
    if description.exists():
        file = read_record(description, Manifest, "export.py").model.file
        if file != path.name:
            raise UserError(f"{description}: describes {file}; give {path.name} another OUTPUT_DIR")
    elif path.exists():
        raise UserError(f"{path}: is there without {_DESCRIPTION}, so not from export.py; give another OUTPUT_DIR")


def _plain_folder() -> str | None:
    """Return where MindSpore can export to: it refuses paths with spaces and letters beyond ASCII."""
    return None if _PLAIN_PATH.fullmatch(tempfile.gettempdir()) else "/tmp"


def _trial_specs(cfg: CfgNode) -> list[tuple[TensorSpec, ...]]:
    """Return the inputs' shapes that a graph is tried with: its own, or several where they are open."""
    if not cfg.EXPORT.DYNAMIC:
        return [graph_specs(cfg)[0]]
    height = cfg.DATA.TEST_SCALE_HEIGHT or cfg.DATA.TEST_CROP_SIZE
    width = cfg.DATA.TEST_SCALE_WIDTH or cfg.DATA.TEST_CROP_SIZE
    shapes = (1, 4, height, width), (2, 1, height // 2 + 1, width)
    return [open_specs(cfg, *shape)[0] for shape in shapes]


def random_inputs(cfg: CfgNode, specs: Sequence[TensorSpec], seed: int = 0) -> list[np.ndarray]:
    """Return normally distributed clips and random boxes, the last of several padding.

    Args:
        cfg: the configuration, which says what slow takes of fast.
        specs: slow, fast and boxes.
        seed: of the values.
    """
    rng = np.random.default_rng(seed)
    _, fast, boxes = specs
    height, width = fast.shape[3:]
    corners = np.sort(rng.uniform(0, 1, (*boxes.shape[:2], 2, 2)), axis=2).reshape(boxes.shape)
    corners *= np.array([width, height, width, height])
    if boxes.shape[1] > 1:
        corners[:, -1] = 0.0
    clip = rng.standard_normal(fast.shape, np.float32).astype(fast.dtype)
    return [clip[:, :, slow_frames(cfg.DATA.NUM_FRAMES, cfg.SLOWFAST.ALPHA)], clip, corners.astype(boxes.dtype)]
