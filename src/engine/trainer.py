"""The training loop."""

import contextlib
import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path

import mindspore as ms
import numpy as np
from fvcore.common.config import CfgNode
from mindspore import nn

from src.datasets.ava_dataset import AvaDataset
from src.datasets.build import Loader, build_train_loader
from src.engine import batch_norm, dropout
from src.engine.checkpointer import Checkpointer, Position, run_parameters
from src.engine.ema import ExponentialMovingAverage
from src.engine.evaluation import evaluate
from src.engine.gradients import build_clip
from src.engine.interrupt import StopRequest
from src.engine.metric_logger import MetricLogger
from src.engine.mixed_precision import build_scaler
from src.engine.train_step import INPUTS, AccumulatedStep, NetworkWithLoss, TrainStep
from src.engine.waiting import until_stopped
from src.models.losses import LOSSES
from src.models.lr_policy import batch_scale, learning_rates
from src.models.optimizer import build_optimizer
from src.utils.distributed import ProcessGroup
from src.utils.errors import UserError
from src.utils.logging import get_logger, log_json_stats, progress

_MAP = "val/map"


class Trainer:
    """Trains a network epoch by epoch, with checkpoints and evaluation in between.

    Args:
        cfg: the configuration.
        network: a `SlowFast`.
        dataset: the split `train`.
        group: the processes of the run; each has one device.
    """

    def __init__(self, cfg: CfgNode, network: nn.Cell, dataset: AvaDataset, group: ProcessGroup | None = None):
        self.cfg = cfg
        self.network = network
        self.dataset = dataset
        self.group = group or ProcessGroup()
        self.output = Path(cfg.OUTPUT_DIR)
        self.accumulate = cfg.TRAIN.ACCUMULATE_STEPS
        self.steps = len(self._loader(1)) // self.accumulate
        if not self.steps:
            raise UserError(
                f"{len(dataset)} key frames are fewer than the {self._clips_per_step} of one step "
                f"(TRAIN.BATCH_SIZE, TRAIN.ACCUMULATE_STEPS, devices)"
            )
        if cfg.BN.FREEZE_STATISTICS:
            batch_norm.freeze_statistics(network)
        self.rates = learning_rates(cfg, self.steps, self.group.size)
        optimizer = build_optimizer(cfg, network, self.rates)
        scaler = build_scaler(cfg)
        self.step = TrainStep(
            NetworkWithLoss(network, LOSSES[cfg.MODEL.LOSS_FUNC]), optimizer, scaler, build_clip(cfg), self.group.size
        )
        self._accumulated_step = AccumulatedStep(self.step) if self.accumulate > 1 else None
        self.ema = ExponentialMovingAverage(network, cfg.TRAIN.EMA_DECAY) if cfg.TRAIN.EMA_DECAY else None
        settings = {
            "RNG_SEED": cfg.RNG_SEED,
            "SOLVER.MAX_EPOCH": cfg.SOLVER.MAX_EPOCH,
            "clips a step": self._clips_per_step,
            "steps an epoch": self.steps,
        }
        parameters = run_parameters(network, optimizer, scaler, self.ema.averages if self.ema else ())
        self.checkpointer = Checkpointer(self.output / "checkpoints", parameters, settings, cfg.TRAIN.KEEP_CHECKPOINTS)

    def train(self, stop: StopRequest | None = None) -> bool:
        """Run all epochs, or what is left of them with TRAIN.AUTO_RESUME.

        Args:
            stop: checked before every step; when it is requested, a checkpoint is written and training ends.

        Returns:
            Whether all epochs are done.

        Raises:
            UserError: the loss is not finite, a frame cannot be read, or a checkpoint to resume from does not fit.
        """
        cfg, logger = self.cfg, get_logger()
        validation = AvaDataset(cfg, "val") if cfg.TRAIN.EVAL_PERIOD else None
        logger.info(
            "%d key frames, %d steps an epoch, %d epochs; learning rate x %g for %d clips a step",
            len(self.dataset),
            self.steps,
            cfg.SOLVER.MAX_EPOCH,
            batch_scale(cfg, self.group.size),
            self._clips_per_step,
        )
        resumed = self.checkpointer.restore(self.group) if cfg.TRAIN.AUTO_RESUME else None
        start = resumed or Position(1, 0)
        with self._metric_logger(self._steps_done(start)) as metrics:
            for epoch in range(start.epoch, cfg.SOLVER.MAX_EPOCH + 1):
                done = start.step if epoch == start.epoch else 0
                if done < self.steps and not self._train_epoch(epoch, done, metrics, stop):
                    return False
                self._end_epoch(epoch, validation, metrics)
        return True

    @property
    def _clips_per_step(self) -> int:
        return self.cfg.TRAIN.BATCH_SIZE * self.accumulate * self.group.size

    def _steps_done(self, position: Position) -> int:
        return (position.epoch - 1) * self.steps + position.step

    @contextlib.contextmanager
    def _metric_logger(self, start: int) -> Iterator[MetricLogger | None]:
        """Yield what keeps the curves, on the process that writes."""
        if not self.group.is_main:
            yield None
            return
        with contextlib.closing(MetricLogger(self.output, self.cfg.TRAIN.TENSORBOARD, start)) as metrics:
            yield metrics

    def _loader(self, epoch: int, done: int = 0) -> Loader:
        return build_train_loader(
            self.dataset, epoch - 1, self.group.rank, self.group.size, start_step=done * self.accumulate
        )

    def _inputs(self, batch: dict[str, np.ndarray], epoch: int) -> tuple[ms.Tensor, ...]:
        """Return the arguments of `NetworkWithLoss.construct`."""
        inputs = [batch[name] for name in INPUTS]
        rate = self.cfg.MODEL.DROPOUT_RATE
        if rate:
            features = self.network.head.num_features
            boxes = batch["mask"].shape[1]
            inputs.append(dropout.draw(batch["key"], boxes, features, rate, self.cfg.RNG_SEED, epoch - 1))
        return tuple(ms.Tensor(array) for array in inputs)

    def _update(self, batches: tuple[dict[str, np.ndarray], ...], epoch: int) -> float:
        inputs = [self._inputs(batch, epoch) for batch in batches]
        loss = self._accumulated_step(inputs) if self._accumulated_step else self.step(*inputs[0])
        if self.ema:
            self.ema()
        return float(loss)

    def _train_epoch(self, epoch: int, done: int, metrics: MetricLogger | None, stop: StopRequest | None) -> bool:
        """Train one epoch from step `done` on; return whether it came to its end."""
        self.step.set_train(True)
        # As many batches at a time as make a step.
        steps = zip(*[iter(self._loader(epoch, done))] * self.accumulate, strict=False)
        steps = until_stopped(steps, lambda: stop is not None and stop.requested)
        period, save_period = self.cfg.LOG_PERIOD, self.cfg.TRAIN.CHECKPOINT_STEPS
        mark = time.monotonic()
        data_time = network_time = 0.0
        shown = done
        for number in progress(range(done + 1, self.steps + 1), self.steps - done, f"epoch {epoch}"):
            batches = next(steps, None)
            # All stop at the same step.
            if self.group.all_reduce(float(batches is None or (stop is not None and stop.requested))):
                get_logger().info("asked to stop at epoch %d step %d", epoch, number - 1)
                self._save(Position(epoch, number - 1), metrics)
                return False
            data_time += time.monotonic() - mark
            mark = time.monotonic()
            loss = self._update(batches, epoch)
            network_time += time.monotonic() - mark
            mark = time.monotonic()
            rate = self.rates[self._steps_done(Position(epoch, number)) - 1]
            if not math.isfinite(loss):
                raise UserError(
                    f"epoch {epoch} step {number}: the loss is {loss} at learning rate {rate:g}; "
                    "lower SOLVER.BASE_LR or lengthen SOLVER.WARMUP_EPOCHS"
                )
            if number % period == 0 or number == self.steps:
                get_logger().info("epoch: %d step: %d, loss is %s", epoch, number, loss)
                log_json_stats(
                    mode="train",
                    epoch=epoch,
                    step=number,
                    loss=loss,
                    lr=rate,
                    data_time=data_time / (number - shown),
                    network_time=network_time / (number - shown),
                )
                data_time = network_time = 0.0
                shown = number
                if metrics:
                    step = self._steps_done(Position(epoch, number))
                    metrics.add("train/loss", step, loss)
                    metrics.add("train/lr", step, rate)
            # The end of an epoch saves on its own.
            if save_period and number % save_period == 0 and number < self.steps:
                self._save(Position(epoch, number), metrics)
        return True

    def _end_epoch(self, epoch: int, validation: AvaDataset | None, metrics: MetricLogger | None) -> None:
        """Do what is due after an epoch. It may come again after a resume, and changes nothing then."""
        cfg = self.cfg
        last = epoch == cfg.SOLVER.MAX_EPOCH
        save = last or epoch % cfg.TRAIN.CHECKPOINT_PERIOD == 0
        score = validation is not None and (last or epoch % cfg.TRAIN.EVAL_PERIOD == 0)
        if cfg.BN.USE_PRECISE_STATS and (save or score):
            self._compute_precise_statistics(epoch)
        if save:
            self._save(Position(epoch, self.steps), metrics)
        if score:
            self._evaluate(epoch, validation, metrics)
        if metrics:
            metrics.plot()

    def _compute_precise_statistics(self, epoch: int) -> None:
        self.step.set_train(True)
        batches = itertools.islice(self._loader(epoch), self.cfg.BN.NUM_BATCHES_PRECISE)
        inputs = (self._inputs(batch, epoch) for batch in batches)
        batch_norm.update_statistics(self.network, self.step.gradients.loss, inputs, self.cfg.BN.MOMENTUM, self.group)

    def _evaluate(self, epoch: int, validation: AvaDataset, metrics: MetricLogger | None) -> None:
        step = self._steps_done(Position(epoch, self.steps))
        known = metrics is not None and any(point[0] == step for point in metrics.get(_MAP))
        if self.group.all_reduce(float(known)):
            return
        with self.ema.applied() if self.ema else contextlib.nullcontext():
            # Batch norm's statistics are of each device's own clips; those of the first are the run's.
            self.group.broadcast(self.network.get_parameters())
            result = evaluate(self.cfg, self.network, validation, "val", self.output, self.group)
            if metrics and math.isfinite(result.map):
                if all(result.map > value for _, value in metrics.get(_MAP)):
                    self.checkpointer.save_best(self.network)
                metrics.add(_MAP, step, result.map)
                metrics.flush()

    def _save(self, position: Position, metrics: MetricLogger | None) -> None:
        if metrics:
            self.checkpointer.save(position)
            metrics.flush()
        # None leaves, and so ends the run, before the checkpoint is there.
        self.group.barrier()
