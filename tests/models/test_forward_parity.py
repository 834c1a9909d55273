"""The network gives PySlowFast's outputs."""

import json

import mindspore as ms
import numpy as np
import pytest

from src.models.common import fold
from tests.models.reference_network import load_reference, pad_boxes, reference_clip, reference_network

# What counts as equal, relative to the largest logit.
TOLERANCE = 2e-4


def assert_logits_equal(name: str, plain: bool = False) -> None:
    reference, cfg = load_reference(name, "MODEL.HEAD_ACT", "none")
    network = reference_network(cfg, plain)
    network.set_train(False)
    boxes, real = pad_boxes(reference)
    slow, fast = reference_clip(reference, cfg, reference["clip_seed"])
    logits = network(slow, fast, ms.Tensor(boxes)).asnumpy()[real]
    expected = np.array(reference["logits"])
    assert np.abs(logits - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("plain", [False, True])
def test_logits_of_a_tiny_network_with_two_clips_and_padded_boxes(eager, plain):
    assert_logits_equal("tiny", plain)


def test_logits_with_alpha_8_and_fusion_kernel_5(eager):
    assert_logits_equal("alpha8")


@pytest.mark.slow
def test_logits_of_r50_at_224_x_224():
    assert_logits_equal("r50_224x224")


@pytest.mark.slow
def test_logits_of_r50_at_224_x_298(eager):
    assert_logits_equal("r50_224x298")


@pytest.mark.slow
def test_logits_of_r101_with_nonlocal_blocks(eager):
    assert_logits_equal("r101_nonlocal")


@pytest.mark.parametrize("name", ["tiny", "r101_nonlocal"])
def test_names_and_shapes_of_the_parameters_are_pyslowfasts(name):
    from src.checkpoint.names import to_pyslowfast
    from src.models.build import build_model

    reference, cfg = load_reference(name)
    parameters = build_model(cfg).parameters_dict()
    ours = {to_pyslowfast(key, "ckpt"): list(parameter.shape) for key, parameter in parameters.items()}
    assert ours == reference["parameters"]


def test_every_stage_has_pyslowfasts_statistics(eager):
    reference, cfg = load_reference("tiny")
    network = reference_network(cfg, plain=True)
    network.set_train(False)
    slow, fast = (fold(clip) for clip in reference_clip(reference, cfg, reference["clip_seed"]))
    slow, fast = network.s1(slow, fast)
    found = {"s1_pathway0": slow, "s1_pathway1": fast}
    for stage in (2, 3, 4, 5):
        slow, fast = getattr(network, f"s{stage - 1}_fuse")(slow, fast)
        found |= {f"s{stage - 1}_fuse_pathway0": slow, f"s{stage - 1}_fuse_pathway1": fast}
        slow, fast = getattr(network, f"s{stage}")(slow, fast)
        found |= {f"s{stage}_pathway0": slow, f"s{stage}_pathway1": fast}
    assert found.keys() == reference["features"].keys()
    for name, expected in reference["features"].items():
        array = found[name].asnumpy().astype(np.float64)
        n, c, t, h, w = expected["shape"]
        assert array.shape == (n * t, c, h, w), name
        # PyTorch's std is the unbiased one.
        np.testing.assert_allclose([array.mean(), array.std(ddof=1)], [expected["mean"], expected["std"]], rtol=2e-5)


def test_the_references_are_those_of_the_shared_folder(shared_dir):
    files = {"tiny": "forward_tiny", "r50_224x224": "forward_r50_224", "alpha8": "forward_slowfast_8x8_like_alpha8"}
    files |= {"r50_224x298": "forward_r50_224x298", "r101_nonlocal": "forward_r101_nl"}
    for name, file in files.items():
        reference, _ = load_reference(name)
        original = json.loads((shared_dir / "parity" / f"{file}.json").read_text())
        assert reference["clip_seed"] == original["clip_seed"]
        assert reference["overrides"] == original["overrides"]
        logits = np.load(shared_dir / "parity" / f"{file}.npz")["logits"]
        np.testing.assert_allclose(reference["logits"], logits, rtol=1e-7)
