"""Recipes load over the defaults; what does not fit is refused with one line that says what was expected."""

import sys
from pathlib import Path

import pytest

from src.config.custom_config import argument_parser, load_config
from src.config.defaults import get_cfg
from src.utils.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"


def refused(*overrides: str, path: Path | None = None) -> str:
    with pytest.raises(UserError) as error:
        load_config(path, overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_published_recipe():
    cfg = load_config(CONFIGS / "AVA/SLOWFAST_32x2_R50_SHORT.yaml")
    assert (cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, cfg.DATA.TRAIN_CROP_SIZE) == (32, 2, 224)
    assert cfg.DATA.TRAIN_JITTER_SCALES == [256, 320]
    assert (cfg.SLOWFAST.ALPHA, cfg.SLOWFAST.BETA_INV) == (4, 8)
    assert (cfg.SLOWFAST.FUSION_CONV_CHANNEL_RATIO, cfg.SLOWFAST.FUSION_KERNEL_SZ) == (2, 7)
    assert cfg.RESNET.DEPTH == 50
    assert (cfg.RESNET.SPATIAL_DILATIONS[3], cfg.RESNET.SPATIAL_STRIDES[3]) == ([2, 2], [1, 1])
    assert (cfg.DETECTION.ALIGNED, cfg.AVA.DETECTION_SCORE_THRESH) == (True, 0.8)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.REFERENCE_BATCH, cfg.SOLVER.AUTO_SCALE_LR) == (0.15, 64, True)
    assert (cfg.SOLVER.STEPS, cfg.SOLVER.LRS) == ([0, 10, 15, 20], [1, 0.1, 0.01, 0.001])
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.MOMENTUM, cfg.SOLVER.WEIGHT_DECAY) == (20, 0.9, 1e-7)
    assert (cfg.SOLVER.WARMUP_EPOCHS, cfg.SOLVER.WARMUP_START_LR, cfg.BN.WEIGHT_DECAY) == (5.0, 0.000125, 0.0)
    assert (cfg.MODEL.NUM_CLASSES, cfg.MODEL.DROPOUT_RATE, cfg.MODEL.HEAD_ACT) == (80, 0.5, "sigmoid")
    assert (cfg.TRAIN.BATCH_SIZE, cfg.TEST.BATCH_SIZE) == (8, 8)
    assert cfg.AVA.TRAIN_GT_BOX_LISTS == ["ava_train_v2.2.csv"]


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_loads(path):
    assert load_config(path).is_frozen()


def test_defaults_are_a_fresh_copy_each_time():
    changed = get_cfg()
    changed.SOLVER.STEPS.append(99)
    assert get_cfg().SOLVER.STEPS == [0, 10, 15, 20]


def test_overrides_are_read_as_literals_and_whole_numbers_serve_as_floats():
    cfg = load_config(
        None, ["SOLVER.BASE_LR", "1", "AVA.TRAIN_LISTS", "['a.csv', 'b.csv']", "SOLVER.WEIGHT_DECAY", "1e-4"]
    )
    assert (cfg.SOLVER.BASE_LR, cfg.AVA.TRAIN_LISTS, cfg.SOLVER.WEIGHT_DECAY) == (1.0, ["a.csv", "b.csv"], 1e-4)


def test_a_path_that_looks_like_a_number_stays_text():
    assert load_config(None, ["DATA.PATH_TO_DATA_DIR", "2024"]).DATA.PATH_TO_DATA_DIR == "2024"


def test_a_base_is_merged_first_and_found_relative_to_the_file(tmp_path):
    (tmp_path / "base.yaml").write_text("RNG_SEED: 3\nLOG_PERIOD: 7\n")
    (tmp_path / "sub").mkdir()
    top = tmp_path / "sub/top.yaml"
    top.write_text("_BASE_: ../base.yaml\nRNG_SEED: 4\n")
    cfg = load_config(top)
    assert (cfg.RNG_SEED, cfg.LOG_PERIOD) == (4, 7)


def test_a_circle_of_bases_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("_BASE_: b.yaml\n")
    (tmp_path / "b.yaml").write_text("_BASE_: a.yaml\n")
    assert "circle" in refused(path=tmp_path / "a.yaml")


def test_an_unknown_key_names_the_nearest_real_one(tmp_path):
    assert refused("SOLVER.BASELR", "1") == "command line: unknown key SOLVER.BASELR; the nearest key is SOLVER.BASE_LR"
    path = tmp_path / "typo.yaml"
    path.write_text("DATA:\n  NUM_FRAME: 8\n")
    assert refused(path=path) == f"{path}: unknown key DATA.NUM_FRAME; the nearest key is DATA.NUM_FRAMES"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("SOLVER.MAX_EPOCH", "ten"), "command line: SOLVER.MAX_EPOCH is 'ten', expected a whole number"),
        (("TRAIN.BATCH_SIZE", "2.5"), "command line: TRAIN.BATCH_SIZE is 2.5, expected a whole number"),
        (("TRAIN.BATCH_SIZE",), "overrides come as KEY VALUE pairs, but 'TRAIN.BATCH_SIZE' has no value"),
        (("TRAIN.BATCH_SIZE", "0"), "TRAIN.BATCH_SIZE is 0, expected more than 0"),
        (("SOLVER.MOMENTUM", "-1"), "SOLVER.MOMENTUM is -1.0, expected 0 or more"),
        (("RESNET.DEPTH", "18"), "RESNET.DEPTH is 18, expected one of 50, 101"),
        (
            ("MODEL.NUM_CLASSES", "1", "MODEL.LOSS_FUNC", "cross_entropy", "MODEL.HEAD_ACT", "softmax"),
            "MODEL.HEAD_ACT softmax needs two classes or more, of which each box has one; take sigmoid and bce",
        ),
        (
            ("MODEL.HEAD_ACT", "none", "TEST.PERSON_SCORE", "True"),
            "TEST.PERSON_SCORE goes with probabilities, and MODEL.HEAD_ACT none leaves logits; take sigmoid",
        ),
        (("DATA.NUM_FRAMES", "30"), "DATA.NUM_FRAMES 30 is not a multiple of SLOWFAST.ALPHA 4"),
        (("MODEL.DROPOUT_RATE", "1"), "MODEL.DROPOUT_RATE is 1.0, expected 0 or more and less than 1"),
        (("SLOWFAST.FUSION_KERNEL_SZ", "4"), "SLOWFAST.FUSION_KERNEL_SZ is 4, expected an odd number"),
        (("DATA.MEAN", "[0.5]"), "command line: DATA.MEAN is [0.5], expected a list of 3 numbers"),
        (("DATA.STD", "[0, 0, 0]"), "DATA.STD is [0.0, 0.0, 0.0], expected more than 0"),
        (("BN.EPSILON", "-1"), "BN.EPSILON is -1.0, expected more than 0"),
        (("BN.MOMENTUM", "0"), "BN.MOMENTUM is 0.0, expected more than 0"),
        (("BN.MOMENTUM", "1.5"), "BN.MOMENTUM is 1.5, expected at most 1"),
        (("RNG_SEED", "4294967296"), "RNG_SEED is 4294967296, expected less than 4294967296"),
        (
            ("RESNET.SPATIAL_STRIDES", "[1, 2, 2, 1]"),
            "command line: RESNET.SPATIAL_STRIDES is [1, 2, 2, 1], expected a list of 4 lists of 2 whole numbers",
        ),
        (
            ("RESNET.SPATIAL_STRIDES", "[[1, 1], [2, 1], [2, 2], [1, 1]]"),
            "RESNET.SPATIAL_STRIDES of res3 is [2, 1], expected the same for both pathways",
        ),
        (
            ("RESNET.SPATIAL_STRIDES", "[[1, 1], [2, 2], [2, 2], [2, 2]]"),
            "DETECTION.SPATIAL_SCALE_FACTOR is 16, expected 32: the stem's strides times RESNET.SPATIAL_STRIDES",
        ),
        (
            ("NONLOCAL.LOCATION", "[[], [], [], []]"),
            "command line: NONLOCAL.LOCATION is [[], [], [], []], "
            "expected a list of 4 lists of 2 lists of whole numbers",
        ),
        (
            ("NONLOCAL.LOCATION", "[[[], []], [[], []], [[6], []], [[], []]]"),
            "NONLOCAL.LOCATION of res4 is [[6], []], expected blocks 0 to 5",
        ),
        (
            (
                *("NONLOCAL.LOCATION", "[[[0], []], [[], []], [[], []], [[], []]]"),
                *("NONLOCAL.POOL", f"[[[9, 2, 2], [1, 2, 2]], {', '.join(['[[1, 2, 2], [1, 2, 2]]'] * 3)}]"),
            ),
            "NONLOCAL.POOL of res2 takes 9 frames at a time, the pathway has 8",
        ),
        (("SOLVER.LRS", "['a']"), "command line: SOLVER.LRS is ['a'], expected a list of numbers"),
        (("AVA.TRAIN_LISTS", "[1]"), "command line: AVA.TRAIN_LISTS is [1], expected a list of texts"),
        (("AVA.TRAIN_LISTS", "a.csv"), "command line: AVA.TRAIN_LISTS is 'a.csv', expected a list of texts"),
        (("TRAIN.TENSORBOARD", "1"), "command line: TRAIN.TENSORBOARD is 1, expected True or False"),
        (("SOLVER.BASE_LR", "1e999"), "command line: SOLVER.BASE_LR is inf, expected a number"),
        (("DATA", "5"), "command line: DATA is '5', expected keys below it"),
        (
            ("DATA.TRAIN_JITTER_SCALES", "[320, 256]"),
            "DATA.TRAIN_JITTER_SCALES is [320, 256], expected the smaller first",
        ),
        (
            ("DATA.TEST_SCALE_HEIGHT", "256"),
            "DATA.TEST_SCALE_HEIGHT and DATA.TEST_SCALE_WIDTH go together: set both, or leave both 0",
        ),
        (
            ("SOLVER.STEPS", "[0, 5]"),
            "SOLVER.STEPS [0.0, 5.0] must start at 0, rise, and be as many as SOLVER.LRS [1.0, 0.1, 0.01, 0.001]",
        ),
        (
            ("SOLVER.STEPS", "[]", "SOLVER.LRS", "[]"),
            "SOLVER.STEPS [] must start at 0, rise, and be as many as SOLVER.LRS []",
        ),
    ],
)
def test_values_that_cannot_be_are_refused(overrides, message):
    assert refused(*overrides) == message


def test_all_unknown_keys_are_named_at_once(tmp_path):
    path = tmp_path / "typos.yaml"
    path.write_text("DATA:\n  NUM_FRAME: 8\nSOLVR:\n  BASE_LR: 1\n")
    assert refused("A.B", "1", path=path) == (
        f"{path}: 2 unknown keys: DATA.NUM_FRAME (nearest: DATA.NUM_FRAMES), SOLVR.BASE_LR (nearest: SOLVER.BASE_LR); "
        "command line: unknown key A.B; the nearest key is AVA.FPS"
    )


def test_a_group_whose_keys_are_all_comments_is_no_mistake(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("DATA:\n  # NUM_FRAMES: 8\nRNG_SEED: 2\n")
    assert load_config(path).RNG_SEED == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("RNG_SEED: 1\nRNG_SEED: 2\n", "not a YAML file: RNG_SEED stands twice"),
        ("1: 2", "not a YAML file: the key 1 is no text"),
        ("RNG_SEED: 2020-13-45", "not a YAML file: month must be in 1..12"),
        ("_BASE_: [1]", "_BASE_ is [1], expected the name of a file"),
        ("[" * 10_000, "nested too deeply"),
        ("A: &a {B: *a}", "nested too deeply"),
    ],
)
def test_yaml_that_python_would_choke_on_is_one_line(tmp_path, content, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)  # Python's own, as programs read files before they import MindSpore, which raises it
    try:
        said = refused(path=path)
    finally:
        sys.setrecursionlimit(limit)
    assert said.startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [("A: [", "not a YAML file"), ("- 1", "expected KEY: VALUE lines, found list"), ("\x00", "not a YAML file")],
)
def test_a_file_that_is_no_recipe_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    assert refused(path=path).startswith(f"{path}: {message}")


def test_a_missing_file_is_refused_by_name():
    assert (
        refused(path=Path("nowhere.yaml")) == "nowhere.yaml: cannot read the configuration: No such file or directory"
    )


def test_the_command_line_has_cfg_device_and_overrides():
    args = argument_parser("x").parse_args(["--cfg", "a.yaml", "--device_target", "CPU", "RNG_SEED", "1"])
    assert (args.cfg, args.device_target, args.overrides) == ("a.yaml", "CPU", ["RNG_SEED", "1"])


@pytest.mark.parametrize("behind", [[], ["RNG_SEED", "2"]])
def test_options_may_stand_behind_overrides(behind):
    arguments = ["--cfg", "a.yaml", "AVA.FIRST_SECOND", "-1", "--device_target", "CPU", *behind]
    args = argument_parser("x").parse_args(arguments)
    assert (args.device_target, args.overrides) == ("CPU", ["AVA.FIRST_SECOND", "-1", *behind])


def test_a_wrong_command_line_is_one_line():
    with pytest.raises(UserError, match=r"required: --cfg \(see .* --help\)"):
        argument_parser("x").parse_args([])
