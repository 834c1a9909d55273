"""Say who does what, and when, in videos: a page, videos with labels, and tables.

python predict.py --cfg FILE --video FILE|FOLDER --out DIR TEST.CHECKPOINT_FILE_PATH slowfast.ckpt [KEY VALUE ...]
python predict.py --model slowfast.onnx --labels FILE.pbtxt --video FILE|FOLDER --out DIR
"""

import sys

from src.utils.errors import run_main


def main() -> int:
    """Do what the command line says; return the exit status."""
    # Within `run_main`, as this takes seconds, in which Ctrl-C may come.
    from src.predict.command import run_command

    return run_command(__doc__)


if __name__ == "__main__":
    sys.exit(run_main(main))
