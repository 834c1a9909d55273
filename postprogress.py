"""Score the results of the C++ runner: the AVA metric over all shards.

python postprogress.py --mindir slowfast.mindir --dataset data/ava --result_path result_Files/RUN [--output .]

Prints the table of average precision and writes it to acc.log; detections.csv holds the scores in AVA's columns, and
detections.pbtxt the names of their classes.
"""

import argparse
import sys
from pathlib import Path

from src.ava.box_csv import write_boxes
from src.ava.label_map import write_label_map
from src.deploy.manifest import check_dataset, manifest_config, read_manifest
from src.deploy.shards import gather_results
from src.evaluation.build import build_evaluator
from src.utils.arguments import OneLineParser
from src.utils.errors import UserError, run_main
from src.utils.outputs import OutputFiles


def main() -> int:
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mindir", required=True, type=Path, metavar="FILE", help="the exported graph")
    parser.add_argument("--dataset", required=True, type=Path, metavar="DIR", help="the dataset's folder")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--result_path", type=Path, metavar="DIR", help="holds a folder for each shard")
    what.add_argument("--check_only", action="store_true", help="only check that the results can be written")
    parser.add_argument("--output", type=Path, default=Path(), metavar="DIR", help="for acc.log (default: here)")
    args = parser.parse_args()

    outputs = OutputFiles(args.output)
    outputs.check("detections.csv", "detections.pbtxt", "acc.log")
    if args.check_only:
        outputs.claim("infer.log")
        return 0
    if not args.result_path.is_dir():
        raise UserError(f"{args.result_path}: no such folder; expected the results of the runner")
    manifest = read_manifest(args.mindir)
    cfg = manifest_config(manifest, args.dataset)
    check_dataset(manifest, cfg)
    evaluator = build_evaluator(cfg)
    boxes = gather_results(args.result_path, evaluator, manifest)
    result = evaluator.evaluate()
    table = result.format_table()
    with outputs.replacing("detections.csv") as path:
        write_boxes(path, evaluator.detections())
    with outputs.replacing("detections.pbtxt") as path:
        write_label_map(path, result.class_names)
    with outputs.replacing("acc.log") as path:
        path.write_text(table + "\n", encoding="utf-8")
    print(table)
    print(f"{boxes} boxes scored")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
