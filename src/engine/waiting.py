"""Waiting for data without being deaf to a stop."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

_POLL_SECONDS = 0.1


def until_stopped(items: Iterable[Item], stopped: Callable[[], bool]) -> Iterator[Item]:
    """Yield `items`, which a thread of its own fetches; end early when `stopped` while none has come.

    A loader waits in compiled code, where Python handles no signal; when its processes have died it waits for good.

    Raises:
        Whatever fetching an item raises.
    """
    fetched: queue.Queue = queue.Queue(1)

    def fetch() -> None:
        try:
            for item in items:
                fetched.put((item, None))
            fetched.put((None, StopIteration()))
        except Exception as error:
            fetched.put((None, error))

    threading.Thread(target=fetch, daemon=True).start()
    while True:
        try:
            item, error = fetched.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            if stopped():
                return
            continue
        if isinstance(error, StopIteration):
            return
        if error is not None:
            raise error
        yield item
