"""The curves of a run: kept as numbers, shown as PNG and in TensorBoard."""

import json
from collections.abc import Sequence
from pathlib import Path

from src.utils.errors import UserError
from src.utils.outputs import OutputFiles
from src.utils.records import read_record

_Curves = dict[str, list[tuple[int, float]]]
_FILE = "scalars.json"
METRIC_FILES = (_FILE, "train_loss.png", "train_lr.png", "val_map.png")
"""The names of all files but TensorBoard's, which have names of their own."""


class MetricLogger:
    """Values over steps, by tag: `train/loss`, `train/lr`, `val/map`.

    Below the folder are scalars.json and TensorBoard's events, written at `flush`, and a PNG for each tag.

    Args:
        folder: of the run.
        tensorboard: also write TensorBoard's event files.
        start: the last step of the run that goes on; what an earlier run left of later steps is dropped.

    Raises:
        UserError: what the run left cannot be read.
    """

    def __init__(self, folder: Path, tensorboard: bool, start: int = 0):
        self._outputs = OutputFiles(folder)
        self._curves: _Curves = {}
        self._drawn = False
        path = folder / _FILE
        if start and path.is_file():
            earlier = _read_curves(path)
            self._curves = {tag: [point for point in curve if point[0] <= start] for tag, curve in earlier.items()}
        self._writer = None
        if tensorboard:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1 if start else None)

    def add(self, tag: str, step: int, value: float) -> None:
        """Note a value; `step` counts from 1 over the whole run."""
        self._curves.setdefault(tag, []).append((step, value))
        self._drawn = False
        if self._writer:
            self._writer.add_scalar(tag, value, step)

    def get(self, tag: str) -> list[tuple[int, float]]:
        """Return the (step, value) pairs of a tag."""
        return self._curves.get(tag, [])

    def flush(self) -> None:
        """Write the numbers."""
        with self._outputs.replacing(_FILE) as path:
            path.write_text(json.dumps(self._curves))
        if self._writer:
            self._writer.flush()

    def plot(self) -> None:
        """Draw the curves, unless that was done since the last value."""
        if self._drawn:
            return
        for tag, curve in self._curves.items():
            with self._outputs.replacing(f"{tag.replace('/', '_')}.png") as path:
                _plot(path, tag, curve)
        self._drawn = True

    def close(self) -> None:
        """Write and draw what there is, and end TensorBoard's file."""
        self.flush()
        self.plot()
        if self._writer:
            self._writer.close()


def _read_curves(path: Path) -> _Curves:
    try:
        return read_record(path, _Curves)
    except ValueError as error:
        raise UserError(f"{path}: cannot read the curves so far: {error}; move it to go on without them") from error


def _plot(path: Path, tag: str, curve: Sequence[Sequence[float]]) -> None:
    # Not pyplot, which keeps global state and looks for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5))  # its margins hold the labels; fitting them would take as long as drawing
    axes = figure.add_subplot(xlabel="step", ylabel=tag)
    steps, values = zip(*curve, strict=True)
    axes.plot(steps, values, marker="o" if len(curve) < 30 else None, markersize=3)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)
