"""The costs that `python -m src.models.summary` prints."""

import re
import subprocess
import sys

import pytest


def test_parameters_and_multiply_adds_are_counted(repository):
    command = [sys.executable, "-m", "src.models.summary", "--cfg", "configs/AVA/SLOWFAST_32x2_R50_SHORT.yaml"]
    command += ["--size", "32", "48", "--boxes", "3", "MODEL.HEAD_ACRN", "16"]
    printed = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout
    lines = re.findall(r"^(\w+) +([\d,]+) +([\d.]+)$", printed, re.MULTILINE)
    rows = {name: (int(count.replace(",", "")), float(giga)) for name, count, giga in lines}
    # Two convolutions with batch norm in the place of a part of the last layer; SlowFast R50 has 33,828,888.
    head = 4608 * 16 + 9 * 16 * 16 + 4 * 16 + 80 * 17
    assert rows["head"][0] == head
    assert rows["all"][0] == 33_828_888 - 80 * 2305 + head
    # res5 has 35.067 thousand millions at 224 x 224; the last map has 2 x 3 places here, and 14 x 14 there.
    assert rows["s5"][1] == pytest.approx(35.067 * 6 / 196, abs=1e-3)
    assert rows["all"][1] == pytest.approx(sum(giga for name, (_, giga) in rows.items() if name != "all"), abs=5e-3)
