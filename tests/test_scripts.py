"""The launchers, with stand-ins for python, mpirun and msrun that record what they are started with."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCHERS = {
    "run_standalone_train.sh": 3,
    "run_standalone_train_ascend.sh": 3,
    "run_standalone_train_gpu.sh": 3,
    "run_standalone_train_cpu.sh": 3,
    "run_standalone_eval.sh": 3,
    "run_standalone_eval_ascend.sh": 4,
    "run_standalone_eval_gpu.sh": 3,
    "run_standalone_eval_cpu.sh": 3,
    "run_distribute_train.sh": 3,
    "run_distribute_train_ascend.sh": 3,
    "run_distribute_train_gpu.sh": 3,
    "run_distribute_train_cpu.sh": 4,
    "run_distribute_eval.sh": 3,
}
# Has MindSpore, when asked. Writes its name, arguments and the environment that launchers set to a file of its own
# in $RECORDS.
STAND_IN = """#!/usr/bin/env bash
if [[ ${1:-} == -c ]]; then exit 0; fi
file=$(mktemp "$RECORDS/XXXXXX")
printf '%s\\0' "$(basename "$0")" "$@" >"$file.arguments"
printf '%s\\0' "RANK_ID=${RANK_ID:-}" "RANK_SIZE=${RANK_SIZE:-}" "DEVICE_ID=${DEVICE_ID:-}" \\
    "RANK_TABLE_FILE=${RANK_TABLE_FILE:-}" >"$file.environment"
echo "said by $(basename "$0")"
exit "${STATUS:-0}"
"""


class Place:
    """A folder with spaces in its name, with stand-ins, a recipe, a data folder and a checkpoint."""

    def __init__(self, root: Path, repository: Path):
        self.root = root / "a place"
        self.scripts = repository / "scripts"
        self.records = self.root / "records"
        self.work = self.root / "work here"
        for folder in (self.records, self.work, self.root / "bin", self.root / "the data"):
            folder.mkdir(parents=True)
        for name in ("python", "mpirun", "msrun"):
            (self.root / "bin" / name).write_text(STAND_IN)
            (self.root / "bin" / name).chmod(0o755)
        self.cfg, self.data, self.ckpt = self.root / "re cipe.yaml", self.root / "the data", self.root / "w 1.ckpt"
        self.cfg.touch()
        self.ckpt.touch()
        self.standard = [str(self.cfg), str(self.data), str(self.ckpt)]

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        path = f"{self.root / 'bin'}:{os.environ['PATH']}"
        clean = {
            k: v
            for k, v in os.environ.items()
            if k not in ("PYTHON", "DEVICE_ID", "RANK_ID", "RANK_SIZE", "CUDA_VISIBLE_DEVICES")
        }
        settings = {"PATH": path, "RECORDS": str(self.records), "FOREGROUND": "1", **environment}
        return subprocess.run(
            ["bash", str(self.scripts / script), *arguments],
            cwd=self.work,
            env={**clean, **settings},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def calls(self) -> list[tuple[list[str], dict[str, str]]]:
        """Return (name and arguments, environment) of each call, by rank."""
        calls = []
        for path in self.records.glob("*.arguments"):
            environment = path.with_suffix(".environment").read_text().split("\0")[:-1]
            calls.append((path.read_text().split("\0")[:-1], dict(item.split("=", 1) for item in environment)))
        return sorted(calls, key=lambda call: call[1]["RANK_ID"])

    def command(self, name: str, target: str) -> list[str]:
        """Return the arguments that python must be given."""
        group = {"train": "TRAIN", "eval": "TEST"}[name]
        return [
            str(self.scripts.parent / f"{name}.py"),
            "--cfg",
            str(self.cfg),
            "--device_target",
            target,
            "DATA.PATH_TO_DATA_DIR",
            str(self.data),
            f"{group}.CHECKPOINT_FILE_PATH",
            str(self.ckpt),
        ]

    def table(self, servers: dict[str, list[tuple[int, int]]]) -> str:
        """Write an hccl table of (device id, rank) for each server."""
        content = {
            "version": "1.0",
            "server_count": str(len(servers)),
            "server_list": [
                {
                    "server_id": server,
                    "device": [
                        {"device_id": str(device), "device_ip": f"192.98.92.{rank}", "rank_id": str(rank)}
                        for device, rank in devices
                    ],
                }
                for server, devices in servers.items()
            ],
            "status": "completed",
        }
        path = self.root / "hccl table.json"
        path.write_text(json.dumps(content))
        return str(path)


@pytest.fixture
def place(tmp_path: Path, repository: Path) -> Place:
    return Place(tmp_path, repository)


def said(log: Path) -> str:
    """Return what stands in a log below the line that tells whose it is."""
    first, rest = log.read_text().split("\n", 1)
    assert first.startswith("# slowfast: run_")
    return rest


@pytest.mark.parametrize("script", ["run_quickstart.sh", "run_tests.sh", "setup.sh", "prepare_ava.sh", "run_export.sh"])
def test_help_prints_the_usage_and_does_nothing_else(place, script):
    done = place.run(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: bash scripts/{script}" in done.stdout
    assert place.calls() == []


@pytest.mark.parametrize("script", LAUNCHERS)
def test_wrong_usage_prints_the_usage_and_starts_nothing(place, script):
    for arguments in ([], place.standard[: LAUNCHERS[script] - 2]):
        done = place.run(script, *arguments)
        assert done.returncode == 2
        assert f"Usage: bash scripts/{script}" in done.stderr
    assert place.calls() == []
    assert list(place.work.iterdir()) == []


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_path_that_is_not_there_is_named(place, which):
    arguments = list(place.standard)
    arguments[which] += " gone"
    done = place.run("run_standalone_train_cpu.sh", *arguments)
    assert done.returncode == 2
    assert f"error: {arguments[which]}: no such" in done.stderr
    assert place.calls() == []


@pytest.mark.parametrize(
    ("script", "name", "target", "log"),
    [
        ("run_standalone_train_ascend.sh", "train", "Ascend", "log_standalone_ascend"),
        ("run_standalone_train_gpu.sh", "train", "GPU", "log_standalone_gpu"),
        ("run_standalone_train_cpu.sh", "train", "CPU", "log_standalone_cpu"),
        ("run_standalone_eval_gpu.sh", "eval", "GPU", "log_eval_gpu"),
        ("run_standalone_eval_cpu.sh", "eval", "CPU", "log_eval_cpu"),
    ],
)
def test_one_device_gets_config_data_checkpoint_and_overrides(place, script, name, target, log):
    done = place.run(script, *place.standard, "SOLVER.MAX_EPOCH", "3", DEVICE_ID="2")
    assert done.returncode == 0, done.stderr
    ((arguments, environment),) = place.calls()
    assert arguments == ["python", *place.command(name, target), "SOLVER.MAX_EPOCH", "3"]
    assert (environment["RANK_SIZE"], environment["RANK_ID"], environment["DEVICE_ID"]) == ("1", "0", "2")
    assert said(place.work / log) == "said by python\n"
    assert f"log {log}" in done.stdout


def test_evaluation_on_ascend_takes_the_device_as_its_fourth_argument(place):
    assert place.run("run_standalone_eval_ascend.sh", *place.standard, "5", "TEST.BATCH_SIZE", "4").returncode == 0
    ((arguments, environment),) = place.calls()
    assert arguments == ["python", *place.command("eval", "Ascend"), "TEST.BATCH_SIZE", "4"]
    assert environment["DEVICE_ID"] == "5"
    assert (place.work / "log_eval_ascend").is_file()
    assert place.run("run_standalone_eval_ascend.sh", *place.standard, "five").returncode == 2


@pytest.mark.parametrize(
    "script", ["run_distribute_train_ascend.sh", "run_distribute_train.sh", "run_distribute_eval.sh"]
)
def test_a_rank_table_gives_each_process_its_rank_and_device(place, script):
    name = "eval" if "eval" in script else "train"
    table = place.table({"10.0.0.1": [(4, 0), (6, 1), (7, 2)]})
    done = place.run(script, table, *place.standard)
    assert done.returncode == 0, done.stderr
    calls = place.calls()
    assert [arguments for arguments, _ in calls] == [["python", *place.command(name, "Ascend")]] * 3
    assert [(e["RANK_ID"], e["DEVICE_ID"], e["RANK_SIZE"]) for _, e in calls] == [
        ("0", "4", "3"),
        ("1", "6", "3"),
        ("2", "7", "3"),
    ]
    assert {e["RANK_TABLE_FILE"] for _, e in calls} == {table}
    for rank in range(3):
        assert said(place.work / f"{name}_parallel{rank}" / "log") == "said by python\n"


def test_of_a_table_of_two_machines_only_this_ones_devices_are_started(place):
    table = place.table({"10.0.0.1": [(0, 0), (1, 1)], "10.0.0.2": [(0, 2), (1, 3)]})
    done = place.run("run_distribute_train_ascend.sh", table, *place.standard, SERVER_ID="10.0.0.2")
    assert done.returncode == 0, done.stderr
    assert [(e["RANK_ID"], e["DEVICE_ID"], e["RANK_SIZE"]) for _, e in place.calls()] == [
        ("2", "0", "4"),
        ("3", "1", "4"),
    ]
    done = place.run("run_distribute_train_ascend.sh", table, *place.standard, SERVER_ID="10.0.0.9")
    assert done.returncode == 2
    assert "10.0.0.1, 10.0.0.2" in done.stderr


def test_a_damaged_table_is_named(place):
    table = Path(place.table({"10.0.0.1": [(0, 0)]}))
    table.write_text(table.read_text()[:40])
    done = place.run("run_distribute_train_ascend.sh", str(table), *place.standard)
    assert done.returncode == 2
    assert f"error: {table}: not a rank table" in done.stderr
    assert place.calls() == []


@pytest.mark.parametrize(
    ("script", "before", "name", "target", "log"),
    [
        ("run_distribute_train_cpu.sh", ["3"], "train", "CPU", "log_distributed_cpu"),
        ("run_distribute_train.sh", ["3"], "train", "CPU", "log_distributed_cpu"),
        ("run_distribute_train_ascend.sh", [], "train", "Ascend", "log_distributed_ascend"),
        ("run_distribute_eval.sh", ["3"], "eval", "CPU", "log_distributed_eval_cpu"),
    ],
)
def test_msrun_gets_the_workers_and_the_script(place, script, before, name, target, log):
    done = place.run(script, *before, *place.standard, DEVICE_NUM="3")
    assert done.returncode == 0, done.stderr
    ((arguments, _),) = place.calls()
    options, command = arguments[:8], arguments[8:]
    assert options[:4] == ["msrun", "--worker_num=3", "--local_worker_num=3", "--master_addr=127.0.0.1"]
    assert options[4].startswith("--master_port=")
    assert options[5:] == ["--node_rank=0", f"--log_dir={name}_parallel", "--join=True"]
    assert command == place.command(name, target)
    assert said(place.work / log) == "said by msrun\n"


def test_msrun_over_machines_gets_their_number_and_the_master(place):
    machines = {"NODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "9000"}
    assert place.run("run_distribute_train_cpu.sh", "3", *place.standard, **machines).returncode == 0
    ((arguments, _),) = place.calls()
    assert arguments[1:6] == [
        "--worker_num=6",
        "--local_worker_num=3",
        "--master_addr=10.0.0.1",
        "--master_port=9000",
        "--node_rank=1",
    ]


@pytest.mark.parametrize(
    ("script", "name", "log"),
    [
        ("run_distribute_train_gpu.sh", "train", "log_distributed_gpu"),
        ("run_distribute_train.sh", "train", "log_distributed_gpu"),
        ("run_distribute_eval.sh", "eval", "log_distributed_eval_gpu"),
    ],
)
def test_mpirun_gets_a_process_for_each_visible_gpu(place, script, name, log):
    done = place.run(script, *place.standard, CUDA_VISIBLE_DEVICES="0,2,5,6")
    assert done.returncode == 0, done.stderr
    ((arguments, _),) = place.calls()
    assert arguments[0] == "mpirun"
    assert arguments[arguments.index("-n") + 1] == "4"
    assert arguments[arguments.index("python") :] == ["python", *place.command(name, "GPU")]
    assert said(place.work / log) == "said by mpirun\n"


def test_without_devices_the_launcher_says_how_to_name_them(place):
    done = place.run("run_distribute_train_gpu.sh", *place.standard)
    assert done.returncode == 2
    assert "set DEVICE_NUM" in done.stderr


def test_without_mpirun_the_launcher_says_what_is_missing(place):
    (place.root / "bin/mpirun").unlink()
    for tool in ("bash", "dirname", "realpath"):
        (place.root / "bin" / tool).symlink_to(shutil.which(tool))
    done = place.run("run_distribute_train_gpu.sh", *place.standard, DEVICE_NUM="2", PATH=str(place.root / "bin"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: there is no mpirun; several GPUs need Open MPI\n"
    assert list(place.work.iterdir()) == []


@pytest.mark.parametrize("script", ["run_standalone_train.sh", "run_standalone_eval.sh"])
def test_short_names_run_on_what_there_is(place, script):
    assert place.run(script, *place.standard).returncode == 0
    ((arguments, _),) = place.calls()
    assert arguments[0] == "python"
    assert "--device_target" in arguments


def test_a_file_that_is_no_log_of_ours_is_kept(place):
    log = place.work / "log_standalone_cpu"
    arguments = [str(place.cfg), str(place.data), str(place.ckpt)]
    for _ in range(2):
        assert place.run("run_standalone_train_cpu.sh", *arguments).returncode == 0
    log.write_text("mine\n")
    done = place.run("run_standalone_train_cpu.sh", *arguments)
    assert done.returncode == 2
    assert "log_standalone_cpu: is there, but is not a log of this script" in done.stderr
    assert log.read_text() == "mine\n"


def test_a_failing_run_gives_its_status_in_the_foreground(place):
    for script, before in (("run_standalone_train_cpu.sh", []), ("run_distribute_train_cpu.sh", ["2"])):
        assert place.run(script, *before, *place.standard, STATUS="7").returncode == 7
    table = place.table({"10.0.0.1": [(0, 0), (1, 1)]})
    assert place.run("run_distribute_train.sh", table, *place.standard, STATUS="7").returncode == 7


def test_a_launcher_that_is_not_installed_is_a_failure(place):
    (place.root / "bin" / "msrun").unlink()
    done = place.run("run_distribute_train_cpu.sh", "2", *place.standard, PATH=f"{place.root / 'bin'}:/usr/bin:/bin")
    assert done.returncode == 127
    assert "msrun: command not found" in (place.work / "log_distributed_cpu").read_text()


def test_in_the_background_the_process_id_is_printed_and_the_launcher_ends(place):
    done = place.run("run_standalone_train_cpu.sh", *place.standard, STATUS="7", FOREGROUND="0")
    assert done.returncode == 0
    assert done.stdout.startswith("process ")
    assert int(done.stdout.split()[1].rstrip(",")) > 1


@pytest.mark.parametrize("script", LAUNCHERS)
def test_a_dry_run_prints_the_command_and_starts_nothing(place, script):
    before = ["2"] if script == "run_distribute_train_cpu.sh" else []
    after = ["0"] if script == "run_standalone_eval_ascend.sh" else []
    done = place.run(script, *before, *place.standard, *after, DRY_RUN="1", DEVICE_NUM="2")
    assert done.returncode == 0, done.stderr
    assert "re\\ cipe.yaml" in done.stdout
    assert place.calls() == []
    assert list(place.work.iterdir()) == []


def test_python_names_the_interpreter_of_every_program(place):
    chosen = place.root / "chosen" / "python3.10"
    chosen.parent.mkdir()
    chosen.write_text(STAND_IN)
    chosen.chmod(0o755)
    launches = {
        "run_standalone_train_cpu.sh": place.standard,
        "run_distribute_eval.sh": place.standard,
        "run_export.sh": place.standard[::2],
        "prepare_ava.sh": ["films"],
    }
    for script, arguments in launches.items():
        done = place.run(script, *arguments, PYTHON="../chosen/python3.10", DEVICE_NUM="1")
        assert done.returncode == 0, done.stderr
    programs = [next(word for word in call if "python" in word) for call, _ in place.calls()]
    assert sorted(Path(program).name for program in programs) == ["python3.10"] * 4


def test_an_interpreter_that_is_not_there_is_named(place):
    done = place.run("run_export.sh", *place.standard[::2], PYTHON="python9")
    assert (done.returncode, done.stderr) == (2, "error: PYTHON=python9: no such interpreter\n")


def test_without_mindspore_the_launcher_says_how_to_get_it(place, tmp_path):
    """A checkout that was not set up, on a machine whose python lacks MindSpore."""
    checkout = tmp_path / "checkout" / "scripts"
    shutil.copytree(place.scripts, checkout)
    (place.root / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    place.scripts = checkout
    done = place.run("run_export.sh", *place.standard[::2])
    assert done.returncode == 2
    assert "no python here has MindSpore; run bash scripts/setup.sh" in done.stderr


def test_the_quickstart_goes_on_with_the_checkpoint_that_its_run_wrote(place):
    """Whatever else lies beside it, and however new that is."""
    folder = place.work / "quick start"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "slowfast-9_9.ckpt").write_text("mine")
    (folder / "checkpoints" / "run.json").write_text('{"checkpoints": [{"name": "slowfast-1_7.ckpt"}]}')
    stand_in = STAND_IN.replace("exit 0", f'exec "{sys.executable}" "$@"', 1)
    (place.root / "bin" / "python").write_text(stand_in)
    done = place.run("run_quickstart.sh", str(folder), PYTHON=str(place.root / "bin" / "python"))
    assert done.returncode == 0, done.stderr
    named = [word for call, _ in place.calls() for word in call if word.endswith(".ckpt")]
    assert named == [str(folder / "checkpoints" / "slowfast-1_7.ckpt")] * 2


def test_scripts_pass_shellcheck(repository):
    scripts = sorted(str(path.relative_to(repository)) for path in (repository / "scripts").glob("*.sh"))
    done = subprocess.run(["shellcheck", "-x", *scripts], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
