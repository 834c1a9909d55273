"""A fresh network starts as PySlowFast's."""

import mindspore as ms
import numpy as np
import pytest

from src.models.build import build_model
from tests.models.reference_network import load_reference


@pytest.fixture(scope="module")
def parameters():
    ms.set_seed(3)
    _, cfg = load_reference("tiny")
    return {name: parameter.asnumpy() for name, parameter in build_model(cfg).parameters_dict().items()}


def test_the_last_batch_norm_of_every_residual_branch_starts_at_zero(parameters):
    last = [value for name, value in parameters.items() if name.endswith("c_bn.gamma")]
    assert len(last) == 2 * (3 + 4 + 6 + 3)
    assert not any(value.any() for value in last)


def test_other_batch_norms_start_as_the_identity(parameters):
    for name, value in parameters.items():
        if name.endswith(".gamma") and not name.endswith("c_bn.gamma"):
            assert (value == 1).all(), name
        if name.endswith((".beta", ".moving_mean")):
            assert not value.any(), name


def test_the_last_layer_starts_small_and_without_bias(parameters):
    weight = parameters["head.projection.weight"]
    assert weight.shape == (5, 512 + 64)
    assert weight.std() == pytest.approx(0.01, rel=0.05)
    assert not parameters["head.projection.bias"].any()


def test_one_seed_gives_one_network(parameters):
    ms.set_seed(3)
    _, cfg = load_reference("tiny")
    again = build_model(cfg).parameters_dict()
    assert all(np.array_equal(value, again[name].asnumpy()) for name, value in parameters.items())
