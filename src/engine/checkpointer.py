"""The checkpoints of a run: written whole, found again, and restored so that the run goes on as if undisturbed."""

import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path

import mindspore as ms
import numpy as np
import pydantic
from mindspore import nn

from src.checkpoint.class_names import with_class_names
from src.checkpoint.mindspore_format import load_checkpoint, save_checkpoint
from src.utils.distributed import ProcessGroup
from src.utils.errors import UserError
from src.utils.files import write_atomic
from src.utils.logging import get_logger
from src.utils.outputs import OutputFiles
from src.utils.records import parse_record, read_record

_NAME = re.compile(r"slowfast-(\d+)_(\d+)\.ckpt")
_RECORD = "run.json"
# What a checkpoint holds beside weights has these first letters; nothing of the network has.
_OPTIMIZER, _SCALER, _AVERAGE, _RUN = "optimizer.", "loss_scale.", "ema.", "run"
# Of the optimizer's own parameters, those that a configuration gives.
_CONFIGURED = re.compile(r"(learning_rate|momentum)")
_ADVICE = "give this run another OUTPUT_DIR, or set TRAIN.AUTO_RESUME False"


def run_parameters(
    network: nn.Cell, optimizer: nn.Optimizer, scaler: ms.amp.LossScaler | None, averages: tuple[ms.Parameter, ...] = ()
) -> dict[str, ms.Parameter]:
    """Return all that changes during a training, by its names in a checkpoint.

    The learning rate follows from the optimizer's count of steps. Random choices and the order of samples follow
    from seed, epoch and sample.

    Args:
        network: its parameters keep their names.
        optimizer: momentum and the count of steps.
        scaler: a dynamic one changes.
        averages: averaged weights, under their own names.
    """
    parameters = dict(network.parameters_dict())
    weights = set(parameters)
    for parameter in optimizer.get_parameters():
        if parameter.name not in weights and not _CONFIGURED.match(parameter.name):
            parameters[_OPTIMIZER + parameter.name] = parameter
    if isinstance(scaler, ms.amp.DynamicLossScaler):
        parameters |= {f"{_SCALER}{parameter.name}": parameter for parameter in (scaler.scale_value, scaler.counter)}
    return parameters | {parameter.name: parameter for parameter in averages}


def averaged_weights(arrays: Mapping[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    """Return the weights that TRAIN.EMA_DECAY averaged, by the network's names, from a run's checkpoint.

    Args:
        arrays: of the checkpoint.
        source: what to call it.

    Raises:
        UserError: it holds no averages.
    """
    averages = {name[len(_AVERAGE) :]: array for name, array in arrays.items() if name.startswith(_AVERAGE)}
    if not averages:
        raise UserError(f"{source}: holds no averaged weights (TRAIN.EMA_DECAY); set TEST.USE_EMA False")
    return averages


class _Stamp(pydantic.BaseModel):
    """What tells a file from another that was put in its place."""

    name: str
    bytes: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> "_Stamp":
        stat = path.stat()
        return cls(name=path.name, bytes=stat.st_size, changed=stat.st_mtime_ns)


class _Record(pydantic.BaseModel):
    """run.json: the checkpoints that a run has written, the oldest first."""

    run: str
    checkpoints: list[_Stamp]


class _Progress(pydantic.BaseModel):
    """What a checkpoint says of its run; `run` is missing in those of early versions."""

    run: str | None = None
    epoch: int
    step: int
    settings: dict[str, object]


class Checkpointer:
    """The checkpoints of a run below one folder.

    A file run.json beside them says which of them the run has written. What else lies there, of an earlier run or of
    anybody, is never removed and never resumed from.

    Args:
        folder: where they are.
        parameters: what they hold, see `run_parameters`.
        settings: what must not change when a run goes on, by name.
        keep: how many to keep, the newest; 0: all.
        class_names: class name by class id; empty: not known.
    """

    def __init__(
        self,
        folder: Path,
        parameters: dict[str, ms.Parameter],
        settings: Mapping[str, object],
        keep: int,
        class_names: Mapping[int, str],
    ):
        self.folder = folder
        self._outputs = OutputFiles(folder)
        self._reached: tuple[int, int] | None = None
        self._parameters = parameters
        self._settings = dict(settings)
        self._keep = keep
        self._class_names = class_names
        self._run = uuid.uuid4().hex
        # What this run has written, the oldest first.
        self._written: list[_Stamp] = []

    def path(self, epoch: int, step: int) -> Path:
        """Return the path of the checkpoint after `step` steps of `epoch`, which counts from 1."""
        return self.folder / f"slowfast-{epoch}_{step}.ckpt"

    @property
    def best_path(self) -> Path:
        """The path of the weights that scored best."""
        return self.folder / "slowfast-best.ckpt"

    def save(self, epoch: int, step: int) -> None:
        """Write a checkpoint, and remove those of this run that are too many; the one that was restored stays.

        Raises:
            UserError: a file of that name is there that is not this program's.
        """
        if (epoch, step) == self._reached:
            return
        path = self.path(epoch, step)
        progress = _Progress(run=self._run, epoch=epoch, step=step, settings=self._settings)
        arrays = {name: parameter.asnumpy() for name, parameter in self._parameters.items()}
        arrays[_RUN] = np.frombuffer(progress.model_dump_json().encode(), np.uint8)
        with self._outputs.replacing(path.name) as temporary:
            save_checkpoint(with_class_names(arrays, self._class_names), temporary)
        get_logger().debug("wrote %s", path)
        self._written = [entry for entry in self._written if entry.name != path.name] + [_Stamp.of(path)]
        if self._keep:
            for entry in self._written[: -self._keep]:
                old = self.folder / entry.name
                # Somebody may have put another file in its place.
                if old.is_file() and _Stamp.of(old) == entry:
                    old.unlink()
            self._written = self._written[-self._keep :]
        write_atomic(self.folder / _RECORD, _Record(run=self._run, checkpoints=self._written).model_dump_json())

    def save_best(self, network: nn.Cell) -> None:
        """Write the weights that scored best so far."""
        weights = {name: parameter.asnumpy() for name, parameter in network.parameters_dict().items()}
        with self._outputs.replacing(self.best_path.name) as path:
            save_checkpoint(with_class_names(weights, self._class_names), path)
        get_logger().debug("wrote %s", self.best_path)

    def restore(self, group: ProcessGroup) -> tuple[int, int] | None:
        """Load the run's newest whole checkpoint on every device; damaged ones are passed over with a warning.

        Returns:
            Epoch, counted from 1, and how many of its steps were done; None if there is no checkpoint.

        Raises:
            UserError: the checkpoint is of a run with other settings.
        """
        reached = group.on_main(self._restore_newest)
        if reached is None:
            return None
        group.broadcast(self._parameters.values())
        self._reached = tuple(reached)
        return self._reached

    def check_free(self, epochs: int, steps: int, source: str) -> None:
        """Check that the run can write all its checkpoints, from where it stands.

        Args:
            epochs: how many the run has.
            steps: of each epoch.
            source: the checkpoint whose weights it starts from; empty: none.

        Raises:
            UserError: a file of such a name is there that is not this program's, or that the run starts from.
        """
        start = self._reached or (0, 0)
        names = [
            path.name
            for path in self._by_progress()
            for reached in [tuple(map(int, _NAME.fullmatch(path.name).groups()))]
            if start < reached <= (epochs, steps) and reached[1] <= steps
        ]
        names.append(self.best_path.name)
        if not self._has_own_record():
            names.append(_RECORD)
        self._outputs.check(*names)
        paths = [self.folder / name for name in names]
        if source and any(path.exists() and path.samefile(source) for path in paths):
            raise UserError(f"{source}: the run starts from it, and would replace it: give the run another OUTPUT_DIR")

    def _has_own_record(self) -> bool:
        """Whether run.json is absent, or a record of checkpoints."""
        try:
            read_record(self.folder / _RECORD, _Record)
        except FileNotFoundError:
            return True
        except ValueError:
            return False
        return True

    def warn_of_earlier_run(self) -> None:
        """Say that a run which starts from the beginning finds another one's checkpoints."""
        earlier = [path.name for path in self._by_progress()]
        if earlier:
            get_logger().warning(
                "%s: holds %d checkpoints of an earlier run, the last is %s; they stay, but for names that come again",
                self.folder,
                len(earlier),
                earlier[0],
            )

    def _restore_newest(self) -> tuple[int, int] | None:
        for path in self._candidates():
            try:
                arrays = load_checkpoint(path)
            except UserError as error:
                get_logger().warning("left out: %s", error)
                if self._written and path.is_file():
                    self._outputs.adopt(path.name)  # the run's own, which it will write again
                continue
            if _RUN not in arrays:
                get_logger().warning("left out: %s: holds weights only", path)
                continue
            progress = self._progress(path, arrays.pop(_RUN))
            if self._written and progress.run != self._run:
                get_logger().warning("left out: %s: of another run than the rest", path)
                continue
            self._check(path, progress.settings, arrays)
            for name, parameter in self._parameters.items():
                parameter.set_data(ms.Tensor(arrays[name]))
            self._run = progress.run or self._run
            get_logger().info("resumed from %s", path)
            return progress.epoch, progress.step
        # Nothing to go on from: a run of its own begins.
        self._run, self._written = uuid.uuid4().hex, []
        return None

    def _candidates(self) -> list[Path]:
        """Return the checkpoints of the run that wrote last, the newest first."""
        try:
            record = read_record(self.folder / _RECORD, _Record)
        except FileNotFoundError:
            return self._by_progress()
        except ValueError as error:
            raise UserError(f"{self.folder / _RECORD}: cannot be read: {error}; remove it to resume by name") from error
        self._run, self._written = record.run, record.checkpoints
        return [self.folder / entry.name for entry in reversed(self._written)]

    def _by_progress(self) -> list[Path]:
        """Return all checkpoints in the folder, the furthest first."""
        names = [(path, _NAME.fullmatch(path.name)) for path in self.folder.glob("*.ckpt")]
        paths = [(int(match[1]), int(match[2]), path) for path, match in names if match]
        return [path for _, _, path in sorted(paths, reverse=True)]

    def _progress(self, path: Path, content: np.ndarray) -> _Progress:
        try:
            return parse_record(content.tobytes(), _Progress)
        except ValueError as error:
            raise UserError(f"{path}: says of its run what this version cannot read: {error}; {_ADVICE}") from error

    def _check(self, path: Path, settings: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
        """Raise unless the run can go on from a checkpoint."""
        # As JSON has them: its lists are no tuples.
        present = json.loads(json.dumps(self._settings))
        differing = [
            f"{name} was {settings[name]}, now it is {value}"
            for name, value in present.items()
            if name in settings and settings[name] != value
        ]
        if differing:
            raise UserError(f"{path}: of a run with other settings: {'; '.join(differing)}; {_ADVICE}")
        for name, parameter in self._parameters.items():
            shape = arrays[name].shape if name in arrays else None
            if shape != tuple(parameter.shape):
                found = "is not in it" if shape is None else f"has shape {shape} in it"
                raise UserError(f"{path}: {name} {found}, expected shape {tuple(parameter.shape)}; {_ADVICE}")
