"""Convert SlowFast weights of Caffe2, PySlowFast, pytorchvideo and mmaction2 to MindSpore, and back.

Without arguments, SLOWFAST_8x8_R50.pkl in the current folder becomes SLOWFAST_8x8_R50.pkl.ckpt.
"""

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from src.checkpoint.coverage import as_weights, compare
from src.checkpoint.mindspore_format import check_name
from src.checkpoint.names import NAMINGS, WRAPPERS, convert, prefix_of, recognize
from src.checkpoint.weight_files import read_weights, write_weights
from src.utils.arguments import OneLineParser
from src.utils.errors import UserError, run_main
from src.utils.outputs import OutputFiles


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", type=Path, default=Path("SLOWFAST_8x8_R50.pkl"), help="the checkpoint to read")
    parser.add_argument("--dst", type=Path, help="the file to write (default: SRC with the suffix of --to)")
    parser.add_argument("--cfg", type=Path, help="YAML of the network that the weights are for (default: SlowFast R50)")
    parser.add_argument(
        "--from",
        dest="kind",
        choices=[*NAMINGS, "safetensors"],
        help="names (or file format) of the source; default: recognized from its content",
    )
    parser.add_argument("--to", choices=["ckpt", "pyth", "pth", "safetensors"], default="ckpt", help="what to write")
    parser.add_argument("--sha256", type=_digest, help="refuse the source unless it has this SHA-256")
    parser.add_argument("--report", action="store_true", help="print one line for every parameter")
    args = parser.parse_args()
    args.dst = args.dst or args.src.with_name(f"{args.src.name}.{args.to}")
    return args


def _digest(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError("expected 64 hexadecimal digits")
    return text


def network_shapes(cfg_path: Path | None) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of the network that the configuration describes."""
    from src.config.custom_config import load_config
    from src.models.video_model_builder import SlowFast

    cfg = load_config(cfg_path)
    network = SlowFast(cfg)
    return {name: tuple(parameter.shape) for name, parameter in network.parameters_dict().items()}


def _wrappers(names: Iterable[str], prefix: str) -> str:
    """Return what was left out of parameter names: the prefix, and what PyTorch's wrappers put into them."""
    found = {part for name in names for part in WRAPPERS if f".{part}" in f".{name}"}
    return " ".join([*sorted(found), *([prefix] if prefix else [])])


def main() -> int:
    """Read and check the source, compare it with the network, and write what fits."""
    args = parse_args()
    source = str(args.src)
    if args.dst.resolve() == args.src.resolve():
        raise UserError(f"{args.dst}: would replace the source; give another --dst")
    if args.dst.is_dir():
        raise UserError(f"{args.dst}: a folder; --dst expected a file")
    if args.to == "ckpt":
        check_name(args.dst)
    outputs = OutputFiles(args.dst.parent)
    outputs.check(args.dst.name)
    found, arrays, others = read_weights(args.src, args.sha256)
    if args.kind in ("safetensors", "ckpt") and found != args.kind:
        raise UserError(f"{source}: not a {args.kind} file, its content is {found}")
    if args.kind in (None, "safetensors"):
        kind, prefix = recognize(arrays, source)
    else:
        kind, prefix = args.kind, prefix_of(arrays, args.kind, source)
    converted = convert(arrays, kind, source, prefix)
    coverage = compare(converted, network_shapes(args.cfg), source, fresh_head=True)
    weights = as_weights({name: converted[name] for name in coverage.loaded}, source)
    with outputs.replacing(args.dst.name) as temporary:
        write_weights(weights, temporary, args.to)
    if args.report:
        print(coverage.table())
    if others:
        text = f"warning: {source}: also holds weights of a SlowFast that were not read: under {', '.join(others)}"
        print(text, file=sys.stderr)
    if strays := coverage.strays():
        text = f"warning: {source}: the network of --cfg has no place for {len(strays)} weights, such as {strays[0]}"
        print(text, file=sys.stderr)
    if stripped := _wrappers(arrays, prefix):
        print(f"{source}: left out of the names: {stripped}")
    print(f"{args.dst}: {kind} names; {coverage.summary()}")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
