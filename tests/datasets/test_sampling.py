"""Which key frames an epoch has, against the definitions."""

import numpy as np
import pytest

from src.datasets.key_frames import KeyFrames
from src.datasets.sampling import epoch_order, repeat_factors

# Of eight key frames all have class 0, in one box or two, two have class 1, one of them class 3; the last has none.
LABELS = [[[0]], [[0], [0]], [[0, 1]], [[0]], [[0]], [[0], [1, 3]], [[0]], [[]]]


@pytest.fixture
def key_frames() -> KeyFrames:
    boxes = [labels for frame in LABELS for labels in frame]
    return KeyFrames(
        video=np.zeros(len(LABELS), np.int32),
        second=np.arange(len(LABELS), dtype=np.float64),
        box_start=np.cumsum([0, *map(len, LABELS)]),
        boxes_norm=np.zeros((len(boxes), 4)),
        label_start=np.cumsum([0, *map(len, boxes)]),
        labels=np.array([label for labels in boxes for label in labels], np.int16),
        left_out=(),
    )


def test_repeat_factors_are_lvis(key_frames):
    # Shares 7/8, 2/8 and 1/8: square roots of 1/2 over them, where more than 1.
    expected = [1, 1, 2**0.5, 1, 1, 2, 1, 1]
    np.testing.assert_allclose(repeat_factors(key_frames, 0.5), expected)
    np.testing.assert_allclose(repeat_factors(key_frames, 0.0), 1)


def test_every_key_frame_comes_once_by_default(key_frames):
    order, copies = epoch_order(key_frames, "uniform", 0.5, 3, 1)
    assert sorted(order) == list(range(8))
    assert not copies.any()
    assert (order != epoch_order(key_frames, "uniform", 0.5, 3, 2)[0]).any()


def test_repeated_key_frames_come_as_often_as_their_factors_say_on_average(key_frames):
    factors = repeat_factors(key_frames, 0.5)
    counts = []
    for epoch in range(300):
        order, copies = epoch_order(key_frames, "repeat", 0.5, 3, epoch)
        assert len(order) == 9  # the sum of the factors, 9.41
        counts.append(np.bincount(order, minlength=8))
        assert sorted(copies[order == 5]) == list(range(counts[-1][5]))
    scaled = factors * 9 / factors.sum()
    assert (np.abs(counts - scaled) < 1 + 1e-9).all()
    np.testing.assert_allclose(np.mean(counts, 0), scaled, atol=0.1)


def test_balanced_epochs_have_all_classes_alike(key_frames):
    drawn = np.concatenate([epoch_order(key_frames, "balanced", 0.5, 3, epoch)[0] for epoch in range(900)])
    shares = np.bincount(drawn, minlength=8) / len(drawn)
    # A third for each class, then evenly among its key frames.
    only_common = 1 / 21
    expected = [only_common] * 8
    expected[2] += 1 / 6
    expected[5] += 1 / 6 + 1 / 3
    expected[7] = 0
    np.testing.assert_allclose(shares, expected, atol=0.02)
    assert len(epoch_order(key_frames, "balanced", 0.5, 3, 0)[0]) == 8
