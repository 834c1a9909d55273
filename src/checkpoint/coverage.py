"""Which parameters of a network a checkpoint fills."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from src.checkpoint.names import HEAD, VARIANCE, is_parameter
from src.checkpoint.safe_pickle import LazyArray, as_array
from src.utils.errors import UserError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Coverage:
    """What a checkpoint does for a network; all names are the network's but `unexpected`.

    Attributes:
        loaded: parameters that the checkpoint fills.
        mismatched: parameters of the head that it holds in another size: name -> (its shape, the network's shape).
        missing: parameters of the network that it does not hold.
        unexpected: what it holds and the network has no place for: name -> shape.
    """

    loaded: dict[str, Shape]
    mismatched: dict[str, tuple[Shape, Shape]]
    missing: dict[str, Shape]
    unexpected: dict[str, Shape]

    @property
    def has_head(self) -> bool:
        """Whether the network's head comes from the checkpoint."""
        return any(name.startswith(HEAD) for name in self.loaded)

    def strays(self) -> list[str]:
        """Return what a deeper or other SlowFast has a place for: the weights may be for another network."""
        return [name for name in self.unexpected if is_parameter(name)]

    def summary(self) -> str:
        """Return the four counts as one line."""
        return (
            f"{len(self.loaded)} loaded, {len(self.mismatched)} mismatched (head of another size), "
            f"{len(self.missing)} missing, {len(self.unexpected)} unexpected"
        )

    def table(self) -> str:
        """Return one line per parameter: state, name, shape; the network's first, then what is unexpected."""
        rows = [("loaded", name, str(shape)) for name, shape in self.loaded.items()]
        for name, (theirs, ours) in self.mismatched.items():
            rows.append(("mismatched", name, f"{theirs} in the file, {ours} here"))
        rows += [("missing", name, str(shape)) for name, shape in self.missing.items()]
        rows += [("unexpected", name, str(shape)) for name, shape in self.unexpected.items()]
        width = max((len(name) for _, name, _ in rows), default=0)
        return "\n".join(f"{state:<10}  {name:<{width}}  {shape}" for state, name, shape in rows)


def compare(arrays: Mapping[str, LazyArray], shapes: Mapping[str, Shape], source: str, fresh_head: bool) -> Coverage:
    """Say which parameters of a network `arrays` fills.

    The backbone must be there as a whole. The head (`head.*`) may be absent or of another size when `fresh_head`
    allows it, as in fine-tuning from Kinetics to AVA; it is then left out as a whole.

    Args:
        arrays: name -> array, in the network's names.
        shapes: name -> shape of every parameter of the network.
        source: what to call the checkpoint in an error.
        fresh_head: whether the network may keep the head that it was initialized with.

    Raises:
        UserError: a parameter of the backbone (or of the head, without `fresh_head`) is missing or of another shape.
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
        mismatched=differing,
        missing=missing,
        unexpected={name: array.shape for name, array in arrays.items() if name not in shapes},
    )


def as_weights(arrays: Mapping[str, LazyArray | np.ndarray], source: str) -> dict[str, np.ndarray]:
    """Return parameters of a checkpoint as float32 arrays.

    Args:
        arrays: name -> array of a floating-point type.
        source: what to call the checkpoint in an error.

    Raises:
        UserError: one holds whole numbers, as quantized weights do, whose scale is not in it; or values that are
            infinite or not a number, as after a training that diverged or in half precision; or variances below 0.
    """
    weights = {}
    for name, stored in arrays.items():
        array = as_array(stored, source)
        if not np.issubdtype(array.dtype, np.floating):
            raise UserError(
                f"{source}: {name} is of the type {array.dtype}, expected floating point: the weights are quantized"
            )
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused below
            weights[name] = np.asarray(array, np.float32)
        if not np.isfinite(weights[name]).all():
            raise UserError(f"{source}: {name} holds values that are not finite: the weights are of no use")
        if name.endswith(VARIANCE) and (weights[name] < 0).any():
            raise UserError(f"{source}: {name} holds variances below 0: the weights are damaged")
    return weights
