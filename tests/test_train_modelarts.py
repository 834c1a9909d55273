"""train_modelarts.py with a stand-in for moxing that copies between folders."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import train
import train_modelarts
from src.utils.errors import UserError, run_main


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for obs://, reached through a stand-in for moxing."""
    root = tmp_path / "store"
    (root / "bucket" / "ava" / "frames").mkdir(parents=True)
    (root / "bucket" / "ava" / "ava_annotations").mkdir()
    (root / "bucket" / "start.ckpt").write_text("weights")

    def local(path: str) -> Path:
        return root / path.removeprefix("obs://") if path.startswith("obs://") else Path(path)

    file = SimpleNamespace(
        is_directory=lambda path: local(path).is_dir(),
        copy=lambda source, target: shutil.copy(local(source), local(target)),
        copy_parallel=lambda source, target: shutil.copytree(local(source), local(target), dirs_exist_ok=True),
    )
    monkeypatch.setitem(sys.modules, "moxing", SimpleNamespace(file=file))
    return root


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What train.py is given; it writes a checkpoint."""
    calls = []

    def main(arguments: list[str]) -> int:
        calls.append(arguments)
        output = Path(arguments[arguments.index("OUTPUT_DIR") + 1])
        (output / "checkpoints").mkdir(parents=True)
        (output / "checkpoints" / "slowfast-1_1.ckpt").write_text("trained")
        return 143

    monkeypatch.setattr(train, "main", main)
    return calls


def start(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["train_modelarts.py", "--cfg", "recipe.yaml", *map(str, arguments)])
    return run_main(train_modelarts.main)


URLS = (
    "--data_url",
    "obs://bucket/ava",
    "--train_url",
    "obs://bucket/out",
    "--checkpoint_url",
    "obs://bucket/start.ckpt",
)


def test_data_come_in_and_checkpoints_go_out(store, trained, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    status = start(monkeypatch, *URLS, "--cache", cache, "--device_target", "Ascend", "SOLVER.MAX_EPOCH", "2")
    assert status == 143
    assert trained == [
        [
            *("--cfg", "recipe.yaml", "--device_target", "Ascend", "SOLVER.MAX_EPOCH", "2"),
            *("DATA.PATH_TO_DATA_DIR", str(cache / "data"), "OUTPUT_DIR", str(cache / "output")),
            *("TRAIN.CHECKPOINT_FILE_PATH", str(cache / "start.ckpt")),
        ]
    ]
    assert (cache / "data" / "ava_annotations").is_dir()
    assert (cache / "start.ckpt").read_text() == "weights"
    assert (store / "bucket" / "out" / "checkpoints" / "slowfast-1_1.ckpt").read_text() == "trained"


def test_the_other_processes_of_a_machine_take_the_copy_of_the_first(store, trained, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    start(monkeypatch, *URLS, "--cache", cache)
    shutil.rmtree(store)
    shutil.rmtree(cache / "output")
    monkeypatch.setenv("DEVICE_ID", "1")
    monkeypatch.setenv("RANK_ID", "1")
    assert start(monkeypatch, *URLS, "--cache", cache) == 143
    assert trained[0] == trained[1]
    assert not store.exists()


def test_plain_paths_are_used_as_they_are_without_moxing(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "moxing", None)
    assert start(monkeypatch, "--data_url", tmp_path, "--train_url", tmp_path / "out") == 143
    assert trained == [
        ["--cfg", "recipe.yaml", "DATA.PATH_TO_DATA_DIR", str(tmp_path), "OUTPUT_DIR", str(tmp_path / "out")]
    ]
    assert (tmp_path / "out" / "checkpoints" / "slowfast-1_1.ckpt").is_file()


def test_a_url_without_moxing_is_a_mistake(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "moxing", None)
    assert start(monkeypatch, *URLS, "--cache", tmp_path / "cache") == 2
    assert "obs://bucket/ava: moxing, which copies URLs, is not installed" in capsys.readouterr().err
    assert trained == []


def test_results_go_out_when_training_fails(store, tmp_path, monkeypatch):
    def main(arguments: list[str]) -> int:
        (tmp_path / "cache" / "output").mkdir(parents=True)
        (tmp_path / "cache" / "output" / "scalars.json").write_text("{}")
        raise UserError("the loss is nan")

    monkeypatch.setattr(train, "main", main)
    assert start(monkeypatch, *URLS, "--cache", tmp_path / "cache") == 2
    assert (store / "bucket" / "out" / "scalars.json").is_file()
