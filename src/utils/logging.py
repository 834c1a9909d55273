"""What runs print: plain lines, json_stats lines, and a progress bar on a terminal."""

import logging
import sys

import simplejson
from tqdm import tqdm

from src.utils.distributed import ProcessGroup

LOGGER_NAME = "slowfast"


class _TqdmHandler(logging.Handler):
    """Prints lines above a progress bar, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()


def get_logger() -> logging.Logger:
    """Return the package's logger, which prints bare lines on standard output."""
    logger = logging.getLogger(LOGGER_NAME)
    if not logger.handlers:
        handler = _TqdmHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return logger


def log_json_stats(**stats: object) -> None:
    """Print `json_stats: {...}`, the keys sorted, floats with six digits, as PySlowFast's logs have it."""
    rounded = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in stats.items()}
    get_logger().info("json_stats: %s", simplejson.dumps(rounded, sort_keys=True, ignore_nan=True))


def progress(iterable, total: int, description: str):
    """Wrap an iterable in a progress bar, shown on a terminal only."""
    return tqdm(iterable, total=total, desc=description, leave=False, disable=None, dynamic_ncols=True)


def log_on_main_only(group: ProcessGroup) -> None:
    """Keep all processes but the first quiet, up to warnings."""
    get_logger().setLevel(logging.INFO if group.is_main else logging.WARNING)
