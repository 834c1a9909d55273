"""The training loop."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import mindspore as ms
import numpy as np
from fvcore.common.config import CfgNode
from mindspore import nn

from src.datasets.ava_dataset import AvaDataset
from src.datasets.build import Loader, build_test_loader, build_train_loader
from src.datasets.kinds import build_dataset
from src.engine import batch_norm, dropout, mixup
from src.engine.checkpointer import Checkpointer, run_parameters
from src.engine.ema import ExponentialMovingAverage
from src.engine.evaluation import evaluate, result_files, write_result
from src.engine.gradients import build_clip
from src.engine.interrupt import StopRequest
from src.engine.metric_logger import METRIC_FILES, MetricLogger
from src.engine.mixed_precision import build_scaler
from src.engine.output_folder import locked, make_output_folder
from src.engine.progress_log import StepLog, log_epoch
from src.engine.run_settings import run_settings
from src.engine.train_step import INPUTS, AccumulatedStep, NetworkWithLoss, TrainStep
from src.engine.waiting import until_stopped
from src.evaluation.ava_metric import AvaEvaluator
from src.evaluation.build import build_evaluator
from src.models.losses import build_loss
from src.models.lr_policy import batch_scale, learning_rates
from src.models.optimizer import build_optimizer
from src.utils.distributed import ProcessGroup
from src.utils.errors import UserError
from src.utils.logging import get_logger, logged_to, progress
from src.utils.outputs import OutputFiles

LOG_FILE = "log.txt"
Batch = dict[str, np.ndarray]

_MAP = "val/map"


class Trainer:
    """Trains a network epoch by epoch, with checkpoints and evaluation in between.

    All that a run needs is built and read here: the validation split, the evaluator and its files, and OUTPUT_DIR,
    which is made and tried. What does not fit ends a run before its first step.

    Args:
        cfg: the configuration.
        network: a `SlowFast`.
        dataset: the split `train`.
        group: the processes of the run; each has one device.
        class_names: class name by class id, kept in checkpoints; empty: not known.

    Raises:
        UserError: files of the validation split or of the evaluator that do not fit, or an OUTPUT_DIR that cannot be
            written.
    """

    def __init__(
        self,
        cfg: CfgNode,
        network: nn.Cell,
        dataset: AvaDataset,
        group: ProcessGroup | None = None,
        class_names: Mapping[int, str] | None = None,
    ):
        self.cfg = cfg
        self.network = network
        self.dataset = dataset
        self.group = group or ProcessGroup()
        self.output = Path(cfg.OUTPUT_DIR)
        self._outputs = OutputFiles(self.output)
        self.accumulate = cfg.TRAIN.ACCUMULATE_STEPS
        self.steps = len(self._loader(1)) // self.accumulate
        if not self.steps:
            raise UserError(
                f"{len(dataset)} key frames are fewer than the {self._clips_per_step} of one step "
                f"(TRAIN.BATCH_SIZE, TRAIN.ACCUMULATE_STEPS, devices)"
            )
        make_output_folder(self.output, self.group)
        self._validation = self._build_validation() if cfg.TRAIN.EVAL_PERIOD else None
        if cfg.BN.FREEZE_STATISTICS:
            batch_norm.freeze_statistics(network)
        self.rates = learning_rates(cfg, self.steps, self.group.size)
        optimizer = build_optimizer(cfg, network, self.rates)
        scaler = build_scaler(cfg)
        counts = dataset.key_frames.class_counts(cfg.MODEL.NUM_CLASSES)
        loss = NetworkWithLoss(network, build_loss(cfg, counts), cfg.LOSS.IGNORE_UNLABELED)
        self.step = TrainStep(loss, optimizer, scaler, build_clip(cfg), self.group.size)
        self._accumulated_step = AccumulatedStep(self.step) if self.accumulate > 1 else None
        self.ema = ExponentialMovingAverage(network, cfg.TRAIN.EMA_DECAY) if cfg.TRAIN.EMA_DECAY else None
        names = class_names or {}
        self.checkpointer = Checkpointer(
            self.output / "checkpoints",
            run_parameters(network, optimizer, scaler, self.ema.averages if self.ema else ()),
            run_settings(cfg, dataset, names, self._clips_per_step, self.steps),
            cfg.TRAIN.KEEP_CHECKPOINTS,
            names,
        )

    def train(self, stop: StopRequest | None = None) -> bool:
        """Run all epochs, or what is left of them with TRAIN.AUTO_RESUME.

        Args:
            stop: checked before every step; when it is requested, a checkpoint is written and training ends.

        Returns:
            Whether all epochs are done.

        Raises:
            UserError: another run, or a file that is not this program's, is in OUTPUT_DIR; the loss is not finite, a
                frame cannot be read, or a checkpoint to resume from does not fit.
        """
        with locked(self.output, self.group), self._log_file():
            get_logger().info(
                "%d key frames, %d steps an epoch, %d epochs; learning rate x %g for %d clips a step",
                len(self.dataset),
                self.steps,
                self.cfg.SOLVER.MAX_EPOCH,
                batch_scale(self.cfg, self.group.size),
                self._clips_per_step,
            )
            self._tell_labels()
            reached = self.checkpointer.restore(self.group) if self.cfg.TRAIN.AUTO_RESUME else None
            epochs, source = self.cfg.SOLVER.MAX_EPOCH, self.cfg.TRAIN.CHECKPOINT_FILE_PATH
            self.group.on_main(lambda: self.checkpointer.check_free(epochs, self.steps, source))
            if reached is None:
                self.checkpointer.warn_of_earlier_run()
            epoch, step = reached or (1, 0)
            with self._metric_logger(self._number(epoch, step)) as metrics:
                finished = self._train_epochs(epoch, step, metrics, stop)
                if finished:
                    self._log_summary(metrics)
                return finished

    def _tell_labels(self) -> None:
        """Warn where boxes have another number of labels than a loss takes them to have."""
        counts = np.diff(self.dataset.key_frames.label_start)
        several, none = int((counts > 1).sum()), int((counts == 0).sum())
        if self.cfg.MODEL.LOSS_FUNC == "cross_entropy" and (several or none):
            get_logger().warning(
                "MODEL.LOSS_FUNC cross_entropy takes classes to exclude each other, but of %d boxes %d have several, "
                "which share the probability, and %d have none, from which nothing is learned",
                len(counts),
                several,
                none,
            )

    def _train_epochs(self, epoch: int, step: int, metrics: MetricLogger | None, stop: StopRequest | None) -> bool:
        """Train from step `step` of `epoch` on; return whether all epochs are done."""
        for number in range(epoch, self.cfg.SOLVER.MAX_EPOCH + 1):
            done = step if number == epoch else 0
            loss = None
            if done < self.steps:
                loss = self._train_epoch(number, done, metrics, stop)
                if loss is None:
                    return False
            self._end_epoch(number, loss, metrics)
        return True

    def _train_epoch(
        self, epoch: int, done: int, metrics: MetricLogger | None, stop: StopRequest | None
    ) -> float | None:
        """Train one epoch from step `done` on; return the last loss, None if it was asked to stop."""
        self.step.set_train(True)
        batches = self._batches_of_steps(epoch, done, stop)
        log = StepLog(epoch, self._number(epoch, 0), self.steps, self.cfg.LOG_PERIOD, metrics)
        bar = progress(range(done + 1, self.steps + 1), self.steps - done, f"epoch {epoch}")
        loss = math.nan
        for step in bar:
            arrived = next(batches, None)
            # All stop at the same step.
            if self.group.all_reduce(float(arrived is None or (stop is not None and stop.requested))):
                bar.close()
                get_logger().info("asked to stop at epoch %d step %d", epoch, step - 1)
                self._save(epoch, step - 1, metrics)
                return None
            log.timer.data_arrived()
            loss = self._update(arrived, epoch)
            log.timer.step_done()
            rate = self.rates[self._number(epoch, step) - 1]
            _check_finite(loss, epoch, step, rate)
            log.report(step, loss, rate, bar)
            # The end of an epoch saves on its own.
            if self.cfg.TRAIN.CHECKPOINT_STEPS and step % self.cfg.TRAIN.CHECKPOINT_STEPS == 0 and step < self.steps:
                self._save(epoch, step, metrics)
        return loss

    def _end_epoch(self, epoch: int, loss: float | None, metrics: MetricLogger | None) -> None:
        """Do what is due after an epoch. It may come again after a resume, and changes nothing then."""
        cfg = self.cfg
        last = epoch == cfg.SOLVER.MAX_EPOCH
        save = last or epoch % cfg.TRAIN.CHECKPOINT_PERIOD == 0
        score = self._validation is not None and (last or epoch % cfg.TRAIN.EVAL_PERIOD == 0)
        if cfg.BN.USE_PRECISE_STATS and (save or score):
            self._compute_precise_statistics(epoch)
        if save:
            self._save(epoch, self.steps, metrics)
        average_precision = self._evaluate(epoch, metrics) if score else None
        log_epoch(epoch, cfg.SOLVER.MAX_EPOCH, loss, average_precision)
        if metrics:
            metrics.plot()

    @property
    def _clips_per_step(self) -> int:
        return self.cfg.TRAIN.BATCH_SIZE * self.accumulate * self.group.size

    def _number(self, epoch: int, step: int) -> int:
        """Return the number of a step in the whole run, from 1; `epoch` and `step` count from 1."""
        return (epoch - 1) * self.steps + step

    def _build_validation(self) -> tuple[Loader, AvaEvaluator]:
        dataset = build_dataset(self.cfg, "val")
        evaluator = build_evaluator(self.cfg, dataset.frames.names, dataset.second_stride)
        return build_test_loader(dataset, self.group.rank, self.group.size), evaluator

    @contextlib.contextmanager
    def _log_file(self) -> Iterator[None]:
        """Keep what is logged in OUTPUT_DIR, on the process that writes, if all that is to be written there may be."""

        def claim() -> None:
            self._outputs.check(*METRIC_FILES, *result_files("val"))
            self._outputs.claim(LOG_FILE)

        self.group.on_main(claim)
        with logged_to(self.output / LOG_FILE) if self.group.is_main else contextlib.nullcontext():
            yield

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

    def _batches_of_steps(self, epoch: int, done: int, stop: StopRequest | None) -> Iterator[tuple[Batch, ...]]:
        """Yield as many batches at a time as make a step; end early when asked to stop while none has come."""
        steps = zip(*[iter(self._loader(epoch, done))] * self.accumulate, strict=False)
        return until_stopped(steps, lambda: stop is not None and stop.requested)

    def _inputs(self, batch: Batch, epoch: int) -> tuple[ms.Tensor, ...]:
        """Return the arguments of `NetworkWithLoss.construct`."""
        if self.cfg.TRAIN.MIXUP_ALPHA:
            batch = mixup.mix(batch, self.cfg.TRAIN.MIXUP_ALPHA, self.cfg.RNG_SEED, epoch - 1)
        inputs = [batch[name] for name in INPUTS]
        rate = self.cfg.MODEL.DROPOUT_RATE
        if rate:
            boxes, features = batch["mask"].shape[1], self.network.head.num_features
            inputs.append(dropout.draw(batch["key"], boxes, features, rate, self.cfg.RNG_SEED, epoch - 1))
        return tuple(ms.Tensor(array) for array in inputs)

    def _update(self, batches: tuple[Batch, ...], epoch: int) -> float:
        inputs = [self._inputs(batch, epoch) for batch in batches]
        loss = self._accumulated_step(inputs) if self._accumulated_step else self.step(*inputs[0])
        if self.ema:
            self.ema()
        return float(loss)

    def _compute_precise_statistics(self, epoch: int) -> None:
        self.step.set_train(True)
        batches = itertools.islice(self._loader(epoch), self.cfg.BN.NUM_BATCHES_PRECISE)
        inputs = (self._inputs(batch, epoch) for batch in batches)
        batch_norm.update_statistics(self.network, self.step.gradients.loss, inputs, self.cfg.BN.MOMENTUM, self.group)

    def _evaluate(self, epoch: int, metrics: MetricLogger | None) -> float | None:
        """Score the validation split and keep the best weights; return the mAP on the process that writes."""
        step = self._number(epoch, self.steps)
        known = metrics is not None and any(point[0] == step for point in metrics.get(_MAP))
        if self.group.all_reduce(float(known)):
            return None
        loader, evaluator = self._validation
        with self.ema.applied() if self.ema else contextlib.nullcontext():
            # Batch norm's statistics are of each device's own clips; those of the first are the run's.
            self.group.broadcast(self.network.get_parameters())
            result = evaluate(self.network, loader, evaluator, self.group, "evaluate val")
            if not metrics:
                return None
            write_result(self._outputs, "val", evaluator, result)
            if math.isfinite(result.map):
                if all(result.map > value for _, value in metrics.get(_MAP)):
                    self.checkpointer.save_best(self.network)
                metrics.add(_MAP, step, result.map)
                metrics.flush()
        return result.map

    def _save(self, epoch: int, step: int, metrics: MetricLogger | None) -> None:
        if metrics:
            self.checkpointer.save(epoch, step)
            metrics.flush()
        # None leaves, and so ends the run, before the checkpoint is there.
        self.group.barrier()

    def _log_summary(self, metrics: MetricLogger | None) -> None:
        """Say at the end where everything is."""
        if not metrics:
            return
        scores = metrics.get(_MAP)
        lines = [("checkpoint", self.checkpointer.path(self.cfg.SOLVER.MAX_EPOCH, self.steps))]
        if scores:
            best_step, best = max(scores, key=lambda point: point[1])
            lines.append(
                ("best weights", f"{self.checkpointer.best_path} (mAP {best:.4f}, epoch {best_step // self.steps})")
            )
        lines += [("curves", f"{self.output}/*.png, scalars.json"), ("log", self.output / LOG_FILE)]
        get_logger().info("\n".join(f"  {name:<13}{where}" for name, where in lines))


def _check_finite(loss: float, epoch: int, step: int, rate: float) -> None:
    if not math.isfinite(loss):
        raise UserError(
            f"epoch {epoch} step {step}: the loss is {loss} at learning rate {rate:g}; "
            "lower SOLVER.BASE_LR or lengthen SOLVER.WARMUP_EPOCHS"
        )
