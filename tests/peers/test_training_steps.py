"""Each of four training steps held against PyTorch, taken from the very weights and momentum that PyTorch has.

Run freely, two implementations drift apart: batch statistics of two clips multiply rounding errors by ten to a hundred
in each step. From the same state, there is nothing to multiply. Within a step, rounding still closes a ReLU here and
there that should be open, so gradients are held to those of PyTorch in double precision: ours must be as near to them
as PyTorch's own in single precision.
"""

import copy

import mindspore as ms
import numpy as np
import pytest

from src.checkpoint.loading import load_into
from src.checkpoint.names import convert
from src.config.custom_config import load_config
from src.engine.train_step import NetworkWithLoss, TrainStep
from src.models.build import build_model
from src.models.optimizer import build_optimizer

torch = pytest.importorskip("torch")
hub = pytest.importorskip("pytorchvideo.models.hub")

pytestmark = [pytest.mark.peers, pytest.mark.slow]

RATE, MOMENTUM, WEIGHT_DECAY, STEPS = 0.05, 0.9, 1e-4, 4
HEIGHT, WIDTH = 64, 80
BOXES = np.array([[[4, 4, 60, 50], [10, 2, 30, 62]], [[0, 0, 79, 63], [40, 8, 72, 56]]], np.float32)


class Peer:
    """pytorchvideo's detector, trained by PyTorch."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = hub.slowfast_r50_detection(pretrained=False).train()
        for name, module in self.model.named_modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if isinstance(module, torch.nn.BatchNorm3d) and name.endswith("norm_c"):
                # Not zero, or the residual branches and their gradients would be silent.
                torch.nn.init.uniform_(module.weight, 0.2, 0.4)
        weights = dict(self.model.named_parameters())
        norms = [name for name, weight in weights.items() if weight.ndim == 1 and "proj" not in name]
        groups = [
            {"params": [weights[name] for name in weights if name not in norms], "weight_decay": WEIGHT_DECAY},
            {"params": [weights[name] for name in norms], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM)

    def in_double(self) -> "Peer":
        """A copy in double precision."""
        twin = copy.deepcopy(self)
        twin.model.double()
        twin.optimizer.load_state_dict(twin.optimizer.state_dict())  # casts what it remembers
        return twin

    def state(self) -> dict[str, np.ndarray]:
        """Weights and running statistics by the names of our network."""
        tensors = {name: tensor for name, tensor in self.model.state_dict().items() if tensor.ndim}
        return ours({name: tensor.numpy().copy() for name, tensor in tensors.items()})

    def momentum(self) -> dict[str, np.ndarray]:
        """What the optimizer remembers of each weight, by the names of our network."""
        state = self.optimizer.state
        return ours(
            {
                name: (state[weight]["momentum_buffer"] if weight in state else torch.zeros_like(weight)).numpy().copy()
                for name, weight in self.model.named_parameters()
            }
        )

    def step(self, slow: np.ndarray, fast: np.ndarray, labels: np.ndarray) -> float:
        """Take a step; return the loss before it."""
        clip = np.repeat(np.arange(len(BOXES), dtype=np.float32), BOXES.shape[1])
        rois = np.column_stack([clip, BOXES.reshape(-1, 4)])
        dtype = next(self.model.parameters()).dtype
        slow, fast, rois, labels = (
            torch.from_numpy(array).to(dtype) for array in (slow, fast, rois, labels.reshape(len(rois), -1))
        )
        loss = torch.nn.functional.binary_cross_entropy(self.model([slow, fast], rois), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def ours(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Name arrays of pytorchvideo's model as our network does."""
    return convert(arrays, "pytorchvideo", "the peer")


def apart(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """The distance of two sets of arrays, relative to the length of the expected one."""
    gaps = sum(float(np.square(found[name] - array, dtype=np.float64).sum()) for name, array in expected.items())
    return (gaps / sum(float(np.square(array, dtype=np.float64).sum()) for array in expected.values())) ** 0.5


def test_four_steps_are_pytorchs(repository):
    cfg = load_config(
        repository / "configs/AVA/pytorchvideo/SLOWFAST_8x8_R50.yaml", ["SOLVER.WEIGHT_DECAY", WEIGHT_DECAY]
    )
    peer, network = Peer(), build_model(cfg)
    optimizer = build_optimizer(cfg, network, [RATE] * STEPS)
    step = TrainStep(NetworkWithLoss(network), optimizer)
    step.set_train(True)
    moments = {moment.name.removeprefix("moments."): moment for moment in optimizer.moments}
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        fast = rng.normal(size=(len(BOXES), 3, 32, HEIGHT, WIDTH)).astype(np.float32)
        slow = np.ascontiguousarray(fast[:, :, ::4])
        labels = (rng.random((*BOXES.shape[:2], cfg.MODEL.NUM_CLASSES)) < 0.1).astype(np.float32)
        load_into(network, peer.state())
        for name, momentum in peer.momentum().items():
            moments[name].set_data(ms.Tensor(momentum))
        inputs = (slow, fast, BOXES, labels, np.ones(BOXES.shape[:2], np.float32))
        loss = float(step(*map(ms.Tensor, inputs)))

        exact = peer.in_double()
        exact.step(slow, fast, labels)
        assert loss == pytest.approx(peer.step(slow, fast, labels), rel=1e-5)
        momentum = {name: moment.asnumpy() for name, moment in moments.items()}
        assert apart(momentum, exact.momentum()) < 1.5 * apart(peer.momentum(), exact.momentum())
        found = {name: parameter.asnumpy() for name, parameter in network.parameters_dict().items()}
        assert apart(found, exact.state()) < 1e-5
