"""A network with SlowFast's interface that compiles in seconds, and the programs with it in SlowFast's place.

python tests/tiny.py train|eval|predict [arguments of train.py, eval.py or predict.py]
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mindspore as ms
from fvcore.common.config import CfgNode
from mindspore import nn, ops

from src.models.common import Layers, fold, mean_over_time
from src.models.head_helper import RoIHead
from src.models.roi_align import RoIAlign

CHANNELS = 4


class TinyNetwork(nn.Cell):
    """One convolution and one batch norm for both pathways, then SlowFast's head."""

    def __init__(self, cfg: CfgNode, layers: Layers | None = None):
        super().__init__()
        layers = Layers(cfg.BN.EPSILON, cfg.BN.MOMENTUM)  # its own operators are MindSpore's, so the head's are too
        self.frames = (cfg.DATA.NUM_FRAMES // cfg.SLOWFAST.ALPHA, cfg.DATA.NUM_FRAMES)
        self.conv = nn.Conv2d(3, CHANNELS, 3, stride=2, weight_init="HeUniform")
        self.bn = layers.batch_norm(CHANNELS)
        self.head = RoIHead(
            layers, (CHANNELS, CHANNELS), (1, 1), cfg.MODEL.NUM_CLASSES, RoIAlign(2, 0.5), cfg.MODEL.FC_INIT_STD
        )

    def construct(self, slow: ms.Tensor, fast: ms.Tensor, boxes_px: ms.Tensor) -> ms.Tensor:
        return ops.sigmoid(self.logits(slow, fast, boxes_px))

    def logits(
        self,
        slow: ms.Tensor,
        fast: ms.Tensor,
        boxes_px: ms.Tensor,
        dropout: ms.Tensor | None = None,
        mask: ms.Tensor | None = None,
    ) -> ms.Tensor:
        fast = mean_over_time(ops.relu(self.bn(self.conv(fold(fast)))), self.frames[1])
        slow = mean_over_time(fold(slow), self.frames[0])
        slow = ops.relu(self.conv(slow))
        return self.head(slow, fast, boxes_px, dropout, mask)


def dask_setup(_worker: object) -> None:
    """Let a worker of a Dask cluster (its option --preload) build `TinyNetwork`."""
    import src.models.build

    src.models.build.SlowFast = TinyNetwork


def main() -> int:
    """Run a program with `TinyNetwork`."""
    import src.models.build

    src.models.build.SlowFast = TinyNetwork
    import eval as evaluation
    import train
    from src.predict.command import run_command

    name, sys.argv = sys.argv[1], sys.argv[1:]
    return {"train": train.main, "eval": evaluation.main, "predict": lambda: run_command("")}[name]()


if __name__ == "__main__":
    from src.utils.errors import run_main

    sys.exit(run_main(main))
