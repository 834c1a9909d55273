"""What an exported graph is and where it comes from, as the JSON file beside it says. Needs no MindSpore."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml
from fvcore.common.config import CfgNode

from src.config.custom_config import load_config
from src.datasets.transform import slow_frames
from src.utils.errors import UserError
from src.utils.nested import leaves


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and NumPy type of an input or output of a graph."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def row_bytes(self) -> int:
        """Bytes of one entry of the first axis."""
        return int(np.prod(self.shape[1:])) * np.dtype(self.dtype).itemsize


def graph_specs(cfg: CfgNode) -> tuple[list[TensorSpec], TensorSpec]:
    """Return the inputs (slow, fast, boxes) and the output of the graph that a configuration describes.

    Raises:
        UserError: the configuration leaves the size of the clips open.
    """
    height, width = cfg.DATA.TEST_SCALE_HEIGHT, cfg.DATA.TEST_SCALE_WIDTH
    if not height:
        raise UserError("an exported graph needs DATA.TEST_SCALE_HEIGHT and DATA.TEST_SCALE_WIDTH, for example 224 384")
    batch, boxes, frames = cfg.EXPORT.BATCH_SIZE, cfg.EXPORT.NUM_BOXES, cfg.DATA.NUM_FRAMES
    clip = cfg.EXPORT.CLIP_DTYPE
    inputs = [
        TensorSpec("slow", (batch, 3, frames // cfg.SLOWFAST.ALPHA, height, width), clip),
        TensorSpec("fast", (batch, 3, frames, height, width), clip),
        TensorSpec("boxes", (batch, boxes, 4), "float32"),
    ]
    return inputs, TensorSpec("scores", (batch, boxes, cfg.MODEL.NUM_CLASSES), "float32")


def describe_graph(cfg: CfgNode) -> dict:
    """Return what the graph of a configuration takes and gives, and how its inputs are made.

    Raises:
        UserError: the configuration leaves the size of the clips open.
    """
    inputs, output = graph_specs(cfg)
    config = yaml.safe_load(cfg.dump())
    return {
        "format": cfg.EXPORT.FORMAT,
        "inputs": [asdict(spec) for spec in inputs],
        "output": asdict(output) | {"activation": cfg.MODEL.HEAD_ACT},
        "slow_frames": slow_frames(cfg.DATA.NUM_FRAMES, cfg.SLOWFAST.ALPHA).tolist(),
        "boxes": {"order": "x1 y1 x2 y2", "unit": "pixels of the clip", "padding": 0.0},
        "num_classes": cfg.MODEL.NUM_CLASSES,
        "preprocessing": {
            "height": cfg.DATA.TEST_SCALE_HEIGHT,
            "width": cfg.DATA.TEST_SCALE_WIDTH,
            "channels": "RGB",
            "mean": list(cfg.DATA.MEAN),
            "std": list(cfg.DATA.STD),
            "sampling_rate": cfg.DATA.SAMPLING_RATE,
        },
        "config_sha256": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
        "config": config,
    }


def describe_files(graph: Path, checkpoint: Path) -> dict:
    """Return what tells a graph's file and the weights in it from others."""
    return {
        "model": {"file": graph.name, "bytes": graph.stat().st_size, "sha256": sha256_of(graph)},
        "checkpoint": {"file": checkpoint.name, "sha256": sha256_of(checkpoint)},
    }


def read_model(graph: str | os.PathLike) -> dict:
    """Read the JSON file beside a graph.

    Raises:
        UserError: either file is absent or damaged, or they do not belong together.
    """
    graph = Path(graph)
    path = graph.with_suffix(".json")
    model = read_json(path)
    if missing := {"format", "model", "inputs", "output", "slow_frames", "boxes", "config"} - model.keys():
        raise UserError(f"{path}: not from export.py: it lacks {min(missing)}")
    if not graph.is_file():
        raise UserError(f"{graph}: no such file; expected a graph from export.py")
    if sha256_of(graph) != model["model"]["sha256"]:
        raise UserError(f"{graph}: not the graph that {path.name} describes (its SHA-256 differs); export it again")
    return model


def model_config(model: dict, data_dir: str | os.PathLike) -> CfgNode:
    """Return the configuration in a manifest, for a data set in `data_dir`."""
    pairs = [item for key, value in leaves(model["config"]) for item in (key, value)]
    return load_config(None, [*pairs, "DATA.PATH_TO_DATA_DIR", os.fspath(data_dir)])


def tensor_specs(model: dict) -> tuple[list[TensorSpec], TensorSpec]:
    """Return the inputs and the output that a manifest names."""

    def spec(entry: dict) -> TensorSpec:
        return TensorSpec(entry["name"], tuple(entry["shape"]), entry["dtype"])

    return [spec(entry) for entry in model["inputs"]], spec(model["output"])


def read_json(path: Path) -> dict:
    """Read a JSON object.

    Raises:
        UserError: the file is absent or not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot read the file: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path}: not a JSON file: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object")
    return content


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
