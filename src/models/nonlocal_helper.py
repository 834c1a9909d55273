"""Non-local blocks: every position attends to every other in space and time (Wang et al. 2018)."""

from collections.abc import Sequence

import mindspore as ms
from mindspore import nn, ops

from src.models.common import Conv3d, Layers


class Nonlocal(nn.Cell):
    """A residual non-local block with half the channels inside.

    Args:
        layers: the operators.
        channels: channels of the input and the output.
        frames: frames of the pathway.
        pool: time, height and width of the max pooling that thins out keys and values.
        instantiation: how affinities are normalized: softmax or dot_product (divided by their number).
        zero_init: start as the identity.
    """

    def __init__(
        self, layers: Layers, channels: int, frames: int, pool: Sequence[int], instantiation: str, zero_init: bool
    ):
        super().__init__()
        inner = channels // 2
        self.frames, self.thinned_frames = frames, frames // pool[0]
        self.softmax = instantiation == "softmax"
        self.fork = layers.fork
        self.to_positions, self.from_positions = layers.to_positions, layers.from_positions
        self.conv_theta = Conv3d(channels, inner, (1, 1, 1), frames, has_bias=True)
        self.conv_phi = Conv3d(channels, inner, (1, 1, 1), self.thinned_frames, has_bias=True)
        self.conv_g = Conv3d(channels, inner, (1, 1, 1), self.thinned_frames, has_bias=True)
        self.conv_out = Conv3d(inner, channels, (1, 1, 1), frames, has_bias=True)
        self.bn = layers.batch_norm(channels, zero=zero_init)
        self.pool = layers.block_max_pool(pool, frames)
        self.query = layers.conv_bn(self.conv_theta, relu=False)
        self.key = layers.conv_bn(self.conv_phi, relu=False)
        self.value = layers.conv_bn(self.conv_g, relu=False)
        self.output = layers.conv_bn(self.conv_out, self.bn, relu=False, residual=True)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """Map folded frames to folded frames of the same shape."""
        x, shortcut = self.fork(x)
        x, to_thin = self.fork(x)
        thinned, also_thinned = self.fork(self.pool(to_thin))
        query = self.to_positions(self.query(x), self.frames)
        key = self.to_positions(self.key(thinned), self.thinned_frames)
        value = self.to_positions(self.value(also_thinned), self.thinned_frames)
        affinity = ops.bmm(query, key.transpose(0, 2, 1))  # (n, positions, thinned positions)
        if self.softmax:
            affinity = ops.softmax(affinity * query.shape[2] ** -0.5, -1)
        else:
            affinity = affinity / key.shape[1]
        return self.output(self.from_positions(ops.bmm(affinity, value), shortcut), shortcut)
