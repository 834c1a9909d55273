"""The costs that `python -m src.models.summary` prints."""

import re

import pytest

from src.models import summary


def test_parameters_and_multiply_adds_are_counted(eager, repository, monkeypatch, capsys):
    monkeypatch.setattr(summary, "set_up_device", lambda *_: "CPU")
    monkeypatch.setattr(summary.library, "turn_off", lambda: None)
    recipe = repository / "configs/AVA/SLOWFAST_32x2_R50_SHORT.yaml"
    arguments = ["--cfg", str(recipe), "--size", "32", "48", "--boxes", "3", "MODEL.HEAD_ACRN", "16"]
    assert summary.main(arguments) == 0
    printed = capsys.readouterr().out
    lines = re.findall(r"^(\w+) +([\d,]+) +([\d.]+)$", printed, re.MULTILINE)
    rows = {name: (int(count.replace(",", "")), float(giga)) for name, count, giga in lines}
    # Two convolutions with batch norm in the place of a part of the last layer; SlowFast R50 has 33,828,888.
    head = 4608 * 16 + 9 * 16 * 16 + 4 * 16 + 80 * 17
    assert rows["head"][0] == head
    assert rows["all"][0] == 33_828_888 - 80 * 2305 + head
    # res5 has 35.067 thousand millions at 224 x 224; the last map has 2 x 3 places here, and 14 x 14 there.
    assert rows["s5"][1] == pytest.approx(35.067 * 6 / 196, abs=1e-3)
    assert rows["all"][1] == pytest.approx(sum(giga for name, (_, giga) in rows.items() if name != "all"), abs=5e-3)
