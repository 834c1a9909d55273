"""The cache of tables notices what changed and never stands in the way."""

import os
from pathlib import Path

import numpy as np
import pytest

from src.utils import cache


class Builder:
    def __init__(self, value: int = 1) -> None:
        self.value, self.calls = value, 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.calls += 1
        return {"table": np.array([self.value]), "names": np.array(["a", "äö"])}


def read(files: list[Path], settings: str, build: Builder) -> dict[str, np.ndarray]:
    return cache.cached_arrays(files, settings, build, fields=("table", "names"))


@pytest.fixture
def listed(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(cache, "_MIN_BYTES", 0)
    path = tmp_path / "list.csv"
    path.write_text("x" * 200_000)
    return path


def test_the_second_call_takes_the_tables_from_the_cache(listed):
    build = Builder(7)
    for _ in range(2):
        found = read([listed], "settings", build)
        assert found["table"].tolist() == [7]
        assert found["names"].tolist() == ["a", "äö"]
    assert build.calls == 1


def test_other_settings_have_a_cache_of_their_own(listed):
    build = Builder()
    for settings in ("one", "two", "one", "two"):
        read([listed], settings, build)
    assert build.calls == 2


def touch(path: Path) -> None:
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def same_time_and_size(path: Path, position: int) -> None:
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(position)
        file.write(b"y")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        touch,
        lambda path: path.write_text("x" * 199_999),
        lambda path: same_time_and_size(path, 0),
        lambda path: same_time_and_size(path, 199_999),
    ],
    ids=["time", "size", "head", "tail"],
)
def test_a_changed_file_is_read_again_and_replaces_its_cache(listed, change):
    read([listed], "settings", Builder(1))
    change(listed)
    assert read([listed], "settings", Builder(2))["table"].tolist() == [2]
    assert read([listed], "settings", Builder(3))["table"].tolist() == [2]
    assert len(list((listed.parent / ".index").iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_cache_is_built_anew(listed, damage):
    read([listed], "settings", Builder(1))
    (stored,) = (listed.parent / ".index").iterdir()
    stored.write_bytes(stored.read_bytes()[:-100] if damage is None else damage)
    build = Builder(2)
    for _ in range(2):
        assert read([listed], "settings", build)["table"].tolist() == [2]
    assert build.calls == 1


def test_a_cache_of_other_fields_is_built_anew(listed):
    """As another version of the package left it."""
    cache.cached_arrays([listed], "settings", lambda: {"table": np.array([1])}, fields=["table"])
    build = Builder(2)
    for _ in range(2):
        assert read([listed], "settings", build)["table"].tolist() == [2]
    assert build.calls == 1
    assert len(list((listed.parent / ".index").iterdir())) == 1


def test_without_a_place_to_write_the_tables_are_built_each_time(listed):
    (listed.parent / ".index").write_text("in the way")
    build = Builder(5)
    for _ in range(2):
        assert read([listed], "settings", build)["table"].tolist() == [5]
    assert build.calls == 2


def test_small_files_have_no_cache(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("x")
    read([path], "settings", Builder())
    assert not (tmp_path / ".index").exists()
