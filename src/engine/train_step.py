"""One step of training: loss, gradients, update."""

from collections.abc import Callable, Sequence

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from src.engine.gradients import Gradients, scale, squared_norm
from src.models.losses import Loss, bce, counted

# The arguments of NetworkWithLoss, all but the last.
INPUTS = ("slow", "fast", "boxes", "labels", "mask")


class NetworkWithLoss(nn.Cell):
    """The loss of a network's scores.

    Args:
        network: a `SlowFast`.
        loss: the loss, from logits, labels and weights of the boxes (see `src.models.losses`).
        ignore_unlabeled: boxes without any label do not count.
    """

    def __init__(self, network: nn.Cell, loss: Loss = bce, ignore_unlabeled: bool = False):
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss = loss
        self.ignore_unlabeled = ignore_unlabeled

    def construct(
        self,
        slow: ms.Tensor,
        fast: ms.Tensor,
        boxes_px: ms.Tensor,
        labels: ms.Tensor,
        mask: ms.Tensor,
        dropout: ms.Tensor | None = None,
    ) -> ms.Tensor:
        """Return the loss.

        Args:
            slow: (n, 3, frames / alpha, h, w).
            fast: (n, 3, frames, h, w).
            boxes_px: (n, k, 4).
            labels: (n, k, classes), 0 or 1.
            mask: (n, k), 1 for a real box and 0 for padding.
            dropout: (n, k, features), what the head's features are multiplied by; None: no dropout.
        """
        logits = self.network.logits(slow, fast, boxes_px, dropout, mask).astype(ms.float32)
        return self.loss(logits, labels, counted(labels, mask, self.ignore_unlabeled))

    def boxes(self, inputs: tuple[ms.Tensor, ...]) -> ms.Tensor:
        """Return how many boxes the loss of these arguments is a mean over."""
        labels, mask = inputs[INPUTS.index("labels")], inputs[INPUTS.index("mask")]
        return counted(labels, mask, self.ignore_unlabeled).sum()


class LossGradients(nn.Cell):
    """The loss of a batch and the gradients of its multiple by the loss scale.

    Devices count by their boxes, so that the mean of their losses and gradients is that of one device with the whole
    batch. The loss is weighted before it is differentiated: what it depends on may be of all devices (BN.SYNC).

    Args:
        loss: a `NetworkWithLoss`.
        parameters: what to differentiate by.
        scaler: holds what multiplies the loss, against underflow of float16 gradients; None: nothing does.
        world_size: devices.
    """

    def __init__(
        self,
        loss: NetworkWithLoss,
        parameters: Sequence[ms.Parameter],
        scaler: ms.amp.LossScaler | None,
        world_size: int = 1,
    ):
        super().__init__(auto_prefix=False)
        self.loss = loss
        self.scaler = scaler
        self.world_size = world_size
        self.sum_over_devices = ops.AllReduce() if world_size > 1 else None
        self.value_and_grad = ops.value_and_grad(self._scaled_loss, None, parameters, has_aux=True)

    def construct(self, *inputs: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor, Gradients]:
        """Differentiate the loss; arguments as of `NetworkWithLoss.construct`.

        Returns:
            The mean loss over the boxes of this device, times their number, divided by the mean number of a device;
            that mean number; the gradients.
        """
        (_, loss, boxes), gradients = self.value_and_grad(*inputs)
        return loss, boxes, gradients

    def _scaled_loss(self, *inputs: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor, ms.Tensor]:
        loss, boxes = self.loss(*inputs), self.loss.boxes(inputs)
        if self.sum_over_devices is not None:
            mean_boxes = ops.maximum(self.sum_over_devices(boxes), 1.0) / self.world_size
            loss, boxes = loss * (boxes / mean_boxes), mean_boxes
        return (loss if self.scaler is None else loss * self.scaler.scale_value), loss, boxes


class Update(nn.Cell):
    """Averages gradients over devices, undoes the loss scale, clips, and updates the parameters.

    With a dynamic loss scale, gradients that are not finite leave the parameters as they are.

    Args:
        optimizer: updates the parameters.
        scaler: see `LossGradients`.
        clip: changes the averaged gradients; None: nothing does.
        world_size: devices.
    """

    def __init__(
        self,
        optimizer: nn.Optimizer,
        scaler: ms.amp.LossScaler | None,
        clip: Callable[[Gradients], Gradients] | None = None,
        world_size: int = 1,
    ):
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer
        self.scaler = scaler
        self.dynamic = isinstance(scaler, ms.amp.DynamicLossScaler)
        self.clip = clip
        self.world_size = world_size
        if world_size > 1:
            self.sum_over_devices = ops.AllReduce()
            self.average = nn.DistributedGradReducer(optimizer.parameters, mean=True, degree=world_size)

    def construct(self, loss: ms.Tensor, gradients: Gradients) -> ms.Tensor:
        """Update the parameters.

        Args:
            loss: of this device.
            gradients: of `loss`, scaled, in the order of the optimizer's parameters.

        Returns:
            The mean loss of all devices.
        """
        if self.world_size > 1:
            gradients = self.average(gradients)
            loss = self.sum_over_devices(loss) / self.world_size
        if self.scaler is not None:
            gradients = scale(gradients, 1.0 / self.scaler.scale_value)
        taken = None
        if self.dynamic:
            # Of the gradients of all devices, so that all decide alike; of every device's register they might not.
            taken = ops.isfinite(squared_norm(gradients))
            loss = ops.depend(loss, self.scaler.adjust(taken))
        if self.clip is not None:
            gradients = self.clip(gradients)
        return ops.depend(loss, self.optimizer(gradients, taken))


class TrainStep(nn.Cell):
    """One batch, one update, one graph.

    Args:
        loss: a `NetworkWithLoss`.
        optimizer: updates the parameters.
        scaler: see `LossGradients`.
        clip: see `Update`.
        world_size: devices.
    """

    def __init__(
        self,
        loss: NetworkWithLoss,
        optimizer: nn.Optimizer,
        scaler: ms.amp.LossScaler | None = None,
        clip: Callable[[Gradients], Gradients] | None = None,
        world_size: int = 1,
    ):
        super().__init__(auto_prefix=False)
        self.gradients = LossGradients(loss, optimizer.parameters, scaler, world_size)
        self.update = Update(optimizer, scaler, clip, world_size)

    def construct(self, *inputs: ms.Tensor) -> ms.Tensor:
        """Update the parameters; arguments and result as of `NetworkWithLoss.construct`, over all devices."""
        loss, _, gradients = self.gradients(*inputs)
        return self.update(loss, gradients)


def _add_weighted(weight: ms.Tensor, total: ms.Parameter, gradient: ms.Tensor) -> ms.Tensor:
    return ops.assign_add(total, gradient * weight)


def _clear(after: ms.Tensor, total: ms.Parameter) -> ms.Tensor:
    """Set a sum to zero once `after` is there."""
    return ops.assign(total, ops.depend(ops.zeros_like(total), after))


class _Accumulate(nn.Cell):
    """Adds the loss and the gradients of a batch, weighted by its boxes, to running sums."""

    def __init__(self, gradients: LossGradients, sums: ms.ParameterTuple):
        super().__init__(auto_prefix=False)
        self.gradients = gradients
        self.sums = sums
        self.map = ops.HyperMap()

    def construct(self, *inputs: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        loss, boxes, gradients = self.gradients(*inputs)
        added = self.map(ops.partial(_add_weighted, boxes), self.sums, gradients)
        return ops.depend(loss * boxes, added), boxes


class _UpdateFromSums(nn.Cell):
    """Updates the parameters from the running sums, and sets these to zero."""

    def __init__(self, update: Update, sums: ms.ParameterTuple):
        super().__init__(auto_prefix=False)
        self.update = update
        self.sums = sums
        self.map = ops.HyperMap()

    def construct(self, loss: ms.Tensor, boxes: ms.Tensor) -> ms.Tensor:
        some = ops.select(boxes > 0, boxes, ops.ones_like(boxes))
        loss = self.update(loss / some, scale(self.sums, 1.0 / some))
        return ops.depend(loss, self.map(ops.partial(_clear, loss), self.sums))


class AccumulatedStep:
    """One update from several batches, as if they were one: every box counts the same.

    Args:
        step: holds the loss, the optimizer and the rest.
    """

    def __init__(self, step: TrainStep):
        self.network = step
        sums = ms.ParameterTuple(step.update.optimizer.parameters).clone(prefix="sum", init="zeros")
        self._accumulate = _Accumulate(step.gradients, sums)
        self._update = _UpdateFromSums(step.update, sums)

    def __call__(self, batches: Sequence[Sequence[ms.Tensor]]) -> ms.Tensor:
        """Update the parameters.

        Args:
            batches: for each batch the arguments of `NetworkWithLoss.construct`.

        Returns:
            The mean loss over the boxes of all batches and devices.
        """
        losses, boxes = zip(*(self._accumulate(*batch) for batch in batches), strict=True)
        total_loss = np.sum([loss.asnumpy() for loss in losses], dtype=np.float32)
        total_boxes = np.sum([count.asnumpy() for count in boxes], dtype=np.float32)
        return self._update(ms.Tensor(total_loss), ms.Tensor(total_boxes))
