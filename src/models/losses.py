"""The losses: functions of logits, labels and weights of boxes, chosen by MODEL.LOSS_FUNC.

Each is a mean over boxes, of whom every one counts by its weight: 1 for a real box, 0 for padding. A batch of padding
alone has no loss.
"""

from collections.abc import Callable

import mindspore as ms
import numpy as np
from fvcore.common.config import CfgNode
from mindspore import ops

Loss = Callable[[ms.Tensor, ms.Tensor, ms.Tensor], ms.Tensor]

_LEAST = 1e-12


def _elementwise_bce(logits: ms.Tensor, labels: ms.Tensor) -> ms.Tensor:
    """Return -y log s(x) - (1 - y) log(1 - s(x)) of every element, without overflow."""
    # (x + |x|) / 2 is the positive part with the slope 1/2 at 0, where ReLU has 0: so the gradient is s(x) - y there,
    # too.
    magnitude = ops.abs(logits)
    return 0.5 * (logits + magnitude) - logits * labels + ops.log1p(ops.exp(-magnitude))


def _mean_over_boxes(loss: ms.Tensor, weights: ms.Tensor) -> ms.Tensor:
    """Average (n, k) over boxes by their weights (n, k)."""
    total = weights.sum()
    # Weights may be fractions of a box (mixup), so that less than one of them may be a whole batch.
    return (loss * weights).sum() / ops.select(total > 0, total, ops.ones_like(total))


def bce(logits: ms.Tensor, labels: ms.Tensor, weights: ms.Tensor) -> ms.Tensor:
    """Return the binary cross-entropy of every class, averaged over the classes and the boxes.

    Args:
        logits: float32 (n, k, classes).
        labels: (n, k, classes), 0 or 1.
        weights: (n, k), how much each box counts.
    """
    return _mean_over_boxes(_elementwise_bce(logits, labels).mean(2), weights)


def focal(alpha: float, gamma: float) -> Loss:
    """Return the focal loss (Lin et al. 2017): alpha * (1 - p_t)^gamma * BCE, p_t the probability of the truth.

    It is averaged as `bce` is, which it equals with alpha 1 and gamma 0. As in mmaction2, alpha is a factor of every
    class, not a balance between 0 and 1.
    """

    def loss(logits: ms.Tensor, labels: ms.Tensor, weights: ms.Tensor) -> ms.Tensor:
        entropy = _elementwise_bce(logits, labels)
        # 1 - p_t; held off 0, where its power has an infinite slope for a gamma below 1.
        missed = ops.maximum(-ops.expm1(-entropy), _LEAST)
        return _mean_over_boxes((alpha * missed**gamma * entropy).mean(2), weights)

    return loss


def balanced_bce(class_counts: np.ndarray) -> Loss:
    """Return the binary cross-entropy with each class weighted by the inverse of its frequency.

    The weights are 1 on average over the classes that have examples. Those without have 1: the inverse of their
    frequency would outweigh all others.

    Args:
        class_counts: (classes,), examples of each class in the training data.
    """
    inverse = 1.0 / np.maximum(class_counts, 1)
    scaled = np.where(class_counts > 0, inverse / inverse[class_counts > 0].mean(), 1.0)
    of_class = ms.Tensor(scaled.astype(np.float32))

    def loss(logits: ms.Tensor, labels: ms.Tensor, weights: ms.Tensor) -> ms.Tensor:
        return _mean_over_boxes((_elementwise_bce(logits, labels) * of_class).mean(2), weights)

    return loss


def cross_entropy(logits: ms.Tensor, labels: ms.Tensor, weights: ms.Tensor) -> ms.Tensor:
    """Return the cross-entropy of the softmax over the classes, which exclude each other, averaged over the boxes.

    A box with several labels is to have each with the same probability. One without a label adds nothing, but counts
    in the average unless its weight is 0. Arguments as of `bce`.
    """
    target = labels / ops.maximum(labels.sum(2, keepdims=True), 1.0)
    # The CPU's log_softmax and log are off by some 1e-6, its log1p is not.
    shifted = logits - ops.stop_gradient(ops.amax(logits, 2, keepdims=True))
    log_sum = ops.log1p(ops.exp(shifted).sum(2, keepdims=True) - 1.0)
    return _mean_over_boxes((target * (log_sum - shifted)).sum(2), weights)


LOSSES: dict[str, Callable[[CfgNode, np.ndarray], Loss]] = {
    "bce": lambda cfg, class_counts: bce,
    "focal": lambda cfg, class_counts: focal(cfg.LOSS.FOCAL_ALPHA, cfg.LOSS.FOCAL_GAMMA),
    "balanced_bce": lambda cfg, class_counts: balanced_bce(class_counts),
    "cross_entropy": lambda cfg, class_counts: cross_entropy,
}


def build_loss(cfg: CfgNode, class_counts: np.ndarray) -> Loss:
    """Return the loss of MODEL.LOSS_FUNC.

    Args:
        cfg: the configuration; reads MODEL.LOSS_FUNC and LOSS.
        class_counts: (classes,), boxes with each class in the training data.
    """
    return LOSSES[cfg.MODEL.LOSS_FUNC](cfg, class_counts)


def counted(labels: ms.Tensor, mask: ms.Tensor, ignore_unlabeled: bool) -> ms.Tensor:
    """Return how much each box counts in the loss, (n, k): as `mask`, but 0 for boxes without a label if so wanted.

    Args:
        labels: (n, k, classes).
        mask: (n, k), 1 for a real box and 0 for padding.
        ignore_unlabeled: leave out boxes without any label, as mmaction2 does; PySlowFast counts them as negatives.
    """
    if not ignore_unlabeled:
        return mask
    some = labels.sum(2) > 0
    return ops.select(some, mask, ops.zeros_like(mask))
