"""Tests of the compiled operators are skipped where these cannot be used; under CI=true that is a failure."""

import os

import pytest

from src.cpu import library


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    """The library is there."""
    reason = library.why_not()
    if reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no kernels for CPUs: {reason}")
        pytest.skip(reason)
