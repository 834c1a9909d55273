"""Residual blocks of res2 to res5, by RESNET.DEPTH (He et al. 2016). Needs no MindSpore: the configuration reads it."""

STAGE_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
