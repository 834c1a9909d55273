"""The examples of docs/development.md: each touches one file, or one and the table of keys, and does what it says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TABLE_OF_KEYS = "src/config/checks.py"
TEXT = (REPOSITORY / "docs" / "development.md").read_text()
SECTIONS = re.findall(r"^## ([^\n]+)\n.*?^```diff\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
ROWS = re.findall(r"^\| \[([^]]+)\]\(#.*\) \| \[([^]]+)\]\(.*\) \|(.*)\|$", TEXT, re.MULTILINE)
PLACES = {title: [path, TABLE_OF_KEYS] if "table of keys" in beside else [path] for title, path, beside in ROWS}


def apply(diff: str, tree: Path) -> None:
    """Apply a diff without any fuzz."""
    # A tree inside of another repository would be taken for a part of it.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    subprocess.run(["git", "apply", "-"], cwd=tree, input=diff, text=True, check=True, env=environment)


def test_the_page_has_all_examples():
    titles = [
        "loss",
        "head",
        "depth",
        "annotation format",
        "dataset",
        "source of checkpoints",
        "export format",
        "metric",
    ]
    assert [title for title, _ in SECTIONS] == [f"The {title}" for title in titles]
    assert list(PLACES) == [f"the {title}" for title in titles]


@pytest.mark.parametrize(("title", "diff"), SECTIONS)
def test_an_example_touches_one_file_or_one_and_the_table_of_keys(title, diff, tmp_path):
    files = re.findall(r"^\+\+\+ b/(.+)$", diff, re.MULTILINE)
    assert sorted(files) == sorted(PLACES[title[0].lower() + title[1:]])
    before = {}
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        before[file] = shutil.copy(REPOSITORY / file, tmp_path / file).read_text()
    apply(diff, tmp_path)
    assert all((tmp_path / file).read_text() != text for file, text in before.items())


@pytest.mark.slow
def test_the_examples_do_what_they_say(tmp_path):
    shutil.copytree(REPOSITORY / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "build"))
    for _, diff in SECTIONS:
        apply(diff, tmp_path)
    shutil.copy(Path(__file__).with_name("examples.py"), tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, "examples.py"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(SECTIONS)} passed" in result.stdout
