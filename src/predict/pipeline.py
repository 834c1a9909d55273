"""Generators that run in threads of their own, joined by bounded queues."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
_END = object()
# How often a thread that waits looks whether anybody still wants its items, in seconds.
_PATIENCE = 0.1


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
