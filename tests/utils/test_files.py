"""Files that are either whole or absent."""

import os
import resource
import stat
import threading

import av
import numpy as np
import pytest

from src.utils.files import atomic_path, sha256_of, write_atomic


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_open(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "a", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_the_umask_is_never_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("threads would see it"))
    write_atomic(tmp_path / "a", "text")


def test_threads_write_whole_files(tmp_path):
    def write(number):
        for _ in range(50):
            write_atomic(tmp_path / "a", f"{number}" * 1000)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = (tmp_path / "a").read_text()
    assert len(text) == 1000
    assert len(set(text)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path):
    write_atomic(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "a.txt") as path:
        path.write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_told_by_the_name_of_the_file(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        for suffix, write in (("txt", lambda path: path.write_bytes(bytes(2000))), ("mp4", write_video)):
            with pytest.raises(OSError, match="File too large") as error, atomic_path(tmp_path / f"a.{suffix}") as path:
                write(path)
            assert error.value.filename == str(tmp_path / f"a.{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def write_video(path):
    """Write one with PyAV, whose errors bring the name of the temporary file."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
        output.mux(stream.encode(av.VideoFrame.from_ndarray(noise)))
        output.mux(stream.encode(None))


def test_sha256_by_a_known_value(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
