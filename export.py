"""Export a checkpoint as a graph that runs without this package: OUTPUT_DIR/slowfast.mindir and slowfast.json.

python export.py --cfg configs/AVA/SLOWFAST_32x2_R50_SHORT.yaml [--device_target CPU|GPU|Ascend] \\
    TEST.CHECKPOINT_FILE_PATH slowfast.ckpt DATA.TEST_SCALE_HEIGHT 224 DATA.TEST_SCALE_WIDTH 384 \\
    [EXPORT.FORMAT MINDIR|MINDIR_V1|ONNX|AIR] [KEY VALUE ...]
"""

import sys
from pathlib import Path

from src.config.custom_config import argument_parser, load_config
from src.cpu import library
from src.utils.device import set_up_device
from src.utils.errors import UserError, run_main


def main() -> int:
    args = argument_parser(__doc__).parse_args()
    cfg = load_config(args.cfg, args.overrides)
    if not cfg.TEST.CHECKPOINT_FILE_PATH:
        raise UserError("TEST.CHECKPOINT_FILE_PATH is empty, expected the checkpoint to export")
    library.turn_off()  # graphs are made of MindSpore's own operators, and compared with a network of them
    set_up_device(args.device_target, cfg.RNG_SEED)

    # MindSpore is imported once the device is set up.
    from src.deploy.export import export

    export(cfg, Path(cfg.TEST.CHECKPOINT_FILE_PATH), Path(cfg.OUTPUT_DIR))
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
