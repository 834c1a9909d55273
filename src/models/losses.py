"""The losses: functions of logits, labels and mask, chosen by MODEL.LOSS_FUNC."""

from collections.abc import Callable

import mindspore as ms
from mindspore import ops

Loss = Callable[[ms.Tensor, ms.Tensor, ms.Tensor], ms.Tensor]


def bce(logits: ms.Tensor, labels: ms.Tensor, mask: ms.Tensor) -> ms.Tensor:
    """Return the binary cross-entropy of every class, averaged over the classes and the real boxes.

    Args:
        logits: float32 (n, k, classes).
        labels: (n, k, classes), 0 or 1.
        mask: (n, k), 1 for a real box and 0 for padding.
    """
    # -y log s(x) - (1 - y) log(1 - s(x)), without overflow. (x + |x|) / 2 is the positive part with the slope 1/2 at 0,
    # where ReLU has 0: so the gradient is s(x) - y there, too.
    magnitude = ops.abs(logits)
    loss = 0.5 * (logits + magnitude) - logits * labels + ops.log1p(ops.exp(-magnitude))
    # A batch of padding alone has no loss.
    return (loss * mask.expand_dims(2)).sum() / (ops.maximum(mask.sum(), 1.0) * labels.shape[2])


LOSSES: dict[str, Loss] = {"bce": bce}
