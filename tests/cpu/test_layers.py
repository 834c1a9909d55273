"""The network's blocks in the kernels for CPUs against the same blocks in MindSpore's operators: values, gradients,
statistics. The operators themselves are held to NumPy in test_operators.py; here it is how they are put together."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from src.cpu import library
from src.engine.batch_norm import freeze_statistics
from src.models.common import Conv3d, Layers
from src.models.cpu_layers import CpuLayers
from src.models.nonlocal_helper import Nonlocal
from src.models.optimizer import MomentumSGD
from src.models.resnet_helper import ResBlock
from src.models.stem_helper import Stem

N, T = 2, 4
EPSILON, MOMENTUM = 1e-5, 0.1
# Sums in another order differ by 2e-5 of the largest number. Attention averages positions to values that are all but
# the same; batch norm stretches them again, and what they differ by.
TOLERANCE = {"softmax": 1e-3, "dot_product": 1e-4}


class FromClip(nn.Cell):
    """A block between a clip and the mean over time, where both kinds of layers have the same layout."""

    def __init__(self, layers: Layers, block: nn.Cell):
        super().__init__()
        self.fold, self.mean_over_time = layers.fold, layers.mean_over_time
        self.block = block

    def construct(self, clip: ms.Tensor) -> ms.Tensor:
        return self.mean_over_time(self.block(self.fold(clip)), T)


class Lift(nn.Cell):
    """A convolution before a block, so that its input has a gradient to pass on."""

    def __init__(self, layers: Layers, channels: int, block: nn.Cell):
        super().__init__()
        self.lift = Conv3d(3, channels, (1, 1, 1), T)
        self.convolve = layers.conv_bn(self.lift, relu=False)
        self.block = block

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.block(self.convolve(x))


def residual(layers: Layers) -> nn.Cell:
    """A block with a projection and strides, then one with the identity, then one with dilation."""
    return nn.SequentialCell(
        ResBlock(layers, 8, 4, 3, T, 2, 1, False),
        ResBlock(layers, 16, 4, 3, T, 1, 1, False),
        ResBlock(layers, 16, 4, 1, T, 1, 2, False),
    )


BLOCKS = {
    "stem": lambda layers: Stem(layers, 8, 5, T),
    "residual": lambda layers: Lift(layers, 8, residual(layers)),
    "softmax": lambda layers: Lift(layers, 8, Nonlocal(layers, 8, T, (1, 2, 2), "softmax", False)),
    "dot_product": lambda layers: Lift(layers, 8, Nonlocal(layers, 8, T, (2, 2, 2), "dot_product", False)),
}


class Weighted(nn.Cell):
    """A scalar of a network's values that gives each its own gradient, and the values."""

    def __init__(self, network: nn.Cell, shape: tuple[int, ...]):
        super().__init__(auto_prefix=False)
        self.network = network
        self.weights = ms.Tensor(np.random.default_rng(2).normal(size=shape).astype(np.float32))

    def construct(self, clip: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        values = self.network(clip)
        return (values * self.weights).sum(), values


def compute(layers: Layers, name: str, frozen: bool) -> dict[str, np.ndarray]:
    """Return a block's scores, training values, gradients and statistics, its weights drawn from a seed."""
    network = FromClip(layers, BLOCKS[name](layers))
    rng = np.random.default_rng(1)
    for parameter in network.get_parameters():
        low, high = (0.5, 1.5) if parameter.name.endswith(("gamma", "variance")) else (-0.3, 0.3)
        parameter.set_data(ms.Tensor(rng.uniform(low, high, parameter.shape).astype(np.float32)))
    if frozen:
        freeze_statistics(network)
    clip = ms.Tensor(rng.normal(size=(N, 3, T, 12, 16)).astype(np.float32))
    network.set_train(False)
    result = {"evaluation": network(clip).asnumpy()}
    network.set_train(True)
    parameters = network.trainable_params()
    loss = Weighted(network, result["evaluation"].shape).set_train(True)
    (_, values), arrays = ops.value_and_grad(loss, None, parameters, has_aux=True)(clip)
    result |= {"training": values.asnumpy()}
    result |= {f"gradient of {p.name}": g.asnumpy() for p, g in zip(parameters, arrays, strict=True)}
    return result | {p.name: p.asnumpy() for p in network.get_parameters() if "moving" in p.name}


@pytest.mark.parametrize(("name", "frozen"), [*((name, False) for name in BLOCKS), ("residual", True)])
def test_blocks_compute_what_mindspores_operators_do(request, name, frozen):
    actual = compute(CpuLayers(EPSILON, MOMENTUM), name, frozen)
    request.getfixturevalue("eager")
    expected = compute(Layers(EPSILON, MOMENTUM), name, frozen)
    assert actual.keys() == expected.keys()
    largest = max(np.abs(array).max() for key, array in expected.items() if key.startswith("gradient"))
    for key, array in expected.items():
        if key.endswith(("conv_out.bias", "conv_phi.bias", "conv_g.bias") if name == "softmax" else "conv_out.bias"):
            # Batch norm takes a bias before it away, and weights that add up to 1 do with those of keys and values:
            # gradients are nothing but rounding.
            assert np.abs(actual[key]).max() <= 1e-3 * largest
        else:
            assert np.abs(actual[key] - array).max() <= TOLERANCE.get(name, 2e-5) * np.abs(array).max(), key


def test_training_on_the_kernels_gives_the_same_bits_twice():
    once, again = (compute(CpuLayers(EPSILON, MOMENTUM), "residual", False) for _ in range(2))
    for key, array in once.items():
        np.testing.assert_array_equal(again[key], array, err_msg=key)


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_fused_update_is_that_of_mindspores_operators(nesterov):
    shapes = {"conv.weight": (4, 3), "bn.gamma": (5,), "head.weight": (2, 7)}
    rng = np.random.default_rng(0)
    values, *gradients = (
        {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()} for _ in "1234"
    )
    # The second step is left out, whatever its gradients hold.
    gradients[1] = {name: np.full_like(array, np.nan) for name, array in gradients[1].items()}

    def trained(layers: type[Layers]) -> list[np.ndarray]:
        parameters = [ms.Parameter(ms.Tensor(array), name=name) for name, array in values.items()]
        decayed = {"params": parameters[::2], "weight_decay": 0.01}
        groups = [decayed, {"params": parameters[1:2], "weight_decay": 0.0}, {"order_params": parameters}]
        optimizer = MomentumSGD(groups, [0.1, 0.2, 0.3], 0.9, nesterov, 1, 0.5, layers.fused_momentum_sgd)
        for arrays, taken in zip(gradients, (True, False, True), strict=True):
            optimizer(tuple(ms.Tensor(array) for array in arrays.values()), ms.Tensor(taken))
        return [array.asnumpy() for array in (*parameters, *optimizer.moments)]

    for actual, expected in zip(trained(CpuLayers), trained(Layers), strict=True):
        assert not np.isnan(expected).any()
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


def test_bfloat16_stays_near_float32():
    if not library.computes_bfloat16():
        pytest.skip("bfloat16 needs AVX-512, and tests run at AVX2")
    expected = compute(CpuLayers(EPSILON, MOMENTUM), "residual", False)
    actual = compute(CpuLayers(EPSILON, MOMENTUM, ms.bfloat16), "residual", False)
    assert np.abs(actual["evaluation"] - expected["evaluation"]).max() <= 0.03 * np.abs(expected["evaluation"]).max()
    assert all(array.dtype == np.float32 for array in actual.values())
    one, other = (
        np.concatenate([array.ravel() for key, array in arrays.items() if key.startswith("gradient")])
        for arrays in (actual, expected)
    )
    assert one @ other / (np.linalg.norm(one) * np.linalg.norm(other)) > 0.95  # a ReLU here and there flips
