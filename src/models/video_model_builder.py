"""SlowFast with a RoI head (Feichtenhofer et al. 2019), from a configuration."""

import mindspore as ms
from fvcore.common.config import CfgNode
from mindspore import nn, ops

from src.models.common import Conv3d, batch_norm, fold
from src.models.head_helper import RoIHead
from src.models.resnet_helper import EXPANSION, ResStage
from src.models.stem_helper import Stem

# Residual blocks of res2 to res5, by depth.
STAGE_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
# Temporal kernels of the Slow and the Fast pathway: the stem's, then those of res2 to res5 (paper, table 1).
STEM_KERNELS = (1, 5)
STAGE_KERNELS = ((1, 3), (1, 3), (3, 3), (3, 3))


class FuseFastToSlow(nn.Cell):
    """A lateral connection: a convolution over time with stride alpha, put beside the Slow pathway's channels.

    Args:
        cfg: the configuration.
        channels: channels of the Fast pathway.
    """

    def __init__(self, cfg: CfgNode, channels: int):
        super().__init__()
        out_channels = channels * cfg.SLOWFAST.FUSION_CONV_CHANNEL_RATIO
        self.conv_f2s = Conv3d(
            channels,
            out_channels,
            (cfg.SLOWFAST.FUSION_KERNEL_SZ, 1, 1),
            cfg.DATA.NUM_FRAMES,
            stride=(cfg.SLOWFAST.ALPHA, 1, 1),
        )
        self.bn = batch_norm(out_channels, cfg.BN.EPSILON, cfg.BN.MOMENTUM) if cfg.SLOWFAST.FUSION_NORM else None

    def construct(self, slow: ms.Tensor, fast: ms.Tensor) -> ms.Tensor:
        """Return the Slow frames with the fused channels behind their own."""
        fused = self.conv_f2s(fast)
        if self.bn is not None:
            fused = ops.relu(self.bn(fused))
        return ops.concat((slow, fused), 1)


class PathwayStems(nn.Cell):
    """The stems of both pathways."""

    def __init__(self, cfg: CfgNode, channels: tuple[int, int], frames: tuple[int, int]):
        super().__init__()
        norm = (cfg.BN.EPSILON, cfg.BN.MOMENTUM)
        self.pathway0_stem = Stem(channels[0], STEM_KERNELS[0], frames[0], *norm)
        self.pathway1_stem = Stem(channels[1], STEM_KERNELS[1], frames[1], *norm)

    def construct(self, slow: ms.Tensor, fast: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """Run each pathway on its folded frames."""
        return self.pathway0_stem(slow), self.pathway1_stem(fast)


class SlowFast(nn.Cell):
    """The two-pathway detector.

    Args:
        cfg: the configuration; reads MODEL, RESNET, NONLOCAL, SLOWFAST, BN, DETECTION and DATA.NUM_FRAMES.

    Parameters carry PySlowFast's names (`s3.pathway1_res0.branch2.b.weight`) with MindSpore's endings for
    batch norm. Any input height and width will do; each new one compiles a graph.
    """

    def __init__(self, cfg: CfgNode):
        super().__init__()
        alpha, beta = cfg.SLOWFAST.ALPHA, cfg.SLOWFAST.BETA_INV
        width = cfg.RESNET.WIDTH_PER_GROUP
        frames = (cfg.DATA.NUM_FRAMES // alpha, cfg.DATA.NUM_FRAMES)

        # Channels of the Slow and the Fast pathway. The shapes below are of 32 x 224 x 224 and width 64.
        slow, fast = width, width // beta
        self.s1 = PathwayStems(cfg, (slow, fast), frames)  # 64 x 8 x 56 x 56, 8 x 32 x 56 x 56
        stages, fusions = [], []
        for stage in range(4):
            fusions.append(FuseFastToSlow(cfg, fast))
            channels = (slow + fast * cfg.SLOWFAST.FUSION_CONV_CHANNEL_RATIO, fast)
            inner = (width << stage, (width << stage) // beta)
            stages.append(
                ResStage(
                    cfg, stage, STAGE_BLOCKS[cfg.RESNET.DEPTH][stage], channels, inner, STAGE_KERNELS[stage], frames
                )
            )
            slow, fast = inner[0] * EXPANSION, inner[1] * EXPANSION
        self.s1_fuse, self.s2_fuse, self.s3_fuse, self.s4_fuse = fusions
        # res2: 256 x 56 x 56, res3: 512 x 28 x 28, res4: 1024 x 14 x 14, res5: 2048 x 14 x 14; Fast an eighth of it.
        self.s2, self.s3, self.s4, self.s5 = stages
        self.head = RoIHead(
            (slow, fast),
            frames,
            cfg.MODEL.NUM_CLASSES,
            cfg.DETECTION.ROI_XFORM_RESOLUTION,
            1.0 / cfg.DETECTION.SPATIAL_SCALE_FACTOR,
            cfg.DETECTION.ROI_POOLING,
            cfg.MODEL.FC_INIT_STD,
        )
        self.sigmoid = cfg.MODEL.HEAD_ACT == "sigmoid"

    def construct(self, slow: ms.Tensor, fast: ms.Tensor, boxes_px: ms.Tensor) -> ms.Tensor:
        """Score every box.

        Args:
            slow: (n, 3, frames / alpha, h, w) float32, normalised RGB.
            fast: (n, 3, frames, h, w).
            boxes_px: (n, k, 4) float32, x1 y1 x2 y2 in input pixels; padding is all zeros.

        Returns:
            (n, k, classes): probabilities, or logits with MODEL.HEAD_ACT none.
        """
        scores = self.logits(slow, fast, boxes_px)
        return ops.sigmoid(scores) if self.sigmoid else scores

    def logits(
        self, slow: ms.Tensor, fast: ms.Tensor, boxes_px: ms.Tensor, dropout: ms.Tensor | None = None
    ) -> ms.Tensor:
        """Score every box, before the activation; arguments as `construct` and `RoIHead.construct`."""
        slow, fast = self.s1(fold(slow), fold(fast))
        slow, fast = self.s2(self.s1_fuse(slow, fast), fast)
        slow, fast = self.s3(self.s2_fuse(slow, fast), fast)
        slow, fast = self.s4(self.s3_fuse(slow, fast), fast)
        slow, fast = self.s5(self.s4_fuse(slow, fast), fast)
        return self.head(slow, fast, boxes_px, dropout)
