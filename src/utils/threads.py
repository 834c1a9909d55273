"""Work in threads, without copying arrays: NumPy, OpenCV and pyarrow release the interpreter lock as they compute."""

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# More threads than cores only cost memory, and beyond eight the interpreter lock leaves nothing to gain.
_MOST_THREADS = 8
_END = object()
# How often a thread that waits looks whether anybody still wants its items, in seconds.
_PATIENCE = 0.1


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Apply a function to each item; the results are in the order of the items."""
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as pool:
        return list(pool.map(function, items))


def in_background(items: Iterable[Item], capacity: int) -> Iterator[Item]:
    """Yield the items of an iterable that a thread works off, at most `capacity` ahead.

    An exception of the iterable is raised here. When this generator is closed, the thread ends and closes the iterable.
    """
    waiting: queue.Queue = queue.Queue(capacity)
    stopped = threading.Event()

    def hand_over(entry: tuple[object, BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                waiting.put(entry, timeout=_PATIENCE)
                return
            except queue.Full:
                continue

    def work() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                hand_over((item, None))
                if stopped.is_set():
                    break
            hand_over((_END, None))
        except BaseException as error:
            hand_over((_END, error))
        finally:
            if hasattr(iterator, "close"):
                iterator.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
