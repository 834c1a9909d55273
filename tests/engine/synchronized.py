"""Two updates of a small network with batch norm over all devices, the first of one batch, the second of two.

Then a third, with a dynamic loss scale, from gradients of which the last device's are infinite.

python tests/engine/synchronized.py OUT

test_synchronized.py runs it, alone and by msrun.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import mindspore as ms
import numpy as np
from mindspore import nn

from src.config.custom_config import load_config
from src.cpu import library
from src.engine.train_step import INPUTS, AccumulatedStep, NetworkWithLoss, TrainStep, Update
from src.models.common import Conv3d, Layers
from src.models.head_helper import RoIHead
from src.models.optimizer import build_optimizer
from src.models.roi_align import RoIAlign
from src.utils.device import set_up_device
from src.utils.distributed import init_process_group

CLIPS, BOXES, CLASSES, STEPS = 4, 3, 5, 3


class Network(nn.Cell):
    """A convolution with batch norm for each pathway, then the head with an actor relation."""

    def __init__(self, devices: int):
        super().__init__()
        layers = Layers(1e-5, 0.1, devices)
        self.fold = layers.fold
        self.conv = Conv3d(3, 4, (1, 3, 3), 2, stride=(1, 2, 2))
        self.bn = layers.batch_norm(4)
        self.convolve = layers.conv_bn(self.conv, self.bn)
        self.head = RoIHead(layers, (4, 4), (1, 2), CLASSES, RoIAlign(2, 0.5), 0.1, acrn_channels=3)

    def logits(
        self, slow: ms.Tensor, fast: ms.Tensor, boxes_px: ms.Tensor, dropout: None = None, mask: ms.Tensor | None = None
    ) -> ms.Tensor:
        fast = self.convolve(self.fold(fast))
        return self.head(fast[::2], fast, boxes_px, dropout, mask)


def batch_of(seed: int) -> dict[str, np.ndarray]:
    """Return four clips with one, three, three and one box."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 6, (CLIPS, BOXES, 2))
    mask = np.float32([[1, 0, 0], [1, 1, 1], [1, 1, 1], [1, 0, 0]])
    boxes = np.concatenate([corner, corner + 5], 2) * mask[..., None]
    return {
        "slow": np.zeros((CLIPS, 1), np.float32),
        "fast": rng.normal(size=(CLIPS, 3, 2, 12, 14)).astype(np.float32),
        "boxes": boxes.astype(np.float32),
        "labels": rng.integers(0, 2, (CLIPS, BOXES, CLASSES)).astype(np.float32),
        "mask": mask,
    }


def main() -> None:
    library.turn_off()
    set_up_device("CPU", seed=0)
    group = init_process_group()
    ms.set_seed(1)
    network = Network(group.size)
    cfg = load_config(None, ["SOLVER.WEIGHT_DECAY", 0.0])
    step = TrainStep(NetworkWithLoss(network), build_optimizer(cfg, network, [1.0] * STEPS), world_size=group.size)
    step.set_train(True)

    def mine(seed: int) -> tuple[ms.Tensor, ...]:
        """Return this device's share of a batch, as loaders deal it out."""
        return tuple(ms.Tensor(np.array_split(batch_of(seed)[name], group.size)[group.rank]) for name in INPUTS)

    losses = [step(*mine(0)), AccumulatedStep(step)([mine(1), mine(2)])]
    arrays = {f"loss{number}": loss.asnumpy() for number, loss in enumerate(losses)}
    arrays |= {name: one.asnumpy().copy() for name, one in network.parameters_dict().items()}
    scaler = ms.amp.DynamicLossScaler(1024.0, 2, 100)
    update = Update(step.update.optimizer, scaler, world_size=group.size)
    spoilt = tuple(
        ms.Tensor(np.full(weight.shape, np.inf if group.rank == group.size - 1 else 1.0, np.float32))
        for weight in update.optimizer.parameters
    )
    update(losses[0], spoilt)
    arrays["scale"] = scaler.scale_value.asnumpy()
    weights = {weight.name: weight.asnumpy() for weight in network.trainable_params()}
    arrays["moved"] = np.array([name for name, weight in weights.items() if (weight != arrays[name]).any()], str)
    if group.is_main:
        np.savez(sys.argv[1], **arrays)


if __name__ == "__main__":
    main()
