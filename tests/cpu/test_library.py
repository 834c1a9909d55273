"""Whether the kernels are used: the environment, what is compiled, the processor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from src.config.custom_config import load_config
from src.cpu import library
from src.models.build import device_layers
from src.models.common import Layers
from src.utils.errors import UserError

SHOW_ENVIRONMENT = "import os, src; print(os.environ.get('ONEDNN_MAX_CPU_ISA'))"


def run(repository: Path, command: list[str], **environment: str) -> subprocess.CompletedProcess:
    """Run a command with some variables set and those of oneDNN and the kernels otherwise unset."""
    chosen = ("ONEDNN_MAX_CPU_ISA", library.VARIABLE)
    clean = {name: value for name, value in os.environ.items() if name not in chosen}
    return subprocess.run(
        command, cwd=repository, env=clean | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "None"),
        ({"SLOWFAST_CPU_KERNELS": "on"}, "None"),
        ({"SLOWFAST_CPU_KERNELS": "off"}, "AVX2"),
        ({"SLOWFAST_CPU_KERNELS": "off", "ONEDNN_MAX_CPU_ISA": "SSE41"}, "SSE41"),
        ({"CPU_KERNELS_BUILD": "/nowhere"}, "AVX2"),
    ],
)
def test_onednn_is_held_to_avx2_only_without_the_kernels(repository, environment, expected):
    assert run(repository, [sys.executable, "-c", SHOW_ENVIRONMENT], **environment).stdout == f"{expected}\n"


def test_operators_have_all_processors_though_mindspore_says_one(repository):
    code = (
        "import src, mindspore, ctypes; get = ctypes.CDLL(None).getenv; get.restype = ctypes.c_char_p; "
        "print(get(b'OMP_NUM_THREADS'))"
    )
    processors = str(len(os.sched_getaffinity(0)))
    for given, expected in (({}, processors), ({"OMP_NUM_THREADS": "1"}, "1")):
        clean = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=repository, env=clean | given, text=True, capture_output=True
        )
        assert done.stdout.strip() == repr(expected.encode())


@pytest.mark.parametrize(("limit", "meanwhile"), [("AVX2", None), ("SSE41", "SSE41"), (None, None)])
def test_other_libraries_are_not_held_to_avx2(monkeypatch, limit, meanwhile):
    if limit is None:
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    else:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    with library.not_held():
        assert os.environ.get("ONEDNN_MAX_CPU_ISA") == meanwhile
    assert os.environ.get("ONEDNN_MAX_CPU_ISA") == limit


def test_a_word_that_is_not_known_is_refused(monkeypatch):
    monkeypatch.setenv(library.VARIABLE, "yes")
    with pytest.raises(UserError, match="SLOWFAST_CPU_KERNELS=yes, expected one of auto, on, off"):
        library.usable()


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("platform.machine", lambda: "aarch64", "they are written for x86-64 processors, this is aarch64"),
        ("LIBRARY", Path("/nowhere/lib.so"), "they are not compiled (scripts/build_cpu_kernels.sh says why)"),
        ("processor_flags", lambda: frozenset({"fma", "sse4_2"}), "the processor lacks avx2"),
    ],
)
def test_what_stands_in_the_way_is_said(monkeypatch, attribute, value, words):
    monkeypatch.setattr(f"src.cpu.library.{attribute}", value)
    assert library.obstacle() == words


def test_wanted_but_not_there_is_an_error(monkeypatch):
    monkeypatch.setenv(library.VARIABLE, "on")
    monkeypatch.setattr(library, "why_not", lambda: "they are not compiled")
    with pytest.raises(UserError, match="SLOWFAST_CPU_KERNELS=on: the kernels for CPUs cannot be used: they are not"):
        library.usable()


def test_automatic_and_not_there_is_no_error(monkeypatch):
    monkeypatch.setenv(library.VARIABLE, "auto")
    monkeypatch.setattr(library, "why_not", lambda: "they are not compiled")
    assert not library.usable()


def test_half_precision_computes_with_mindspores_operators_at_their_fastest(monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert type(device_layers(load_config(None, []), "O2")) is Layers
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2"


def build(repository: Path, folder: Path, **environment: str) -> str:
    """Compile into a folder and return what was said."""
    script = ["bash", "scripts/build_cpu_kernels.sh"]
    done = run(repository, script, CPU_KERNELS_BUILD=str(folder), PYTHON=sys.executable, **environment)
    assert done.returncode == 0
    return done.stdout


def test_without_a_compiler_one_line_says_so_and_setting_up_goes_on(repository, tmp_path):
    (tmp_path / "libslowfast_cpu.so").write_text("of a former compilation")
    said = build(repository, tmp_path, CXX="no-such-compiler")
    assert said == "kernels for CPUs are left out: there is no C++ compiler (on Debian: apt-get install g++)\n"
    assert not (tmp_path / "libslowfast_cpu.so").exists()


def test_another_processor_is_refused_in_one_line(repository, tmp_path):
    uname = tmp_path / "uname"
    uname.write_text("#!/bin/sh\necho aarch64\n")
    uname.chmod(0o755)
    said = build(repository, tmp_path / "build", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert said == "kernels for CPUs are left out: they are written for x86-64 processors, this is aarch64\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("isa", "threads"), [("AVX2", "2"), ("AVX512_CORE", "1"), ("AVX512_CORE_BF16", "2"), ("ALL", "1")]
)
def test_operators_and_blocks_at_other_instruction_sets_and_threads(repository, isa, threads):
    """The tests beside this one run at AVX2 with one thread; oneDNN chooses other kernels by both."""
    tests = ["tests/cpu/test_operators.py", *["tests/cpu/test_layers.py"] * (isa == "ALL")]
    environment = {"ONEDNN_MAX_CPU_ISA": isa, "OMP_NUM_THREADS": threads}
    done = run(repository, [sys.executable, "-m", "pytest", *tests], **environment)
    assert done.returncode == 0, done.stdout[-3000:]
