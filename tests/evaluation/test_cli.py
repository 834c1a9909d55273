"""The command line of the metric: run as users run it once, else in this process."""

import json
import re
import subprocess
import sys

import pytest

from src.evaluation.__main__ import main
from src.utils.errors import run_main
from src.utils.outputs import OutputFiles

TRUTH = "v,0902,0.1,0.1,0.5,0.5,1,0\nv,0903,0.1,0.1,0.5,0.5,1,0\n"
FOUND = "v,0902,0.1,0.1,0.5,0.5,1,0.9\nv,0903,0.6,0.6,0.9,0.9,1,0.8\nv,0903,0.1,0.1,0.5,0.4,1,0.7\n"
LABELS = 'item { name: "walk" id: 1 }\nitem { name: "run" id: 2 }\n'


@pytest.fixture
def files(tmp_path):
    paths = {"groundtruth": "gt.csv", "detections": "det.csv", "labelmap": "map.pbtxt"}
    for name, content in zip(paths.values(), (TRUTH, FOUND, LABELS), strict=True):
        (tmp_path / name).write_text(content)
    return {option: tmp_path / name for option, name in paths.items()}


def arguments(files, *more):
    return [*(text for option, path in files.items() for text in (f"--{option}", str(path))), *map(str, more)]


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs the command in this process and tells how it ended."""

    def ran(files, *more):
        monkeypatch.setattr(sys, "argv", ["evaluation", *arguments(files, *more)])
        status = run_main(main)
        return subprocess.CompletedProcess(sys.argv, status, *capsys.readouterr())

    return ran


def test_prints_the_table_and_writes_full_precision(repository, files, tmp_path):
    command = [sys.executable, "-m", "src.evaluation", *arguments(files, "--json", tmp_path / "out/metric.json")]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.splitlines()
    assert table == [
        "'PascalBoxes_PerformanceByCategory/AP@0.5IOU/run': no ground truth",
        "'PascalBoxes_PerformanceByCategory/AP@0.5IOU/walk': 0.8333333333333333",
        "'PascalBoxes_Precision/mAP@0.5IOU': 0.8333333333333333",
    ]
    assert re.fullmatch(r"AVA eval done in \d+\.\d\d seconds\.", last)
    assert json.loads((tmp_path / "out/metric.json").read_text()) == {
        "PascalBoxes_Precision/mAP@0.5IOU": 0.8333333333333333,
        "PascalBoxes_PerformanceByCategory/AP@0.5IOU/walk": 0.8333333333333333,
        "PascalBoxes_PerformanceByCategory/AP@0.5IOU/run": None,
    }


def test_options_reach_the_metric(run, files, tmp_path):
    (tmp_path / "excluded.csv").write_text("v,0902\n")
    out = tmp_path / "metric.json"
    options = ["--exclusions", tmp_path / "excluded.csv", "--order", "input", "--iou", "0.5", "0.8", "--json", out]
    assert run(files, *options).returncode == 0
    values = json.loads(out.read_text())
    assert values["PascalBoxes_Precision/mAP@0.5IOU"] == 0.5
    assert values["PascalBoxes_Precision/mAP@0.8IOU"] == 0.0


@pytest.mark.parametrize("command", [[], ["compare"]])
def test_detections_of_other_classes_are_refused_with_both_lists(run, files, tmp_path, command):
    """Their own label map lies beside them, as eval.py writes it."""
    (tmp_path / "det.pbtxt").write_text(LABELS.replace("run", "sit"))
    if command:
        options = [*command, files["detections"], files["detections"]]
        options += ["--groundtruth", files["groundtruth"], "--labelmap", files["labelmap"]]
        done = run({}, *options)
    else:
        done = run(files)
    lists = f"its classes are 1 walk, 2 sit; {tmp_path / 'map.pbtxt'} has 1 walk, 2 run; scores would be told under"
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: {tmp_path / 'det.csv'}: {lists} wrong names\n" == done.stderr


def test_report_is_written(run, files, tmp_path):
    done = run(files, "--report", tmp_path / "report", "--iou", "0.5", "0.75")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"report: {tmp_path / 'report' / 'index.html'}\n")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        ".slowfast_outputs.json",
        "average_precision.png",
        "dap.png",
        "errors.png",
        "index.html",
        "precision_recall.png",
        "scores.png",
    ]


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("detections", FOUND + "v,0903,0.1\n", "det.csv: row 4: 3 columns, expected 8"),
        ("detections", "v,0902,0.1,0.1,0.5,0.5,1,high\n", "det.csv: row 1: score is 'high'"),
        ("detections", "v,0902,0.1,0.1,nan,0.5,1,0.5\n", "det.csv: row 1: x2 is 'nan'"),
        ("detections", "", "det.csv: the file is empty"),
        ("groundtruth", "", "gt.csv: the file is empty"),
        ("groundtruth", "v,0902,0.1,0.1,0.5,0.5\n", "gt.csv: row 1: 6 columns"),
        ("labelmap", "", "map.pbtxt: the label map has no items"),
    ],
)
def test_bad_input_ends_with_one_line_and_status_2(run, files, tmp_path, option, content, message):
    files[option].write_text(content)
    done = run(files, "--json", tmp_path / "metric.json", "--report", tmp_path / "report")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "metric.json").exists()
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("option", ["groundtruth", "detections", "labelmap"])
def test_folder_instead_of_a_file_is_refused(run, files, tmp_path, option):
    done = run({**files, option: tmp_path})
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert str(tmp_path) in done.stderr
    assert "directory" in done.stderr


def test_output_that_cannot_be_written_is_refused(run, files, tmp_path):
    done = run(files, "--json", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    done = run(files, "--report", files["labelmap"])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "map.pbtxt: cannot write" in done.stderr


def test_results_do_not_replace_what_was_scored(run, files, tmp_path):
    with OutputFiles(tmp_path).replacing("own.csv") as path:  # of this program, as eval.py's detections are
        path.write_text(FOUND)
    files["detections"] = tmp_path / "own.csv"
    done = run(files, "--json", tmp_path / "." / "own.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--json {tmp_path / 'own.csv'}: would replace an input" in done.stderr
    assert (tmp_path / "own.csv").read_text() == FOUND


def test_iou_must_be_above_0_and_at_most_1(run, files):
    assert run(files, "--iou", "0").returncode == 2
    assert run(files, "--iou", "1.5").returncode == 2


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        (
            TRUTH.replace("v,", "v.mp4,"),
            FOUND,
            "warning: video names that differ by a suffix only: 1 of 1 (v.mp4 and v)",
        ),
        ("v,0902,16,9,80,86,1,0\n", FOUND, "warning: boxes of the ground truth in pixels: 1 of 1 (v,0902: 16 9 80 86)"),
        (TRUTH, FOUND.replace("090", "000"), "warning: ground truth and detections have no frame in common"),
        (TRUTH, "v,0902,0.1,0.1,0.5,0.5,5,0.9\n", "note: class ids of the detections not in the label map: 1 of 1 (5"),
    ],
)
def test_files_that_do_not_match_are_told_without_a_report(run, files, truth, found, message):
    files["groundtruth"].write_text(truth)
    files["detections"].write_text(found)
    done = run(files)
    assert done.returncode == 0
    assert message in done.stderr
    assert all(line.startswith(("warning: ", "note: ")) for line in done.stderr.splitlines())


def test_class_ids_from_zero_are_refused(run, files):
    files["detections"].write_text(FOUND + "v,0903,0.1,0.1,0.5,0.4,0,0.7\n")
    done = run(files)
    assert done.returncode == 2
    assert "det.csv: row 4: class id is '0'" in done.stderr
    assert "ids count from 1, as in the label map" in done.stderr


def test_the_ground_truth_of_ava_kinetics(run, files):
    """Rows of two fields list frames without boxes, seconds have fractions; frames that are not listed do not count."""
    files["groundtruth"].write_text("v,0902,0.1,0.1,0.5,0.5,1,0\nv,0903\nw,11.5,0.1,0.1,0.5,0.5,1,0\n")
    files["detections"].write_text("x,1,0,0,1,1,1,0.95\nw,11.500000,0.1,0.1,0.5,0.5,1,0.9\nv,903,0,0,1,1,1,0.8\n")
    done = run(files)
    assert "'PascalBoxes_Precision/mAP@0.5IOU': 0.5\n" in done.stdout
