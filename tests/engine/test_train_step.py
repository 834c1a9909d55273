"""One step of training: each feature does what its definition says."""

from collections.abc import Callable

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from src.engine import batch_norm, dropout
from src.engine.ema import ExponentialMovingAverage
from src.engine.gradients import clip_by_norm, clip_by_value
from src.engine.mixed_precision import build_scaler, to_mixed_precision
from src.engine.train_step import AccumulatedStep, NetworkWithLoss, TrainStep
from src.models.optimizer import build_optimizer
from src.utils.distributed import ProcessGroup
from src.utils.errors import UserError
from tests.tiny import TinyNetwork

Arrays = dict[str, np.ndarray]
# Large, so that updates are not lost in the rounding of the weights.
RATE = 100.0


def batch_of(clips: int, seed: int, classes: int = 5, boxes: int = 3) -> list[np.ndarray]:
    """Return random arguments of NetworkWithLoss; the last boxes of every other clip are padding."""
    rng = np.random.default_rng(seed)
    fast = rng.normal(size=(clips, 3, 4, 32, 32)).astype(np.float32)
    corner = rng.uniform(0, 16, (clips, boxes, 2))
    mask = np.ones((clips, boxes), np.float32)
    mask[::2, 1:] = 0
    return [
        fast[:, :, :1].copy(),
        fast,
        np.concatenate([corner, corner + 10], 2).astype(np.float32),
        rng.integers(0, 2, (clips, boxes, classes)).astype(np.float32),
        mask,
    ]


def tensors(arrays: list[np.ndarray]) -> tuple[ms.Tensor, ...]:
    return tuple(ms.Tensor(array) for array in arrays)


def arrays_of(network: nn.Cell) -> Arrays:
    return {name: parameter.asnumpy().copy() for name, parameter in network.parameters_dict().items()}


def build(cfg, rate: float = RATE, ignore_unlabeled: bool = False, **settings) -> tuple[TinyNetwork, TrainStep]:
    ms.set_seed(1)
    network = TinyNetwork(cfg)
    if cfg.BN.FREEZE_STATISTICS:
        batch_norm.freeze_statistics(network)
    loss = NetworkWithLoss(network, ignore_unlabeled=ignore_unlabeled)
    step = TrainStep(loss, build_optimizer(cfg, network, [rate] * 20), **settings)
    step.set_train(True)
    return network, step


def update_of(step: Callable, network: nn.Cell, *arguments: object) -> Arrays:
    """Return by how much one step changes each parameter."""
    before = arrays_of(network)
    step(*arguments)
    return {name: array - before[name] for name, array in arrays_of(network).items()}


def assert_close(actual: Arrays, expected: Arrays, rtol: float = 1e-5) -> None:
    for name, array in expected.items():
        np.testing.assert_allclose(
            actual[name], array, rtol=rtol, atol=rtol * np.abs(array).max() + 1e-12, err_msg=name
        )


@pytest.fixture(scope="module")
def module_cfg(recipe, recipe_file):
    from src.config.custom_config import load_config

    return load_config(recipe_file, [*recipe, "SOLVER.WEIGHT_DECAY", 0.0, "BN.FREEZE_STATISTICS", True])


@pytest.fixture(scope="module")
def plain_update(module_cfg) -> Arrays:
    """What one step with frozen statistics changes: -RATE times the gradients."""
    network, step = build(module_cfg)
    return update_of(step, network, *tensors(batch_of(4, 0)))


def test_frozen_statistics_stay_while_weights_learn(plain_update):
    assert np.abs(plain_update["bn.gamma"]).max() > 0
    assert np.abs(plain_update["conv.weight"]).max() > 0
    assert np.abs(plain_update["bn.moving_mean"]).max() == 0
    assert np.abs(plain_update["bn.moving_variance"]).max() == 0


def test_statistics_that_are_not_frozen_move(configure):
    network, step = build(configure())
    assert np.abs(update_of(step, network, *tensors(batch_of(4, 0)))["bn.moving_mean"]).max() > 0


def test_clipping_by_norm_shortens_all_gradients_together(module_cfg, plain_update):
    norm = np.sqrt(sum((update**2).sum() for update in plain_update.values())) / RATE
    network, step = build(module_cfg, clip=clip_by_norm(norm / 4))
    update = update_of(step, network, *tensors(batch_of(4, 0)))
    assert_close(update, {name: array / 4 for name, array in plain_update.items()})


def test_clipping_by_norm_leaves_shorter_gradients():
    gradients = (ms.Tensor([3.0, 0.0]), ms.Tensor([[4.0]]))
    unclipped = ms.jit(clip_by_norm(6.0))(gradients)
    np.testing.assert_array_equal(unclipped[0].asnumpy(), [3.0, 0.0])
    clipped = ms.jit(clip_by_norm(1.0))(gradients)
    np.testing.assert_allclose(clipped[0].asnumpy(), [0.6, 0.0], rtol=1e-6)
    np.testing.assert_allclose(clipped[1].asnumpy(), [[0.8]], rtol=1e-6)


def test_clipping_by_value_bounds_each_element(module_cfg, plain_update):
    limit = float(np.abs(plain_update["conv.weight"]).max()) / RATE / 3
    network, step = build(module_cfg, clip=clip_by_value(limit))
    update = update_of(step, network, *tensors(batch_of(4, 0)))
    assert_close(update, {name: np.clip(array, -RATE * limit, RATE * limit) for name, array in plain_update.items()})


def test_accumulated_batches_update_as_one_larger_batch(module_cfg, plain_update):
    network, step = build(module_cfg)
    accumulated = AccumulatedStep(step)
    whole = batch_of(4, 0)
    # The halves hold different numbers of boxes.
    parts = [[array[:1] for array in whole], [array[1:] for array in whole]]
    parts[0] = [np.concatenate([part, part * 0, part * 0]) for part in parts[0]]
    update = update_of(accumulated, network, [tensors(part) for part in parts])
    assert_close(update, plain_update)
    # The sums start again from zero; momentum is 0.9.
    again = update_of(accumulated, network, [tensors([array * 0 for array in part]) for part in parts])
    assert_close(again, {name: 0.9 * array for name, array in plain_update.items()})


def test_boxes_without_a_label_change_nothing_where_they_do_not_count(module_cfg):
    batch = batch_of(4, 0)
    batch[3][1, 1:] = 0  # labels of two of the second clip's three boxes
    alone = [array.copy() for array in batch]
    alone[4][1, 1:] = 0
    network, step = build(module_cfg)
    expected = update_of(step, network, *tensors(alone))
    network, step = build(module_cfg, ignore_unlabeled=True)
    parts = [tensors([array[part] for array in batch]) for part in (slice(2), slice(2, 4))]
    assert_close(update_of(AccumulatedStep(step), network, parts), expected)


def test_a_fixed_loss_scale_changes_nothing(module_cfg, plain_update):
    network, step = build(module_cfg, scaler=ms.amp.StaticLossScaler(1024.0))
    assert_close(update_of(step, network, *tensors(batch_of(4, 0))), plain_update)


def test_a_dynamic_loss_scale_leaves_out_overflows_and_grows_after_its_window(module_cfg, plain_update):
    scaler = ms.amp.DynamicLossScaler(1024.0, 2, 2)
    network, step = build(module_cfg, scaler=scaler)
    bad = batch_of(4, 0)
    bad[3][:] = np.inf
    update = update_of(step, network, *tensors(bad))
    assert all(np.abs(array).max() == 0 for array in update.values())
    assert scaler.scale_value.asnumpy() == 512
    assert step.update.optimizer.global_step.asnumpy()[0] == 1
    assert_close(update_of(step, network, *tensors(batch_of(4, 0))), plain_update)
    assert scaler.scale_value.asnumpy() == 512
    step(*tensors(batch_of(4, 1)))
    assert scaler.scale_value.asnumpy() == 1024


def test_the_loss_scale_is_for_mixed_precision_only(configure):
    assert build_scaler(configure("TRAIN.AMP_LEVEL", "O0")) is None
    static = build_scaler(configure("TRAIN.AMP_LEVEL", "O2", "TRAIN.LOSS_SCALE", 256))
    assert isinstance(static, ms.amp.StaticLossScaler)
    assert static.scale_value.asnumpy() == 256
    dynamic = build_scaler(configure("TRAIN.AMP_LEVEL", "O3", "TRAIN.LOSS_SCALE_WINDOW", 100))
    assert isinstance(dynamic, ms.amp.DynamicLossScaler)
    assert dynamic.scale_window == 100


@pytest.mark.parametrize("level", ["O2", "O3", "bf16"])
def test_half_precision_is_refused_on_a_gpu_with_the_way_out(configure, level):
    network = TinyNetwork(configure())
    assert to_mixed_precision(network, "O0", "GPU") is network
    with pytest.raises(
        UserError, match=rf"AMP_LEVEL {level}: .* on a GPU; take O0, which is faster with ALLOW_TF32 True"
    ):
        to_mixed_precision(network, level, "GPU")


def test_a_cpus_bfloat16_is_its_operators_affair(configure):
    network = TinyNetwork(configure())
    assert to_mixed_precision(network, "O0", "CPU") is network
    assert to_mixed_precision(network, "bf16", "CPU") is network  # its operators see to it, or were refused


@pytest.mark.parametrize(
    ("level", "conv", "norm", "pool", "projection"),
    [
        ("O2", "fp16", "fp32", "fp32", "fp32"),
        ("O3", "fp16", "fp16", "fp32", "fp16"),
        ("bf16", "bf16", "fp32", "fp32", "fp32"),
    ],
)
def test_mixed_precision_casts_layers_and_keeps_names(configure, level, conv, norm, pool, projection):
    names = list(TinyNetwork(configure()).parameters_dict())
    network = to_mixed_precision(TinyNetwork(configure()), level, "Ascend")
    cells = (network.conv, network.bn, network.head.roi_align, network.head.projection)
    types = [next(name for name, on in cell.get_flags().items() if on) for cell in cells]
    assert types == [conv, norm, pool, projection]
    assert list(network.parameters_dict()) == names
    assert all(parameter.dtype == ms.float32 for parameter in network.get_parameters())


def test_averages_follow_their_definition(module_cfg):
    network, step = build(module_cfg, rate=0.1)
    ema = ExponentialMovingAverage(network, 0.75)
    expected = arrays_of(network)
    for seed in range(3):
        step(*tensors(batch_of(4, seed)))
        ema()
        expected = {name: 0.75 * expected[name] + 0.25 * array for name, array in arrays_of(network).items()}
    weights = arrays_of(network)
    with ema.applied():
        assert_close(arrays_of(network), expected, rtol=1e-6)
    np.testing.assert_equal(arrays_of(network), weights)
    assert np.abs(weights["conv.weight"] - expected["conv.weight"]).max() > 1e-4


def test_precise_statistics_are_those_of_all_batches_together(configure):
    network, step = build(configure())
    batches = [batch_of(4, seed) for seed in range(3)]
    batches[2][1] *= 2  # another variance
    # The two pathways do not share statistics: batch norm sees the fast one alone.
    outputs = []
    for batch in batches:
        fast = batch[1].transpose(0, 2, 1, 3, 4).reshape(-1, 3, 32, 32)
        outputs.append(network.conv(ms.Tensor(fast)).asnumpy().astype(np.float64))
    means = np.array([output.mean((0, 2, 3)) for output in outputs])
    # MindSpore's running variance counts one sample less than a batch has.
    variances = np.array([output.var((0, 2, 3), ddof=1) for output in outputs])
    weights = arrays_of(network)
    inputs = (tensors(batch) for batch in batches)
    batch_norm.update_statistics(network, step.gradients.loss, inputs, 0.1, ProcessGroup())
    after = arrays_of(network)
    np.testing.assert_allclose(after["bn.moving_mean"], means.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after["bn.moving_variance"], variances.mean(0) + means.var(0), rtol=1e-5)
    np.testing.assert_array_equal(after["conv.weight"], weights["conv.weight"])


def test_dropout_keeps_its_share_and_the_mean():
    keys = np.array([[0, 902], [3, 950]])
    drawn = dropout.draw(keys, 20, 500, 0.25, seed=3, epoch=1)
    assert set(np.unique(drawn)) == {np.float32(0), np.float32(1) / np.float32(0.75)}
    assert abs((drawn == 0).mean() - 0.25) < 0.01


def test_dropout_depends_on_seed_epoch_and_key_frame_alone():
    keys = np.array([[0, 902], [3, 950]])
    drawn = dropout.draw(keys, 4, 50, 0.5, seed=3, epoch=1)
    np.testing.assert_array_equal(dropout.draw(keys[1:], 4, 50, 0.5, seed=3, epoch=1)[0], drawn[1])
    assert (dropout.draw(keys, 4, 50, 0.5, seed=3, epoch=2) != drawn).any()
    assert (dropout.draw(keys, 4, 50, 0.5, seed=4, epoch=1) != drawn).any()
    assert (drawn[0] != drawn[1]).any()
