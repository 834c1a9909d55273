"""What docs/training.md switches on, on SlowFast R50 at its real depth, narrow, so that graphs compile in seconds."""

from dataclasses import dataclass

import mindspore as ms
import numpy as np
import pytest
from fvcore.common.config import CfgNode
from mindspore import nn

from src.config.custom_config import load_config
from src.engine import batch_norm, mixup
from src.engine.ema import ExponentialMovingAverage
from src.engine.gradients import build_clip
from src.engine.mixed_precision import build_scaler, to_mixed_precision
from src.engine.train_step import INPUTS, AccumulatedStep, NetworkWithLoss, TrainStep, Update
from src.models.build import build_model, device_layers
from src.models.optimizer import build_optimizer
from src.utils.distributed import ProcessGroup

pytestmark = pytest.mark.slow

# Large, so that updates are not lost in the rounding of the weights.
RATE = 100.0
STEP_RATE = 0.5
NARROW = (
    *("RESNET.WIDTH_PER_GROUP", 8, "DATA.NUM_FRAMES", 4, "MODEL.NUM_CLASSES", 5),
    *("SOLVER.WEIGHT_DECAY", 0.0, "SOLVER.MOMENTUM", 0.9),
)
Arrays = dict[str, np.ndarray]


def config(*overrides: object) -> CfgNode:
    return load_config(None, [*NARROW, *overrides])


def network_of(cfg: CfgNode) -> nn.Cell:
    """Return a network whose weights depend on nothing but the configuration."""
    ms.set_seed(1)
    level = cfg.TRAIN.AMP_LEVEL
    return to_mixed_precision(build_model(cfg, device_layers(cfg, level)), level, "CPU")


def step_of(cfg: CfgNode, network: nn.Cell) -> TrainStep:
    if cfg.BN.FREEZE_STATISTICS:
        batch_norm.freeze_statistics(network)
    optimizer = build_optimizer(cfg, network, [STEP_RATE] * 10)
    return TrainStep(NetworkWithLoss(network), optimizer, build_scaler(cfg), build_clip(cfg)).set_train(True)


def batch_of(seed: int) -> tuple[ms.Tensor, ...]:
    """Return two clips of 4 x 32 x 32 with three boxes, one of them padding."""
    rng = np.random.default_rng(seed)
    fast = rng.normal(size=(2, 3, 4, 32, 32)).astype(np.float32)
    corner = rng.uniform(0, 16, (2, 3, 2))
    boxes = np.concatenate([corner, corner + 12], 2).astype(np.float32)
    mask = np.float32([[1, 1, 1], [1, 1, 0]])
    labels = rng.integers(0, 2, (2, 3, 5)).astype(np.float32) * mask[..., None]
    return tuple(ms.Tensor(array) for array in (fast[:, :, :1].copy(), fast, boxes, labels, mask))


def arrays_of(network: nn.Cell) -> Arrays:
    return {name: parameter.asnumpy().copy() for name, parameter in network.parameters_dict().items()}


def assert_close(actual: Arrays, expected: Arrays) -> None:
    """Compare changes of weights, which are rounded as the weights are: those are around 1."""
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name], array, rtol=1e-5, atol=2e-6, err_msg=name)


@dataclass(frozen=True)
class Float32:
    """Two steps with frozen statistics, in float32.

    Attributes:
        losses: of both.
        gradients: of the first, by name: many arrays, of every shape that there is.
        before: the parameters, at first.
        after: the parameters, in the end.
    """

    losses: tuple[float, float]
    gradients: Arrays
    before: Arrays
    after: Arrays


@pytest.fixture(scope="module")
def float32() -> Float32:
    cfg = config("BN.FREEZE_STATISTICS", True)
    network = network_of(cfg)
    step, before = step_of(cfg, network), arrays_of(network)
    losses, arrays = [], ()
    # In two graphs, so that the gradients are seen.
    for seed in range(2):
        loss, _, gradients = step.gradients(*batch_of(seed))
        arrays = arrays or [gradient.asnumpy().copy() for gradient in gradients]
        losses.append(float(step.update(loss, gradients)))
    names = [parameter.name for parameter in step.update.optimizer.parameters]
    return Float32(tuple(losses), dict(zip(names, arrays, strict=True)), before, arrays_of(network))


@pytest.fixture(scope="module")
def gradients(float32) -> Arrays:
    return float32.gradients


def updater_of(cfg: CfgNode) -> Update:
    return Update(build_optimizer(cfg, network_of(cfg), [RATE] * 10), build_scaler(cfg), build_clip(cfg))


def changes_by(update: Update, gradients: Arrays) -> Arrays:
    """Return by how much an update changes each weight."""
    parameters = update.optimizer.parameters
    before = {parameter.name: parameter.asnumpy().copy() for parameter in parameters}
    factor = 1.0 if update.scaler is None else float(update.scaler.scale_value.asnumpy())
    update(ms.Tensor(0.7), tuple(ms.Tensor(gradients[name] * factor) for name in before))
    return {parameter.name: parameter.asnumpy() - before[parameter.name] for parameter in parameters}


def update_of(cfg: CfgNode, gradients: Arrays) -> Arrays:
    """Return by how much the first update of a configuration changes each weight."""
    return changes_by(updater_of(cfg), gradients)


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_first_update_follows_pytorchs_rule(gradients, nesterov):
    updated = update_of(config("SOLVER.NESTEROV", nesterov), gradients)
    # moment = gradient; Nesterov looks ahead by 0.9 of it.
    factor = -RATE * (1.9 if nesterov else 1.0)
    assert_close(updated, {name: factor * gradient for name, gradient in gradients.items()})


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_head_may_have_a_learning_rate_of_its_own(gradients, nesterov):
    updated = update_of(config("SOLVER.HEAD_LR_FACTOR", 0.25, "SOLVER.NESTEROV", nesterov), gradients)
    rate = -RATE * (1.9 if nesterov else 1.0)
    factors = {name: 0.25 if name.startswith("head.") else 1.0 for name in gradients}
    assert sorted(name for name, factor in factors.items() if factor < 1) == [
        "head.projection.bias",
        "head.projection.weight",
    ]
    assert_close(updated, {name: rate * factors[name] * gradient for name, gradient in gradients.items()})


def test_clipping_by_norm_shortens_all_gradients_together(gradients):
    norm = float(np.sqrt(sum((gradient.astype(np.float64) ** 2).sum() for gradient in gradients.values())))
    updated = update_of(config("SOLVER.CLIP_GRAD_L2NORM", norm / 4), gradients)
    assert_close(updated, {name: -RATE / 4 * gradient for name, gradient in gradients.items()})
    longer = update_of(config("SOLVER.CLIP_GRAD_L2NORM", norm * 4), gradients)
    assert_close(longer, {name: -RATE * gradient for name, gradient in gradients.items()})


def test_clipping_by_value_bounds_each_element(gradients):
    limit = 0.01
    assert any(np.abs(gradient).max() > limit for gradient in gradients.values())
    updated = update_of(config("SOLVER.CLIP_GRAD_VAL", limit), gradients)
    assert_close(updated, {name: -RATE * np.clip(gradient, -limit, limit) for name, gradient in gradients.items()})


@pytest.mark.parametrize("nesterov", [False, True])
def test_an_overflow_leaves_weights_and_moments_and_halves_the_loss_scale(gradients, nesterov):
    update = updater_of(config("TRAIN.AMP_LEVEL", "O2", "TRAIN.LOSS_SCALE_WINDOW", 2, "SOLVER.NESTEROV", nesterov))
    names = list(gradients)
    spoilt = {**gradients, names[7]: np.full_like(gradients[names[7]], np.inf)}
    assert all(not change.any() for change in changes_by(update, spoilt).values())
    assert all(not moment.asnumpy().any() for moment in update.optimizer.moments)
    assert update.scaler.scale_value.asnumpy() == 512
    assert update.optimizer.global_step.asnumpy().tolist() == [1]
    taken = changes_by(update, gradients)
    assert_close(taken, {name: -RATE * (1.9 if nesterov else 1.0) * array for name, array in gradients.items()})
    assert update.scaler.scale_value.asnumpy() == 512
    changes_by(update, gradients)
    assert update.scaler.scale_value.asnumpy() == 1024


def test_averages_follow_their_definition():
    network = network_of(config("RESNET.DEPTH", 101))
    ema = ExponentialMovingAverage(network, 0.75)
    start = arrays_of(network)
    for parameter in network.get_parameters():
        parameter.set_data(ms.Tensor(parameter.asnumpy() + 1))
    ema()
    with ema.applied():
        assert_close(arrays_of(network), {name: array + 0.25 for name, array in start.items()})
    assert_close(arrays_of(network), {name: array + 1 for name, array in start.items()})


def test_frozen_statistics_stay_while_weights_learn(float32):
    assert len(float32.gradients) == 332
    assert all(np.isfinite(loss) for loss in float32.losses)
    changed = {name for name, array in float32.after.items() if (array != float32.before[name]).any()}
    assert not [name for name in changed if "moving" in name]
    assert {"s1.pathway1_stem.conv.weight", "s5.pathway0_res2.branch2.c_bn.gamma", "head.projection.bias"} <= changed


def test_precise_statistics_are_those_of_the_batches():

    cfg = config()
    network = network_of(cfg)
    forward = NetworkWithLoss(network).set_train(True)
    before = arrays_of(network)
    batch_norm.update_statistics(network, forward, (batch_of(seed) for seed in range(2)), 0.1, ProcessGroup())
    after = arrays_of(network)
    assert all(np.isfinite(array).all() for array in after.values())
    changed = {name for name, array in after.items() if (array != before[name]).any()}
    assert changed == {name for name in after if "moving" in name}


@pytest.mark.long
@pytest.mark.parametrize("level", ["O2", "O3"])
def test_mixed_precision_gives_the_losses_of_float32_to_its_rounding(level, float32):
    cfg = config("TRAIN.AMP_LEVEL", level, "BN.FREEZE_STATISTICS", True)
    network = network_of(cfg)
    step = step_of(cfg, network)
    losses = [float(step(*batch_of(seed))) for seed in range(2)]
    assert losses[0] == pytest.approx(float32.losses[0], abs=1e-3)
    assert losses[1] == pytest.approx(float32.losses[1], abs=2e-2)
    assert losses != list(float32.losses)
    assert all(parameter.dtype == ms.float32 for parameter in network.get_parameters())


@pytest.mark.parametrize("depth", [50, pytest.param(101, marks=pytest.mark.long)])
def test_accumulation_clipping_averages_frozen_statistics_and_mixed_precision_together(depth, float32):
    cfg = config(
        *("RESNET.DEPTH", depth, "TRAIN.AMP_LEVEL", "O2", "TRAIN.LOSS_SCALE_WINDOW", 2, "BN.FREEZE_STATISTICS", True),
        *("SOLVER.CLIP_GRAD_L2NORM", 1.0, "TRAIN.EMA_DECAY", 0.9, "TRAIN.ACCUMULATE_STEPS", 2),
    )
    network = network_of(cfg)
    step, ema = AccumulatedStep(step_of(cfg, network)), ExponentialMovingAverage(network, cfg.TRAIN.EMA_DECAY)
    before = arrays_of(network)
    # The same batch twice has the loss of one.
    first = float(step([batch_of(0), batch_of(0)]))
    if depth == 50:
        assert first == pytest.approx(float32.losses[0], abs=1e-3)
        assert first != float32.losses[0]
    ema()
    assert np.isfinite(float(step([batch_of(1), batch_of(5)])))
    ema()
    # Nothing overflowed: both steps were taken, and the loss scale grew after its window.
    assert step.network.update.scaler.scale_value.asnumpy() == 2048
    assert all(parameter.dtype == ms.float32 for parameter in network.get_parameters())
    after = arrays_of(network)
    with ema.applied():
        averaged = arrays_of(network)
    name = "s5.pathway0_res2.branch2.c.weight"
    assert np.abs(after[name] - before[name]).max() > np.abs(averaged[name] - before[name]).max() > 0
    np.testing.assert_array_equal(after["s1.pathway0_stem.bn.moving_mean"], before["s1.pathway0_stem.bn.moving_mean"])


@pytest.mark.long
def test_a_step_in_mixed_precision_trains_the_actor_relation_on_mixed_clips():
    cfg = config("MODEL.HEAD_ACRN", 16, "MODEL.HEAD_TEMPORAL_POOL", "max", "TRAIN.AMP_LEVEL", "O2")
    network = network_of(cfg)
    step, before = step_of(cfg, network), arrays_of(network)
    batch = {name: tensor.asnumpy() for name, tensor in zip(INPUTS, batch_of(0), strict=True)}
    mixed = mixup.mix({**batch, "key": np.array([[0, 902], [0, 903]])}, 1.0, seed=0, epoch=0)
    assert float(step(*(ms.Tensor(mixed[name]) for name in INPUTS))) == pytest.approx(np.log(2), abs=0.05)
    after = arrays_of(network)
    changed = {name for name, array in after.items() if (array != before[name]).any()}
    assert {name for name in after if name.startswith("head.")} <= changed
