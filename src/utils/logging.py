"""What runs print: plain lines, json_stats lines, and a progress bar on a terminal.

There is one logger, that of the package: modules that log by `logging.getLogger(__name__)` are below it. What a person
need not read (a line for every step) has the level DEBUG: it goes to the log file, and to standard output only where
that is no terminal, because a launcher keeps it.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import simplejson
from tqdm import tqdm

from src.utils.distributed import ProcessGroup

LOGGER_NAME = "src"
_FORMAT = logging.Formatter("%(message)s")


class _TqdmHandler(logging.Handler):
    """Prints lines above a progress bar, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()


def get_logger() -> logging.Logger:
    """Return the package's logger, which prints bare lines on standard output."""
    logger = logging.getLogger(LOGGER_NAME)
    if not logger.handlers:
        handler = _TqdmHandler(logging.INFO if sys.stdout.isatty() else logging.DEBUG)
        handler.setFormatter(_FORMAT)
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
    return logger


@contextlib.contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Append all that is logged meanwhile to a file as well."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_FORMAT)
    get_logger().addHandler(handler)
    try:
        yield
    finally:
        get_logger().removeHandler(handler)
        handler.close()


def log_json_stats(**stats: object) -> None:
    """Log `json_stats: {...}`, the keys sorted, floats with six digits, as PySlowFast's logs have it."""
    rounded = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in stats.items()}
    get_logger().debug("json_stats: %s", simplejson.dumps(rounded, sort_keys=True, ignore_nan=True))


def progress(iterable, total: int, description: str) -> tqdm:
    """Wrap an iterable in a progress bar, shown on a terminal only."""
    return tqdm(iterable, total=total, desc=description, leave=False, disable=None, dynamic_ncols=True)


def log_on_main_only(group: ProcessGroup) -> None:
    """Keep all processes but the first quiet, so that a warning is there once."""
    get_logger().setLevel(logging.DEBUG if group.is_main else logging.ERROR)
