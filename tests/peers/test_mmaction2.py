"""Every SlowFast row of mmaction2 1.1.0 for AVA, with random weights: its outputs and its focal loss are ours.

Its classes are built from the configurations that its wheel holds. RoIAlign of mmcv, which is compiled, is that of
torchvision here; both define it as detectron2 does. Beside torch and torchvision it needs

    pip install mmengine mmcv-lite==2.0.1 einops && pip install --no-deps mmaction2==1.1.0
"""

import copy
import importlib
import sys
import types
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

import convert_ckpt_caffe2ms
from src.checkpoint.loading import load_into
from src.config.custom_config import load_config
from src.models.build import build_model
from src.models.losses import build_loss, counted
from src.utils.errors import run_main

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
mmaction = pytest.importorskip("mmaction")

pytestmark = [pytest.mark.peers, pytest.mark.slow]

# Our recipe: the peer's.
ROWS = {
    "4x16_R50_AVA21": "slowfast/slowfast_kinetics400-pretrained-r50_8xb16-4x16x1-20e_ava21-rgb",
    "4x16_R50_CONTEXT_AVA21": "slowfast/slowfast_kinetics400-pretrained-r50-context_8xb16-4x16x1-20e_ava21-rgb",
    "8x8_R50_AVA21": "slowfast/slowfast_kinetics400-pretrained-r50_8xb8-8x8x1-20e_ava21-rgb",
    "8x8_R50_AVA22": "slowfast/slowfast_kinetics400-pretrained-r50_8xb6-8x8x1-cosine-10e_ava22-rgb",
    "8x8_R50_MAX_AVA22": "slowfast/slowfast_kinetics400-pretrained-r50-temporal-max_8xb6-8x8x1-cosine-10e_ava22-rgb",
    "8x8_R50_MAX_FOCAL_AVA22": "slowfast/"
    "slowfast_r50-k400-pre-temporal-max-focal-alpha3-gamma1_8xb6-8x8x1-cosine-10e_ava22-rgb",
    "8x8_R50_ACRN_AVA21": "acrn/slowfast-acrn_kinetics400-pretrained-r50_8xb8-8x8x1-cosine-10e_ava21-rgb",
    "8x8_R50_ACRN_AVA22": "acrn/slowfast-acrn_kinetics400-pretrained-r50_8xb8-8x8x1-cosine-10e_ava22-rgb",
}
# Without mmdet not all of them are registered.
MODULES = {
    "ResNet3dSlowFast": "mmaction.models.backbones.resnet3d_slowfast",
    "SingleRoIExtractor3D": "mmaction.models.roi_heads.roi_extractors.single_straight3d",
    "ACRNHead": "mmaction.models.roi_heads.shared_heads.acrn_head",
    "BBoxHeadAVA": "mmaction.models.roi_heads.bbox_heads.bbox_head",
}
BOXES = np.float32([[4, 4, 60, 50], [0, 0, 63, 63], [30, 20, 41, 33]])


class RoIAlign(torch.nn.Module):
    """mmcv's RoIAlign, by torchvision."""

    def __init__(self, output_size, spatial_scale=1.0, sampling_ratio=0, pool_mode="avg", aligned=True):
        super().__init__()
        assert pool_mode == "avg"
        self.settings = output_size, spatial_scale, sampling_ratio or -1, aligned

    def forward(self, features, rois):
        return torchvision.ops.roi_align(features, rois, *self.settings)


def built(kind: str, settings: dict) -> torch.nn.Module:
    """Build a class of the peer's from an entry of a configuration."""
    module = types.ModuleType("mmcv.ops")
    module.RoIAlign, module.RoIPool = RoIAlign, None
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "mmcv.ops", module)
        made = getattr(importlib.import_module(MODULES[kind]), kind)
        return made(**{key: value for key, value in settings.items() if key != "type"})


class Peer(torch.nn.Module):
    """The peer's detector, without what assigns boxes to truth."""

    def __init__(self, recipe: str):
        super().__init__()
        from mmengine.config import Config

        folder = Path(mmaction.__file__).parent / ".mim" / "configs" / "detection"
        model = Config.fromfile(folder / f"{recipe}.py").model
        self.backbone = built("ResNet3dSlowFast", model.backbone)
        head = model.roi_head
        self.roi_head = torch.nn.Module()
        self.roi_head.bbox_roi_extractor = built("SingleRoIExtractor3D", head.bbox_roi_extractor)
        self.roi_head.shared_head = built("ACRNHead", head.shared_head) if "shared_head" in head else None
        self.roi_head.bbox_head = built("BBoxHeadAVA", head.bbox_head)

    def forward(self, clip, rois):
        head = self.roi_head
        features, maps = head.bbox_roi_extractor(self.backbone(clip), rois)
        if head.shared_head is not None:
            features = head.shared_head(features, maps, rois)
        return head.bbox_head(features)


def peer_of(recipe: str) -> Peer:
    torch.manual_seed(0)
    peer = Peer(recipe).eval()
    for name, module in peer.named_modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            # The branches' last scales small, so that features neither grow nor vanish over sixteen blocks.
            scale = (0.1, 0.3) if name.endswith("conv3.bn") else (0.5, 1.5)
            torch.nn.init.uniform_(module.weight, *scale)
            torch.nn.init.normal_(module.bias, 0, 0.1)
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
        if isinstance(module, torch.nn.Conv3d):
            torch.nn.init.kaiming_normal_(module.weight)
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, 0, 0.02)
    return peer


def convert(*arguments: object) -> None:
    """Run the converter; it must succeed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["convert_ckpt_caffe2ms.py", *map(str, arguments)])
        assert run_main(convert_ckpt_caffe2ms.main) == 0


@pytest.mark.parametrize("row", ROWS)
def test_the_output_is_mmaction2s(row, repository, tmp_path, capsys):
    recipe = repository / "configs" / "AVA" / "mmaction2" / f"SLOWFAST_{row}.yaml"
    peer = peer_of(ROWS[row])
    torch.save({"state_dict": peer.state_dict()}, tmp_path / "peer.pth")
    convert("--src", tmp_path / "peer.pth", "--dst", tmp_path / "ours.ckpt", "--cfg", recipe)
    assert " 0 mismatched (head of another size), 0 missing" in capsys.readouterr().out
    cfg = load_config(recipe, ["MODEL.HEAD_ACT", "none"])
    network = build_model(cfg).set_train(False)
    load_into(network, tmp_path / "ours.ckpt")
    for height, width in ((64, 64), (96, 80)):
        clip = np.random.default_rng(height + width).normal(size=(2, 3, 32, height, width)).astype(np.float32)
        rois = np.concatenate([np.pad(BOXES, ((0, 0), (1, 0)), constant_values=index) for index in (0, 1)])
        with torch.no_grad():
            expected = peer(torch.from_numpy(clip), torch.from_numpy(rois)).numpy()[:, 1:]
        slow = np.ascontiguousarray(clip[:, :, :: cfg.SLOWFAST.ALPHA])
        found = network(ms.Tensor(slow), ms.Tensor(clip), ms.Tensor(np.stack([BOXES, BOXES]))).asnumpy()
        assert expected.std() > 0.1
        largest = np.abs(found.reshape(expected.shape) - expected).max()
        with capsys.disabled():
            print(f"\n{row} {height} x {width}: off by {largest:.1e} of {np.abs(expected).max():.1f}")
        assert largest <= 1e-4 * max(1.0, np.abs(expected).max())
    convert("--src", tmp_path / "ours.ckpt", "--dst", tmp_path / "back.pth", "--cfg", recipe, "--to", "pth")
    state = torch.load(tmp_path / "back.pth", weights_only=True)["state_dict"]
    again = copy.deepcopy(peer)
    with torch.no_grad():
        for name in ("weight", "bias"):  # what we have no place for: the background
            getattr(peer.roi_head.bbox_head.fc_cls, name)[0] = 0
    again.load_state_dict(state)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in peer.state_dict().items())


@pytest.mark.parametrize("row", ["8x8_R50_MAX_FOCAL_AVA22", "8x8_R50_AVA22"])
def test_the_loss_and_its_gradient_are_mmaction2s(row, repository):
    head = peer_of(ROWS[row]).roi_head.bbox_head
    rng = np.random.default_rng(0)
    labels = (rng.random((7, 81)) < 0.05).astype(np.float32)
    labels[2, 1:] = 0
    logits = rng.normal(0, 3, size=(7, 81)).astype(np.float32)
    logits[0, 1:4] = 0
    scores = torch.from_numpy(logits).requires_grad_()
    head.get_targets = lambda *_: (torch.from_numpy(labels), None)
    expected = head.loss_and_target(scores, None, None, None)["loss_bbox"]["loss_action_cls"]
    expected.backward()
    cfg = load_config(repository / "configs" / "AVA" / "mmaction2" / f"SLOWFAST_{row}.yaml")
    loss = build_loss(cfg, np.ones(80))
    ours = ms.Tensor(labels[None, :, 1:])
    weights = counted(ours, ms.Tensor(np.ones((1, 7), np.float32)), cfg.LOSS.IGNORE_UNLABELED)
    found, gradient = ms.value_and_grad(loss)(ms.Tensor(logits[None, :, 1:]), ours, weights)
    assert float(found) == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(gradient.asnumpy()[0], scores.grad.numpy()[:, 1:], rtol=1e-5, atol=1e-8)
