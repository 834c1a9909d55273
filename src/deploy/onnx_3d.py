"""Write the network as ONNX with 3-D kernels, straight from its parameters.

The shapes stay open: one file takes any number of clips and boxes and any frame size. Names and shapes of the
parameters say where a layer is and how large its kernel; strides, dilations and the head's settings come from the
configuration.
"""

import os
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from fvcore.common.config import CfgNode

from src.deploy.manifest import TensorSpec
from src.utils.errors import UserError
from src.utils.files import write_atomic

_OPSET = 16  # the first whose RoiAlign has the half-pixel shift
_IR_VERSION = 8
# Endings of batch norm's parameters, which the convolutions have taken in.
_FOLDED = ("gamma", "beta", "moving_mean", "moving_variance")
# Names of the open axes of each tensor, None where an axis has one size.
_AXES = {
    "slow": ("clips", None, None, "height", "width"),
    "fast": ("clips", None, None, "height", "width"),
    "boxes": ("clips", "boxes", None),
    "scores": ("clips", "boxes", None),
}


def write_onnx_3d(
    cfg: CfgNode,
    arrays: Mapping[str, np.ndarray],
    inputs: Sequence[TensorSpec],
    output: TensorSpec,
    path: str | os.PathLike,
) -> None:
    """Write the network that a configuration describes as an ONNX model.

    Args:
        cfg: the configuration.
        arrays: float32 parameters by the names of the MindSpore network, batch norm folded into the convolutions.
        inputs: slow, fast and boxes; their sizes matter on axes that are not open.
        output: the scores.
        path: the file.

    Raises:
        UserError: the package `onnx` is not installed, or the parameters are not those of the network that is written.
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError("writing ONNX needs the package onnx: pip install onnx onnxruntime 'numpy<2'") from error
    writer = _Writer(cfg, arrays, onnx)
    try:
        model = writer.model(inputs, output)
        onnx.checker.check_model(model, full_check=True)
    except (KeyError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"EXPORT.DYNAMIC: the network is not the one that onnx_3d.py writes: {reason}") from error
    unused = [name for name in arrays if not name.endswith(_FOLDED) and name not in writer.written]
    if unused:
        raise UserError(f"EXPORT.DYNAMIC: the network is not the one that onnx_3d.py writes: it has {unused[0]}")
    write_atomic(path, model.SerializeToString())


class _Writer:
    def __init__(self, cfg: CfgNode, arrays: Mapping[str, np.ndarray], onnx) -> None:
        self._cfg = cfg
        self._arrays = arrays
        self._onnx = onnx
        self._nodes = []
        self._constants: dict[str, np.ndarray] = {}

    @property
    def written(self) -> Collection[str]:
        """Names of the parameters and constants that are in the model."""
        return self._constants.keys()

    def model(self, inputs: Sequence[TensorSpec], output: TensorSpec):
        slow, fast, boxes = (spec.name for spec in inputs)
        if inputs[0].dtype != "float32":
            slow, fast = (self._op("Cast", [x], to=self._onnx.TensorProto.FLOAT) for x in (slow, fast))
        slow, fast = self._stem(slow, 0), self._stem(fast, 1)
        for stage in range(4):
            slow = self._fuse(slow, fast, f"s{stage + 1}_fuse")
            slow, fast = self._stage(slow, stage, 0), self._stage(fast, stage, 1)
        self._head(slow, fast, boxes, output.name)
        helper = self._onnx.helper
        graph = helper.make_graph(
            self._nodes,
            "slowfast",
            [self._value(spec) for spec in inputs],
            [self._value(output)],
            [self._onnx.numpy_helper.from_array(array, name) for name, array in self._constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)

    def _value(self, spec: TensorSpec):
        shape = [name or size for name, size in zip(_AXES[spec.name], spec.shape, strict=True)]
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        return self._onnx.helper.make_tensor_value_info(spec.name, kind, shape)

    # ---------------------------------------------------------------------------------------------------- layers

    def _stem(self, x: str, pathway: int) -> str:
        """(n, 3, t, h, w) to (n, c, t, h / 4, w / 4)."""
        name = f"s1.pathway{pathway}_stem"
        x = self._relu(self._conv(x, f"{name}.conv", stride=(1, 2, 2)))
        return self._op("MaxPool", [x], kernel_shape=(1, 3, 3), strides=(1, 2, 2), pads=(0, 1, 1, 0, 1, 1))

    def _fuse(self, slow: str, fast: str, name: str) -> str:
        """Put the Fast pathway's features, thinned out in time, behind the Slow pathway's channels."""
        fused = self._conv(fast, f"{name}.conv_f2s", (self._cfg.SLOWFAST.ALPHA, 1, 1))
        if self._cfg.SLOWFAST.FUSION_NORM:
            fused = self._relu(fused)
        return self._op("Concat", [slow, fused], axis=1)

    def _stage(self, x: str, stage: int, pathway: int) -> str:
        """One pathway's blocks of res2 (stage 0) to res5."""
        prefix = f"s{stage + 2}.pathway{pathway}"
        stride = self._cfg.RESNET.SPATIAL_STRIDES[stage][pathway]
        block = 0
        while self._has(f"{prefix}_res{block}.branch2.a"):
            dilation = self._cfg.RESNET.SPATIAL_DILATIONS[stage][pathway]
            x = self._bottleneck(x, f"{prefix}_res{block}", stride if block == 0 else 1, dilation)
            if self._has(f"{prefix}_nonlocal{block}.conv_theta"):
                x = self._nonlocal(x, f"{prefix}_nonlocal{block}", self._cfg.NONLOCAL.POOL[stage][pathway])
            block += 1
        return x

    def _bottleneck(self, x: str, name: str, stride: int, dilation: int) -> str:
        branch2 = f"{name}.branch2"
        y = self._relu(self._conv(x, f"{branch2}.a"))
        y = self._relu(self._conv(y, f"{branch2}.b", (1, stride, stride), dilation))
        y = self._conv(y, f"{branch2}.c")
        if self._has(f"{name}.branch1"):
            x = self._conv(x, f"{name}.branch1", (1, stride, stride))
        return self._relu(self._op("Add", [x, y]))

    def _nonlocal(self, x: str, name: str, pool: Sequence[int]) -> str:
        """Attention between all positions in time and space."""
        thinned = self._op("MaxPool", [x], kernel_shape=pool, strides=pool)
        theta = self._conv(x, f"{name}.conv_theta")
        query = self._op("Transpose", [self._positions(theta)], perm=(0, 2, 1))
        key = self._positions(self._conv(thinned, f"{name}.conv_phi"))
        value = self._positions(self._conv(thinned, f"{name}.conv_g"))
        affinity = self._op("MatMul", [query, key])  # (n, positions, thinned positions)
        if self._cfg.NONLOCAL.INSTANTIATION == "softmax":
            inner = len(self._arrays[f"{name}.conv_theta.weight"])
            affinity = self._op("Mul", [affinity, self._constant(f"{name}.scale", np.float32(inner**-0.5))])
            affinity = self._op("Softmax", [affinity], axis=-1)
        else:
            count = self._op("Cast", [self._op("Shape", [key], start=2)], to=self._onnx.TensorProto.FLOAT)
            affinity = self._op("Div", [affinity, count])
        y = self._op("MatMul", [value, self._op("Transpose", [affinity], perm=(0, 2, 1))])
        y = self._op("Reshape", [y, self._op("Shape", [theta])])
        return self._op("Add", [x, self._conv(y, f"{name}.conv_out")])

    def _positions(self, x: str) -> str:
        """(n, c, t, h, w) to (n, c, t * h * w)."""
        return self._op("Reshape", [x, self._integers("positions", [0, 0, -1])])

    def _head(self, slow: str, fast: str, boxes: str, output: str) -> None:
        """Score boxes (n, k, 4): RoIAlign of the map of each pathway, the largest bin, one linear layer."""
        n_and_k = self._op("Shape", [boxes], end=2)
        rois, box_clips = self._rois(boxes), self._box_clips(boxes, n_and_k)
        pool = {"mean": "ReduceMean", "max": "ReduceMax"}[self._cfg.MODEL.HEAD_TEMPORAL_POOL]
        maps = [self._op(pool, [x], axes=(2,), keepdims=0) for x in (slow, fast)]
        pooled = [self._roi_max(x, rois, box_clips) for x in maps]
        features = self._without_empty(rois, self._op("Concat", pooled, axis=1))
        if self._cfg.MODEL.HEAD_CONTEXT:
            of_frame = self._op("Gather", [self._context(self._op("Concat", maps, axis=1)), box_clips])
            features = self._op("Concat", [features, of_frame], axis=1)
        if self._cfg.MODEL.HEAD_ACRN:
            features = self._relation(features, self._op("Concat", maps, axis=1), box_clips)
        weight = self._constant("head.projection.weight", self._arrays["head.projection.weight"])
        bias = self._constant("head.projection.bias", self._arrays["head.projection.bias"])
        rows = self._op("Gemm", [features, weight, bias], transB=1)
        shape = self._op(
            "Concat", [n_and_k, self._integers("classes", self._arrays["head.projection.bias"].shape)], axis=0
        )
        activation = {"sigmoid": "Sigmoid", "softmax": "Softmax", "none": None}[self._cfg.MODEL.HEAD_ACT]
        # Without allowzero, a number of boxes of 0 would mean another axis.
        scores = self._op("Reshape", [rows, shape], output=None if activation else output, allowzero=1)
        if activation:
            self._op(activation, [scores], output=output)

    def _rois(self, boxes: str) -> str:
        """(n, k, 4) to (n * k, 4), moved so that RoiAlign samples as DETECTION has it."""
        detection = self._cfg.DETECTION
        if detection.ROI_END_MODE:
            # The far side lies a pixel further. There is no minimum size, so RoiAlign runs in its aligned mode, whose
            # shift by half a feature pixel is taken back where it is not wanted.
            start = 0.0 if detection.ALIGNED else 0.5 * detection.SPATIAL_SCALE_FACTOR
            shift = np.array([start, start, start + 1, start + 1], np.float32)
            boxes = self._op("Add", [boxes, self._constant("roi_shift", shift)])
        return self._op("Reshape", [boxes, self._integers("rois_shape", [-1, 4])])

    def _without_empty(self, rois: str, features: str) -> str:
        """Zeros for boxes without area, such as padding: OpenVINO's RoiAlign divides by their number of samples, 0."""
        detection = self._cfg.DETECTION
        if not detection.ALIGNED or detection.SAMPLING_RATIO or detection.ROI_END_MODE:
            return features
        last = self._integers("last_axis", [1])
        near = self._op("Slice", [rois, self._integers("near", [0]), self._integers("far", [2]), last])
        far = self._op("Slice", [rois, self._integers("far", [2]), self._integers("end", [4]), last])
        least_side = self._op("ReduceMin", [self._op("Sub", [far, near])], axes=(1,), keepdims=1)
        zero = self._constant("no_feature", np.float32(0))
        return self._op("Where", [self._op("Greater", [least_side, zero]), features, zero])

    def _box_clips(self, boxes: str, n_and_k: str) -> str:
        """The clip of each box: int64 (n * k,)."""
        zero, one = self._constant("zero", np.int64(0)), self._constant("one", np.int64(1))
        clips = self._op("Range", [zero, self._op("Squeeze", [self._op("Shape", [boxes], end=1)]), one])
        column = self._op("Unsqueeze", [clips, self._integers("last", [1])])
        return self._op("Reshape", [self._op("Expand", [column, n_and_k]), self._integers("flat", [-1])])

    def _roi_max(self, features: str, rois: str, box_clips: str) -> str:
        """(n, c, h, w) to (n * k, c)."""
        detection = self._cfg.DETECTION
        minimum_size = not detection.ALIGNED and not detection.ROI_END_MODE
        pooled = self._op(
            "RoiAlign",
            [features, rois, box_clips],
            output_height=detection.ROI_XFORM_RESOLUTION,
            output_width=detection.ROI_XFORM_RESOLUTION,
            spatial_scale=1.0 / detection.SPATIAL_SCALE_FACTOR,
            sampling_ratio=detection.SAMPLING_RATIO,
            coordinate_transformation_mode="output_half_pixel" if minimum_size else "half_pixel",
        )
        return self._op("ReduceMax", [pooled], axes=(2, 3), keepdims=0)

    def _context(self, maps: str) -> str:
        """(n, c, h, w) to (n, c): the largest mean of the bins that cover a map."""
        rows, columns = self._bin_weights(maps, 2), self._bin_weights(maps, 3)
        pooled = self._op("MatMul", [rows, maps])
        pooled = self._op("MatMul", [pooled, self._op("Transpose", [columns], perm=(1, 0))])
        return self._op("ReduceMax", [pooled], axes=(2, 3), keepdims=0)

    def _bin_weights(self, maps: str, axis: int) -> str:
        """How much each pixel counts in the mean of each bin along an axis: (bins, size), see `AdaptiveMeanPool`."""
        bins = self._cfg.DETECTION.ROI_XFORM_RESOLUTION
        size = self._op("Shape", [maps], start=axis, end=axis + 1)
        zero, one = self._constant("zero", np.int64(0)), self._constant("one", np.int64(1))
        pixels = self._op("Range", [zero, self._op("Squeeze", [size]), one])
        index, count = np.arange(bins)[:, None], self._integers("bins", [bins])
        first = self._op("Div", [self._op("Mul", [self._integers("bin", index), size]), count])
        # Rounded up, by the number of bins less one.
        behind = self._op("Mul", [self._integers("next_bin", index + 1), size])
        end = self._op("Div", [self._op("Add", [behind, self._integers("round_up", [bins - 1])]), count])
        inside = [self._op("GreaterOrEqual", [pixels, first]), self._op("Less", [pixels, end])]
        weights = self._op("Cast", [self._op("And", inside)], to=self._onnx.TensorProto.FLOAT)
        length = self._op("Cast", [self._op("Sub", [end, first])], to=self._onnx.TensorProto.FLOAT)
        return self._op("Div", [weights, length])

    def _relation(self, features: str, maps: str, box_clips: str) -> str:
        """Relate features (n * k, c) to maps (n, c, h, w), see `ActorRelation`: (n * k, out)."""
        weight = self._arrays["head.acrn.conv1.weight"]
        of_box, of_map = np.split(weight[..., 0], 2, axis=1)  # (out, c, 1, 1) each
        boxes = self._op("Unsqueeze", [features, self._integers("last_two", [2, 3])])
        boxes = self._op("Conv", [boxes, self._constant("head.acrn.conv1.weight", of_box)], kernel_shape=(1, 1))
        bias = self._constant("head.acrn.conv1.bias", self._arrays["head.acrn.conv1.bias"])
        places = self._op("Conv", [maps, self._constant("relation_of_map", of_map), bias], kernel_shape=(1, 1))
        x = self._relu(self._op("Add", [boxes, self._op("Gather", [places, box_clips])]))
        names = ("head.acrn.conv2.weight", "head.acrn.conv2.bias")
        weight, bias = (self._arrays[name] for name in names)
        inputs = [x, self._constant(names[0], weight[:, :, 0]), self._constant(names[1], bias)]
        x = self._relu(self._op("Conv", inputs, kernel_shape=(3, 3), pads=(1, 1, 1, 1)))
        return self._op("ReduceMax", [x], axes=(2, 3), keepdims=0)

    # ------------------------------------------------------------------------------------------- nodes and constants

    def _has(self, layer: str) -> bool:
        return f"{layer}.weight" in self._arrays

    def _conv(self, x: str, layer: str, stride: Sequence[int] = (1, 1, 1), dilation: int = 1) -> str:
        """A convolution, padded to keep its size but for the strides."""
        names = [name for name in (f"{layer}.weight", f"{layer}.bias") if name in self._arrays]
        kernel = self._arrays[names[0]].shape[2:]
        dilations = (1, dilation, dilation)
        pads = [side // 2 * step for side, step in zip(kernel, dilations, strict=True)]
        inputs = [x, *(self._constant(name, self._arrays[name]) for name in names)]
        return self._op("Conv", inputs, kernel_shape=kernel, strides=stride, dilations=dilations, pads=pads * 2)

    def _relu(self, x: str) -> str:
        return self._op("Relu", [x])

    def _op(self, kind: str, inputs: list[str], output: str | None = None, **attributes: object) -> str:
        output = output or f"{kind}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def _constant(self, name: str, array: np.ndarray) -> str:
        self._constants[name] = np.asarray(array)
        return name

    def _integers(self, name: str, values: Sequence[int]) -> str:
        return self._constant(name, np.array(values, np.int64))
