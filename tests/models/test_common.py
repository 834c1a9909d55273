"""Folded 3-D blocks against MindSpore's 3-D operators and hand-computed values."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import ops

from src.models.common import Conv3d, MaxPool, fold, mean_over_time

pytestmark = pytest.mark.usefixtures("eager")


def unfold(frames: ms.Tensor, n: int) -> np.ndarray:
    nt, c, h, w = frames.shape
    return frames.asnumpy().reshape(n, nt // n, c, h, w).transpose(0, 2, 1, 3, 4)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "frames"),
    [
        ((1, 7, 7), (1, 2, 2), 1, 4),
        ((5, 7, 7), (1, 2, 2), 1, 8),
        ((3, 1, 1), (1, 1, 1), 1, 8),
        ((3, 1, 1), (1, 1, 1), 1, 1),
        ((5, 1, 1), (1, 1, 1), 1, 2),
        ((7, 1, 1), (4, 1, 1), 1, 8),
        ((7, 1, 1), (8, 1, 1), 1, 8),
        ((1, 3, 3), (1, 1, 1), 2, 4),
    ],
)
def test_a_folded_convolution_is_the_3d_convolution(kernel, stride, dilation, frames):
    rng = np.random.default_rng(0)
    clip = ms.Tensor(rng.normal(size=(2, 3, frames, 9, 11)).astype(np.float32))
    cell = Conv3d(3, 4, kernel, frames, stride, dilation)
    pad_t, pad_h, pad_w = kernel[0] // 2, kernel[1] // 2 * dilation, kernel[2] // 2 * dilation
    native = ops.Conv3D(
        4,
        kernel,
        pad_mode="pad",
        pad=(pad_t, pad_t, pad_h, pad_h, pad_w, pad_w),
        stride=stride,
        dilation=(1, dilation, dilation),
    )
    expected = native(clip, cell.weight).asnumpy()
    np.testing.assert_allclose(unfold(cell(fold(clip)), 2), expected, atol=2e-5)


def test_a_temporal_stride_with_a_spatial_kernel_is_refused():
    with pytest.raises(ValueError, match="temporal stride"):
        Conv3d(3, 4, (3, 3, 3), 8, stride=(2, 1, 1))


def test_initial_weights_are_msras_by_fan_out():
    ms.set_seed(1)
    weight = Conv3d(64, 128, (1, 3, 3), 4).weight.asnumpy()
    assert abs(weight.mean()) < 1e-3
    assert weight.std() == pytest.approx(np.sqrt(2 / (128 * 9)), rel=0.01)


def test_max_pool_halves_height_and_width_rounded_up():
    frames = ms.Tensor(np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5))
    assert MaxPool()(frames).asnumpy().tolist() == [[[[6, 8, 9], [16, 18, 19], [21, 23, 24]]]]


def test_mean_over_time_averages_the_frames_of_each_sample():
    frames = ms.Tensor(np.array([1, 3, 10, 30], np.float32).reshape(4, 1, 1, 1))
    assert mean_over_time(frames, 2).asnumpy().ravel().tolist() == [2, 20]
