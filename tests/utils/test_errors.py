"""How programs end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from src.utils.errors import UserError, run_main
{body}
sys.exit(run_main(main))
"""


def run(body: str, repository, encoding: str = "utf-8", **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body)],
        cwd=repository,
        env=environment,
        stderr=subprocess.PIPE,
        check=False,
        **options,
    )


def test_a_mistake_of_the_user_is_one_line(repository):
    done = run("def main(): raise UserError('a.csv: row 3')", repository)
    assert (done.returncode, done.stderr) == (2, b"error: a.csv: row 3\n")


def test_an_interrupt_is_one_word(repository):
    done = run("def main(): raise KeyboardInterrupt", repository)
    assert (done.returncode, done.stderr) == (130, b"interrupted\n")


def test_a_message_stays_one_line_whatever_a_file_holds(repository):
    done = run("def main(): raise UserError('a' + chr(10) + chr(27) + '[2J\\u2028é')", repository)
    assert (done.returncode, done.stderr.decode()) == (2, "error: a\\n\\x1b[2J\\u2028é\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_letters_that_the_terminal_lacks_are_escaped(repository, encoding):
    done = run("def main(): raise UserError('動.csv')", repository, encoding)
    assert (done.returncode, done.stderr) == (2, b"error: \\u52d5.csv\n")
    done = run("def main(): print('動'); return 0", repository, encoding, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\\u52d5\n", b"")


@pytest.mark.parametrize("options", [[], ["-u"]])
@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_program_goes_on_when_nobody_reads_what_it_prints(repository, tmp_path, lines, options):
    read, write = os.pipe()
    os.close(read)
    body = f"""
import pathlib
def main():
    for _ in range({lines}):
        print('line')
        print('warning', file=sys.stderr)
    pathlib.Path({str(tmp_path)!r}, "result").write_text("whole")
    return 3
"""
    command = [sys.executable, *options, "-c", PROGRAM.format(body=body)]
    done = subprocess.run(command, cwd=repository, stdout=write, stderr=write, check=False)
    os.close(write)
    assert (done.returncode, (tmp_path / "result").read_text()) == (3, "whole")


def test_a_program_goes_on_when_its_terminal_is_closed(repository, tmp_path):
    read, write = os.openpty()
    body = f"""
import pathlib
def main():
    sys.stdin.read(1)
    print('line')
    print('warning', file=sys.stderr)
    pathlib.Path({str(tmp_path)!r}, "result").write_text("whole")
    return 0
"""
    command = [sys.executable, "-c", PROGRAM.format(body=body)]
    with subprocess.Popen(command, cwd=repository, stdin=subprocess.PIPE, stdout=write, stderr=write) as program:
        os.close(write)
        os.close(read)
        program.stdin.close()
    assert (program.returncode, (tmp_path / "result").read_text()) == (0, "whole")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_below_the_output_loses_no_more_than_what_is_printed(repository, tmp_path):
    body = f"""
import pathlib
def main():
    print('line', flush=True)
    pathlib.Path({str(tmp_path)!r}, "result").write_text("whole")
    return 0
"""
    with Path("/dev/full").open("w") as full:
        done = run(body, repository, stdout=full)
    assert (done.returncode, done.stderr) == (2, b"error: what was printed is cut short: No space left on device\n")
    assert (tmp_path / "result").read_text() == "whole"


def test_what_is_printed_comes_at_once_where_python_is_told_so(repository):
    body = "def main():\n    print('line')\n    return sys.stdin.read(1) != '.'"
    command = [sys.executable, "-u", "-c", PROGRAM.format(body=body)]
    with subprocess.Popen(command, cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout.readline() == b"line\n"
        program.communicate(b".", timeout=60)
    assert program.returncode == 0


@pytest.mark.parametrize("body", ["print('x'); return 0", "raise UserError('mistake')"])
def test_a_closed_output_does_not_matter(repository, tmp_path, body):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(body=f"def main(): {body}"))
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    command = f'"{sys.executable}" "{program}" >&- 2>"{tmp_path}/errors"'
    done = subprocess.run(command, shell=True, env=environment, check=False)
    expected = (0, "") if "print" in body else (2, "error: mistake\n")
    assert (done.returncode, (tmp_path / "errors").read_text()) == expected


def test_names_of_files_are_utf8_in_any_locale(repository, tmp_path):
    """As in a locale of ISO 8859-1; output stays in the terminal's encoding."""
    (tmp_path / "clip ä 動.mp4").touch()
    body = f"""
import os
def main():
    print([name == "clip ä 動.mp4" for name in sorted(os.listdir({str(tmp_path)!r}))], sys.stdout.encoding)
    return 0
"""
    (tmp_path / "program.py").write_text(PROGRAM.format(body=body), encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if name not in ("LC_ALL", "LANG", "PYTHONIOENCODING")}
    environment = clean | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(repository)}
    command = [sys.executable, tmp_path / "program.py"]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"[True, False] ascii\n"


def test_another_closed_pipe_is_a_bug(repository):
    done = run("def main(): raise BrokenPipeError('a worker')", repository, stdout=subprocess.PIPE)
    assert done.returncode == 1
    assert b"BrokenPipeError: a worker" in done.stderr
