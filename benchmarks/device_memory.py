"""Print what memory MindSpore plans for a training step on an Atlas A2, by its dry run: no device is needed.

python benchmarks/device_memory.py [--depth 50 101] [--batch 1 2 4 8 16] [--level O0 O2] [KEY VALUE ...]

Needs gcc and g++ on x86-64. A run takes about a minute of processor time. CANN's workspaces come on top.
"""

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "configs" / "AVA" / "SLOWFAST_32x2_R50_SHORT.yaml"
_PEAK = re.compile(r"Used peak memory usage \(without fragments\): (\d+)M")


def planned_mebibytes(stand_ins: Path, folder: str, depth: int, batch: int, level: str, overrides: list[str]) -> int:
    """Return the planned peak of a training step, in MiB."""
    from tests.devices import dry_run

    step = ROOT / "tests" / "devices" / "compile_step.py"
    keys = ["RESNET.DEPTH", depth, "TRAIN.BATCH_SIZE", batch, "TRAIN.AMP_LEVEL", level, *overrides]
    command = [sys.executable, dry_run.__file__, "910B", step, "Ascend", "train", RECIPE, *keys]
    environment = dry_run.environment(stand_ins, "910B")
    done = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the dry run of R{depth} {level} batch {batch} ended with:\n{done.stderr[-2000:]}")
    return max(int(found) for found in _PEAK.findall(done.stdout + done.stderr))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, nargs="+", default=[50, 101])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--level", nargs="+", default=["O0", "O2"])
    args, overrides = parser.parse_known_args()
    sys.path.insert(0, str(ROOT))
    from tests.devices.stand_ins import build_stand_ins

    package = Path(importlib.util.find_spec("mindspore").origin).parent
    with tempfile.TemporaryDirectory() as folder:
        stand_ins = build_stand_ins(package, Path(folder) / "stand_ins")
        for depth in args.depth:
            for level in args.level:
                for batch in args.batch:
                    peak = planned_mebibytes(stand_ins, folder, depth, batch, level, overrides)
                    print(f"R{depth} {level} batch {batch:2}: {peak / 1024:5.1f} GiB", flush=True)


if __name__ == "__main__":
    main()
