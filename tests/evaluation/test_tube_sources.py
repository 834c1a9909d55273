"""Tubes from the files that communities exchange, scored by the command line."""

import csv
import json
import pickle
import subprocess
import sys
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from src.ava.tube_files import UCF101_24_CLASSES, read_tube_annotations
from src.evaluation.tube_sources import Account, TubeTruth, read_found, tables
from src.utils.errors import UserError

LABELS = ["run", "walk"]
RUN = np.array([[frame, 10.0 + frame, 20.0, 49.0 + frame, 99.0] for frame in range(1, 11)])
WALK = np.array([[frame, 100.0, 20.0, 139.0, 99.0] for frame in range(3, 9)])


def annotations(**changes) -> dict:
    """Two videos of 12 frames of 320 x 240: one to train on, one to test on."""
    return {
        "labels": LABELS,
        "gttubes": {"run/v1": {0: [RUN]}, "walk/v2": {0: [RUN], 1: [WALK]}},
        "nframes": {"run/v1": 12, "walk/v2": 12},
        "resolution": {"run/v1": (240, 320), "walk/v2": (240, 320)},
        "train_videos": [["run/v1"], ["walk/v2"]],
        "test_videos": [["walk/v2"], ["run/v1"]],
        **changes,
    }


def detections() -> dict:
    """The walk as it is, the run with half of its height, and something that nobody does."""
    half = RUN.copy()
    half[:, 4] = 59.0
    scored = [np.concatenate([rows, np.full((len(rows), 1), 0.5)], axis=1) for rows in (half, WALK)]
    return {0: [("walk/v2", 0.9, scored[0])], 1: [("walk/v2", 0.8, scored[1]), ("walk/v2", 0.95, scored[0])]}


def write(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def score(repository, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "src.evaluation", "tubes", *map(str, arguments)]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_gttubes_are_read(tmp_path, protocol):
    result = read_tube_annotations(write(tmp_path / "GT.pkl", annotations(), protocol))
    assert result.labels == ("run", "walk")
    assert result.test_videos == [("walk/v2",), ("run/v1",)]
    assert result.sizes == {"run/v1": (320, 240), "walk/v2": (320, 240)}
    tube = result.tubes[2]
    assert (tube.video, tube.label, tube.frames.tolist()) == ("walk/v2", 1, [2, 3, 4, 5, 6, 7])
    assert tube.boxes[0].tolist() == [100.0, 20.0, 139.0, 99.0]


def test_pyannot_is_read(tmp_path):
    boxes = np.array([[10, 20, 30, 40], [11, 20, 30, 40]], np.int16)
    entry = {"annotations": [{"label": 2, "sf": 63, "ef": 65, "boxes": boxes}], "numf": 100, "label": 2}
    result = read_tube_annotations(write(tmp_path / "pyannot.pkl", {"Biking/v_Biking_g01_c01": entry}, 2))
    (tube,) = result.tubes
    assert result.labels[tube.label] == "Biking"
    assert tube.frames.tolist() == [63, 64]
    assert tube.boxes.tolist() == [[10, 20, 40, 60], [11, 20, 41, 60]]
    assert result.sizes == {"Biking/v_Biking_g01_c01": (320, 240)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": LABELS}, "holds neither 'labels' and 'gttubes'"),
        ([1], "holds neither"),
        (annotations(gttubes={"v": {2: [RUN]}}), "GT.pkl: v: label 2 is none of the 2 labels, from 0"),
        (annotations(gttubes={"v": {0: [RUN[:, :4]]}}), "v, run, tube 0: expected an array of rows frame, x1"),
        (annotations(gttubes={"v": {0: [RUN[::-1]]}}), "v, run, tube 0: its frames do not rise"),
        (annotations(gttubes={"v": {0: RUN}}), "GT.pkl: v, label 0: expected a list"),
        (annotations(gttubes={"v": {0: [RUN * np.nan]}}), "tube 0: expected an array"),
        (annotations(resolution={"v": (240,)}), "resolution of v: expected height and width"),
        (
            {"v": {"annotations": [{"label": 1, "sf": 0, "ef": 3, "boxes": np.ones((2, 4))}], "numf": 9}},
            "v, annotation 0: has 2 boxes for the frames 0 to 2",
        ),
        ({"v": {"annotations": [{"label": 24, "sf": 0, "ef": 1, "boxes": np.ones((1, 4))}], "numf": 9}}, "label is 24"),
    ],
)
def test_what_cannot_be_is_named(tmp_path, content, message):
    with pytest.raises(UserError) as caught:
        read_tube_annotations(write(tmp_path / "GT.pkl", content))
    assert message in str(caught.value)
    assert str(tmp_path / "GT.pkl") in str(caught.value)


def test_nothing_in_a_pickle_is_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return print, ("boom",)

    with pytest.raises(UserError, match=r"refused: it holds 'builtins.print'"):
        read_tube_annotations(write(tmp_path / "GT.pkl", Bomb()))


def test_pickles_are_scored(repository, tmp_path):
    truth, found = write(tmp_path / "GT.pkl", annotations()), write(tmp_path / "det.pkl", detections())
    options = ["--groundtruth", truth, "--detections", found, "--json", tmp_path / "out.json"]
    done = score(repository, *options, "--iou", "0.5", "0.51")
    assert (done.returncode, done.stderr) == (0, "")
    values = json.loads((tmp_path / "out.json").read_text())
    # Of the run's height of 80 pixels the detection has 40: 0.5 with the added pixel, 0 above.
    assert values["classes"]["run"] == {
        "frame@0.5": 1.0,
        "video@0.5": 1.0,
        "video@0.51": 0.0,
        "video@0.5:0.95": 0.1,
        "tubes": 1,
    }
    # Wrong, then right: from (0, 0) to (1, 1/2).
    assert values["classes"]["walk"]["video@0.5"] == 0.25
    assert values["mAP"]["video@0.5"] == 0.625
    assert "2 tubes of 1 videos, 3 detected; protocol ucf101-24." in done.stdout
    done = score(repository, *options, "--protocol", "multisports")
    values = json.loads((tmp_path / "out.json").read_text())
    assert values["classes"]["run"]["video@0.5"] == 0.0  # 39 of 79
    assert values["classes"]["walk"]["video@0.2"] == 0.5
    assert values["classes"]["walk"]["video@0.1:0.9"] == 0.5
    done = score(repository, *options, "--split", "2")
    assert "note: 3 tubes are left out: of videos that the ground truth lacks, or that do not count" in done.stderr
    assert "note: there is no detected tube" in done.stderr
    (tmp_path / "videos.txt").write_text("walk/v2\n\nwalk/v9\n")
    done = score(repository, *options, "--videos", tmp_path / "videos.txt")
    assert done.stderr == "note: 1 videos that are to count are not in the ground truth\n"
    assert score(repository, *options, "--split", "3").stderr.endswith("GT.pkl: has 2 splits, but --split is 3\n")


def test_the_rare_classes_of_multisports_do_not_count(repository, tmp_path):
    content = annotations(labels=["run", "basketball save"])
    truth, found = write(tmp_path / "GT.pkl", content), write(tmp_path / "det.pkl", detections())
    options = ["--groundtruth", truth, "--detections", found, "--protocol", "multisports", "--iou", "0.2"]
    lines = score(repository, *options).stdout.splitlines()
    assert lines[2].split(None, 3)[3] == "left out, as MultiSports' evaluation does"
    # Of the run, 39 of 79 pixels: enough for 0.2.
    assert lines[3].split()[:4] == ["mAP", "1", "0.0000", "1.0000"]


def crowd() -> tuple[dict, dict]:
    """Tubes that move through eight videos, and detections of them that are shifted, cut, or of another class."""
    rng = np.random.default_rng(0)
    videos, names = [f"kind/v{number}" for number in range(8)], ["run", "walk", "basketball save"]
    truth, found = {video: {} for video in videos}, {label: [] for label in range(3)}
    for video in videos:
        for label in rng.integers(0, 3, 5).tolist():
            frames = np.arange(rng.integers(1, 60), 100)[: rng.integers(10, 40)]
            corner = rng.uniform(0, 150, 2) + rng.normal(0, 1, 2) * (frames - frames[0])[:, None]
            tube = np.column_stack([frames, corner, corner + rng.uniform(20, 90, 2)])
            truth[video].setdefault(label, []).append(tube)
            for _ in range(rng.integers(0, 4)):
                rows = tube[rng.integers(0, 5) : len(tube) - rng.integers(0, 5)].copy()
                rows[:, 1:] += rng.normal(0, 6, 4)
                rows = np.column_stack([rows, rng.uniform(size=len(rows))])
                found[label if rng.random() < 0.8 else 1 - label % 2].append((video, rng.uniform(), rows))
    content = annotations(labels=names, gttubes=truth, nframes={}, test_videos=[videos])
    return content | {"resolution": dict.fromkeys(videos, (240, 320))}, found


# What the authors' own programs print for `crowd`: evaluate_multisports.py of MultiSports, and ACT.py as MOC carries it
# on, its suppression of tubes left out. ACT's curves are float32.
AUTHORS = {
    "multisports": ([0.2640887296926, 0.2918408388997, 0.1546108861898, 0.0275490007069], 1e-12),
    "ucf101-24": ([0.306583673, 0.317399710, 0.190419316, 0.049184254], 1e-6),
}


@pytest.mark.parametrize("protocol", AUTHORS)
def test_the_scores_are_those_of_the_authors_programs(repository, tmp_path, protocol):
    annotated, detected = crowd()
    truth, found = write(tmp_path / "GT.pkl", annotated), write(tmp_path / "det.pkl", detected)
    options = ["--groundtruth", truth, "--detections", found, "--protocol", protocol, "--iou", "0.2", "0.5"]
    assert score(repository, *options, "--json", tmp_path / "out.json").returncode == 0
    means = json.loads((tmp_path / "out.json").read_text())["mAP"]
    expected, tolerance = AUTHORS[protocol]
    values = [means[name] for name in ("frame@0.5", "video@0.2", "video@0.5", "video@0.5:0.95")]
    np.testing.assert_allclose(values, expected, rtol=0, atol=tolerance)


def lines(rows: list[tuple]) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def labelmap(folder: Path) -> Path:
    (folder / "map.pbtxt").write_text('item { name: "walk" id: 3 }\nitem { name: "run" id: 7 }\n')
    return folder / "map.pbtxt"


BOX = (0.1, 0.1, 0.5, 0.5)


def test_rows_with_identities_are_tubes_and_a_gap_ends_one(repository, tmp_path):
    rows = [("v", f"{second:04d}", *BOX, 3, 0) for second in (902, 903, 904, 908, 909)]
    rows += [("v", "0902", *BOX, 7, 0), ("v", "0903", *BOX, -1, 1), ("v", "0902", *BOX, 5, 0)]
    (tmp_path / "gt.csv").write_text(lines(rows))
    # The first walk lacks its middle second; the second is longer than the true one.
    found = [("v", second, *BOX, 3, 0.9, "a") for second in (902, 904)]
    found += [("v", second, *BOX, 3, 0.8, "b") for second in (908, 909, 910)]
    found += [("v", 902, *BOX, 5, 0.8, "c")]
    (tmp_path / "det.csv").write_text(lines(found))
    options = ["--groundtruth", tmp_path / "gt.csv", "--detections", tmp_path / "det.csv"]
    options += ["--labelmap", labelmap(tmp_path), "--json", tmp_path / "out.json", "--iou", "0.6", "0.7"]
    done = score(repository, *options)
    assert done.returncode == 0, done.stderr
    values = json.loads((tmp_path / "out.json").read_text())["classes"]
    assert values["walk"]["tubes"] == 2
    assert (values["walk"]["video@0.6"], values["walk"]["video@0.7"]) == (1.0, 0.5)
    assert values["run"]["video@0.6"] == 0.0
    assert "note: 1 tubes are left out: of class id 5, which the ground truth lacks" in done.stderr
    assert "note: 1 of 6 boxes of the detections are interpolated" in done.stderr
    assert "note: boxes are shares of the frame" in done.stderr
    assert "note: 1 frames make a second, by the smallest step of the ground truth (--fps)\n" in done.stderr


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        ("v,1,0,0,1,1,3\n", "v,1,0,0,1,1,3,0.9,a\n", "gt.csv: row 1: has no person id"),
        ("v,1,0,0,1,1,3,0\nv,1,0,0,1,0.5,3,0\n", "", "gt.csv: row 2: person 0 has another box at this second"),
        ("v,1,0,0,1,1,3,0\n", "", "gt.csv: nobody is seen twice: say how many frames make a second (--fps)"),
        ("v,1,0,0,1,1,3,0\nv,2,0,0,1,1,3,0\n", "v,1,0,0,1,1,3,0.9\n", "det.csv: row 1: 8 columns, expected 9"),
        (
            "v,1,0,0,1,1,3,0\nv,2,0,0,1,1,3,0\n",
            "v,1,0,0,1,1,3,0.9,a\nv,1.2,0,0,1,1,3,0.9,a\n",
            "det.csv: v, tube a: two boxes stand for one frame at 1 frames a second",
        ),
    ],
)
def test_mistakes_end_with_one_line(repository, tmp_path, truth, found, message):
    (tmp_path / "gt.csv").write_text(truth)
    (tmp_path / "det.csv").write_text(found)
    options = ["--groundtruth", tmp_path / "gt.csv", "--detections", tmp_path / "det.csv"]
    done = score(repository, *options, "--labelmap", labelmap(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


def test_what_predict_wrote_is_scored(repository, tmp_path):
    (tmp_path / "tracks.csv").write_text(
        "video,second,track,x1,y1,x2,y2,score\n"
        "v2,0.080,4,0.31250,0.08333,0.43750,0.41667,0.9\nv2,0.280,4,0.31250,0.08333,0.43750,0.41667,0.9\n"
    )
    action = {"class_id": 9, "class": "walk", "start": 0.05, "end": 0.31, "score": 0.7}
    persons = [{"track": 4, "actions": [action, {**action, "class": "swim"}]}]
    (tmp_path / "actions.json").write_text(json.dumps({"videos": [{"video": "v2", "persons": persons}]}))
    truth = write(tmp_path / "GT.pkl", annotations())
    options = ["--groundtruth", truth, "--detections", tmp_path, "--json", tmp_path / "out.json", "--iou", "0.9"]
    assert score(repository, *options).stderr.endswith("say how many make a second (--fps)\n")
    done = score(repository, *options, "--fps", "25")
    # Frames 2 to 7 of 25 a second, as annotated, and the boxes that annotation gives to a pixel: 40 x 80 of 41 x 81.
    assert json.loads((tmp_path / "out.json").read_text())["classes"]["walk"]["video@0.9"] == 1.0
    assert "note: 1 tubes are left out: of the class 'swim', which the ground truth lacks" in done.stderr
    assert "note: 4 of 6 boxes of the detections are interpolated" in done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"end": 1e15}, "frames apart, expected at most 5000000"),
        ({"end": -1e18}, "frames apart, expected at most 5000000"),
        ({"start": "nan"}, "persons.0.actions.0.start: Input should be a finite number"),
        ({"class": {}}, "persons.0.actions.0.class: Input should be a valid string"),
    ],
)
def test_actions_that_cannot_be_are_refused(tmp_path, change, message):
    (tmp_path / "tracks.csv").write_text("v,0.1,4,0.3,0.1,0.4,0.4,0.9\nv,0.2,4,0.3,0.1,0.4,0.4,0.9\n")
    action = {"class": "walk", "start": 0.1, "end": 0.2, "score": 0.7} | change
    persons = [{"track": 4, "actions": [action]}]
    (tmp_path / "actions.json").write_text(json.dumps({"videos": [{"video": "v", "persons": persons}]}))
    truth = TubeTruth({1: "walk"}, [], ("v",), {}, Fraction(25))
    with pytest.raises(UserError, match=message):
        read_found(tmp_path, truth, Account())


def test_boxes_of_a_tube_days_apart_are_a_slip(tmp_path):
    path = tmp_path / "det.csv"
    path.write_text("v,1,0,0,1,1,1,0.9,4\nv,9999999,0,0,1,1,1,0.9,4\n")
    truth = TubeTruth({1: "walk"}, [], ("v",), {}, Fraction(25))
    with pytest.raises(UserError, match=r"tube 4: begins and ends 2.5e\+08 frames apart"):
        tables(truth, read_found(path, truth, Account()), Account())


def test_tubes_of_one_score_share_a_rank_whatever_their_lengths(tmp_path):
    """The mean of seven times 0.9 is above 0.9 as floats are added."""
    path = tmp_path / "det.csv"
    path.write_text("".join(f"v,{frame},0,0,1,1,1,0.9,{tube}\n" for tube in (3, 7, 10) for frame in range(tube)))
    truth = TubeTruth({1: "walk"}, [], ("v",), {}, Fraction(1))
    _, found = tables(truth, read_found(path, truth, Account()), Account())
    assert found.score.tolist() == [0.9, 0.9, 0.9]


def test_real_annotations_of_ucf101_score_one_against_themselves(repository, shared_dir, tmp_path):
    """Nine clips, 1,896 boxes; as pyannot.pkl counts frames and measures boxes."""
    tubes = defaultdict(list)
    with (shared_dir / "data/ucf24/boxes.csv").open() as file:
        for row in csv.DictReader(file):
            corners = [float(row[key]) for key in ("x1", "y1", "x2", "y2")]
            tubes[row["video"], int(row["class0"]), row["tube"]].append((int(row["frame0"]), *corners))
    content, rows = {}, []
    for (video, label, tube), sightings in tubes.items():
        frames = np.array([frame for frame, *_ in sightings])
        boxes = np.rint(np.array([box for _, *box in sightings]) * [320, 240, 320, 240])
        name = f"{UCF101_24_CLASSES[label]}/{video}"
        entry = content.setdefault(name, {"annotations": [], "numf": 400, "label": label})
        boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.int16)
        assert (np.diff(frames) == 1).all()
        entry["annotations"].append({"label": label, "sf": int(frames[0]), "ef": int(frames[-1]) + 1, "boxes": boxes})
        rows += [(video, frame / 25, *box, label + 1, 0.9, tube) for frame, *box in sightings]
    (tmp_path / "det.csv").write_text(lines(rows))
    truth = write(tmp_path / "pyannot.pkl", content, 2)
    options = ["--groundtruth", truth, "--detections", tmp_path / "det.csv", "--fps", "25"]
    done = score(repository, *options, "--iou", "0.9", "--json", tmp_path / "out.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "out.json").read_text())["mAP"] == {
        "frame@0.5": 1.0,
        "video@0.9": 1.0,
        "video@0.5:0.95": 1.0,
    }
