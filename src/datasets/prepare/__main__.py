"""From raw videos to training data: python -m src.datasets.prepare STEP --help"""

import argparse
import os
import sys
from fractions import Fraction
from pathlib import Path

from fvcore.common.config import CfgNode

from src.config.custom_config import load_config
from src.datasets.prepare import ava
from src.datasets.prepare.boxes import BOX_FILES
from src.datasets.prepare.custom import prepare_custom
from src.datasets.prepare.jobs import locked
from src.datasets.prepare.proposals import convert_proposals
from src.datasets.prepare.subset import write_subset
from src.datasets.prepare.verify import report, verify
from src.datasets.video import find_videos
from src.utils import cluster
from src.utils.arguments import OneLineParser, positive, whole
from src.utils.errors import UserError, run_main

_STEPS = {
    "download": "fetch AVA's videos and annotations",
    "cut": "cut the videos to the 901 seconds from second 900",
    "frames": "extract 30 frames a second as JPEG",
    "lists": "write the frame lists train.csv and val.csv",
    "verify": "check frames, lists and boxes against each other; exit status 1 if training would be harmed",
    "all": "all of these, one after the other",
}
_AVA_RECIPE = Path(__file__).parents[3] / "configs" / "AVA" / "SLOWFAST_32x2_R50_SHORT.yaml"


def main() -> int:
    """Run one step, or all."""
    try:
        return _run(_parse())
    except OSError as error:
        raise UserError(f"{error.filename or 'writing'}: {error.strerror}") from error


def _run(args: argparse.Namespace) -> int:
    if args.step == "custom":
        with locked(args.out):
            _custom(args)
        return 0
    if args.step == "proposals":
        convert_proposals(args.proposals, args.out)
        return 0
    if args.step == "classes":
        with locked(args.out):
            recipe = _recipe(args)
            write_subset(_config(recipe, args.root), recipe, args.out, args.classes)
        return 0
    if args.step == "verify":
        return _verify(args)
    with locked(args.root):
        if args.step in ("download", "all"):
            ava.download_all(
                args.root,
                video_urls=args.video_url,
                names_urls=args.names_url,
                annotation_urls=args.annotations_url,
                jobs=args.jobs,
                dry_run=args.dry_run,
            )
        if args.step == "cut" or (args.step == "all" and not args.dry_run):
            ava.cut_all(
                args.root,
                jobs=args.jobs,
                dry_run=args.dry_run,
                cluster=args.cluster,
                keyframe_seconds=args.keyframes,
            )
        if args.step == "frames" or (args.step == "all" and not args.dry_run):
            videos = find_videos(args.root / "videos_15min")
            ava.extract_all(
                args.root,
                videos,
                fps=ava.FPS,
                short_side=args.short_side,
                jobs=args.jobs,
                dry_run=args.dry_run,
                cluster=args.cluster,
            )
        if args.step == "lists" or (args.step == "all" and not args.dry_run):
            ava.write_lists(args.root)
    if args.step == "all" and not args.dry_run:
        return _verify(args)
    return 0


def _verify(args: argparse.Namespace) -> int:
    cfg = _config(_recipe(args), args.root)
    return report(verify(cfg, args.jobs), str(args.root), to_train=bool(cfg.AVA.TRAIN_GT_BOX_LISTS))


def _recipe(args: argparse.Namespace) -> Path:
    own = args.root / "slowfast.yaml"
    return args.cfg or (own if own.is_file() else _AVA_RECIPE)


def _config(recipe: Path, root: Path) -> CfgNode:
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder")
    of_root = ["DATA.PATH_TO_DATA_DIR", str(root)]
    cfg = load_config(recipe, of_root)
    # That of some classes has its own lists, and frames elsewhere.
    return load_config(recipe) if Path(cfg.AVA.ANNOTATION_DIR) == (root / "ava_annotations").resolve() else cfg


def _custom(args: argparse.Namespace) -> None:
    if not 0 <= args.val_share <= 1:
        raise UserError(f"--val-share is {args.val_share}, expected 0 to 1")
    prepare_custom(
        args.videos,
        args.boxes,
        args.labels,
        args.out,
        detections_path=args.detections,
        coordinates=args.coordinates,
        fps=args.fps,
        first_second=args.first_second,
        key_every=args.key_every,
        annotation_fps=args.annotation_fps,
        val_share=args.val_share,
        seed=args.seed,
        short_side=args.short_side,
        jobs=args.jobs,
    )


def _parse() -> argparse.Namespace:
    parser = OneLineParser(prog="python -m src.datasets.prepare", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    for name, text in _STEPS.items():
        step = steps.add_parser(name, help=text, description=text)
        step.add_argument("--root", type=Path, required=True, metavar="DIR", help="the data root")
        _add_jobs(step)
        if name in ("cut", "frames", "all"):
            step.add_argument("--cluster", metavar="ADDRESS", help=cluster.HELP)
        if name in ("download", "cut", "frames", "all"):
            step.add_argument("--dry-run", action="store_true", help="only say how much room it will need")
        if name in ("download", "all"):
            for option, url in (
                ("--video-url", ava.VIDEO_URL),
                ("--names-url", ava.NAMES_URL),
                ("--annotations-url", ava.ANNOTATIONS_URL),
            ):
                step.add_argument(
                    option, nargs="+", default=[url], metavar="URL", help=f"places to try in turn (default: {url})"
                )
        if name in ("cut", "all"):
            step.add_argument(
                "--keyframes",
                type=seconds,
                metavar="SECONDS",
                help="keyframes at most so far apart, for training from the videos (default: as the encoder likes)",
            )
        if name in ("frames", "all"):
            _add_short_side(step)
        if name in ("verify", "all"):
            step.add_argument(
                "--cfg",
                type=Path,
                metavar="FILE",
                help="recipe whose lists to check (default: DIR/slowfast.yaml if there is one, else AVA's recipe)",
            )
    text = "train on some classes: lists and a recipe for them, beside the frames of a data root"
    step = steps.add_parser("classes", help=text, description=text)
    step.add_argument("--root", type=Path, required=True, metavar="DIR", help="the data root, AVA's or your own")
    step.add_argument(
        "--classes",
        required=True,
        metavar="A,B,C",
        help="names or ids of its label map, separated by commas",
    )
    step.add_argument("--out", type=Path, required=True, metavar="DIR", help="where lists and recipe go")
    step.add_argument("--cfg", type=Path, metavar="FILE", help="the root's recipe (default: as for verify)")
    text = "your own videos and boxes: frames, lists, label map, split and recipe"
    step = steps.add_parser("custom", help=text, description=text)
    step.add_argument(
        "--videos", type=Path, required=True, metavar="DIR", help="folder of videos, or of folders of numbered images"
    )
    step.add_argument(
        "--boxes",
        type=Path,
        required=True,
        metavar="FILE",
        help=f"{BOX_FILES}, or a folder of such files",
    )
    step.add_argument(
        "--labels",
        type=Path,
        required=True,
        metavar="FILE",
        help="class names: one a line, `ID: name`, .pbtxt, .json or .yaml",
    )
    step.add_argument("--out", type=Path, required=True, metavar="DIR", help="the data root to make")
    step.add_argument(
        "--detections",
        type=Path,
        metavar="FILE",
        help="boxes of a person detector with scores, to validate on (default: the true boxes)",
    )
    step.add_argument(
        "--coordinates", choices=("normalized", "pixels"), help="what box corners are (default: told from their values)"
    )
    step.add_argument(
        "--fps",
        type=whole,
        default=0,
        metavar="N",
        help="frames a second to extract (default: the videos' most common rate, at most 30), and that of folders of "
        "images",
    )
    step.add_argument(
        "--first-second",
        type=whole,
        default=0,
        metavar="S",
        help="the second that AVA columns give to the first frame of a video (default: 0)",
    )
    step.add_argument(
        "--key-every",
        type=seconds,
        default=Fraction(1),
        metavar="S",
        help="seconds between key frames (default: 1); less for acts that last less than a second, as 0.2",
    )
    step.add_argument(
        "--annotation-fps",
        type=seconds,
        default=Fraction(0),
        metavar="N",
        help="rate at which the images were extracted that were annotated, NAME_000031.jpg (default: told from their "
        "numbers, else that of --fps)",
    )
    step.add_argument(
        "--val-share",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="share of the videos to hold out; 0: validate on the training videos; 1: only score them, boxes need no "
        "class (default: 0.2)",
    )
    step.add_argument("--seed", type=whole, default=0, metavar="N", help="another seed splits otherwise (default: 0)")
    _add_short_side(step)
    _add_jobs(step)
    text = "write mmaction2's proposals as a list of boxes in AVA's columns"
    step = steps.add_parser("proposals", help=text, description=text)
    step.add_argument(
        "--proposals", type=Path, required=True, metavar="FILE", help="ava_dense_proposals_*.pkl; it is not executed"
    )
    step.add_argument("--out", type=Path, required=True, metavar="FILE", help="the list to write (.csv)")
    return parser.parse_args()


def seconds(text: str) -> Fraction:
    """Parse a positive number, exactly: as 0.2 or 1/3."""
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    jobs = os.cpu_count() or 1
    parser.add_argument("--jobs", type=positive, default=jobs, metavar="N", help=f"videos at a time (default: {jobs})")


def _add_short_side(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--short-side",
        type=whole,
        default=0,
        metavar="PIXELS",
        help="shrink frames to this shorter side: less room and faster loading, but frames are resampled once more, "
        "so results differ a little from the published recipe (default: keep the size)",
    )


if __name__ == "__main__":
    sys.exit(run_main(main))
