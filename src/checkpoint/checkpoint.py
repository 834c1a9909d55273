"""Checkpointer: the names that others use, which parameters of a network a file fills, and MindSpore's .ckpt files."""

import os
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.checkpoint.safe_pickle import LazyArray, as_array
from src.utils.errors import UserError
from src.utils.files import atomic_path

HEAD = "head."
Shape = tuple[int, ...]
Rules = tuple[tuple[str, str], ...]

# ------------------------------------------------------------------------------------------------ names of the sources
# Every table rewrites a source's names to PySlowFast's: regular expressions and replacements, applied in order.

# Caffe2 (video models of the SlowFast authors). `riv` reads "inverse variance" but holds the variance.
CAFFE2: Rules = (
    (r"_bn_s$", "_bn.weight"),
    (r"_bn_b$", "_bn.bias"),
    (r"_bn_rm$", "_bn.running_mean"),
    (r"_bn_riv$", "_bn.running_var"),
    (r"_w$", ".weight"),
    (r"_b$", ".bias"),
    (r"^conv1\.", "s1.pathway0_stem.conv."),
    (r"^t_conv1\.", "s1.pathway1_stem.conv."),
    (r"^res_conv1_bn\.", "s1.pathway0_stem.bn."),
    (r"^t_res_conv1_bn\.", "s1.pathway1_stem.bn."),
    (r"^t_pool1_subsample\.", "s1_fuse.conv_f2s."),
    (r"^t_pool1_subsample_bn\.", "s1_fuse.bn."),
    (r"^t_res(\d)_\d+_branch2c_bn_subsample\.", r"s\1_fuse.conv_f2s."),
    (r"^t_res(\d)_\d+_branch2c_bn_subsample_bn\.", r"s\1_fuse.bn."),
    (r"^res(\d)_(\d+)_", r"s\1.pathway0_res\2."),
    (r"^t_res(\d)_(\d+)_", r"s\1.pathway1_res\2."),
    (r"\.branch2([abc])", r".branch2.\1"),
    (r"^nonlocal_conv(\d)_(\d+)_bn\.", r"s\1.pathway0_nonlocal\2.bn."),
    (r"^nonlocal_conv(\d)_(\d+)_(theta|phi|g|out)\.", r"s\1.pathway0_nonlocal\2.conv_\3."),
    (r"^pred\.", "head.projection."),
)

# pytorchvideo: slowfast_r50 and its like (blocks.*), slowfast_r50_detection (model.blocks.*, detection_head.*).
PYTORCHVIDEO: Rules = (
    (r"^model\.", ""),
    *((rf"^blocks\.{block}\.", f"s{block + 1}.") for block in range(5)),
    (r"^s1\.multipathway_blocks\.(\d)\.conv\.", r"s1.pathway\1_stem.conv."),
    (r"^s1\.multipathway_blocks\.(\d)\.norm\.", r"s1.pathway\1_stem.bn."),
    (r"\.multipathway_fusion\.conv_fast_to_slow\.", "_fuse.conv_f2s."),
    (r"\.multipathway_fusion\.norm\.", "_fuse.bn."),
    (r"\.multipathway_blocks\.(\d)\.res_blocks\.(\d+)\.", r".pathway\1_res\2."),
    (r"\.branch1_conv\.", ".branch1."),
    (r"\.branch1_norm\.", ".branch1_bn."),
    (r"\.branch2\.conv_([abc])\.", r".branch2.\1."),
    (r"\.branch2\.norm_([abc])\.", r".branch2.\1_bn."),
    (r"^(blocks\.6|detection_head)\.proj\.", "head.projection."),
)

# mmaction2: ResNet3dSlowFast with SlowFastHead (recognisers) or AVARoIHead (detectors).
MMACTION2: Rules = (
    (r"^backbone\.slow_path\.conv1_lateral\.conv\.", "s1_fuse.conv_f2s."),
    (r"^backbone\.slow_path\.conv1_lateral\.bn\.", "s1_fuse.bn."),
    *((rf"^backbone\.slow_path\.layer{n}_lateral\.conv\.", f"s{n + 1}_fuse.conv_f2s.") for n in (1, 2, 3)),
    *((rf"^backbone\.slow_path\.layer{n}_lateral\.bn\.", f"s{n + 1}_fuse.bn.") for n in (1, 2, 3)),
    (r"^backbone\.slow_path\.", "pathway0."),
    (r"^backbone\.fast_path\.", "pathway1."),
    (r"^(pathway\d)\.conv1\.", r"s1.\1_stem."),
    *((rf"^(pathway\d)\.layer{n}\.(\d+)\.", rf"s{n + 1}.\1_res\2.") for n in (1, 2, 3, 4)),
    (r"\.downsample\.conv\.", ".branch1."),
    (r"\.downsample\.bn\.", ".branch1_bn."),
    *((rf"\.conv{n}\.conv\.", f".branch2.{letter}.") for n, letter in ((1, "a"), (2, "b"), (3, "c"))),
    *((rf"\.conv{n}\.bn\.", f".branch2.{letter}_bn.") for n, letter in ((1, "a"), (2, "b"), (3, "c"))),
    (r"^(cls_head|roi_head\.bbox_head)\.fc_cls\.", "head.projection."),
)

# MindSpore's endings of batch norm.
_ENDINGS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
MINDSPORE: Rules = tuple((rf"(?<=bn\.){ours}$", theirs) for ours, theirs in _ENDINGS.items())
_TO_MINDSPORE: Rules = tuple((rf"(?<=bn\.){theirs}$", ours) for ours, theirs in _ENDINGS.items())


@dataclass(frozen=True)
class Naming:
    """How a source names its parameters: a name that only it has, and the table to PySlowFast's."""

    mark: str
    rules: Rules


NAMINGS = {
    "caffe2": Naming("conv1_w", CAFFE2),
    "pyth": Naming("s1.pathway0_stem.bn.weight", ()),
    "pytorchvideo": Naming("blocks.0.multipathway_blocks.0.conv.weight", PYTORCHVIDEO),
    "mmaction2": Naming("backbone.slow_path.conv1.conv.weight", MMACTION2),
    "ckpt": Naming("s1.pathway0_stem.bn.gamma", MINDSPORE),
}


def recognise(names: Iterable[str], source: str) -> str:
    """Return the key of `NAMINGS` whose mark is among `names` (behind any prefix).

    Raises:
        UserError: there is none.
    """
    names = list(names)
    for kind, naming in NAMINGS.items():
        if any(name == naming.mark or name.endswith(f".{naming.mark}") for name in names):
            return kind
    raise UserError(
        f"{source}: no SlowFast checkpoint of a known kind ({', '.join(NAMINGS)}); "
        f"its first names are {', '.join(names[:3]) or 'none'}"
    )


# A parameter in PySlowFast's names, whatever the depth of the network.
_PARAMETER = re.compile(
    r"(s[1-5]\.pathway[01]_(stem|res\d+|nonlocal\d+)|s[1-4]_fuse|head\.projection)(\.\w+)*"
    r"\.(weight|bias|running_mean|running_var)"
)


def _rewrite(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def to_pyslowfast(name: str, kind: str) -> str:
    """Return PySlowFast's name of what a source of the `kind` calls `name`; what is no parameter keeps its name."""
    # DistributedDataParallel puts "module." before the names of a model.
    rewritten = _rewrite(name.removeprefix("module."), NAMINGS[kind].rules)
    return rewritten if _PARAMETER.fullmatch(rewritten) else name


def to_mindspore(name: str) -> str:
    """Return the name in the MindSpore network of what PySlowFast calls `name`."""
    return _rewrite(name, _TO_MINDSPORE)


def convert(arrays: Mapping[str, LazyArray], kind: str, source: str) -> dict[str, LazyArray]:
    """Return the parameters of a source by the names of the MindSpore network.

    Args:
        arrays: the source's name -> array.
        kind: a key of `NAMINGS`.
        source: what to call the file in an error.

    Raises:
        UserError: two names of the source mean the same parameter.
    """
    converted: dict[str, LazyArray] = {}
    for theirs, array in arrays.items():
        ours = to_mindspore(to_pyslowfast(theirs, kind))
        if ours in converted:
            raise UserError(f"{source}: {ours} is in it twice, the second time as {theirs}")
        if kind == "mmaction2" and ours.startswith(HEAD) and array.shape:
            array = _mmaction2_head(theirs, as_array(array, source))
        converted[ours] = array
    return converted


def _mmaction2_head(name: str, array: np.ndarray) -> np.ndarray:
    """Put a parameter of mmaction2's last layer into our order of outputs and inputs."""
    if "roi_head." in name:
        return array[1:]  # output 0 is the background, which is never trained
    if array.ndim == 2:
        # The recogniser puts the Fast channels first, one for eight of the Slow pathway.
        return np.roll(array, -(array.shape[1] // 9), axis=1)
    return array


# --------------------------------------------------------------------------------------------------------- coverage


@dataclass(frozen=True)
class Coverage:
    """What a checkpoint does for a network; all names are the network's but `left_over`.

    Attributes:
        loaded: parameters that the checkpoint fills.
        skipped: parameters of the head that it holds in another size: name -> (its shape, the network's shape).
        missing: parameters of the network that it does not hold.
        left_over: what it holds and the network has no place for: name -> shape.
    """

    loaded: dict[str, Shape]
    skipped: dict[str, tuple[Shape, Shape]]
    missing: dict[str, Shape]
    left_over: dict[str, Shape]

    def strays(self) -> list[str]:
        """Return what is left over though a deeper or other SlowFast has it: the weights may be for another network."""
        return [name for name in self.left_over if _PARAMETER.fullmatch(to_pyslowfast(name, "ckpt"))]

    def summary(self) -> str:
        """Return the four counts as one line."""
        return (
            f"{len(self.loaded)} loaded, {len(self.skipped)} skipped (head of another size), "
            f"{len(self.missing)} missing, {len(self.left_over)} left over"
        )

    def table(self) -> str:
        """Return one line per parameter: state, name, shape; the network's first, then what is left over."""
        rows = [("loaded", name, str(shape)) for name, shape in self.loaded.items()]
        rows += [
            ("skipped", name, f"{theirs} in the file, {ours} here") for name, (theirs, ours) in self.skipped.items()
        ]
        rows += [("missing", name, str(shape)) for name, shape in self.missing.items()]
        rows += [("left over", name, str(shape)) for name, shape in self.left_over.items()]
        width = max((len(name) for _, name, _ in rows), default=0)
        return "\n".join(f"{state:<9}  {name:<{width}}  {shape}" for state, name, shape in rows)


def compare(arrays: Mapping[str, LazyArray], shapes: Mapping[str, Shape], source: str, fresh_head: bool) -> Coverage:
    """Say which parameters of a network `arrays` fills.

    The trunk must be there as a whole. The head (`head.*`) may be absent or of another size when `fresh_head`
    allows it, as in fine-tuning from Kinetics to AVA; it is then left out as a whole.

    Args:
        arrays: name -> array, in the network's names.
        shapes: name -> shape of every parameter of the network.
        source: what to call the checkpoint in an error.
        fresh_head: whether the network may keep the head that it was initialised with.

    Raises:
        UserError: a parameter of the trunk (or of the head, without `fresh_head`) is missing or of another shape.
    """
    shapes = {name: tuple(shape) for name, shape in shapes.items()}
    missing = {name: shape for name, shape in shapes.items() if name not in arrays}
    differing = {n: (arrays[n].shape, s) for n, s in shapes.items() if n in arrays and arrays[n].shape != s}
    if differing:  # half a head is no head
        differing |= {n: (arrays[n].shape, s) for n, s in shapes.items() if n in arrays and n.startswith(HEAD)}

    def required(names: Mapping) -> list[str]:
        return [name for name in names if not (fresh_head and name.startswith(HEAD))]

    if names := required(missing):
        raise UserError(f"{source}: {len(names)} parameters of the network are not in it, the first is {names[0]}")
    if names := required({n: pair for n, pair in differing.items() if pair[0] != pair[1]}):
        theirs, ours = differing[names[0]]
        raise UserError(
            f"{source}: {len(names)} parameters have another shape, the first is {names[0]}: "
            f"expected {ours}, the file has {theirs}"
        )
    return Coverage(
        loaded={name: shape for name, shape in shapes.items() if name not in missing and name not in differing},
        skipped=differing,
        missing=missing,
        left_over={name: array.shape for name, array in arrays.items() if name not in shapes},
    )


# ------------------------------------------------------------------------------------------------ MindSpore's files

# A .ckpt file is one protocol-buffer message `Checkpoint { repeated Value value = 1; }`, so a row of records that
# start with the tag of field 1, and may end with "crc_num" and the CRC-32 of all before it in ten bytes.
_RECORD_TAG = 0x0A
_CRC_MARK = b"crc_num"
_CRC_SIZE = len(_CRC_MARK) + 10


def check_ckpt(path: str | os.PathLike) -> None:
    """Raise `UserError` unless the file is a whole MindSpore checkpoint; reads it without MindSpore."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a MindSpore checkpoint (.ckpt)")
    data = path.read_bytes()
    end = len(data)
    if data[-_CRC_SIZE:].startswith(_CRC_MARK):
        end -= _CRC_SIZE
    if not data or data[0] != _RECORD_TAG:
        raise UserError(f"{path}: not a MindSpore checkpoint")
    position = 0
    while position < end:
        if data[position] != _RECORD_TAG:
            raise UserError(f"{path}: damaged at byte {position}: expected a record of a MindSpore checkpoint")
        position += 1
        length = shift = 0
        while position < end and data[position] & 0x80 and shift < 63:  # a base-128 number, lowest digits first
            length |= (data[position] & 0x7F) << shift
            shift += 7
            position += 1
        if position < end:
            length |= (data[position] & 0x7F) << shift
        position += 1 + length
    if position != end:
        raise UserError(f"{path}: truncated: its records need {position} bytes, it has {end}")
    if end != len(data) and zlib.crc32(memoryview(data)[:end]) != int.from_bytes(data[end + len(_CRC_MARK) :], "big"):
        raise UserError(f"{path}: damaged: its checksum (CRC-32) does not fit its content")


def load_checkpoint(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read a MindSpore checkpoint.

    Returns:
        name -> array, in the order of the file.

    Raises:
        UserError: the file is absent, truncated, damaged or no MindSpore checkpoint.
    """
    check_ckpt(path)
    import mindspore as ms

    try:
        parameters = ms.load_checkpoint(str(path))
    except ValueError as error:
        raise UserError(f"{path}: not a MindSpore checkpoint: {str(error).splitlines()[0]}") from error
    return {name: parameter.asnumpy() for name, parameter in parameters.items()}


def save_checkpoint(arrays: Mapping[str, np.ndarray], path: str | os.PathLike) -> None:
    """Write `arrays` as a MindSpore checkpoint with a checksum; the file appears whole or not at all.

    Raises:
        UserError: `path` does not end in .ckpt, which MindSpore wants.
    """
    path = Path(path)
    if path.suffix != ".ckpt":
        raise UserError(f"{path}: the name of a MindSpore checkpoint must end in .ckpt")
    import mindspore as ms

    tensors = [{"name": name, "data": ms.Tensor(array)} for name, array in arrays.items()]
    with atomic_path(path) as temporary:
        try:
            ms.save_checkpoint(tensors, str(temporary), crc_check=True)
        finally:
            temporary.with_suffix(".tmp").unlink(missing_ok=True)  # MindSpore's own temporary, left when it fails


def load_into(network, source: str | os.PathLike | Mapping[str, np.ndarray], fresh_head: bool = False) -> Coverage:
    """Fill the parameters of a MindSpore `network` from a .ckpt file or from arrays in its names.

    Args:
        network: a `mindspore.nn.Cell`.
        source: the path of a .ckpt, or name -> array.
        fresh_head: as in `compare`: True for fine-tuning, False where the head is needed (evaluation, export).

    Returns:
        What was loaded and what not.

    Raises:
        UserError: see `load_checkpoint` and `compare`; nothing has been loaded then.
    """
    import mindspore as ms

    arrays = source if isinstance(source, Mapping) else load_checkpoint(source)
    parameters = network.parameters_dict()
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    coverage = compare(arrays, shapes, "the given arrays" if arrays is source else str(source), fresh_head)
    for name in coverage.loaded:
        parameters[name].set_data(ms.Tensor(arrays[name], parameters[name].dtype))
    return coverage
