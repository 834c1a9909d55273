"""The compiled operators: where they are, and whether this process uses them.

SLOWFAST_CPU_KERNELS in the environment decides: `auto` (as without it) uses them where they are there and the processor
fits, `on` ends with an error where that is not so, `off` does not use them. It is read before MindSpore is imported.
"""

import contextlib
import ctypes
import functools
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from src.utils.errors import UserError

VARIABLE = "SLOWFAST_CPU_KERNELS"
MODES = ("auto", "on", "off")
LIBRARY = Path(os.environ.get("CPU_KERNELS_BUILD") or Path(__file__).parent / "build").resolve() / "libslowfast_cpu.so"

_ISA_VARIABLE = "ONEDNN_MAX_CPU_ISA"
_HELD_TO = "AVX2"
# Instructions that the operators' own loops are compiled for at least.
_NEEDED_FLAGS = frozenset(("avx2", "fma"))
# oneDNN's numbers of instruction sets are sets of bits; this is AVX-512, the minimum for bfloat16.
_AVX512_CORE = 0x27


def mode() -> str:
    """Return what SLOWFAST_CPU_KERNELS says.

    Raises:
        UserError: it says something else than `MODES`.
    """
    value = os.environ.get(VARIABLE) or "auto"
    if value not in MODES:
        raise UserError(f"{VARIABLE}={value}, expected one of {', '.join(MODES)}")
    return value


def obstacle() -> str | None:
    """Return why the operators cannot be used here, in words that finish a sentence; None: they can.

    Only looks at files; whether the library loads is seen by `load`.
    """
    if platform.machine() != "x86_64":
        return f"they are written for x86-64 processors, this is {platform.machine()}"
    if not LIBRARY.exists():
        return "they are not compiled (scripts/build_cpu_kernels.sh says why)"
    missing = _NEEDED_FLAGS - processor_flags()
    if missing:
        return f"the processor lacks {' and '.join(sorted(missing))}"
    return None


def set_environment() -> None:
    """Set what oneDNN and the operators' threads read at their first use, a value that the user set being kept.

    MindSpore sets OMP_NUM_THREADS to 1 as it is imported, where there is none; the operators would take one thread.

    MindSpore's oneDNN has no AVX-512 kernel for the plain data layout that MindSpore asks for, and takes its reference
    loops instead: a SlowFast R50 clip takes two minutes. Held to AVX2 it takes one to two seconds. With the operators
    of this package, whose layout has AVX-512 kernels, nothing must be held back.
    """
    if (os.environ.get(VARIABLE) or "auto") == "off" or obstacle() is not None:
        hold_to_avx2()
    else:
        os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))


def hold_to_avx2() -> None:
    """Let MindSpore's own operators be fast, see `set_environment`; before the first operator."""
    os.environ.setdefault(_ISA_VARIABLE, _HELD_TO)


def turn_off() -> None:
    """Let this process compute with MindSpore's own operators, whatever the user chose; before the first operator."""
    os.environ[VARIABLE] = "off"
    hold_to_avx2()


@contextlib.contextmanager
def not_held() -> Iterator[None]:
    """Lift the limit of `set_environment` meanwhile: for other libraries that bring a oneDNN of their own.

    Each reads the limit once, at its first use. OpenVINO's has no bfloat16 under it, and fails. A limit other than
    AVX2 is the user's, and stays.
    """
    value = os.environ.pop(_ISA_VARIABLE) if os.environ.get(_ISA_VARIABLE) == _HELD_TO else None
    try:
        yield
    finally:
        if value is not None:
            os.environ[_ISA_VARIABLE] = value


@functools.cache
def load() -> ctypes.CDLL:
    """Load the library.

    Raises:
        OSError: it does not load, for instance because another MindSpore is installed than it was compiled for.
    """
    return ctypes.CDLL(str(LIBRARY))


def usable() -> bool:
    """Return whether this process computes with the operators.

    Raises:
        UserError: they are wanted, SLOWFAST_CPU_KERNELS=on, and cannot be used.
    """
    chosen = mode()
    if chosen == "off":
        return False
    reason = why_not()
    if reason is None:
        return True
    if chosen == "on":
        raise UserError(f"{VARIABLE}=on: the kernels for CPUs cannot be used: {reason}")
    hold_to_avx2()
    return False


@functools.cache
def why_not() -> str | None:
    """As `obstacle`, once the library has been loaded."""
    reason = obstacle()
    if reason is None:
        try:
            load()
        except OSError as error:
            reason = f"{LIBRARY.name} does not load ({error}); run scripts/build_cpu_kernels.sh"
    return reason


def computes_bfloat16() -> bool:
    """Return whether oneDNN has bfloat16 kernels for this processor: AVX-512 at least."""
    isa = load().dnnl_get_effective_cpu_isa()
    return isa & _AVX512_CORE == _AVX512_CORE


@functools.cache
def processor_flags() -> frozenset[str]:
    """Return the names that Linux has for what the processor can do; none where they cannot be read."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())
