"""Reading MINDIR files and writing them as version 1 and as ONNX."""

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mindspore import nn, ops
from mindspore.train import mind_ir_pb2 as pb

from src.deploy.mindir import read_mindir, write_mindir_v1
from src.deploy.onnx_model import write_onnx
from src.utils.errors import UserError


class Mixture(nn.Cell):
    """The operators of the network in odd settings."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = ms.Parameter(np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32), name="weight")

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        rows = self.weight.reshape(6, 5).transpose(1, 0)
        left, right = ops.split(x, [2, 3], 1)
        y = ops.concat((left, right[:, 1:], x[:, 1:2]), -1)
        y = ops.MatMul(transpose_a=True)(y.transpose(1, 0), rows) + x[1, -2]
        y = ops.clamp(ops.floor(y * 3.0) / 2 - ops.ceil(ops.abs(y)), -4.0, 2.5)
        y = ops.sigmoid(y) * ops.relu(y) + ops.softmax(y, -1) + y.max(1, keepdims=True) - y.mean(0)
        return ops.minimum(ops.maximum(y, y.sum(-1, keepdims=True)), 3.0).transpose(1, 0)


def exported(network: nn.Cell, inputs: list[np.ndarray], folder: Path) -> Path:
    ms.export(network, *map(ms.Tensor, inputs), file_name=str(folder / "graph"), file_format="MINDIR")
    return folder / "graph.mindir"


def test_onnx_computes_what_the_network_does(tmp_path: Path) -> None:
    import onnxruntime

    x = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    network = Mixture()
    write_onnx(read_mindir(exported(network, [x], tmp_path)), tmp_path / "graph.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "graph.onnx"), providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"x": x})
    np.testing.assert_allclose(scores, network(ms.Tensor(x)).asnumpy(), rtol=0, atol=1e-5)


def test_weights_are_kept_in_the_layout_that_is_used(tmp_path: Path) -> None:
    network = Mixture()
    graph = read_mindir(exported(network, [np.zeros((4, 5), np.float32)], tmp_path))
    assert "weight" not in graph.arrays
    used = network.weight.asnumpy().reshape(6, 5).T
    assert any(array.shape == (5, 6) and np.array_equal(array, used) for array in graph.arrays.values())


def test_version_1_has_neither_monads_nor_settings_as_inputs(tmp_path: Path) -> None:
    graph = read_mindir(exported(Mixture(), [np.zeros((4, 5), np.float32)], tmp_path))
    write_mindir_v1(graph, tmp_path / "old.mindir")
    model = pb.ModelProto.FromString((tmp_path / "old.mindir").read_bytes())
    assert model.mind_ir_version == 1
    assert [item.name for item in model.graph.input] == ["x"]
    operators = {primitive.op_type for primitive in model.primitives}
    assert operators.isdisjoint({"Load", "UpdateState", "Depend", "Muls", "Divs", "ClampScalar", "SumExt", "Split"})
    constants = {node.name for node in model.graph.node if node.op_type == "Constant"}
    arguments = [node for node in model.graph.node if node.op_type.startswith("REF::Softmax")]
    assert arguments
    assert not constants.intersection(*[node.input for node in arguments])
    # Lite names operators by their domain.
    domains = [node.domain for node in model.graph.node if node.op_type != "Constant"]
    assert len(set(domains)) == len(domains)


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    class Unknown(nn.Cell):
        def construct(self, x: ms.Tensor) -> ms.Tensor:
            return ops.erf(x)

    with pytest.raises(UserError, match=r"graph\.mindir: the graph has the operator Erf, which has no translation"):
        read_mindir(exported(Unknown(), [np.zeros(3, np.float32)], tmp_path))


def test_batch_norm_that_was_not_folded_is_named(tmp_path: Path) -> None:
    network = nn.BatchNorm2d(3).set_train(False)
    with pytest.raises(UserError, match="operator BatchNorm"):
        read_mindir(exported(network, [np.zeros((1, 3, 2, 2), np.float32)], tmp_path))


@pytest.mark.parametrize("content", [b"", b"not a graph", bytes(100)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mindir").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.mindir: not a MINDIR file"):
        read_mindir(tmp_path / "x.mindir")
    with pytest.raises(UserError, match=r"y\.mindir: cannot read the graph: No such file"):
        read_mindir(tmp_path / "y.mindir")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return exported(Mixture(), [np.zeros((4, 5), np.float32)], tmp_path_factory.mktemp("whole")).read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1), change=st.binary(max_size=4), removed=st.integers(0, 8))
def test_a_damaged_file_is_read_or_refused(
    whole: bytes, tmp_path: Path, position: float, change: bytes, removed: int
) -> None:
    at = int(position * len(whole))
    (tmp_path / "x.mindir").write_bytes(whole[:at] + change + whole[at + removed :])
    try:
        read_mindir(tmp_path / "x.mindir")
    except UserError as error:
        assert "\n" not in str(error)
