"""Fixtures that several test modules share."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from fvcore.common.config import CfgNode

# Networks of MindSpore's own operators and of the kernels for CPUs run side by side here: at AVX2 both are fast.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
# Processes of one run of the tests share the cores: threads that wait for work in a loop would take them from others.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = len(os.sched_getaffinity(0)) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

from src.config.custom_config import load_config
from src.datasets.sample import make_sample
from src.utils.device import set_up_device

# No test is timed: on a busy machine an example takes as long as it takes.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark long tests as slow: a `-m "not slow"` takes the place of pyproject.toml's `-m "not long"`."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")


@pytest.fixture(scope="session", autouse=True)
def device() -> None:
    """Set up the CPU as the entry scripts do; MindSpore refuses it once an operator has run."""
    set_up_device("CPU", seed=0)
    # MindSpore collects garbage before each graph: it need not search what stays, all collected tests among it.
    gc.freeze()


@pytest.fixture
def eager() -> Iterator[None]:
    """Run operator by operator, which saves compiling a graph."""
    import mindspore as ms

    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference data beside the checkout; without it the test is skipped, but fails under CI=true."""
    path = REPOSITORY.parent / "shared"
    if not path.is_dir():
        message = f"the reference data in {path} are not here"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample dataset with two training videos (30 key frames) and one for validation (15)."""
    folder = tmp_path_factory.mktemp("sample") / "data"
    make_sample(folder, train_videos=2, val_videos=1, seed=0)
    return folder


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe for the sample dataset, in clips of 4 x 32 x 32."""
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(
        """
        TRAIN: {BATCH_SIZE: 4, EVAL_PERIOD: 0, CHECKPOINT_PERIOD: 10, TENSORBOARD: False}
        TEST: {BATCH_SIZE: 4}
        MODEL: {NUM_CLASSES: 5}
        RESNET: {WIDTH_PER_GROUP: 8}
        DATA: {NUM_FRAMES: 4, SAMPLING_RATE: 1, TRAIN_JITTER_SCALES: [32, 40], TRAIN_CROP_SIZE: 32, TEST_CROP_SIZE: 32}
        DATA_LOADER: {NUM_WORKERS: 0}
        AVA: {FPS: 15, FIRST_SECOND: 0, VALID_SECONDS: [1, 22], FULL_TEST_ON_VAL: True}
        SOLVER: {BASE_LR: 0.05, LR_POLICY: cosine, MAX_EPOCH: 2, WARMUP_EPOCHS: 2.0, WARMUP_START_LR: 0.005}
        LOG_PERIOD: 1
        """
    )
    return path


@pytest.fixture(scope="session")
def recipe(sample: Path) -> list[object]:
    """Overrides that the recipe needs."""
    return ["DATA.PATH_TO_DATA_DIR", str(sample)]


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
    tiny = repository / "tests" / "tiny.py"
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
