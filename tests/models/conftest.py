"""Fixtures of the network's tests."""

from collections.abc import Iterator

import mindspore as ms
import pytest


@pytest.fixture
def eager() -> Iterator[None]:
    """Run operator by operator, which saves compiling a graph."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)
