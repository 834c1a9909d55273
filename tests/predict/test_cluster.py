"""Two workers of a Dask cluster on this machine, one of which is killed: the result is a single process's."""

import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src.datasets.prepare import ava
from src.datasets.video import probe
from src.predict.options import Options
from src.predict.run import predict
from src.utils.cluster import job_pool, result_of
from src.utils.errors import UserError

distributed = pytest.importorskip("distributed", reason="Dask is not installed (tests/requirements.txt)")
pytestmark = pytest.mark.slow
# What a file rounds its scores to; MindSpore's sums differ in the last bit by how many threads had time.
ROUNDING = {"detections.csv": 1e-6, "tracks.csv": 1e-6, "actions.json": 1e-6, "index.html": 1e-3}


@pytest.fixture(scope="module")
def cluster(repository: Path) -> Iterator[distributed.LocalCluster]:
    """Two workers that build the tiny network."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, preload=[str(repository / "tests/tiny.py")]
    ) as local:
        yield local


def text_and_numbers(path: Path) -> tuple[list[str], list[float]]:
    """Take the numbers with decimals out of a text."""
    pieces = re.split(r"(\d+\.\d+(?:e-\d+)?)", path.read_text())
    return pieces[::2], list(map(float, pieces[1::2]))


@pytest.mark.usefixtures("tiny_network")
def test_a_killed_worker_changes_nothing(
    cluster: distributed.LocalCluster, options: Callable[..., Options], held_out: Path, tmp_path: Path
) -> None:
    given = {"every_part": 3.0, "video_out": False}
    assert predict(options(out=tmp_path / "alone", **given), held_out) == 0

    shared = options(out=tmp_path / "shared", **given)
    with distributed.Client(cluster, set_as_default=False) as client:
        pids = list(client.run(os.getpid).values())

        def kill_one() -> None:
            while not list(shared.out.rglob("*.npz")):
                time.sleep(0.01)
            os.kill(pids[0], signal.SIGKILL)

        with job_pool(1) as pool:
            killed = pool.submit(kill_one)
            assert predict(shared, held_out, cluster=cluster.scheduler_address) == 0
            killed.result(timeout=60)
    for name, rounding in ROUNDING.items():
        text, numbers = text_and_numbers(tmp_path / "shared" / name)
        expected_text, expected_numbers = text_and_numbers(tmp_path / "alone" / name)
        assert text == expected_text, name
        assert numbers == pytest.approx(expected_numbers, rel=0, abs=rounding), name
    # Nothing is left half-written.
    assert all(path.name.startswith("0") for path in (shared.out / ".predict/parts").rglob("*") if path.is_file())


@pytest.mark.usefixtures("tiny_network")
def test_workers_take_notice_of_files_that_were_replaced(
    cluster: distributed.LocalCluster, options: Callable[..., Options], held_out: Path, tmp_path: Path
) -> None:
    boxes = tmp_path / "boxes.csv"
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(6):  # more than a worker remembers
        (videos / f"{number}.mp4").symlink_to(held_out)
    for left in ("0.1", "0.5"):
        boxes.write_text("".join(f"{number},1,{left},0.2,0.9,0.9,-1\n" for number in range(6)))
        given = {"boxes": boxes, "video_out": False, "every_part": 60.0, "end": 3.0}
        assert predict(options(out=tmp_path / "out", **given), videos, cluster=cluster.scheduler_address) == 0
        rows = (tmp_path / "out/detections.csv").read_text().splitlines()
        assert {row.split(",")[2] for row in rows} == {left}


def test_workers_of_another_version_are_refused(
    cluster: distributed.LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.utils.cluster._code_digest", lambda: "of this process")
    with job_pool(1, cluster.scheduler_address) as pool:
        future = pool.submit(os.getpid)
        with pytest.raises(UserError, match=r"the worker on \S+ runs another version of this package"):
            result_of(future)


def test_errors_name_the_machine_and_the_file(cluster: distributed.LocalCluster, tmp_path: Path) -> None:
    node = platform.node()
    with job_pool(1, cluster.scheduler_address) as pool:
        with pytest.raises(UserError, match=f"there is no such video \\(on {node}\\)"):
            result_of(pool.submit(probe, tmp_path / "none.mp4"))
        with pytest.raises(OSError, match=f"No such file or directory \\(on {node}\\)") as error:
            result_of(pool.submit((tmp_path / "none").read_bytes))
        assert error.value.filename == str(tmp_path / "none")


@pytest.mark.usefixtures("tiny_network")
def test_workers_may_run_in_another_folder_but_have_to_write_into_this_one(
    cluster: distributed.LocalCluster,
    options: Callable[..., Options],
    held_out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {"video_out": False, "every_part": 60.0, "end": 3.0}
    monkeypatch.chdir(tmp_path)
    assert predict(options(out=Path("out"), **given), held_out, cluster=cluster.scheduler_address) == 0
    assert (tmp_path / "out/detections.csv").stat().st_size > 0
    # As with a folder that a worker has under the same name: what it wrote is not here.
    monkeypatch.setattr("src.predict.run.score_part", nothing)
    with pytest.raises(UserError, match="its scores are not in other; the workers wrote into another folder"):
        predict(options(out=Path("other"), **given), held_out, cluster=cluster.scheduler_address)


def nothing(*_: object) -> None:
    """Do no part."""


def test_a_scheduler_that_is_gone_is_one_line(repository: Path) -> None:
    """Its process is killed while jobs wait for a worker."""
    program = "from distributed import LocalCluster; import time\n"
    program += "if __name__ == '__main__':\n"
    program += "    cluster = LocalCluster(n_workers=0, dashboard_address=None)\n"
    program += "    print(cluster.scheduler_address, flush=True); time.sleep(60)"
    with (
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=repository) as process,
        job_pool(1, process.stdout.readline().strip()) as pool,
    ):
        future = pool.submit(os.getpid)
        process.kill()
        with pytest.raises(OSError, match="the scheduler is gone"):
            result_of(future)


def test_frames_are_extracted_by_workers(
    cluster: distributed.LocalCluster, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    videos = {path.stem: path for path in (sample / "videos").glob("*.mp4")}
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    for root, address in (("here", None), ("there", cluster.scheduler_address)):
        with pytest.raises(UserError, match="frames: 1 of 4 failed"):
            ava.extract_all(
                tmp_path / root,
                videos | {"broken": broken},
                fps=5,
                short_side=0,
                jobs=1,
                dry_run=False,
                cluster=address,
            )
        assert "broken.mp4: cannot open the video" in capsys.readouterr().err
    here, there = (
        {path.relative_to(tmp_path / root): path.read_bytes() for path in (tmp_path / root).rglob("*.jpg")}
        for root in ("here", "there")
    )
    assert here == there
    assert len(here) == 3 * 24 * 5


def test_no_scheduler_is_one_line() -> None:
    with pytest.raises(UserError, match="--cluster nowhere: no scheduler answers there"), job_pool(1, "nowhere"):
        pass
