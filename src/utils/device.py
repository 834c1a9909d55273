"""Setting up the machine: the CPU before MindSpore is imported, then the device that the network runs on."""

import importlib.util
import os
from pathlib import Path

from src.utils.errors import UserError


def prepare_cpu() -> None:
    """Set the environment that MindSpore's CPU kernels read; call it before `import mindspore`.

    MindSpore's oneDNN has no AVX-512 kernel for the plain data layout that MindSpore asks for, and takes its
    reference loops instead: a SlowFast R50 clip takes two minutes. Held to AVX2 it takes two seconds. A value
    that the user set is kept.
    """
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")


def default_device_target() -> str:
    """Return what the installed MindSpore was built for: Ascend, GPU or CPU."""
    spec = importlib.util.find_spec("mindspore")
    if spec is None or spec.origin is None:
        raise UserError("MindSpore is not installed; run scripts/setup.sh, then use .venv/bin/python")
    package = Path(spec.origin).parent
    for target in ("Ascend", "GPU"):
        if any(package.glob(f"**/libmindspore_{target.lower()}.so*")):
            return target
    return "CPU"


def set_up_device(target: str | None, seed: int) -> str:
    """Choose the device and compile graphs for it; MindSpore is imported here, after `prepare_cpu`.

    Args:
        target: CPU, GPU or Ascend; None: what MindSpore was built for.
        seed: of weights and dropout.

    Returns:
        The target.

    Raises:
        UserError: the installed MindSpore has no such device.
    """
    prepare_cpu()
    available = default_device_target()
    target = target or available
    if target not in (available, "CPU"):
        raise UserError(f"--device_target {target}: the installed MindSpore is built for {available}")
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_device(target, int(os.environ.get("DEVICE_ID", "0")))
    ms.set_seed(seed + 1)  # MindSpore refuses 0
    return target
