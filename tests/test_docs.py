"""What the pages say to type is there: programs, their options, files, keys, and what they link to."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from src.config.defaults import get_cfg

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
of_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
# The changelog may name what is gone.
of_each_current_page = pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name
)


def fences(page: Path) -> list[str]:
    """Return what stands between fences of a page."""
    return re.findall(r"^ *```\w*\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@of_each_page
def test_links_lead_to_files_and_headings(page):
    links = re.findall(r"\]\(([^)#\s:]*)(?:#([^)]*))?\)", page.read_text())
    assert [link for link, _ in links if not (page.parent / link).exists()] == []
    targets = [(page.parent / link if link else page, anchor) for link, anchor in links if anchor]
    assert [(path.name, anchor) for path, anchor in targets if anchor not in anchors(path)] == []


@of_each_current_page
def test_files_and_modules_are_there(page):
    folders = "src|tests|scripts|configs|benchmarks|docs|ascend310_infer"
    made = "ascend310_infer/(?:build|fetched)/"
    text = re.sub(r"^```diff.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    paths = re.findall(rf"(?<![\w./-])(?!{made})((?:{folders})/[\w./-]*\w)", text)
    modules = re.findall(r"\b(?:src|benchmarks|tests)(?:\.\w+)+\b", text)
    paths += [module.replace(".", "/") for module in modules]
    assert [path for path in paths if not any((REPOSITORY / f"{path}{end}").exists() for end in ("", ".py"))] == []


@of_each_current_page
def test_keys_are_there(page):
    groups = {group: set(keys) for group, keys in get_cfg().items() if isinstance(keys, dict)}
    named = set(re.findall(rf"\b({'|'.join(groups)})\.([A-Z][A-Z0-9_]+)", page.read_text()))
    assert {f"{group}.{key}" for group, key in named if key not in groups[group]} == set()


def test_both_readmes_have_the_same_commands():
    english, chinese = (
        [
            re.sub(r" *#.*", "", line)
            for fence in fences(REPOSITORY / name)
            for line in fence.splitlines()
            if re.match(r" *(python3?|bash|pip|json_stats:|epoch:) ", line)
        ]
        for name in ("README.md", "README_CN.md")
    )
    assert len(english) > 15
    assert english == chinese


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
