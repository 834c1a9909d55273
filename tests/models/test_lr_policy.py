"""Learning rates against values that PySlowFast printed."""

import json
from pathlib import Path

import numpy as np
import pytest

from src.config.custom_config import load_config
from src.models.lr_policy import batch_scale, learning_rate, learning_rates
from src.utils.errors import UserError

REFERENCE = json.loads((Path(__file__).parent / "learning_rate.json").read_text())
RECIPE = Path(__file__).parents[2] / "configs/AVA/SLOWFAST_32x2_R50_SHORT.yaml"


def recipe(*overrides: object):
    return load_config(RECIPE, [str(value) for value in overrides])


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("steps_with_relative_lrs base 0.1", ("SOLVER.BASE_LR", 0.1)),
        ("steps_with_relative_lrs base 0.15", ("SOLVER.BASE_LR", 0.15)),
        ("cosine base 0.1", ("SOLVER.BASE_LR", 0.1, "SOLVER.LR_POLICY", "cosine")),
    ],
)
def test_rates_are_pyslowfasts(name, overrides):
    cfg = recipe(*overrides)
    epochs, expected = np.array(REFERENCE[name]).T
    np.testing.assert_allclose([learning_rate(cfg, epoch) for epoch in epochs], expected, rtol=1e-12)


def test_the_published_recipe_warms_up_then_falls_at_epochs_10_and_15():
    cfg = recipe()
    rates = [learning_rate(cfg, epoch) for epoch in (0, 2.5, 5, 9.99, 10, 15, 19.9)]
    assert rates == pytest.approx([0.000125, 0.0750625, 0.15, 0.15, 0.015, 0.0015, 0.0015])


def test_the_rate_follows_the_clips_of_a_step():
    assert [batch_scale(recipe(), world_size) for world_size in (1, 4, 8, 16)] == [0.125, 0.5, 1.0, 2.0]
    assert batch_scale(recipe("SOLVER.AUTO_SCALE_LR", False), 1) == 1.0


def test_every_step_has_a_rate():
    cfg = load_config(None, ["SOLVER.MAX_EPOCH", "2", "SOLVER.WARMUP_EPOCHS", "1", "SOLVER.BASE_LR", "1"])
    assert learning_rates(cfg, 2, world_size=1) == pytest.approx([0.000125, 0.5000625, 1.0, 1.0])


def test_the_cosine_may_start_where_the_warm_up_ends():
    # mmaction2's ten epochs: a tenth of the rate, in a line to it within two, then half a cosine over eight.
    cfg = recipe(
        *("SOLVER.BASE_LR", 0.075, "SOLVER.WARMUP_START_LR", 0.0075, "SOLVER.WARMUP_EPOCHS", 2),
        *("SOLVER.MAX_EPOCH", 10, "SOLVER.LR_POLICY", "cosine", "SOLVER.COSINE_AFTER_WARMUP", True),
    )
    rates = [learning_rate(cfg, epoch) for epoch in (0, 1, 2, 4, 6, 8, 10)]
    half = 0.5**0.5
    assert rates == pytest.approx(
        [0.0075, 0.04125, 0.075, 0.0375 * (1 + half), 0.0375, 0.0375 * (1 - half), 0.0], abs=1e-12
    )
    with pytest.raises(UserError, match=r"SOLVER\.WARMUP_EPOCHS is 20, expected less than SOLVER\.MAX_EPOCH 20"):
        recipe("SOLVER.COSINE_AFTER_WARMUP", True, "SOLVER.WARMUP_EPOCHS", 20)
