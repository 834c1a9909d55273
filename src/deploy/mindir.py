"""Exported graphs: read a MINDIR file into a small graph of plain operators, and write that as MINDIR version 1.

MindSpore 2.3 and later write `mind_ir_version` 2 or 3, in which an operator's settings are inputs, scalars are no
tensors and every parameter is loaded through a chain of monads. MindSpore 2.0 and MindSpore Lite 2.0 read version 1,
which has none of that. Reading turns all of it into `Graph`; `src/deploy/onnx_model.py` writes the same graph as ONNX.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from mindspore.train import mind_ir_pb2 as pb

from src.utils.errors import UserError
from src.utils.files import write_atomic

Shape = tuple[int, ...]
# What an operator may read: a tensor (by name), a number, None, or a tuple of these.
Value = str | int | float | bool | None | tuple

_DTYPES = {
    pb.TensorProto.FLOAT: np.dtype(np.float32),
    pb.TensorProto.FLOAT16: np.dtype(np.float16),
    pb.TensorProto.INT32: np.dtype(np.int32),
    pb.TensorProto.INT64: np.dtype(np.int64),
    pb.TensorProto.BOOL: np.dtype(np.bool_),
}
_PROTO_TYPES = {dtype: number for number, dtype in _DTYPES.items()}
# mindspore.TypeId of float16 and float32, which Cast names its result by.
_TYPE_IDS = {42: np.dtype(np.float16), 43: np.dtype(np.float32)}


@dataclass(frozen=True)
class Node:
    """One operator with one result.

    Attributes:
        op: MindSpore's name of it.
        inputs: names of the tensors that it reads.
        output: name of the tensor that it makes.
        shape: shape of the result.
        dtype: type of the result.
        settings: what else it needs, plain numbers and tuples under MindSpore's names.
    """

    op: str
    inputs: tuple[str, ...]
    output: str
    shape: Shape
    dtype: np.dtype
    settings: dict[str, object] = field(default_factory=dict)


@dataclass
class Graph:
    """A network as a list of operators in the order of execution.

    Attributes:
        inputs: name -> (shape, type), in the order of the network's arguments.
        arrays: name -> weights and constants.
        nodes: the operators.
        output: name of the tensor that the network returns.
    """

    inputs: dict[str, tuple[Shape, np.dtype]]
    arrays: dict[str, np.ndarray]
    nodes: list[Node]
    output: str


def read_mindir(path: str | os.PathLike) -> Graph:
    """Read a MINDIR file as MindSpore 2.3 or later writes it.

    Raises:
        UserError: the file is absent or no MINDIR, or holds an operator that has no translation (it is named).
    """
    path = Path(path)
    model = pb.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot read the graph: {error.strerror}") from error
    except (DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a MINDIR file") from error
    if not model.graph.node:
        raise UserError(f"{path}: not a MINDIR file, or one without operators")
    try:
        return _Reader(model, str(path)).graph()
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, StopIteration) as error:
        # What a graph comes to whose nodes do not fit each other: names, arguments, shapes that are not there.
        raise UserError(f"{path}: truncated or damaged: its nodes do not fit each other") from error


class _Reader:
    """Walks the nodes of a MINDIR and lowers each to plain operators."""

    def __init__(self, model: pb.ModelProto, source: str) -> None:
        self._model = model
        self._source = source
        self._primitives = {primitive.name: primitive for primitive in model.primitives}
        self._values: dict[str, Value] = {}
        self._specs: dict[str, tuple[Shape, np.dtype]] = {}
        self._arrays: dict[str, np.ndarray] = {}
        self._nodes: list[Node] = []

    def graph(self) -> Graph:
        source = self._model.graph
        prefix = f"{source.name}:"
        inputs = {}
        for item in source.input:
            name = item.name.removeprefix(prefix)
            inputs[name] = (tuple(item.tensor[0].dims), _DTYPES[item.tensor[0].data_type])
            self._values[item.name] = name
            self._specs[name] = inputs[name]
        for item in source.parameter:
            self._values[item.name] = self._array(item.name.removeprefix(prefix), _tensor(item))
        for node in source.node:
            self._values[node.output[0]] = self._constant(node) if node.op_type == "Constant" else self._lower(node)
        output = self._values[source.output[0].name]
        return _pruned(Graph(inputs, self._arrays, self._nodes, output))

    def _constant(self, node: pb.NodeProto) -> Value:
        attribute = node.attribute[0]
        if attribute.type == pb.AttributeProto.TENSORS:
            return self._array(node.output[0], _tensor(attribute.tensors[0]))
        return _plain(attribute)

    def _lower(self, node: pb.NodeProto) -> Value:
        primitive = self._primitives.get(node.op_type.removeprefix("REF::"))
        op = primitive.op_type if primitive is not None else node.op_type
        args = [self._values[name] for name in node.input]
        if op in ("Load", "Depend"):
            return args[0]
        if op in ("UpdateState", "MakeTuple"):
            return tuple(args)
        if op == "TupleGetItem":
            return args[0][args[1]]
        if op not in _LOWERINGS:
            raise UserError(f"{self._source}: the graph has the operator {op}, which has no translation")
        settings = {item.name: _plain(item) for item in primitive.attribute}
        shape = next(item for item in node.attribute if item.name == "shape")
        return _LOWERINGS[op](self, args, settings, _result_shape(shape))

    def add(self, op: str, inputs: list[Value], shape: Shape, **settings: object) -> str:
        """Append an operator and return the name of its result; numbers among the inputs become tensors."""
        names = tuple(self._tensor_name(value) for value in inputs)
        output = f"{op}_{len(self._nodes)}"
        dtype = settings.get("dtype", self.spec(names[0])[1])
        self._nodes.append(Node(op, names, output, shape, dtype, settings))
        self._specs[output] = (shape, dtype)
        return output

    def spec(self, name: str) -> tuple[Shape, np.dtype]:
        """Return shape and type of a tensor."""
        return self._specs[name]

    def _tensor_name(self, value: Value) -> str:
        if isinstance(value, str):
            return value
        return self._array(f"number_{len(self._arrays)}", np.array([value], np.float32))

    def _array(self, name: str, array: np.ndarray) -> str:
        self._arrays[name] = array
        self._specs[name] = (array.shape, array.dtype)
        return name


def _tensor(proto: pb.TensorProto) -> np.ndarray:
    array = np.frombuffer(proto.raw_data, _DTYPES[proto.data_type])
    # Version 1 broadcasts tensors of one element, but has no tensors without axes.
    return array.reshape(tuple(proto.dims) or (1,))


def _plain(attribute: pb.AttributeProto) -> Value:
    kinds = pb.AttributeProto
    if attribute.type in (kinds.TUPLE, kinds.LIST):
        return tuple(_plain(value) for value in attribute.values)
    if attribute.type == kinds.STRING:
        return (attribute.s or b"".join(attribute.strings)).decode()
    if attribute.type in (kinds.FLOAT, kinds.DOUBLE):
        return next(iter(attribute.floats or attribute.doubles), attribute.f or attribute.d)
    if attribute.type in (kinds.BOOL, kinds.INT32, kinds.INT64):
        number = next(iter(attribute.ints), attribute.i)
        return bool(number) if attribute.type == kinds.BOOL else number
    return None


def _result_shape(attribute: pb.AttributeProto) -> Shape | tuple[Shape, ...]:
    if attribute.type == pb.AttributeProto.TUPLE:
        return tuple(_result_shape(value) for value in attribute.values)
    return tuple(attribute.tensors[0].dims)


# How each operator of the exported network becomes plain ones: (reader, arguments, settings, shape) -> result.
Lowering = Callable[[_Reader, list[Value], dict[str, Value], Shape], Value]


def _same(op: str, arguments: int) -> Lowering:
    """The operator under another name at most, with the first `arguments` inputs and no settings."""
    return lambda reader, args, settings, shape: reader.add(op, args[:arguments], shape)


def _conv(reader: _Reader, args: list[Value], settings: dict, shape: Shape) -> str:
    return reader.add(
        "Conv2D",
        args,
        shape,
        stride=settings["stride"][2:],
        pad=settings["pad_list"],
        dilation=settings["dilation"][2:],
        group=settings["group"],
        kernel_size=settings["kernel_size"],
    )


def _max_pool(reader: _Reader, args: list[Value], settings: dict, shape: Shape) -> str:
    if settings["pad_mode"] != "VALID":
        raise UserError(f"max pooling with pad_mode {settings['pad_mode']} has no translation, only VALID has")
    return reader.add("MaxPool", args, shape, kernel_size=settings["kernel_size"][2:], strides=settings["strides"][2:])


def _clamp(reader: _Reader, args: list[Value], settings: dict, shape: Shape) -> str:
    x, low, high = args
    x = x if low is None else reader.add("Maximum", [x, low], shape)
    return x if high is None else reader.add("Minimum", [x, high], shape)


def _matmul(op: str) -> Lowering:
    return lambda reader, args, settings, shape: reader.add(
        op, args[:2], shape, transpose_a=args[2], transpose_b=args[3]
    )


def _reduce(op: str) -> Lowering:
    def lower(reader: _Reader, args: list[Value], settings: dict, shape: Shape) -> str:
        x, axis, keep_dims = args[:3]
        rank = len(reader.spec(x)[0])
        axes = (axis,) if isinstance(axis, int) else axis or tuple(range(rank))
        return reader.add(op, [x], shape, axis=tuple(a % rank for a in axes), keep_dims=keep_dims)

    return lower


def _max_with_index(reader: _Reader, args: list[Value], settings: dict, shape: tuple[Shape, Shape]) -> tuple:
    # Who reads the index, reads None, and fails there.
    return None, _reduce("ReduceMax")(reader, args, settings, shape[1])


def _concat(reader: _Reader, args: list[Value], settings: dict, shape: Shape) -> str:
    return reader.add("Concat", list(args[0]), shape, axis=args[1] % len(shape))


def _split(reader: _Reader, args: list[Value], settings: dict, shapes: tuple[Shape, ...]) -> tuple[str, ...]:
    x, axis, _ = args
    whole = reader.spec(x)[0]
    parts, start = [], 0
    for shape in shapes:
        begin, end = [0] * len(whole), list(whole)
        begin[axis], end[axis] = start, start + shape[axis]
        start = end[axis]
        parts.append(
            reader.add("StridedSlice", [x], shape, begin=tuple(begin), end=tuple(end), strides=(1,) * len(whole))
        )
    return tuple(parts)


def _strided_slice(reader: _Reader, args: list[Value], settings: dict, shape: Shape) -> str:
    """Resolve the masks: bit i of a mask is for axis i."""
    x, begin, end, step, begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_mask = args
    if ellipsis_mask or new_axis_mask:
        raise UserError("a slice with an ellipsis or a new axis has no translation")
    whole = reader.spec(x)[0]
    bounds = []
    for axis, size in enumerate(whole):
        if axis >= len(begin):
            bounds.append((0, size, 1))
        elif shrink_mask >> axis & 1:
            first = begin[axis] % size
            bounds.append((first, first + 1, 1))
        else:
            first = None if begin_mask >> axis & 1 else begin[axis]
            last = None if end_mask >> axis & 1 else end[axis]
            bounds.append(slice(first, last, step[axis]).indices(size))
    begin, end, step = zip(*bounds, strict=True)
    kept = tuple(len(range(*bound)) for bound in bounds)
    y = reader.add("StridedSlice", [x], kept, begin=begin, end=end, strides=step)
    return y if kept == shape else reader.add("Reshape", [y], shape)


def _cast(reader: _Reader, args: list[Value], settings: dict, shape: Shape) -> str:
    x, type_id = args
    if type_id not in _TYPE_IDS:
        raise UserError(f"a cast to type {type_id} has no translation, only to float16 and float32")
    dtype = _TYPE_IDS[type_id]
    return x if reader.spec(x)[1] == dtype else reader.add("Cast", [x], shape, dtype=dtype)


_LOWERINGS: dict[str, Lowering] = {
    **{op: _same(op, 1) for op in ("Abs", "Ceil", "Floor", "ReLU", "Sigmoid", "Reshape")},
    **{op: _same(op, 2) for op in ("Add", "Sub", "Mul", "RealDiv", "Minimum", "Maximum", "BiasAdd")},
    **{f"{op}s": _same(op, 2) for op in ("Add", "Sub", "Mul")},
    "Div": _same("RealDiv", 2),
    "Divs": _same("RealDiv", 2),
    "ClampScalar": _clamp,
    "Conv2D": _conv,
    "MaxPool": _max_pool,
    "Pad": lambda r, args, settings, shape: r.add("Pad", args, shape, paddings=settings["paddings"]),
    "MatMul": _matmul("MatMul"),
    "BatchMatMul": _matmul("BatchMatMul"),
    "ReduceMean": _reduce("ReduceMean"),
    "ReduceMax": _reduce("ReduceMax"),
    "ReduceSum": _reduce("ReduceSum"),
    "SumExt": _reduce("ReduceSum"),
    "MeanExt": _reduce("ReduceMean"),
    "ArgMaxWithValue": _max_with_index,
    "Softmax": lambda r, args, settings, shape: r.add("Softmax", args[:1], shape, axis=args[1]),
    "Transpose": lambda r, args, settings, shape: r.add("Transpose", args[:1], shape, perm=args[1]),
    "Concat": _concat,
    "Split": _split,
    "StridedSlice": _strided_slice,
    "Cast": _cast,
}


def _pruned(graph: Graph) -> Graph:
    """Compute what depends on weights alone (their other layouts), and drop what nothing reads."""
    arrays, nodes = dict(graph.arrays), []
    for node in graph.nodes:
        compute = _CONSTANT_FOLDING.get(node.op)
        if compute is not None and all(name in arrays for name in node.inputs):
            arrays[node.output] = np.ascontiguousarray(compute(node, *(arrays[name] for name in node.inputs)))
        else:
            nodes.append(node)
    live, kept = {graph.output}, []
    for node in reversed(nodes):
        if node.output in live:
            kept.append(node)
            live.update(node.inputs)
    arrays = {name: array for name, array in arrays.items() if name in live}
    return Graph(graph.inputs, arrays, kept[::-1], graph.output)


_CONSTANT_FOLDING: dict[str, Callable[..., np.ndarray]] = {
    "Reshape": lambda node, x: x.reshape(node.shape),
    "Transpose": lambda node, x: x.transpose(node.settings["perm"]),
    "Concat": lambda node, *xs: np.concatenate(xs, node.settings["axis"]),
    "StridedSlice": lambda node, x: x[tuple(map(slice, *(node.settings[key] for key in ("begin", "end", "strides"))))],
}


# ------------------------------------------------------------------------------------------------- writing version 1

# Names of the inputs of each operator; names that a node has as settings are constant tuples.
_INPUT_NAMES = {
    **dict.fromkeys(("Abs", "Ceil", "Floor", "ReLU", "Sigmoid", "MaxPool", "Pad", "Softmax", "Concat"), ("x",)),
    **dict.fromkeys(("Add", "Sub", "Mul", "RealDiv", "Minimum", "Maximum"), ("x", "y")),
    **dict.fromkeys(("MatMul", "BatchMatMul"), ("x1", "x2")),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceSum"), ("input_x", "axis")),
    "BiasAdd": ("x", "b"),
    "Cast": ("x", "dtype"),
    "Conv2D": ("x", "w"),
    "Reshape": ("tensor", "shape"),
    "StridedSlice": ("x", "begin", "end", "strides"),
    "Transpose": ("x", "perm"),
}


def write_mindir_v1(graph: Graph, path: str | os.PathLike) -> None:
    """Write a graph as a MINDIR of version 1, which MindSpore 2.0 and MindSpore Lite 2.0 read."""
    write_atomic(path, _VersionOneWriter(graph).model().SerializeToString())


class _VersionOneWriter:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._model = pb.ModelProto(
            ir_version="0.1.0",
            producer_name="MindSpore",
            producer_version="2.0.0",
            model_version="",
            little_endian=True,
            mind_ir_version=1,
        )
        self._model.graph.name = "slowfast"
        self._specs = dict(graph.inputs)
        self._specs |= {name: (array.shape, array.dtype) for name, array in graph.arrays.items()}
        self._specs |= {node.output: (node.shape, node.dtype) for node in graph.nodes}

    def model(self) -> pb.ModelProto:
        proto = self._model.graph
        for name in self._graph.inputs:
            self._tensor_spec(proto.input.add(name=name).tensor, name)
        for name, array in self._graph.arrays.items():
            proto.parameter.add(
                name=name, dims=array.shape, data_type=_PROTO_TYPES[array.dtype], raw_data=array.tobytes()
            )
        for node in self._graph.nodes:
            self._add(node)
        self._tensor_spec(proto.output.add(name=self._graph.output).tensor, self._graph.output)
        return self._model

    def _add(self, node: Node) -> None:
        inputs = list(node.inputs)
        if node.op == "Concat":
            inputs = [self._tuple_of_tensors(node)]
        if node.op == "Reshape":
            inputs.append(self._constant(node.output, "shape", node.shape))
        settings = dict(node.settings)
        for name in _INPUT_NAMES[node.op]:
            if name in settings:
                inputs.append(self._constant(node.output, name, settings.pop(name)))
        primitive = self._primitive(node.op, node.output)
        _set(primitive.attribute, "input_names", list(_INPUT_NAMES[node.op]))
        _set(primitive.attribute, "output_names", ["output"])
        for name, value in (settings | _extra_settings(node)).items():
            _set(primitive.attribute, name, value)
        shape = self._node(primitive, inputs, node.output)
        shape.type = pb.AttributeProto.TENSORS
        self._tensor_spec(shape.tensors, node.output)

    def _tuple_of_tensors(self, node: Node) -> str:
        name = f"{node.output}_inputs"
        shape = self._node(self._primitive("MakeTuple", name), list(node.inputs), name)
        shape.type = pb.AttributeProto.TUPLE
        for part in node.inputs:
            self._tensor_spec(shape.values.add(type=pb.AttributeProto.TENSORS).tensors, part)
        return name

    def _constant(self, owner: str, name: str, value: object) -> str:
        if isinstance(value, np.dtype):
            value = next(number for number, dtype in _TYPE_IDS.items() if dtype == value)
        name = f"{owner}_{name}"
        proto = self._model.graph.node.add(op_type="Constant", name=name, output=[name])
        _set(proto.attribute, "value", value)
        return name

    def _primitive(self, op: str, name: str) -> pb.PrimitiveProto:
        return self._model.primitives.add(name=f"{op}:{name}", op_type=op, instance_name="")

    def _node(self, primitive: pb.PrimitiveProto, inputs: list[str], output: str) -> pb.AttributeProto:
        """Add a node and return its attribute for the shape of the result."""
        # Lite takes the domain for the operator's name, which must be its own.
        proto = self._model.graph.node.add(
            op_type=f"REF::{primitive.name}", name=output, input=inputs, output=[output], domain=f"Default/{output}"
        )
        return proto.attribute.add(name="shape")

    def _tensor_spec(self, tensors, name: str) -> None:
        shape, dtype = self._specs[name]
        tensors.add(dims=shape, data_type=_PROTO_TYPES[dtype])


def _extra_settings(node: Node) -> dict[str, object]:
    """Settings that every operator of a kind has in version 1 and `Node` has in another form."""
    settings = node.settings
    match node.op:
        case "Conv2D":
            return {
                "kernel_size": settings["kernel_size"],
                "out_channel": node.shape[1],
                "mode": 1,
                "pad_mode": "pad",
                "pad_list": settings["pad"],
                "stride": (1, 1, *settings["stride"]),
                "dilation": (1, 1, *settings["dilation"]),
                "groups": settings["group"],
                "format": "NCHW",
            }
        case "MaxPool":
            return {
                "kernel_size": (1, 1, *settings["kernel_size"]),
                "strides": (1, 1, *settings["strides"]),
                "pad_mode": "VALID",
                "format": "NCHW",
            }
        case "BiasAdd":
            return {"format": "NCHW"}
        case "StridedSlice":
            masks = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
            return dict.fromkeys(masks, 0)
        case "ReduceSum":
            return {"skip_mode": False}
    return {}


def _set(attributes, name: str, value: object) -> None:
    _fill(attributes.add(name=name), value)


def _fill(attribute: pb.AttributeProto, value: object, inside: bool = False) -> None:
    """Store a setting as its protobuf type; inside of a tuple the repeated fields hold the values."""
    kinds = pb.AttributeProto
    match value:
        case bool():
            attribute.type, attribute.i = kinds.BOOL, int(value)
        case int():
            attribute.type = kinds.INT64
            if inside:
                attribute.ints.append(value)
            else:
                attribute.i = value
        case str():
            attribute.type = kinds.STRING
            if inside:
                attribute.strings.append(value.encode())
            else:
                attribute.s = value.encode()
        case tuple() | list():
            attribute.type = kinds.LIST if isinstance(value, list) else kinds.TUPLE
            for item in value:
                _fill(attribute.values.add(), item, inside=True)
        case _:
            raise TypeError(f"a setting of type {type(value).__name__}")
