"""PySlowFast's own AVA configurations load, and what was mapped or left out is told."""

import pytest
import yaml

from src.config import pyslowfast
from src.config.custom_config import load_config
from src.config.defaults import get_cfg
from src.utils.errors import UserError
from src.utils.nested import leaves

# The keys and values of PySlowFast's configs/AVA, as they were published.
COMMON = {
    "TRAIN": {"DATASET": "ava", "EVAL_PERIOD": 1, "CHECKPOINT_PERIOD": 1, "AUTO_RESUME": True},
    "DATA": {"SAMPLING_RATE": 2, "TRAIN_JITTER_SCALES": [256, 320], "TRAIN_CROP_SIZE": 224},
    "DETECTION": {"ENABLE": True},
    "AVA": {
        "DETECTION_SCORE_THRESH": 0.8,
        "TEST_PREDICT_BOX_LISTS": ["person_box_67091280_iou90/ava_detection_val_boxes_and_labels.csv"],
    },
    "SLOWFAST": {"ALPHA": 4, "BETA_INV": 8, "FUSION_CONV_CHANNEL_RATIO": 2},
    "RESNET": {
        **{"ZERO_INIT_FINAL_BN": True, "WIDTH_PER_GROUP": 64, "NUM_GROUPS": 1, "TRANS_FUNC": "bottleneck_transform"},
        **{"STRIDE_1X1": False, "NUM_BLOCK_TEMP_KERNEL": [[3, 3], [4, 4], [6, 6], [3, 3]]},
        "SPATIAL_DILATIONS": [[1, 1], [1, 1], [1, 1], [2, 2]],
        "SPATIAL_STRIDES": [[1, 1], [2, 2], [2, 2], [1, 1]],
    },
    "NONLOCAL": {"GROUP": [[1, 1], [1, 1], [1, 1], [1, 1]], "INSTANTIATION": "dot_product"},
    "BN": {"USE_PRECISE_STATS": False, "NUM_BATCHES_PRECISE": 200, "MOMENTUM": 0.1, "WEIGHT_DECAY": 0.0},
    "SOLVER": {"MOMENTUM": 0.9, "WEIGHT_DECAY": "1e-7", "OPTIMIZING_METHOD": "sgd"},
    "MODEL": {"NUM_CLASSES": 80, "ARCH": "slowfast", "LOSS_FUNC": "bce", "DROPOUT_RATE": 0.5},
    "TEST": {"ENABLE": True, "DATASET": "ava", "BATCH_SIZE": 8},
    "DATA_LOADER": {"NUM_WORKERS": 2, "PIN_MEMORY": True},
    **{"NUM_GPUS": 8, "NUM_SHARDS": 1, "RNG_SEED": 0, "OUTPUT_DIR": "."},
}
R50_SHORT = {
    "TRAIN.ENABLE": True,
    "TRAIN.BATCH_SIZE": 64,
    "TRAIN.EVAL_PERIOD": 5,
    "TRAIN.CHECKPOINT_TYPE": "caffe2",
    "DATA.NUM_FRAMES": 32,
    "DATA.TEST_CROP_SIZE": 224,
    "DATA.INPUT_CHANNEL_NUM": [3, 3],
    "DETECTION.ALIGNED": True,
    "SLOWFAST.FUSION_KERNEL_SZ": 7,
    "RESNET.DEPTH": 50,
    "NONLOCAL.LOCATION": [[[], []], [[], []], [[], []], [[], []]],
    "SOLVER.BASE_LR": 0.1,
    "SOLVER.LR_POLICY": "steps_with_relative_lrs",
    "SOLVER.STEPS": [0, 10, 15, 20],
    "SOLVER.LRS": [1, 0.1, 0.01, 0.001],
    "SOLVER.MAX_EPOCH": 20,
    "SOLVER.WARMUP_EPOCHS": 5.0,
    "SOLVER.WARMUP_START_LR": 0.000125,
    "MODEL.MODEL_NAME": "SlowFast",
    "MODEL.HEAD_ACT": "sigmoid",
}
R101 = {
    "TRAIN.ENABLE": False,
    "TRAIN.BATCH_SIZE": 16,
    "TRAIN.CHECKPOINT_TYPE": "pytorch",
    "DATA.NUM_FRAMES": 32,
    "DATA.TEST_CROP_SIZE": 256,
    "DATA.INPUT_CHANNEL_NUM": [3, 3],
    "DETECTION.ALIGNED": False,
    "AVA.BGR": False,
    "SLOWFAST.FUSION_KERNEL_SZ": 5,
    "RESNET.DEPTH": 101,
    "NONLOCAL.LOCATION": [[[], []], [[], []], [[6, 13, 20], []], [[], []]],
    "NONLOCAL.POOL": [[[2, 2, 2], [2, 2, 2]]] * 4,
}


@pytest.fixture
def write(tmp_path):
    """Return a function that writes COMMON with other keys over it."""

    def written(keys: dict, name: str = "theirs.yaml"):
        content = yaml.safe_load(yaml.safe_dump(COMMON))
        for key, value in keys.items():
            group, _, name_in_group = key.rpartition(".")
            (content.setdefault(group, {}) if group else content)[name_in_group] = value
        path = tmp_path / name
        path.write_text(yaml.safe_dump(content))
        return path

    return written


def test_the_recipe_of_r50_loads_with_its_meaning(write, capsys):
    path = write(R50_SHORT)
    cfg = load_config(path)
    assert (cfg.TRAIN.BATCH_SIZE, cfg.TEST.BATCH_SIZE) == (8, 1)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.AUTO_SCALE_LR, cfg.SOLVER.NESTEROV) == (0.1, False, True)
    assert (cfg.SOLVER.STEPS, cfg.SOLVER.WARMUP_START_LR, cfg.TRAIN.AUTO_RESUME) == ([0, 10, 15, 20], 0.000125, True)
    assert (cfg.DATA.TEST_CROP_SIZE, cfg.DETECTION.ALIGNED, cfg.MODEL.HEAD_ACT) == (224, True, "sigmoid")
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: a configuration of PySlowFast, with its defaults; TEST.BATCH_SIZE 8 on 8 devices is 1 on each; "
        "TRAIN.BATCH_SIZE 64 on 8 devices is 8 on each; "
        "not used here: DATA_LOADER.PIN_MEMORY, NUM_GPUS, NUM_SHARDS, TEST.ENABLE, TRAIN.CHECKPOINT_TYPE, TRAIN.ENABLE"
    ]


def test_the_recipe_of_r101_with_nonlocal_blocks_loads(write):
    cfg = load_config(write(R101))
    assert (cfg.RESNET.DEPTH, cfg.NONLOCAL.LOCATION[2], cfg.NONLOCAL.POOL[3]) == (
        101,
        [[6, 13, 20], []],
        [[2, 2, 2], [2, 2, 2]],
    )
    assert (cfg.DETECTION.ALIGNED, cfg.SLOWFAST.FUSION_KERNEL_SZ, cfg.DATA.TEST_CROP_SIZE) == (False, 5, 256)
    assert (cfg.SOLVER.LR_POLICY, cfg.SOLVER.MAX_EPOCH, cfg.TRAIN.BATCH_SIZE) == ("cosine", 300, 2)


def test_keys_that_are_called_otherwise_are_mapped(write):
    cfg = load_config(write(R50_SHORT | {"TENSORBOARD.ENABLE": True, "DATA.TRAIN_PCA_EIGVAL": [1, 2, 3]}))
    assert (cfg.TRAIN.TENSORBOARD, cfg.AVA.TRAIN_PCA_EIGVAL) == (True, [1.0, 2.0, 3.0])


def test_overrides_and_files_above_are_this_packages(write, tmp_path):
    write(R50_SHORT)
    (tmp_path / "mine.yaml").write_text("_BASE_: theirs.yaml\nSOLVER: {MAX_EPOCH: 3}\n")
    cfg = load_config(tmp_path / "mine.yaml", ["TRAIN.BATCH_SIZE", "64"])
    assert (cfg.SOLVER.MAX_EPOCH, cfg.TRAIN.BATCH_SIZE, cfg.SOLVER.NESTEROV) == (3, 64, True)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"MODEL.ARCH": "slow"}, "MODEL.ARCH is 'slow'; of PySlowFast's values only 'slowfast' is here"),
        (
            {"SOLVER.OPTIMIZING_METHOD": "adam"},
            "SOLVER.OPTIMIZING_METHOD is 'adam'; of PySlowFast's values only 'sgd' is",
        ),
        ({"TRAIN.BATCH_SIZE": 60}, "TRAIN.BATCH_SIZE is 60, expected a multiple of NUM_GPUS 8"),
        ({"NUM_GPUS": "eight"}, "NUM_GPUS is 'eight', expected a whole number"),
        ({"TRAIN.BATCHES": 60}, "unknown key TRAIN.BATCHES; the nearest key is TRAIN.BATCH_SIZE"),
    ],
)
def test_what_is_not_here_is_an_error(write, keys, message):
    path = write(R50_SHORT | keys)
    with pytest.raises(UserError) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_the_tables_do_not_overlap_with_the_keys_of_this_package():
    ours = {key for key, _ in leaves(get_cfg())}
    assert not ours & {*pyslowfast.NOT_USED, *pyslowfast._REQUIRED, *pyslowfast._RENAMED}
    assert ours >= {*pyslowfast._DEFAULTS, *pyslowfast._RENAMED.values(), *pyslowfast._DIVIDED}
    assert all(pyslowfast.NOT_USED.values())
