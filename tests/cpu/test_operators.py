"""Every compiled operator against its definition in NumPy, over random shapes, in float32 and bfloat16.

In bfloat16 inputs are rounded beforehand, so results may differ by their own rounding, 2^-8, and by that of weights.
"""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from src.cpu import library
from tests.cpu.numpy_operators import (
    BFLOAT16,
    call,
    conv3d,
    conv3d_gradients,
    max_pool3d,
    max_pool3d_gradient,
    settings,
    to_bfloat16,
    to_float,
)

TOLERANCE = {np.float32: 2e-6, BFLOAT16: 6e-3}
examples = hypothesis_settings(max_examples=60)


@st.composite
def types(draw):
    """float32, or bfloat16 where the processor has it."""
    return draw(st.sampled_from([np.float32, BFLOAT16] if library.computes_bfloat16() else [np.float32]))


def activations(rng: np.random.Generator, dtype: type, *shape: int) -> np.ndarray:
    x = rng.normal(size=shape).astype(np.float32)
    return to_bfloat16(x) if dtype == BFLOAT16 else x


def whole(rng: np.random.Generator, dtype: type, *shape: int) -> np.ndarray:
    """Whole numbers, some too long for bfloat16: all sums of their products here are exact in float32."""
    x = rng.integers(-280, 281, shape).astype(np.float32)
    return to_bfloat16(x) if dtype == BFLOAT16 else x


def wide(x: np.ndarray) -> np.ndarray:
    """What an array of activations says, in float64."""
    return to_float(x).astype(np.float64)


def rounded(weight: np.ndarray, dtype: type, step: int = 1) -> np.ndarray:
    """Round a weight to what the operator computes with: kernels in time and space and stems stay float32."""
    in_time_and_space = weight.shape[2] > 1 and weight.shape[3] > 1
    stem = step == 2 and weight.shape[1] <= 4 and weight.shape[0] in (8, 16)
    return wide(to_bfloat16(weight)) if dtype == BFLOAT16 and not (in_time_and_space or stem) else weight.astype(float)


def assert_close(actual: np.ndarray, expected: np.ndarray, dtype: type, factor: float = 1.0) -> None:
    error = np.abs(wide(actual) - expected).max()
    assert error <= factor * TOLERANCE[dtype] * max(np.abs(expected).max(), 1.0)


@st.composite
def convolutions(draw):
    """Shapes, steps and a seed of a convolution, narrower than those that go through Winograd's transforms."""
    kernel = draw(st.sampled_from([(1, 1, 1), (1, 3, 3), (3, 1, 1), (5, 1, 1), (7, 1, 1), (5, 7, 7), (3, 3, 3)]))
    spatial = kernel[1] > 1
    stride_t = draw(st.sampled_from([1, 1, 2, 4])) if not spatial else 1
    step = draw(st.sampled_from([1, 1, 2])) if stride_t == 1 else 1
    return {
        "samples": draw(st.integers(1, 3)),
        "frames": draw(st.sampled_from([1, 2, 4, 5, 8])),
        "size": (draw(st.integers(1, 12)), draw(st.integers(1, 12))),
        "channels": (draw(st.sampled_from([1, 2, 3, 8, 17, 24])), draw(st.sampled_from([1, 2, 8, 16, 19, 64]))),
        "kernel": kernel,
        "stride": (stride_t, step, step),
        "dilation": draw(st.sampled_from([1, 2])) if spatial and step == 1 else 1,
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


@examples
@given(convolutions(), types(), st.booleans())
def test_convolution(shape, dtype, has_bias):
    rng = np.random.default_rng(shape["seed"])
    (ic, oc), t = shape["channels"], shape["frames"]
    x = whole(rng, dtype, shape["samples"] * t, *shape["size"], ic)
    weight = whole(rng, np.float32, oc, ic, *shape["kernel"])
    bias = whole(rng, np.float32, oc)
    geometry = t, shape["stride"], shape["dilation"]
    computed_with = rounded(weight, dtype, shape["stride"][2])
    expected = conv3d(wide(x), computed_with, *geometry) + (bias if has_bias else 0.0)
    y = np.empty(expected.shape, dtype)
    inputs = (x, weight, bias) if has_bias else (x, weight)
    assert call("Conv3d", *inputs, settings(t, *shape["stride"], shape["dilation"]), y) == 0
    if dtype == BFLOAT16:
        assert_close(y, expected, dtype)
    else:
        np.testing.assert_array_equal(y, expected)


# oneDNN's AVX2 kernels for two threads give wrong weight gradients here.
STEPS_OF_ONE_FRAME = {
    "samples": 1,
    "frames": 8,
    "size": (1, 2),
    "channels": (2, 1),
    "kernel": (1, 1, 1),
    "stride": (2, 1, 1),
    "dilation": 1,
    "seed": 0,
}


@examples
@example(STEPS_OF_ONE_FRAME, np.float32)
@given(convolutions(), types())
def test_gradients_of_a_convolution(shape, dtype):
    rng = np.random.default_rng(shape["seed"])
    (ic, oc), t = shape["channels"], shape["frames"]
    x = whole(rng, dtype, shape["samples"] * t, *shape["size"], ic)
    weight = whole(rng, np.float32, oc, ic, *shape["kernel"])
    geometry = t, shape["stride"], shape["dilation"]
    dy = whole(rng, dtype, *conv3d(wide(x), weight, *geometry).shape)
    expected_dx, expected_dweight = conv3d_gradients(wide(dy), wide(x), rounded(weight, dtype), *geometry)
    at_last = settings(t, *shape["stride"], shape["dilation"])
    dx, dweight, dbias = np.empty_like(x), np.empty_like(weight), np.empty(oc, np.float32)
    assert call("Conv3dGradInput", dy, x, weight, at_last, dx) == 0
    assert call("Conv3dGradWeight", dy, x, weight, at_last, dweight) == 0
    assert call("Conv3dGradBias", dy, dbias) == 0
    # What a sum of many terms loses goes by the terms: a few units in the last place of float32.
    terms, _ = conv3d_gradients(np.abs(wide(dy)), wide(x), np.abs(rounded(weight, dtype)), *geometry)
    lost = 2.0**-22 * terms.max()
    assert np.abs(wide(dx) - expected_dx).max() <= max(TOLERANCE[dtype] * max(np.abs(expected_dx).max(), 1.0), lost)
    # Sums of exact products in float32, whatever the type of the activations.
    np.testing.assert_array_equal(dweight, expected_dweight)
    assert_close(dbias, wide(dy).sum((0, 1, 2)), np.float32, max(np.abs(wide(dy)).sum((0, 1, 2)).max(), 1.0))


@examples
@given(convolutions(), types(), st.booleans(), st.booleans(), st.booleans())
def test_convolution_with_batch_norm_residual_and_relu(shape, dtype, has_bias, has_residual, relu):
    rng = np.random.default_rng(shape["seed"])
    (ic, oc), t = shape["channels"], shape["frames"]
    x = activations(rng, dtype, shape["samples"] * t, *shape["size"], ic)
    weight = rng.normal(size=(oc, ic, *shape["kernel"])).astype(np.float32) / np.float32(np.sqrt(ic))
    gamma, beta, mean, bias = (rng.normal(size=oc).astype(np.float32) for _ in range(4))
    variance = rng.uniform(0.5, 2.0, oc).astype(np.float32)
    scale = gamma / np.sqrt(variance + np.float32(1e-5))
    geometry = t, shape["stride"], shape["dilation"]
    computed_with = rounded(weight * scale.reshape(-1, 1, 1, 1, 1), dtype, shape["stride"][2])
    expected = conv3d(wide(x), computed_with, *geometry)
    expected += beta - mean * scale.astype(np.float64) + (bias * scale if has_bias else 0.0)
    residual = activations(rng, dtype, *expected.shape)
    if has_residual:
        expected += wide(residual)
    if relu:
        expected = np.maximum(expected, 0.0)
    y = np.empty(expected.shape, dtype)
    inputs = [x, weight, gamma, beta, mean, variance, *[bias] * has_bias, *[residual] * has_residual]
    at_last = settings(t, *shape["stride"], shape["dilation"], 1e-5, relu, has_bias)
    assert call("Conv3dBatchNorm", *inputs, at_last, y) == 0
    # The scale multiplies weights before they are rounded: an ulp of float32 may be one of bfloat16.
    assert_close(y, expected, dtype, factor=2.0)


@st.composite
def winograd_convolutions(draw):
    """A convolution of three points without steps, wide enough for Winograd's transforms."""
    over_time = draw(st.booleans())
    return {
        "samples": draw(st.integers(1, 3)),
        "frames": draw(st.integers(4, 10)) if over_time else draw(st.integers(1, 3)),
        "size": (draw(st.integers(1, 11)), draw(st.integers(1, 19))),
        "channels": (draw(st.sampled_from([32, 48, 80])), draw(st.sampled_from([32, 64, 112]))),
        "kernel": (3, 1, 1) if over_time else (1, 3, 3),
        "dilation": 1 if over_time else draw(st.integers(1, 3)),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


@examples
@given(winograd_convolutions(), types(), st.booleans(), st.booleans())
def test_winograd_convolution_and_its_gradient(shape, dtype, has_residual, relu):
    """Transforms add and subtract what does not cancel to the last bit: 2^-20 of the terms of a sum, not 2^-22.

    In bfloat16 they are rounded, too, with twice the error of a direct convolution over time, four times over pixels.
    """
    rng = np.random.default_rng(shape["seed"])
    (ic, oc), t, (h, w) = shape["channels"], shape["frames"], shape["size"]
    x = activations(rng, dtype, shape["samples"] * t, h, w, ic)
    weight = rng.normal(size=(oc, ic, *shape["kernel"])).astype(np.float32)
    scale, shift = (rng.normal(size=oc).astype(np.float32) for _ in range(2))
    residual = activations(rng, dtype, *x.shape[:3], oc)
    geometry, at_last = (t, (1, 1, 1), shape["dilation"]), settings(t, 1, 1, 1, shape["dilation"])
    share = 2.0**-20 if dtype == np.float32 else 2.0**-7 if shape["kernel"][0] == 3 else 2.0**-6
    terms = conv3d(np.abs(wide(x)), np.abs(weight.astype(np.float64)), *geometry)

    convolved, y = np.empty_like(residual), np.empty_like(residual)
    expected = conv3d(wide(x), weight.astype(np.float64), *geometry)
    assert call("Conv3d", x, weight, at_last, convolved) == 0
    assert np.abs(wide(convolved) - expected).max() <= share * terms.max()

    normalized = expected * scale + shift + (wide(residual) if has_residual else 0.0)
    statistics = np.zeros(oc, np.float32), np.ones(oc, np.float32)
    inputs = [x, weight, scale, shift, *statistics, *[residual] * has_residual]
    assert call("Conv3dBatchNorm", *inputs, settings(*at_last, 0, relu, 0), y) == 0
    error = np.abs(wide(y) - (np.maximum(normalized, 0.0) if relu else normalized))
    assert error.max() <= share * max((terms * np.abs(scale)).max(), 1.0)

    dy, dx = residual, np.empty_like(x)
    expected_dx, _ = conv3d_gradients(wide(dy), wide(x), weight.astype(np.float64), *geometry)
    terms, _ = conv3d_gradients(np.abs(wide(dy)), wide(x), np.abs(weight.astype(np.float64)), *geometry)
    assert call("Conv3dGradInput", dy, x, weight, at_last, dx) == 0
    assert np.abs(wide(dx) - expected_dx).max() <= share * terms.max()


@st.composite
def stems(draw):
    """A convolution as a pathway's stem: few input channels, steps of two in width, frames wider than a vector."""
    step = draw(st.sampled_from([1, 2]))
    return {
        "samples": draw(st.integers(1, 2)),
        "frames": draw(st.integers(1, 4)),
        "size": (draw(st.integers(1, 9)), draw(st.integers(1, 70))),
        "channels": (draw(st.integers(1, 4)), draw(st.sampled_from([8, 16]))),
        "kernel": draw(st.sampled_from([(1, 7, 7), (5, 7, 7), (3, 3, 3), (1, 3, 5), (1, 1, 1)])),
        "stride": (step, draw(st.sampled_from([1, 2])), 2),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


@examples
@given(stems(), types(), st.booleans())
def test_stem_is_convolved_with_float32_weights_and_its_gradient(shape, dtype, relu):
    rng = np.random.default_rng(shape["seed"])
    (ic, oc), t = shape["channels"], shape["frames"]
    x = activations(rng, dtype, shape["samples"] * t, *shape["size"], ic)
    weight = rng.normal(size=(oc, ic, *shape["kernel"])).astype(np.float32)
    gamma, beta, mean = (rng.normal(size=oc).astype(np.float32) for _ in range(3))
    variance = rng.uniform(0.5, 2.0, oc).astype(np.float32)
    plain = conv3d(wide(x), weight.astype(np.float64), t, shape["stride"], 1)
    scale = (gamma / np.sqrt(variance + np.float32(1e-5))).astype(np.float64)
    expected = plain * scale + (beta - mean * scale)
    y, in_training = np.empty(expected.shape, dtype), np.empty(expected.shape, dtype)
    geometry = t, *shape["stride"], 1
    assert call("Conv3d", x, weight, settings(*geometry), in_training) == 0
    assert call("Conv3dBatchNorm", x, weight, gamma, beta, mean, variance, settings(*geometry, 1e-5, relu, 0), y) == 0
    # Rounding of the sum goes by the size of its terms.
    assert_close(in_training, plain, dtype, factor=4.0)
    assert_close(y, np.maximum(expected, 0.0) if relu else expected, dtype, factor=4.0 * max(np.abs(scale).max(), 1.0))
    dy, dweight = activations(rng, dtype, *expected.shape), np.empty_like(weight)
    _, expected_dweight = conv3d_gradients(wide(dy), wide(x), weight.astype(np.float64), t, shape["stride"], 1)
    assert call("Conv3dGradWeight", dy, x, weight, settings(*geometry), dweight) == 0
    assert_close(dweight, expected_dweight, np.float32)


@pytest.mark.parametrize("channels", [16, 32])  # the second goes through Winograd's transforms
def test_evaluation_sees_every_change_of_weights(channels):
    """Packed weights are kept from call to call: as long as the plain ones and the batch norm stay what they were."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(32, channels, 1, 3, 3)).astype(np.float32)
    gamma, beta, mean, variance = (rng.uniform(0.5, 2.0, 32).astype(np.float32) for _ in range(4))

    def check(size: int) -> None:
        x = rng.normal(size=(2, size, size, channels)).astype(np.float32)
        scale = gamma / np.sqrt(variance)
        expected = conv3d(x.astype(np.float64), weight * scale.reshape(-1, 1, 1, 1, 1), 2, (1, 1, 1), 1)
        expected += beta - mean * scale
        y = np.empty(expected.shape, np.float32)
        at_last = settings(2, 1, 1, 1, 1, 0, 0, 0)
        assert call("Conv3dBatchNorm", x, weight, gamma, beta, mean, variance, at_last, y) == 0
        assert_close(y, expected, np.float32, factor=4.0)

    check(6)
    check(40)  # may be packed otherwise
    weight[31, channels - 1, 0, 2, 2] += 1
    check(40)
    weight[[0, 1]] = weight[[1, 0]]  # the same numbers elsewhere
    check(40)
    gamma[3] *= 2
    check(40)
    variance[[4, 5]] = variance[[5, 4]]
    check(6)


@st.composite
def normalizations(draw):
    return {
        "shape": (*(draw(st.integers(1, n)) for n in (6, 9, 9)), draw(st.sampled_from([1, 3, 8, 64, 200]))),
        "relu": draw(st.booleans()),
        "residual": draw(st.booleans()),
        "frozen": draw(st.booleans()),
        "offset": draw(st.sampled_from([0.0, 100.0])),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


@examples
@given(normalizations(), types())
def test_batch_norm_and_its_gradients(case, dtype):
    rng = np.random.default_rng(case["seed"])
    channels, rows = case["shape"][-1], int(np.prod(case["shape"][:-1]))
    assume(rows > 1)
    # A mean far from zero loses no digits of the variance; bfloat16 itself would.
    offset = case["offset"] if dtype == np.float32 else 0.0
    x = activations(rng, dtype, *case["shape"])
    x = x + np.float32(offset) if offset else x
    residual = activations(rng, dtype, *case["shape"])
    gamma, beta, old_mean = (rng.normal(size=channels).astype(np.float32) for _ in range(3))
    old_variance = rng.uniform(0.5, 2.0, channels).astype(np.float32)
    flat = wide(x).reshape(rows, channels)
    if case["frozen"]:
        mean, variance = old_mean.astype(np.float64), old_variance.astype(np.float64)
    else:
        mean, variance = flat.mean(0), flat.var(0)
    assume(variance.min() > 1e-2)
    deviation = np.sqrt(variance + 1e-5)
    normal = (flat - mean) / deviation
    before_relu = gamma * normal + beta + (wide(residual).reshape(rows, channels) if case["residual"] else 0.0)
    expected = np.maximum(before_relu, 0.0) if case["relu"] else before_relu
    running_mean, running_variance = old_mean.copy(), old_variance.copy()
    y = np.empty_like(x)
    kept_mean, kept_inverse = np.empty(channels, np.float32), np.empty(channels, np.float32)
    at_last = settings(1e-5, 0.1, case["relu"], case["frozen"])
    inputs = [x, gamma, beta, running_mean, running_variance, *[residual] * case["residual"]]
    assert call("BatchNorm3d", *inputs, at_last, y, kept_mean, kept_inverse) == 0
    factor = 1.0 if not offset else 100.0
    assert_close(y, expected.reshape(x.shape), dtype, factor)
    moved = (
        (0.0, 0.0) if case["frozen"] else (0.1 * (mean - old_mean), 0.1 * (variance * rows / (rows - 1) - old_variance))
    )
    assert_close(running_mean, old_mean + moved[0], np.float32)
    assert_close(running_variance, old_variance + moved[1], np.float32, factor)

    dy = activations(rng, dtype, *case["shape"])
    # Where a value is as good as zero, rounding decides whether the ReLU is open.
    d = wide(dy).reshape(rows, channels)
    if case["relu"]:
        assume(np.abs(before_relu).min() > 1e-3 if dtype == np.float32 else True)
        signs = wide(y).reshape(rows, channels) if case["residual"] else before_relu
        d = np.where(signs > 0.0, d, 0.0)
    dbeta, dgamma = d.sum(0), (d * normal).sum(0)
    dx = gamma / deviation * (d if case["frozen"] else d - dbeta / rows - normal * dgamma / rows)
    actual = np.empty_like(x), np.empty(channels, np.float32), np.empty(channels, np.float32), np.empty_like(x)
    gradient_inputs = [dy, x, gamma, beta, kept_mean, kept_inverse, *[y] * case["residual"], at_last]
    outputs = actual if case["residual"] else actual[:3]
    assert call("BatchNorm3dGrad", *gradient_inputs, *outputs) == 0
    assert_close(actual[0], dx.reshape(x.shape), dtype, 4.0 * factor)
    # What a sum of many terms loses goes by the terms.
    assert_close(actual[1], dgamma, np.float32, factor * max(np.abs(d * normal).sum(0).max(), 1.0))
    assert_close(actual[2], dbeta, np.float32, max(np.abs(d).sum(0).max(), 1.0))
    if case["residual"]:
        assert_close(actual[3], d.reshape(x.shape), dtype)


@st.composite
def windows(draw):
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(3))
    return {
        "kernel": kernel,
        "stride": tuple(draw(st.integers(1, 3)) for _ in range(3)),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
        "size": tuple(draw(st.integers(k, 7)) for k in kernel),
        "samples": draw(st.integers(1, 2)),
        "channels": draw(st.sampled_from([1, 3, 8, 16, 27])),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


@examples
@given(windows(), types())
def test_max_pooling_and_its_gradient(case, dtype):
    rng = np.random.default_rng(case["seed"])
    t = case["size"][0]
    # Few values, so that windows hold equal ones.
    values = rng.integers(-3, 4, (case["samples"] * t, *case["size"][1:], case["channels"])).astype(np.float32)
    x = to_bfloat16(values) if dtype == BFLOAT16 else values
    geometry = t, case["kernel"], case["stride"], case["padding"]
    expected, expected_index = max_pool3d(values.astype(np.float64), *geometry)
    y, index = np.empty(expected.shape, dtype), np.empty(expected.shape, np.uint8)
    at_last = settings(t, *case["kernel"], *case["stride"], *case["padding"])
    assert call("MaxPool3d", x, at_last, y, index) == 0
    np.testing.assert_array_equal(wide(y), expected)
    # Padding counts as a point that is never a maximum, here and in the definition.
    np.testing.assert_array_equal(index, expected_index)
    dy = activations(rng, dtype, *expected.shape)
    dx = np.empty_like(x)
    assert call("MaxPool3dGrad", dy, index, x, at_last, dx) == 0
    assert_close(dx, max_pool3d_gradient(wide(dy), index, values, *geometry), dtype)


@examples
@given(st.tuples(*(st.integers(1, n) for n in (3, 4, 5, 6, 7))), types(), st.integers(0, 2**32 - 1))
def test_folding_a_clip(shape, dtype, seed):
    n, c, t, h, w = shape
    clip = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    y = np.empty((n * t, h, w, c), dtype)
    assert call("Fold", clip, y) == 0
    expected = clip.transpose(0, 2, 3, 4, 1).reshape(y.shape)
    np.testing.assert_array_equal(y, to_bfloat16(expected) if dtype == BFLOAT16 else expected)


@examples
@given(st.tuples(*(st.integers(1, 5) for _ in range(5))), types(), st.integers(0, 2**32 - 1))
def test_putting_channels_side_by_side_and_apart(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    a, b = activations(rng, dtype, *shape[:4]), activations(rng, dtype, *shape[:3], shape[4])
    y = np.empty((*shape[:3], shape[3] + shape[4]), dtype)
    assert call("Concat", a, b, y) == 0
    np.testing.assert_array_equal(y, np.concatenate((a, b), 3))
    again_a, again_b = np.empty_like(a), np.empty_like(b)
    assert call("ConcatGrad", y, a, b, again_a, again_b) == 0
    np.testing.assert_array_equal(again_a, a)
    np.testing.assert_array_equal(again_b, b)


@examples
@given(st.tuples(*(st.integers(1, n) for n in (3, 5, 4, 4, 130))), types(), st.integers(0, 2**32 - 1))
def test_mean_over_time_and_its_gradient(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    x = activations(rng, dtype, shape[0] * shape[1], *shape[2:])
    y = np.empty((shape[0], *shape[2:]), np.float32)
    assert call("TemporalMean", x, np.empty(shape[1], np.float32), y) == 0
    assert_close(y, wide(x).reshape(shape).mean(1), np.float32)
    dy = rng.normal(size=y.shape).astype(np.float32)
    dx = np.empty_like(x)
    assert call("TemporalMeanGrad", dy, x, dx) == 0
    assert_close(dx.reshape(shape), np.broadcast_to(dy[:, None] / np.float64(shape[1]), shape), dtype)


@examples
@given(st.integers(1, 5000), types(), st.integers(0, 2**32 - 1))
def test_sum_of_gradients(size, dtype, seed):
    rng = np.random.default_rng(seed)
    a, b = activations(rng, dtype, 1, 1, 1, size), activations(rng, dtype, 1, 1, 1, size)
    y = np.empty_like(a)
    assert call("Add", a, b, y) == 0
    np.testing.assert_array_equal(y, to_bfloat16(to_float(a) + to_float(b)) if dtype == BFLOAT16 else a + b)


@pytest.mark.parametrize("dtype", [np.float32, BFLOAT16])
def test_what_is_not_a_number_stays_so(dtype):
    x = np.full((1, 4, 4, 8), np.nan, np.float32)
    x = np.full(x.shape, 0x7FC0, BFLOAT16) if dtype == BFLOAT16 else x
    one, zero = np.ones(8, np.float32), np.zeros(8, np.float32)
    y = np.empty_like(x)
    statistics = np.empty(8, np.float32), np.empty(8, np.float32)
    assert call("BatchNorm3d", x, one, zero, zero.copy(), one.copy(), settings(1e-5, 0.1, 1, 0), y, *statistics) == 0
    assert np.isnan(to_float(y)).all()
    pooled, index = np.empty((1, 2, 2, 8), dtype), np.empty((1, 2, 2, 8), np.uint8)
    assert call("MaxPool3d", x, settings(1, 1, 3, 3, 1, 2, 2, 0, 1, 1), pooled, index) == 0
    assert np.isnan(to_float(pooled)).all()
    x, weight = np.zeros((1, 9, 9, 32), np.float32), np.ones((32, 32, 1, 3, 3), np.float32)
    x[0, 4, 4, 7] = np.nan
    y = np.empty_like(x)
    assert call("Conv3d", x, weight, settings(1, 1, 1, 1, 1), y) == 0
    assert np.isnan(y[0, 3:6, 3:6]).all()


def test_an_error_is_one_line_and_a_status(capfd):
    x, weight = np.zeros((4, 5, 5, 3), np.float32), np.zeros((8, 2, 1, 1, 1), np.float32)
    assert call("Conv3d", x, weight, settings(4, 1, 1, 1, 1), np.zeros((4, 5, 5, 8), np.float32)) == 1
    assert capfd.readouterr().err == (
        "error: slowfast_cpu: Conv3d(float32 4x5x5x3, float32 8x2x1x1x1, float32 5, float32 4x5x5x8): "
        "input and weight differ in channels\n"
    )


@examples
@given(st.lists(st.integers(1, 70), min_size=1, max_size=6), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_momentum_sgd_updates_all_arrays_in_place(sizes, nesterov, taken, seed):
    rng = np.random.default_rng(seed)
    weights, moments, gradients = ([rng.normal(size=size).astype(np.float32) for size in sizes] for _ in range(3))
    decays, factors = rng.random((2, len(sizes)))
    rate, momentum = 0.3, 0.9
    expected = []
    for weight, moment, gradient, decay, factor in zip(weights, moments, gradients, decays, factors, strict=True):
        g = gradient + decay * weight
        new = momentum * moment + g
        step = rate * factor * (g + momentum * new if nesterov else new)
        expected += [(weight - step, new) if taken else (weight.copy(), moment.copy())]
    scalars = (np.array(value, np.float32) for value in (rate, momentum, taken))
    layer = settings(nesterov, *decays, *factors)
    assert call("MomentumSGD", *weights, *moments, *gradients, *scalars, layer, np.empty(1, np.float32)) == 0
    for actual, wanted in zip(zip(weights, moments, strict=True), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=2e-6)
