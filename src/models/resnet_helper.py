"""Residual blocks, and a stage of them for both pathways."""

from collections.abc import Sequence

import mindspore as ms
from fvcore.common.config import CfgNode
from mindspore import nn, ops

from src.models.common import Conv3d, batch_norm
from src.models.nonlocal_helper import Nonlocal

# Channels that a bottleneck gives for one of its 3 x 3 convolution.
EXPANSION = 4


class Bottleneck(nn.Cell):
    """The residual branch: time x 1 x 1 to reduce, 1 x 3 x 3, 1 x 1 x 1 to expand (He et al. 2016).

    Args:
        cfg: the configuration; reads BN and RESNET.ZERO_INIT_FINAL_BN.
        in_channels: channels of the input.
        inner_channels: channels of the 3 x 3 convolution; the branch gives four times as many.
        kernel_t: temporal kernel of the first convolution.
        frames: frames of the pathway.
        stride: step in height and width of the 3 x 3 convolution.
        dilation: distance of its neighbouring points in height and width.
    """

    def __init__(
        self,
        cfg: CfgNode,
        in_channels: int,
        inner_channels: int,
        kernel_t: int,
        frames: int,
        stride: int,
        dilation: int,
    ):
        super().__init__()
        out_channels = inner_channels * EXPANSION
        norm = (cfg.BN.EPSILON, cfg.BN.MOMENTUM)
        self.a = Conv3d(in_channels, inner_channels, (kernel_t, 1, 1), frames)
        self.a_bn = batch_norm(inner_channels, *norm)
        self.b = Conv3d(inner_channels, inner_channels, (1, 3, 3), frames, (1, stride, stride), dilation)
        self.b_bn = batch_norm(inner_channels, *norm)
        self.c = Conv3d(inner_channels, out_channels, (1, 1, 1), frames)
        self.c_bn = batch_norm(out_channels, *norm, zero=cfg.RESNET.ZERO_INIT_FINAL_BN)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """(n * t, in, h, w) to (n * t, out, h / stride, w / stride), not yet activated."""
        x = ops.relu(self.a_bn(self.a(x)))
        x = ops.relu(self.b_bn(self.b(x)))
        return self.c_bn(self.c(x))


class ResBlock(nn.Cell):
    """A bottleneck beside the identity, or a projection where the shape changes; arguments as of `Bottleneck`."""

    def __init__(
        self,
        cfg: CfgNode,
        in_channels: int,
        inner_channels: int,
        kernel_t: int,
        frames: int,
        stride: int,
        dilation: int,
    ):
        super().__init__()
        out_channels = inner_channels * EXPANSION
        self.projects = in_channels != out_channels or stride != 1
        if self.projects:
            self.branch1 = Conv3d(in_channels, out_channels, (1, 1, 1), frames, (1, stride, stride))
            self.branch1_bn = batch_norm(out_channels, cfg.BN.EPSILON, cfg.BN.MOMENTUM)
        self.branch2 = Bottleneck(cfg, in_channels, inner_channels, kernel_t, frames, stride, dilation)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """(n * t, in, h, w) to (n * t, out, h / stride, w / stride)."""
        residual = self.branch2(x)
        if self.projects:
            x = self.branch1_bn(self.branch1(x))
        return ops.relu(x + residual)


class ResStage(nn.Cell):
    """One of res2 to res5: residual blocks of both pathways, side by side.

    Args:
        cfg: the configuration.
        stage: 0 for res2 to 3 for res5.
        blocks: residual blocks of each pathway.
        in_channels: channels that each pathway reads.
        inner_channels: channels of each pathway's 3 x 3 convolutions; it gives four times as many.
        kernels_t: temporal kernel of each pathway's first RESNET.NUM_BLOCK_TEMP_KERNEL blocks; the others' is 1.
        frames: frames of each pathway.
    """

    def __init__(
        self,
        cfg: CfgNode,
        stage: int,
        blocks: int,
        in_channels: Sequence[int],
        inner_channels: Sequence[int],
        kernels_t: Sequence[int],
        frames: Sequence[int],
    ):
        super().__init__()
        pathways = []
        for pathway in range(2):
            cells = []
            channels = in_channels[pathway]
            for block in range(blocks):
                cell = ResBlock(
                    cfg,
                    channels,
                    inner_channels[pathway],
                    kernels_t[pathway] if block < cfg.RESNET.NUM_BLOCK_TEMP_KERNEL[stage][pathway] else 1,
                    frames[pathway],
                    cfg.RESNET.SPATIAL_STRIDES[stage][pathway] if block == 0 else 1,
                    cfg.RESNET.SPATIAL_DILATIONS[stage][pathway],
                )
                cells.append((f"pathway{pathway}_res{block}", cell))
                channels = inner_channels[pathway] * EXPANSION
                if block in cfg.NONLOCAL.LOCATION[stage][pathway]:
                    cell = Nonlocal(cfg, channels, frames[pathway], cfg.NONLOCAL.POOL[stage][pathway])
                    cells.append((f"pathway{pathway}_nonlocal{block}", cell))
            # MindSpore names parameters by the attribute that holds the cell; `construct` walks the tuples below.
            for name, cell in cells:
                setattr(self, name, cell)
            pathways.append(tuple(cell for _, cell in cells))
        self.slow_cells, self.fast_cells = pathways

    def construct(self, slow: ms.Tensor, fast: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """Run each pathway's blocks on its folded frames."""
        for cell in self.slow_cells:
            slow = cell(slow)
        for cell in self.fast_cells:
            fast = cell(fast)
        return slow, fast
