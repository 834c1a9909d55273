"""The dry runs: which commands on which device."""

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.devices import dry_run

_SELECTED = re.compile(r"\] (\w+) select (\w+) kernel")
_TRAIN = ("bash", "{root}/scripts/run_standalone_train_ascend.sh", "{recipe}", "{sample}", "", "SOLVER.MAX_EPOCH", "1")
_DISTRIBUTE = ("bash", "{root}/scripts/run_distribute_train_ascend.sh", *_TRAIN[2:], "TRAIN.BATCH_SIZE", "1")
_EVAL = ("bash", "{root}/scripts/run_standalone_eval_ascend.sh", "{recipe}", "{sample}")
_EXPORT = ("bash", "{root}/scripts/run_export.sh", "{recipe}")
_STEP = ("{interpreter}", "{root}/tests/devices/compile_step.py")


@dataclass(frozen=True)
class Case:
    """Commands in one folder, one after another until one fails; `{...}` in them is filled in.

    Attributes:
        device: one of `dry_run.DEVICES`.
        commands: the arguments of each.
        devices: how many of them there are.
        rank: whose run it is.
    """

    device: str
    commands: tuple[tuple[str, ...], ...]
    devices: int = 1
    rank: int = 0


_CLIPPED = ("SOLVER.CLIP_GRAD_L2NORM", "1.0", "TRAIN.EMA_DECAY", "0.9")
_DYNAMIC_SCALE = ("TRAIN.LOSS_SCALE_WINDOW", "2")
_GRADIENTS = (*_CLIPPED, "TRAIN.ACCUMULATE_STEPS", "2", "BN.FREEZE_STATISTICS", "True")
_ALL = (*_GRADIENTS, *_DYNAMIC_SCALE)
_BFLOAT16 = ("TRAIN.AMP_LEVEL", "bf16")
_ROUNDED = ("ALLOW_TF32", "True")
_RELATION = ("MODEL.HEAD_TEMPORAL_POOL", "max", "MODEL.HEAD_ACRN", "16")
_CONTEXT = ("MODEL.HEAD_CONTEXT", "True")
_R101 = (
    *("RESNET.DEPTH", "101", "RESNET.NUM_BLOCK_TEMP_KERNEL", "[[3, 3], [4, 4], [6, 6], [3, 3]]"),
    *("NONLOCAL.LOCATION", "[[[], []], [[], []], [[6, 13, 20], []], [[], []]]"),
)
_EIGHT = ((*_STEP, "Ascend", "train", "{recipe}", "TRAIN.AMP_LEVEL", "O3", "BN.FREEZE_STATISTICS", "True"),)


def _steps(target: str, *features: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return inference and a training step with each of the features."""
    return tuple((*_STEP, target, action, "{recipe}", *keys) for keys in features for action in ("infer", "train"))


CASES = {
    "910B": Case(
        "910B",
        (
            (*_TRAIN, "TRAIN.EVAL_PERIOD", "1", *_CLIPPED, *_ROUNDED),
            (*_EVAL, "output/checkpoints/slowfast-1_7.ckpt", "0", "TEST.USE_EMA", "True"),
            (
                *(*_EXPORT, "output/checkpoints/slowfast-1_7.ckpt", "DATA.PATH_TO_DATA_DIR", "{sample}"),
                *("DATA.TEST_SCALE_HEIGHT", "32", "DATA.TEST_SCALE_WIDTH", "48", *_ROUNDED),
            ),
        ),
    ),
    "910A O2": Case(
        "910A",
        (
            (*_STEP, "Ascend", "train", "{recipe}", "TRAIN.AMP_LEVEL", "O2", *_DYNAMIC_SCALE),
            (*_STEP, "Ascend", "train", "{recipe}", *_BFLOAT16),  # refused, so the last
        ),
    ),
    "910B bf16": Case("910B", ((*_STEP, "Ascend", "train", "{recipe}", *_BFLOAT16, "SOLVER.CLIP_GRAD_VAL", "1.0"),)),
    "8 x 910B O3": Case("910B", _EIGHT, devices=8),
    "910A O2 by its launcher": Case("910A", ((*_TRAIN, "TRAIN.AMP_LEVEL", "O2", *_ALL),)),
    "8 x 910B O3 by their launcher": Case("910B", ((*_DISTRIBUTE, "TRAIN.AMP_LEVEL", "O3", *_ALL),), devices=8),
    "GPU features": Case(
        "GPU",
        (
            (*_STEP, "GPU", "train", "{recipe}", *_CLIPPED, "TRAIN.ACCUMULATE_STEPS", "2"),
            (*_STEP, "GPU", "train", "{recipe}", "SOLVER.CLIP_GRAD_VAL", "1.0", "BN.FREEZE_STATISTICS", "True"),
            (*_STEP, "GPU", "observe", "{recipe}"),
        ),
    ),
    "GPU": Case(
        "GPU",
        (
            (*_STEP, "GPU", "infer", "{recipe}"),
            (*_STEP, "GPU", "train", "{recipe}", *_ROUNDED),
            (*_STEP, "GPU", "train", "{recipe}", "TRAIN.AMP_LEVEL", "O2"),  # refused, so the last
        ),
    ),
    "310P": Case("310P", ((*_STEP, "Ascend", "infer", "{recipe}"),)),
    # By -m long.
    **{f"8 x 910B O3, rank {rank}": Case("910B", _EIGHT, devices=8, rank=rank) for rank in range(1, 8)},
    "8 x 910B with BN.SYNC": Case("910B", ((*_STEP, "Ascend", "train", "{recipe}", "BN.SYNC", "True"),), devices=8),
    "GPU by its launchers": Case(
        "GPU",
        (
            ("bash", "{root}/scripts/run_standalone_train_gpu.sh", *_TRAIN[2:], "TRAIN.EVAL_PERIOD", "1"),
            ("bash", "{root}/scripts/run_standalone_eval_gpu.sh", *_EVAL[2:], "output/checkpoints/slowfast-1_7.ckpt"),
        ),
    ),
    "910B heads": Case("910B", _steps("Ascend", _RELATION, _CONTEXT)),
    "910B R101": Case("910B", _steps("Ascend", _R101)),
    "GPU heads": Case("GPU", _steps("GPU", _RELATION, _CONTEXT)),
    "GPU R101": Case(
        "GPU",
        (
            (*_STEP, "GPU", "train", "{recipe}", *_R101[:4]),
            (*_STEP, "GPU", "infer", "{recipe}", *_R101),
            (*_STEP, "GPU", "train", "{recipe}", *_R101),  # fails, so the last
        ),
    ),
    "910B bf16 by its launcher": Case("910B", ((*_TRAIN, *_BFLOAT16, *_GRADIENTS),)),
    "910B O2 by its launcher": Case(
        "910B", ((*_TRAIN, "TRAIN.AMP_LEVEL", "O2", "BN.USE_PRECISE_STATS", "True", "BN.NUM_BATCHES_PRECISE", "2"),)
    ),
}


@dataclass(frozen=True)
class Finished:
    """What a dry run left.

    Attributes:
        statuses: of each command that was run.
        outputs: of each, with the log of its launcher and MindSpore's.
        folder: where they were run.
    """

    statuses: tuple[int, ...]
    outputs: tuple[str, ...]
    folder: Path

    def operators(self, command: int, interface: str) -> set[str]:
        """Return a command's operators on one of Ascend's interfaces: aclnn, aclop, hccl (devices) or host (views)."""
        return {name for name, taken in _SELECTED.findall(self.outputs[command]) if taken == interface}


def run_case(case: Case, stand_ins: Path, folder: Path, values: Mapping[str, object]) -> Finished:
    """Run a case.

    Args:
        case: the case.
        stand_ins: see `stand_ins.build_stand_ins`.
        folder: an empty one, to run in.
        values: what is filled into the commands: root, recipe and sample.
    """
    interpreter = folder / "python"
    interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{dry_run.__file__}" {case.device} "$@"\n')
    interpreter.chmod(0o755)
    environment = dry_run.environment(stand_ins, case.device) | {"PYTHON": str(interpreter), "FOREGROUND": "1"}
    if case.devices > 1:
        (folder / "msrun").symlink_to(Path(sys.executable).parent / "msrun")
        # DEVICE_NUM is the launcher's, the rest that of a process; with RANK_ID msrun starts this process alone.
        environment |= dict.fromkeys(("DEVICE_NUM", "RANK_SIZE"), str(case.devices)) | {"RANK_ID": str(case.rank)}
    statuses, outputs = [], []
    for command in case.commands:
        filled = [part.format(interpreter=interpreter, **values) for part in command]
        done = subprocess.run(filled, cwd=folder, env=environment, capture_output=True, text=True, errors="replace")
        logs = list(folder.glob("log_*"))
        outputs.append("\n".join((done.stdout, done.stderr, *(log.read_text(errors="replace") for log in logs))))
        statuses.append(done.returncode)
        for log in logs:
            log.unlink()
        if done.returncode:
            break
    return Finished(tuple(statuses), tuple(outputs), folder)
