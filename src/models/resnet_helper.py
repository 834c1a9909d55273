"""Residual blocks, and a stage of them for both pathways."""

from collections.abc import Sequence
from dataclasses import dataclass

import mindspore as ms
from mindspore import nn

from src.models.common import Conv3d, Layers
from src.models.nonlocal_helper import Nonlocal

# Channels that a bottleneck gives for one of its 3 x 3 convolution.
EXPANSION = 4


class Bottleneck(nn.Cell):
    """The residual branch: time x 1 x 1 to reduce, 1 x 3 x 3, 1 x 1 x 1 to expand (He et al. 2016); then the sum.

    Args:
        layers: the operators.
        in_channels: channels of the input.
        inner_channels: channels of the 3 x 3 convolution; the branch gives four times as many.
        kernel_t: temporal kernel of the first convolution.
        frames: frames of the pathway.
        stride: step in height and width of the 3 x 3 convolution.
        dilation: distance of its neighboring points in height and width.
        zero_init: start the last batch norm with scale 0, so that the branch is silent.
    """

    def __init__(
        self,
        layers: Layers,
        in_channels: int,
        inner_channels: int,
        kernel_t: int,
        frames: int,
        stride: int,
        dilation: int,
        zero_init: bool,
    ):
        super().__init__()
        out_channels = inner_channels * EXPANSION
        self.a = Conv3d(in_channels, inner_channels, (kernel_t, 1, 1), frames)
        self.a_bn = layers.batch_norm(inner_channels)
        self.b = Conv3d(inner_channels, inner_channels, (1, 3, 3), frames, (1, stride, stride), dilation)
        self.b_bn = layers.batch_norm(inner_channels)
        self.c = Conv3d(inner_channels, out_channels, (1, 1, 1), frames)
        self.c_bn = layers.batch_norm(out_channels, zero=zero_init)
        self.reduce = layers.conv_bn(self.a, self.a_bn)
        self.convolve = layers.conv_bn(self.b, self.b_bn)
        self.expand = layers.conv_bn(self.c, self.c_bn, residual=True)

    def construct(self, x: ms.Tensor, shortcut: ms.Tensor) -> ms.Tensor:
        """Map folded frames in x h x w to out x h / stride x w / stride, with `shortcut` of that shape added."""
        return self.expand(self.convolve(self.reduce(x)), shortcut)


class ResBlock(nn.Cell):
    """A bottleneck beside the identity, or a projection where the shape changes; arguments as of `Bottleneck`."""

    def __init__(
        self,
        layers: Layers,
        in_channels: int,
        inner_channels: int,
        kernel_t: int,
        frames: int,
        stride: int,
        dilation: int,
        zero_init: bool,
    ):
        super().__init__()
        out_channels = inner_channels * EXPANSION
        self.projects = in_channels != out_channels or stride != 1
        if self.projects:
            self.branch1 = Conv3d(in_channels, out_channels, (1, 1, 1), frames, (1, stride, stride))
            self.branch1_bn = layers.batch_norm(out_channels)
            self.project = layers.conv_bn(self.branch1, self.branch1_bn, relu=False)
        self.branch2 = Bottleneck(layers, in_channels, inner_channels, kernel_t, frames, stride, dilation, zero_init)
        self.fork = layers.fork

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map folded frames in x h x w to out x h / stride x w / stride."""
        x, shortcut = self.fork(x)
        return self.branch2(x, self.project(shortcut) if self.projects else shortcut)


@dataclass(frozen=True)
class PathwayStage:
    """One pathway's part of one of res2 to res5.

    Attributes:
        blocks: residual blocks.
        in_channels: channels of the input.
        inner_channels: channels of the 3 x 3 convolutions; the stage gives four times as many.
        kernel_t: temporal kernel of the first `temporal_blocks` blocks; the others' is 1.
        temporal_blocks: how many blocks have a temporal kernel.
        frames: frames of the pathway.
        stride: step in height and width of the first block.
        dilation: distance of neighboring points of the 3 x 3 convolutions.
        zero_init: start each block as the identity.
        nonlocal_after: the blocks that a non-local block follows.
        nonlocal_pool: time, height and width of the max pooling before its keys and values.
        nonlocal_instantiation: softmax or dot_product, see `Nonlocal`.
    """

    blocks: int
    in_channels: int
    inner_channels: int
    kernel_t: int
    temporal_blocks: int
    frames: int
    stride: int
    dilation: int
    zero_init: bool
    nonlocal_after: Sequence[int]
    nonlocal_pool: Sequence[int]
    nonlocal_instantiation: str

    @property
    def out_channels(self) -> int:
        """Channels that the stage gives."""
        return self.inner_channels * EXPANSION


class ResStage(nn.Cell):
    """One of res2 to res5: residual blocks of both pathways, side by side.

    Args:
        layers: the operators.
        slow: the Slow pathway.
        fast: the Fast pathway.
    """

    def __init__(self, layers: Layers, slow: PathwayStage, fast: PathwayStage):
        super().__init__()
        self.slow_cells = self._add_pathway(layers, "pathway0", slow)
        self.fast_cells = self._add_pathway(layers, "pathway1", fast)

    def _add_pathway(self, layers: Layers, name: str, pathway: PathwayStage) -> tuple[nn.Cell, ...]:
        # MindSpore names parameters by the attribute that holds the cell; `construct` walks the tuples.
        cells = []
        for block in range(pathway.blocks):
            first = block == 0
            cell = ResBlock(
                layers,
                pathway.in_channels if first else pathway.out_channels,
                pathway.inner_channels,
                pathway.kernel_t if block < pathway.temporal_blocks else 1,
                pathway.frames,
                pathway.stride if first else 1,
                pathway.dilation,
                pathway.zero_init,
            )
            setattr(self, f"{name}_res{block}", cell)
            cells.append(cell)
            if block in pathway.nonlocal_after:
                cell = Nonlocal(
                    layers,
                    pathway.out_channels,
                    pathway.frames,
                    pathway.nonlocal_pool,
                    pathway.nonlocal_instantiation,
                    pathway.zero_init,
                )
                setattr(self, f"{name}_nonlocal{block}", cell)
                cells.append(cell)
        return tuple(cells)

    def construct(self, slow: ms.Tensor, fast: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """Run each pathway's blocks on its folded frames."""
        for cell in self.slow_cells:
            slow = cell(slow)
        for cell in self.fast_cells:
            fast = cell(fast)
        return slow, fast
