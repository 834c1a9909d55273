"""The losses against their definitions."""

import mindspore as ms
import numpy as np
import pytest

from src.config.custom_config import load_config
from src.models.losses import balanced_bce, bce, build_loss, counted, cross_entropy, focal
from src.utils.errors import UserError

# Logits at and around 0, and where exp overflows.
LOGITS = np.array([[[0.0, 0.0, 2.0, -2.0, 100.0, -100.0]]], np.float32)
LABELS = np.array([[[1.0, 0.0, 1.0, 0.0, 0.0, 1.0]]], np.float32)
MASK = np.ones((1, 1), np.float32)
# log 2 at a logit of 0, log(1 + exp(-2)) on the right side of 2.
AT_0, AT_2 = 0.6931471806, 0.1269280110


def value_and_gradient(loss, *arrays: np.ndarray) -> tuple[float, np.ndarray]:
    value, gradient = ms.value_and_grad(loss)(*map(ms.Tensor, arrays))
    return float(value), gradient.asnumpy()


def test_bce_is_the_mean_over_classes() -> None:
    expected = (2 * AT_0 + 2 * AT_2 + 200.0) / 6
    assert float(bce(ms.Tensor(LOGITS), ms.Tensor(LABELS), ms.Tensor(MASK))) == pytest.approx(expected, rel=1e-6)


def test_bce_has_the_gradient_of_the_sigmoid_minus_the_label_everywhere() -> None:
    gradient = ms.grad(bce)(ms.Tensor(LOGITS), ms.Tensor(LABELS), ms.Tensor(MASK)).asnumpy()
    expected = np.array([-0.5, 0.5, -0.1192029220, 0.1192029220, 1.0, -1.0]) / 6
    np.testing.assert_allclose(gradient.reshape(-1), expected, rtol=1e-6)


def test_focal_loss_is_bce_times_alpha_and_the_missed_probability() -> None:
    value, gradient = value_and_gradient(focal(3.0, 1.0), LOGITS, LABELS, MASK)
    missed = 0.1192029220  # 1 - s(2)
    assert value == pytest.approx(3 * (2 * 0.5 * AT_0 + 2 * missed * AT_2 + 200.0) / 6, rel=1e-6)
    # d/dx of (1 - p) * -log p, p = s(x): -p (1 - p) * -log p - (1 - p)^2; at 0 it is -(log 2 + 1) / 4.
    right = -(1 - missed) * missed * AT_2 - missed**2
    expected = np.array([-(AT_0 + 1) / 4, (AT_0 + 1) / 4, right, -right, 1.0, -1.0]) * 3 / 6
    np.testing.assert_allclose(gradient.reshape(-1), expected, rtol=1e-6)


def test_focal_loss_of_alpha_1_and_gamma_0_is_bce() -> None:
    plain, focused = (value_and_gradient(loss, LOGITS, LABELS, MASK) for loss in (bce, focal(1.0, 0.0)))
    assert focused[0] == pytest.approx(plain[0], rel=1e-7)
    np.testing.assert_allclose(focused[1], plain[1], rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_focal_loss_of_what_is_certain_has_a_finite_gradient(gamma) -> None:
    value, gradient = value_and_gradient(focal(1.0, gamma), LOGITS, 1 - LABELS, MASK)
    assert np.isfinite([value, *gradient.reshape(-1)]).all()
    assert gradient.reshape(-1)[4:].tolist() == [0.0, 0.0]


def test_balanced_bce_weighs_classes_by_the_inverse_of_their_frequency() -> None:
    # Inverses 1, 1/3, 1/2, 1/6 and 1/2: their mean is 1/2. The class without an example has 1.
    loss = balanced_bce(np.array([1, 3, 2, 6, 0, 2]))
    weights = np.array([6, 2, 3, 1, 3, 3]) / 3
    value, gradient = value_and_gradient(loss, LOGITS, LABELS, MASK)
    assert value == pytest.approx((weights * [AT_0, AT_0, AT_2, AT_2, 100.0, 100.0]).mean(), rel=1e-6)
    expected = np.array([-0.5, 0.5, -0.1192029220, 0.1192029220, 1.0, -1.0]) * weights / 6
    np.testing.assert_allclose(gradient.reshape(-1), expected, rtol=1e-6)


def test_cross_entropy_is_that_of_a_softmax_over_the_classes() -> None:
    logits = np.array([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [5.0, 1.0, 2.0]]], np.float32)
    labels = np.array([[[0, 1, 0], [1, 1, 0], [0, 0, 0]]], np.float32)
    mask = np.ones((1, 3), np.float32)
    # log 3; then e / (e + 2) and 1 / (e + 2), each wanted with one half; the third box has no label and adds nothing.
    e = 2.718281828
    second = np.log(e + 2) - 0.5
    value, gradient = value_and_gradient(cross_entropy, logits, labels, mask)
    assert value == pytest.approx((1.098612289 + second) / 3, rel=1e-6)
    expected = [
        [1 / 3, -2 / 3, 1 / 3],
        [e / (e + 2) - 0.5, 1 / (e + 2) - 0.5, 1 / (e + 2)],
        [0, 0, 0],
    ]
    np.testing.assert_allclose(gradient[0], np.array(expected) / 3, rtol=0, atol=5e-7)  # MindSpore's exp: 1e-6


LOSSES = {"bce": bce, "focal": focal(3.0, 1.0), "balanced": balanced_bce(np.arange(6)), "cross_entropy": cross_entropy}


@pytest.mark.parametrize("name", LOSSES)
def test_boxes_count_by_their_weight(name) -> None:
    logits, labels = (np.concatenate([array, -array[..., ::-1]], 1) for array in (LOGITS, LABELS))
    labels = abs(labels)
    loss = LOSSES[name]

    def value(*weights: float) -> float:
        return float(loss(ms.Tensor(logits), ms.Tensor(labels), ms.Tensor([weights])))

    first, second = value(1.0, 0.0), value(0.0, 1.0)
    assert first != second
    assert value(0.25, 0.5) == pytest.approx((first + 2 * second) / 3, rel=1e-6)
    assert value(0.0, 0.0) == 0.0


def test_boxes_without_a_label_count_only_if_wanted() -> None:
    labels = ms.Tensor(np.float32([[[0, 1], [0, 0], [1, 1]]]))
    mask = ms.Tensor(np.float32([[1, 1, 0]]))
    assert counted(labels, mask, False).asnumpy().tolist() == [[1, 1, 0]]
    assert counted(labels, mask, True).asnumpy().tolist() == [[1, 0, 0]]


# mmaction2 1.1.0 (BBoxHeadAVA of its published rows) on the boxes below: loss, sum of the gradient's magnitudes, its
# first values.
MMACTION2 = {
    "8x8_R50_AVA22": (1.2743313, 0.48997128, [1.0416667e-3, -1.0416667e-3, -1.0416667e-3, 6.8631e-6]),
    "8x8_R50_MAX_FOCAL_AVA22": (3.2454517, 1.4291738, [2.6455428e-3, -2.6455428e-3, -2.6455428e-3, 1.35542e-7]),
}


@pytest.mark.parametrize("row", MMACTION2)
def test_losses_of_mmaction2s_recipes_are_mmaction2s(row, repository) -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((7, 81)) < 0.05).astype(np.float32)[None, :, 1:]
    labels[0, 2] = 0  # does not count
    logits = rng.normal(0, 3, size=(7, 81)).astype(np.float32)[None, :, 1:]
    logits[0, 0, :3] = 0
    cfg = load_config(repository / f"configs/AVA/mmaction2/SLOWFAST_{row}.yaml")
    mask = ms.Tensor(np.ones((1, 7), np.float32))
    weights = counted(ms.Tensor(labels), mask, cfg.LOSS.IGNORE_UNLABELED).asnumpy()
    value, gradient = value_and_gradient(build_loss(cfg, np.ones(80)), logits, labels, weights)
    expected, total, first = MMACTION2[row]
    assert value == pytest.approx(expected, rel=1e-5)
    assert np.abs(gradient).sum() == pytest.approx(total, rel=1e-5)
    np.testing.assert_allclose(gradient[0, 0, :4], first, rtol=1e-5)


def test_the_configuration_chooses_the_loss() -> None:
    cfg = load_config(None, ["MODEL.LOSS_FUNC", "focal", "LOSS.FOCAL_ALPHA", 1.0, "LOSS.FOCAL_GAMMA", 0.0])
    chosen = build_loss(cfg, np.ones(80))
    assert float(chosen(ms.Tensor(LOGITS), ms.Tensor(LABELS), ms.Tensor(MASK))) == pytest.approx(
        (2 * AT_0 + 2 * AT_2 + 200.0) / 6, rel=1e-6
    )
    for overrides in (["MODEL.LOSS_FUNC", "cross_entropy"], ["MODEL.HEAD_ACT", "softmax"]):
        with pytest.raises(UserError, match="cross_entropy and softmax go together"):
            load_config(None, overrides)
