"""What a training says while it runs: a line every so many steps, curves, and a summary at the end."""

import math
import time

from tqdm import tqdm

from src.engine.metric_logger import MetricLogger
from src.utils.logging import get_logger, log_json_stats


class StepTimer:
    """Splits the time of steps into waiting for data and computing, and averages it between two reports."""

    def __init__(self) -> None:
        self._mark = time.monotonic()
        self._data_seconds = self._network_seconds = 0.0
        self._steps = 0

    def data_arrived(self) -> None:
        """Note that the batches of a step are there."""
        self._data_seconds += self._lap()

    def step_done(self) -> None:
        """Note that the step has been computed."""
        self._network_seconds += self._lap()
        self._steps += 1

    def averages(self) -> dict[str, float]:
        """Return data_time and network_time in seconds a step since the last call."""
        averages = {
            "data_time": self._data_seconds / self._steps,
            "network_time": self._network_seconds / self._steps,
        }
        self._data_seconds = self._network_seconds = 0.0
        self._steps = 0
        return averages

    def _lap(self) -> float:
        now = time.monotonic()
        seconds, self._mark = now - self._mark, now
        return seconds


class StepLog:
    """Reports the steps of one epoch.

    Args:
        epoch: counted from 1.
        first_step: number of the epoch's first step in the whole run, less one.
        steps: of the epoch.
        period: steps from one line to the next; the last step always has one.
        metrics: keeps the curves; None on processes that do not write.
    """

    def __init__(self, epoch: int, first_step: int, steps: int, period: int, metrics: MetricLogger | None):
        self.timer = StepTimer()
        self._epoch = epoch
        self._first_step = first_step
        self._steps = steps
        self._period = period
        self._metrics = metrics

    def report(self, step: int, loss: float, rate: float, bar: tqdm) -> None:
        """Report a step; `step` counts from 1 within the epoch."""
        bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        if step % self._period and step != self._steps:
            return
        get_logger().debug("epoch: %d step: %d, loss is %s", self._epoch, step, loss)
        log_json_stats(mode="train", epoch=self._epoch, step=step, loss=loss, lr=rate, **self.timer.averages())
        if self._metrics:
            self._metrics.add("train/loss", self._first_step + step, loss)
            self._metrics.add("train/lr", self._first_step + step, rate)


def log_epoch(epoch: int, epochs: int, loss: float | None, score: float | None) -> None:
    """Log one line about an epoch, for a person: its last loss, and its mAP where it was scored."""
    parts = [f"epoch {epoch}/{epochs}"]
    if loss is not None:
        parts.append(f"loss {loss:.4f}")
    if score is not None:
        parts.append("mAP not defined: no class has ground truth" if math.isnan(score) else f"mAP {score:.4f}")
    get_logger().info(", ".join(parts))
