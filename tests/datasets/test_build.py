"""Loaders: what is in their batches, how devices share, and how mistakes in a worker end."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mindspore.dataset.engine.iterators import ITERATORS_LIST

from src.datasets import build
from src.datasets.ava_dataset import AvaDataset
from src.datasets.build import build_test_loader, build_train_loader
from src.utils.errors import UserError

ROWS = [f"a,{second},0.1,0.2,0.5,0.8,1,1.0" for second in range(1, 8)] + [
    f"{video},{second},0.0,0.2,0.5,1.0,2,1.0" for video in "bc" for second in range(1, 5)
]
VIDEOS = {"a": (80, (48, 64)), "b": (50, (64, 48)), "c": (50, (48, 64))}


def keys(loader) -> list[tuple[int, int]]:
    return [tuple(key) for batch in loader for key in batch["key"].tolist()]


def real(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [pair for pair in pairs if pair != (-1, -1)]


EVERY_KEY = [(0, s) for s in range(1, 8)] + [(v, s) for v in (1, 2) for s in range(1, 5)]


def test_train_batches_have_the_documented_shapes_and_types(write_data):
    dataset = AvaDataset(write_data(VIDEOS, ROWS), "train")
    batch = next(iter(build_train_loader(dataset, epoch=0)))
    assert {name: (value.shape, value.dtype.name) for name, value in batch.items()} == {
        "slow": ((2, 3, 2, 32, 32), "float32"),
        "fast": ((2, 3, 4, 32, 32), "float32"),
        "boxes": ((2, 1, 4), "float32"),
        "labels": ((2, 1, 80), "float32"),
        "mask": ((2, 1), "float32"),
        "boxes_norm": ((2, 1, 4), "float64"),
        "key": ((2, 2), "float64"),
    }


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_train_on_disjoint_key_frames_in_equally_many_steps(write_data, world_size):
    dataset = AvaDataset(write_data(VIDEOS, ROWS), "train")
    loaders = [build_train_loader(dataset, 0, rank, world_size) for rank in range(world_size)]
    assert {len(loader) for loader in loaders} == {15 // (2 * world_size)}
    seen = [keys(loader) for loader in loaders]
    assert [len(part) for part in seen] == [2 * len(loader) for loader in loaders]
    together = [key for part in seen for key in part]
    assert len(set(together)) == len(together) and set(together) <= set(EVERY_KEY)


def test_epochs_are_shuffled_each_in_its_own_way_and_again_the_same(write_data):
    dataset = AvaDataset(write_data(VIDEOS, ROWS), "train")
    first, again, second = (keys(build_train_loader(dataset, epoch)) for epoch in (0, 0, 1))
    assert first == again
    assert first != second
    assert first != sorted(first)


def test_a_resumed_epoch_goes_on_with_the_same_batches(write_data):
    dataset = AvaDataset(write_data(VIDEOS, ROWS), "train")
    whole = list(build_train_loader(dataset, 3))
    rest = build_train_loader(dataset, 3, start_step=5)
    assert len(rest) == 2
    for expected, batch in zip(whole[5:], rest, strict=True):
        np.testing.assert_array_equal(batch["fast"], expected["fast"])
        np.testing.assert_array_equal(batch["boxes"], expected["boxes"])


def test_fewer_key_frames_than_a_global_batch_are_refused(write_data):
    dataset = AvaDataset(write_data(VIDEOS, ROWS), "train")
    with pytest.raises(UserError, match="15 key frames are fewer than the 16 of one step"):
        build_train_loader(dataset, 0, rank=0, world_size=8)


@pytest.mark.parametrize(("world_size", "workers"), [(1, 0), (1, 2), (2, 0), (4, 0)])
def test_every_key_frame_is_tested_once_in_batches_of_one_shape(write_data, world_size, workers):
    cfg = write_data(VIDEOS, ROWS, "DATA_LOADER.NUM_WORKERS", workers, "TEST.BATCH_SIZE", 3)
    dataset = AvaDataset(cfg, "test")
    seen = []
    for rank in range(world_size):
        loader = build_test_loader(dataset, rank, world_size)
        batches = list(loader)
        assert len(batches) == len(loader)
        for batch in batches:
            assert batch["fast"].shape in [(3, 3, 4, 42, 32), (3, 3, 4, 32, 42)]
            padding = (batch["key"] == -1).all(axis=1)
            assert not batch["mask"][padding].any() and not batch["fast"][padding].any()
            assert batch["mask"][~padding].any(axis=1).all()
            seen += [tuple(key) for key in batch["key"].tolist()]
    assert sorted(real(seen)) == EVERY_KEY


@pytest.mark.parametrize("workers", [0, 2])
def test_a_key_frame_is_in_the_same_batch_on_any_number_of_devices(write_data, workers):
    dataset = AvaDataset(write_data(VIDEOS, ROWS, "DATA_LOADER.NUM_WORKERS", workers, "TEST.BATCH_SIZE", 3), "test")

    def batches(world_size: int) -> list[list[list[int]]]:
        loaders = [build_test_loader(dataset, rank, world_size) for rank in range(world_size)]
        return sorted(batch["key"].tolist() for loader in loaders for batch in loader)

    alone = batches(1)
    assert len(alone) > 3
    assert batches(2) == alone
    assert batches(3) == alone


def test_workers_give_the_same_samples_as_the_process_itself(write_data):
    cfg = write_data(VIDEOS, ROWS, "DATA_LOADER.NUM_WORKERS", 2)
    dataset = AvaDataset(cfg, "train")
    shared = list(build_train_loader(dataset, 1))
    cfg.defrost()
    cfg.DATA_LOADER.NUM_WORKERS = 0
    alone = list(build_train_loader(dataset, 1))
    for expected, batch in zip(alone, shared, strict=True):
        for name in expected:
            np.testing.assert_array_equal(batch[name], expected[name])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_frame_ends_in_one_line_that_names_it(write_data, tmp_path, workers):
    cfg = write_data(VIDEOS, ROWS, "DATA_LOADER.NUM_WORKERS", workers)
    culprit = tmp_path / "frames/a/a_000041.jpg"
    culprit.write_bytes(b"\xff\xd8 no image")
    dataset = AvaDataset(cfg, "train")
    with pytest.raises(UserError) as caught:
        for _ in build_train_loader(dataset, 0):
            pass
    assert str(caught.value) == f"{culprit}: the frame is not an image that can be decoded"
    # Nothing is left to the garbage collector, which hangs on it in a worker of another loader.
    assert not any(reference() for reference in ITERATORS_LIST)


def test_too_little_shared_memory_for_the_workers_is_told_beforehand(write_data, monkeypatch):
    dataset = AvaDataset(write_data(VIDEOS, ROWS, "DATA_LOADER.NUM_WORKERS", 2), "train")
    monkeypatch.setattr(build.shutil, "disk_usage", lambda _: SimpleNamespace(free=250_000))
    with pytest.raises(UserError, match=r"0 MiB are free, but 2 workers need 0 MiB; enlarge it"):
        next(iter(build_train_loader(dataset, 0)))
    # Two workers, ten rows each, of 12,288 bytes for the clip and some for the rest.
    monkeypatch.setattr(build.shutil, "disk_usage", lambda _: SimpleNamespace(free=20 * 15_000))
    next(iter(build_train_loader(dataset, 0)))


def run_child(cfg, body: str, repository: Path) -> subprocess.CompletedProcess:
    """Run `body` in a Python process that has `dataset`, with two workers."""
    (Path(cfg.DATA.PATH_TO_DATA_DIR) / "cfg.yaml").write_text(cfg.dump())
    script = f"""
        import os, signal, sys, time
        import psutil
        from src.utils.errors import run_main
        from src.config.custom_config import load_config
        from src.datasets.ava_dataset import AvaDataset
        from src.datasets.build import build_train_loader
        dataset = AvaDataset(load_config({str(Path(cfg.DATA.PATH_TO_DATA_DIR) / "cfg.yaml")!r}), "train")
        def main():
            batches = iter(build_train_loader(dataset, 0))
            next(batches)
            workers = psutil.Process().children(recursive=True)
            print(*(worker.pid for worker in workers), flush=True)
{textwrap.indent(textwrap.dedent(body), " " * 12)}
            return 0
        sys.exit(run_main(main))
    """
    environment = dict(os.environ, PYTHONPATH=str(repository), ONEDNN_MAX_CPU_ISA="AVX2")
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=repository,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def gone(pids: str) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids.split())


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("for _ in batches: pass", 0),
        ("raise RuntimeError('bug')", 1),
    ],
)
def test_no_worker_outlives_the_process(write_data, repository, body, status):
    cfg = write_data(VIDEOS, ROWS, "DATA_LOADER.NUM_WORKERS", 2)
    done = run_child(cfg, body, repository)
    assert done.returncode == status, done.stderr
    assert len(done.stdout.split()) >= 2
    assert gone(done.stdout)


def test_a_killed_worker_ends_the_run_with_a_message(write_data, repository):
    rows = [f"a,{second},0.1,0.2,0.5,0.8,1,1.0" for second in range(80)]
    cfg = write_data(VIDEOS, rows, "DATA_LOADER.NUM_WORKERS", 2, "AVA.FPS", 1)
    # As while a network computes: MindSpore's own handler, which logs, may hang where it interrupts an allocation.
    body = """
        os.kill(workers[0].pid, signal.SIGKILL)
        while True:
            time.sleep(0.5)
            next(batches)
    """
    done = run_child(cfg, body, repository)
    assert done.returncode != 0
    assert "was killed by signal: Killed" in done.stderr


@pytest.mark.parametrize(("target", "scale", "lines"), [("Ascend", 0, 1), ("Ascend", 32, 0), ("CPU", 0, 0)])
def test_frames_of_several_sizes_are_told_of_where_each_is_compiled_for_long(
    write_data, monkeypatch, capsys, target, scale, lines
):
    monkeypatch.setattr(build.ms, "get_context", lambda key: target)
    cfg = write_data(VIDEOS, ROWS, "DATA.TEST_SCALE_HEIGHT", scale, "DATA.TEST_SCALE_WIDTH", scale)
    build_test_loader(AvaDataset(cfg, "test"))
    told = capsys.readouterr().out
    assert told.count("come in 2 sizes") == told.count("DATA.TEST_SCALE_HEIGHT") == lines
