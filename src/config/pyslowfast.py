"""Files of PySlowFast: which of its keys mean something here, and what.

A file is taken for PySlowFast's if it sets NUM_GPUS, as all of its own do. Most keys have its names and meanings. Of
the others, some need a fixed value, some are called otherwise, and some have no meaning here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from src.utils.errors import UserError

MARK = "NUM_GPUS"

# Features that are not here: the value that does without.
_REQUIRED = {
    "TRAIN.DATASET": "ava",
    "TEST.DATASET": "ava",
    "TRAIN.CHECKPOINT_INFLATE": False,
    "DETECTION.ENABLE": True,
    "MODEL.ARCH": "slowfast",
    "MODEL.MODEL_NAME": "SlowFast",
    "MODEL.DROPCONNECT_RATE": 0.0,
    "RESNET.NUM_GROUPS": 1,
    "RESNET.STRIDE_1X1": False,
    "RESNET.TRANS_FUNC": "bottleneck_transform",
    "NONLOCAL.GROUP": [[1, 1]] * 4,
    "BN.NORM_TYPE": "batchnorm",
    "DATA.INPUT_CHANNEL_NUM": [3, 3],
    "DATA.INV_UNIFORM_SAMPLE": False,
    "DATA.REVERSE_INPUT_CHANNEL": False,
    "DATA.TRAIN_JITTER_ASPECT_RELATIVE": [],
    "DATA.TRAIN_JITTER_MOTION_SHIFT": False,
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": [],
    "AVA.BGR": False,
    "AUG.ENABLE": False,
    "MIXUP.ENABLE": False,
    "MULTIGRID.LONG_CYCLE": False,
    "MULTIGRID.SHORT_CYCLE": False,
    "SOLVER.BASE_LR_SCALE_NUM_SHARDS": False,
    "SOLVER.DAMPENING": 0.0,
    "SOLVER.OPTIMIZING_METHOD": "sgd",
    "SOLVER.ZERO_WD_1D_PARAM": False,
}
_RENAMED = {
    "DATA.TRAIN_PCA_EIGVAL": "AVA.TRAIN_PCA_EIGVAL",
    "DATA.TRAIN_PCA_EIGVEC": "AVA.TRAIN_PCA_EIGVEC",
    "TENSORBOARD.ENABLE": "TRAIN.TENSORBOARD",
}
# Keys and groups of keys without a meaning here, and why.
NOT_USED = {
    "NUM_GPUS": "the launcher says how many devices there are",
    "NUM_SHARDS": "the launcher says how many machines there are",
    "SHARD_ID": "the launcher tells each process its rank",
    "DIST_BACKEND": "the device decides: HCCL on Ascend, NCCL on GPU, MindSpore's own on the CPU",
    "LOG_MODEL_INFO": "python -m src.models.summary prints it",
    "TRAIN.ENABLE": "train.py trains",
    "TEST.ENABLE": "eval.py tests",
    "TRAIN.CHECKPOINT_TYPE": "convert_ckpt_caffe2ms.py recognizes the source from the file",
    "TEST.CHECKPOINT_TYPE": "convert_ckpt_caffe2ms.py recognizes the source from the file",
    "TRAIN.CHECKPOINT_CLEAR_NAME_PATTERN": "convert_ckpt_caffe2ms.py knows the names of each source",
    "TRAIN.CHECKPOINT_EPOCH_RESET": "weights to start from carry no epoch",
    "TEST.NUM_ENSEMBLE_VIEWS": "a key frame has one clip",
    "TEST.NUM_SPATIAL_CROPS": "whole frames are tested",
    "TEST.SAVE_RESULTS_PATH": "detections are always written, to OUTPUT_DIR",
    "RESNET.INPLACE_RELU": "the framework decides",
    "MODEL.SINGLE_PATHWAY_ARCH": "there is one architecture",
    "MODEL.MULTI_PATHWAY_ARCH": "there is one architecture",
    "DATA.PATH_LABEL_SEPARATOR": "for video classification",
    "DATA.PATH_PREFIX": "for video classification",
    "DATA.PATH_TO_PRELOAD_IMDB": "for video classification",
    "DATA.USE_OFFSET_SAMPLING": "for video classification",
    "DATA.TARGET_FPS": "AVA.FPS says it",
    "DATA.DECODING_BACKEND": "videos are decoded by FFmpeg",
    "DATA.MULTI_LABEL": "the AVA metric is the metric",
    "DATA.ENSEMBLE_METHOD": "for video classification",
    "DATA_LOADER.PIN_MEMORY": "MindSpore moves the batches",
    "DATA_LOADER.ENABLE_MULTI_THREAD_DECODE": "DATA_LOADER.NUM_WORKERS says it",
    "AVA.IMG_PROC_BACKEND": "OpenCV's arithmetic, as theirs with cv2",
    "BN.NUM_SPLITS": "for a kind of batch norm that is not here",
    "BN.NUM_SYNC_DEVICES": "for a kind of batch norm that is not here",
    "SOLVER.GAMMA": "for schedules that are not here",
    "SOLVER.STEP_SIZE": "for schedules that are not here",
    "SOLVER.WARMUP_FACTOR": "SOLVER.WARMUP_START_LR says it",
    "AUG": "not without AUG.ENABLE",
    "MIXUP": "not without MIXUP.ENABLE",
    "MULTIGRID": "not without MULTIGRID.LONG_CYCLE or SHORT_CYCLE",
    "TENSORBOARD": "TRAIN.TENSORBOARD writes the curves; nothing else is drawn",
    "BENCHMARK": "for a program of its own",
    "DEMO": "for a program of its own",
    "X3D": "for another network",
    "MVIT": "for another network",
}
# What PySlowFast takes where a file is silent, as far as it differs from the defaults here.
_DEFAULTS = {
    "RNG_SEED": 1,
    "TRAIN.EVAL_PERIOD": 10,
    "TRAIN.CHECKPOINT_PERIOD": 10,
    "TRAIN.AUTO_RESUME": True,
    "TRAIN.TENSORBOARD": False,
    "DATA.NUM_FRAMES": 8,
    "DATA.SAMPLING_RATE": 8,
    "DATA.TEST_CROP_SIZE": 256,
    "SLOWFAST.ALPHA": 8,
    "SLOWFAST.FUSION_KERNEL_SZ": 5,
    "RESNET.ZERO_INIT_FINAL_BN": False,
    "AVA.DETECTION_SCORE_THRESH": 0.9,
    "SOLVER.LR_POLICY": "cosine",
    "SOLVER.MAX_EPOCH": 300,
    "SOLVER.NESTEROV": True,
    "SOLVER.WEIGHT_DECAY": 1e-4,
    "SOLVER.WARMUP_EPOCHS": 0.0,
    "SOLVER.WARMUP_START_LR": 0.01,
}
# Of all devices together there, of each device here.
_DIVIDED = {"TRAIN.BATCH_SIZE": 64, "TEST.BATCH_SIZE": 8}


@dataclass(frozen=True)
class Translation:
    """Keys of this package, and what was done to get them.

    Attributes:
        entries: (file, key, value).
        notes: what to tell the user, in one line; empty: nothing.
    """

    entries: list[tuple[str, str, object]]
    notes: str


def translate(entries: Iterable[tuple[str, str, object]]) -> Translation:
    """Turn keys of PySlowFast into this package's; files without NUM_GPUS stay as they are.

    Args:
        entries: (file, key, value) of a file and its bases.

    Raises:
        UserError: a feature of PySlowFast's is asked for that is not here.
    """
    entries = list(entries)
    given = {key: (file, value) for file, key, value in entries}
    if MARK not in given:
        return Translation(entries, "")
    file, gpus = given[MARK]
    if type(gpus) is not int or gpus < 0:
        raise UserError(f"{file}: {MARK} is {gpus!r}, expected a whole number")
    result = [(file, key, value) for key, value in _DEFAULTS.items()]
    result += [(file, key, value) for key, value in _DIVIDED.items() if key not in given]
    unused = []
    for source, key, value in entries:
        if key in _REQUIRED:
            if value != _REQUIRED[key]:
                raise UserError(f"{source}: {key} is {value!r}; of PySlowFast's values only {_REQUIRED[key]!r} is here")
        elif key in _RENAMED:
            result.append((source, _RENAMED[key], value))
        elif key in NOT_USED or key.partition(".")[0] in NOT_USED:
            unused.append(key)
        else:
            result.append((source, key, value))
    devices = max(gpus, 1)
    notes = [f"{file}: a configuration of PySlowFast, with its defaults"]
    for index, (source, key, value) in enumerate(result):
        if key in _DIVIDED and type(value) is int and devices > 1:
            if value % devices:
                raise UserError(f"{source}: {key} is {value}, expected a multiple of {MARK} {devices}")
            result[index] = (source, key, value // devices)
            notes.append(f"{key} {value} on {devices} devices is {value // devices} on each")
    notes.append(f"not used here: {', '.join(dict.fromkeys(unused))}")
    return Translation(result, "; ".join(notes))
