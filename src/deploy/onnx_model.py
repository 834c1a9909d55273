"""Write an exported graph as ONNX.

MindSpore's own exporter refuses this network, so the operators of `Graph` are translated here; each has a counterpart
in opset 13.
"""

import os

import numpy as np

from src.deploy.mindir import Graph, Node
from src.utils.errors import UserError
from src.utils.files import write_atomic

_OPSET = 13
_IR_VERSION = 8

_SAME_NAME = ("Abs", "Ceil", "Floor", "Sigmoid", "Add", "Sub", "Mul", "Softmax", "Concat", "ReduceMean", "ReduceMax")
_NAMES = {
    **{op: op for op in _SAME_NAME},
    "BatchMatMul": "MatMul",
    "BiasAdd": "Add",
    "Cast": "Cast",
    "Conv2D": "Conv",
    "MatMul": "MatMul",
    "MaxPool": "MaxPool",
    "Maximum": "Max",
    "Minimum": "Min",
    "Pad": "Pad",
    "ReLU": "Relu",
    "RealDiv": "Div",
    "ReduceSum": "ReduceSum",
    "Reshape": "Reshape",
    "StridedSlice": "Slice",
    "Transpose": "Transpose",
}


def write_onnx(graph: Graph, path: str | os.PathLike) -> None:
    """Write a graph as an ONNX model of opset 13.

    Raises:
        UserError: the package `onnx` is not installed, or an operator has no translation (it is named).
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError("writing ONNX needs the package onnx: pip install onnx onnxruntime 'numpy<2'") from error
    write_atomic(path, _Writer(graph, onnx).model().SerializeToString())


class _Writer:
    def __init__(self, graph: Graph, onnx) -> None:
        self._graph = graph
        self._onnx = onnx
        self._helper = onnx.helper
        self._arrays = dict(graph.arrays)
        self._nodes = []
        self._specs = dict(graph.inputs)
        self._specs |= {name: (array.shape, array.dtype) for name, array in graph.arrays.items()}
        self._specs |= {node.output: (node.shape, node.dtype) for node in graph.nodes}

    def model(self):
        for node in self._graph.nodes:
            if node.op not in _NAMES:
                raise UserError(f"the graph has the operator {node.op}, which has no translation to ONNX")
            self._add(node)
        read = {name for node in self._nodes for name in node.input}
        body = self._helper.make_graph(
            self._nodes,
            "slowfast",
            [self._value(name) for name in self._graph.inputs],
            [self._value(self._graph.output)],
            [self._onnx.numpy_helper.from_array(array, name) for name, array in self._arrays.items() if name in read],
        )
        model = self._helper.make_model(
            body, opset_imports=[self._helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
        )
        self._onnx.checker.check_model(model)
        return model

    def _add(self, node: Node) -> None:
        inputs, attributes = list(node.inputs), {}
        settings = node.settings
        match node.op:
            case "Conv2D":
                attributes = {
                    "kernel_shape": settings["kernel_size"],
                    "strides": settings["stride"],
                    "dilations": settings["dilation"],
                    "group": settings["group"],
                    "pads": _begins_then_ends(settings["pad"]),
                }
            case "MaxPool":
                attributes = {"kernel_shape": settings["kernel_size"], "strides": settings["strides"]}
            case "Pad":
                flat = [side for axis in settings["paddings"] for side in axis]
                inputs.append(self._integers(node, "pads", _begins_then_ends(flat)))
            case "BiasAdd":
                # ONNX broadcasts along the last axes: the bias (c,) becomes (c, 1, 1) beside (n, c, h, w).
                name = f"{inputs[1]}_broadcast"
                self._arrays[name] = self._arrays[inputs[1]].reshape((-1,) + (1,) * (len(node.shape) - 2))
                inputs[1] = name
            case "MatMul" | "BatchMatMul":
                inputs = [self._transposed(node, side) for side in (0, 1)]
            case "Reshape":
                inputs.append(self._integers(node, "shape", node.shape))
            case "StridedSlice":
                axes = range(len(node.shape))
                parts = {"starts": settings["begin"], "ends": settings["end"], "axes": axes}
                inputs += [self._integers(node, name, value) for name, value in parts.items()]
                inputs.append(self._integers(node, "steps", settings["strides"]))
            case "ReduceSum":
                inputs.append(self._integers(node, "axes", settings["axis"]))
                attributes = {"keepdims": int(settings["keep_dims"])}
            case "ReduceMean" | "ReduceMax":
                attributes = {"axes": settings["axis"], "keepdims": int(settings["keep_dims"])}
            case "Cast":
                attributes = {"to": self._helper.np_dtype_to_tensor_dtype(node.dtype)}
            case "Softmax":
                attributes = {"axis": settings["axis"][0]}
            case "Concat" | "Transpose":
                attributes = dict(settings)
        self._nodes.append(
            self._helper.make_node(_NAMES[node.op], inputs, [node.output], name=node.output, **attributes)
        )

    def _transposed(self, node: Node, side: int) -> str:
        """Return the name of an operand of a matrix product, transposed first where the product says so."""
        name = node.inputs[side]
        if not node.settings["transpose_b" if side else "transpose_a"]:
            return name
        rank = len(self._specs[name][0])
        output = f"{node.output}_operand{side}"
        perm = (*range(rank - 2), rank - 1, rank - 2)
        self._nodes.append(self._helper.make_node("Transpose", [name], [output], name=output, perm=perm))
        return output

    def _integers(self, node: Node, name: str, values) -> str:
        name = f"{node.output}_{name}"
        self._arrays[name] = np.array(list(values), np.int64)
        return name

    def _value(self, name: str):
        shape, dtype = self._specs[name]
        return self._helper.make_tensor_value_info(name, self._helper.np_dtype_to_tensor_dtype(dtype), shape)


def _begins_then_ends(pads) -> list[int]:
    """(begin, end, begin, end, ...) by axis to all begins, then all ends."""
    return [*pads[::2], *pads[1::2]]
