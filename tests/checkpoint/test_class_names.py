"""Class names beside the weights."""

import re

import numpy as np
import pytest

from src.checkpoint.class_names import CLASS_NAMES, check_class_names, class_names, with_class_names
from src.checkpoint.mindspore_format import load_checkpoint, save_checkpoint
from src.utils.errors import UserError

NAMES = {1: "walk", 2: "sit", 4: "stehen, 立つ"}


def test_names_go_through_a_checkpoint(tmp_path):
    save_checkpoint(with_class_names({"a": np.zeros(1, np.float32)}, NAMES), tmp_path / "a.ckpt")
    assert class_names(load_checkpoint(tmp_path / "a.ckpt")) == NAMES


def test_a_checkpoint_without_names_says_nothing():
    assert class_names({}) == {}
    assert with_class_names({}, {}) == {}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a": "b"}', b'{"1": 2}', b"\xff"])
def test_damaged_names_are_refused(content):
    with pytest.raises(UserError, match="the class names in the checkpoint are damaged"):
        class_names({CLASS_NAMES: np.frombuffer(content, np.uint8)})


@pytest.mark.parametrize("others", [NAMES, {1: "walk"}, {1: "walk", 9: "run"}, {}])
def test_the_same_names_fit(others):
    check_class_names(NAMES, others, "a.ckpt", "map.pbtxt")
    check_class_names({}, others, "a.ckpt", "map.pbtxt")


@pytest.mark.parametrize(("others", "shown"), [({1: "sit", 2: "walk"}, "1 sit, 2 walk"), ({1: "Walk"}, "1 Walk")])
def test_other_names_are_refused_with_both_shown(others, shown):
    message = f"a.ckpt: its classes are 1 walk, 2 sit, 4 stehen, 立つ; map.pbtxt has {shown}"
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        check_class_names(NAMES, others, "a.ckpt", "map.pbtxt")
