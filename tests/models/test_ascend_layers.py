"""Ascend's layers compute what the plain ones do. Operators that only Ascend has are stood in for by a CPU's."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import mint, nn, ops

from src.config.custom_config import load_config
from src.engine.mixed_precision import to_mixed_precision
from src.models.ascend_layers import AscendConv3d, AscendLayers, AscendMaxPool
from src.models.build import build_model
from src.models.common import BlockMaxPool, Conv3d, Layers, SyncConvBn

pytestmark = pytest.mark.usefixtures("eager")

FRAMES = 4


def conv2d(x, weight, bias, stride, padding, dilation):
    return ops.conv2d(x, weight, bias, stride, "pad", padding, dilation)


def batch_norm(x, mean, variance, gamma, beta, training, momentum, epsilon):
    return ops.batch_norm(x, mean, variance, gamma, beta, training, momentum, epsilon)


def max_pool2d(x, kernel, stride, padding=0):
    return ops.max_pool2d(x, kernel, stride, padding)


@pytest.fixture(autouse=True)
def cpu_operators(monkeypatch):
    for function in (conv2d, batch_norm, max_pool2d):
        monkeypatch.setattr(mint.nn.functional, function.__name__, function)


def clip(channels: int, height: int = 9, width: int = 8) -> ms.Tensor:
    """Folded frames of two clips, not negative."""
    array = np.random.default_rng(0).uniform(0, 1, (2 * FRAMES, channels, height, width))
    return ms.Tensor(array.astype(np.float32))


def assert_same(actual: ms.Tensor, expected: ms.Tensor) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual.asnumpy(), expected.asnumpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [
        ((1, 1, 1), (1, 2, 2), 1),
        ((1, 3, 3), (1, 2, 2), 1),
        ((1, 3, 3), (1, 1, 1), 2),
        ((3, 1, 1), (1, 1, 1), 1),
        ((5, 7, 7), (1, 2, 2), 1),
        ((7, 1, 1), (4, 1, 1), 1),
    ],
)
@pytest.mark.parametrize("has_bias", [False, True])
def test_convolutions(kernel, stride, dilation, has_bias):
    if ms.__version__.startswith("2.7.") and kernel[0] > 1 and stride[0] == 1:
        pytest.skip("MindSpore 2.7 has aclnn's split on a CPU in graphs only")
    conv = Conv3d(3, 4, kernel, FRAMES, stride, dilation, has_bias)
    if has_bias:
        conv.bias.set_data(ms.Tensor([1.0, -2.0, 3.0, -4.0], ms.float32))
    cell = AscendLayers(1e-5, 0.1).conv_bn(conv, relu=False)
    assert_same(cell(clip(3)), conv(clip(3)))


@pytest.mark.parametrize(("training", "frozen"), [(True, False), (True, True), (False, False)])
def test_batch_norm_and_its_statistics(training, frozen):
    plain, ascend = (kind(1e-5, 0.1).batch_norm(3).set_train(training) for kind in (Layers, AscendLayers))
    for norm in (plain, ascend):
        norm.gamma.set_data(ms.Tensor([1.0, 2.0, 3.0], ms.float32))
        norm.beta.set_data(ms.Tensor([3.0, 2.0, 1.0], ms.float32))
        norm.moving_mean.set_data(ms.Tensor([0.1, 0.2, 0.3], ms.float32))
        if frozen:
            norm.use_batch_statistics = False
    assert_same(ascend(clip(3)), plain(clip(3)))
    assert_same(ascend.moving_mean, plain.moving_mean)
    assert_same(ascend.moving_variance, plain.moving_variance)
    moved = training and not frozen
    assert (plain.moving_mean.asnumpy() != np.float32([0.1, 0.2, 0.3])).all() == moved


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 7)])
def test_pooling(monkeypatch, height, width):
    kernels = []

    def noted(x, kernel, *settings):
        kernels.append(kernel)
        return max_pool2d(x, kernel, *settings)

    monkeypatch.setattr(mint.nn.functional, "max_pool2d", noted)
    plain, ascend = Layers(1e-5, 0.1), AscendLayers(1e-5, 0.1)
    frames = clip(2, height, width)
    assert_same(ascend.max_pool()(frames), plain.max_pool()(frames))
    assert_same(ascend.block_max_pool((2, 2, 2), FRAMES)(frames), plain.block_max_pool((2, 2, 2), FRAMES)(frames))
    assert kernels == [3, (2, 2)]


def test_the_mean_over_time():
    assert_same(AscendLayers.mean_over_time(clip(2), FRAMES), Layers.mean_over_time(clip(2), FRAMES))


def test_linear_layers():
    dense = AscendLayers(1e-5, 0.1).dense(3, 2, weight_init="ones", bias_init="ones")
    rows = ms.Tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]], ms.float32)
    assert dense(rows).asnumpy().tolist() == [[7.0, 7.0], [2.0, 2.0]]
    assert {parameter.name for parameter in dense.get_parameters()} == {"weight", "bias"}


class Forked(nn.Cell):
    """x^2 + 3 x, with each x from a fork."""

    def __init__(self):
        super().__init__()
        self.fork = AscendLayers(1e-5, 0.1).fork

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        a, b = self.fork(x)
        return a * a + 3.0 * b


def test_a_fork_adds_the_gradients_of_its_readers():
    assert ms.grad(Forked())(ms.Tensor(5.0)).asnumpy() == 13.0


def test_several_devices_may_share_the_statistics_of_batch_norm():
    layers = AscendLayers(1e-5, 0.1, devices=8)
    cell = layers.conv_bn(Conv3d(3, 4, (1, 1, 1), FRAMES), layers.batch_norm(4))
    assert isinstance(cell, SyncConvBn)
    assert isinstance(cell.conv, AscendConv3d)


def test_under_bfloat16_all_pooling_is_in_float32():
    location = "[[[], []], [[], []], [[1], []], [[], []]]"
    cfg = load_config(None, ["RESNET.WIDTH_PER_GROUP", 8, "NONLOCAL.LOCATION", location])
    network = to_mixed_precision(build_model(cfg, AscendLayers(1e-5, 0.1)), "bf16", "Ascend")
    pools = [cell for _, cell in network.cells_and_names() if isinstance(cell, (AscendMaxPool, BlockMaxPool))]
    types = [{name for name, on in pool.get_flags().items() if on} for pool in pools]
    assert types == [{"fp32"}] * 3
