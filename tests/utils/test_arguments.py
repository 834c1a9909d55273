"""A command line that does not parse ends in one line, whichever program it is for."""

import argparse
import sys

import pytest

import convert_ckpt_caffe2ms
import preprogress
import train
from src.datasets import sample
from src.datasets.prepare import __main__ as prepare
from src.evaluation import __main__ as evaluation
from src.utils.arguments import positive, whole
from src.utils.errors import run_main
from src.visualization import detections


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        (train, ["--device_target", "TPU"], "error: argument --device_target: invalid choice: 'TPU'"),
        (preprogress, [], "error: the following arguments are required: --mindir, --dataset"),
        (convert_ckpt_caffe2ms, ["--to", "onnx"], "error: argument --to: invalid choice: 'onnx'"),
        (evaluation, ["--iou", "2"], "error: argument --iou: 2 is not above 0 and at most 1"),
        (prepare, ["unpack"], "error: argument STEP: invalid choice: 'unpack'"),
        (prepare, ["cut", "--jobs", "0"], "error: argument --jobs: '0', expected a whole number of at least 1"),
        (sample, ["out", "--seed", "-1"], "error: argument --seed: '-1', expected a whole number of at least 0"),
        (detections, ["--threshold", "high"], "error: argument --threshold: invalid float value: 'high'"),
    ],
)
def test_one_line_and_status_2(monkeypatch, capsys, tmp_path, module, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    assert run_main(module.main) == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.endswith(" --help)\n")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_whole_numbers():
    assert [whole("0"), whole("12"), whole("7", minimum=7), positive("1")] == [0, 12, 7, 1]
    for parse, text in ((whole, "-1"), (whole, "1.5"), (whole, ""), (positive, "0")):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a whole number of at least"):
            parse(text)
