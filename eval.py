"""Score a checkpoint on AVA's validation set or on data in its format.

python eval.py --cfg configs/AVA/SLOWFAST_32x2_R50_SHORT.yaml [--device_target CPU|GPU|Ascend] \\
    TEST.CHECKPOINT_FILE_PATH slowfast.ckpt [KEY VALUE ...]
"""

import logging
import sys
from pathlib import Path

from src.config.custom_config import argument_parser, load_config
from src.utils.device import set_up_device
from src.utils.distributed import init_process_group
from src.utils.errors import UserError, run_main
from src.utils.logging import get_logger, log_on_main_only


def main() -> int:
    args = argument_parser(__doc__).parse_args()
    cfg = load_config(args.cfg, args.overrides)
    if not cfg.TEST.CHECKPOINT_FILE_PATH:
        raise UserError("TEST.CHECKPOINT_FILE_PATH is empty, expected the checkpoint to score")
    target = set_up_device(args.device_target, cfg.RNG_SEED, cfg.ALLOW_TF32)

    # MindSpore is imported once the device is set up.
    from src.checkpoint.class_names import check_class_names, class_names
    from src.checkpoint.loading import load_arrays
    from src.checkpoint.mindspore_format import load_checkpoint
    from src.datasets.build import build_test_loader
    from src.datasets.kinds import build_dataset
    from src.datasets.views import MultiScaleDataset
    from src.engine.checkpointer import averaged_weights
    from src.engine.evaluation import evaluate, result_files, write_person_result, write_result
    from src.engine.mixed_precision import to_mixed_precision
    from src.engine.output_folder import make_output_folder
    from src.evaluation.build import build_evaluator, read_class_names
    from src.evaluation.sanity import check_tables, warning_lines
    from src.models.build import build_model, device_layers
    from src.utils.outputs import OutputFiles

    group = init_process_group()
    log_on_main_only(group)
    output, level = Path(cfg.OUTPUT_DIR), cfg.TEST.AMP_LEVEL
    make_output_folder(output, group)
    outputs = OutputFiles(output)
    group.on_main(lambda: outputs.check(*result_files("test", person=cfg.TEST.PERSON_SCORE)))
    checkpoints = []
    for path in [cfg.TEST.CHECKPOINT_FILE_PATH, *cfg.TEST.ENSEMBLE_FILE_PATHS]:
        arrays = load_checkpoint(path)
        check_class_names(class_names(arrays), read_class_names(cfg), path, cfg.AVA.LABEL_MAP_FILE)
        checkpoints.append((path, averaged_weights(arrays, path) if cfg.TEST.USE_EMA else arrays))
    dataset = build_dataset(cfg, "test")
    evaluator = build_evaluator(cfg, dataset.frames.names, dataset.second_stride)
    networks = [to_mixed_precision(build_model(cfg, device_layers(cfg, level)), level, target) for _ in checkpoints]
    for network, (path, arrays) in zip(networks, checkpoints, strict=True):
        load_arrays(network, arrays, path)
    scaled = MultiScaleDataset(dataset, cfg.TEST.SCALES) if cfg.TEST.SCALES else dataset
    loader = build_test_loader(scaled, group.rank, group.size)
    result = evaluate(networks, loader, evaluator, group, "evaluate test", mirrored=cfg.TEST.FLIP)
    if result is not None:
        write_result(outputs, "test", evaluator, result, logging.INFO)
        for line in warning_lines(check_tables(evaluator.ground_truth, evaluator.detections(), result.class_names)):
            get_logger().warning(line)
        if cfg.TEST.PERSON_SCORE:
            write_person_result(outputs, "test", evaluator, result, dataset.box_lists()[1])
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
