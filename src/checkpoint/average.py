"""Average the weights of several checkpoints, a "model soup" (Wortsman et al. 2022).

python -m src.checkpoint.average A.ckpt B.ckpt [C.ckpt ...] --dst SOUP.ckpt

The checkpoints are of one network, trained from the same start, such as several epochs of one run or several runs.
Every parameter is averaged, and so are batch norm's running statistics. What a run keeps beside its weights is left
out.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from src.checkpoint.class_names import CLASS_NAMES, check_class_names, class_names, with_class_names
from src.checkpoint.coverage import as_weights
from src.checkpoint.mindspore_format import check_name, load_checkpoint, save_checkpoint
from src.checkpoint.names import is_parameter
from src.utils.arguments import OneLineParser
from src.utils.errors import UserError, run_main
from src.utils.outputs import OutputFiles


def average(checkpoints: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the mean of each parameter, float32, in the first checkpoint's order.

    Args:
        checkpoints: for each file the arrays by name.

    Raises:
        UserError: one lacks a parameter, has more of them, or another shape; there is none at all; or see `as_weights`.
    """
    (first, arrays), *others = checkpoints.items()
    shapes = {name: array.shape for name, array in arrays.items() if is_parameter(name)}
    if not shapes:
        raise UserError(f"{first}: holds no parameter of a SlowFast")
    for path, other in others:
        theirs = {name: array.shape for name, array in other.items() if is_parameter(name)}
        for name in {**shapes, **theirs}:
            if shapes.get(name) != theirs.get(name):
                found, expected = (known.get(name, "not in it") for known in (theirs, shapes))
                raise UserError(f"{path}: {name} is {found}, expected {expected} as in {first}")
    weights = [as_weights({name: one[name] for name in shapes}, path) for path, one in checkpoints.items()]
    return {
        name: np.mean([one[name] for one in weights], axis=0, dtype=np.float64).astype(np.float32) for name in shapes
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = OneLineParser(
        prog="python -m src.checkpoint.average",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="CKPT", help="MindSpore checkpoints, two or more")
    parser.add_argument("--dst", type=Path, required=True, help="the checkpoint to write")
    args = parser.parse_args(arguments)
    if len(args.checkpoints) < 2:
        raise UserError("one checkpoint, expected two or more to average")
    if args.dst.resolve() in [path.resolve() for path in args.checkpoints]:
        raise UserError(f"{args.dst}: would replace a source; give another --dst")
    check_name(args.dst)
    outputs = OutputFiles(args.dst.parent)
    outputs.check(args.dst.name)
    loaded = {str(path): load_checkpoint(path) for path in args.checkpoints}
    if len(loaded) < len(args.checkpoints):
        raise UserError("a checkpoint is named twice")
    (first, arrays), *others = loaded.items()
    names = class_names(arrays)
    for path, other in others:
        check_class_names(class_names(other), names, path, first)
    weights = average(loaded)
    with outputs.replacing(args.dst.name) as path:
        save_checkpoint(with_class_names(weights, names), path)
    left_out = sum(not is_parameter(name) and name != CLASS_NAMES for one in loaded.values() for name in one)
    print(f"{args.dst}: {len(weights)} parameters, each the mean of {len(loaded)}; left out: {left_out} other arrays")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
