"""The AVA recipe from download to verification, and a run that is killed in the middle."""

import errno
import http.server
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from src.ava.box_csv import box_row
from src.datasets.prepare import ava
from src.datasets.prepare.__main__ import main
from src.datasets.prepare.frame_records import read_record
from src.datasets.prepare.frames import count_frames
from src.datasets.prepare.jobs import locked, run_all
from src.utils.errors import UserError, run_main

NAMES = ("-abc_1", "xyz")


@dataclass
class Result:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., Result]:
    """A function that runs `python -m src.datasets.prepare` with some arguments, in this process."""

    def run(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["prepare", *map(str, arguments)])
        capsys.readouterr()
        status = run_main(main)
        return Result(status, *capsys.readouterr())

    return run


@pytest.fixture
def site(make_video: Callable, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server with two films of 903 seconds, their list and their annotations: its address and its folder."""
    folder = tmp_path / "site"
    for name in NAMES:
        make_video(folder / f"{name}.mp4", frames=903 + 4, fps=1)
    (folder / ava.NAMES_FILE).write_text("".join(f"{name}.mp4\n" for name in NAMES))
    annotations = tmp_path / "tar" / "ava_annotations"
    annotations.mkdir(parents=True)
    for split, name in (("train", NAMES[0]), ("val", NAMES[1])):
        rows = [box_row(name, 902 + second, (0.1, 0.2, 0.5, 0.9), 12, 1) for second in range(3)]
        (annotations / ava.BOX_LISTS[split]).write_text("".join(rows))
    with tarfile.open(folder / ava.ANNOTATIONS_FILE, "w") as tar:
        tar.add(annotations, "ava_annotations")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_from_download_to_lists(site: tuple[str, Path], prepare: Callable, tmp_path: Path) -> None:
    url, _ = site
    root = tmp_path / "ava"
    places = ["--video-url", url, "--names-url", url, "--annotations-url", url]
    dry = prepare("download", "--root", root, "--dry-run", *places)
    assert dry.returncode == 0, dry.stderr
    assert dry.stdout.startswith("download: 2 videos to fetch: about ")
    assert not (root / "videos").exists()
    result = prepare("download", "--root", root, *places)
    assert result.returncode == 0, result.stderr
    assert (root / "ava_annotations" / "ava_train_v2.2.csv").is_file()
    checked = subprocess.run(["sha256sum", "-c", "xyz.mp4.sha256"], cwd=root / "videos", check=False)
    assert checked.returncode == 0

    assert "cut: 2 videos to cut" in prepare("cut", "--root", root, "--dry-run").stdout
    assert prepare("cut", "--root", root).returncode == 0
    dry = prepare("frames", "--root", root, "--dry-run")
    assert dry.stdout.startswith("frames: 2 videos to extract: about ")
    assert not (root / "frames").exists()
    result = prepare("frames", "--root", root, "--jobs", "1")
    assert result.returncode == 0, result.stderr
    assert "frames 2/2 xyz: 210 frames, about 0 s left" in result.stdout
    result = prepare("lists", "--root", root)
    assert result.stdout == ("lists: train.csv: 1 of 1 videos, 210 frames\nlists: val.csv: 1 of 1 videos, 210 frames\n")
    last = (root / "ava_annotations/train.csv").read_text().splitlines()[-1]
    assert last == '-abc_1 0 209 -abc_1/-abc_1_000210.jpg ""'
    record = read_record(root, "-abc_1")
    assert (record.fps, record.duration, record.video) == (30, 7.0, "-abc_1.mp4")
    assert record.decoder.startswith("PyAV ")
    # The recipe's person boxes and label map are not on this server.
    result = prepare("verify", "--root", root)
    assert result.returncode == 1
    assert "ava_detection_val_boxes_and_labels.csv: no such file, expected a CSV file" in result.stdout
    # Nothing is done twice.
    for step in ("download", "cut", "frames"):
        again = prepare(step, "--root", root, *(places if step == "download" else []))
        assert (again.returncode, again.stdout) == (0, "")


def test_a_bad_video_does_not_stop_the_others(make_video: Callable, prepare: Callable, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        make_video(tmp_path / f"videos_15min/{name}.mp4", frames=20)
    bad = tmp_path / "videos_15min/b.mp4"
    bad.write_bytes(bad.read_bytes()[:500])
    result = prepare("frames", "--root", tmp_path)
    assert result.returncode == 2
    first, last = result.stderr.splitlines()
    assert "failed: " in first and "b.mp4: cannot open the video" in first
    assert last.startswith("error: frames: 1 of 3 failed as told above, the others are done; mend what is wrong")
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == ["a", "c"]
    make_video(bad, frames=20)
    result = prepare("frames", "--root", tmp_path)
    assert (result.returncode, result.stdout) == (0, "frames 1/1 b: 60 frames, about 0 s left\n")


def test_a_full_disk_ends_the_step_and_the_next_run_goes_on(
    make_video: Callable, prepare: Callable, mounted: Callable, tmp_path: Path
) -> None:
    root = mounted("size=2500k")
    for number in range(5):
        make_video(root / f"videos_15min/v{number}.mp4", frames=20, width=320, height=240)
    ballast = root / "ballast"
    ballast.write_bytes(bytes(1_500_000))
    result = prepare("frames", "--root", root, "--jobs", "1")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "the disk is full; free some space and run the step again to go on" in line
    done = {path.name for path in (root / "frames").iterdir()}
    assert len(done) < 5
    ballast.unlink()
    for name in done:
        assert count_frames(root / "frames" / name) == 60
    shutil.rmtree(root / "frames")
    result = prepare("frames", "--root", root, "--jobs", "1", "--short-side", "64")
    assert result.returncode == 0, result.stderr
    assert [count_frames(path) for path in (root / "frames").iterdir()] == [60] * 5


def test_killed_in_the_middle_of_frames(
    make_video: Callable, repository: Path, prepare: Callable, tmp_path: Path
) -> None:
    """SIGKILL leaves no half-written video that counts as done; the next run finishes, and only what is missing."""
    for number in range(4):
        make_video(tmp_path / f"videos_15min/v{number}.mp4", frames=300, width=320, height=240)
    command = [sys.executable, "-m", "src.datasets.prepare", "frames", "--root", str(tmp_path), "--jobs", "1"]
    process = subprocess.Popen(command, cwd=repository, stdout=subprocess.DEVNULL)
    frames = tmp_path / "frames"
    while not ((frames / "v0").is_dir() and any(frames.glob(".slowfast-prepare.*/*.jpg"))):
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    done = [path for path in frames.iterdir() if not path.name.startswith(".")]
    assert 1 <= len(done) < 4
    assert any(frames.glob(".slowfast-prepare.*"))
    stamps = {path: path.stat().st_mtime_ns for path in done}
    for path in done:
        assert count_frames(path) == 900
    result = prepare("frames", "--root", tmp_path)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in frames.iterdir()) == ["v0", "v1", "v2", "v3"]
    assert [count_frames(path) for path in frames.iterdir()] == [900] * 4
    assert {path: path.stat().st_mtime_ns for path in done} == stamps


def test_only_one_run_works_on_a_root(make_video: Callable, prepare: Callable, tmp_path: Path) -> None:
    make_video(tmp_path / "videos_15min/a.mp4")
    with locked(tmp_path):
        result = prepare("frames", "--root", tmp_path)
    assert (result.returncode, result.stderr) == (
        2,
        f"error: {tmp_path}: another run of prepare works here; wait until it has ended\n",
    )


def test_a_file_system_without_locks_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As some network file systems are."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_says_what_is_waited_for(capsys) -> None:
    release = threading.Event()

    def work(name: str) -> str:
        if name == "a":
            raise KeyboardInterrupt  # as if it came while results are awaited
        release.wait(60)
        return "done"

    with ThreadPoolExecutor(2) as pool, pytest.raises(KeyboardInterrupt):
        try:
            run_all("frames", ["b", "a"], work, pool)
        finally:
            release.set()
    assert capsys.readouterr().err.startswith("frames: interrupted; 1 videos at work are finished first (kill -9 ")


def test_names_that_lists_cannot_carry(make_video: Callable, prepare: Callable, tmp_path: Path) -> None:
    make_video(tmp_path / "videos_15min/my film.mp4")
    result = prepare("frames", "--root", tmp_path)
    assert result.returncode == 2
    assert "my film.mp4: the name holds white space, a comma or a quotation mark" in result.stderr


def test_frames_of_other_settings_are_not_mixed(make_video: Callable, prepare: Callable, tmp_path: Path) -> None:
    make_video(tmp_path / "videos_15min/a.mp4")
    assert prepare("frames", "--root", tmp_path).returncode == 0
    result = prepare("frames", "--root", tmp_path, "--short-side", "32")
    assert result.returncode == 2
    assert "frames/a: these frames have 30 a second and short side unchanged" in result.stderr


def test_lists_refuse_a_gap(make_video: Callable, tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4")
    ava.extract_all(tmp_path, {"a": video}, fps=10, short_side=0, jobs=1, dry_run=False)
    (tmp_path / "ava_annotations").mkdir()
    for name in ava.BOX_LISTS.values():
        (tmp_path / "ava_annotations" / name).write_text("a,901,0.1,0.2,0.5,0.9,1,1\n")
    (tmp_path / "frames/a/a_000007.jpg").unlink()
    with pytest.raises(UserError, match=r"frames/a: a_000007\.jpg is missing among 29 files; remove the folder"):
        ava.write_lists(tmp_path)


def test_annotations_cannot_land_outside(tmp_path: Path) -> None:
    (tmp_path / "evil.csv").write_text("x")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "evil.csv", "../../evil.csv")
    with pytest.raises(UserError, match=r"a\.tar: cannot unpack the annotations"):
        ava.unpack_annotations(tmp_path / "a.tar", tmp_path / "root/ava_annotations")
