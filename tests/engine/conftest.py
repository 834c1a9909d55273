"""A small data set and a recipe for the tests that train."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fvcore.common.config import CfgNode

from src.config.custom_config import load_config


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The sample data set with two training videos (30 key frames) and one for validation (15)."""
    folder = tmp_path_factory.mktemp("sample") / "data"
    command = [sys.executable, "-m", "src.datasets.sample", str(folder), "--train-videos", "2", "--val-videos", "1"]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def recipe(repository: Path, sample: Path) -> list[object]:
    """Overrides of the sample's recipe for clips of 4 x 32 x 32."""
    settings = {
        "DATA.PATH_TO_DATA_DIR": str(sample),
        "DATA.NUM_FRAMES": 4,
        "DATA.TRAIN_JITTER_SCALES": [32, 40],
        "DATA.TRAIN_CROP_SIZE": 32,
        "DATA.TEST_CROP_SIZE": 32,
        "TRAIN.BATCH_SIZE": 4,
        "TRAIN.EVAL_PERIOD": 0,
        "TRAIN.TENSORBOARD": False,
        "MODEL.DROPOUT_RATE": 0.5,
        "SOLVER.MAX_EPOCH": 2,
        "LOG_PERIOD": 1,
    }
    return [item for pair in settings.items() for item in pair]


@pytest.fixture(scope="session")
def recipe_file(repository: Path) -> Path:
    return repository / "configs" / "sample" / "SLOWFAST_SAMPLE.yaml"


@pytest.fixture
def configure(recipe: list[object], recipe_file: Path) -> Callable[..., CfgNode]:
    """Return a function from further overrides to the configuration."""

    def configured(*overrides: object) -> CfgNode:
        return load_config(recipe_file, [*recipe, *overrides])

    return configured


@pytest.fixture(scope="session")
def tiny_environment(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> dict[str, str]:
    """An environment whose `python` runs train.py and eval.py with the tiny network in SlowFast's place."""
    folder = tmp_path_factory.mktemp("bin")
    tiny = repository / "tests" / "engine" / "tiny.py"
    script = folder / "python"
    script.write_text(
        "#!/usr/bin/env bash\n"
        'case "$1" in\n'
        f'*/train.py | */eval.py) exec "{sys.executable}" "{tiny}" "$(basename "$1" .py)" "${{@:2}}" ;;\n'
        f'*) exec "{sys.executable}" "$@" ;;\n'
        "esac\n"
    )
    script.chmod(0o755)
    (folder / "msrun").symlink_to(Path(sys.executable).parent / "msrun")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RANK_", "MS_", "DEVICE_ID"))}
    return {**clean, "PATH": f"{folder}:{os.environ['PATH']}", "FOREGROUND": "1"}
