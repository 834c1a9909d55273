"""Say who does what, and when, in videos: a page, videos with labels, and tables.

python predict.py --cfg FILE --video FILE|FOLDER --out DIR TEST.CHECKPOINT_FILE_PATH slowfast.ckpt [KEY VALUE ...]
python predict.py --model slowfast.onnx --labels FILE.pbtxt --video FILE|FOLDER --out DIR
"""

import sys

from src.predict.command import run_command
from src.utils.errors import run_main

if __name__ == "__main__":
    sys.exit(run_main(lambda: run_command(__doc__)))
