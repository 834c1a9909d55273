"""Whole trainings of a tiny network: resumed runs, checkpoints that are kept, and what a run leaves behind."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from fvcore.common.config import CfgNode

from src.checkpoint.class_names import check_class_names, class_names
from src.checkpoint.mindspore_format import load_checkpoint
from src.datasets.ava_dataset import AvaDataset
from src.engine.checkpointer import averaged_weights
from src.engine.metric_logger import MetricLogger
from src.engine.output_folder import locked
from src.engine.trainer import LOG_FILE, Trainer
from src.evaluation.build import read_class_names
from src.models.lr_policy import batch_scale
from src.utils.distributed import ProcessGroup
from src.utils.errors import UserError
from src.utils.logging import LOGGER_NAME, get_logger
from tests.tiny import TinyNetwork

# What makes a run: momentum, a changing rate, dropout, mixup, averages, precise data order; all of it must come back.
FEATURES = (
    *("TRAIN.SAMPLING", "balanced", "TRAIN.MIXUP_ALPHA", 0.4, "MODEL.LOSS_FUNC", "balanced_bce"),
    *("SOLVER.HEAD_LR_FACTOR", 0.5),
    "TRAIN.CHECKPOINT_PERIOD",
    1,
    "TRAIN.EMA_DECAY",
    0.5,
    "TRAIN.CHECKPOINT_STEPS",
    3,
    "TRAIN.EVAL_PERIOD",
    1,
    "SOLVER.CLIP_GRAD_L2NORM",
    1.0,
)
STEPS = 7


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    import logging

    monkeypatch.setattr(get_logger(), "propagate", True)  # which the first call of all turns off
    caplog.set_level(logging.DEBUG, LOGGER_NAME)
    return caplog


def run(cfg: CfgNode, steps: int = 0) -> bool:
    """Train, and ask to stop after so many steps (0: do not); return whether all epochs are done."""
    ms.set_seed(1)
    trainer = Trainer(cfg, TinyNetwork(cfg), AvaDataset(cfg, "train"), class_names=read_class_names(cfg))
    stop, update, losses = SimpleNamespace(requested=False), trainer._update, []

    def counted(*arguments: object) -> float:
        losses.append(update(*arguments))
        stop.requested = len(losses) == steps
        return losses[-1]

    trainer._update = counted
    return trainer.train(stop)


def averages_of(path: Path) -> dict[str, np.ndarray]:
    return averaged_weights(load_checkpoint(path), str(path))


def content(path: Path) -> dict[str, np.ndarray]:
    """Return what a checkpoint holds, but for the record of the run, which has a name of its own."""
    return {name: array for name, array in load_checkpoint(path).items() if name != "run"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, recipe, recipe_file) -> Path:
    """The output of a run of two epochs."""
    from src.config.custom_config import load_config

    output = tmp_path_factory.mktemp("undisturbed")
    assert run(load_config(recipe_file, [*recipe, *FEATURES, "OUTPUT_DIR", str(output)]))
    return output


@pytest.fixture
def resumable(configure: Callable[..., CfgNode], tmp_path: Path) -> CfgNode:
    return configure(*FEATURES, "OUTPUT_DIR", str(tmp_path), "TRAIN.AUTO_RESUME", True)


def assert_same_run(output: Path, expected: Path) -> None:
    final = f"checkpoints/slowfast-2_{STEPS}.ckpt"
    np.testing.assert_equal(content(output / final), content(expected / final))
    best = "checkpoints/slowfast-best.ckpt"
    np.testing.assert_equal(content(output / best), content(expected / best))
    assert json.loads((output / "scalars.json").read_text()) == json.loads((expected / "scalars.json").read_text())


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_by_bit(resumable, undisturbed, tmp_path, log):
    assert run(resumable, 2) is False
    assert [path.name for path in (tmp_path / "checkpoints").glob("*.ckpt")] == ["slowfast-1_2.ckpt"]
    assert run(resumable, STEPS + 2) is False
    # As after a power cut: the newest checkpoint is cut short, the one before it counts.
    newest = tmp_path / "checkpoints" / "slowfast-2_4.ckpt"
    newest.write_bytes(newest.read_bytes()[:-100])
    assert run(resumable) is True
    assert f"left out: {newest}: " in log.text
    assert f"resumed from {tmp_path / 'checkpoints' / 'slowfast-2_3.ckpt'}" in log.text
    assert_same_run(tmp_path, undisturbed)
    # Once done, a run stays as it is.
    assert run(resumable) is True
    assert_same_run(tmp_path, undisturbed)


def test_a_checkpoint_holds_momentum_steps_and_averages(undisturbed):
    arrays = content(undisturbed / "checkpoints" / f"slowfast-2_{STEPS}.ckpt")
    assert arrays["optimizer.global_step"] == 2 * STEPS
    assert np.abs(arrays["optimizer.moments.conv.weight"]).max() > 0
    averages = averages_of(undisturbed / "checkpoints" / f"slowfast-2_{STEPS}.ckpt")
    assert set(averages) < set(arrays)
    assert (averages["conv.weight"] != arrays["conv.weight"]).any()


def test_the_best_checkpoint_is_that_of_the_highest_map(undisturbed):
    scores = json.loads((undisturbed / "scalars.json").read_text())["val/map"]
    assert [step for step, _ in scores] == [STEPS, 2 * STEPS]
    best = 1 + int(np.argmax([score for _, score in scores]))
    # Validation scores the averages.
    averages = averages_of(undisturbed / "checkpoints" / f"slowfast-{best}_{STEPS}.ckpt")
    weights = content(undisturbed / "checkpoints" / "slowfast-best.ckpt")
    weights.pop("class_names")
    np.testing.assert_equal(weights, averages)


def test_curves_are_written_as_numbers_and_plots(undisturbed):
    curves = json.loads((undisturbed / "scalars.json").read_text())
    assert [step for step, _ in curves["train/loss"]] == list(range(1, 2 * STEPS + 1))
    assert curves["train/lr"][0] == [1, 0.005]
    for name in ("train_loss.png", "train_lr.png", "val_map.png"):
        assert (undisturbed / name).read_bytes().startswith(b"\x89PNG")


def test_a_curve_is_drawn_again_when_it_has_grown(tmp_path):
    drawings = []
    with contextlib.closing(MetricLogger(tmp_path, tensorboard=False)) as metrics:
        for step in (1, 2):
            metrics.add("train/loss", step, 1 / step)
            metrics.plot()
            drawings.append((tmp_path / "train_loss.png").read_bytes())
        (tmp_path / "train_loss.png").unlink()
    assert drawings[0] != drawings[1]
    assert not (tmp_path / "train_loss.png").exists()  # the end draws nothing that is drawn already


def test_tensorboard_gets_the_curves(configure, tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    run(configure("OUTPUT_DIR", str(tmp_path), "TRAIN.TENSORBOARD", True, "SOLVER.MAX_EPOCH", 1))
    (path,) = (tmp_path / "tensorboard").iterdir()
    data, values = path.read_bytes(), []
    while data:
        # A record: length, its checksum in four bytes, the event, its checksum.
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + length])
        values += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        data = data[16 + length :]
    curves = json.loads((tmp_path / "scalars.json").read_text())
    losses = [[step, value] for step, tag, value in values if tag == "train/loss"]
    np.testing.assert_allclose(losses, curves["train/loss"], rtol=1e-6)
    assert len(losses) == STEPS


def test_only_so_many_checkpoints_are_kept_and_the_best(configure, tmp_path):
    settings = ("TRAIN.KEEP_CHECKPOINTS", 2, "TRAIN.CHECKPOINT_STEPS", 2, "TRAIN.EVAL_PERIOD", 2)
    run(configure("OUTPUT_DIR", str(tmp_path), *settings))
    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("*.ckpt"))
    assert names == ["slowfast-2_6.ckpt", "slowfast-2_7.ckpt", "slowfast-best.ckpt"]


def test_a_checkpoint_of_other_settings_is_refused(configure, undisturbed, tmp_path):
    for overrides, message in (
        (
            ("RNG_SEED", 5),
            "of a run with other settings: RNG_SEED was 0, now it is 5; give this run",
        ),
        (("SOLVER.BASE_LR", 0.01, "SOLVER.NESTEROV", True), "BASE_LR was 0.05, now it is 0.01; SOLVER.NESTEROV was F"),
        (("TRAIN.BATCH_SIZE", 2), "clips a step was 4, now it is 2; steps an epoch was 7, now it is 15"),
        (("AVA.VALID_SECONDS", [1, 20]), "the training data was 30 key frames, digest "),
    ):
        cfg = configure(*FEATURES, "OUTPUT_DIR", str(undisturbed), "TRAIN.AUTO_RESUME", True, *overrides)
        with pytest.raises(UserError, match=message):
            run(cfg)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("SOLVER.CLIP_GRAD_VAL", 1.0, "SOLVER.CLIP_GRAD_L2NORM", 1.0), "SOLVER.CLIP_GRAD_L2NORM exclude each other"),
        (("BN.USE_PRECISE_STATS", True, "BN.FREEZE_STATISTICS", True), "BN.FREEZE_STATISTICS exclude each other"),
        (("BN.USE_PRECISE_STATS", True, "TRAIN.EMA_DECAY", 0.9), "TRAIN.EMA_DECAY exclude each other"),
        (("TRAIN.EMA_DECAY", 1.0), "TRAIN.EMA_DECAY is 1.0, expected 0 or more and less than 1"),
        (("TRAIN.ACCUMULATE_STEPS", 0), "TRAIN.ACCUMULATE_STEPS is 0, expected more than 0"),
        (("TRAIN.KEEP_CHECKPOINTS", -1), "TRAIN.KEEP_CHECKPOINTS is -1, expected 0 or more"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(configure, overrides, message):
    with pytest.raises(UserError, match=message):
        configure(*overrides)


def test_checkpoints_of_an_earlier_run_are_neither_removed_nor_resumed_from(configure, tmp_path, log):
    folder = tmp_path / "checkpoints"
    earlier = ("OUTPUT_DIR", str(tmp_path), "SOLVER.MAX_EPOCH", 2, "TRAIN.CHECKPOINT_PERIOD", 1)
    run(configure(*earlier, "RNG_SEED", 3))
    (folder / "slowfast-7_7.ckpt").write_bytes((folder / f"slowfast-2_{STEPS}.ckpt").read_bytes())
    (folder / "mine.ckpt").write_text("not a checkpoint")
    shorter = ("OUTPUT_DIR", str(tmp_path), "SOLVER.MAX_EPOCH", 1, "TRAIN.CHECKPOINT_STEPS", 2)
    assert run(configure(*shorter, "TRAIN.KEEP_CHECKPOINTS", 2))
    assert "holds 3 checkpoints of an earlier run, the last is slowfast-7_7.ckpt" in log.text
    names = {path.name for path in folder.glob("*.ckpt")}
    # Two of the second run, what the first has left, and a stranger.
    assert names == {"slowfast-1_6.ckpt", "slowfast-1_7.ckpt", "slowfast-2_7.ckpt", "slowfast-7_7.ckpt", "mine.ckpt"}
    assert run(configure(*shorter, "TRAIN.AUTO_RESUME", True))
    assert f"resumed from {folder / 'slowfast-1_7.ckpt'}" in log.text


def test_a_folder_in_use_is_refused(configure, tmp_path):
    cfg = configure("OUTPUT_DIR", str(tmp_path))
    with locked(tmp_path, ProcessGroup()), pytest.raises(UserError, match=f"process {os.getpid()} trains in it"):
        run(cfg)


def test_a_folder_that_cannot_be_written_is_refused_before_the_first_step(configure, tmp_path):
    (tmp_path / "file").write_text("")
    cfg = configure("OUTPUT_DIR", str(tmp_path / "file" / "out"))
    with pytest.raises(UserError, match=r"OUTPUT_DIR .*file/out: cannot write there: Not a directory"):
        Trainer(cfg, TinyNetwork(cfg), AvaDataset(cfg, "train"))


@pytest.mark.parametrize(("key", "name"), [("GROUNDTRUTH_FILE", "truth.csv"), ("LABEL_MAP_FILE", "map.pbtxt")])
def test_files_of_the_evaluator_are_read_before_the_first_step(configure, tmp_path, key, name):
    cfg = configure("OUTPUT_DIR", str(tmp_path), "TRAIN.EVAL_PERIOD", 1, f"AVA.{key}", name)
    with pytest.raises(UserError, match=name):
        Trainer(cfg, TinyNetwork(cfg), AvaDataset(cfg, "train"))


def test_labels_that_a_loss_does_not_expect_are_told(configure, tmp_path, log):
    """Persons of the sample stand, walk, jump or sway, and may wave as well."""
    cfg = configure("OUTPUT_DIR", str(tmp_path), "MODEL.LOSS_FUNC", "cross_entropy", "MODEL.HEAD_ACT", "softmax")
    Trainer(cfg, TinyNetwork(cfg), AvaDataset(cfg, "train"))._tell_labels()
    assert "cross_entropy takes classes to exclude each other, but of 42 boxes 16 have several" in log.text


def test_class_names_travel_in_checkpoints(undisturbed):
    for name in (f"slowfast-2_{STEPS}.ckpt", "slowfast-best.ckpt"):
        trained = class_names(content(undisturbed / "checkpoints" / name))
        assert trained == {1: "stand", 2: "walk", 3: "jump", 4: "sway", 5: "wave"}
        check_class_names(trained, {2: "walk", 5: "wave"}, name, "map.pbtxt")
        with pytest.raises(UserError, match=r"its classes are 1 stand, .*; map.pbtxt has 1 walk, 2 stand; "):
            check_class_names(trained, {1: "walk", 2: "stand"}, name, "map.pbtxt")


def test_the_log_file_holds_every_line(undisturbed):
    text = (undisturbed / LOG_FILE).read_text()
    assert text.count("json_stats: ") == 2 * STEPS + 2
    assert text.count("loss is ") == 2 * STEPS
    assert f"checkpoint   {undisturbed / 'checkpoints' / f'slowfast-2_{STEPS}.ckpt'}" in text


def test_a_step_of_more_clips_than_there_are_is_refused(configure, tmp_path):
    with pytest.raises(UserError, match="30 key frames are fewer than the 32 of one step"):
        run(configure("OUTPUT_DIR", str(tmp_path), "TRAIN.ACCUMULATE_STEPS", 8))


def test_weights_without_averages_are_refused_where_averages_are_asked_for(undisturbed):
    with pytest.raises(UserError, match="holds no averaged weights"):
        averages_of(undisturbed / "checkpoints" / "slowfast-best.ckpt")


def test_accumulation_scales_the_learning_rate_with_the_clips(configure):
    cfg = configure("SOLVER.AUTO_SCALE_LR", True, "SOLVER.REFERENCE_BATCH", 16, "TRAIN.ACCUMULATE_STEPS", 2)
    assert batch_scale(cfg, world_size=1) == 0.5
    assert batch_scale(cfg, world_size=4) == 2.0
