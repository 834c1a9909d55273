"""Compile SlowFast's inference or training step, as eval.py and train.py assemble them, and run it.

python compile_step.py TARGET infer|observe|train RECIPE [KEY VALUE ...]

observe is the forward pass of BN.USE_PRECISE_STATS, which updates the statistics of batch norm.

For what those cannot do in a dry run, in which every result is zero: a process group, whose members would send each
other zeros. And for features one by one.
"""

import sys

import numpy as np

from src.config.custom_config import load_config
from src.utils.device import set_up_device
from src.utils.distributed import init_process_group

BOXES = 3


def main(target: str, action: str, recipe: str, *overrides: str) -> None:
    cfg = load_config(recipe, list(overrides))
    set_up_device(target, cfg.RNG_SEED, cfg.ALLOW_TF32)

    import mindspore as ms

    from src.engine import batch_norm
    from src.engine.ema import ExponentialMovingAverage
    from src.engine.gradients import build_clip
    from src.engine.mixed_precision import build_scaler, to_mixed_precision
    from src.engine.train_step import AccumulatedStep, NetworkWithLoss, TrainStep
    from src.models.build import build_model, device_layers
    from src.models.losses import build_loss
    from src.models.optimizer import build_optimizer

    group = init_process_group()
    level = cfg.TRAIN.AMP_LEVEL
    network = to_mixed_precision(build_model(cfg, device_layers(cfg, level)), level, target)
    n, frames, size = cfg.TRAIN.BATCH_SIZE, cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE
    fast = np.zeros((n, 3, frames, size, size), np.float32)
    boxes = np.tile(np.float32([1, 2, 20, 30]), (n, BOXES, 1))
    labels, mask = np.zeros((n, BOXES, cfg.MODEL.NUM_CLASSES), np.float32), np.ones((n, BOXES), np.float32)
    features = np.ones((n, BOXES, network.head.num_features), np.float32)
    inputs = [ms.Tensor(array) for array in (fast[:, :, :: cfg.SLOWFAST.ALPHA].copy(), fast, boxes)]
    targets = [ms.Tensor(array) for array in (labels, mask, features)]
    if action != "train":
        graphs = [(network.set_train(action == "observe"), inputs)]
    else:
        if cfg.BN.FREEZE_STATISTICS:
            batch_norm.freeze_statistics(network)
        counts = np.ones(cfg.MODEL.NUM_CLASSES, np.int64)
        loss = NetworkWithLoss(network, build_loss(cfg, counts), cfg.LOSS.IGNORE_UNLABELED)
        optimizer = build_optimizer(cfg, network, [0.1] * 10)
        step = TrainStep(loss, optimizer, build_scaler(cfg), build_clip(cfg), group.size).set_train(True)
        graphs = [(step, inputs + targets)]
        if cfg.TRAIN.ACCUMULATE_STEPS > 1:
            accumulated = AccumulatedStep(step)
            sums = [ms.Tensor(0.0), ms.Tensor(1.0)]
            graphs = [(accumulated._accumulate, inputs + targets), (accumulated._update, sums)]
        if cfg.TRAIN.EMA_DECAY:
            graphs.append((ExponentialMovingAverage(network, cfg.TRAIN.EMA_DECAY), []))
    for graph, arguments in graphs:
        results = graph(*arguments)
        for result in results if isinstance(results, tuple) else [results]:
            result.asnumpy()
    print(f"ran {len(graphs)} graphs on rank {group.rank} of {group.size}")


if __name__ == "__main__":
    main(*sys.argv[1:])
