"""What a run left is gone on from, or refused in one line: whatever version wrote it."""

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from src.checkpoint.mindspore_format import load_checkpoint, save_checkpoint
from src.engine.checkpointer import Checkpointer
from src.engine.metric_logger import MetricLogger
from src.utils.distributed import ProcessGroup
from src.utils.errors import UserError


def checkpointer(folder: Path, value: float = 0.0) -> Checkpointer:
    weight = ms.Parameter(ms.Tensor([value], ms.float32), name="weight")
    return Checkpointer(folder, {"weight": weight}, {"SOLVER.BASE_LR": 0.1}, 0, {})


def test_the_newest_checkpoint_is_gone_on_from(tmp_path):
    first = checkpointer(tmp_path, 3.0)
    first.save(1, 7)
    first.save(2, 7)
    second = checkpointer(tmp_path)
    assert second.restore(ProcessGroup()) == (2, 7)
    assert second._parameters["weight"].asnumpy().tolist() == [3.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read: Invalid JSON: EOF while parsing a value"),
        ("[1]", "cannot be read: Input should be an object; remove it to resume by name"),
        ('{"run": "0"}', "cannot be read: checkpoints: Field required; remove it to resume by name"),
        ('{"run": "0", "checkpoints": ["slowfast-1_7.ckpt"]}', "cannot be read: checkpoints.0: Input should be an obj"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused_and_resuming_by_name_goes_on(tmp_path, content, message):
    checkpointer(tmp_path, 3.0).save(1, 7)
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError) as error:
        checkpointer(tmp_path).restore(ProcessGroup())
    assert str(error.value).startswith(f"{tmp_path / 'run.json'}: {message}")
    (tmp_path / "run.json").unlink()
    assert checkpointer(tmp_path).restore(ProcessGroup()) == (1, 7)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"run": None}, (1, 7)),
        ({"settings": {}}, (1, 7)),
        ({"settings": {"SOLVER.BASE_LR": 0.2}}, "SOLVER.BASE_LR was 0.2, now it is 0.1; give this run another"),
        ({"settings": None}, "says of its run what this version cannot read: settings: Input should be an object"),
        ({"step": "x"}, "says of its run what this version cannot read: step: Input should be a valid integer"),
    ],
)
def test_checkpoints_of_other_versions(tmp_path, change, expected):
    checkpointer(tmp_path, 3.0).save(1, 7)
    (tmp_path / "run.json").unlink()
    path = tmp_path / "slowfast-1_7.ckpt"
    arrays = load_checkpoint(path)
    progress = json.loads(arrays["run"].tobytes()) | change
    arrays["run"] = np.frombuffer(json.dumps(progress).encode(), np.uint8)
    save_checkpoint(arrays, path)
    if isinstance(expected, tuple):
        assert checkpointer(tmp_path).restore(ProcessGroup()) == expected
        return
    with pytest.raises(UserError) as error:
        checkpointer(tmp_path).restore(ProcessGroup())
    assert str(path) in str(error.value) and expected in str(error.value)


def test_curves_go_on_or_are_refused(tmp_path):
    logger = MetricLogger(tmp_path, tensorboard=False)
    for step in range(1, 5):
        logger.add("train/loss", step, 1.0 / step)
    logger.flush()
    assert MetricLogger(tmp_path, tensorboard=False, start=2).get("train/loss") == [(1, 1.0), (2, 0.5)]
    (tmp_path / "scalars.json").write_text('{"train/loss": [[1, 1.0], [2')
    with pytest.raises(UserError, match=r"scalars\.json: cannot read the curves so far: Invalid JSON: EOF .* move it"):
        MetricLogger(tmp_path, tensorboard=False, start=2)
