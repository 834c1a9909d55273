"""The device that the network runs on."""

import importlib.util
import os
from pathlib import Path

import numpy as np

from src.utils.distributed import local_device
from src.utils.errors import UserError
from src.utils.logging import get_logger

# The targets before CPU, the best first: their device files, and what MindSpore's plugin needs beside a device. The
# wheel for the CPU holds the plugins as well.
_ACCELERATORS = {
    "Ascend": ("davinci[0-9]*", "CANN, whose set_env.sh is sourced in this shell"),
    "GPU": ("nvidia[0-9]*", "CUDA 11.1 or 11.6 with cuDNN 8 on LD_LIBRARY_PATH, and CUDA_HOME with bin/nvcc"),
}

# As CANN names the chips of Atlas training cards (910A) and inference cards (310, 310P); CANN 8.5 lists who computes in
# bfloat16 under ToBfloat16.
_WITHOUT_BFLOAT16 = ("ascend910", "ascend310", "ascend310p")


def set_up_device(target: str | None, seed: int, allow_tf32: bool = False) -> str:
    """Choose the device and compile graphs for it; MindSpore is imported here.

    Args:
        target: CPU, GPU or Ascend; None: the best that is there and that MindSpore can use.
        seed: of weights and dropout.
        allow_tf32: compute float32 convolutions and matrix products with ten bits of mantissa, in a GPU's TF32 or
            Ascend's HF32; where false, in full float32.

    Returns:
        The target.

    Raises:
        UserError: the machine has no such device, MindSpore cannot use it, or NumPy is one that it was not built for.
    """
    if importlib.util.find_spec("mindspore") is None:
        raise UserError("MindSpore is not installed; run scripts/setup.sh, then use .venv/bin/python")
    if int(np.__version__.split(".")[0]) >= 2:
        # Graphs run, but eager mode fails with an ImportError of NumPy's.
        raise UserError(f"NumPy {np.__version__} is installed, MindSpore needs NumPy 1: pip install 'numpy<2'")
    if target is None:
        target = _best_target()
    elif target != "CPU":
        if not _has_device(target):
            raise UserError(f"--device_target {target}: this machine has no /dev/{_ACCELERATORS[target][0]}")
        if missing := _missing(target):
            raise UserError(f"--device_target {target}: {missing}")
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_device(target, local_device())
    if target == "Ascend":
        # Operator by operator on every card, as tests/devices compiles it. Atlas training cards would take the whole
        # graph at a time.
        ms.set_context(jit_config={"jit_level": "O0"})
    _set_precision(target, allow_tf32)
    ms.set_seed(seed + 1)  # MindSpore refuses 0
    return target


def ascend_has_bfloat16() -> bool:
    """Return whether the Ascend that was set up computes in bfloat16: Atlas training and inference cards do not."""
    from mindspore._c_expression import MSContext

    return MSContext.get_instance().get_ascend_soc_version() not in _WITHOUT_BFLOAT16


def _best_target() -> str:
    """Return the first accelerator that can be used, else CPU; say why one that is there cannot."""
    for target in filter(_has_device, _ACCELERATORS):
        missing = _missing(target)
        if not missing:
            return target
        get_logger().warning("running on the CPU, not on this machine's %s: %s", target, missing)
    return "CPU"


def _has_device(target: str) -> bool:
    # MindSpore's dry run compiles for devices that are not there.
    return any(Path("/dev").glob(_ACCELERATORS[target][0])) or "MS_SIMULATION_LEVEL" in os.environ


def _missing(target: str) -> str:
    """Return what MindSpore lacks for an accelerator that is there; empty: nothing."""
    from mindspore._c_expression import MSContext

    context = MSContext.get_instance()
    if context.is_pkg_support_device(target):
        return ""
    # For example "Load dynamic library: libmindspore_ascend.so.2 failed. libge_runner.so: cannot open ..."
    errors = [line for line in context.load_plugin_error().splitlines() if target.lower() in line]
    said = f" ({errors[0].split(' failed. ')[-1].strip()})" if errors else ""
    return f"MindSpore's plugin does not load{said}; it needs {_ACCELERATORS[target][1]} (docs/compatibility.md)"


def _set_precision(target: str, allow_tf32: bool) -> None:
    from mindspore import device_context
    from mindspore._c_expression import MSContext, ms_ctx_param

    # Both devices round by default.
    if target == "GPU":
        # GPUs' kernels read the context, and what device_context.gpu.op_precision sets does not get there.
        context = MSContext.get_instance()
        context.set_param(ms_ctx_param.conv_allow_tf32, allow_tf32)
        context.set_param(ms_ctx_param.matmul_allow_tf32, allow_tf32)
    elif target == "Ascend":
        precision = device_context.ascend.op_precision
        precision.conv_allow_hf32(allow_tf32)
        precision.matmul_allow_hf32(allow_tf32)
