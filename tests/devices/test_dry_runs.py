"""SlowFast R50 at its real depth, narrow, on devices that are not there.

MindSpore compiles for them and runs the graphs, with results of zero. An operator that only the CPU has ends a run.
"""

import re
import subprocess
import sys

import pytest

from tests.devices import dry_run
from tests.devices.cases import Finished

pytestmark = pytest.mark.slow

# What may take the older interface of Ascend, which compiles an operator for its shapes when it first runs: the mean of
# the loss, sums of gradients, the update of the weights and its learning rate (docs/ascend.md). Inference takes nothing
# of it.
OLD_INTERFACE = {
    *("AddN", "ApplyMomentum", "Assign", "AssignAdd", "Gather", "L2Loss", "RealDiv", "ReduceMean", "TensorMove"),
}
# Of batch norm that leaves padding out.
ELEMENTARY_BATCH_NORM = {"FillV2", "RsqrtGrad", "StridedSlice", "StridedSliceGrad"}
# What stands for it: were none of these there, the log would not have been read.
NEW_INTERFACE = {"BatchNormExt", "Conv2DExt", "MaxPoolWithMask"}

ROUNDS = re.compile("rounds float32: (.*)")


def of(case: str) -> pytest.MarkDecorator:
    """Hand a test the finished case of this name."""
    return pytest.mark.parametrize("finished", [case], indirect=True)


def assert_ended_well(finished: Finished, commands: int) -> None:
    assert finished.statuses == (0,) * commands, finished.outputs[-1][-5000:]


def assert_on_new_interface(finished: Finished, command: int, but: set[str]) -> None:
    assert finished.operators(command, "aclnn") >= NEW_INTERFACE
    assert finished.operators(command, "aclop") <= but


@of("910B")
def test_the_launchers_train_score_and_export_on_an_atlas_a2(finished):
    """O0 with clipping by norm and averages, whose score and checkpoint are made."""
    assert_ended_well(finished, 3)
    training, scoring, _ = finished.outputs
    assert "epoch 1/1, loss 0.0000" in training
    assert "slowfast-best.ckpt" in training
    assert "PascalBoxes_Precision/mAP@0.5IOU" in scoring
    assert (finished.folder / "output/slowfast.mindir").stat().st_size > 1e6
    assert_on_new_interface(finished, 0, OLD_INTERFACE)
    assert_on_new_interface(finished, 1, set())
    # ALLOW_TF32 was given to training and export; export compares in full float32 all the same.
    assert [ROUNDS.findall(output) for output in finished.outputs] == [["True True"], ["False False"], ["False False"]]


@of("910A O2")
def test_float16_on_an_atlas_training_card_and_a_line_for_bfloat16(finished):
    """With a dynamic loss scale."""
    assert finished.statuses[0] == 0, finished.outputs[0][-5000:]
    assert_on_new_interface(finished, 0, OLD_INTERFACE)
    assert finished.statuses[1] != 0
    assert "AMP_LEVEL bf16: this Ascend does not compute in bfloat16" in finished.outputs[1]


@of("910B bf16")
def test_bfloat16_and_clipping_by_value_on_an_atlas_a2(finished):
    assert_ended_well(finished, 1)
    assert "on rank 0 of 1" in finished.outputs[0]
    assert_on_new_interface(finished, 0, OLD_INTERFACE)


@pytest.mark.parametrize(
    ("finished", "rank"),
    [
        ("8 x 910B O3", 0),
        *(pytest.param(f"8 x 910B O3, rank {rank}", rank, marks=pytest.mark.long) for rank in range(1, 8)),
    ],
    indirect=["finished"],
)
def test_each_of_eight_devices_in_float16_with_frozen_statistics(finished, rank):
    assert_ended_well(finished, 1)
    assert f"on rank {rank} of 8" in finished.outputs[0]
    assert finished.operators(0, "hccl") == {"AllReduce"}
    assert_on_new_interface(finished, 0, OLD_INTERFACE)


@pytest.mark.long
@of("GPU by its launchers")
def test_the_launchers_train_and_score_on_a_gpu(finished):
    assert_ended_well(finished, 2)
    assert "epoch 1/1, loss 0.0000" in finished.outputs[0]
    assert "PascalBoxes_Precision/mAP@0.5IOU" in finished.outputs[1]


@pytest.mark.long
@of("8 x 910B with BN.SYNC")
def test_batch_norm_over_all_clips_of_eight_devices(finished):
    assert_ended_well(finished, 1)
    assert "on rank 0 of 8" in finished.outputs[0]
    assert_on_new_interface(finished, 0, OLD_INTERFACE | ELEMENTARY_BATCH_NORM)


@pytest.mark.parametrize(
    "finished",
    [
        "910A O2 by its launcher",
        "8 x 910B O3 by their launcher",
        pytest.param("910B bf16 by its launcher", marks=pytest.mark.long),
        pytest.param("910B O2 by its launcher", marks=pytest.mark.long),
    ],
    indirect=True,
)
def test_the_launchers_train_in_half_precision_with_all_that_changes_gradients_and_averages(finished):
    """Clipping by norm, averages, accumulation, frozen statistics, dynamic loss scales; last, precise batch norm."""
    assert_ended_well(finished, 1)
    assert "epoch 1/1, loss 0.0000" in finished.outputs[0]
    assert_on_new_interface(finished, 0, OLD_INTERFACE)


@pytest.mark.long
@pytest.mark.parametrize(
    ("finished", "left"),
    [
        ("910B heads", (set(), OLD_INTERFACE | ELEMENTARY_BATCH_NORM, set(), OLD_INTERFACE)),
        ("910B R101", (set(), OLD_INTERFACE)),
    ],
    indirect=["finished"],
)
def test_every_head_and_r101_with_nonlocal_blocks_on_an_atlas_a2(finished, left):
    """Inference and a training step of each: an actor relation, context; what each leaves on the old interface."""
    assert_ended_well(finished, len(left))
    for command, operators in enumerate(left):
        assert "ran 1 graphs on rank 0 of 1" in finished.outputs[command]
        assert_on_new_interface(finished, command, operators)


@pytest.mark.parametrize(
    ("finished", "commands"),
    [("GPU features", 3), pytest.param("GPU heads", 4, marks=pytest.mark.long)],
    indirect=["finished"],
)
def test_every_head_and_all_that_changes_gradients_on_a_gpu(finished, commands):
    """Inference and a training step of each head; steps with the other features."""
    assert_ended_well(finished, commands)
    assert all("on rank 0 of 1" in output for output in finished.outputs)


@pytest.mark.long
@of("GPU R101")
def test_r101_on_a_gpu_and_where_nonlocal_blocks_end(finished):
    """Training with these is compiled, but MindSpore's runtime counts the readers of their gradients wrongly."""
    assert finished.statuses == (0, 0, 1), finished.outputs[-1][-5000:]
    assert "Invalid new ref count" in finished.outputs[2]


@of("GPU")
def test_float32_on_a_gpu_and_a_line_for_half_precision(finished):
    assert finished.statuses[:2] == (0, 0), finished.outputs[-1][-5000:]
    assert all("on rank 0 of 1" in output for output in finished.outputs[:2])
    assert finished.statuses[2] != 0
    assert [ROUNDS.findall(output) for output in finished.outputs] == [["False False"], ["True True"], ["False False"]]
    assert "AMP_LEVEL O2: MindSpore has not all of SlowFast's operators in half precision" in finished.outputs[2]


@of("310P")
def test_inference_on_an_atlas_inference_card(finished):
    assert_ended_well(finished, 1)
    assert_on_new_interface(finished, 0, set())


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("device", ["910B", "GPU"])
def test_the_key_for_tf32_and_hf32_reaches_mindspore(stand_ins, tmp_path, device, allowed):
    program = tmp_path / "program.py"
    target = dry_run.DEVICES[device][0]
    program.write_text(f"from src.utils.device import set_up_device\nset_up_device('{target}', 0, {allowed})\n")
    command = [sys.executable, dry_run.__file__, device, str(program)]
    environment = dry_run.environment(stand_ins, device)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ROUNDS.findall(done.stdout) == [f"{allowed} {allowed}"]
