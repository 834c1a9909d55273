"""The actor-centric relation head (Sun et al. 2018), as mmaction2 defines it for SlowFast."""

import mindspore as ms
from mindspore import nn, ops

from src.models.batch_norm import ElementaryBatchNorm, running_norm
from src.models.common import Conv3d, ConvBn, Layers


class ActorRelation(nn.Cell):
    """Relates each box to every place of its frame.

    The box's features are tiled over the frame's map and put before the map's own; a 1 x 1 x 1 and a 1 x 3 x 3
    convolution follow, each with batch norm and ReLU, then the maximum over the map.

    Of padding, batch norm's statistics in training take no notice.

    Args:
        layers: the operators.
        channels: features of a box, channels of the map.
        out_channels: channels that either convolution gives.
    """

    def __init__(self, layers: Layers, channels: int, out_channels: int):
        super().__init__()
        self.conv1 = Conv3d(2 * channels, out_channels, (1, 1, 1), 1)
        self.conv1_bn = layers.batch_norm(out_channels)
        self.conv2 = Conv3d(out_channels, out_channels, (1, 3, 3), 1)
        self.conv2_bn = layers.batch_norm(out_channels)
        self.tile = TiledConvBn(layers, self.conv1, self.conv1_bn)
        self.convolve = layers.conv_bn(self.conv2, relu=False)
        self.relate = layers.conv_bn(self.conv2, self.conv2_bn)
        self.normalize1 = ElementaryBatchNorm(self.conv1_bn, axis=2, devices=layers.devices)
        self.normalize2 = ElementaryBatchNorm(self.conv2_bn, axis=2, devices=layers.devices)
        self.to_positions, self.from_positions = layers.to_positions, layers.from_positions

    def construct(
        self, features: ms.Tensor, maps: ms.Tensor, frames: ms.Tensor, mask: ms.Tensor | None = None
    ) -> ms.Tensor:
        """Map features of boxes (n * k, channels) to (n * k, out_channels).

        Args:
            features: of the boxes of one clip after another.
            maps: (n, channels, h, w), of the clips.
            frames: folded frames h x w; what they hold does not matter.
            mask: (n, k), positive for real boxes; None: all are.
        """
        if self.training and self.conv1_bn.use_batch_statistics is not False:
            weights = None
            if mask is not None:
                weights = (mask > 0).astype(ms.float32).reshape(-1, 1, 1)
            rows = ops.relu(self.normalize1(self.tile.linear(features, maps), weights))
            rows = self.to_positions(self.convolve(self.from_positions(rows, frames)), 1)
            rows = ops.relu(self.normalize2(rows, weights))
        else:
            rows = self.to_positions(self.relate(self.from_positions(self.tile(features, maps), frames)), 1)
        return ops.amax(rows, 1)


class TiledConvBn(ConvBn):
    """`ConvBn` of a 1 x 1 x 1 convolution whose input is features of boxes tiled over a map, before the map itself.

    A product is computed for each box and one for each place of a map, and they are added.

    Args:
        layers: the operators.
        conv: the convolution.
        norm: the batch norm, used by its running statistics.
    """

    def __init__(self, layers: Layers, conv: Conv3d, norm: nn.BatchNorm2d):
        super().__init__(conv, norm)
        self.split = layers.split
        self.matmul = ops.MatMul(transpose_b=True)

    def construct(self, features: ms.Tensor, maps: ms.Tensor) -> ms.Tensor:
        """Map features (n * k, c) and maps (n, c, h, w) to rows (n * k, h * w, out)."""
        return ops.relu(running_norm(self.linear(features, maps), self.norm))

    def linear(self, features: ms.Tensor, maps: ms.Tensor) -> ms.Tensor:
        """Return the convolution alone."""
        n, c, h, w = maps.shape
        weight = self.conv.weight.astype(features.dtype)
        of_box, of_map = self.split(weight.reshape(-1, 2 * c), c, 1)
        boxes = self.matmul(features, of_box)
        if self.conv.bias is not None:
            boxes = boxes + self.conv.bias.astype(boxes.dtype)
        places = self.matmul(maps.reshape(n, c, h * w).transpose(0, 2, 1).reshape(n * h * w, c), of_map)
        rows = boxes.reshape(n, -1, 1, boxes.shape[1]) + places.reshape(n, 1, h * w, -1)
        return rows.reshape(features.shape[0], h * w, -1)
