"""RoIAlign: values worked out by hand, and MindSpore's own operator where it has the same rule."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import ops

from src.models.roi_align import RoIAlign

pytestmark = pytest.mark.usefixtures("eager")


# MindSpore's ROIAlign with sample_num 2 and roi_end_mode 1, which the published MindSpore weights were trained with.
LEGACY = {"aligned": False, "sampling_ratio": 2, "roi_end_mode": 1}


def align(features: np.ndarray, boxes: list, bins: int, scale: float = 1.0, **rule: object) -> np.ndarray:
    boxes = np.array(boxes, np.float32).reshape(features.shape[0], -1, 4)
    return RoIAlign(bins, scale, **rule)(ms.Tensor(features.astype(np.float32)), ms.Tensor(boxes)).asnumpy()


def pool(features: np.ndarray, boxes: list, bins: int = 7, **rule: object) -> np.ndarray:
    """Return the maximum over bins."""
    return align(features, boxes, bins, **rule).max((2, 3))


def ramp(height: int, width: int) -> np.ndarray:
    """Features whose value is the row in channel 0 and the column in channel 1."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns])[None].astype(np.float32)


def test_one_bin_of_an_aligned_box_is_the_mean_of_its_samples():
    # Half a pixel up and left: rows 0.5 to 2.5, sampled at 1.0 and 2.0; columns 1.5 to 3.5, at 2.0 and 3.0.
    assert pool(ramp(8, 8), [2, 1, 4, 3], bins=1).tolist() == [[1.5, 2.5]]


def test_bins_are_in_rows_and_columns():
    # 2 x 2 bins of one pixel, sampled at rows 1.0 and 2.0 and columns 2.0 and 3.0.
    found = align(ramp(8, 8), [2, 1, 4, 3], bins=2)
    assert found.tolist() == [[[[1.0, 1.0], [2.0, 2.0]], [[2.0, 3.0], [2.0, 3.0]]]]


def test_a_sampling_ratio_fixes_the_samples_of_a_bin():
    # A box from row 0 to row 3: one sample is at 1.5, half of row 1; two are at 0.75 and 2.25, the first 3/4 of row 1.
    features = np.zeros((1, 1, 5, 5))
    features[0, 0, 1] = 1.0
    assert pool(features, [0.5, 0.5, 3.5, 3.5], bins=1, sampling_ratio=1).tolist() == [[0.5]]
    assert pool(features, [0.5, 0.5, 3.5, 3.5], bins=1, sampling_ratio=2).tolist() == [[0.375]]


def test_samples_of_a_bin_grow_with_the_box():
    # A box of 3 x 3 in one bin is sampled at 3 x 3 points: row 0 and 2 zero, row 1 one, so a third.
    features = np.zeros((1, 1, 5, 5))
    features[0, 0, 1] = 1.0
    np.testing.assert_allclose(pool(features, [0.5, 0.5, 3.5, 3.5], bins=1), [[1 / 3]], rtol=1e-6)


def test_unaligned_boxes_start_at_the_pixel_they_name():
    # Rows 1 to 3, sampled at 1.5 and 2.5; columns 2 to 4.
    assert pool(ramp(8, 8), [2, 1, 4, 3], aligned=False, bins=1).tolist() == [[2.0, 3.0]]


def test_scale_maps_input_pixels_to_features():
    assert pool(ramp(8, 8), [32, 16, 64, 48], bins=1, scale=1 / 16).tolist() == [[1.5, 2.5]]


def test_samples_outside_of_the_feature_map_are_zero_and_those_on_its_rim_are_its_edge():
    # Around row -0.75 the rim counts as row 0; beyond -1 nothing counts.
    features = np.ones((1, 1, 4, 4))
    assert pool(features, [0.5, -0.5, 1.5, 0.25], bins=1).tolist() == [[1.0]]
    assert pool(features, [0.5, -3.0, 1.5, -2.0], bins=1).tolist() == [[0.0]]


def test_padding_gives_zeros_when_aligned_and_numbers_in_every_mode():
    features = np.random.default_rng(0).normal(size=(1, 3, 4, 4))
    assert pool(features, [0, 0, 0, 0]).tolist() == [[0.0, 0.0, 0.0]]
    for rule in ({"aligned": True}, {"aligned": False}, LEGACY):
        assert np.isfinite(pool(features, [[0, 0, 0, 0], [3, 3, 1, 1], [-9, -9, 99, 99]], **rule)).all()


def test_boxes_belong_to_their_own_clip():
    features = np.stack([np.zeros((1, 4, 4)), np.ones((1, 4, 4))])
    assert pool(features, [[0, 0, 3, 3], [0, 0, 3, 3]]).tolist() == [[0.0], [1.0]]


def test_legacy_is_mindspores_roi_align_with_two_samples_and_end_mode_one():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(2, 5, 14, 19)).astype(np.float32)
    corners = np.sort(rng.uniform(0, 1, (2, 6, 2, 2)), axis=2).reshape(2, 6, 4) * [19 * 16, 14 * 16, 19 * 16, 14 * 16]
    corners[:, 0, 2:] = corners[:, 0, :2] + 5.0  # less than a feature pixel
    rois = np.concatenate([np.repeat([0, 1], 6)[:, None], corners.reshape(12, 4)], 1).astype(np.float32)
    expected = ops.ROIAlign(7, 7, 1 / 16, 2, 1)(ms.Tensor(features), ms.Tensor(rois)).asnumpy().max((2, 3))
    np.testing.assert_allclose(pool(features, corners, scale=1 / 16, **LEGACY), expected, atol=2e-6)
