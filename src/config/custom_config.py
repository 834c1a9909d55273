"""Loading, overriding and validating a configuration, and the command line that all entry scripts share."""

import argparse
import ast
import contextlib
import difflib
import os
from collections.abc import Iterator, Sequence

import yaml
from fvcore.common.config import CfgNode

from src.config.defaults import get_cfg
from src.models.stage_depths import STAGE_DEPTHS
from src.utils.arguments import OneLineParser
from src.utils.errors import UserError

_BASE_KEY = "_BASE_"
_CHOICES = {
    "MODEL.HEAD_ACT": ("sigmoid", "none"),
    "MODEL.LOSS_FUNC": ("bce",),
    "RESNET.DEPTH": tuple(STAGE_DEPTHS),
    "NONLOCAL.INSTANTIATION": ("softmax", "dot_product"),
    "DATA.SOURCE": ("frames", "video"),
    "DETECTION.ROI_END_MODE": (0, 1),
    "SOLVER.LR_POLICY": ("steps_with_relative_lrs", "cosine"),
    "TRAIN.AMP_LEVEL": ("O0", "O2", "O3", "bf16"),
    "EXPORT.FORMAT": ("MINDIR", "MINDIR_V1", "ONNX", "AIR"),
    "EXPORT.CLIP_DTYPE": ("float32", "float16"),
}
_POSITIVE = (
    "TRAIN.BATCH_SIZE",
    "TRAIN.CHECKPOINT_PERIOD",
    "TRAIN.LOSS_SCALE",
    "TRAIN.ACCUMULATE_STEPS",
    "TEST.BATCH_SIZE",
    "LOG_PERIOD",
    "MODEL.NUM_CLASSES",
    "RESNET.WIDTH_PER_GROUP",
    "SLOWFAST.ALPHA",
    "SLOWFAST.BETA_INV",
    "SLOWFAST.FUSION_CONV_CHANNEL_RATIO",
    "SLOWFAST.FUSION_KERNEL_SZ",
    "DETECTION.SPATIAL_SCALE_FACTOR",
    "DETECTION.ROI_XFORM_RESOLUTION",
    "DATA.NUM_FRAMES",
    "DATA.SAMPLING_RATE",
    "DATA.TRAIN_CROP_SIZE",
    "DATA.TEST_CROP_SIZE",
    "AVA.FPS",
    "EXPORT.BATCH_SIZE",
    "EXPORT.NUM_BOXES",
    "BN.NUM_BATCHES_PRECISE",
    "SOLVER.BASE_LR",
    "SOLVER.REFERENCE_BATCH",
    "SOLVER.MAX_EPOCH",
)
_NOT_NEGATIVE = (
    "RNG_SEED",
    "TRAIN.EVAL_PERIOD",
    "TRAIN.CHECKPOINT_STEPS",
    "TRAIN.KEEP_CHECKPOINTS",
    "TRAIN.LOSS_SCALE_WINDOW",
    "DATA_LOADER.NUM_WORKERS",
    "DETECTION.SAMPLING_RATIO",
    "DATA.TEST_SCALE_HEIGHT",
    "DATA.TEST_SCALE_WIDTH",
    "SOLVER.MOMENTUM",
    "SOLVER.WEIGHT_DECAY",
    "SOLVER.WARMUP_EPOCHS",
    "SOLVER.WARMUP_START_LR",
    "SOLVER.CLIP_GRAD_VAL",
    "SOLVER.CLIP_GRAD_L2NORM",
)


def argument_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser of `--cfg FILE [--device_target CPU|GPU|Ascend] [KEY VALUE ...]`; scripts may add to it."""
    parser = OneLineParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", required=True, metavar="FILE", help="YAML file of the recipe")
    parser.add_argument(
        "--device_target",
        choices=("CPU", "GPU", "Ascend"),
        help="where to run; default: the best that MindSpore finds on this machine",
    )
    parser.add_argument(
        "overrides",
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help="configuration keys to set, as TRAIN.BATCH_SIZE 4",
    )
    return parser


def load_config(path: str | os.PathLike | None = None, overrides: Sequence[str] = ()) -> CfgNode:
    """Load a YAML recipe over the defaults, apply overrides, validate, and freeze.

    Args:
        path: YAML file; a top-level `_BASE_` names a file (relative to this one) to start from. None: the defaults.
        overrides: KEY VALUE pairs in one flat sequence; values are read as Python literals where they are some.

    Returns:
        A frozen CfgNode with the keys of `defaults.py`.

    Raises:
        UserError: unreadable file, unknown key (the nearest real key is named), wrong type, or a value out of range.
    """
    cfg = get_cfg()
    if path is not None:
        _merge_file(cfg, os.fspath(path), ())
    if len(overrides) % 2:
        raise UserError(f"overrides come as KEY VALUE pairs, but {overrides[-1]!r} has no value")
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        _merge(cfg, key, value, "command line")
    _validate(cfg)
    cfg.freeze()
    return cfg


def _merge_file(cfg: CfgNode, path: str, including: tuple[str, ...]) -> None:
    """Merge the file `path` into `cfg`, its base first; `including` are the files that led here."""
    if path in including:
        raise UserError(f"{path}: {_BASE_KEY} leads in a circle")
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - os.path keeps relative names readable in messages
            content = yaml.safe_load(file)
    except OSError as error:
        raise UserError(f"{path}: cannot read the configuration: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected KEY: VALUE lines, found {type(content).__name__}")
    base = content.pop(_BASE_KEY, None)
    if base is not None:
        _merge_file(cfg, os.path.normpath(os.path.join(os.path.dirname(path), str(base))), (*including, path))  # noqa: PTH118, PTH120
    for key, value in _leaves(content):
        _merge(cfg, key, value, path)


def _leaves(tree: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield ("A.B", value) for every value of a nested dict that is not a dict."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _merge(cfg: CfgNode, key: str, value: object, where: str) -> None:
    """Set one key; text is read as a Python literal where it is one, and whole numbers serve where floats are due."""
    known = [name for name, _ in _leaves(cfg)]
    if key not in known:
        nearest = difflib.get_close_matches(key.upper(), known, n=1, cutoff=0.0)[0]
        raise UserError(f"{where}: unknown key {key}; the nearest key is {nearest}")
    default = _value(cfg, key)
    if isinstance(value, str) and not isinstance(default, str):
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(value)
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(default):
        raise UserError(f"{where}: {key} is {value!r}, expected {type(default).__name__}")
    group, _, name = key.rpartition(".")
    (_value(cfg, group) if group else cfg)[name] = value


def _value(cfg: CfgNode, key: str) -> object:
    node = cfg
    for name in key.split("."):
        node = node[name]
    return node


def _validate(cfg: CfgNode) -> None:
    for key, choices in _CHOICES.items():
        if _value(cfg, key) not in choices:
            raise UserError(f"{key} is {_value(cfg, key)!r}, expected one of {', '.join(map(str, choices))}")
    for key in _POSITIVE:
        if not _value(cfg, key) > 0:
            raise UserError(f"{key} is {_value(cfg, key)!r}, expected more than 0")
    for key in _NOT_NEGATIVE:
        if not _value(cfg, key) >= 0:
            raise UserError(f"{key} is {_value(cfg, key)!r}, expected 0 or more")
    if cfg.DATA.NUM_FRAMES % cfg.SLOWFAST.ALPHA:
        raise UserError(
            f"DATA.NUM_FRAMES {cfg.DATA.NUM_FRAMES} is not a multiple of SLOWFAST.ALPHA {cfg.SLOWFAST.ALPHA}"
        )
    if cfg.RESNET.WIDTH_PER_GROUP % cfg.SLOWFAST.BETA_INV:
        raise UserError(
            f"RESNET.WIDTH_PER_GROUP {cfg.RESNET.WIDTH_PER_GROUP} is not a multiple of "
            f"SLOWFAST.BETA_INV {cfg.SLOWFAST.BETA_INV}"
        )
    if not cfg.SLOWFAST.FUSION_KERNEL_SZ % 2:
        raise UserError(f"SLOWFAST.FUSION_KERNEL_SZ is {cfg.SLOWFAST.FUSION_KERNEL_SZ}, expected an odd number")
    if not 0 <= cfg.MODEL.DROPOUT_RATE < 1:
        raise UserError(f"MODEL.DROPOUT_RATE is {cfg.MODEL.DROPOUT_RATE}, expected 0 or more and less than 1")
    if bool(cfg.DATA.TEST_SCALE_HEIGHT) != bool(cfg.DATA.TEST_SCALE_WIDTH):
        raise UserError("DATA.TEST_SCALE_HEIGHT and DATA.TEST_SCALE_WIDTH go together: set both, or leave both 0")
    for key, length in (("DATA.MEAN", 3), ("DATA.STD", 3), ("DATA.TRAIN_JITTER_SCALES", 2), ("AVA.VALID_SECONDS", 2)):
        if len(_value(cfg, key)) != length:
            raise UserError(f"{key} has {len(_value(cfg, key))} entries, expected {length}")
    for key in ("DATA.TRAIN_JITTER_SCALES", "AVA.VALID_SECONDS"):
        low, high = _value(cfg, key)
        if low > high:
            raise UserError(f"{key} is [{low}, {high}], expected the smaller first")
    if cfg.DATA.TRAIN_JITTER_SCALES[0] < cfg.DATA.TRAIN_CROP_SIZE:
        raise UserError(
            f"DATA.TRAIN_JITTER_SCALES starts at {cfg.DATA.TRAIN_JITTER_SCALES[0]}, "
            f"smaller than DATA.TRAIN_CROP_SIZE {cfg.DATA.TRAIN_CROP_SIZE}"
        )
    steps, factors = cfg.SOLVER.STEPS, cfg.SOLVER.LRS
    if len(steps) != len(factors) or steps[0] != 0 or sorted(steps) != list(steps):
        raise UserError(f"SOLVER.STEPS {steps} must start at 0, rise, and be as many as SOLVER.LRS {factors}")
    _validate_training(cfg)
    _validate_stages(cfg)


def _validate_training(cfg: CfgNode) -> None:
    """Check features of training that bound or exclude each other."""
    if not 0 <= cfg.TRAIN.EMA_DECAY < 1:
        raise UserError(f"TRAIN.EMA_DECAY is {cfg.TRAIN.EMA_DECAY}, expected 0 or more and less than 1")
    for first, second, why in (
        ("SOLVER.CLIP_GRAD_VAL", "SOLVER.CLIP_GRAD_L2NORM", "gradients are clipped in one way"),
        ("BN.USE_PRECISE_STATS", "BN.FREEZE_STATISTICS", "frozen statistics stay as they are"),
        ("BN.USE_PRECISE_STATS", "TRAIN.EMA_DECAY", "validation scores averaged weights with averaged statistics"),
    ):
        if _value(cfg, first) and _value(cfg, second):
            raise UserError(f"{first} and {second} exclude each other: {why}")


def _validate_stages(cfg: CfgNode) -> None:
    """Check the keys that hold one entry for each of res2 to res5 and each pathway."""
    for key in (
        "RESNET.NUM_BLOCK_TEMP_KERNEL",
        "RESNET.SPATIAL_STRIDES",
        "RESNET.SPATIAL_DILATIONS",
        "NONLOCAL.LOCATION",
        "NONLOCAL.POOL",
    ):
        value = _value(cfg, key)
        if len(value) != 4 or any(len(stage) != 2 for stage in value):
            raise UserError(f"{key} is {value}, expected an entry for each of res2 to res5, each of two pathways")
    for stage, (blocks, temporal, nonlocal_blocks) in enumerate(
        zip(STAGE_DEPTHS[cfg.RESNET.DEPTH], cfg.RESNET.NUM_BLOCK_TEMP_KERNEL, cfg.NONLOCAL.LOCATION, strict=True),
        start=2,
    ):
        if any(not 0 <= count <= blocks for count in temporal):
            raise UserError(f"RESNET.NUM_BLOCK_TEMP_KERNEL of res{stage} is {temporal}, expected 0 to {blocks}")
        if any(not 0 <= block < blocks for pathway in nonlocal_blocks for block in pathway):
            raise UserError(f"NONLOCAL.LOCATION of res{stage} is {nonlocal_blocks}, expected blocks 0 to {blocks - 1}")
