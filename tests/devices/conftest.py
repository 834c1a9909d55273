"""Dry runs, two at a time, of what the collected tests ask for."""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.devices.cases import CASES, Finished, run_case
from tests.devices.stand_ins import build_stand_ins


@pytest.fixture(scope="session")
def stand_ins(pytestconfig: pytest.Config) -> Path:
    """The stand-ins for CANN and CUDA, kept in pytest's cache; CI on x86-64 must be able to build them."""
    if platform.machine() != "x86_64":
        pytest.skip(f"the stand-ins for devices are written for x86-64, this is {platform.machine()}")
    missing = [tool for tool in ("gcc", "g++", "nm", "readelf", "c++filt") if shutil.which(tool) is None]
    if missing:
        message = f"the stand-ins for devices need {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    package = Path(importlib.util.find_spec("mindspore").origin).parent
    return build_stand_ins(package, pytestconfig.cache.mkdir("device_stand_ins"))


@pytest.fixture(scope="session")
def dry_runs(
    request: pytest.FixtureRequest, stand_ins: Path, sample: Path, recipe_file: Path, repository: Path
) -> Iterator[dict[str, Future]]:
    """Every case that a collected test asks for, by name, under way in the tests' order."""
    parameters = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    names = dict.fromkeys(found["finished"] for found in parameters if "finished" in found)
    values = {"sample": sample, "recipe": recipe_file, "root": repository, "python": sys.executable}
    folders = request.getfixturevalue("tmp_path_factory")
    with ThreadPoolExecutor(max_workers=2) as pool:
        yield {name: pool.submit(run_case, CASES[name], stand_ins, folders.mktemp("dry_run"), values) for name in names}
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def finished(request: pytest.FixtureRequest, dry_runs: dict[str, Future]) -> Finished:
    """The case of this name, when it has ended."""
    return dry_runs[request.param].result()
