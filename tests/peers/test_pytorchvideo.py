"""The converter and the network held against PyTorch and pytorchvideo themselves."""

import copy
import sys

import numpy as np
import pytest

import convert_ckpt_caffe2ms
from src.checkpoint.loading import load_into
from src.checkpoint.mindspore_format import load_checkpoint
from src.checkpoint.names import to_pyslowfast
from src.config.custom_config import load_config
from src.utils.device import set_up_device
from src.utils.errors import run_main

torch = pytest.importorskip("torch")
hub = pytest.importorskip("pytorchvideo.models.hub")

pytestmark = [pytest.mark.peers, pytest.mark.slow]


@pytest.fixture(scope="module")
def peer():
    """pytorchvideo's detector with random weights, in evaluation mode."""
    torch.manual_seed(0)
    model = hub.slowfast_r50_detection(pretrained=False).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.normal_(module.bias, 0, 0.1)
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


@pytest.fixture(scope="module")
def folder(peer, tmp_path_factory):
    """A folder with the peer's weights as pytorchvideo publishes its own, and what our converter makes of them."""
    folder = tmp_path_factory.mktemp("peer")
    torch.save({"model_state": peer.state_dict()}, folder / "peer.pyth")
    convert(folder / "peer.pyth", "--dst", folder / "peer.ckpt")
    return folder


def convert(source, *arguments) -> None:
    """Run the converter; it must succeed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["convert_ckpt_caffe2ms.py", "--src", str(source), *map(str, arguments)])
        assert run_main(convert_ckpt_caffe2ms.main) == 0


@pytest.fixture(scope="module")
def network(folder, repository):
    """Our network with the converted weights, pooling boxes as pytorchvideo does."""
    set_up_device("CPU", seed=0)
    from src.models.build import build_model

    network = build_model(load_config(repository / "configs/AVA/pytorchvideo/SLOWFAST_8x8_R50.yaml"))
    network.set_train(False)
    load_into(network, folder / "peer.ckpt")
    return network


@pytest.mark.parametrize(("height", "width"), [(224, 224), (224, 298), (256, 208)])
def test_the_output_is_pytorchvideos(peer, network, height, width):
    import mindspore as ms

    clip = np.random.default_rng(height + width).normal(size=(1, 3, 32, height, width)).astype(np.float32)
    boxes = np.array([[10, 20, 100, 200], [0, 0, width, height], [50, 60, 70, 65]], np.float32)
    with torch.no_grad():
        rois = torch.from_numpy(np.pad(boxes, ((0, 0), (1, 0))))  # the first column: sample 0
        expected = peer([torch.from_numpy(clip[:, :, ::4].copy()), torch.from_numpy(clip)], rois).numpy()
    found = network(ms.Tensor(clip[:, :, ::4]), ms.Tensor(clip), ms.Tensor(boxes[None])).asnumpy()[0]
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_pytorch_reads_what_we_write(folder):
    convert(folder / "peer.ckpt", "--to", "pyth", "--dst", folder / "back.pyth")
    state = torch.load(folder / "back.pyth", weights_only=True)["model_state"]
    arrays = load_checkpoint(folder / "peer.ckpt")
    assert {name: tensor.numpy().tobytes() for name, tensor in state.items()} == {
        to_pyslowfast(name, "ckpt"): array.tobytes() for name, array in arrays.items()
    }


def test_the_trunk_of_slowfast_r50_is_found(tmp_path, capsys):
    torch.save(hub.slowfast_r50(pretrained=False).state_dict(), tmp_path / "kinetics.pyth")
    convert(tmp_path / "kinetics.pyth")
    assert "pytorchvideo names; 550 loaded, 2 skipped (head of another size), 0 missing" in capsys.readouterr().out


def test_an_optimizer_beside_the_weights_does_not_matter(tmp_path, peer):
    peer = copy.deepcopy(peer)
    optimizer = torch.optim.SGD(peer.parameters(), lr=0.1, momentum=0.9)
    for parameter in peer.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = peer.detection_head.proj.bias.detach().numpy().copy()
    optimizer.step()
    torch.save(
        {"model_state": peer.state_dict(), "optimizer_state": optimizer.state_dict(), "epoch": 3, "cfg": "A: 1\n"},
        tmp_path / "training.pyth",
    )
    convert(tmp_path / "training.pyth")
    written = load_checkpoint(tmp_path / "training.pyth.ckpt")["head.projection.bias"]
    np.testing.assert_array_equal(written, before - np.float32(0.1))


def test_pytorchs_old_format_is_refused_with_advice(tmp_path, monkeypatch, capsys):
    torch.save({"model_state": {}}, tmp_path / "old.pyth", _use_new_zipfile_serialization=False)
    monkeypatch.setattr(sys, "argv", ["convert_ckpt_caffe2ms.py", "--src", str(tmp_path / "old.pyth")])
    assert run_main(convert_ckpt_caffe2ms.main) == 2
    assert "write it anew in PyTorch" in capsys.readouterr().err
