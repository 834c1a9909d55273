"""Class names beside the weights."""

import re

import numpy as np
import pytest

from src.checkpoint.class_names import ENTRY, check_class_names, class_names_entry, read_class_names
from src.checkpoint.mindspore_format import load_checkpoint, save_checkpoint
from src.utils.errors import UserError

NAMES = {1: "walk", 2: "sit", 4: "stehen, 立つ"}


def test_names_go_through_a_checkpoint(tmp_path):
    save_checkpoint({"a": np.zeros(1, np.float32), **class_names_entry(NAMES)}, tmp_path / "a.ckpt")
    assert read_class_names(load_checkpoint(tmp_path / "a.ckpt"), "a.ckpt") == NAMES


def test_a_checkpoint_without_names_says_none():
    assert read_class_names({}, "a.ckpt") is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a": "b"}', b'{"1": 2}', b"\xff"])
def test_damaged_names_are_refused(content):
    with pytest.raises(UserError, match=r"^a\.ckpt: damaged: its class names cannot be read$"):
        read_class_names({ENTRY: np.frombuffer(content, np.uint8)}, "a.ckpt")


@pytest.mark.parametrize("others", [NAMES, {1: "walk"}, {1: "walk", 9: "run"}])
def test_the_same_names_fit(others):
    check_class_names(NAMES, "a.ckpt", others, "map.pbtxt")
    check_class_names(None, "a.ckpt", others, "map.pbtxt")


@pytest.mark.parametrize(
    ("others", "shown"), [({1: "sit", 2: "walk"}, "1 sit, 2 walk"), ({5: "run"}, "5 run"), ({1: "Walk"}, "1 Walk")]
)
def test_other_names_are_refused_with_both_shown(others, shown):
    message = f"the classes differ: a.ckpt has 1 walk, 2 sit, 4 stehen, 立つ, but map.pbtxt has {shown}"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        check_class_names(NAMES, "a.ckpt", others, "map.pbtxt")


def test_of_many_names_those_that_differ_are_shown():
    names = {number: f"act {number}" for number in range(1, 81)}
    with pytest.raises(UserError, match=r"a\.ckpt has 7 act 7, \.\.\. \(80 classes\), but map has 7 act 8, \.\.\."):
        check_class_names(names, "a.ckpt", names | {7: "act 8"}, "map")
