"""OpenVINO beside MindSpore in one process."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from src.predict import runtime
from src.predict.runtime import CompiledModel
from src.utils.errors import UserError

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed (tests/requirements.txt)")
opset13 = pytest.importorskip("openvino.opset13")

# A convolution in bfloat16, in a process that is held to AVX2 for MindSpore's sake.
SCRIPT = """
import numpy as np, openvino, src
from openvino import opset13 as ops
from src.predict.runtime import CompiledModel
from src.predict.scorer import supports_bfloat16
pixels = ops.parameter([1, 32, 16, 16], np.float32)
weights = ops.constant(np.full((32, 32, 3, 3), 1 / 288, np.float32))
model = openvino.Model([ops.convolution(pixels, weights, [1, 1], [1, 1], [1, 1], [1, 1])], [pixels])
precision = "bf16" if supports_bfloat16() else "f32"
print(float(CompiledModel(model, 1, precision)(np.ones((1, 32, 16, 16), np.float32))[0][0, 0, 8, 8]))
"""


def test_openvino_is_not_held_to_what_mindspore_is(repository: Path) -> None:
    environment = os.environ | {"SLOWFAST_CPU_KERNELS": "off", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=repository, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(1, abs=0.01)


def test_a_network_that_this_machine_cannot_run_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO tells of missing memory, or of a processor that lacks something, as of errors in its source."""

    class Core(openvino.Core):
        def compile_model(self, *_: object) -> None:
            raise RuntimeError("Exception from src/inference/src/dev/plugin.cpp:54:\ncan't alloc\n")

    monkeypatch.setattr(openvino, "Core", Core)
    pixels = opset13.parameter([1, 3], np.float32, "pixels")
    with pytest.raises(UserError, match="OpenVINO cannot run the network small on this machine: can't alloc"):
        CompiledModel(openvino.Model([pixels], [pixels], "small"))


@pytest.mark.parametrize(
    ("flags", "has"),
    [({"avx2", "avx512_vnni"}, True), ({"avx2", "avx_vnni"}, True), ({"avx2", "avx512f"}, False), ((), False)],
)
def test_integers_are_for_processors_that_sum_them_in_32_bits(monkeypatch, flags, has):
    monkeypatch.setattr(runtime.library, "processor_flags", lambda: frozenset(flags))
    assert runtime.multiplies_integers() is has
