"""SlowFast with a RoI head (Feichtenhofer et al. 2019), from a configuration."""

import mindspore as ms
from fvcore.common.config import CfgNode
from mindspore import nn, ops

from src.models.common import Conv3d, Layers
from src.models.head_helper import RoIHead
from src.models.resnet_helper import PathwayStage, ResStage
from src.models.roi_align import RoIAlign
from src.models.stage_depths import STAGE_DEPTHS
from src.models.stem_helper import Stem

# Temporal kernels of the Slow and the Fast pathway: the stem's, then those of res2 to res5 (paper, table 1).
STEM_KERNELS = (1, 5)
STAGE_KERNELS = ((1, 3), (1, 3), (3, 3), (3, 3))


class FuseFastToSlow(nn.Cell):
    """A lateral connection: a convolution over time with stride alpha, put beside the Slow pathway's channels.

    Args:
        layers: the operators.
        channels: channels of the Fast pathway.
        out_channels: channels that the convolution gives.
        kernel_t: temporal kernel.
        frames: frames of the Fast pathway.
        alpha: frames of the Fast pathway for one of the Slow pathway.
        norm: batch norm and ReLU follow the convolution.
    """

    def __init__(
        self, layers: Layers, channels: int, out_channels: int, kernel_t: int, frames: int, alpha: int, norm: bool
    ):
        super().__init__()
        self.conv_f2s = Conv3d(channels, out_channels, (kernel_t, 1, 1), frames, stride=(alpha, 1, 1))
        self.bn = layers.batch_norm(out_channels) if norm else None
        self.fuse = layers.conv_bn(self.conv_f2s, self.bn, relu=norm)
        self.fork, self.concat_channels = layers.fork, layers.concat_channels

    def construct(self, slow: ms.Tensor, fast: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """Return the Slow frames with the fused channels behind their own, and the Fast frames."""
        fast, lateral = self.fork(fast)
        return self.concat_channels(slow, self.fuse(lateral)), fast


class PathwayStems(nn.Cell):
    """The stems of both pathways."""

    def __init__(self, layers: Layers, channels: tuple[int, int], frames: tuple[int, int]):
        super().__init__()
        self.pathway0_stem = Stem(layers, channels[0], STEM_KERNELS[0], frames[0])
        self.pathway1_stem = Stem(layers, channels[1], STEM_KERNELS[1], frames[1])

    def construct(self, slow: ms.Tensor, fast: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """Run each pathway on its folded frames."""
        return self.pathway0_stem(slow), self.pathway1_stem(fast)


def plain_layers(cfg: CfgNode) -> Layers:
    """Return MindSpore's own operators: what is exported, and what every device has."""
    return Layers(cfg.BN.EPSILON, cfg.BN.MOMENTUM)


class SlowFast(nn.Cell):
    """The two-pathway detector.

    Args:
        cfg: the configuration; reads MODEL, RESNET, NONLOCAL, SLOWFAST, DETECTION and DATA.NUM_FRAMES. It is read
            here alone: what the network is made of takes plain arguments.
        layers: the operators; None: MindSpore's own. `src.models.build` chooses those that suit the device.

    Parameters carry PySlowFast's names (`s3.pathway1_res0.branch2.b.weight`) with MindSpore's endings for
    batch norm. Any input height and width will do; each new one compiles a graph.
    """

    def __init__(self, cfg: CfgNode, layers: Layers | None = None) -> None:
        super().__init__()
        layers = layers or plain_layers(cfg)
        self.fold = layers.fold
        self.fused_momentum_sgd = layers.fused_momentum_sgd
        alpha, beta = cfg.SLOWFAST.ALPHA, cfg.SLOWFAST.BETA_INV
        width = cfg.RESNET.WIDTH_PER_GROUP
        frames = (cfg.DATA.NUM_FRAMES // alpha, cfg.DATA.NUM_FRAMES)

        # Channels of the Slow and the Fast pathway. The shapes below are of 32 x 224 x 224 and width 64.
        slow, fast = width, width // beta
        self.s1 = PathwayStems(layers, (slow, fast), frames)  # 64 x 8 x 56 x 56, 8 x 32 x 56 x 56
        stages, fusions = [], []
        for stage in range(4):
            fused = fast * cfg.SLOWFAST.FUSION_CONV_CHANNEL_RATIO
            fusions.append(
                FuseFastToSlow(
                    layers, fast, fused, cfg.SLOWFAST.FUSION_KERNEL_SZ, frames[1], alpha, cfg.SLOWFAST.FUSION_NORM
                )
            )
            pathways = [
                PathwayStage(
                    blocks=STAGE_DEPTHS[cfg.RESNET.DEPTH][stage],
                    in_channels=(slow + fused, fast)[pathway],
                    inner_channels=(width << stage) // (1, beta)[pathway],
                    kernel_t=STAGE_KERNELS[stage][pathway],
                    temporal_blocks=cfg.RESNET.NUM_BLOCK_TEMP_KERNEL[stage][pathway],
                    frames=frames[pathway],
                    stride=cfg.RESNET.SPATIAL_STRIDES[stage][pathway],
                    dilation=cfg.RESNET.SPATIAL_DILATIONS[stage][pathway],
                    zero_init=cfg.RESNET.ZERO_INIT_FINAL_BN,
                    nonlocal_after=cfg.NONLOCAL.LOCATION[stage][pathway],
                    nonlocal_pool=cfg.NONLOCAL.POOL[stage][pathway],
                    nonlocal_instantiation=cfg.NONLOCAL.INSTANTIATION,
                )
                for pathway in range(2)
            ]
            stages.append(ResStage(layers, *pathways))
            slow, fast = (pathway.out_channels for pathway in pathways)
        self.s1_fuse, self.s2_fuse, self.s3_fuse, self.s4_fuse = fusions
        # res2: 256 x 56 x 56, res3: 512 x 28 x 28, res4: 1024 x 14 x 14, res5: 2048 x 14 x 14; Fast an eighth of it.
        self.s2, self.s3, self.s4, self.s5 = stages
        roi_align = RoIAlign(
            cfg.DETECTION.ROI_XFORM_RESOLUTION,
            1.0 / cfg.DETECTION.SPATIAL_SCALE_FACTOR,
            cfg.DETECTION.SAMPLING_RATIO,
            cfg.DETECTION.ALIGNED,
            cfg.DETECTION.ROI_END_MODE,
            layers.split,
        )
        self.head = RoIHead(
            layers,
            (slow, fast),
            frames,
            cfg.MODEL.NUM_CLASSES,
            roi_align,
            cfg.MODEL.FC_INIT_STD,
            cfg.MODEL.HEAD_TEMPORAL_POOL,
            cfg.MODEL.HEAD_CONTEXT,
            cfg.MODEL.HEAD_ACRN,
        )
        self.activation = cfg.MODEL.HEAD_ACT

    def construct(self, slow: ms.Tensor, fast: ms.Tensor, boxes_px: ms.Tensor) -> ms.Tensor:
        """Score every box.

        Args:
            slow: (n, 3, frames / alpha, h, w) float32, normalized RGB.
            fast: (n, 3, frames, h, w).
            boxes_px: (n, k, 4) float32, x1 y1 x2 y2 in input pixels; padding is all zeros.

        Returns:
            (n, k, classes): probabilities, or logits with MODEL.HEAD_ACT none.
        """
        scores = self.logits(slow, fast, boxes_px)
        if self.activation == "sigmoid":
            return ops.sigmoid(scores)
        return ops.softmax(scores, -1) if self.activation == "softmax" else scores

    def logits(
        self,
        slow: ms.Tensor,
        fast: ms.Tensor,
        boxes_px: ms.Tensor,
        dropout: ms.Tensor | None = None,
        mask: ms.Tensor | None = None,
    ) -> ms.Tensor:
        """Score every box, before the activation; arguments as `construct` and `RoIHead.construct`."""
        slow, fast = self.s1(self.fold(slow), self.fold(fast))
        slow, fast = self.s2(*self.s1_fuse(slow, fast))
        slow, fast = self.s3(*self.s2_fuse(slow, fast))
        slow, fast = self.s4(*self.s3_fuse(slow, fast))
        slow, fast = self.s5(*self.s4_fuse(slow, fast))
        return self.head(slow, fast, boxes_px, dropout, mask)
