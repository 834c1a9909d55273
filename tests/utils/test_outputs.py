"""Only files that this package wrote are replaced."""

import json
from pathlib import Path

import pytest

from src.utils.errors import UserError
from src.utils.outputs import RECORD, OutputFiles


def write(folder, text):
    with OutputFiles(folder).replacing("a.csv") as path:
        path.write_text(text)


def test_results_replace_earlier_ones(tmp_path):
    for text in ("one", "two", "three"):
        write(tmp_path, text)
        assert (tmp_path / "a.csv").read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECORD, "a.csv"]


@pytest.mark.parametrize("record", [None, "{}", "[]", "junk", '{"a.csv": "x"}', '{"a.csv": ["x"]}'])
def test_a_file_of_the_user_is_kept(tmp_path, record):
    (tmp_path / "a.csv").write_text("mine")
    if record is not None:
        (tmp_path / RECORD).write_text(record)
    with pytest.raises(UserError, match=r"a\.csv: is there, but is not a result of this program in this folder"):
        write(tmp_path, "new")
    assert (tmp_path / "a.csv").read_text() == "mine"


def test_a_result_that_was_edited_is_kept(tmp_path):
    write(tmp_path, "one")
    (tmp_path / "a.csv").write_text("edited")
    with pytest.raises(UserError, match="is not a result"):
        OutputFiles(tmp_path).check("a.csv")


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "a.csv").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is not a result"):
        write(tmp_path, "new")


def test_what_fails_changes_nothing(tmp_path):
    write(tmp_path, "one")
    before = json.loads((tmp_path / RECORD).read_text())
    with pytest.raises(ZeroDivisionError), OutputFiles(tmp_path).replacing("a.csv") as path:
        path.write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "a.csv").read_text() == "one"
    assert json.loads((tmp_path / RECORD).read_text()) == before


def test_a_kill_before_the_rename_leaves_the_old_result_known(tmp_path):
    write(tmp_path, "one")
    write(tmp_path, "two")
    (tmp_path / "a.csv").write_text("one")
    OutputFiles(tmp_path).check("a.csv")


def test_kills_before_the_rename_leave_the_old_result_known_however_many(tmp_path, monkeypatch):
    write(tmp_path, "one")

    def killed(*_):
        raise KeyboardInterrupt

    rename = Path.replace
    with monkeypatch.context() as patched:
        patched.setattr(
            Path, "replace", lambda path, target: killed() if target.name == "a.csv" else rename(path, target)
        )
        for text in ("two", "three", "four"):
            with pytest.raises(KeyboardInterrupt):
                write(tmp_path, text)
    assert (tmp_path / "a.csv").read_text() == "one"
    write(tmp_path, "five")
    assert (tmp_path / "a.csv").read_text() == "five"


def test_a_file_that_grows_is_claimed_once_and_a_damaged_one_is_adopted(tmp_path):
    OutputFiles(tmp_path).claim("log.txt")
    (tmp_path / "log.txt").write_text("line")
    OutputFiles(tmp_path).claim("log.txt")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"mine\.txt: is there, but is not a result"):
        OutputFiles(tmp_path).claim("mine.txt")
    write(tmp_path, "whole")
    (tmp_path / "a.csv").write_text("who")
    OutputFiles(tmp_path).adopt("a.csv")
    write(tmp_path, "whole")
