"""Prepare a dataset for the C++ runner: inputs as .bin files with a manifest, as the exported graph takes them.

python preprogress.py --mindir slowfast.mindir --dataset data/ava --output preprocess_Result/shard_1 [--shard 1/1]
python preprogress.py --mindir slowfast.mindir --dataset data/ava --disk_budget 20

The second form writes nothing; it prints how many shards keep the inputs of each below so many GB, and a name for
this run. Everything else comes from slowfast.json, which export.py wrote beside the graph.
"""

import argparse
import re
import sys
from pathlib import Path

from src.datasets.kinds import build_dataset
from src.deploy.manifest import check_dataset, manifest_config, read_manifest
from src.deploy.shards import count_shards, run_id, write_shard
from src.utils.arguments import OneLineParser
from src.utils.errors import UserError, run_main

_GB = 1e9


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N")
    return int(match[1]), int(match[2])


def main() -> int:
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mindir", required=True, type=Path, metavar="FILE", help="the exported graph")
    parser.add_argument("--dataset", required=True, type=Path, metavar="DIR", help="the dataset's folder")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--output", type=Path, metavar="DIR", help="where to write the inputs of the shard")
    what.add_argument("--disk_budget", type=float, metavar="GB", help="print number of shards and name of the run")
    parser.add_argument("--shard", type=_shard, default=(1, 1), metavar="I/N", help="which part (default: 1/1)")
    args = parser.parse_args()

    if not args.dataset.is_dir():
        raise UserError(f"{args.dataset}: no such folder; expected the dataset")
    manifest = read_manifest(args.mindir)
    cfg = manifest_config(manifest, args.dataset)
    check_dataset(manifest, cfg)
    dataset = build_dataset(cfg, "test")
    if args.output:
        write_shard(dataset, manifest, args.output, *args.shard)
    else:
        shards = count_shards(dataset, int(args.disk_budget * _GB))
        print(shards, run_id(dataset, manifest, shards))
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
