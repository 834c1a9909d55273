"""SlowFast R50 at its real depth, narrow, on devices that are not there.

MindSpore compiles for them and runs the graphs, with results of zero. An operator that only the CPU has ends a run.
"""

import pytest

from tests.devices.cases import Finished

pytestmark = pytest.mark.slow

# Operators on the older interface of Ascend, which compiles each for its shapes when it first runs (docs/ascend.md).
INFERENCE = {"BNInfer", "BiasAdd", "Conv2D", "MaxPool", "ReduceMean", "Split", "StridedSlice"}
TRAINING = {
    *("AddN", "ApplyMomentum", "AssignAdd", "BiasAdd", "BiasAddGrad", "Conv2D", "Conv2DBackpropFilter"),
    *("Conv2DBackpropInput", "Gather", "MaxPool", "MaxPoolGrad", "RealDiv", "ReduceMean", "Split", "StridedSlice"),
    "StridedSliceGrad",
}
BATCH_NORM = {"BNTrainingReduce", "BNTrainingReduceGrad", "BNTrainingUpdate", "BNTrainingUpdateGrad"}


def of(case: str) -> pytest.MarkDecorator:
    """Hand a test the finished case of this name."""
    return pytest.mark.parametrize("finished", [case], indirect=True)


def assert_ended_well(finished: Finished, commands: int) -> None:
    assert finished.statuses == (0,) * commands, finished.outputs[-1][-5000:]


@of("910B")
def test_the_launchers_train_score_and_export_on_an_atlas_a2(finished):
    """O0 with clipping by norm and averages, whose score and checkpoint are made."""
    assert_ended_well(finished, 3)
    training, scoring, export = finished.outputs
    assert "epoch 1/1, loss 0.0000" in training
    assert "slowfast-best.ckpt" in training
    assert "PascalBoxes_Precision/mAP@0.5IOU" in scoring
    assert (finished.folder / "output/slowfast.mindir").stat().st_size > 1e6
    assert "not compared" not in export
    assert finished.operators(0, "aclop") == {*TRAINING, *BATCH_NORM, *INFERENCE, "L2Loss", "Assign"}
    assert finished.operators(1, "aclop") == INFERENCE


@of("910A O2")
def test_float16_accumulation_and_a_dynamic_loss_scale_on_an_atlas_training_card(finished):
    assert_ended_well(finished, 1)
    assert "epoch 1/1, loss 0.0000" in finished.outputs[0]
    assert finished.operators(0, "aclop") == {*TRAINING, *BATCH_NORM, "Assign", "L2Loss"}


@of("910B bf16")
def test_bfloat16_on_an_atlas_a2(finished):
    assert_ended_well(finished, 1)
    assert "on the first of 1" in finished.outputs[0]
    assert finished.operators(0, "aclop") == {*TRAINING, *BATCH_NORM}


@of("8 x 910B O3")
def test_eight_devices_in_float16_with_frozen_statistics(finished):
    assert_ended_well(finished, 1)
    assert "on the first of 8" in finished.outputs[0]
    assert finished.operators(0, "hccl") == {"AllReduce"}
    assert finished.operators(0, "aclop") == {*TRAINING, "BNInfer", "BNInferGrad", "BNTrainingUpdateGrad"}


@of("GPU")
def test_a_gpu_gets_its_graphs(finished):
    assert_ended_well(finished, 2)
    assert all("compiled" in output for output in finished.outputs)


@of("310P")
def test_inference_on_an_atlas_inference_card(finished):
    assert_ended_well(finished, 1)
    assert finished.operators(0, "aclop") == INFERENCE
