"""slowfast.json: what an exported graph is and where it comes from. Needs no MindSpore."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import yaml
from fvcore.common.config import CfgNode
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError
from typing_extensions import Self

from src.ava.label_map import read_label_map
from src.checkpoint.class_names import check_class_names
from src.config.custom_config import load_config
from src.datasets.transform import slow_frames
from src.utils.errors import UserError
from src.utils.files import sha256_of
from src.utils.nested import leaves

# Size of an axis that a graph leaves open.
OPEN = -1


class Record(BaseModel):
    """A JSON object of fixed fields; values are not converted, and fields that it does not know are passed over."""

    model_config = ConfigDict(frozen=True, strict=True)


class TensorSpec(Record):
    """Name, shape and NumPy type of an input or output of a graph; -1 is an axis that the graph leaves open."""

    name: str
    shape: tuple[PositiveInt | Literal[-1], ...]
    dtype: Literal["float32", "float16"]

    @property
    def row_bytes(self) -> int:
        """Bytes of one entry of the first axis."""
        return int(np.prod(self.shape[1:])) * np.dtype(self.dtype).itemsize

    def closed(self, sizes: Sequence[int]) -> Self:
        """Return a copy whose open axes have these sizes; `sizes` has an entry for each axis."""
        shape = tuple(size if axis == OPEN else axis for axis, size in zip(self.shape, sizes, strict=True))
        return self.model_copy(update={"shape": shape})


class OutputSpec(TensorSpec):
    """The scores; `activation` is what closes the graph, see MODEL.HEAD_ACT."""

    activation: str


class BoxRule(Record):
    """How the graph's boxes are given: the order of their corners, in which unit, and what fills the rest."""

    order: Literal["x1 y1 x2 y2"] = "x1 y1 x2 y2"
    unit: Literal["pixels of the clip"] = "pixels of the clip"
    padding: float = 0.0


class Preprocessing(Record):
    """How frames become clips; see DATA.*. The size is 0 where the graph leaves it open."""

    height: int
    width: int
    channels: Literal["RGB"] = "RGB"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    sampling_rate: PositiveInt


class FileRecord(Record):
    """Name and SHA-256 of a file."""

    file: str
    sha256: str


class GraphFile(FileRecord):
    """The graph's own file."""

    bytes: int


class Description(Record):
    """What a graph takes and gives, and how its inputs are made.

    Attributes:
        format: EXPORT.FORMAT.
        inputs: slow, fast, boxes.
        output: the scores.
        slow_frames: the frames of fast that slow takes.
        boxes: how boxes are given.
        num_classes: scores of a box.
        class_names: class name by class id; empty where the checkpoint does not say.
        preprocessing: how frames become clips.
        config_sha256: of the configuration.
        config: the configuration as nested dictionaries.
    """

    format: str
    inputs: tuple[TensorSpec, TensorSpec, TensorSpec]
    output: OutputSpec
    slow_frames: tuple[int, ...]
    boxes: BoxRule
    num_classes: PositiveInt
    class_names: dict[int, str]
    preprocessing: Preprocessing
    config_sha256: str
    config: dict


class Manifest(Description):
    """slowfast.json: the description, with the file of the graph and the checkpoint that it was exported from."""

    model: GraphFile
    checkpoint: FileRecord


def graph_specs(cfg: CfgNode) -> tuple[tuple[TensorSpec, TensorSpec, TensorSpec], OutputSpec]:
    """Return the inputs (slow, fast, boxes) and the output for clips, boxes and batches of the configured sizes.

    Raises:
        UserError: the configuration leaves the size of the clips open.
    """
    height, width = cfg.DATA.TEST_SCALE_HEIGHT, cfg.DATA.TEST_SCALE_WIDTH
    if not height:
        raise UserError(
            "clips of one size are needed here: set DATA.TEST_SCALE_HEIGHT and DATA.TEST_SCALE_WIDTH, "
            "for example 224 384"
        )
    return open_specs(cfg, cfg.EXPORT.BATCH_SIZE, cfg.EXPORT.NUM_BOXES, height, width)


def open_specs(
    cfg: CfgNode, batch: int, boxes: int, height: int, width: int
) -> tuple[tuple[TensorSpec, TensorSpec, TensorSpec], OutputSpec]:
    """Return the inputs and the output for `batch` clips of a size with `boxes` boxes each."""
    frames, clip = cfg.DATA.NUM_FRAMES, cfg.EXPORT.CLIP_DTYPE
    inputs = (
        TensorSpec(name="slow", shape=(batch, 3, frames // cfg.SLOWFAST.ALPHA, height, width), dtype=clip),
        TensorSpec(name="fast", shape=(batch, 3, frames, height, width), dtype=clip),
        TensorSpec(name="boxes", shape=(batch, boxes, 4), dtype="float32"),
    )
    scores = (batch, boxes, cfg.MODEL.NUM_CLASSES)
    return inputs, OutputSpec(name="scores", shape=scores, dtype="float32", activation=cfg.MODEL.HEAD_ACT)


def describe_graph(cfg: CfgNode, class_names: Mapping[int, str]) -> Description:
    """Return what the graph of a configuration takes and gives, and how its inputs are made.

    Raises:
        UserError: the configuration leaves the size of the clips open, but EXPORT.DYNAMIC is not set.
    """
    inputs, output = open_specs(cfg, OPEN, OPEN, OPEN, OPEN) if cfg.EXPORT.DYNAMIC else graph_specs(cfg)
    config = yaml.safe_load(cfg.dump())
    return Description(
        format=cfg.EXPORT.FORMAT,
        inputs=inputs,
        output=output,
        slow_frames=tuple(slow_frames(cfg.DATA.NUM_FRAMES, cfg.SLOWFAST.ALPHA).tolist()),
        boxes=BoxRule(),
        num_classes=cfg.MODEL.NUM_CLASSES,
        class_names=dict(class_names),
        preprocessing=Preprocessing(
            height=0 if cfg.EXPORT.DYNAMIC else cfg.DATA.TEST_SCALE_HEIGHT,
            width=0 if cfg.EXPORT.DYNAMIC else cfg.DATA.TEST_SCALE_WIDTH,
            mean=tuple(cfg.DATA.MEAN),
            std=tuple(cfg.DATA.STD),
            sampling_rate=cfg.DATA.SAMPLING_RATE,
        ),
        config_sha256=_digest_of(config),
        config=config,
    )


def describe_files(description: Description, graph: Path, checkpoint: Path) -> Manifest:
    """Return a description with what tells the graph's file and the weights in it from others."""
    model = GraphFile(file=graph.name, bytes=graph.stat().st_size, sha256=sha256_of(graph))
    return Manifest(
        **dict(description), model=model, checkpoint=FileRecord(file=checkpoint.name, sha256=sha256_of(checkpoint))
    )


def read_manifest(graph: str | os.PathLike) -> Manifest:
    """Read the JSON file beside a graph.

    Raises:
        UserError: either file is absent or damaged, they do not belong together, or the description was changed.
    """
    graph = Path(graph)
    path = graph.with_suffix(".json")
    manifest = read_record(path, Manifest, "export.py")
    if not graph.is_file():
        raise UserError(f"{graph}: no such file; expected a graph from export.py")
    if sha256_of(graph) != manifest.model.sha256:
        raise UserError(f"{graph}: not the graph that {path.name} describes (its SHA-256 differs); export it again")
    changed = _changed_field(manifest)
    if changed:
        raise UserError(f"{path}: the field {changed} is not what export.py wrote; export the graph again")
    return manifest


def _changed_field(manifest: Manifest) -> str | None:
    """Return a field that contradicts the others; None: there is none.

    Programs take the sizes and values of clips from the configuration, so that a change elsewhere had no effect, and
    one there another than on the graph.
    """
    if manifest.config_sha256 != _digest_of(manifest.config):
        return "config"
    expected = describe_graph(manifest_config(manifest, "."), manifest.class_names)
    derived = Description.model_fields.keys() - {"config", "config_sha256"}
    different = sorted(name for name in derived if getattr(manifest, name) != getattr(expected, name))
    if not different and not all(1 <= class_id <= manifest.num_classes for class_id in manifest.class_names):
        return "class_names"
    return different[0] if different else None


def _digest_of(config: dict) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def manifest_config(manifest: Manifest, data_dir: str | os.PathLike) -> CfgNode:
    """Return the configuration in a manifest, for a dataset in `data_dir`.

    Raises:
        UserError: the configuration is of another version of this package, or damaged.
    """
    pairs = [item for key, value in leaves(manifest.config) for item in (key, value)]
    return load_config(None, [*pairs, "DATA.PATH_TO_DATA_DIR", os.fspath(data_dir)])


def check_dataset(manifest: Manifest, cfg: CfgNode) -> None:
    """Raise UserError if the label map of a dataset gives the graph's classes other names."""
    path = Path(cfg.DATA.PATH_TO_DATA_DIR) / cfg.AVA.ANNOTATION_DIR / cfg.AVA.LABEL_MAP_FILE
    if path.is_file():
        check_class_names(manifest.class_names, read_label_map(path), manifest.model.file, str(path))


AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_record(path: Path, kind: type[AnyRecord], program: str) -> AnyRecord:
    """Read a JSON file of known fields.

    Args:
        path: the file.
        kind: its fields.
        program: what writes such files, for the message.

    Raises:
        UserError: the file is absent, or not such a file; the first field that is wrong is named.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot read the file: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise UserError(f"{path}: not from {program}: it lacks {place}") from error
        problem = " ".join(first["msg"].split())
        raise UserError(f"{path}: not from {program}: {f'{place}: ' if place else ''}{problem}") from error
