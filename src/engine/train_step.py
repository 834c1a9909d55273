"""One step of training: loss, gradients, update."""

import mindspore as ms
from mindspore import nn, ops


class MaskedBCE(nn.Cell):
    """Binary cross-entropy of every class, averaged over the real boxes of all devices.

    Args:
        network: a `SlowFast`.
        world: devices. Each divides by the mean number of boxes a device has, so that averaged gradients are those
            of one device with the whole batch.
    """

    def __init__(self, network: nn.Cell, world: int = 1):
        super().__init__(auto_prefix=False)
        self.network = network
        self.world = world
        self.sum_over_devices = ops.AllReduce() if world > 1 else None

    def construct(
        self, slow: ms.Tensor, fast: ms.Tensor, boxes_px: ms.Tensor, labels: ms.Tensor, mask: ms.Tensor
    ) -> ms.Tensor:
        """Return the loss.

        Args:
            slow: (n, 3, frames / alpha, h, w).
            fast: (n, 3, frames, h, w).
            boxes_px: (n, k, 4).
            labels: (n, k, classes), 0 or 1.
            mask: (n, k), 1 for a real box and 0 for padding.
        """
        x = self.network.logits(slow, fast, boxes_px).astype(ms.float32)
        # -y log s(x) - (1 - y) log(1 - s(x)), without overflow.
        loss = ops.relu(x) - x * labels + ops.log1p(ops.exp(-ops.abs(x)))
        boxes = mask.sum()
        if self.world > 1:
            boxes = self.sum_over_devices(boxes) / self.world
        # A batch of padding alone has no loss.
        return (loss * mask.expand_dims(2)).sum() / (ops.maximum(boxes, 1.0) * labels.shape[2])


class TrainStep(nn.Cell):
    """Computes the loss and its gradients, averages them over devices, and updates the parameters.

    Args:
        loss: a `MaskedBCE`.
        optimizer: updates the parameters.
        loss_scale: multiplies the loss against underflow of float16 gradients, which are divided by it again.
    """

    def __init__(self, loss: MaskedBCE, optimizer: nn.Optimizer, loss_scale: float = 1.0):
        super().__init__(auto_prefix=False)
        self.loss = loss
        self.optimizer = optimizer
        self.loss_scale = loss_scale
        self.world = loss.world
        self.gradients = ops.GradOperation(get_by_list=True, sens_param=True)
        self.parameters = optimizer.parameters
        if self.world > 1:
            self.average = nn.DistributedGradReducer(self.parameters, mean=True, degree=self.world)

    def construct(
        self, slow: ms.Tensor, fast: ms.Tensor, boxes_px: ms.Tensor, labels: ms.Tensor, mask: ms.Tensor
    ) -> ms.Tensor:
        """Update the parameters; arguments and result as of `MaskedBCE.construct`."""
        loss = self.loss(slow, fast, boxes_px, labels, mask)
        scale = ops.ones_like(loss) * self.loss_scale
        gradients = self.gradients(self.loss, self.parameters)(slow, fast, boxes_px, labels, mask, scale)
        if self.loss_scale != 1.0:
            gradients = tuple(gradient / self.loss_scale for gradient in gradients)
        if self.world > 1:
            gradients = self.average(gradients)
        return ops.depend(loss, self.optimizer(gradients))
