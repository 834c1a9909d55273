"""The network of a configuration."""

from fvcore.common.config import CfgNode
from mindspore import nn

from src.models.common import Layers
from src.models.video_model_builder import SlowFast


def build_model(cfg: CfgNode, layers: type[Layers] = Layers) -> nn.Cell:
    """Return the network that a configuration describes, with fresh weights.

    Args:
        cfg: the configuration.
        layers: the operators that it is made of.
    """
    return SlowFast(cfg, layers(cfg.BN.EPSILON, cfg.BN.MOMENTUM))
