"""Networks and inputs that reference outputs were computed with.

PySlowFast (PyTorch, float32, CPU) computed the numbers in `reference/*.json` from weights and clips that are drawn by
the rules below, each tensor from a generator that its PySlowFast name seeds.
"""

import json
import zlib
from pathlib import Path

import mindspore as ms
import numpy as np
from fvcore.common.config import CfgNode

from src.checkpoint.names import to_pyslowfast
from src.config.custom_config import load_config
from src.models.build import build_model
from src.models.video_model_builder import SlowFast

REFERENCE = Path(__file__).parent / "reference"
RECIPE = Path(__file__).parents[2] / "configs/AVA/SLOWFAST_32x2_R50_SHORT.yaml"


def load_reference(name: str, *overrides: str) -> tuple[dict, CfgNode]:
    """Return the reference `name` and the configuration it was computed with."""
    reference = json.loads((REFERENCE / f"{name}.json").read_text())
    return reference, load_config(RECIPE, [*map(str, reference["overrides"]), *overrides])


def reference_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the weight that the references use for PySlowFast's parameter `name`."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    is_scale = len(shape) == 1 and name.endswith(".weight")
    if name.endswith("running_var"):
        value = rng.uniform(0.5, 1.5, shape)
    elif name.endswith("running_mean"):
        value = rng.normal(0.0, 0.1, shape)
    elif is_scale and ("nonlocal" in name or name.endswith("c_bn.weight")):
        value = rng.uniform(0.1, 0.3, shape)
    elif is_scale:
        value = rng.uniform(0.5, 1.5, shape)
    elif len(shape) == 1:
        value = rng.normal(0.0, 0.1, shape)
    elif len(shape) == 2:
        value = rng.normal(0.0, 0.02, shape)
    else:
        deviation = np.sqrt(2.0 / np.prod(shape[1:])) * (0.1 if "nonlocal" in name else 1.0)
        value = rng.normal(0.0, deviation, shape)
    return value.astype(np.float32)


def reference_network(cfg: CfgNode, plain: bool = False) -> SlowFast:
    """Return the network of `cfg` with the references' weights, in the device's operators or in MindSpore's own."""
    network = SlowFast(cfg) if plain else build_model(cfg)
    for name, parameter in network.parameters_dict().items():
        parameter.set_data(ms.Tensor(reference_weight(to_pyslowfast(name, "ckpt"), parameter.shape)))
    return network


def reference_clip(reference: dict, cfg: CfgNode, seed: int) -> tuple[ms.Tensor, ms.Tensor]:
    """Return the Slow and the Fast clip of a seed."""
    rng = np.random.Generator(np.random.PCG64(seed))
    shape = (reference["batch"], 3, reference["frames"], reference["height"], reference["width"])
    fast = rng.normal(0.0, 1.0, shape).astype(np.float32)
    chosen = np.linspace(0, reference["frames"] - 1, reference["frames"] // cfg.SLOWFAST.ALPHA).astype(np.int64)
    return ms.Tensor(np.ascontiguousarray(fast[:, :, chosen])), ms.Tensor(fast)


def pad_boxes(reference: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes as (batch, k, 4), padded with zeros, and which of them are real: bool (batch, k)."""
    rows = np.array(reference["boxes"], np.float32)
    clip = rows[:, 0].astype(int)
    counts = np.bincount(clip, minlength=reference["batch"])
    real = np.arange(counts.max()) < counts[:, None]
    boxes = np.zeros((*real.shape, 4), np.float32)
    boxes[real] = rows[:, 1:]
    return boxes, real
