"""Non-local blocks: every position attends to every other in space and time (Wang et al. 2018)."""

from collections.abc import Sequence

import mindspore as ms
from fvcore.common.config import CfgNode
from mindspore import nn, ops

from src.models.common import Conv3d, batch_norm


class Nonlocal(nn.Cell):
    """A residual non-local block with half the channels inside.

    Args:
        cfg: the configuration; reads NONLOCAL.INSTANTIATION and BN.
        channels: channels of the input and the output.
        frames: frames of the pathway.
        pool: time, height and width of the max pooling that thins out keys and values.
    """

    def __init__(self, cfg: CfgNode, channels: int, frames: int, pool: Sequence[int]):
        super().__init__()
        inner = channels // 2
        self.frames = frames
        self.pool_t = pool[0]
        self.pool = ops.MaxPool(kernel_size=tuple(pool[1:]), strides=tuple(pool[1:]), pad_mode="valid")
        self.softmax = cfg.NONLOCAL.INSTANTIATION == "softmax"
        self.conv_theta = Conv3d(channels, inner, (1, 1, 1), frames, has_bias=True)
        self.conv_phi = Conv3d(channels, inner, (1, 1, 1), frames // self.pool_t, has_bias=True)
        self.conv_g = Conv3d(channels, inner, (1, 1, 1), frames // self.pool_t, has_bias=True)
        self.conv_out = Conv3d(inner, channels, (1, 1, 1), frames, has_bias=True)
        self.bn = batch_norm(channels, cfg.BN.EPSILON, cfg.BN.MOMENTUM, zero=cfg.RESNET.ZERO_INIT_FINAL_BN)

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        """(n * t, c, h, w) to the same shape."""
        nt, _, h, w = x.shape
        n = nt // self.frames
        thinned = self._pool_time(self.pool(x))
        query = self._positions(self.conv_theta(x), n)
        key = self._positions(self.conv_phi(thinned), n)
        value = self._positions(self.conv_g(thinned), n)
        affinity = ops.bmm(query, key.transpose(0, 2, 1))  # (n, positions, thinned positions)
        if self.softmax:
            affinity = ops.softmax(affinity * query.shape[2] ** -0.5, -1)
        else:
            affinity = affinity / key.shape[1]
        y = ops.bmm(affinity, value)
        y = y.reshape(nt, h * w, -1).transpose(0, 2, 1).reshape(nt, -1, h, w)
        return x + self.bn(self.conv_out(y))

    def _pool_time(self, x: ms.Tensor) -> ms.Tensor:
        """Take the maximum over runs of `pool_t` frames; a shorter rest is dropped, as PyTorch's pooling does."""
        if self.pool_t == 1:
            return x
        nt, c, h, w = x.shape
        n = nt // self.frames
        runs = self.frames // self.pool_t
        x = x.reshape(n, self.frames, c * h * w)[:, : runs * self.pool_t]
        return ops.amax(x.reshape(n, runs, self.pool_t, c * h * w), 2).reshape(n * runs, c, h, w)

    @staticmethod
    def _positions(x: ms.Tensor, n: int) -> ms.Tensor:
        """(n * t, c, h, w) to (n, t * h * w, c)."""
        _, c, h, w = x.shape
        return x.reshape(-1, c, h * w).transpose(0, 2, 1).reshape(n, -1, c)
