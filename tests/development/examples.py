"""What the examples of docs/development.md add, used once each. test_development.py runs this where all are applied."""

import json
import pickle
from pathlib import Path

import cv2
import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import src
from src.ava.label_map import write_label_map
from src.checkpoint.names import convert, recognize
from src.checkpoint.weight_files import read_weights
from src.config.custom_config import load_config
from src.datasets.kinds import build_dataset
from src.datasets.prepare.box import Classes
from src.datasets.prepare.boxes import read_boxes
from src.deploy.formats import FORMATS
from src.evaluation.build import build_evaluator
from src.models.head_helper import RoIHead
from src.models.losses import build_loss
from src.models.roi_align import RoIAlign
from src.models.video_model_builder import SlowFast, plain_layers
from src.utils.device import set_up_device


@pytest.fixture(scope="module", autouse=True)
def device() -> None:
    assert Path(src.__file__).parents[1] == Path(__file__).parent
    set_up_device("CPU", seed=0)


def test_loss():
    cfg = load_config(None, ["MODEL.LOSS_FUNC", "poly"])
    loss = build_loss(cfg, np.ones(1))
    logits, labels, weights = ms.Tensor([[[0.0], [9.0]]]), ms.Tensor([[[1.0], [0.0]]]), ms.Tensor([[1.0, 0.0]])
    # ln 2 and a half; the second box is padding.
    assert loss(logits, labels, weights).item() == pytest.approx(1.19314718)


def test_head():
    head = RoIHead(plain_layers(load_config()), (2, 1), (1, 1), 1, RoIAlign(2, 1.0), 0.01)
    assert head.num_features == 6
    head.projection.weight.set_data(ms.Tensor([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]], ms.float32))
    left, right = np.zeros((1, 2, 4, 4), np.float32), np.zeros((1, 1, 4, 4), np.float32)
    left[..., :2], right[..., 2:] = 4.0, 8.0
    scores = head(ms.Tensor(left), ms.Tensor(right), ms.Tensor([[[0.0, 0.0, 4.0, 4.0]]], ms.float32))
    # The means of halves of 4, twice, and of 8.
    assert scores.asnumpy() == pytest.approx(8.0)


def test_depth():
    cfg = load_config(None, ["RESNET.DEPTH", 152, "RESNET.WIDTH_PER_GROUP", 8])
    names = {name.rpartition(".branch2")[0] for name in SlowFast(cfg).parameters_dict()}
    blocks = [sum(name.startswith(f"s{stage}.pathway0_res") for name in names) for stage in (2, 3, 4, 5)]
    assert blocks == [3, 8, 36, 3]


def test_annotation_format(tmp_path):
    path = tmp_path / "a-asset.json"
    asset = {"name": "one_000031.jpg", "size": {"width": 160, "height": 120}, "type": 1}
    region = {"type": "RECTANGLE", "tags": ["walk", "wave"]}
    region["boundingBox"] = {"left": 20, "top": 10, "width": 40, "height": 80}
    path.write_text(json.dumps({"asset": asset, "regions": [region], "version": "2.1.0"}))
    (box,) = read_boxes(path, Classes({3: "walk", 4: "wave"}))[path]
    assert (box.video, box.image, box.corners, box.classes) == ("one", 31, (20.0, 10.0, 60.0, 90.0), (3, 4))
    assert (box.units, box.size) == ("pixels", (160, 120))


def test_dataset(tmp_path):
    (tmp_path / "frames").mkdir()
    (tmp_path / "ava_annotations").mkdir()
    header = "original_vido_id video_id frame_id path labels\n"
    for split, name in (("train", "jump"), ("val", "dive")):
        for frame in range(8):
            cv2.imwrite(str(tmp_path / f"frames/{name}{frame}.jpg"), np.full((40, 80, 3), 10 * frame, np.uint8))
        lines = [f'{name} 0 {frame} {name}{frame}.jpg ""\n' for frame in range(8)]
        (tmp_path / f"ava_annotations/{split}.csv").write_text(header + "".join(lines))
    tube = np.array([[3, 8, 4, 40, 20], [4, 8, 4, 40, 24]], np.float32)
    tubes = {
        "labels": ["Diving", "Jumping"],
        "gttubes": {"jump": {1: [tube]}, "dive": {0: [tube], 1: [tube[:1]]}},
        "resolution": {"jump": (40, 80), "dive": (40, 80)},
        "train_videos": [["jump"]],
        "test_videos": [["dive"]],
    }
    (tmp_path / "ava_annotations/tubes.pkl").write_bytes(pickle.dumps(tubes))
    write_label_map(tmp_path / "ava_annotations/labels.pbtxt", {1: "Diving", 2: "Jumping"})
    settings = {
        "DATA.PATH_TO_DATA_DIR": str(tmp_path),
        "DATA.TEST_CROP_SIZE": 32,
        "MODEL.NUM_CLASSES": 2,
        "AVA.FPS": 25,
        "AVA.FIRST_SECOND": 0,
        "AVA.GROUNDTRUTH_FILE": "tubes.pkl",
        "AVA.EXCLUSION_FILE": "",
        "AVA.LABEL_MAP_FILE": "labels.pbtxt",
    }
    cfg = load_config(None, [item for pair in settings.items() for item in pair])
    assert build_dataset(cfg, "train").frames.names == ("jump",)
    dataset = build_dataset(cfg, "test")
    assert dataset.key_frames.second.tolist() == [0.08, 0.12]
    sample = dataset.sample(0)
    assert sample["boxes_norm"].tolist() == [pytest.approx([0.1, 0.1, 0.5, 0.5])]
    assert sample["labels"].tolist() == [[1.0, 1.0]]
    truth = build_evaluator(cfg, dataset.frames.names).ground_truth
    assert truth.video_names == ("dive",)
    assert (truth.second.tolist(), truth.row_class.tolist()) == ([0.08, 0.12, 0.08], [1, 1, 2])


def test_source_of_checkpoints(tmp_path):
    names = {
        "backbone.s1.pathway0_stem._conv.weight": (1, 1, 1, 1, 1),
        "backbone.s1.pathway0_stem._bn._mean": (1,),
        "backbone.s1_fuse._conv_f2s.weight": (1, 1, 1, 1, 1),
        "backbone.s1_fuse._bn.weight": (1,),
        "backbone.s4.pathway1_res5.branch2.c_bn._variance": (1,),
        "head.projection.weight": (9, 2),
    }
    path = tmp_path / "slowfast.pdparams"
    path.write_bytes(pickle.dumps({name: np.ones(shape, np.float32) for name, shape in names.items()}))
    _, arrays, _ = read_weights(path)
    assert recognize(arrays, str(path)) == ("paddlevideo", "")
    converted = convert(arrays, "paddlevideo", str(path))
    assert list(converted) == [
        "s1.pathway0_stem.conv.weight",
        "s1.pathway0_stem.bn.moving_mean",
        "s1_fuse.conv_f2s.weight",
        "s1_fuse.bn.gamma",
        "s4.pathway1_res5.branch2.c_bn.moving_variance",
        "head.projection.weight",
    ]
    assert converted["head.projection.weight"].shape == (2, 9)


def test_export_format(tmp_path):
    chosen = FORMATS[load_config(None, ["EXPORT.FORMAT", "SAFETENSORS"]).EXPORT.FORMAT]
    path, network = tmp_path / f"slowfast{chosen.suffix}", nn.Dense(3, 2)
    chosen.write(load_config(), network, [], None, path)
    _, arrays, _ = read_weights(path)
    assert {name: array.shape for name, array in arrays.items()} == {"weight": (2, 3), "bias": (2,)}
    np.testing.assert_array_equal(arrays["weight"], network.weight.asnumpy())


def test_metric(tmp_path):
    (tmp_path / "truth.csv").write_text("v,0902,0.0,0.0,0.4,0.4,1\n")
    write_label_map(tmp_path / "labels.pbtxt", {1: "stand"})
    files = ["AVA.GROUNDTRUTH_FILE", "truth.csv", "AVA.LABEL_MAP_FILE", "labels.pbtxt", "AVA.EXCLUSION_FILE", ""]
    cfg = load_config(None, ["DATA.PATH_TO_DATA_DIR", str(tmp_path), "AVA.ANNOTATION_DIR", ".", *files])
    evaluator = build_evaluator(cfg)
    evaluator.process(np.array([[0.9]]), np.array([[0.0, 0.0, 0.4, 0.31]]), [("v", 902)])
    # IoU 0.775: right at 0.5, 0.55, ... 0.75, six of the ten.
    assert evaluator.evaluate().map == pytest.approx(0.6)
