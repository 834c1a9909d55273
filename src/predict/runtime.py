"""OpenVINO, which runs the detectors and exported networks on a CPU."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from src.cpu import library
from src.utils.errors import UserError


@functools.cache
def openvino() -> ModuleType:
    """Import OpenVINO and load what runs on a CPU.

    Raises:
        UserError: it is not installed.
    """
    try:
        with library.not_held():
            import openvino

            # This is when its oneDNN reads the limit.
            openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except ImportError as error:
        raise UserError("OpenVINO is not installed: pip install 'openvino>=2025.0,<2027'") from error
    return openvino


def multiplies_integers() -> bool:
    """Return whether the processor sums products of 8-bit integers in 32 bits (VNNI); others saturate in 16 bits."""
    return not library.processor_flags().isdisjoint(("avx512_vnni", "avx_vnni"))


class CompiledModel:
    """A model that is compiled for the CPU.

    Args:
        model: an OpenVINO model, or a file that OpenVINO reads (ONNX, TFLite).
        threads: of one call; 0: one for each core.
        precision: `f32` or `bf16`.
        in_float: compute a quantized network in floats.

    Attributes:
        inputs: names and shapes (None where open) of the inputs, in order.
        outputs: the same of the outputs.
        takes_integers: whether the first input holds whole numbers.

    Raises:
        UserError: the file cannot be read, or there is no memory for it, or this processor lacks what it needs.
    """

    def __init__(self, model: object, threads: int = 0, precision: str = "f32", in_float: bool = False) -> None:
        ov = openvino()
        core = ov.Core()
        if isinstance(model, Path):
            model = read_model(model)
        self.inputs = [(port.any_name, _shape(port.partial_shape)) for port in model.inputs]
        self.outputs = [(port.any_name if port.names else "", _shape(port.partial_shape)) for port in model.outputs]
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads or len(os.sched_getaffinity(0)),
            "INFERENCE_PRECISION_HINT": precision,
        }
        if in_float:
            settings["LP_TRANSFORMS_MODE"] = False
        self.takes_integers = model.input(0).element_type.is_integral()
        try:
            self._compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            name = model.get_friendly_name()
            raise UserError(f"OpenVINO cannot run the network {name} on this machine: {_reason(error)}") from error
        self._request = self._compiled.create_infer_request()

    def __call__(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """Run the model; the arrays returned are the caller's."""
        self._request.infer(list(arrays))
        return [self._request.get_output_tensor(index).data.copy() for index in range(len(self.outputs))]


def read_model(path: Path, outputs: Sequence[str] = ()) -> object:
    """Read a model, cut off behind the tensors whose names start with `outputs` (none: as it is).

    Raises:
        UserError: the file cannot be read.
    """
    ov = openvino()
    try:
        model = ov.Core().read_model(path)
    except RuntimeError as error:
        raise UserError(f"{path}: OpenVINO cannot read the model: {_reason(error)}") from error
    if not outputs:
        return model
    # Biases may carry the name of the tensor that they help to compute; those have an open batch or size.
    tensors = {
        name: port
        for node in model.get_ordered_ops()
        for port in node.outputs()
        if port.partial_shape.is_dynamic
        for name in port.names
    }
    ports = [next(port for name, port in tensors.items() if name.startswith(start)) for start in outputs]
    return ov.Model(ports, model.get_parameters(), path.stem)


def _reason(error: RuntimeError) -> str:
    """Return what OpenVINO says last: before it stand places in its source."""
    return str(error).strip().splitlines()[-1]


def _shape(partial: object) -> tuple[int | None, ...]:
    return tuple(extent.get_length() if extent.is_static else None for extent in partial)
