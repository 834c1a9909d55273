"""What the values of a configuration may be, once their shapes are those of the defaults."""

import math
from collections.abc import Callable, Iterator

from fvcore.common.config import CfgNode

from src.models.stage_depths import STAGE_DEPTHS
from src.utils.errors import UserError

_CHOICES = {
    "MODEL.HEAD_ACT": ("sigmoid", "softmax", "none"),
    "MODEL.HEAD_TEMPORAL_POOL": ("mean", "max"),
    "MODEL.LOSS_FUNC": ("bce", "focal", "balanced_bce", "cross_entropy"),
    "RESNET.DEPTH": tuple(STAGE_DEPTHS),
    "NONLOCAL.INSTANTIATION": ("softmax", "dot_product"),
    "DATA.SOURCE": ("frames", "video"),
    "DETECTION.ROI_END_MODE": (0, 1),
    "SOLVER.LR_POLICY": ("steps_with_relative_lrs", "cosine"),
    "TRAIN.SAMPLING": ("uniform", "repeat", "balanced"),
    "TRAIN.AMP_LEVEL": ("O0", "O2", "O3", "bf16"),
    "TEST.AMP_LEVEL": ("O0", "O2", "O3", "bf16"),
    "EXPORT.FORMAT": ("MINDIR", "MINDIR_V1", "ONNX", "AIR"),
    "EXPORT.CLIP_DTYPE": ("float32", "float16"),
}
# Ranges hold for every number in a list.
_POSITIVE = (
    "TRAIN.BATCH_SIZE",
    "TRAIN.CHECKPOINT_PERIOD",
    "TRAIN.LOSS_SCALE",
    "TRAIN.ACCUMULATE_STEPS",
    "TEST.BATCH_SIZE",
    "TEST.SCALES",
    "LOG_PERIOD",
    "MODEL.NUM_CLASSES",
    "LOSS.FOCAL_ALPHA",
    "RESNET.WIDTH_PER_GROUP",
    "RESNET.SPATIAL_STRIDES",
    "RESNET.SPATIAL_DILATIONS",
    "NONLOCAL.POOL",
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
    "DATA.STD",
    "AVA.FPS",
    "EXPORT.BATCH_SIZE",
    "EXPORT.NUM_BOXES",
    "BN.EPSILON",
    "BN.MOMENTUM",
    "BN.NUM_BATCHES_PRECISE",
    "SOLVER.BASE_LR",
    "SOLVER.REFERENCE_BATCH",
    "SOLVER.MAX_EPOCH",
)
_NOT_NEGATIVE = (
    "RNG_SEED",
    "TRAIN.EVAL_PERIOD",
    "TRAIN.REPEAT_THRESHOLD",
    "TRAIN.MIXUP_ALPHA",
    "TRAIN.CHECKPOINT_STEPS",
    "TRAIN.KEEP_CHECKPOINTS",
    "TRAIN.LOSS_SCALE_WINDOW",
    "MODEL.FC_INIT_STD",
    "MODEL.HEAD_ACRN",
    "LOSS.FOCAL_GAMMA",
    "RESNET.NUM_BLOCK_TEMP_KERNEL",
    "NONLOCAL.LOCATION",
    "BN.WEIGHT_DECAY",
    "DETECTION.SAMPLING_RATIO",
    "DATA_LOADER.NUM_WORKERS",
    "DATA.TEST_SCALE_HEIGHT",
    "DATA.TEST_SCALE_WIDTH",
    "AVA.DETECTION_SCORE_THRESH",
    "AVA.VALID_SECONDS",
    "SOLVER.LRS",
    "SOLVER.COSINE_END_LR",
    "SOLVER.HEAD_LR_FACTOR",
    "SOLVER.MOMENTUM",
    "SOLVER.WEIGHT_DECAY",
    "SOLVER.WARMUP_EPOCHS",
    "SOLVER.WARMUP_START_LR",
    "SOLVER.CLIP_GRAD_VAL",
    "SOLVER.CLIP_GRAD_L2NORM",
)
_AT_MOST_1 = ("BN.MOMENTUM", "AVA.DETECTION_SCORE_THRESH")
_LESS_THAN_1 = ("MODEL.DROPOUT_RATE", "TRAIN.EMA_DECAY")
_RANGES: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (_POSITIVE, lambda x: x > 0, "more than 0"),
    (_NOT_NEGATIVE, lambda x: x >= 0, "0 or more"),
    (_AT_MOST_1, lambda x: x <= 1, "at most 1"),
    (_LESS_THAN_1, lambda x: 0 <= x < 1, "0 or more and less than 1"),
    (("RNG_SEED",), lambda x: x < 2**32, "less than 4294967296"),
)
# Keys by which probabilities are averaged or multiplied.
_OF_PROBABILITIES = ("TEST.SCALES", "TEST.FLIP", "TEST.ENSEMBLE_FILE_PATHS", "TEST.PERSON_SCORE")
# Keys that exclude each other, and why.
_EXCLUSIVE = (
    ("MODEL.HEAD_CONTEXT", "MODEL.HEAD_ACRN", "the relation sees the whole frame already"),
    ("TEST.SCALES", "DATA.TEST_SCALE_HEIGHT", "several sizes keep the aspect ratio"),
    ("TEST.FLIP", "AVA.TEST_FORCE_FLIP", "clips are mirrored beside themselves, or instead"),
    ("SOLVER.CLIP_GRAD_VAL", "SOLVER.CLIP_GRAD_L2NORM", "gradients are clipped in one way"),
    ("BN.USE_PRECISE_STATS", "BN.FREEZE_STATISTICS", "frozen statistics stay as they are"),
    ("BN.SYNC", "BN.FREEZE_STATISTICS", "frozen statistics are the same everywhere"),
    ("BN.USE_PRECISE_STATS", "TRAIN.EMA_DECAY", "validation scores averaged weights with averaged statistics"),
)


def value_of(cfg: CfgNode, key: str) -> object:
    """Return the value of "A.B"."""
    node = cfg
    for name in key.split("."):
        node = node[name]
    return node


def check_values(cfg: CfgNode) -> None:
    """Check ranges, and keys that bound each other.

    Raises:
        UserError: a value cannot be.
    """
    for key, choices in _CHOICES.items():
        if value_of(cfg, key) not in choices:
            raise UserError(f"{key} is {value_of(cfg, key)!r}, expected one of {', '.join(map(str, choices))}")
    for keys, holds, expected in _RANGES:
        for key in keys:
            value = value_of(cfg, key)
            if not all(holds(number) for number in _numbers(value)):
                raise UserError(f"{key} is {value!r}, expected {expected}")
    for first, second, why in _EXCLUSIVE:
        if value_of(cfg, first) and value_of(cfg, second):
            raise UserError(f"{first} and {second} exclude each other: {why}")
    _check_data(cfg)
    _check_network(cfg)
    if cfg.SOLVER.COSINE_AFTER_WARMUP and cfg.SOLVER.WARMUP_EPOCHS >= cfg.SOLVER.MAX_EPOCH:
        raise UserError(
            f"SOLVER.WARMUP_EPOCHS is {cfg.SOLVER.WARMUP_EPOCHS:g}, expected less than SOLVER.MAX_EPOCH "
            f"{cfg.SOLVER.MAX_EPOCH}: SOLVER.COSINE_AFTER_WARMUP leaves the rest to the cosine"
        )
    steps, factors = cfg.SOLVER.STEPS, cfg.SOLVER.LRS
    if len(steps) != len(factors) or not steps or steps[0] != 0 or sorted(steps) != steps:
        raise UserError(f"SOLVER.STEPS {steps} must start at 0, rise, and be as many as SOLVER.LRS {factors}")


def _numbers(value: object) -> Iterator[float]:
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    else:
        yield value


def _check_data(cfg: CfgNode) -> None:
    if bool(cfg.DATA.TEST_SCALE_HEIGHT) != bool(cfg.DATA.TEST_SCALE_WIDTH):
        raise UserError("DATA.TEST_SCALE_HEIGHT and DATA.TEST_SCALE_WIDTH go together: set both, or leave both 0")
    for key in ("DATA.TRAIN_JITTER_SCALES", "AVA.VALID_SECONDS"):
        low, high = value_of(cfg, key)
        if low > high:
            raise UserError(f"{key} is [{low}, {high}], expected the smaller first")
    if cfg.DATA.TRAIN_JITTER_SCALES[0] < cfg.DATA.TRAIN_CROP_SIZE:
        raise UserError(
            f"DATA.TRAIN_JITTER_SCALES starts at {cfg.DATA.TRAIN_JITTER_SCALES[0]}, "
            f"smaller than DATA.TRAIN_CROP_SIZE {cfg.DATA.TRAIN_CROP_SIZE}"
        )


def _check_network(cfg: CfgNode) -> None:
    if (cfg.MODEL.LOSS_FUNC == "cross_entropy") != (cfg.MODEL.HEAD_ACT == "softmax"):
        raise UserError(
            f"MODEL.LOSS_FUNC is {cfg.MODEL.LOSS_FUNC} and MODEL.HEAD_ACT {cfg.MODEL.HEAD_ACT}: "
            "cross_entropy and softmax go together, for classes that exclude each other"
        )
    if cfg.MODEL.HEAD_ACT == "softmax" and cfg.MODEL.NUM_CLASSES < 2:
        raise UserError(
            "MODEL.HEAD_ACT softmax needs two classes or more, of which each box has one; take sigmoid and bce"
        )
    for key in _OF_PROBABILITIES if cfg.MODEL.HEAD_ACT == "none" else ():
        if value_of(cfg, key):
            raise UserError(f"{key} goes with probabilities, and MODEL.HEAD_ACT none leaves logits; take sigmoid")
    for key, divisor in (("DATA.NUM_FRAMES", "SLOWFAST.ALPHA"), ("RESNET.WIDTH_PER_GROUP", "SLOWFAST.BETA_INV")):
        if value_of(cfg, key) % value_of(cfg, divisor):
            raise UserError(f"{key} {value_of(cfg, key)} is not a multiple of {divisor} {value_of(cfg, divisor)}")
    if not cfg.SLOWFAST.FUSION_KERNEL_SZ % 2:
        raise UserError(f"SLOWFAST.FUSION_KERNEL_SZ is {cfg.SLOWFAST.FUSION_KERNEL_SZ}, expected an odd number")
    frames = (cfg.DATA.NUM_FRAMES // cfg.SLOWFAST.ALPHA, cfg.DATA.NUM_FRAMES)
    for stage, blocks in enumerate(STAGE_DEPTHS[cfg.RESNET.DEPTH]):
        name = f"res{stage + 2}"
        temporal, strides = cfg.RESNET.NUM_BLOCK_TEMP_KERNEL[stage], cfg.RESNET.SPATIAL_STRIDES[stage]
        if max(temporal) > blocks:
            raise UserError(f"RESNET.NUM_BLOCK_TEMP_KERNEL of {name} is {temporal}, expected 0 to {blocks}")
        if strides[0] != strides[1]:
            raise UserError(f"RESNET.SPATIAL_STRIDES of {name} is {strides}, expected the same for both pathways")
        for pathway, after in enumerate(cfg.NONLOCAL.LOCATION[stage]):
            if any(block >= blocks for block in after):
                locations = cfg.NONLOCAL.LOCATION[stage]
                raise UserError(f"NONLOCAL.LOCATION of {name} is {locations}, expected blocks 0 to {blocks - 1}")
            if after and cfg.NONLOCAL.POOL[stage][pathway][0] > frames[pathway]:
                raise UserError(
                    f"NONLOCAL.POOL of {name} takes {cfg.NONLOCAL.POOL[stage][pathway][0]} frames at a time, "
                    f"the pathway has {frames[pathway]}"
                )
    # The stem has strides 2 and 2.
    scale = 4 * math.prod(strides[0] for strides in cfg.RESNET.SPATIAL_STRIDES)
    if scale != cfg.DETECTION.SPATIAL_SCALE_FACTOR:
        raise UserError(
            f"DETECTION.SPATIAL_SCALE_FACTOR is {cfg.DETECTION.SPATIAL_SCALE_FACTOR}, "
            f"expected {scale}: the stem's strides times RESNET.SPATIAL_STRIDES"
        )
