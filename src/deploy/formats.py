"""The formats of an exported graph: an entry of `FORMATS` says how one is written, and run to be checked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mindspore as ms
import numpy as np
from fvcore.common.config import CfgNode
from mindspore import nn

from src.deploy.manifest import Description, Manifest
from src.deploy.mindir import read_mindir, write_mindir_v1
from src.deploy.onnx_3d import write_onnx_3d
from src.deploy.onnx_model import write_onnx
from src.deploy.runner import NotRunnableError, run_once
from src.utils.errors import UserError

Arrays = Sequence[np.ndarray]


@dataclass(frozen=True)
class Format:
    """One value of EXPORT.FORMAT.

    Attributes:
        suffix: of the file.
        write: writes the network, whose batch norm is folded, for inputs of these shapes and types: (cfg, network,
            inputs, description, path). Raises UserError where MindSpore refuses, or an operator has no translation.
        run: returns the graph's scores: (path, manifest, inputs). Raises NotRunnableError where this machine has
            nothing that runs the format.
        dynamic: whether EXPORT.DYNAMIC is possible.
    """

    suffix: str
    write: Callable[[CfgNode, nn.Cell, Arrays, Description, Path], None]
    run: Callable[[Path, Manifest, Arrays], np.ndarray]
    dynamic: bool = False


class _ClipsIn(nn.Cell):
    """A network whose clips come in another type; it computes in float32."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__()
        self.network = network

    def construct(self, slow: ms.Tensor, fast: ms.Tensor, boxes: ms.Tensor) -> ms.Tensor:
        return self.network(slow.astype(ms.float32), fast.astype(ms.float32), boxes)


def _export(network: nn.Cell, inputs: Arrays, path: Path, file_format: str) -> None:
    if inputs[0].dtype != np.float32:
        network = _ClipsIn(network)
    ms.export(network, *map(ms.Tensor, inputs), file_name=str(path), file_format=file_format)


def _write_mindir(cfg: CfgNode, network: nn.Cell, inputs: Arrays, description: Description, path: Path) -> None:
    _export(network, inputs, path, "MINDIR")


def _run_mindir(path: Path, manifest: Manifest, inputs: Arrays) -> np.ndarray:
    return nn.GraphCell(ms.load(str(path)))(*map(ms.Tensor, inputs)).asnumpy()


def _write_mindir_v1(cfg: CfgNode, network: nn.Cell, inputs: Arrays, description: Description, path: Path) -> None:
    source = path.with_stem("source")
    _export(network, inputs, source, "MINDIR")
    write_mindir_v1(read_mindir(source), path)


def _write_onnx(cfg: CfgNode, network: nn.Cell, inputs: Arrays, description: Description, path: Path) -> None:
    if cfg.EXPORT.DYNAMIC:
        arrays = {name: parameter.asnumpy() for name, parameter in network.parameters_dict().items()}
        write_onnx_3d(cfg, arrays, description.inputs, description.output, path)
        return
    source = path.with_name("source.mindir")
    _export(network, inputs, source, "MINDIR")
    write_onnx(read_mindir(source), path)


def _run_onnx(path: Path, manifest: Manifest, inputs: Arrays) -> np.ndarray:
    try:
        import onnxruntime
    except ImportError as error:
        raise NotRunnableError("onnxruntime is not installed") from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))[0]


def _write_air(cfg: CfgNode, network: nn.Cell, inputs: Arrays, description: Description, path: Path) -> None:
    if ms.get_context("device_target") != "Ascend":
        raise UserError("EXPORT.FORMAT AIR: MindSpore writes AIR on an Ascend device only; take MINDIR")
    _export(network, inputs, path, "AIR")


def _run_air(path: Path, manifest: Manifest, inputs: Arrays) -> np.ndarray:
    raise NotRunnableError("AIR is for CANN's converter")


FORMATS = {
    "MINDIR": Format(".mindir", _write_mindir, _run_mindir),
    "MINDIR_V1": Format(".mindir", _write_mindir_v1, run_once),
    "ONNX": Format(".onnx", _write_onnx, _run_onnx, dynamic=True),
    "AIR": Format(".air", _write_air, _run_air),
}
