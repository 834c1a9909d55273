"""Several workers on the CPU against one, through the launchers, with the tiny network in SlowFast's place."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from src.checkpoint.mindspore_format import load_checkpoint
from src.datasets.ava_dataset import AvaDataset
from src.datasets.build import build_train_loader

pytestmark = pytest.mark.slow

GLOBAL_BATCH = 4
# Twelve steps, without the noise of batch statistics; dropout stays, it belongs to the clip.
STEADY = ("BN.FREEZE_STATISTICS", True, "SOLVER.MAX_EPOCH", 2)


@pytest.fixture(scope="module")
def launch(
    repository: Path, recipe: list[object], recipe_file: Path, sample: Path, tiny_environment: dict[str, str]
) -> Callable[..., subprocess.Popen]:
    """Return a function that starts a launcher in a folder."""

    def launched(script: str, folder: Path, before: list[str], checkpoint: str, *overrides: object) -> subprocess.Popen:
        settings = map(str, [*recipe, "OUTPUT_DIR", folder / "out", *overrides])
        command = ["bash", str(repository / "scripts" / script), *before, str(recipe_file), str(sample), checkpoint]
        folder.mkdir(exist_ok=True)
        with (folder / "said").open("w") as said:
            return subprocess.Popen(
                [*command, *settings], cwd=folder, env=tiny_environment, stdout=said, stderr=subprocess.STDOUT
            )

    return launched


def log_of(folder: Path) -> str:
    return "".join(path.read_text() for path in (*folder.glob("log_*"), folder / "said"))


def losses_of(folder: Path) -> list[float]:
    """Return the losses that the process of rank 0 logged."""
    path = folder / "train_parallel" / "worker_0.log"
    text = (path if path.is_file() else folder / "log_standalone_cpu").read_text()
    return [float(value) for value in re.findall(r"step: \d+, loss is (\S+)", text)]


@pytest.fixture(scope="module")
def single(launch, tmp_path_factory) -> Path:
    """The folder of a training by one process."""
    folder = tmp_path_factory.mktemp("single")
    process = launch("run_standalone_train_cpu.sh", folder, [], "", *STEADY, "TRAIN.BATCH_SIZE", GLOBAL_BATCH)
    assert process.wait(200) == 0, log_of(folder)
    return folder


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.long)])
def test_workers_train_as_one_process_with_the_whole_batch(launch, single, tmp_path, workers):
    batch = ("TRAIN.BATCH_SIZE", GLOBAL_BATCH // workers)
    process = launch("run_distribute_train_cpu.sh", tmp_path / "run", [str(workers)], "", *STEADY, *batch)
    assert process.wait(300) == 0, log_of(tmp_path / "run")
    losses, expected = losses_of(tmp_path / "run"), losses_of(single)
    assert len(expected) == 14
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-4)
    final = Path("out") / "checkpoints" / "slowfast-2_7.ckpt"
    theirs, ours = load_checkpoint(single / final), load_checkpoint(tmp_path / "run" / final)
    for name in ("conv.weight", "head.projection.weight", "optimizer.moments.conv.weight"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-6)
    # The first process alone writes and speaks.
    others = [path for path in (tmp_path / "run" / "train_parallel").glob("worker_*.log") if path.stem != "worker_0"]
    assert len(others) == workers - 1
    assert all("loss is" not in path.read_text() for path in others)


def test_two_workers_train_the_real_network_with_all_that_can_be_switched_on(
    repository, recipe, recipe_file, sample, tmp_path
):
    """Mixed precision with a dynamic loss scale, clipping, accumulation and averages, on SlowFast R50, narrow."""
    features = ["TRAIN.AMP_LEVEL", "O2", "TRAIN.LOSS_SCALE_WINDOW", 2, "SOLVER.CLIP_GRAD_L2NORM", 1.0]
    features += ["TRAIN.ACCUMULATE_STEPS", 2, "TRAIN.EMA_DECAY", 0.9, "SOLVER.MAX_EPOCH", 1]
    settings = [*recipe, *features, "TRAIN.BATCH_SIZE", 2, "OUTPUT_DIR", tmp_path / "out"]
    command = ["bash", repository / "scripts/run_distribute_train_cpu.sh", "2", recipe_file, sample, "", *settings]
    environment = {**os.environ, "FOREGROUND": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        list(map(str, command)), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500
    )
    log = "".join(path.read_text() for path in (tmp_path / "train_parallel").glob("worker_*.log"))
    assert done.returncode == 0, done.stdout + log
    losses = losses_of(tmp_path)
    assert len(losses) == 3
    assert all(0.5 < loss < 0.9 for loss in losses)
    arrays = load_checkpoint(tmp_path / "out" / "checkpoints" / "slowfast-1_3.ckpt")
    assert arrays["optimizer.global_step"] == 3
    assert arrays["loss_scale.scale_value"] == 2048  # three finite steps, doubled after two
    assert "ema.s5.pathway0_res2.branch2.c.weight" in arrays


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_devices_see_every_key_frame_of_an_epoch_once(configure, world_size):
    dataset = AvaDataset(configure("TRAIN.BATCH_SIZE", GLOBAL_BATCH // world_size), "train")
    seen = [
        tuple(key)
        for rank in range(world_size)
        for batch in build_train_loader(dataset, 0, rank, world_size)
        for key in batch["key"]
    ]
    assert len(dataset) == 30
    assert len(seen) == len(set(seen)) == 28  # seven whole steps


def test_evaluation_gives_the_same_score_on_any_number_of_workers(launch, single, tmp_path):
    checkpoint = str(single / "out" / "checkpoints" / "slowfast-2_7.ckpt")
    views = ("TEST.SCALES", "[32, 40]", "TEST.FLIP", True, "TEST.PERSON_SCORE", True)
    tables = []
    for workers in (1, 3):
        folder = tmp_path / str(workers)
        if workers == 1:
            process = launch("run_standalone_eval_cpu.sh", folder, [], checkpoint, *views)
        else:
            process = launch("run_distribute_eval.sh", folder, [str(workers)], checkpoint, *views)
        assert process.wait(200) == 0, log_of(folder)
        text = (folder / ("log_eval_cpu" if workers == 1 else "eval_parallel/worker_0.log")).read_text()
        scores = re.findall(r"'PascalBoxes_.*", text)
        assert len(scores) == 6
        written = [(folder / "out" / f"detections_test{kind}.csv").read_bytes() for kind in ("", "_person")]
        assert written[0] != written[1]
        tables.append((scores, written))
    assert tables[0] == tables[1]


def process_of_rank(rank: int, folder: Path) -> int:
    """Return the worker of a rank that runs in a folder."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            variables = (path / "environ").read_bytes().split(b"\0")
            inside = (path / "cwd").resolve() == folder.resolve()
            python = b"tiny.py" in (path / "cmdline").read_bytes()
        except OSError:
            continue
        if inside and python and b"MS_ROLE=MS_WORKER" in variables and f"RANK_ID={rank}".encode() in variables:
            return int(path.name)
    raise AssertionError(f"no process of rank {rank}")


def wait_for_step(folder: Path) -> None:
    log = folder / "train_parallel" / "worker_0.log"
    for _ in range(1000):
        if log.is_file() and "epoch: 3 step" in log.read_text():
            return
        time.sleep(0.1)
    raise AssertionError(log_of(folder))


ENDLESS = ("TRAIN.BATCH_SIZE", 2, "SOLVER.MAX_EPOCH", 10000, "TRAIN.CHECKPOINT_PERIOD", 1, "TRAIN.KEEP_CHECKPOINTS", 3)


@pytest.mark.long
def test_when_a_worker_is_killed_the_other_ends_and_leaves_a_checkpoint(launch, tmp_path):
    process = launch("run_distribute_train_cpu.sh", tmp_path, ["2"], "", *ENDLESS)
    wait_for_step(tmp_path)
    survivor = process_of_rank(0, tmp_path)
    os.kill(process_of_rank(1, tmp_path), signal.SIGKILL)
    killed = time.monotonic()
    while Path(f"/proc/{survivor}/cmdline").is_file() and Path(f"/proc/{survivor}/cmdline").read_bytes():
        assert time.monotonic() - killed < 60
        time.sleep(0.1)
    assert process.wait(120) != 0
    assert "exit with exception. Error code: -9" in (tmp_path / "log_distributed_cpu").read_text()
    newest = max((tmp_path / "out" / "checkpoints").glob("*.ckpt"), key=os.path.getmtime)
    load_checkpoint(newest)


def test_sigterm_stops_all_workers_at_the_same_step(launch, tmp_path):
    process = launch("run_distribute_train_cpu.sh", tmp_path, ["2"], "", *ENDLESS)
    wait_for_step(tmp_path)
    process.terminate()
    assert process.wait(60) == 143
    log = (tmp_path / "train_parallel" / "worker_0.log").read_text()
    epoch, step = re.search(r"asked to stop at epoch (\d+) step (\d+)", log).groups()
    load_checkpoint(tmp_path / "out" / "checkpoints" / f"slowfast-{epoch}_{step}.ckpt")
