"""Score a checkpoint on AVA's validation set or on data in its format.

python eval.py --cfg configs/AVA/SLOWFAST_32x2_R50_SHORT.yaml [--device_target CPU|GPU|Ascend] \\
    TEST.CHECKPOINT_FILE_PATH slowfast.ckpt [KEY VALUE ...]
"""

import sys
from pathlib import Path

from src.config.custom_config import argument_parser, load_config
from src.utils.device import set_up_device
from src.utils.distributed import init_process_group
from src.utils.errors import UserError, run_main
from src.utils.logging import log_on_main_only


def main() -> int:
    args = argument_parser(__doc__).parse_args()
    cfg = load_config(args.cfg, args.overrides)
    if not cfg.TEST.CHECKPOINT_FILE_PATH:
        raise UserError("TEST.CHECKPOINT_FILE_PATH is empty, expected the checkpoint to score")
    target = set_up_device(args.device_target, cfg.RNG_SEED, cfg.ALLOW_TF32)

    # MindSpore is imported once the device is set up.
    from src.checkpoint.loading import load_into
    from src.datasets.ava_dataset import AvaDataset
    from src.engine.checkpointer import averaged_weights
    from src.engine.evaluation import evaluate
    from src.engine.mixed_precision import to_mixed_precision
    from src.models.build import build_model, device_layers

    group = init_process_group()
    log_on_main_only(group)
    dataset = AvaDataset(cfg, "test")
    level = cfg.TEST.AMP_LEVEL
    network = to_mixed_precision(build_model(cfg, device_layers(cfg, level)), level, target)
    path = cfg.TEST.CHECKPOINT_FILE_PATH
    load_into(network, averaged_weights(path) if cfg.TEST.USE_EMA else path)
    evaluate(cfg, network, dataset, "test", Path(cfg.OUTPUT_DIR), group)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
