"""Work on all cores without copying arrays: NumPy and pyarrow release the interpreter lock while they compute."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# More threads than cores only cost memory, and beyond eight the interpreter lock leaves nothing to gain.
_MOST_THREADS = 8


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Apply a function to each item; the results are in the order of the items."""
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as pool:
        return list(pool.map(function, items))
