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
