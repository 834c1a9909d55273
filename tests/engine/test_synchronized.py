"""Batch norm over all devices: CPU workers compute what one process does with the whole batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from src.config.custom_config import load_config
from src.models.build import build_model, device_layers
from src.models.common import SyncConvBn

SCRIPT = Path(__file__).with_name("synchronized.py")


def run(command: list[object], folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RANK_", "MS_"))}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    log = "".join(path.read_text() for path in folder.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + log


@pytest.mark.slow
def test_two_workers_update_as_one_process_with_the_whole_batches(tmp_path):
    run([sys.executable, SCRIPT, tmp_path / "one.npz"], tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = ["msrun", "--worker_num=2", "--local_worker_num=2", f"--master_port={port}", f"--log_dir={tmp_path}"]
    run([*launch, "--join=True", SCRIPT, tmp_path / "two.npz"], tmp_path)
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "two.npz") as two:
        assert one.files == two.files
        assert abs(one["loss0"] - one["loss1"]) > 1e-3
        # The first device's own gradients were finite.
        assert two["scale"] == 512
        assert two["moved"].tolist() == []
        for name, array in one.items():
            if name == "moved":
                continue
            np.testing.assert_allclose(two[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_network_of_several_devices_has_it_everywhere():
    cfg = load_config(None, ["BN.SYNC", True, "RESNET.WIDTH_PER_GROUP", 8])
    network = build_model(cfg, device_layers(cfg, devices=2))
    found = [name for name, cell in network.cells_and_names() if isinstance(cell, SyncConvBn)]
    alone = build_model(cfg, device_layers(cfg, devices=1))
    assert len(found) == 110
    assert not any(isinstance(cell, SyncConvBn) for _, cell in alone.cells_and_names())
    assert list(network.parameters_dict()) == list(alone.parameters_dict())
