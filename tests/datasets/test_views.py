"""Clips at several sizes and mirrored: each is the clip of a dataset of that size, and frames are decoded once."""

import numpy as np
import pytest

from src.config.custom_config import load_config
from src.datasets.ava_dataset import AvaDataset
from src.datasets.build import build_test_loader
from src.datasets.views import MultiScaleDataset, views
from src.utils.errors import UserError

ROWS = [f"a,{second},0.1,0.2,0.5,0.8,1,1.0" for second in range(1, 6)]
ROWS += ["a,2,0.6,0.1,1.0,0.9,1,1.0", "b,1,0.0,0.2,0.5,1.0,2,1.0", "c,2,0.3,0.2,0.5,1.0,2,1.0"]
VIDEOS = {"a": (80, (48, 64)), "b": (50, (64, 48)), "c": (50, (48, 64))}
SIDES = (32, 40, 24)


def at_size(cfg, side: int, mirrored: bool = False) -> AvaDataset:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATA.TEST_CROP_SIZE, cfg.AVA.TEST_FORCE_FLIP = side, mirrored
    return AvaDataset(cfg, "test")


@pytest.mark.parametrize("workers", [0, 2])
def test_each_view_is_the_batch_of_a_dataset_of_its_own(write_data, workers):
    cfg = write_data(VIDEOS, ROWS, "DATA_LOADER.NUM_WORKERS", workers)
    loader = build_test_loader(MultiScaleDataset(AvaDataset(cfg, "test"), SIDES))
    plain = [list(build_test_loader(at_size(cfg, side, mirrored))) for side in SIDES for mirrored in (False, True)]
    assert [len(loader), *map(len, plain)] == [4] * 7
    for at, batch in enumerate(loader):
        seen = list(views(batch, mirrored=True))
        assert len(seen) == 6
        for (slow, fast, boxes), batches in zip(seen, plain, strict=True):
            expected = next(one for one in batches if (one["key"] == batch["key"]).all())
            np.testing.assert_array_equal(slow, expected["slow"])
            np.testing.assert_array_equal(fast, expected["fast"])
            np.testing.assert_allclose(boxes, expected["boxes"], rtol=0, atol=1e-5)
        assert len(list(views(batch, mirrored=False))) == 3
        np.testing.assert_array_equal(batch["labels"], plain[0][at]["labels"])


def test_frames_are_decoded_once_for_all_sizes(write_data, monkeypatch):
    dataset = AvaDataset(write_data(VIDEOS, ROWS), "test")
    decoded = []
    decode = dataset.frames._decode
    monkeypatch.setattr(
        dataset.frames, "_decode", lambda video, indices: decoded.extend(indices) or decode(video, indices)
    )
    scaled = MultiScaleDataset(dataset, SIDES)
    assert scaled.frame_size(0) == (48, 64)
    decoded.clear()
    scaled.read(0)
    assert decoded == dataset.frame_indices(0).tolist() == [6, 8, 10, 12]


def test_rows_are_as_large_as_the_loader_reckons(write_data):
    scaled = MultiScaleDataset(AvaDataset(write_data(VIDEOS, ROWS), "test"), SIDES)
    sizes = scaled.test_size((48, 64))
    assert sizes == ((32, 42), (40, 53), (24, 32))
    sample = scaled.read(0)
    assert set(sample) == set(scaled.columns)
    assert scaled.row_bytes(sizes) == sum(array.nbytes for array in sample.values())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["TEST.SCALES", [224, 0]], "TEST.SCALES is [224, 0], expected more than 0"),
        (
            ["TEST.SCALES", [224], "DATA.TEST_SCALE_HEIGHT", 224, "DATA.TEST_SCALE_WIDTH", 384],
            "TEST.SCALES and DATA.TEST_SCALE_HEIGHT exclude each other",
        ),
        (["TEST.FLIP", True, "AVA.TEST_FORCE_FLIP", True], "TEST.FLIP and AVA.TEST_FORCE_FLIP exclude each other"),
    ],
)
def test_keys_that_cannot_be_are_refused(overrides, message):
    with pytest.raises(UserError) as caught:
        load_config(None, overrides)
    assert message in str(caught.value)
