"""What the pages say to type is there: programs, their options, the files that they link to."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PAGES = [*sorted((REPOSITORY / "docs").glob("*.md")), *sorted(REPOSITORY.glob("*.md"))]
# A program of ours with what stands behind it on its line; lines that end in a backslash go on.
PROGRAM = r"-m (?:src|benchmarks|tests)\.[\w.]+|(?:\.\./)*[\w/]+\.(?:py|sh)"
COMMAND = re.compile(rf"\b(?:python|bash) ({PROGRAM})( [^`\n#;)]*)?")
# These have commands of their own behind them.
WITH_STEPS = ("-m src.datasets.prepare", "-m src.evaluation")


def commands() -> dict[tuple[str, ...], set[str]]:
    """Return programs of ours, perhaps with a step, and the options that the pages give them."""
    found: dict[tuple[str, ...], set[str]] = {}
    for page in PAGES:
        for program, arguments in COMMAND.findall(page.read_text().replace("\\\n", " ")):
            if arguments.startswith((" STEP", " ...")):
                continue
            program = program.removeprefix("../")
            step = re.match(r" ([a-z]+)\b", arguments) if program in WITH_STEPS else None
            key = (*program.split(), *(step.groups() if step else ()))
            found.setdefault(key, set()).update(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", arguments))
    return found


COMMANDS = commands()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_commands_are_found():
    assert {("train.py",), ("-m", "src.evaluation"), ("scripts/setup.sh",)} <= set(COMMANDS)


@pytest.mark.parametrize("command", [key for key in sorted(COMMANDS) if key[0].endswith(".sh")], ids=" ".join)
def test_scripts_are_there(command):
    assert (REPOSITORY / command[0]).is_file()
    text = (REPOSITORY / command[0]).read_text()
    if '"$@"' not in text and '"${@' not in text:
        assert [option for option in COMMANDS[command] if option not in text] == []


@pytest.mark.parametrize("command", [key for key in sorted(COMMANDS) if not key[0].endswith(".sh")], ids=" ".join)
def test_programs_have_the_options(command):
    done = subprocess.run([sys.executable, *command, "--help"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [option for option in COMMANDS[command] if option not in done.stdout] == []
