"""Train on ModelArts: data come from, and results go to, an object store.

python train_modelarts.py --data_url obs://bucket/ava --train_url obs://bucket/out --cfg FILE \\
    [--checkpoint_url obs://bucket/slowfast.ckpt] [--device_target Ascend] [KEY VALUE ...]

Where moxing is installed, URLs (NAME://...) are copied to and from --cache by the first process of each machine.
Other paths are used as they are, and without moxing all must be such.
"""

import os
import sys
import time
from pathlib import Path

import train
from src.config.custom_config import argument_parser
from src.utils.distributed import local_device
from src.utils.errors import UserError, run_main
from src.utils.files import write_atomic

_POLL_SECONDS = 1


def is_url(path: str) -> bool:
    """Return whether a path is in an object store."""
    return "://" in path


def copy(source: str, target: str) -> None:
    """Copy a file or a folder from or to an object store.

    Raises:
        UserError: moxing is not installed.
    """
    try:
        import moxing
    except ImportError as error:
        raise UserError(
            f"{source if is_url(source) else target}: moxing, which copies URLs, is not installed"
        ) from error
    file = Path(source).is_file() if not is_url(source) else not moxing.file.is_directory(source)
    (moxing.file.copy if file else moxing.file.copy_parallel)(source, target)


def fetch(source: str, cache: Path, name: str) -> str:
    """Return a local path of `source`, copied into `cache` as `name` if it is a URL, once on each machine."""
    if not is_url(source):
        return source
    target, mark = cache / name, cache / f".{name}.done"
    if local_device() == 0:
        cache.mkdir(parents=True, exist_ok=True)
        copy(source, str(target))
        write_atomic(mark, source)
    while not (mark.is_file() and mark.read_text() == source):
        time.sleep(_POLL_SECONDS)
    return str(target)


def main() -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("--data_url", required=True, help="folder with frames/ and ava_annotations/")
    parser.add_argument("--train_url", required=True, help="folder for checkpoints, curves and evaluation results")
    parser.add_argument("--checkpoint_url", default="", help="weights to start from")
    parser.add_argument("--cache", default="/cache", help="local folder for copies; default: /cache")
    args = parser.parse_args()
    cache = Path(args.cache)
    output = str(cache / "output") if is_url(args.train_url) else args.train_url
    settings = ["DATA.PATH_TO_DATA_DIR", fetch(args.data_url, cache, "data"), "OUTPUT_DIR", output]
    if args.checkpoint_url:
        settings += ["TRAIN.CHECKPOINT_FILE_PATH", fetch(args.checkpoint_url, cache, "start.ckpt")]
    target = ["--device_target", args.device_target] if args.device_target else []
    try:
        return train.main(["--cfg", args.cfg, *target, *args.overrides, *settings])
    finally:
        # Also what a run leaves behind that fails or is stopped.
        if is_url(args.train_url) and int(os.environ.get("RANK_ID", "0")) == 0 and Path(output).is_dir():
            copy(output, args.train_url)


if __name__ == "__main__":
    sys.exit(run_main(main))
