"""Train SlowFast on AVA or on data in its format.

python train.py --cfg configs/AVA/SLOWFAST_32x2_R50_SHORT.yaml [--device_target CPU|GPU|Ascend] [KEY VALUE ...]

A SIGTERM writes a checkpoint and ends with status 143; TRAIN.AUTO_RESUME True goes on from there.
"""

import sys
from collections.abc import Sequence

from src.config.custom_config import argument_parser, load_config
from src.utils.device import set_up_device
from src.utils.distributed import init_process_group
from src.utils.errors import UserError, run_main
from src.utils.logging import get_logger, log_on_main_only


def main(arguments: Sequence[str] | None = None) -> int:
    args = argument_parser(__doc__).parse_args(arguments)
    cfg = load_config(args.cfg, args.overrides)
    target = set_up_device(args.device_target, cfg.RNG_SEED, cfg.ALLOW_TF32)

    # MindSpore is imported once the device is set up.
    from src.checkpoint.class_names import class_names, differing_classes
    from src.checkpoint.loading import load_into
    from src.checkpoint.mindspore_format import load_checkpoint
    from src.datasets.kinds import build_dataset
    from src.engine.interrupt import STATUS, StopRequest
    from src.engine.mixed_precision import to_mixed_precision
    from src.engine.trainer import Trainer
    from src.evaluation.build import read_class_names
    from src.models.build import build_model, device_layers

    group = init_process_group()
    log_on_main_only(group)
    stop = StopRequest()
    dataset = build_dataset(cfg, "train")
    level = cfg.TRAIN.AMP_LEVEL
    network = to_mixed_precision(build_model(cfg, device_layers(cfg, level, group.size)), level, target)
    names = read_class_names(cfg)
    start = cfg.TRAIN.CHECKPOINT_FILE_PATH
    if start:
        arrays = load_checkpoint(start)
        coverage = load_into(network, arrays, fresh_head=True)
        get_logger().info("%s: %s", start, coverage.summary())
        if coverage.has_head and differing_classes(class_names(arrays), names):
            get_logger().warning("%s: its head was trained for other classes: %s", start, class_names(arrays))
    try:
        finished = Trainer(cfg, network, dataset, group, names).train(stop)
    except OSError as error:
        # A full disk or a lost one: what was written before is whole.
        raise UserError(f"{error.filename or cfg.OUTPUT_DIR}: {error.strerror or error}") from error
    return 0 if finished else STATUS


if __name__ == "__main__":
    sys.exit(run_main(main))
