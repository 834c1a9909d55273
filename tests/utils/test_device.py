"""Choosing a device on machines that have devices but not what MindSpore needs to use them."""

import pytest
from mindspore._c_expression import MSContext

from src.utils import device
from src.utils.errors import UserError


@pytest.fixture
def machine(monkeypatch):
    """Return a function that gives this machine some accelerators; the wheel's plugins do not load, as is."""

    def has(*targets: str) -> None:
        monkeypatch.setattr(device, "_has_device", lambda target: target in targets)

    return has


def test_a_driver_without_cuda_11_falls_back_to_the_cpu_and_says_why(machine, capsys):
    machine("GPU")
    assert device.set_up_device(None, seed=0) == "CPU"
    (line,) = capsys.readouterr().out.splitlines()
    assert line == (
        "running on the CPU, not on this machine's GPU: MindSpore's plugin does not load; it needs CUDA 11.1 or 11.6 "
        "with cuDNN 8 on LD_LIBRARY_PATH, and CUDA_HOME with bin/nvcc (docs/compatibility.md)"
    )


def test_an_ascend_host_without_cann_falls_back_to_the_cpu_and_names_the_library(machine, capsys):
    machine("Ascend")
    assert device.set_up_device(None, seed=0) == "CPU"
    (line,) = capsys.readouterr().out.splitlines()
    assert "not on this machine's Ascend" in line
    assert "(libge_runner.so: cannot open shared object file: No such file or directory)" in line
    assert "set_env.sh" in line


@pytest.mark.parametrize(("target", "needs"), [("GPU", "CUDA_HOME with bin/nvcc"), ("Ascend", "set_env.sh")])
def test_a_target_that_was_asked_for_is_refused_with_what_is_missing(machine, target, needs):
    machine("GPU", "Ascend")
    with pytest.raises(UserError, match=f"--device_target {target}: MindSpore's plugin does not load.*{needs}"):
        device.set_up_device(target, seed=0)


def test_a_target_that_the_machine_lacks_is_refused(machine):
    machine()
    with pytest.raises(UserError, match=r"--device_target Ascend: this machine has no /dev/davinci\[0-9\]\*"):
        device.set_up_device("Ascend", seed=0)


def test_an_accelerator_that_mindspore_can_use_is_taken(machine, monkeypatch):
    machine("GPU", "Ascend")
    monkeypatch.setattr(MSContext, "is_pkg_support_device", lambda self, target: target == "GPU")
    assert device._best_target() == "GPU"


@pytest.mark.parametrize(
    ("chip", "has"), [("ascend910", False), ("ascend310p", False), ("ascend910b", True), ("ascend910_93", True)]
)
def test_which_ascend_computes_in_bfloat16(monkeypatch, chip, has):
    monkeypatch.setattr(MSContext, "get_ascend_soc_version", lambda self: chip)
    assert device.ascend_has_bfloat16() == has


def test_numpy_2_is_refused_with_the_way_back(monkeypatch):
    """As pip leaves it that installs another package into the environment."""
    monkeypatch.setattr(device.np, "__version__", "2.4.6")
    with pytest.raises(UserError, match=r"^NumPy 2.4.6 is installed, MindSpore needs NumPy 1: pip install 'numpy<2'$"):
        device.set_up_device("CPU", seed=0)
