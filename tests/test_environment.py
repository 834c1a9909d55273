"""The environment that setup.sh makes: its lists and locks, what is installed, and MindSpore's two modes in it."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from packaging.requirements import Requirement

from src.config.custom_config import load_config
from src.models.build import build_model

try:
    import tomllib
except ImportError:  # Python 3.10; pytest brings tomli there
    import tomli as tomllib


@pytest.fixture(scope="module")
def project(repository: Path) -> dict:
    """What pyproject.toml says of the project."""
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


def test_protobuf_may_be_loaded_before_mindspore(repository):
    """MindSpore up to 2.9 has messages that protobuf makes in its implementation in Python alone."""
    script = "import src; from google.protobuf.internal import api_implementation as i; print(i.Type())"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PROTOCOL_BUFFERS")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=repository, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "python\n"


def listed(path: Path) -> list[str]:
    """Return the requirements in a file, one a line, without comments."""
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def locked(path: Path) -> dict[str, list[tuple[Requirement, int]]]:
    """Return the requirements of each package in a lock file with the number of their hashes."""
    found: dict[str, list[tuple[Requirement, int]]] = {}
    for entry in re.split(r"\n(?=\S)", path.read_text()):
        if not entry.startswith("#"):
            line, *hashes = entry.split("--hash=sha256:")
            requirement = Requirement(line.rstrip(" \\\n"))
            found.setdefault(requirement.name.lower(), []).append((requirement, len(hashes)))
    return found


def test_requirement_lists_are_those_of_pyproject(project, repository):
    extras = project["optional-dependencies"]
    assert listed(repository / "pip-requirements.txt") == project["dependencies"]
    assert listed(repository / "tests" / "requirements.txt") == extras["tests"]
    assert listed(repository / "benchmarks" / "requirements.txt") == extras["benchmarks"]


@pytest.mark.parametrize(("file", "extra"), [("requirements.lock", None), ("requirements-tests.lock", "tests")])
def test_lock_files_pin_all_that_pyproject_names_within_its_bounds(project, repository, file, extra):
    wanted = [*project["dependencies"], *(project["optional-dependencies"][extra] if extra else [])]
    pins = locked(repository / file)
    for requirement in map(Requirement, wanted):
        assert requirement.name.lower() in pins, f"{requirement}: run bash scripts/update_locks.sh"
        for pin, _ in pins[requirement.name.lower()]:
            (version,) = pin.specifier
            assert version.operator == "=="
            assert version.version in requirement.specifier, f"{pin}: run bash scripts/update_locks.sh"
    assert all(hashes > 0 for entries in pins.values() for _, hashes in entries)


def test_lock_files_serve_each_supported_python_with_one_version(repository):
    for name, entries in locked(repository / "requirements-tests.lock").items():
        for minor in ("3.10", "3.11", "3.12"):
            environment = {
                "python_version": minor,
                "python_full_version": f"{minor}.1",
                "sys_platform": "linux",
                "platform_machine": "x86_64",
            }
            fitting = [pin for pin, _ in entries if pin.marker is None or pin.marker.evaluate(environment)]
            assert len(fitting) <= 1, f"{name} has {len(fitting)} versions for Python {minor}"
    assert "http" not in (repository / "requirements-tests.lock").read_text()  # no registry's address


def test_what_is_installed_fits_together_and_within_the_bounds(project):
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    for requirement in map(Requirement, project["dependencies"]):
        assert importlib.metadata.version(requirement.name) in requirement.specifier


def test_eager_and_graph_mode_agree(recipe_file):
    """SlowFast R50 in a narrow width; under NumPy 2 MindSpore's eager mode died at the first call with a tuple."""
    cfg = load_config(recipe_file, ["MODEL.HEAD_ACT", "none"])
    ms.set_seed(1)
    network = build_model(cfg).set_train(False)
    rng = np.random.default_rng(0)
    frames, side = cfg.DATA.NUM_FRAMES, cfg.DATA.TEST_CROP_SIZE
    slow = ms.Tensor(rng.standard_normal((2, 3, frames // cfg.SLOWFAST.ALPHA, side, side), np.float32))
    fast = ms.Tensor(rng.standard_normal((2, 3, frames, side, side), np.float32))
    boxes = ms.Tensor(np.array([[[2, 3, 20, 30], [0, 0, 31, 31]]] * 2, np.float32))
    in_graph = network(slow, fast, boxes).asnumpy()
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        eager = network(slow, fast, boxes).asnumpy()
    finally:
        ms.set_context(mode=ms.GRAPH_MODE)
    assert np.abs(in_graph).max() > 1e-3
    np.testing.assert_allclose(eager, in_graph, rtol=0, atol=1e-5)
