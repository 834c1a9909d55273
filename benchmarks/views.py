"""Scoring several sizes and mirror images of each clip in one pass (TEST.SCALES, TEST.FLIP) against one pass for each.

    python benchmarks/views.py [--scales 224 256 320] [--seconds 8] [--size 256 340] [--width 64] [--rounds 3]

Draws a video as benchmarks/loader.py does and scores its key frames, decoded from the video, as eval.py does. Times are
processor time of a whole pass, the shortest of the rounds, in which all take turns; graphs are compiled before. Each is
given for reading the clips alone, and for scoring them as well. One pass is to take no longer than the sum over the
views less the decoding that they share.
"""

import argparse
import functools
import sys
import tempfile
import time
from pathlib import Path

from clips import REPOSITORY
from loader import write_data

sys.path.insert(0, str(REPOSITORY))

import numpy as np
from fvcore.common.config import CfgNode

from src.config.custom_config import load_config
from src.utils.device import set_up_device


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", type=int, nargs="+", default=[224, 256, 320], metavar="SIDE")
    parser.add_argument("--seconds", type=int, default=8, help="length of the video: three more than key frames")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 340), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--width", type=int, default=64, help="RESNET.WIDTH_PER_GROUP")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    set_up_device("CPU", seed=0)
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder), args.seconds, *args.size)
        run(Path(folder), args)
    return 0


def run(root: Path, args: argparse.Namespace) -> None:
    """Print the times."""
    import mindspore as ms

    from src.datasets.ava_dataset import AvaDataset
    from src.datasets.build import build_test_loader
    from src.datasets.views import MultiScaleDataset, views
    from src.models.build import build_model

    def config(*overrides: object) -> CfgNode:
        settings = ["DATA.PATH_TO_DATA_DIR", str(root), "DATA.SOURCE", "video", "AVA.FIRST_SECOND", 0]
        settings += ["AVA.VALID_SECONDS", [0, 900], "AVA.TEST_PREDICT_BOX_LISTS", ["boxes.csv"], "TEST.BATCH_SIZE", 1]
        settings += ["RESNET.WIDTH_PER_GROUP", args.width, "DATA_LOADER.NUM_WORKERS", 0]
        return load_config(None, [*settings, *overrides])

    network = build_model(config()).set_train(False)

    def read(cfg: CfgNode, mirrored: bool, score: bool) -> int:
        dataset = AvaDataset(cfg, "test")
        loader = build_test_loader(MultiScaleDataset(dataset, cfg.TEST.SCALES) if cfg.TEST.SCALES else dataset)
        for batch in loader:
            for view in views(batch, mirrored):
                if score:
                    network(*map(ms.Tensor, view)).asnumpy()
        return len(loader)

    def decode(score: bool) -> int:
        dataset = AvaDataset(config(), "test")
        for index in range(len(dataset)):
            dataset.frames.read(int(dataset.key_frames.video[index]), dataset.frame_indices(index))
        return len(dataset)

    passes = {
        "decoding alone": decode,
        "all views in one pass": functools.partial(read, config("TEST.SCALES", args.scales), True),
    }
    for side in args.scales:
        for flip in (False, True):
            cfg = config("DATA.TEST_CROP_SIZE", side, "AVA.TEST_FORCE_FLIP", flip)
            passes[f"short side {side}{', mirrored' * flip}"] = functools.partial(read, cfg, False)
    # The first pass compiles.
    (key_frames,) = {one_pass(score=True) for one_pass in passes.values()}
    shortest = {name: [float("inf")] * 2 for name in passes}
    for _ in range(args.rounds):
        for name, one_pass in passes.items():
            for score in (False, True):
                start = time.process_time()
                one_pass(score=score)
                shortest[name][score] = min(shortest[name][score], time.process_time() - start)

    print(f"{f'processor time for {key_frames} key frames, width {args.width}':40s} {'clips':>8s} {'and scores':>11s}")

    def report(name: str, seconds: np.ndarray, unit: str = " s") -> None:
        print(f"{name:40s} {seconds[0]:6.2f}{unit} {seconds[1]:9.2f}{unit}")

    for name, seconds in shortest.items():
        report(name, np.array(seconds))
    decoding, together, *single = map(np.array, shortest.values())
    bound = np.sum(single, axis=0) - (len(single) - 1) * decoding[0]
    report("the sum over the views", np.sum(single, axis=0))
    report("less the decoding that is shared", bound)
    report("one pass, as a share of that", together / bound, "")


if __name__ == "__main__":
    sys.exit(main())
