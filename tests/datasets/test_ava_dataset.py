"""One key frame to one clip."""

import re

import numpy as np
import pytest

from src.datasets.ava_dataset import AvaDataset
from src.utils.errors import UserError

ROWS = [
    "a,1,0.1,0.2,0.5,0.8,3,1.0",
    "a,3,0.1,0.2,0.5,0.8,1,1.0",
    "a,4,0.2,0.2,0.6,0.8,1,1.0",
    "a,4,0.1,0.2,0.5,0.8,2,1.0",
]
VIDEO = {"a": (42, (48, 64))}


def changed(cfg, *overrides):
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list(list(overrides))
    return cfg


@pytest.mark.parametrize(
    ("split", "full", "seconds"),
    [("train", False, [1, 3, 4]), ("test", False, [1, 3, 4]), ("val", False, [4]), ("val", True, [1, 3, 4])],
)
def test_validation_takes_every_fourth_second(write_data, split, full, seconds):
    dataset = AvaDataset(write_data(VIDEO, ROWS, "AVA.FULL_TEST_ON_VAL", full), split)
    assert dataset.key_frames.second.tolist() == seconds


@pytest.mark.parametrize(
    ("row", "frames"),
    [
        ("a,0,0.1,0.2,0.5,0.8,3,1.0", [0, 0, 0, 2]),
        ("a,1,0.1,0.2,0.5,0.8,3,1.0", [6, 8, 10, 12]),
        ("a,1.05,0.1,0.2,0.5,0.8,3,1.0", [7, 9, 11, 13]),
        ("a,4,0.1,0.2,0.5,0.8,3,1.0", [36, 38, 40, 41]),
    ],
)
def test_the_clip_lies_around_the_key_frame_and_inside_the_video(write_data, row, frames):
    dataset = AvaDataset(write_data(VIDEO, [row]), "test")
    assert dataset.frame_indices(0).tolist() == frames
    fast = dataset.sample(0)["fast"]
    gray = (fast[:, :, :, 0].mean(axis=(0, 2)) * 0.225 + 0.45) * 255
    np.testing.assert_allclose(gray, [20 + frame for frame in frames], atol=1.5)


def test_ava_samples_32_frames_around_the_second(write_data):
    cfg = write_data({"a": (128, (16, 16))}, ["a,902,0.1,0.2,0.5,0.8,3,1.0"])
    cfg = changed(cfg, "DATA.NUM_FRAMES", 32, "AVA.FPS", 30, "AVA.FIRST_SECOND", 900, "AVA.VALID_SECONDS", [902, 1798])
    assert AvaDataset(cfg, "test").frame_indices(0).tolist() == list(range(28, 92, 2))


def test_a_test_sample_holds_boxes_in_pixels_labels_and_mask(write_data):
    dataset = AvaDataset(write_data(VIDEO, ROWS), "test")
    sample = dataset.sample(2)
    assert sample["fast"].shape == (3, 4, 32, 42)
    np.testing.assert_array_equal(sample["slow"], sample["fast"][:, [0, 3]])
    np.testing.assert_allclose(sample["boxes"], [[8.4, 6.3, 25.2, 25.2], [4.2, 6.3, 21.0, 25.2]], atol=1e-4)
    assert [np.flatnonzero(row).tolist() for row in sample["labels"]] == [[0], [1]]
    np.testing.assert_array_equal(sample["mask"], [1, 1])
    np.testing.assert_array_equal(sample["boxes_norm"], [[0.2, 0.2, 0.6, 0.8], [0.1, 0.2, 0.5, 0.8]])
    np.testing.assert_array_equal(sample["key"], [0, 4])


def test_fewer_boxes_are_padded_with_zeros(write_data):
    sample = AvaDataset(write_data(VIDEO, ROWS), "test").sample(0)
    np.testing.assert_array_equal(sample["mask"], [1, 0])
    for name in ("boxes", "labels", "boxes_norm"):
        assert sample[name][0].any() and not sample[name][1].any()


def test_a_fixed_test_size_scales_boxes_by_the_right_axis(write_data):
    cfg = write_data(VIDEO, ROWS, "DATA.TEST_SCALE_HEIGHT", 24, "DATA.TEST_SCALE_WIDTH", 96)
    sample = AvaDataset(cfg, "test").sample(0)
    assert sample["fast"].shape == (3, 4, 24, 96)
    np.testing.assert_allclose(sample["boxes"][0], [9.6, 4.8, 48.0, 19.2], atol=1e-4)


def test_force_flip_mirrors_clip_and_boxes(write_data):
    cfg = write_data(VIDEO, ROWS)
    plain = AvaDataset(cfg, "test").sample(0)
    flipped = AvaDataset(changed(cfg, "AVA.TEST_FORCE_FLIP", True), "test").sample(0)
    np.testing.assert_array_equal(flipped["fast"], plain["fast"][..., ::-1])
    np.testing.assert_allclose(flipped["boxes"][0], [20.0, 6.3, 36.8, 25.2], atol=1e-4)


def test_augmentation_depends_on_seed_epoch_and_key_frame_alone(write_data):
    cfg = write_data(VIDEO, ROWS, "AVA.TRAIN_USE_COLOR_AUGMENTATION", True, "AVA.TRAIN_PCA_JITTER_ONLY", False)
    dataset = AvaDataset(cfg, "train")
    sample = dataset.sample(0, epoch=2)
    dataset.sample(1, epoch=5)
    np.testing.assert_array_equal(dataset.sample(0, epoch=2)["fast"], sample["fast"])
    np.testing.assert_array_equal(dataset.sample(0, epoch=2)["boxes"], sample["boxes"])
    other_seed = AvaDataset(changed(cfg, "RNG_SEED", 1), "train").sample(0, epoch=2)
    for other in (dataset.sample(0, epoch=3), other_seed):
        assert (other["fast"] != sample["fast"]).any()


def test_a_training_crop_shows_the_box_where_the_labels_say(tmp_path, write_data):
    """A bright figure on a dark ground: however the clip is scaled, cropped and mirrored, the box encloses it."""
    import cv2

    cfg = write_data({"a": (8, (60, 80))}, ["a,0,0.25,0.2,0.5,0.8,1,1.0"])
    image = np.zeros((60, 80, 3), np.uint8)
    image[12:48, 20:40] = 255
    for path in (tmp_path / "frames/a").iterdir():
        cv2.imwrite(str(path), image)
    dataset = AvaDataset(cfg, "train")
    lefts = set()
    for epoch in range(40):
        sample = dataset.sample(0, epoch)
        bright = sample["fast"][0, 0] > 0.0
        columns, rows = np.flatnonzero(bright.any(axis=0)), np.flatnonzero(bright.any(axis=1))
        x1, y1, x2, y2 = sample["boxes"][0]
        if columns.size:
            np.testing.assert_allclose([columns[0], rows[0], columns[-1], rows[-1]], [x1, y1, x2, y2], atol=1.5)
        else:
            assert x1 == x2 in (0.0, 31.0)
        lefts.add(round(float(x1)))
    assert len(lefts) > 10


def test_pca_noise_shifts_each_channel_by_one_amount(write_data):
    cfg = write_data(VIDEO, ROWS)
    plain = AvaDataset(cfg, "train").sample(0)["fast"]
    noisy = AvaDataset(changed(cfg, "AVA.TRAIN_USE_COLOR_AUGMENTATION", True), "train").sample(0)["fast"]
    shift = (noisy - plain).reshape(3, -1)
    np.testing.assert_allclose(shift, shift[:, :1].repeat(shift.shape[1], axis=1), atol=1e-5)
    assert (np.abs(shift[:, 0]) > 1e-3).all()


def test_memory_of_a_clip_is_used_again_only_when_nobody_looks_at_it(write_data):
    dataset = AvaDataset(write_data(VIDEO, ROWS), "test")
    first = dataset.sample(0)["fast"]
    address, row, expected = first.ctypes.data, first[1, 2, 3], first[1, 2, 3].copy()
    del first
    second = dataset.sample(1)["fast"]
    assert second.ctypes.data != address
    np.testing.assert_array_equal(row, expected)
    del row
    assert dataset.sample(2)["fast"].ctypes.data == address


def refused(cfg, split="train") -> str:
    with pytest.raises(UserError) as caught:
        dataset = AvaDataset(cfg, split)
        for index in range(len(dataset)):
            dataset.sample(index)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_frames_folder_is_named(write_data, tmp_path):
    cfg = write_data(VIDEO, ROWS)
    (tmp_path / "frames").rename(tmp_path / "elsewhere")
    assert refused(cfg).startswith(f"{tmp_path}/frames: the folder of frames is not there")


def test_a_video_without_frames_is_named_with_its_row(write_data, tmp_path):
    cfg = write_data(VIDEO | {"b": (3, (48, 64))}, ROWS)
    (tmp_path / "frames/b").rename(tmp_path / "frames/c")
    expected = f"{tmp_path}/ava_annotations/train.csv: row 44: video b lacks the frame {tmp_path}/frames/b/b_000001.jpg"
    assert refused(cfg) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the frame is not an image that can be decoded"),
        (b"no image", "the frame is not an image that can be decoded"),
        (None, "cannot read the frame: No such file or directory"),
    ],
)
def test_an_unreadable_frame_is_named(write_data, tmp_path, content, message):
    cfg = write_data(VIDEO, ROWS)
    culprit = tmp_path / "frames/a/a_000011.jpg"
    culprit.unlink()
    if content is not None:
        culprit.write_bytes(content)
    assert refused(cfg) == f"{culprit}: {message}"


def test_a_frame_of_another_size_is_named(write_data, tmp_path):
    import cv2

    cfg = write_data(VIDEO, ROWS)
    culprit = tmp_path / "frames/a/a_000011.jpg"
    cv2.imwrite(str(culprit), np.zeros((20, 30, 3), np.uint8))
    assert refused(cfg) == f"{culprit}: the frame is 30 x 20, but others of its video are 64 x 48"


def test_boxes_beyond_the_end_of_a_video_are_named(write_data, tmp_path):
    cfg = write_data(VIDEO, ["a,1,0.1,0.2,0.5,0.8,3,1.0", "a,5,0.1,0.2,0.5,0.8,3,1.0"])
    expected = f"{tmp_path}/frames/a/a_000042.jpg: video a ends after 42 frames, but has boxes at second 5"
    assert refused(cfg).startswith(expected)


def test_a_split_without_boxes_is_named(write_data):
    cfg = write_data(VIDEO, ["a,1,0.1,0.2,0.5,0.8,3,0.5"])
    assert re.search(r"boxes\.csv: no box at a key frame of the test split", refused(cfg, "test"))
