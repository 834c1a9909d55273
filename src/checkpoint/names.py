"""The names that other projects give the parameters of a SlowFast network, and the way to those of this one.

PySlowFast's names stand in the middle: a table for each source leads to them, one more leads on to MindSpore's.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from src.checkpoint.safe_pickle import LazyArray, as_array
from src.utils.errors import UserError

# How names of the head's parameters begin, and those of batch norm's variances end, in the MindSpore network.
HEAD = "head."
VARIANCE = ".moving_variance"
Rules = tuple[tuple[str, str], ...]

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

# mmaction2: ResNet3dSlowFast with SlowFastHead (recognizers) or AVARoIHead (detectors, some with ACRNHead).
MMACTION2: Rules = (
    *((rf"^roi_head\.shared_head\.conv{n}\.conv\.", f"head.acrn.conv{n}.") for n in (1, 2)),
    *((rf"^roi_head\.shared_head\.conv{n}\.bn\.", f"head.acrn.conv{n}_bn.") for n in (1, 2)),
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

# Back from PySlowFast's names to those of an mmaction2 detector.
_TO_MMACTION2: Rules = (
    *((rf"^roi_head\.shared_head\.conv{n}\.conv\.", f"head.acrn.conv{n}.") for n in (1, 2)),
    *((rf"^roi_head\.shared_head\.conv{n}\.bn\.", f"head.acrn.conv{n}_bn.") for n in (1, 2)),
    (r"^s1_fuse\.conv_f2s\.", "backbone.slow_path.conv1_lateral.conv."),
    (r"^s1_fuse\.bn\.", "backbone.slow_path.conv1_lateral.bn."),
    *((rf"^s{n + 1}_fuse\.conv_f2s\.", f"backbone.slow_path.layer{n}_lateral.conv.") for n in (1, 2, 3)),
    *((rf"^s{n + 1}_fuse\.bn\.", f"backbone.slow_path.layer{n}_lateral.bn.") for n in (1, 2, 3)),
    (r"^s1\.pathway0_stem\.", "backbone.slow_path.conv1."),
    (r"^s1\.pathway1_stem\.", "backbone.fast_path.conv1."),
    *((rf"^s{n + 1}\.pathway0_res(\d+)\.", rf"backbone.slow_path.layer{n}.\1.") for n in (1, 2, 3, 4)),
    *((rf"^s{n + 1}\.pathway1_res(\d+)\.", rf"backbone.fast_path.layer{n}.\1.") for n in (1, 2, 3, 4)),
    (r"\.branch1\.", ".downsample.conv."),
    (r"\.branch1_bn\.", ".downsample.bn."),
    *((rf"\.branch2\.{letter}\.", f".conv{n}.conv.") for n, letter in ((1, "a"), (2, "b"), (3, "c"))),
    *((rf"\.branch2\.{letter}_bn\.", f".conv{n}.bn.") for n, letter in ((1, "a"), (2, "b"), (3, "c"))),
    (r"^head\.acrn\.(conv\d)\.", r"roi_head.shared_head.\1.conv."),
    (r"^head\.acrn\.(conv\d)_bn\.", r"roi_head.shared_head.\1.bn."),
    (r"^head\.projection\.", "roi_head.bbox_head.fc_cls."),
)

# MindSpore's endings of batch norm.
_ENDINGS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
MINDSPORE: Rules = tuple((rf"(?<=bn\.){ours}$", theirs) for ours, theirs in _ENDINGS.items())
_TO_MINDSPORE: Rules = tuple((rf"(?<=bn\.){theirs}$", ours) for ours, theirs in _ENDINGS.items())


@dataclass(frozen=True)
class Naming:
    """How a source names its parameters.

    Attributes:
        mark: a name that only this source has.
        rules: the table to PySlowFast's names.
        own_prefix: what the source itself may put before the mark; the table removes it.
        head: puts a parameter of the source's last layer, by its name there, into our order of outputs and inputs.
    """

    mark: str
    rules: Rules
    own_prefix: str = ""
    head: Callable[[str, np.ndarray], np.ndarray] | None = None


def _mmaction2_head(name: str, array: np.ndarray) -> np.ndarray:
    if "roi_head.shared_head." in name:
        return array
    if "roi_head." in name:
        return array[1:]  # output 0 is the background, which is never trained
    if array.ndim == 2:
        # The recognizer puts the Fast channels first, one for eight of the Slow pathway.
        return np.roll(array, -(array.shape[1] // 9), axis=1)
    return array


NAMINGS = {
    "caffe2": Naming("conv1_w", CAFFE2),
    "pyth": Naming("s1.pathway0_stem.bn.weight", ()),
    "pytorchvideo": Naming("blocks.0.multipathway_blocks.0.conv.weight", PYTORCHVIDEO, "model."),
    "mmaction2": Naming("backbone.slow_path.conv1.conv.weight", MMACTION2, head=_mmaction2_head),
    "ckpt": Naming("s1.pathway0_stem.bn.gamma", MINDSPORE),
}
# Parts that wrappers put into names: DataParallel and DistributedDataParallel, torch.compile, FSDP, activation
# checkpointing, Lightning Fabric and DeepSpeed.
WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_forward_module.")
_WRAPPER = re.compile(rf"(?<![^.])({'|'.join(map(re.escape, WRAPPERS))})")
# Before a network's names: these and what Lightning and training scripts call the network.
_USUAL_PREFIX = re.compile(r"(model\.|net\.|network\.)*")


def unwrapped(name: str) -> str:
    """Return a name without the parts that PyTorch's wrappers of modules put into it."""
    return _WRAPPER.sub("", name)


def recognize(names: Iterable[str], source: str) -> tuple[str, str]:
    """Find out whose names these are, and what stands before them.

    Args:
        names: parameter names, with or without the parts of PyTorch's wrappers.
        source: what to call the file in an error.

    Returns:
        The key of `NAMINGS` whose mark is among the names, and the prefix before all of them ("" for none).

    Raises:
        UserError: there is none, or the network is in it several times under unusual prefixes.
    """
    names = [unwrapped(name) for name in names]
    for kind in NAMINGS:
        if (prefix := _prefix(names, kind, source)) is not None:
            return kind, prefix
    raise UserError(
        f"{source}: no SlowFast checkpoint of a known kind ({', '.join(NAMINGS)}); "
        f"its first names are {', '.join(name[:80] for name in names[:3]) or 'none'}"
    )


def prefix_of(names: Iterable[str], kind: str, source: str) -> str:
    """Return what stands before names of a known kind; "" where its mark is not among them."""
    return _prefix([unwrapped(name) for name in names], kind, source) or ""


def _prefix(names: list[str], kind: str, source: str) -> str | None:
    naming = NAMINGS[kind]
    found = [name[: -len(naming.mark)] for name in names if name.endswith(naming.mark)]
    prefixes = {prefix.removesuffix(naming.own_prefix) for prefix in found if not prefix or prefix.endswith(".")}
    usual = sorted((prefix for prefix in prefixes if _USUAL_PREFIX.fullmatch(prefix)), key=len)
    if len(prefixes) > 1 and not usual:
        listed = ", ".join(sorted(prefix[:80] for prefix in prefixes))
        raise UserError(f"{source}: holds the network {len(prefixes)} times, under {listed}; expected it once")
    return usual[0] if usual else next(iter(prefixes), None)


# A parameter in PySlowFast's names, whatever the depth of the network.
_PARAMETER = re.compile(
    r"(s[1-5]\.pathway[01]_(stem|res\d+|nonlocal\d+)|s[1-4]_fuse|head)(\.\w+)*"
    r"\.(weight|bias|running_mean|running_var)"
)


def is_parameter(name: str) -> bool:
    """Return whether a SlowFast of some depth has a parameter of this name in MindSpore's form."""
    return _PARAMETER.fullmatch(to_pyslowfast(name, "ckpt")) is not None


def _rewrite(name: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def to_pyslowfast(name: str, kind: str) -> str:
    """Return PySlowFast's name of what a source of the `kind` calls `name`; what is no parameter keeps its name."""
    rewritten = _rewrite(name, NAMINGS[kind].rules)
    return rewritten if _PARAMETER.fullmatch(rewritten) else name


def to_mmaction2(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the parameters of the MindSpore network by the names of an mmaction2 detector, for its layout.

    Its last layer has an output for the background before the classes, which nothing trains or reads; it is zero.

    Raises:
        UserError: the network has something that mmaction2's SlowFast has not (non-local blocks).
    """
    renamed = {}
    for name, array in arrays.items():
        theirs = _rewrite(to_pyslowfast(name, "ckpt"), _TO_MMACTION2)
        if not theirs.startswith(("backbone.", "roi_head.")):
            raise UserError(f"{name}: mmaction2's SlowFast has no such parameter")
        if theirs.startswith("roi_head.bbox_head."):
            array = np.concatenate([np.zeros_like(array[:1]), array])
        renamed[theirs] = array
    return renamed


def to_mindspore(name: str) -> str:
    """Return the name in the MindSpore network of what PySlowFast calls `name`."""
    return _rewrite(name, _TO_MINDSPORE)


def convert(arrays: Mapping[str, LazyArray], kind: str, source: str, prefix: str = "") -> dict[str, LazyArray]:
    """Return the parameters of a source by the names of the MindSpore network.

    Args:
        arrays: the source's name -> array.
        kind: a key of `NAMINGS`.
        source: what to call the file in an error.
        prefix: what stands before the network's names, see `recognize`; what is not behind it keeps its name.

    Raises:
        UserError: two names of the source mean the same parameter.
    """
    converted: dict[str, LazyArray] = {}
    head = NAMINGS[kind].head
    for theirs, array in arrays.items():
        bare = unwrapped(theirs)
        ours = to_mindspore(to_pyslowfast(bare.removeprefix(prefix), kind)) if bare.startswith(prefix) else theirs
        if ours in converted:
            raise UserError(f"{source}: {ours} is in it twice, the second time as {theirs}")
        if head and ours.startswith(HEAD) and array.shape:
            array = head(bare, as_array(array, source))
        converted[ours] = array
    return converted
