"""The tables of names, held against state dicts of the real packages; no framework is loaded."""

import json
from pathlib import Path

import numpy as np
import pytest

from src.checkpoint.names import NAMINGS, convert, recognize, to_mindspore, to_mmaction2, to_pyslowfast
from src.utils.errors import UserError


def state_dict(name: str) -> dict[str, tuple[int, ...]]:
    """Read a list of names and shapes."""
    lines = (Path(__file__).parent / "names" / name).read_text().splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return {row[0]: tuple(map(int, row[1:])) for row in rows}


@pytest.fixture(scope="module")
def pytorchvideo() -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter of pytorchvideo's slowfast_r50_detection."""
    return state_dict("pytorchvideo_slowfast_r50_detection.txt")


@pytest.fixture(scope="module")
def mmaction2() -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter of mmaction2's SlowFast R50 8x8 detector."""
    return state_dict("mmaction2_slowfast_r50_8x8_ava.txt")


@pytest.fixture(scope="module")
def pyslowfast(shared_dir) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter of PySlowFast's R50."""
    parameters = json.loads((shared_dir / "parity/forward_r50_224.json").read_text())["parameters"]
    return {name: tuple(shape) for name, shape in parameters.items()}


def renamed(shapes: dict, kind: str) -> dict:
    """Rename all keys; two keys that become one fail."""
    pairs = [(to_pyslowfast(name, kind), shape) for name, shape in shapes.items()]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_every_caffe2_blob_has_its_place(shared_dir, pyslowfast):
    blobs = json.loads((shared_dir / "parity/caffe2_blobs_slowfast_r50.json").read_text())
    assert renamed({name: tuple(shape) for name, shape in blobs.items()}, "caffe2") == pyslowfast


def test_every_pytorchvideo_parameter_has_its_place(pytorchvideo, pyslowfast):
    assert renamed(pytorchvideo, "pytorchvideo") == pyslowfast


def test_every_mmaction2_parameter_has_its_place(mmaction2, pytorchvideo):
    expected = renamed(pytorchvideo, "pytorchvideo")
    # mmaction2's lateral connections are bare convolutions, and its detector has an output for the background.
    expected = {name: shape for name, shape in expected.items() if "_fuse.bn." not in name}
    expected |= {"head.projection.weight": (81, 2304), "head.projection.bias": (81,)}
    assert renamed(mmaction2, "mmaction2") == expected


@pytest.mark.parametrize(
    ("kind", "theirs", "ours"),
    [
        ("caffe2", "t_res3_0_branch2b_bn_riv", "s3.pathway1_res0.branch2.b_bn.moving_variance"),
        ("caffe2", "res_conv1_bn_s", "s1.pathway0_stem.bn.gamma"),
        ("caffe2", "t_pool1_subsample_w", "s1_fuse.conv_f2s.weight"),
        ("caffe2", "t_res4_22_branch2c_bn_subsample_bn_rm", "s4_fuse.bn.moving_mean"),
        ("caffe2", "nonlocal_conv4_20_theta_b", "s4.pathway0_nonlocal20.conv_theta.bias"),
        ("caffe2", "nonlocal_conv4_6_bn_s", "s4.pathway0_nonlocal6.bn.gamma"),
        ("caffe2", "pred_b", "head.projection.bias"),
        ("pyth", "s5.pathway0_res2.branch2.c_bn.running_mean", "s5.pathway0_res2.branch2.c_bn.moving_mean"),
        ("pytorchvideo", "blocks.6.proj.weight", "head.projection.weight"),
        ("pytorchvideo", "blocks.3.multipathway_fusion.norm.bias", "s4_fuse.bn.beta"),
        ("mmaction2", "backbone.slow_path.layer2_lateral.bn.weight", "s3_fuse.bn.gamma"),
        ("mmaction2", "cls_head.fc_cls.bias", "head.projection.bias"),
        ("ckpt", "s1.pathway0_stem.bn.gamma", "s1.pathway0_stem.bn.gamma"),
    ],
)
def test_names_by_example(kind, theirs, ours):
    assert to_mindspore(to_pyslowfast(theirs, kind)) == ours


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("caffe2", "res2_0_branch1_w_momentum"),
        ("caffe2", "model_iter"),
        ("pyth", "s1.pathway0_stem.bn.num_batches_tracked"),
        ("mmaction2", "roi_head.shared_head.acrn.weight"),
        ("ckpt", "moments.s1.pathway0_stem.bn.gamma"),
    ],
)
def test_what_is_no_parameter_keeps_its_name(kind, name):
    assert to_mindspore(to_pyslowfast(name, kind)) == name


def test_mindspore_names_go_back_and_forth(pytorchvideo):
    for name in renamed(pytorchvideo, "pytorchvideo"):
        assert to_pyslowfast(to_mindspore(name), "ckpt") == name


@pytest.mark.parametrize("kind", NAMINGS)
def test_each_kind_is_recognized_by_its_mark(kind):
    assert recognize(["epoch", NAMINGS[kind].mark], "file") == (kind, "")


@pytest.mark.parametrize(
    ("written", "prefix"),
    [
        ("", ""),
        ("module.", ""),
        ("_orig_mod.", ""),
        ("model.", "model."),
        ("model.net.", "model.net."),
        ("_forward_module.model._checkpoint_wrapped_module.", "model."),
        ("model._orig_mod.module.", "model."),
        ("student.", "student."),
    ],
)
@pytest.mark.parametrize("kind", ["pyth", "pytorchvideo", "mmaction2"])
def test_a_prefix_is_found_and_stripped(pytorchvideo, mmaction2, kind, written, prefix):
    names = {"pytorchvideo": pytorchvideo, "mmaction2": mmaction2, "pyth": renamed(pytorchvideo, "pytorchvideo")}[kind]
    source = {f"{written}{name}": np.zeros(shape) for name, shape in names.items()}
    assert recognize(source, "file") == (kind, prefix)
    plain = convert({name: np.zeros(shape) for name, shape in names.items()}, kind, "file")
    converted = convert({**source, "epoch": np.zeros(())}, kind, "file", prefix)
    assert converted.keys() == plain.keys() | {"epoch"}


def test_of_several_networks_the_usual_one_is_taken(pytorchvideo):
    names = [f"{prefix}{name}" for prefix in ("ema_model.module.", "model.") for name in pytorchvideo]
    assert recognize(names, "file") == ("pytorchvideo", "model.")
    names = [f"{prefix}s1.pathway0_stem.bn.weight" for prefix in ("teacher.", "student.")]
    with pytest.raises(UserError, match=r"holds the network 2 times, under student\., teacher\.; expected it once"):
        recognize(names, "file")


def test_an_unknown_kind_is_refused_with_its_first_names():
    with pytest.raises(UserError, match=r"^resnet\.pth: no SlowFast checkpoint .* its first names are conv1\.weight"):
        recognize(["conv1.weight", "bn1.weight"], "resnet.pth")


def test_two_names_for_one_parameter_are_refused():
    arrays = {"module.s1_fuse.bn.bias": np.zeros(3), "s1_fuse.bn.bias": np.ones(3)}
    with pytest.raises(UserError, match=r"s1_fuse\.bn\.beta is in it twice"):
        convert(arrays, "pyth", "a.pyth")


def test_the_background_output_of_mmaction2_detectors_is_dropped():
    arrays = {"roi_head.bbox_head.fc_cls.weight": np.array([[9, 9], [1, 2], [3, 4]]), "other": np.zeros(1)}
    arrays["roi_head.bbox_head.fc_cls.bias"] = np.array([9, 5, 6])
    converted = convert(arrays, "mmaction2", "a.pth")
    assert converted["head.projection.weight"].tolist() == [[1, 2], [3, 4]]
    assert converted["head.projection.bias"].tolist() == [5, 6]


ACRN = ("conv1.conv.weight", "conv1.bn.weight", "conv1.bn.running_var", "conv2.conv.weight", "conv2.bn.bias")


def test_mmaction2_detectors_go_back_and_forth(mmaction2):
    rng = np.random.default_rng(0)
    shapes = {**mmaction2, **{f"roi_head.shared_head.{name}": (3,) for name in ACRN}}
    shapes |= {f"backbone.slow_path.{layer}_lateral.bn.running_mean": (3,) for layer in ("conv1", "layer2")}
    shapes = {name: shape[:2] for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name, array in arrays.items():
        if "fc_cls" in name:
            array[0] = 0  # the background
    converted = convert(arrays, "mmaction2", "a.pth")
    assert converted["head.acrn.conv1_bn.moving_variance"].shape == (3,)
    assert converted["head.acrn.conv2.weight"].tolist() == arrays["roi_head.shared_head.conv2.conv.weight"].tolist()
    back = to_mmaction2(converted)
    assert {name: array.tobytes() for name, array in back.items()} == {n: a.tobytes() for n, a in arrays.items()}


def test_mmaction2_has_no_nonlocal_blocks_in_slowfast():
    with pytest.raises(UserError, match=r"s3\.pathway0_nonlocal1\.conv_g\.weight: mmaction2's SlowFast has no such"):
        to_mmaction2({"s3.pathway0_nonlocal1.conv_g.weight": np.zeros(1)})


def test_the_fast_channels_of_mmaction2_recognizers_go_behind_the_slow_ones():
    arrays = {"cls_head.fc_cls.weight": np.arange(18).reshape(1, 18), "cls_head.fc_cls.bias": np.array([7])}
    converted = convert(arrays, "mmaction2", "a.pth")
    assert converted["head.projection.weight"].tolist() == [[*range(2, 18), 0, 1]]
    assert converted["head.projection.bias"].tolist() == [7]
