"""The heads against their definitions in NumPy, in MindSpore's operators and in the kernels for CPUs."""

from collections.abc import Callable

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from src.cpu import library
from src.models.common import Layers
from src.models.cpu_layers import CpuLayers
from src.models.head_helper import AdaptiveMeanPool, RoIHead
from src.models.roi_align import RoIAlign

SLOW, FAST, T_SLOW, T_FAST, OUT, CLASSES = 4, 2, 2, 4, 3, 5
N, K, H, W, BINS = 2, 3, 5, 7, 4
BOXES = np.float32([[[0, 0, 7, 5], [1, 1, 4, 5], [2, 0, 3, 2]], [[3, 2, 6, 5], [0, 1, 7, 3], [0, 0, 0, 0]]])
MASK = np.float32([[1, 1, 1], [1, 1, 0]])
EPSILON, MOMENTUM = 1e-5, 0.1

pytestmark = pytest.mark.usefixtures("eager")


class Folded(nn.Cell):
    """A head on clips, which are folded into the layers' own layout, with a scale for each pathway to learn."""

    def __init__(self, layers: Layers, **settings: object):
        super().__init__()
        self.fold = layers.fold
        channels, frames = (SLOW, FAST), (T_SLOW, T_FAST)
        self.head = RoIHead(layers, channels, frames, CLASSES, RoIAlign(BINS, 1.0), 0.01, **settings)

    def construct(self, slow: ms.Tensor, fast: ms.Tensor, boxes: ms.Tensor, mask: ms.Tensor) -> ms.Tensor:
        return self.head(self.fold(slow), self.fold(fast), boxes, None, mask)


def head_of(layers: Layers, **settings: object) -> Folded:
    network = Folded(layers, **settings)
    rng = np.random.default_rng(1)
    for parameter in network.get_parameters():
        low, high = (0.5, 1.5) if parameter.name.endswith(("gamma", "variance")) else (-0.6, 0.6)
        parameter.set_data(ms.Tensor(rng.uniform(low, high, parameter.shape).astype(np.float32)))
    return network


def clips() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    shapes = ((N, SLOW, T_SLOW, H, W), (N, FAST, T_FAST, H, W))
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def tensors(*arrays: np.ndarray) -> tuple[ms.Tensor, ...]:
    return tuple(map(ms.Tensor, arrays))


def roi_maxima(maps: np.ndarray) -> np.ndarray:
    """Return each box's maxima over its bins: (n, c, h, w) to (n * k, c)."""
    return RoIAlign(BINS, 1.0)(*tensors(maps, BOXES)).asnumpy().max((2, 3))


def pooled(pool: str, slow: np.ndarray, fast: np.ndarray) -> np.ndarray:
    """Return the map of both pathways as mmaction2 pools it: frames repeated to the longer pathway, then pooled."""
    longer = [np.repeat(clip, T_FAST // clip.shape[2], axis=2) for clip in (slow, fast)]
    return np.concatenate([getattr(clip, pool)(2) for clip in longer], axis=1)


def scores(network: Folded, features: np.ndarray) -> np.ndarray:
    projection = network.head.projection
    return (features @ projection.weight.asnumpy().T + projection.bias.asnumpy()).reshape(N, K, CLASSES)


LAYERS = [pytest.param(Layers, id="plain")]
if library.why_not() is None:
    LAYERS.append(pytest.param(CpuLayers, id="kernels"))


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("pool", ["mean", "max"])
def test_pooling_each_pathway_is_pooling_frames_repeated_to_the_longer(layers, pool):
    network = head_of(layers(EPSILON, MOMENTUM), temporal_pool=pool)
    slow, fast = clips()
    expected = scores(network, roi_maxima(pooled(pool, slow, fast)))
    np.testing.assert_allclose(network(*tensors(slow, fast, BOXES, MASK)).asnumpy(), expected, atol=1e-5)


@pytest.mark.parametrize("layers", LAYERS)
def test_the_gradient_of_the_maximum_over_time_goes_to_the_largest_frame(layers):
    layers = layers(EPSILON, MOMENTUM)
    _, clip = clips()
    factors = np.random.default_rng(3).normal(size=(N, FAST, H, W)).astype(np.float32)
    weights = ms.Tensor(factors)

    def weighted(frames: ms.Tensor) -> ms.Tensor:
        return (layers.max_over_time(frames, T_FAST) * weights).sum()

    folded, expected = (
        layers.fold(ms.Tensor(array)) for array in (clip, (clip == clip.max(2, keepdims=True)) * factors[:, :, None])
    )
    np.testing.assert_array_equal(ms.grad(weighted)(folded).asnumpy(), expected.asnumpy())


def adaptive_mean(maps: np.ndarray, bins: int) -> np.ndarray:
    height, width = maps.shape[2:]
    result = np.empty((*maps.shape[:2], bins, bins), np.float32)
    for row in range(bins):
        for column in range(bins):
            part = maps[:, :, row * height // bins : -(-(row + 1) * height // bins)]
            part = part[..., column * width // bins : -(-(column + 1) * width // bins)]
            result[:, :, row, column] = part.mean((2, 3))
    return result


@pytest.mark.parametrize("bins", [1, 3, 8])
def test_adaptive_pooling_has_bins_that_cover_the_map(bins):
    maps = np.random.default_rng(0).normal(size=(2, 3, 5, 7)).astype(np.float32)
    np.testing.assert_allclose(AdaptiveMeanPool(bins)(ms.Tensor(maps)).asnumpy(), adaptive_mean(maps, bins), atol=1e-6)


def test_context_is_the_largest_bin_of_the_frame_beside_each_box():
    network = head_of(Layers(EPSILON, MOMENTUM), context=True)
    assert network.head.num_features == 2 * (SLOW + FAST)
    slow, fast = clips()
    maps = pooled("mean", slow, fast)
    of_frame = np.repeat(adaptive_mean(maps, BINS).max((2, 3)), K, axis=0)
    expected = scores(network, np.concatenate([roi_maxima(maps), of_frame], axis=1))
    np.testing.assert_allclose(network(*tensors(slow, fast, BOXES, MASK)).asnumpy(), expected, atol=1e-5)


def relate(network: Folded, slow: np.ndarray, fast: np.ndarray, norm: Callable) -> np.ndarray:
    """Score boxes by the definition of the actor-centric relation; `norm` normalizes (n * k, out, h, w)."""
    weights = {name.removeprefix("head.acrn."): p.asnumpy() for name, p in network.parameters_dict().items()}
    maps = pooled("mean", slow, fast)
    of_box = np.broadcast_to(roi_maxima(maps)[..., None, None], (N * K, SLOW + FAST, H, W))
    x = np.concatenate([of_box, np.repeat(maps, K, axis=0)], axis=1)
    x = np.einsum("oi,nihw->nohw", weights["conv1.weight"][..., 0, 0, 0], x)
    x = np.maximum(norm(x, "conv1_bn", weights), 0)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    kernel = weights["conv2.weight"][:, :, 0]
    x = sum(
        np.einsum("oi,nihw->nohw", kernel[:, :, row, column], padded[:, :, row : row + H, column : column + W])
        for row in range(3)
        for column in range(3)
    )
    x = np.maximum(norm(x, "conv2_bn", weights), 0)
    return scores(network, x.max((2, 3)))


def normalized(x: np.ndarray, mean: np.ndarray, variance: np.ndarray, name: str, weights: dict) -> np.ndarray:
    scale = weights[f"{name}.gamma"] / np.sqrt(variance + EPSILON)
    return (x - mean[:, None, None]) * scale[:, None, None] + weights[f"{name}.beta"][:, None, None]


def by_running_statistics(x: np.ndarray, name: str, weights: dict) -> np.ndarray:
    return normalized(x, weights[f"{name}.moving_mean"], weights[f"{name}.moving_variance"], name, weights)


@pytest.mark.parametrize("layers", LAYERS)
def test_actor_relation_follows_its_definition(layers):
    network = head_of(layers(EPSILON, MOMENTUM), acrn_channels=OUT).set_train(False)
    assert network.head.num_features == OUT
    slow, fast = clips()
    expected = relate(network, slow, fast, by_running_statistics)
    np.testing.assert_allclose(network(*tensors(slow, fast, BOXES, MASK)).asnumpy(), expected, atol=1e-5)


class Loss(nn.Cell):
    """A loss of real boxes alone, and the scores."""

    def __init__(self, network: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network
        self.weights = ms.Tensor(np.random.default_rng(3).normal(size=(N, K, CLASSES)).astype(np.float32))

    def construct(self, *inputs: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        values = self.network(*inputs)
        return (values * self.weights * inputs[3].reshape(N, K, 1)).sum(), values


def gradients(network: Folded, arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the scores in training, and the gradients by the names of the parameters."""
    network.set_train(True)
    parameters = network.trainable_params()
    (_, values), found = ops.value_and_grad(Loss(network).set_train(True), None, parameters, has_aux=True)(
        *tensors(*arrays)
    )
    return values.asnumpy(), {p.name: g.asnumpy() for p, g in zip(parameters, found, strict=True)}


@pytest.mark.parametrize("layers", LAYERS)
def test_padding_takes_no_part_in_training_an_actor_relation(layers):
    network = head_of(layers(EPSILON, MOMENTUM), acrn_channels=OUT)
    before = {name: p.asnumpy().copy() for name, p in network.parameters_dict().items()}
    real = MASK.reshape(-1) > 0
    statistics = {}

    def by_batch(x: np.ndarray, name: str, weights: dict) -> np.ndarray:
        counted = x[real]
        statistics[name] = counted.mean((0, 2, 3)), counted.var((0, 2, 3)), counted.var((0, 2, 3), ddof=1)
        return normalized(x, *statistics[name][:2], name, weights)

    slow, fast = clips()
    expected = relate(network, slow, fast, by_batch)
    values, found = gradients(network, (slow, fast, BOXES, MASK))
    np.testing.assert_allclose(values[MASK > 0], expected[MASK > 0], atol=3e-5)
    after = {name: p.asnumpy() for name, p in network.parameters_dict().items()}
    for name, (mean, _, unbiased) in statistics.items():
        for key, new in (("moving_mean", mean), ("moving_variance", unbiased)):
            name_of = f"head.acrn.{name}.{key}"
            np.testing.assert_allclose(after[name_of], 0.9 * before[name_of] + 0.1 * new, rtol=1e-5, atol=1e-6)
    # What padding holds changes no gradient: a box with an area instead of zeros.
    other = BOXES.copy()
    other[1, 2] = [1, 1, 6, 4]
    _, same = gradients(network, (slow, fast, other, MASK))
    for name, gradient in found.items():
        np.testing.assert_allclose(same[name], gradient, atol=2e-5 * np.abs(gradient).max(), err_msg=name)
    assert np.abs(found["head.acrn.conv1.weight"]).max() > 1e-3


@pytest.mark.parametrize("layers", LAYERS)
def test_the_gradient_of_an_actor_relation_is_the_slope_of_its_loss(layers):
    network = head_of(layers(EPSILON, MOMENTUM), acrn_channels=OUT)
    arrays = (*clips(), BOXES, MASK)
    _, found = gradients(network, arrays)
    loss = Loss(network).set_train(True)
    parameters = [(parameter, parameter.asnumpy().copy()) for parameter in network.trainable_params()]
    rng = np.random.default_rng(4)
    for name in (
        "head.acrn.conv1.weight",
        "head.acrn.conv2.weight",
        "head.acrn.conv1_bn.gamma",
        "head.acrn.conv2_bn.beta",
    ):
        (parameter, start) = next(pair for pair in parameters if pair[0].name == name)
        direction = rng.normal(size=start.shape).astype(np.float32) + np.sign(found[name])
        step, values = 3e-4, []  # small against the kinks of ReLU and maximum
        for sign in (1, -1):
            parameter.set_data(ms.Tensor(start + sign * step * direction))
            values.append(float(loss(*tensors(*arrays))[0]))
        parameter.set_data(ms.Tensor(start))
        slope = (values[0] - values[1]) / (2 * step)
        assert slope == pytest.approx(float((found[name] * direction).sum()), rel=0.01), name
