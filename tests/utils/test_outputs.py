"""Only files that this package wrote are replaced."""

import json

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
