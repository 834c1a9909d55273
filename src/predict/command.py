"""The command line of predict.py."""

import argparse
import re
from pathlib import Path

from src.predict.live_run import predict_live
from src.predict.live_source import is_live, without_secrets
from src.predict.options import ENGINES, PRECISIONS, Options
from src.predict.run import predict
from src.utils import cluster
from src.utils.arguments import IntermixedParser, positive
from src.utils.errors import UserError


def build_parser(description: str) -> argparse.ArgumentParser:
    """Return the parser of predict.py's arguments."""
    parser = IntermixedParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument("--cfg", type=Path, metavar="FILE", help="YAML file of the recipe; needs MindSpore")
    network.add_argument("--model", type=Path, metavar="FILE", help="slowfast.onnx, its slowfast.json beside it")
    parser.add_argument(
        "--video", required=True, metavar="VIDEO", help="a file, a folder, a camera's number, a URL, - (a pipe)"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the results go")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="label map; default: the model's or recipe's")
    persons = parser.add_mutually_exclusive_group()
    persons.add_argument("--boxes", type=Path, metavar="CSV", help="the persons' boxes, in AVA's columns")
    persons.add_argument("--detector", type=Path, metavar="FILE", help="a person detector in ONNX")
    parser.add_argument("--every", type=seconds, default=1.0, metavar="S", help="seconds between key frames (1)")
    parser.add_argument("--threshold", type=share, default=0.3, metavar="P", help="score that an action takes (0.3)")
    parser.add_argument("--top", type=positive, default=5, metavar="N", help="actions of a person at a time (5)")
    parser.add_argument("--from", type=moment, default=0.0, dest="start", metavar="S", help="first second (0)")
    parser.add_argument("--to", type=seconds, dest="end", metavar="S", help="last second (the video's)")
    parser.add_argument("--engine", choices=ENGINES, help="what runs the network; --model: openvino, --cfg: mindspore")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of OpenVINO (float32)")
    parser.add_argument("--device_target", choices=("CPU", "GPU", "Ascend"), help="where MindSpore runs")
    parser.add_argument("--no-video", action="store_true", help="leave out NAME_actions.mp4")
    work = parser.add_mutually_exclusive_group()
    work.add_argument("--shard", type=shard, metavar="I/N", help="do every N-th video, from the I-th")
    work.add_argument("--cluster", metavar="ADDRESS", help=cluster.HELP)
    parser.add_argument("--every-part", type=seconds, default=60.0, metavar="S", help="seconds kept at a time (60)")
    parser.add_argument("--live-port", type=port, metavar="P", help="show a camera or stream on a page at this port")
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="where that page is seen (this machine alone)")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="configuration keys to set")
    return parser


def seconds(text: str) -> float:
    """Parse a positive number of seconds."""
    value = moment(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r}, expected more than 0 seconds")
    return value


def moment(text: str) -> float:
    """Parse a number of seconds."""
    if not re.fullmatch(r"\d+\.?\d*|\.\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r}, expected seconds, as 90 or 0.5")
    return float(text)


def share(text: str) -> float:
    """Parse a number from 0 to 1."""
    if (value := moment(text)) > 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected 0 to 1")
    return value


def shard(text: str) -> tuple[int, int]:
    """Parse I/N."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r}, expected I/N, as 2/8")
    return int(match[1]), int(match[2])


def port(text: str) -> int:
    """Parse the number of a port; 0 is any that is free."""
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a port from 0 to 65535")
    return int(text)


def check_live(args: argparse.Namespace) -> bool:
    """Return whether a camera or stream is to be scored.

    Raises:
        UserError: an option is of the other kind.
    """
    live, name = is_live(args.video), without_secrets(args.video)
    of_files = {"--boxes": args.boxes, "--shard": args.shard, "--cluster": args.cluster, "--from": args.start or None}
    wrong = [name for name, value in of_files.items() if value is not None] if live else []
    if wrong:
        raise UserError(f"{wrong[0]} goes with video files, and {name} is a camera or stream")
    if not live and (args.live_port is not None or args.host != "127.0.0.1"):
        raise UserError(f"--live-port and --host go with a camera or stream, and {name} is none")
    if args.host != "127.0.0.1" and args.live_port is None:
        raise UserError("--host says where the page of --live-port P is seen; name P")
    return live


def run_command(description: str) -> int:
    """Parse the command line and do what it says; return the exit status."""
    args = build_parser(description).parse_args()
    engine = args.engine or ("openvino" if args.model else "mindspore")
    if args.model and engine == "mindspore":
        raise UserError("--engine mindspore runs a recipe and a checkpoint (--cfg); --model is run by openvino")
    if args.model and args.overrides:
        raise UserError(f"{args.overrides[0]}: configuration keys go with --cfg; a --model brings its own")
    if args.precision != "float32" and engine != "openvino":
        raise UserError(f"--precision {args.precision} goes with --engine openvino")
    if args.end is not None and args.end <= args.start:
        raise UserError(f"--to is {args.end:g}, expected more than --from {args.start:g}")
    for path in (args.model, args.labels, args.boxes, args.detector):
        if path is not None and not path.is_file():
            raise UserError(f"{path}: no such file")
    options = Options(
        args.out,
        args.cfg,
        tuple(args.overrides),
        args.model,
        args.device_target,
        engine,
        args.precision,
        args.labels,
        args.boxes,
        args.detector,
        every=args.every,
        threshold=args.threshold,
        top=args.top,
        start=args.start,
        end=args.end,
        every_part=args.every_part,
        video_out=not args.no_video,
    )
    try:
        if check_live(args):
            address = None if args.live_port is None else (args.host, args.live_port)
            return predict_live(options, args.video, address)
        return predict(options, Path(args.video), args.shard, args.cluster)
    except OSError as error:
        # A full disk, a folder without permission: all that was whole stays.
        raise UserError(f"{error.filename or args.out}: {error.strerror or error}") from error
