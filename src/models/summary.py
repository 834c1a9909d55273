"""What a configuration's network costs: parameters, and multiply-adds of a clip.

python -m src.models.summary --cfg FILE [--size HEIGHT WIDTH] [--boxes N] [KEY VALUE ...]

Multiply-adds are those of convolutions and linear layers; attention, box pooling, batch norm and activations are left
out. The clip is DATA.TRAIN_CROP_SIZE high and wide unless --size says otherwise.
"""

import argparse
import sys
from collections.abc import Sequence

from fvcore.common.config import CfgNode

from src.config.custom_config import load_config
from src.cpu import library
from src.utils.arguments import IntermixedParser
from src.utils.device import set_up_device
from src.utils.errors import run_main


def costs(cfg: CfgNode, height: int, width: int, boxes: int) -> dict[str, tuple[int, int]]:
    """Return parameters and multiply-adds of each part of the network, for one clip.

    Running statistics of batch norm are no parameters. The network runs once, in MindSpore's own operators.

    Args:
        cfg: the configuration.
        height: of the clip, in pixels.
        width: of the clip, in pixels.
        boxes: how many are scored.
    """
    import mindspore as ms
    import numpy as np
    from mindspore import nn

    from src.models.actor_relation import TiledConvBn
    from src.models.common import Conv3d
    from src.models.video_model_builder import SlowFast

    network = SlowFast(cfg).set_train(False)
    parameters = dict.fromkeys((name.partition(".")[0] for name in network.parameters_dict()), 0)
    multiply_adds = dict.fromkeys(parameters, 0)
    for parameter in network.trainable_params():
        parameters[parameter.name.partition(".")[0]] += parameter.size

    def counter(part: str, cell: nn.Cell):
        def count(_cell: nn.Cell, inputs: tuple, output: ms.Tensor) -> None:
            if isinstance(cell, TiledConvBn):
                features, maps = inputs
                out, twice = cell.conv.weight.shape[:2]
                products = (features.shape[0] + maps.size // maps.shape[1]) * (twice // 2) * out
            else:  # each output is a sum over all weights of its channel
                products = output.size * int(np.prod(cell.weight.shape[1:]))
            multiply_adds[part] += products

        return count

    for name, cell in network.cells_and_names():
        if isinstance(cell, Conv3d | TiledConvBn | nn.Dense):
            cell.register_forward_hook(counter(name.partition(".")[0], cell))
    frames = cfg.DATA.NUM_FRAMES
    slow, fast = (
        ms.Tensor(np.zeros((1, 3, count, height, width), np.float32))
        for count in (frames // cfg.SLOWFAST.ALPHA, frames)
    )
    box = np.float32([0, 0, width, height])
    network(slow, fast, ms.Tensor(np.tile(box, (1, boxes, 1))))
    return {part: (parameters[part], multiply_adds[part]) for part in parameters}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = IntermixedParser(
        prog="python -m src.models.summary", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cfg", required=True, metavar="FILE", help="YAML file of the configuration")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="of the clip")
    parser.add_argument("--boxes", type=int, default=1, metavar="N", help="boxes of the clip (default: 1)")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="configuration keys to set")
    args = parser.parse_args(arguments)
    cfg = load_config(args.cfg, args.overrides)
    library.turn_off()
    set_up_device("CPU", cfg.RNG_SEED)
    import mindspore as ms

    ms.set_context(mode=ms.PYNATIVE_MODE)  # where layers can be watched
    height, width = args.size or [cfg.DATA.TRAIN_CROP_SIZE] * 2
    rows = costs(cfg, height, width, args.boxes)
    print(f"a clip of {cfg.DATA.NUM_FRAMES} x {height} x {width}, boxes: {args.boxes}")
    print(f"{'part':<8}  {'parameters':>12}  {'GMACs':>8}")
    for part, (parameters, products) in rows.items():
        print(f"{part:<8}  {parameters:>12,}  {products / 1e9:>8.3f}")
    parameters, products = map(sum, zip(*rows.values(), strict=True))
    print(f"{'all':<8}  {parameters:>12,}  {products / 1e9:>8.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
