"""Averaging checkpoints."""

import numpy as np
import pytest

from src.checkpoint.average import main
from src.checkpoint.class_names import class_names, with_class_names
from src.checkpoint.mindspore_format import load_checkpoint, save_checkpoint
from src.utils.errors import UserError

WEIGHT, MEAN = "s1.pathway0_stem.conv.weight", "s1.pathway0_stem.bn.moving_mean"


def save(path, weight, mean=(0.0,), names=None, **more) -> str:
    arrays = {WEIGHT: np.float32(weight), MEAN: np.float32(mean), **more}
    save_checkpoint(with_class_names(arrays, names or {1: "sit"}), path)
    return str(path)


def test_parameters_are_averaged_and_the_state_of_runs_is_left_out(tmp_path, capsys):
    moments = {f"optimizer.moments.{WEIGHT}": np.float32([9.0])}
    files = [
        save(tmp_path / "a.ckpt", [1.0, 2.0], [4.0], **moments),
        save(tmp_path / "b.ckpt", [3.0, 2.0], [1.0]),
        save(tmp_path / "c.ckpt", [5.0, 8.0], [1.0]),
    ]
    assert main([*files, "--dst", str(tmp_path / "soup.ckpt")]) == 0
    assert (
        capsys.readouterr().out == f"{tmp_path}/soup.ckpt: 2 parameters, each the mean of 3; left out: 1 other arrays\n"
    )
    arrays = load_checkpoint(tmp_path / "soup.ckpt")
    assert class_names(arrays) == {1: "sit"}
    assert {name: array.tolist() for name, array in arrays.items() if name != "class_names"} == {
        WEIGHT: [3.0, 4.0],
        MEAN: [2.0],
    }


def test_what_does_not_belong_together_is_refused(tmp_path):
    first, dst = save(tmp_path / "a.ckpt", [1.0, 2.0]), ["--dst", str(tmp_path / "soup.ckpt")]
    other = save(tmp_path / "b.ckpt", [1.0])
    with pytest.raises(UserError, match=rf"b\.ckpt: {WEIGHT} is \(1,\), expected \(2,\) as in .*a\.ckpt"):
        main([first, other, *dst])
    more = save(tmp_path / "c.ckpt", [1.0, 2.0], **{"s1_fuse.bn.gamma": np.float32([1.0])})
    with pytest.raises(UserError, match=r"c\.ckpt: s1_fuse\.bn\.gamma is \(1,\), expected not in it"):
        main([first, more, *dst])
    renamed = save(tmp_path / "d.ckpt", [1.0, 2.0], names={1: "stand"})
    with pytest.raises(UserError, match=r"d\.ckpt: its classes are 1 stand; .*a\.ckpt has 1 sit"):
        main([first, renamed, *dst])
    for files, message in (([first], "expected two or more"), ([first, first], "is named twice")):
        with pytest.raises(UserError, match=message):
            main([*files, *dst])
    with pytest.raises(UserError, match="would replace a source"):
        main([first, more, "--dst", more])
    assert not (tmp_path / "soup.ckpt").exists()
