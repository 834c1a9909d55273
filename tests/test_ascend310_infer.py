"""From a checkpoint over the exported graph and the C++ runner to the metric, and all that can break on the way."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.utils.files import write_atomic
from tests.weights import weights

pytestmark = pytest.mark.slow

FRAMES, HEIGHT, WIDTH, BATCH = 16, 72, 96, 4
# Somebody's files, where the runner and its launcher write.
FOREIGN = ("notes.txt", "preprocess_Result/mine.txt", "result_Files/mine.txt", "result_Files/mine/scores.bin")
# With the log level set, the runner need not start itself twice.
QUIET = {"GLOG_v": "4"}
SANITIZER_REPORTS = ("AddressSanitizer", "runtime error", "LeakSanitizer")


def run(*command: object, cwd: Path, **options) -> subprocess.CompletedProcess:
    """Run a command with the Python of the tests, its output as text."""
    environment = os.environ | {"PYTHON": sys.executable} | options.pop("env", {})
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, **options
    )


@pytest.fixture(scope="module")
def runner(repository: Path) -> Path:
    done = run("bash", repository / "ascend310_infer/build.sh", cwd=repository)
    assert done.returncode == 0, done.stdout + done.stderr
    return repository / "ascend310_infer/build/main"


@pytest.fixture(scope="module")
def sanitized(runner: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runner with AddressSanitizer and UndefinedBehaviorSanitizer."""
    folder = tmp_path_factory.mktemp("sanitized")
    done = run(
        "bash",
        repository / "ascend310_infer/build.sh",
        "-DSANITIZE=ON",
        cwd=repository,
        env={"BUILD_DIR": str(folder)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "main"


@pytest.fixture(scope="module")
def deployed(runner: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sample dataset, a checkpoint of weights by formula, its graph, and what eval.py says of it."""
    from src.checkpoint.mindspore_format import save_checkpoint
    from src.config.custom_config import load_config
    from src.models.build import build_model

    root = tmp_path_factory.mktemp("deployed")
    data = root / "sample data"
    command = [sys.executable, "-m", "src.datasets.sample", data, "--train-videos", 1, "--val-videos", 1]
    assert run(*command, cwd=repository).returncode == 0
    recipe = repository / "configs/sample/SLOWFAST_SAMPLE.yaml"
    rng = np.random.default_rng(0)
    weights = {}
    for name, parameter in build_model(load_config(recipe)).parameters_dict().items():
        # Batch norm as after training, so that folding it changes something, and scores that differ.
        if name.endswith(("gamma", "moving_variance")):
            weights[name] = rng.uniform(0.7, 1.2, parameter.shape)
        elif name.endswith(("beta", "moving_mean", "bias")):
            weights[name] = rng.normal(0, 0.1, parameter.shape)
        else:
            scale = 0.005 if "projection" in name else (1.5 / np.prod(parameter.shape[1:])) ** 0.5
            weights[name] = rng.normal(0, scale, parameter.shape)
    checkpoint = root / "sample.ckpt"
    save_checkpoint({name: array.astype(np.float32) for name, array in weights.items()}, checkpoint)

    overrides = ["DATA.TEST_SCALE_HEIGHT", HEIGHT, "DATA.TEST_SCALE_WIDTH", WIDTH, "OUTPUT_DIR", root / "out"]
    overrides += ["DATA.NUM_FRAMES", FRAMES, "DATA.SAMPLING_RATE", 1]
    export = ["EXPORT.FORMAT", "MINDIR_V1", "EXPORT.BATCH_SIZE", BATCH, "EXPORT.NUM_BOXES", 1]
    script = repository / "scripts/run_export.sh"
    done = run("bash", script, recipe, checkpoint, *overrides, *export, cwd=root)
    assert done.returncode == 0, done.stderr
    assert "largest difference from the network on random input" in done.stdout
    command = [sys.executable, repository / "eval.py", "--cfg", recipe, "TEST.CHECKPOINT_FILE_PATH", checkpoint]
    done = run(*command, *overrides, "DATA.PATH_TO_DATA_DIR", data, cwd=root)
    assert done.returncode == 0, done.stderr
    write_atomic(root / "eval.log", done.stdout)
    return {"root": root, "data": data, "mindir": root / "out/slowfast.mindir", "checkpoint": checkpoint}


@pytest.fixture(scope="module")
def scored(deployed: dict[str, Path], repository: Path) -> Path:
    """The folder of one whole run of run_310_infer.sh."""
    folder = deployed["root"] / "one run"
    for name in FOREIGN:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    script = repository / "scripts/run_310_infer.sh"
    done = run("bash", script, deployed["mindir"], deployed["data"], "y", "CPU", 0, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def mean_average_precision(log: str) -> float:
    line = next(line for line in log.splitlines() if "PascalBoxes_Precision/mAP" in line)
    return float(line.split(":")[-1])


def read_detections(path: Path) -> tuple[list[str], np.ndarray]:
    """Return all but the score of each row, and the scores."""
    rows = [line.rsplit(",", 1) for line in path.read_text().splitlines()]
    return [head for head, _ in rows], np.array([float(score) for _, score in rows])


def test_runner_scores_as_eval_does(deployed: dict[str, Path], scored: Path) -> None:
    expected_rows, expected = read_detections(deployed["root"] / "out/detections_test.csv")
    rows, scores = read_detections(scored / "detections.csv")
    assert rows == expected_rows
    assert expected.std() > 0.01
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
    value = mean_average_precision((scored / "acc.log").read_text())
    assert 0 < value < 1
    assert value == pytest.approx(mean_average_precision((deployed["root"] / "eval.log").read_text()), abs=1e-6)


@pytest.mark.parametrize(
    "head",
    [
        ("MODEL.HEAD_TEMPORAL_POOL", "max", "MODEL.HEAD_ACRN", 24),
        pytest.param(
            ("MODEL.HEAD_CONTEXT", True, "MODEL.LOSS_FUNC", "cross_entropy", "MODEL.HEAD_ACT", "softmax"),
            marks=pytest.mark.long,
        ),
        pytest.param(("MODEL.HEAD_CONTEXT", True, "MODEL.HEAD_TEMPORAL_POOL", "max"), marks=pytest.mark.long),
        pytest.param(("MODEL.HEAD_ACRN", 24), marks=pytest.mark.long),
    ],
)
def test_runner_computes_every_head(runner: Path, tmp_path: Path, head: tuple[object, ...]) -> None:
    """By MindSpore Lite, and by OpenVINO in two and in three dimensions; of SlowFast R50 at its real depth."""
    import mindspore as ms

    from src.config.custom_config import load_config
    from src.deploy.export import fold_batch_norm, random_inputs
    from src.deploy.manifest import describe_files, describe_graph, graph_specs
    from src.deploy.mindir import read_mindir, write_mindir_v1
    from src.deploy.onnx_3d import write_onnx_3d
    from src.deploy.onnx_model import write_onnx
    from src.deploy.runner import run_once
    from src.models.video_model_builder import SlowFast

    settings = ["MODEL.NUM_CLASSES", 3, "RESNET.WIDTH_PER_GROUP", 8, "DATA.NUM_FRAMES", 4, *head]
    settings += ["DATA.TEST_SCALE_HEIGHT", 32, "DATA.TEST_SCALE_WIDTH", 48]
    settings += ["EXPORT.BATCH_SIZE", 2, "EXPORT.NUM_BOXES", 3]
    cfg = load_config(None, settings)
    network = SlowFast(cfg).set_train(False)
    for name, parameter in network.parameters_dict().items():
        parameter.set_data(ms.Tensor(weights(name, parameter.shape)))
    inputs = random_inputs(cfg, graph_specs(cfg)[0])
    expected = network(*map(ms.Tensor, inputs)).asnumpy()
    assert np.ptp(expected) > 0.1

    fold_batch_norm(network)
    arrays = {name: parameter.asnumpy() for name, parameter in network.parameters_dict().items()}
    ms.export(network, *map(ms.Tensor, inputs), file_name=str(tmp_path / "source.mindir"), file_format="MINDIR")
    graph = read_mindir(tmp_path / "source.mindir")
    write_mindir_v1(graph, tmp_path / "lite.mindir")
    write_onnx(graph, tmp_path / "static.onnx")
    onnx = [*settings, "EXPORT.FORMAT", "ONNX"]
    dynamic = describe_graph(load_config(None, [*onnx, "EXPORT.DYNAMIC", True]), {})
    write_onnx_3d(cfg, arrays, dynamic.inputs, dynamic.output, tmp_path / "dynamic.onnx")
    for name, description in {
        "lite.mindir": describe_graph(load_config(None, [*settings, "EXPORT.FORMAT", "MINDIR_V1"]), {}),
        "static.onnx": describe_graph(load_config(None, onnx), {}),
        "dynamic.onnx": dynamic,
    }.items():
        path = tmp_path / name
        found = run_once(path, describe_files(description, path, path), inputs)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5, err_msg=name)


def test_foreign_files_stay(scored: Path) -> None:
    assert [(scored / name).read_text() for name in FOREIGN] == list(FOREIGN)


def test_last_batch_is_short_and_boxes_are_split(scored: Path) -> None:
    (manifest,) = (json.loads(path.read_text()) for path in scored.glob("result_Files/*/*/manifest.json"))
    assert len(manifest["row_clips"]) % BATCH
    assert len(manifest["row_clips"]) > len(manifest["clip_files"])


def test_pre_and_postprocessing_do_without_mindspore(repository: Path) -> None:
    """So that a host needs MindSpore's C++ library only."""
    code = "import sys, preprogress, postprogress; sys.exit('mindspore' in sys.modules)"
    assert run(sys.executable, "-c", code, cwd=repository).returncode == 0


def test_inputs_are_deleted_and_times_written(scored: Path) -> None:
    assert not list(scored.glob("preprocess_Result/**/*.bin")) + list(scored.glob("preprocess_Result/.work"))
    times = (scored / "time_Result/test_perform_static.txt").read_text()
    assert [line.split(":")[0] for line in times.splitlines()] == ["batches", "first batch", "mean", "median", "p99"]


def test_killed_run_goes_on_to_the_same_result(deployed: dict[str, Path], scored: Path, repository: Path) -> None:
    folder = deployed["root"] / "killed"
    folder.mkdir()
    command = ["bash", repository / "scripts/run_infer_310.sh", deployed["mindir"], deployed["data"], "y", "CPU", 0]
    # Six clips of 16 x 3 x 72 x 96 float32 a shard, with their boxes: four shards.
    environment = os.environ | {"PYTHON": sys.executable, "DISK_BUDGET_GB": "0.008"}
    process = subprocess.Popen(
        [str(part) for part in command], cwd=folder, env=environment, start_new_session=True, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while not list(folder.glob("result_Files/*/shard_2_of_*/scores.bin.partial")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list(folder.glob("result_Files/*/*/manifest.json"))) == 1
    assert not (folder / "acc.log").exists()

    done = run(*command, cwd=folder, env={"DISK_BUDGET_GB": "0.008"})
    assert done.returncode == 0, done.stderr
    assert "shard 1 of 4: results are there" in done.stdout
    for name in ("acc.log", "detections.csv"):
        assert (folder / name).read_bytes() == (scored / name).read_bytes()
    assert not list(folder.glob("result_Files/**/*.partial"))


def test_prepared_inputs_in_float16(deployed: dict[str, Path], scored: Path, repository: Path) -> None:
    """Clips of half the size, exported over again; the inputs stay where they were prepared."""
    folder = deployed["root"] / "float16"
    folder.mkdir()
    recipe = repository / "configs/sample/SLOWFAST_SAMPLE.yaml"
    sizes = ["DATA.TEST_SCALE_HEIGHT", HEIGHT, "DATA.TEST_SCALE_WIDTH", WIDTH, "OUTPUT_DIR", folder]
    sizes += ["DATA.NUM_FRAMES", FRAMES, "DATA.SAMPLING_RATE", 1]
    settings = ["EXPORT.FORMAT", "MINDIR_V1", "EXPORT.BATCH_SIZE", 3, "EXPORT.CLIP_DTYPE", "float16"]
    script = repository / "scripts/run_export.sh"
    done = run("bash", script, recipe, deployed["checkpoint"], *sizes, *settings, cwd=folder)
    assert done.returncode == 0, done.stderr
    mindir = folder / "slowfast.mindir"
    inputs = folder / "preprocess_Result/all"
    command = [sys.executable, repository / "preprogress.py", "--mindir", mindir, "--dataset", deployed["data"]]
    assert run(*command, "--output", inputs, cwd=folder).returncode == 0
    assert (inputs / "fast_000000.bin").stat().st_size == FRAMES * 3 * HEIGHT * WIDTH * 2
    done = run("bash", repository / "scripts/run_310_infer.sh", mindir, deployed["data"], "n", "CPU", 0, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (inputs / "manifest.json").is_file()
    _, expected = read_detections(scored / "detections.csv")
    _, scores = read_detections(folder / "detections.csv")
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, "absent.mindir", "absent.mindir: no such file; expected a graph from export.py"),
        (1, "absent", "absent: no such folder; expected the dataset"),
        (2, "yes", "NEED_PREPROCESS is 'yes', expected y or n"),
        (3, "TPU", "DEVICE_TARGET is 'TPU', expected Ascend, GPU or CPU"),
        (4, "-1", "DEVICE_ID is '-1', expected a number"),
        (2, "n", "preprocess_Result: no inputs there; expected folders from preprogress.py --output"),
        (3, "Ascend", "the model (MINDIR_V1) cannot be loaded on device Ascend"),
    ],
)
def test_launcher_fails_with_one_line(
    deployed: dict[str, Path], repository: Path, tmp_path: Path, position: int, value: str, message: str
) -> None:
    arguments = [deployed["mindir"], deployed["data"], "y", "CPU", "0"]
    arguments[position] = value
    done = run("bash", repository / "scripts/run_310_infer.sh", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("error: ") == 1
    assert not (tmp_path / "acc.log").exists()


def test_launchers_explain_themselves(repository: Path, tmp_path: Path) -> None:
    for name, usage in (
        ("run_310_infer.sh", "Usage: bash scripts/run_310_infer.sh MINDIR DATASET NEED_PREPROCESS DEVICE_TARGET"),
        ("run_export.sh", "Usage: bash scripts/run_export.sh CFG CKPT [KEY VALUE ...]"),
    ):
        done = run("bash", repository / "scripts" / name, cwd=tmp_path)
        assert done.returncode == 2
        assert usage in done.stderr


@pytest.fixture(scope="module")
def shard(deployed: dict[str, Path], repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs of a few clips."""
    folder = tmp_path_factory.mktemp("shard") / "inputs"
    command = [sys.executable, repository / "preprogress.py", "--mindir", deployed["mindir"]]
    done = run(*command, "--dataset", deployed["data"], "--output", folder, "--shard", "2/8", cwd=repository)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def inputs(shard: Path, tmp_path: Path) -> Path:
    """A copy of them, to be broken."""
    return Path(shutil.copytree(shard, tmp_path / "inputs"))


@pytest.fixture
def infer(sanitized: Path, deployed: dict[str, Path], inputs: Path, tmp_path: Path) -> Callable:
    """Run the runner, by default the sanitized one, in an empty folder."""

    def run_it(mindir: Path = deployed["mindir"], result: Path = tmp_path / "result", *more: str, **options):
        program = options.pop("program", sanitized)
        # The library is closed and keeps what it allocated once: leaks are its own.
        environment = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
        environment |= options.pop("env", {})
        command = [program, "--mindir_path", mindir, "--input_path", inputs, "--result_path", result, *more]
        return run(*command, cwd=tmp_path, env=environment, **options)

    return run_it


def assert_refused(done: subprocess.CompletedProcess, message: str) -> None:
    assert not any(report in done.stderr for report in SANITIZER_REPORTS), done.stderr
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_no_finding_on_good_inputs(infer: Callable, tmp_path: Path, inputs: Path) -> None:
    done = infer()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "result/manifest.json").read_bytes() == (inputs / "manifest.json").read_bytes()


def edited(key: str, value: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        *parents, last = key.split(".")
        place = manifest
        for parent in parents:
            place = place[int(parent) if parent.isdecimal() else parent]
        place[int(last) if last.isdecimal() else last] = value
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return edit


def text(content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "manifest.json").write_text(content) and None


def resized(name: str, change: int) -> Callable[[Path], None]:
    def resize(folder: Path) -> None:
        path = sorted(folder.glob(name))[0]
        os.truncate(path, path.stat().st_size + change)

    return resize


BROKEN = {
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "manifest.json: cannot read the file: No such"),
    "empty manifest": (text(""), "manifest.json: parse error at line 1, column 1: "),
    "truncated manifest": (resized("manifest.json", -20), "manifest.json: parse error at line"),
    "no JSON": (text("{'a': 1}"), "parse error at line 1, column 2"),
    "deep manifest": (text("[" * 100000), "parse error at line 1, column 100001"),
    "other JSON": (text("{}"), "key 'format' not found"),
    "no object": (edited("model", 7), "(/model) cannot use at() with number"),
    "huge batch": (edited("inputs.1.shape.0", 2**62), "which is empty or too large"),
    "huge product": (edited("inputs.1.shape", [2**16] * 5), "which is empty or too large"),
    "number beyond 64 bits": (
        edited("inputs.1.shape.0", 10**30),
        "(/inputs/1/shape/0) must be a whole number, 0 or more",
    ),
    "negative size": (edited("inputs.1.shape.0", -1), "(/inputs/1/shape/0) must be a whole number, 0 or more"),
    "no size": (edited("inputs.1.shape.0", 0), "which is empty or too large"),
    "other axes": (edited("inputs.1.shape", [4, 3]), "expected 5 axes"),
    "other type": (edited("inputs.0.dtype", "int8"), "expected float32 or float16"),
    "frame outside": (edited("slow_frames.0", 16), '"slow_frames" has frame 16 of 16'),
    "clip outside": (edited("row_clips.0", 2**64 - 1), '"row_clips" has clip 18446744073709551615 of'),
    "no rows": (edited("row_clips", []), '"row_clips" is empty'),
    "more rows": (edited("row_clips", [0] * 1000), "boxes.bin: has"),
    "file elsewhere": (edited("clip_files.0", "../slowfast.mindir"), "must be that of a file beside the manifest"),
    "file absent": (edited("clip_files.0", "fast.bin"), "fast.bin: cannot read the file: No such file"),
    "short clip": (resized("fast_*.bin", -1), "bytes, expected 1327104"),
    "long clip": (resized("fast_*.bin", 1), "bytes, expected 1327104"),
    "empty boxes": (lambda folder: (folder / "boxes.bin").write_bytes(b"") and None, "boxes.bin: has 0 bytes"),
    "other model": (edited("model.bytes", 7), "but the inputs were made for a model of 7"),
    "other batch": (edited("output.shape.1", 2), "expected float32 and scores for each box"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_inputs_are_refused(infer: Callable, inputs: Path, tmp_path: Path, case: str) -> None:
    breaking, message = BROKEN[case]
    breaking(inputs)
    assert_refused(infer(env=QUIET), message)
    assert not (tmp_path / "result").exists() or not list((tmp_path / "result").iterdir())


def test_shapes_of_another_model_are_refused(infer: Callable, inputs: Path, runner: Path) -> None:
    manifest = json.loads((inputs / "manifest.json").read_text())
    for entry in (*manifest["inputs"], manifest["output"]):
        entry["shape"][0] = 2
    write_atomic(inputs / "manifest.json", json.dumps(manifest))
    assert_refused(
        infer(program=runner), "slow is float32 2 x 3 x 4 x 72 x 96, but the model takes 4 x 3 x 4 x 72 x 96"
    )


def test_damaged_models_are_refused(infer: Callable, inputs: Path, deployed: dict[str, Path], tmp_path: Path) -> None:
    whole = deployed["mindir"].read_bytes()
    model = tmp_path / "model.mindir"
    model.write_bytes(whole[:-100])
    assert_refused(infer(model), f"model.mindir: has {len(whole) - 100} bytes, but the inputs were made for a model of")
    model.write_bytes(np.random.default_rng(0).bytes(len(whole)))
    assert_refused(infer(model), "model.mindir: the model (MINDIR_V1) cannot be loaded on device CPU")
    assert_refused(infer(tmp_path / "absent.mindir"), "absent.mindir: cannot read the file: No such file")


def test_unwritable_results_are_refused(infer: Callable, inputs: Path, deployed: dict[str, Path]) -> None:
    assert_refused(
        infer(deployed["mindir"], inputs / "manifest.json/result"), "cannot make the folder: Not a directory"
    )


def test_full_disk_is_reported_and_leaves_nothing(infer: Callable, runner: Path, tmp_path: Path) -> None:
    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))

    assert_refused(infer(program=runner, preexec_fn=small_files), "scores.bin: cannot write the file: File too large")
    assert not list((tmp_path / "result").iterdir())


def test_absent_device_is_reported(infer: Callable, deployed: dict[str, Path], tmp_path: Path) -> None:
    done = infer(deployed["mindir"], tmp_path / "result", "--device_type", "Ascend")
    assert_refused(done, "the model (MINDIR_V1) cannot be loaded on device Ascend")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threads"], "--threads needs a value"),
        (["--threads", "many"], "--threads is 'many', expected a number from 0 to 1024"),
        (["--device_id=-1"], "--device_id is '-1', expected a number from 0 to 4095"),
        (["--device_type", "TPU"], "--device_type is 'TPU', expected CPU, Ascend or GPU"),
        (["--batch", "1"], "unknown option --batch"),
    ],
)
def test_wrong_options_are_refused(infer: Callable, tmp_path: Path, options: list[str], message: str) -> None:
    assert_refused(infer(tmp_path, tmp_path, *options, env=QUIET), message)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1), change=st.binary(min_size=0, max_size=4), removed=st.integers(0, 3))
def test_no_manifest_makes_it_crash(
    infer: Callable, shard: Path, inputs: Path, tmp_path: Path, position: float, change: bytes, removed: int
) -> None:
    whole = (shard / "manifest.json").read_bytes()
    at = int(position * len(whole))
    (inputs / "manifest.json").write_bytes(whole[:at] + change + whole[at + removed :])
    done = infer(tmp_path / "absent.mindir", env=QUIET, errors="replace")
    assert not any(report in done.stderr for report in SANITIZER_REPORTS), done.stderr
    assert done.returncode == 2
