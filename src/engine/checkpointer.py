"""The checkpoints of a run: written whole, found again, and restored so that the run goes on as if undisturbed."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn

from src.checkpoint.mindspore_format import load_checkpoint, save_checkpoint
from src.utils.distributed import ProcessGroup
from src.utils.errors import UserError
from src.utils.logging import get_logger

_NAME = re.compile(r"slowfast-(\d+)_(\d+)\.ckpt")
_BEST = "slowfast-best.ckpt"
# What a checkpoint holds beside weights has these first letters; nothing of the network has.
_OPTIMIZER, _SCALER, _AVERAGE, _RUN = "optimizer.", "loss_scale.", "ema.", "run"
# Of the optimizer's own parameters, those that a configuration gives.
_CONFIGURED = re.compile(r"(learning_rate|momentum)")


@dataclass(frozen=True)
class Position:
    """How far a run has come: `step` steps of `epoch`, which counts from 1, are done."""

    epoch: int
    step: int


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


def averaged_weights(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the weights that TRAIN.EMA_DECAY averaged, by the network's names, from a checkpoint of a run.

    Raises:
        UserError: an unfit file, or one without averages.
    """
    arrays = load_checkpoint(path)
    averages = {name[len(_AVERAGE) :]: array for name, array in arrays.items() if name.startswith(_AVERAGE)}
    if not averages:
        raise UserError(f"{path}: holds no averaged weights (TRAIN.EMA_DECAY); set TEST.USE_EMA False")
    return averages


class Checkpointer:
    """The checkpoints below one folder.

    Args:
        folder: where they are.
        parameters: what they hold, see `run_parameters`.
        settings: what must not change when a run goes on, by configuration key.
        keep: how many to keep, the newest; 0: all.
    """

    def __init__(self, folder: Path, parameters: dict[str, ms.Parameter], settings: Mapping[str, object], keep: int):
        self.folder = folder
        self._parameters = parameters
        self._settings = dict(settings)
        self._keep = keep

    def save(self, position: Position) -> None:
        """Write a checkpoint, and remove those that are too many."""
        path = self.folder / f"slowfast-{position.epoch}_{position.step}.ckpt"
        record = json.dumps({"epoch": position.epoch, "step": position.step, "settings": self._settings})
        arrays = {name: parameter.asnumpy() for name, parameter in self._parameters.items()}
        save_checkpoint({**arrays, _RUN: np.frombuffer(record.encode(), np.uint8)}, path)
        get_logger().info("wrote %s", path)
        if self._keep:
            for old in self._found()[self._keep :]:
                old.unlink()

    def save_best(self, network: nn.Cell) -> None:
        """Write the weights that scored best so far."""
        path = self.folder / _BEST
        save_checkpoint({name: parameter.asnumpy() for name, parameter in network.parameters_dict().items()}, path)
        get_logger().info("wrote %s", path)

    def restore(self, group: ProcessGroup) -> Position | None:
        """Load the newest whole checkpoint on every device; damaged ones are passed over with a warning.

        Returns:
            Where the run stood; None if there is no checkpoint.

        Raises:
            UserError: the checkpoint is of a run with other settings.
        """
        answer = {}
        if group.is_main:
            try:
                answer = self._restore_newest()
            except UserError as error:
                answer = {"error": str(error)}
        answer = json.loads(group.gather(json.dumps(answer).encode())[0])
        if "error" in answer:
            raise UserError(answer["error"])
        if not answer:
            return None
        group.broadcast(self._parameters.values())
        return Position(**answer)

    def _restore_newest(self) -> dict[str, int]:
        for path in self._found():
            try:
                arrays = load_checkpoint(path)
            except UserError as error:
                get_logger().warning("left out: %s", error)
                continue
            if _RUN not in arrays:
                get_logger().warning("left out: %s: holds weights only", path)
                continue
            record = json.loads(arrays.pop(_RUN).tobytes())
            self._check(path, record["settings"], arrays)
            for name, parameter in self._parameters.items():
                parameter.set_data(ms.Tensor(arrays[name]))
            get_logger().info("resumed from %s", path)
            return {"epoch": record["epoch"], "step": record["step"]}
        return {}

    def _check(self, path: Path, settings: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
        """Raise unless the run can go on from a checkpoint."""
        advice = "give this run another OUTPUT_DIR, or set TRAIN.AUTO_RESUME False"
        for key, value in self._settings.items():
            if settings.get(key) != value:
                raise UserError(f"{path}: of a run with {key} {settings.get(key)}, this one has {value}; {advice}")
        for name, parameter in self._parameters.items():
            shape = arrays[name].shape if name in arrays else None
            if shape != tuple(parameter.shape):
                found = "is not in it" if shape is None else f"has shape {shape} in it"
                raise UserError(f"{path}: {name} {found}, expected shape {tuple(parameter.shape)}; {advice}")

    def _found(self) -> list[Path]:
        """Return the checkpoints, the newest first."""
        names = [(path, _NAME.fullmatch(path.name)) for path in self.folder.glob("*.ckpt")]
        paths = [(int(match[1]), int(match[2]), path) for path, match in names if match]
        return [path for _, _, path in sorted(paths, reverse=True)]
