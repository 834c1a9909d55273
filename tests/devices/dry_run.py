"""Run a program of the project in MindSpore's dry run: it compiles for a device that is not there; results are zeros.

python dry_run.py DEVICE PROGRAM [ARGUMENT ...], in the environment of `environment`.
"""

import ctypes
import os
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Target, version and name of the chip. 910B is an Atlas A2, 910A an Atlas training card, 310P an Atlas inference card.
DEVICES = {
    "910B": ("Ascend", "ascend910b", "Ascend910B1"),
    "910A": ("Ascend", "ascend910", "Ascend910A"),
    "310P": ("Ascend", "ascend310p", "Ascend310P3"),
    "GPU": ("GPU", "", ""),
}


def environment(stand_ins: Path, device: str) -> dict[str, str]:
    """Return the environment for a device of `DEVICES`.

    Args:
        stand_ins: see `stand_ins.build_stand_ins`.
        device: its name.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RANK_", "MS_", "DEVICE_ID"))}
    # DEVICE's lines name the interface of each operator.
    common = {**clean, "MS_SIMULATION_LEVEL": "1", "MS_SUBMODULE_LOG_v": "{DEVICE:1}", "PYTHONPATH": str(ROOT)}
    # An operator that only the CPU has ends the run, instead of being computed there.
    common["MS_DISABLE_KERNEL_BACKOFF"] = "1"
    if DEVICES[device][0] == "GPU":
        return {**common, "LD_LIBRARY_PATH": str(stand_ins / "cuda/lib"), "CUDA_HOME": str(stand_ins / "cuda")}
    cann = stand_ins / "cann"
    return {
        **common,
        "LD_LIBRARY_PATH": str(cann / "lib64"),
        "PYTHONPATH": f"{ROOT}:{cann / 'python'}",
        "ASCEND_HOME_PATH": str(cann),
        "ASCEND_OPP_PATH": str(cann / "opp"),
    }


def set_chip(device: str) -> None:
    """Tell MindSpore which chip its simulated device is."""
    target, version, name = DEVICES[device]
    if target != "Ascend":
        return
    from mindspore._c_expression import MSContext

    context = MSContext.get_instance()
    if not context.is_pkg_support_device(target):
        raise RuntimeError(f"MindSpore's plugin does not load: {context.load_plugin_error()}")
    context.get_ascend_soc_version()  # MindSpore asks CANN at the first time only, and gets none here
    ctypes.CDLL("libascendcl.so").stand_in_set_chip(version.encode(), name.encode())
    if context.get_ascend_soc_version() != version:
        raise RuntimeError(f"the chip is {context.get_ascend_soc_version()!r}, expected {version}")


def answer_for_the_others() -> None:
    """Let every process of a group say what this one does: the others are not there, and collectives give zeros."""
    from src.utils.distributed import ProcessGroup

    ProcessGroup.gather = lambda self, data: [data] * self.size


def rounds_float32(device: str) -> str:
    """Return whether convolutions and matrix products may be computed in TF32 or HF32, as MindSpore was told."""
    if DEVICES[device][0] == "GPU":
        import mindspore as ms

        return f"{ms.get_context('conv_allow_tf32')} {ms.get_context('matmul_allow_tf32')}"
    from mindspore._c_expression import AscendOpPrecisionConf

    told = AscendOpPrecisionConf.get_instance()
    return f"{told.conv_allow_hf32() == '1'} {told.matmul_allow_hf32() == '1'}"


if __name__ == "__main__":
    import src  # noqa: F401  (it sets the environment that MindSpore reads)

    device = sys.argv[1]
    set_chip(device)
    answer_for_the_others()
    sys.argv = sys.argv[2:]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        print("rounds float32:", rounds_float32(device))
