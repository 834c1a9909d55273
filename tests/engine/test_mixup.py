"""Mixup of clips, against its definition and through the loss."""

import mindspore as ms
import numpy as np

from src.engine import mixup
from src.models.losses import bce


def batch_of(clips: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    mask = np.ones((clips, 2), np.float32)
    mask[0, 1] = 0
    return {
        "slow": rng.normal(size=(clips, 3, 1, 4, 4)).astype(np.float32),
        "fast": rng.normal(size=(clips, 3, 4, 4, 4)).astype(np.float32),
        "boxes": rng.uniform(0, 4, (clips, 2, 4)).astype(np.float32),
        "labels": rng.integers(0, 2, (clips, 2, 5)).astype(np.float32),
        "mask": mask,
        "key": np.array([[clip, 902.0] for clip in range(clips)]),
    }


def test_clips_are_mixed_and_the_boxes_of_both_count_by_their_shares():
    batch = batch_of(3)
    before = {name: array.copy() for name, array in batch.items()}
    mixed = mixup.mix(batch, 0.4, seed=1, epoch=2)
    share = mixed["mask"][0, 0]
    assert 0 < share < 1
    np.testing.assert_allclose(mixed["fast"][0], share * batch["fast"][0] + (1 - share) * batch["fast"][2], rtol=1e-5)
    np.testing.assert_allclose(mixed["slow"][1], batch["slow"][1], rtol=1e-5)  # the middle one meets itself
    other = np.float32(1) - share
    assert mixed["mask"].tolist() == [[share, 0, other, other], [share, share, other, other], [share, share, other, 0]]
    for name in ("boxes", "labels"):
        np.testing.assert_array_equal(mixed[name][0], np.concatenate([batch[name][0], batch[name][2]]))
    # The loss is the shares' mean of what each clip's boxes have.
    logits = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(np.float32)
    halves = (slice(0, 2), slice(2, 4))
    parts = [bce(*map(ms.Tensor, (logits[:, h], mixed["labels"][:, h], np.ceil(mixed["mask"][:, h])))) for h in halves]
    whole = bce(*map(ms.Tensor, (logits, mixed["labels"], mixed["mask"])))
    np.testing.assert_allclose(float(whole), share * float(parts[0]) + other * float(parts[1]), rtol=1e-5)
    assert all((batch[name] == array).all() for name, array in before.items())


def test_the_share_depends_on_seed_epoch_and_first_key_frame_alone():
    batch = batch_of(2)
    share = mixup.mix(batch, 0.4, 1, 2)["mask"][0, 0]
    assert mixup.mix({**batch, "fast": batch["fast"] * 2}, 0.4, 1, 2)["mask"][0, 0] == share
    assert mixup.mix(batch, 0.4, 1, 3)["mask"][0, 0] != share
    assert mixup.mix(batch, 0.4, 2, 2)["mask"][0, 0] != share
