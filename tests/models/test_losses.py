"""The losses against their definitions."""

import mindspore as ms
import numpy as np
import pytest

from src.models.losses import bce

# Logits at and around 0, and where exp overflows.
LOGITS = np.array([[[0.0, 0.0, 2.0, -2.0, 100.0, -100.0]]], np.float32)
LABELS = np.array([[[1.0, 0.0, 1.0, 0.0, 0.0, 1.0]]], np.float32)
MASK = np.ones((1, 1), np.float32)


def test_bce_is_the_mean_over_classes() -> None:
    # log 2, log 2, log(1 + exp(-2)) twice, 100, 100.
    expected = (2 * 0.6931471806 + 2 * 0.1269280110 + 200.0) / 6
    assert float(bce(ms.Tensor(LOGITS), ms.Tensor(LABELS), ms.Tensor(MASK))) == pytest.approx(expected, rel=1e-6)


def test_bce_has_the_gradient_of_the_sigmoid_minus_the_label_everywhere() -> None:
    gradient = ms.grad(bce)(ms.Tensor(LOGITS), ms.Tensor(LABELS), ms.Tensor(MASK)).asnumpy()
    expected = np.array([-0.5, 0.5, -0.1192029220, 0.1192029220, 1.0, -1.0]) / 6
    np.testing.assert_allclose(gradient.reshape(-1), expected, rtol=1e-6)


def test_padding_has_no_loss() -> None:
    assert float(bce(ms.Tensor(LOGITS), ms.Tensor(LABELS), ms.Tensor(np.zeros((1, 1), np.float32)))) == 0.0
