"""Commands over a folder full of somebody's files: those stay as they are, and what would be replaced is refused."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import convert_ckpt_caffe2ms
import eval as evaluation
import train
from src.checkpoint import average
from src.checkpoint.class_names import class_names, with_class_names
from src.checkpoint.mindspore_format import load_checkpoint, save_checkpoint
from src.config.custom_config import load_config
from src.evaluation.__main__ import main as score
from src.models.video_model_builder import SlowFast
from src.predict.options import Options
from src.predict.run import predict
from src.utils.errors import run_main
from src.utils.logging import LOGGER_NAME
from src.visualization.detections import main as draw
from tests.tiny import TinyNetwork

FOREIGN = (
    "notes.txt",
    "log.txt.old",
    "detections.csv.bak",
    "checkpoints/mine.ckpt",
    "checkpoints/slowfast-last.ckpt",
    "checkpoints/.slowfast-1_7.0123.ckpt",
    "tensorboard/events.mine",
    "report/notes.md",
    "images/holiday.jpg",
    ".index/mine",
    ".predict/mine",
    ".slowfast_outputs.json.bak",
)
Command = Callable[[Path], int]


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of this process build the tiny network; the device is set up already."""
    monkeypatch.setattr("src.models.build.SlowFast", TinyNetwork)
    for program in (train, evaluation):
        monkeypatch.setattr(program, "set_up_device", lambda *_: "CPU")


@pytest.fixture(scope="module")
def made_inputs(
    sample: Path, recipe: list[object], recipe_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Weights, and detections that are the truth."""
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    cfg = load_config(recipe_file, recipe)
    slowfast = SlowFast(cfg)
    for name, network in {"tiny": TinyNetwork(cfg), "slowfast": slowfast, "other": slowfast}.items():
        shapes = {parameter.name: parameter.shape for parameter in network.get_parameters()}
        weights = {parameter: rng.uniform(0.1, 0.3, shape).astype(np.float32) for parameter, shape in shapes.items()}
        save_checkpoint(weights, folder / f"{name}.ckpt")
    rows = (sample / "ava_annotations/ava_val_v2.2.csv").read_text().splitlines()
    (folder / "detections.csv").write_text("".join(f"{row.rsplit(',', 1)[0]},0.9\n" for row in rows))
    return folder


@pytest.fixture
def inputs(made_inputs: Path, tmp_path: Path) -> Path:
    """A test's own copy of them."""
    return shutil.copytree(made_inputs, tmp_path / "inputs")


@pytest.fixture
def commands(
    inputs: Path, sample: Path, recipe: list[object], recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Command]:
    """What runs each command with its results below a folder, and returns its exit status."""

    def convert() -> int:
        monkeypatch.setattr("src.models.build.SlowFast", SlowFast)
        return convert_ckpt_caffe2ms.main()

    def run(main: Callable[[], int], *arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
        return run_main(main)

    truth = sample / "ava_annotations/ava_val_v2.2.csv"
    labels = sample / "ava_annotations/ava_action_list_v2.2_for_activitynet_2019.pbtxt"
    tables = ("--groundtruth", truth, "--detections", inputs / "detections.csv", "--labelmap", labels)
    training = ("SOLVER.MAX_EPOCH", 1, "TRAIN.EVAL_PERIOD", 1, "TRAIN.KEEP_CHECKPOINTS", 1, "OUTPUT_DIR")
    weights = ("TEST.CHECKPOINT_FILE_PATH", inputs / "tiny.ckpt")
    overrides = (*map(str, recipe), *map(str, weights))
    return {
        "train": lambda out: run(train.main, "--cfg", recipe_file, *recipe, *training, out),
        "eval": lambda out: run(evaluation.main, "--cfg", recipe_file, *recipe, *weights, "OUTPUT_DIR", out),
        "score": lambda out: run(score, *tables, "--json", out / "scores.json", "--report", out / "report"),
        "draw": lambda out: run(
            draw, "--cfg", recipe_file, "--detections", inputs / "detections.csv", "--count", 2, "--out",
            out / "images", *recipe,
        ),
        "convert": lambda out: run(
            convert, "--src", inputs / "slowfast.ckpt", "--dst", out / "new.safetensors", "--to",
            "safetensors", "--cfg", recipe_file,
        ),
        "average": lambda out: run(
            average.main, inputs / "slowfast.ckpt", inputs / "other.ckpt", "--dst", out / "mean.ckpt"
        ),
        "predict": lambda out: run(
            lambda: predict(
                Options(out, recipe_file, overrides, boxes=sample / "ava_annotations/ava_val_predicted_boxes.csv"),
                next((sample / "videos").glob("*val*")),
            )
        ),
    }  # fmt: skip


def test_a_run_does_not_replace_the_checkpoint_that_it_starts_from(
    commands: dict[str, Command],
    inputs: Path,
    recipe_file: Path,
    recipe: list[object],
    tmp_path: Path,
    monkeypatch,
    caplog,
) -> None:
    """But trains from it in another folder, and tells where its head has learned other classes."""
    out = tmp_path / "run"
    assert commands["train"](out) == 0
    start = out / "checkpoints/slowfast-1_7.ckpt"
    before = _state(out)
    arguments = ["--cfg", recipe_file, *recipe, "SOLVER.MAX_EPOCH", 1, "TRAIN.EVAL_PERIOD", 0]
    arguments += ["TRAIN.AUTO_RESUME", False, "TRAIN.CHECKPOINT_FILE_PATH"]

    def train_from(checkpoint: Path, folder: Path) -> int:
        monkeypatch.setattr(sys, "argv", ["train.py", *map(str, (*arguments, checkpoint, "OUTPUT_DIR", folder))])
        return run_main(train.main)

    assert train_from(start, out) == 2
    (tmp_path / "link.ckpt").symlink_to(start)
    assert train_from(tmp_path / "link.ckpt", out) == 2
    grown = {"log.txt", ".lock"}
    assert _state(out).keys() == before.keys()
    assert {name: state for name, state in _state(out).items() if before[name] != state}.keys() <= grown
    arrays = load_checkpoint(start)
    monkeypatch.setattr(logging.getLogger(LOGGER_NAME), "propagate", True)
    assert class_names(arrays)[1] == "stand"
    save_checkpoint(with_class_names(arrays, {1: "fly"}), tmp_path / "other.ckpt")
    assert train_from(tmp_path / "other.ckpt", tmp_path / "new") == 0
    assert "its head was trained for other classes: {1: 'fly'}" in caplog.text


RESULTS = {
    "train": {
        *("log.txt", "scalars.json", "train_loss.png", "train_lr.png", "val_map.png"),
        *("detections_val.csv", "detections_val.pbtxt", "groundtruth_val.csv"),
        *("checkpoints/slowfast-1_7.ckpt", "checkpoints/run.json"),
    },
    "eval": {"detections_test.csv", "detections_test.pbtxt", "groundtruth_test.csv"},
    "score": {"scores.json", "report/index.html", "report/dap.png"},
    "draw": {"images/sample_val_01_0001.jpg"},
    "convert": {"new.safetensors"},
    "average": {"mean.ckpt"},
    "predict": {"index.html", "detections.csv"},
}


def _state(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Content, inode and time of all files by path."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _put(folder: Path, *names: str) -> dict[str, tuple[bytes, int, int]]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"mine: {name}")
    return _state(folder)


@pytest.fixture(params=sorted(RESULTS))
def command(request: pytest.FixtureRequest, commands: dict[str, Command]) -> Iterator[tuple[str, Command]]:
    yield request.param, commands[request.param]


def test_foreign_files_stay_and_results_replace_earlier_ones(
    command: tuple[str, Command], inputs: Path, tmp_path: Path
) -> None:
    name, run = command
    out = tmp_path / "out"
    foreign, given = _put(out, *FOREIGN), _state(inputs)
    for _ in range(2):
        assert run(out) == 0
        after = _state(out)
        assert after.keys() >= RESULTS[name]
        assert {file: after[file] for file in foreign} == foreign
    assert _state(inputs) == given


def test_names_that_are_taken_are_refused_before_anything_is_written(
    command: tuple[str, Command], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    name, run = command
    for number, taken in enumerate(sorted(RESULTS[name])):
        out = tmp_path / f"out{number}"
        foreign = _put(out, taken)
        capsys.readouterr()
        assert run(out) == 2, taken
        assert str(out / taken) in capsys.readouterr().err
        after = _state(out)
        assert {file: after[file] for file in foreign} == foreign
        left = {file for file in after if not Path(file).name.startswith(".") and not file.startswith(".predict")}
        assert left <= {taken, "log.txt"}


def test_a_checkpoint_that_was_copied_here_is_gone_on_from_and_stays(
    recipe: list[object], recipe_file: Path, tmp_path: Path
) -> None:
    def train_in(out: Path, *settings: object) -> int:
        settings = (*recipe, "TRAIN.CHECKPOINT_PERIOD", 1, *settings, "OUTPUT_DIR", out)
        return train.main(["--cfg", str(recipe_file), *map(str, settings)])

    out, other = tmp_path / "out", tmp_path / "other"
    assert train_in(out) == 0
    (other / "checkpoints").mkdir(parents=True)
    shutil.copy(out / "checkpoints/slowfast-1_7.ckpt", other / "checkpoints")
    before = _state(other)
    assert train_in(other, "TRAIN.AUTO_RESUME", True, "TRAIN.KEEP_CHECKPOINTS", 1) == 0
    assert _state(other).items() >= before.items()
    assert {path.name for path in (other / "checkpoints").glob("*.ckpt")} == {"slowfast-1_7.ckpt", "slowfast-2_7.ckpt"}


@pytest.mark.parametrize("taken", ["acc.log", "detections.csv", "detections.pbtxt", "infer.log"])
def test_the_launcher_of_the_runner_refuses_names_that_are_taken(repository: Path, tmp_path: Path, taken: str) -> None:
    foreign = _put(tmp_path, taken, "preprocess_Result/.work/keep.bin", "result_Files/prepared_CPU/1/manifest.json")
    (tmp_path / "data").mkdir()
    (tmp_path / "slowfast.mindir").write_text("graph")
    arguments = [tmp_path / "slowfast.mindir", tmp_path / "data", "n", "CPU", "0"]
    done = subprocess.run(
        ["bash", repository / "scripts/run_310_infer.sh", *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"{taken}: is there, but is not a result of this program in this folder" in done.stderr
    assert _state(tmp_path).items() >= foreign.items()
