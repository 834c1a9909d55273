"""Runs that are killed, asked to end, or out of disk, in processes of their own."""

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from src.checkpoint.mindspore_format import load_checkpoint

EPOCHS, STEPS = 30, 7
SETTINGS = (
    "SOLVER.MAX_EPOCH",
    EPOCHS,
    "TRAIN.CHECKPOINT_STEPS",
    3,
    "TRAIN.KEEP_CHECKPOINTS",
    3,
    "TRAIN.EMA_DECAY",
    0.9,
)
FINAL = f"slowfast-{EPOCHS}_{STEPS}.ckpt"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def start(repository: Path, recipe: list[object], recipe_file: Path) -> Callable[..., subprocess.Popen]:
    """Return a function that starts train.py with the tiny network in a folder."""

    def started(output: Path, *overrides: object, through: int | None = None, **options: object) -> subprocess.Popen:
        command = [sys.executable, str(repository / "tests" / "tiny.py"), "train", "--cfg", str(recipe_file)]
        settings = [*recipe, *SETTINGS, "OUTPUT_DIR", output / "out", "TRAIN.AUTO_RESUME", True, *overrides]
        output.mkdir(exist_ok=True)
        with (output / "log").open("a") as log:
            out = through or log
            arguments = [*command, *map(str, settings)]
            return subprocess.Popen(arguments, cwd=output, stdout=out, stderr=subprocess.STDOUT, **options)

    return started


def content(output: Path) -> dict[str, np.ndarray]:
    """Return what the last checkpoint holds, but for the record of the run, which has a name of its own."""
    arrays = load_checkpoint(output / "out" / "checkpoints" / FINAL)
    return {name: array for name, array in arrays.items() if name != "run"}


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory) -> dict[str, np.ndarray]:
    """Everything in the last checkpoint of a run that nothing happened to."""
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    assert start(output).wait(300) == 0, (output / "log").read_text()
    return content(output)


def wait_for_steps(output: Path, process: subprocess.Popen, number: int = 1) -> None:
    """Wait until the log shows `number` more steps than it did."""
    log = output / "log"
    target = log.read_text().count("loss is") + number
    for _ in range(1200):
        if process.poll() is not None or log.read_text().count("loss is") >= target:
            return
        time.sleep(0.05)
    raise AssertionError(f"no step in a minute: {log.read_text()}")


@pytest.mark.parametrize("kills", [int(os.environ.get("KILLS", "3"))])
def test_a_run_killed_at_random_moments_ends_as_an_undisturbed_one(start, undisturbed, tmp_path, kills):
    chance = random.Random(0)
    output, happened = tmp_path / "run", 0
    while True:
        process = start(output)
        if happened < kills:
            wait_for_steps(output, process, chance.randint(1, 6))
            time.sleep(chance.uniform(0, 0.1))
            process.kill()
        status = process.wait(300)
        if status == 0:
            break
        assert status == -signal.SIGKILL, (output / "log").read_text()
        happened += 1
    assert happened == kills
    np.testing.assert_equal(content(output), undisturbed)


def test_sigterm_saves_and_ends_with_the_status_that_schedulers_know(start, tmp_path):
    process = start(tmp_path / "run", "SOLVER.MAX_EPOCH", 100000, "TRAIN.CHECKPOINT_STEPS", 0)
    wait_for_steps(tmp_path / "run", process)
    process.terminate()
    assert process.wait(60) == 143
    log = (tmp_path / "run" / "log").read_text()
    assert "asked to stop at epoch" in log
    (newest,) = sorted((tmp_path / "run" / "out" / "checkpoints").glob("*.ckpt"), key=os.path.getmtime)[-1:]
    epoch, step = newest.stem.split("-")[1].split("_")
    assert f"asked to stop at epoch {epoch} step {step}" in log
    load_checkpoint(newest)


def test_a_full_disk_ends_the_run_and_leaves_the_last_checkpoint_whole(start, tmp_path):
    output = tmp_path / "run"
    assert start(output, "SOLVER.MAX_EPOCH", 1).wait(120) == 0
    checkpoints = output / "out" / "checkpoints"
    before = {path.name: path.read_bytes() for path in checkpoints.iterdir()}
    # No file may grow beyond a kilobyte, which a checkpoint does.
    limits = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))}
    process = start(output, "SOLVER.MAX_EPOCH", 1, "TRAIN.AUTO_RESUME", False, through=subprocess.PIPE, **limits)
    said = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 2, said
    assert "error: " in said
    assert "File too large" in said
    assert {path.name: path.read_bytes() for path in checkpoints.iterdir()} == before


def test_a_dead_data_worker_ends_the_run_with_a_message_and_a_whole_checkpoint(start, tmp_path):
    output = tmp_path / "run"
    process = start(output, "SOLVER.MAX_EPOCH", 100000, "TRAIN.CHECKPOINT_STEPS", 1, "DATA_LOADER.NUM_WORKERS", 2)
    wait_for_steps(output, process, 2)
    while process.poll() is None:
        # They come and go with the epochs. All at once, so that no data come any more.
        children = Path(f"/proc/{process.pid}/task/{process.pid}").parent.glob("*/children")
        for child in " ".join(path.read_text() for path in children).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
    assert process.returncode != 0
    assert "killed by signal: Killed" in (output / "log").read_text()
    paths = list((output / "out" / "checkpoints").glob("slowfast-*.ckpt"))
    assert paths
    for path in paths:
        load_checkpoint(path)
