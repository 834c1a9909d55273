"""The device that the network runs on."""

import importlib.util
from pathlib import Path

from src.utils.distributed import local_device
from src.utils.errors import UserError

# A backend is there if MindSpore brings its library and the machine has its devices: MindSpore's wheel for the CPU
# brings Ascend's library as well.
_BACKENDS = {"Ascend": ("libmindspore_ascend.so*", "davinci[0-9]*"), "GPU": ("libmindspore_gpu.so*", "nvidia[0-9]*")}


def available_targets() -> list[str]:
    """Return the device targets that MindSpore and this machine have, the best first; the last is CPU.

    Raises:
        UserError: MindSpore is not installed.
    """
    spec = importlib.util.find_spec("mindspore")
    if spec is None or spec.origin is None:
        raise UserError("MindSpore is not installed; run scripts/setup.sh, then use .venv/bin/python")
    package = Path(spec.origin).parent
    accelerators = [
        target
        for target, (library, device) in _BACKENDS.items()
        if any(package.glob(f"**/{library}")) and any(Path("/dev").glob(device))
    ]
    return [*accelerators, "CPU"]


def set_up_device(target: str | None, seed: int) -> str:
    """Choose the device and compile graphs for it; MindSpore is imported here.

    Args:
        target: CPU, GPU or Ascend; None: the best that is there.
        seed: of weights and dropout.

    Returns:
        The target.

    Raises:
        UserError: MindSpore or the machine has no such device.
    """
    available = available_targets()
    target = target or available[0]
    if target not in available:
        raise UserError(f"--device_target {target}: MindSpore finds only {', '.join(available)} on this machine")
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_device(target, local_device())
    ms.set_seed(seed + 1)  # MindSpore refuses 0
    return target
