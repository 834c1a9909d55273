"""Fixtures of the network's tests."""

import contextlib
from collections.abc import Iterator

import mindspore as ms
import numpy as np
import pytest
from mindspore import ops


@pytest.fixture(scope="session")
def eager_works() -> None:
    """Get over MindSpore's first eager call with a tuple, which fails beside NumPy 2; later ones work."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    with contextlib.suppress(SystemError, ImportError):
        ops.transpose(ms.Tensor(np.zeros((1, 1), np.float32)), (1, 0))
    ms.set_context(mode=ms.GRAPH_MODE)


@pytest.fixture
def eager(eager_works: None) -> Iterator[None]:
    """Run operator by operator, which saves compiling a graph."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)
