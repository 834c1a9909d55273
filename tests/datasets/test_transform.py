"""Transforms against PySlowFast's outputs and against plain definitions."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.datasets import transform

MEAN, STD = [0.45] * 3, [0.225] * 3
BOXES = np.array([[0.1, 0.2, 0.5, 0.9], [0.0, 0.0, 1.0, 1.0], [0.333, 0.25, 0.777, 0.6]])
# PySlowFast's test-time preprocessing of two block images (seeds 1 and 2), short side 224: height, width, flip, shape,
# mean, standard deviation, three pixels, three boxes.
PYSLOWFAST = [
    (
        (240, 320, False, (3, 2, 224, 298), 0.19938583864102294, 1.287313746539326),
        {
            (2, 1, 5, 240): -1.703703761100769,
            (1, 1, 141, 85): -1.2331154346466064,
            (0, 0, 33, 297): 0.21350768208503723,
        },
        [[29.8, 44.7, 149.0, 201.15], [0.0, 0.0, 297.0, 222.56875], [99.234, 55.875, 231.546, 134.1]],
    ),
    (
        (240, 320, True, (3, 2, 224, 298), 0.19938583864102294, 1.287313746539326),
        {
            (2, 1, 5, 240): -0.030501022934913635,
            (1, 1, 141, 85): 1.3464053869247437,
            (0, 0, 33, 297): 1.7995643615722656,
        },
        [[148.0, 44.7, 267.2, 201.15], [0.0, 0.0, 297.0, 222.56875], [65.454, 55.875, 197.766, 134.1]],
    ),
    (
        (256, 384, False, (3, 2, 224, 336), 0.20014079788213873, 1.311602483158023),
        {
            (2, 1, 5, 271): 0.7538127899169922,
            (1, 1, 141, 96): -0.8845314979553223,
            (0, 0, 33, 335): 0.40522894263267517,
        },
        [[33.6, 44.8, 168.0, 201.6], [0.0, 0.0, 335.0, 223.0], [111.888, 56.0, 261.072, 134.4]],
    ),
    (
        (256, 384, True, (3, 2, 224, 336), 0.20014079788213873, 1.311602483158023),
        {
            (2, 1, 5, 271): -0.2745097279548645,
            (1, 1, 141, 96): -0.8845314979553223,
            (0, 0, 33, 335): -0.2570805251598358,
        },
        [[167.0, 44.8, 301.4, 201.6], [0.0, 0.0, 335.0, 223.0], [73.928, 56.0, 223.112, 134.4]],
    ),
    (
        (352, 640, False, (3, 2, 224, 407), 0.2119514801576372, 1.267864166509428),
        {
            (2, 1, 5, 328): -1.6165577173233032,
            (1, 1, 141, 116): 0.44008731842041016,
            (0, 0, 33, 406): 0.0915033295750618,
        },
        [[40.7, 44.77, 203.5, 201.465], [0.0, 0.0, 406.0, 223.0], [135.531, 55.9625, 316.239, 134.31]],
    ),
    (
        (352, 640, True, (3, 2, 224, 407), 0.2119514801576372, 1.267864166509428),
        {
            (2, 1, 5, 328): -1.5642701387405396,
            (1, 1, 141, 116): -1.0239651203155518,
            (0, 0, 33, 406): 1.9389979839324951,
        },
        [[202.5, 44.77, 365.3, 201.465], [0.0, 0.0, 406.0, 223.0], [89.761, 55.9625, 270.469, 134.31]],
    ),
    (
        (480, 368, False, (3, 2, 292, 224), 0.21265391156358068, 1.2734382439038172),
        {
            (2, 1, 6, 180): -1.546841025352478,
            (1, 1, 184, 64): -0.5185184478759766,
            (0, 0, 43, 223): -1.3202614784240723,
        },
        [[22.386666667, 58.4, 111.933333333, 262.8], [0.0, 0.0, 223.0, 291.0], [74.5476, 73.0, 173.9444, 175.2]],
    ),
    (
        (480, 368, True, (3, 2, 292, 224), 0.21265391156358068, 1.2734382439038174),
        {(2, 1, 6, 180): -0.2745097279548645, (1, 1, 184, 64): 1.137255072593689, (0, 0, 43, 223): 2.1307191848754883},
        [[111.066666667, 58.4, 200.613333333, 262.8], [0.0, 0.0, 223.0, 291.0], [49.0556, 73.0, 148.4524, 175.2]],
    ),
]


def block_image(seed: int, height: int, width: int) -> np.ndarray:
    blocks = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    return np.kron(blocks, np.ones((16, 16, 1), np.uint8))


def preprocess(images, size, flip, boxes_norm=BOXES):
    """Test-time preprocessing, as the dataset composes it."""
    new_size = transform.short_side_size(size, 224)
    clip = np.empty((3, len(images), *new_size), np.float32)
    frames = transform.fit_frames(images, new_size, new_size, flip=flip)
    transform.write_clip(frames, transform.normalization_table(MEAN, STD), clip)
    boxes = transform.scale_boxes(transform.boxes_to_pixels(boxes_norm, size), size, new_size)
    if flip:
        boxes = transform.flip_boxes(boxes, new_size[1])
    return clip, transform.clip_boxes(boxes, new_size)


@pytest.mark.parametrize(("case", "pixels", "boxes"), PYSLOWFAST, ids=lambda value: str(value)[:18])
def test_test_time_preprocessing_is_pyslowfasts(case, pixels, boxes):
    height, width, flip, shape, mean, std = case
    clip, found = preprocess([block_image(seed, height, width) for seed in (1, 2)], (height, width), flip)
    assert clip.shape == shape
    assert clip.mean(dtype=np.float64) == pytest.approx(mean, abs=1e-5)
    assert clip.std(dtype=np.float64) == pytest.approx(std, abs=1e-5)
    for place, value in pixels.items():
        assert clip[place] == pytest.approx(value, abs=1e-5)
    np.testing.assert_allclose(found, boxes, rtol=0, atol=1e-4)


def test_every_reference_value_of_the_shared_file_is_met(shared_dir):
    for case in json.loads((shared_dir / "parity/preprocess_test.json").read_text()):
        size = case["height"], case["width"]
        images = [block_image(seed, *size) for seed in case["image_seeds"]]
        clip, boxes = preprocess(images, size, case["force_flip"], np.array(case["boxes_in"]))
        assert list(clip.shape) == case["output_shape"]
        np.testing.assert_allclose(
            clip.mean(axis=(1, 2, 3), dtype=np.float64), case["channel_means"], rtol=0, atol=1e-5
        )
        for place, value in case["samples"]:
            assert clip[tuple(place)] == pytest.approx(value, abs=1e-5)
        np.testing.assert_allclose(boxes, case["boxes_out"], rtol=0, atol=1e-4)


@settings(max_examples=40)
@given(
    height=st.integers(20, 60),
    width=st.integers(20, 60),
    short_side=st.integers(16, 40),
    flip=st.booleans(),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_a_clip_is_resize_crop_flip_and_normalize(height, width, short_side, flip, seed, data):
    images = list(np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (3, height, width, 3), np.uint8))
    images.insert(1, images[0])
    size = transform.short_side_size((height, width), short_side)
    top, left = (data.draw(st.integers(0, extent - 16)) for extent in size)
    mean, std = [0.4, 0.45, 0.5], [0.2, 0.225, 0.25]
    clip = np.full((3, 4, 16, 16), np.nan, np.float32)
    frames = transform.fit_frames(images, size, (16, 16), (top, left), flip)
    transform.write_clip(frames, transform.normalization_table(mean, std), clip)
    for step, image in enumerate(images):
        scaled = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR) if size != (height, width) else image
        part = scaled[top : top + 16, left : left + 16, ::-1].astype(np.float64)
        expected = ((part[:, ::-1] if flip else part) / 255 - mean) / std
        np.testing.assert_allclose(clip[:, step], expected.transpose(2, 0, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [
        ((360, 640), 224, (224, 398)),
        ((640, 360), 224, (398, 224)),
        ((240, 240), 224, (224, 224)),
        # Nothing to scale: 341 / 224 * 224 rounds below 341 in floating point.
        ((224, 341), 224, (224, 341)),
    ],
)
def test_short_side_size(size, short_side, expected):
    assert transform.short_side_size(size, short_side) == expected


def test_a_fixed_size_scales_each_axis_of_a_box_by_its_own_ratio():
    boxes = np.array([[10.0, 20.0, 30.0, 40.0]])
    np.testing.assert_allclose(transform.stretch_boxes(boxes, (100, 200), (256, 384)), [[19.2, 51.2, 57.6, 102.4]])


def test_boxes_follow_crop_flip_and_clip():
    boxes = np.array([[10.0, 20.0, 30.0, 40.0], [0.0, 0.0, 5.0, 70.0]])
    cropped = transform.crop_boxes(boxes, top=15, left=8)
    np.testing.assert_array_equal(cropped, [[2, 5, 22, 25], [-8, -15, -3, 55]])
    np.testing.assert_array_equal(transform.flip_boxes(cropped, 32), [[9, 5, 29, 25], [34, -15, 39, 55]])
    np.testing.assert_array_equal(transform.clip_boxes(cropped, (24, 20)), [[2, 5, 19, 23], [0, 0, 0, 23]])


def test_color_jitter_blends_with_black_mean_gray_and_gray_in_the_drawn_order():
    clip = np.random.Generator(np.random.PCG64(5)).random((3, 2, 4, 5)).astype(np.float32)
    rng = np.random.Generator(np.random.PCG64(9))
    order, weights = rng.permutation(3), rng.uniform(0.6, 1.4, 3)
    expected = clip.astype(np.float64)
    for kind, weight in zip(order, weights, strict=True):
        gray = 0.299 * expected[0] + 0.587 * expected[1] + 0.114 * expected[2]
        frame_mean = np.stack([np.full((4, 5), frame.mean()) for frame in gray])
        opposite = (np.zeros_like(gray), frame_mean, gray)[kind]
        expected = weight * expected + (1 - weight) * opposite
    transform.color_jitter(clip, np.random.Generator(np.random.PCG64(9)))
    np.testing.assert_allclose(clip, expected, rtol=0, atol=1e-6)


def test_pca_shift_is_the_weighted_sum_of_the_principal_colors():
    weights = np.random.Generator(np.random.PCG64(3)).normal(0.0, 0.1, 3)
    found = transform.pca_shift(
        np.random.Generator(np.random.PCG64(3)), [2.0, 3.0, 5.0], [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    )
    expected = [2 * weights[0], 3 * weights[1], 2 * weights[0] + 5 * weights[2]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
