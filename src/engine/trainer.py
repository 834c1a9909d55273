"""The training loop."""

import math
import time
from pathlib import Path

import mindspore as ms
from fvcore.common.config import CfgNode
from mindspore import nn

from src.datasets.ava_dataset import AvaDataset
from src.datasets.build import build_train_loader
from src.engine.evaluation import evaluate
from src.engine.train_step import MaskedBCE, TrainStep
from src.models.optimizer import build_optimizer
from src.utils.checkpoint import save_checkpoint
from src.utils.errors import UserError
from src.utils.logging import get_logger, log_json_stats, progress
from src.utils.lr_policy import batch_scale, learning_rates

_INPUTS = ("slow", "fast", "boxes", "labels", "mask")


class Trainer:
    """Trains a network epoch by epoch, with checkpoints and evaluation in between.

    Args:
        cfg: the configuration.
        network: a `SlowFast`.
        dataset: the split `train`.
    """

    def __init__(self, cfg: CfgNode, network: nn.Cell, dataset: AvaDataset):
        self.cfg = cfg
        self.network = network
        self.dataset = dataset
        self.output = Path(cfg.OUTPUT_DIR)
        self.steps = len(build_train_loader(dataset, 0))
        self.rates = learning_rates(cfg, self.steps, world=1)
        optimizer = build_optimizer(cfg, network, self.rates)
        loss_scale = cfg.TRAIN.LOSS_SCALE if cfg.TRAIN.AMP_LEVEL != "O0" else 1.0
        self.step = TrainStep(MaskedBCE(network), optimizer, loss_scale)

    def train(self) -> None:
        """Run all epochs.

        Raises:
            UserError: the loss is not finite, or a frame cannot be read.
        """
        cfg, logger = self.cfg, get_logger()
        logger.info(
            "%d key frames, %d steps an epoch, %d epochs; learning rate x %g for %d clips a step",
            len(self.dataset),
            self.steps,
            cfg.SOLVER.MAX_EPOCH,
            batch_scale(cfg, 1),
            cfg.TRAIN.BATCH_SIZE,
        )
        validation = AvaDataset(cfg, "val") if cfg.TRAIN.EVAL_PERIOD else None
        for epoch in range(1, cfg.SOLVER.MAX_EPOCH + 1):
            self._train_epoch(epoch)
            last = epoch == cfg.SOLVER.MAX_EPOCH
            if last or epoch % cfg.TRAIN.CHECKPOINT_PERIOD == 0:
                self._save(epoch)
            if validation and (last or epoch % cfg.TRAIN.EVAL_PERIOD == 0):
                evaluate(cfg, self.network, validation, "val", self.output)

    def _train_epoch(self, epoch: int) -> None:
        self.step.set_train(True)
        loader = build_train_loader(self.dataset, epoch - 1)
        mark = time.monotonic()
        data_time = network_time = 0.0
        for number, batch in enumerate(progress(loader, self.steps, f"epoch {epoch}"), start=1):
            data_time += time.monotonic() - mark
            mark = time.monotonic()
            loss = float(self.step(*(ms.Tensor(batch[name]) for name in _INPUTS)))
            network_time += time.monotonic() - mark
            mark = time.monotonic()
            rate = self.rates[(epoch - 1) * self.steps + number - 1]
            if not math.isfinite(loss):
                raise UserError(
                    f"epoch {epoch} step {number}: the loss is {loss} at learning rate {rate:g}; "
                    "lower SOLVER.BASE_LR or lengthen SOLVER.WARMUP_EPOCHS"
                )
            since = number % self.cfg.LOG_PERIOD or self.cfg.LOG_PERIOD
            if since == self.cfg.LOG_PERIOD or number == self.steps:
                get_logger().info("epoch: %d step: %d, loss is %s", epoch, number, loss)
                log_json_stats(
                    mode="train",
                    epoch=epoch,
                    step=number,
                    loss=loss,
                    lr=rate,
                    data_time=data_time / since,
                    network_time=network_time / since,
                )
                data_time = network_time = 0.0

    def _save(self, epoch: int) -> None:
        path = self.output / "checkpoints" / f"slowfast-{epoch}_{self.steps}.ckpt"
        arrays = {name: parameter.asnumpy() for name, parameter in self.network.parameters_dict().items()}
        save_checkpoint(arrays, path)
        get_logger().info("wrote %s", path)
