"""Fixtures that several test modules share."""

import os
from pathlib import Path

import pytest

from src.utils.device import prepare_cpu, set_up_device

# Before any test module imports MindSpore.
prepare_cpu()

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def device() -> None:
    """Set up the CPU as the entry scripts do; MindSpore refuses it once an operator has run."""
    set_up_device("CPU", seed=0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference data beside the checkout; without it the test is skipped, but fails under CI=true."""
    path = REPOSITORY.parent / "shared"
    if not path.is_dir():
        message = f"the reference data in {path} are not here"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path
