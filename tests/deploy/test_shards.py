"""Shards of inputs and the results of the runner, without the runner."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from fvcore.common.config import CfgNode

from src.ava.label_map import write_label_map
from src.config.custom_config import load_config
from src.datasets.ava_dataset import AvaDataset
from src.deploy.manifest import FileRecord, GraphFile, Manifest, check_dataset, describe_graph, manifest_config
from src.deploy.shards import count_shards, gather_results, run_id, write_shard
from src.utils.errors import UserError

CLIP_BYTES = 3 * 4 * 16 * 24 * 4
BOX_BYTES = 2 * 4 * 4
ROW_SCORES = np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3)


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    """A video of five seconds at two frames a second, with 1, 3, 0, 2 and 1 boxes on them."""
    folder = tmp_path / "data"
    (folder / "ava_annotations").mkdir(parents=True)
    (folder / "frames/v").mkdir(parents=True)
    lines = ["original_vido_id video_id frame_id path labels\n"]
    for frame in range(10):
        image = np.full((32, 48, 3), 20 * frame, np.uint8)
        assert cv2.imwrite(str(folder / f"frames/v/v_{frame:06d}.jpg"), image)
        lines.append(f'v 0 {frame} v/v_{frame:06d}.jpg ""\n')
    (folder / "ava_annotations/val.csv").write_text("".join(lines))
    boxes = [(0, 1), (1, 3), (3, 2), (4, 1)]
    rows = [f"v,{second},0.{box},0.2,0.8,0.9,,0.99\n" for second, count in boxes for box in range(count)]
    (folder / "ava_annotations/boxes.csv").write_text("".join(rows))
    values = {
        "DATA.PATH_TO_DATA_DIR": str(folder),
        "DATA.NUM_FRAMES": 4,
        "DATA.SAMPLING_RATE": 1,
        "DATA.TEST_SCALE_HEIGHT": 16,
        "DATA.TEST_SCALE_WIDTH": 24,
        "DATA_LOADER.NUM_WORKERS": 2,
        "SLOWFAST.ALPHA": 2,
        "MODEL.NUM_CLASSES": 3,
        "AVA.FPS": 2,
        "AVA.FIRST_SECOND": 0,
        "AVA.VALID_SECONDS": [0, 4],
        "AVA.TEST_PREDICT_BOX_LISTS": ["boxes.csv"],
        "EXPORT.NUM_BOXES": 2,
    }
    return load_config(None, [item for pair in values.items() for item in pair])


def manifest_of(cfg: CfgNode, digest: str = "a") -> Manifest:
    return Manifest(
        **dict(describe_graph(cfg, {1: "sit", 2: "stand", 3: "walk"})),
        model=GraphFile(file="slowfast.mindir", bytes=1, sha256=digest),
        checkpoint=FileRecord(file="slowfast.ckpt", sha256="c"),
    )


@pytest.fixture
def model(cfg: CfgNode) -> Manifest:
    return manifest_of(cfg)


class Recorder:
    """Takes what an evaluator would."""

    def __init__(self) -> None:
        self.scores, self.boxes, self.keys = [], [], []

    def process(self, scores: np.ndarray, boxes: np.ndarray, keys: list[tuple[str, int]]) -> None:
        self.scores += scores.tolist()
        self.boxes += boxes.tolist()
        self.keys += keys


def write_results(dataset: AvaDataset, model: Manifest, results: Path, shards: int) -> None:
    """Results as the runner would leave them: the scores of row r of the split are ROW_SCORES[r]."""
    done = 0
    for shard in range(1, shards + 1):
        folder = results / f"shard_{shard}"
        write_shard(dataset, model, folder, shard, shards)
        rows = len(json.loads((folder / "manifest.json").read_text())["rows"])
        ROW_SCORES[done : done + rows].tofile(folder / "scores.bin")
        done += rows
    assert done == len(ROW_SCORES)


def test_a_shard_holds_clips_once_and_splits_boxes(cfg: CfgNode, model: Manifest, tmp_path: Path) -> None:
    dataset = AvaDataset(cfg, "test")
    write_shard(dataset, model, tmp_path / "in", 1, 1)
    manifest = json.loads((tmp_path / "in/manifest.json").read_text())
    assert manifest["row_clips"] == [0, 1, 1, 2, 3]
    assert [len(row["boxes_norm"]) for row in manifest["rows"]] == [1, 2, 1, 2, 1]
    assert [row["second"] for row in manifest["rows"]] == [0, 1, 1, 3, 4]
    assert manifest["slow_frames"] == [0, 3]
    assert len(manifest["clip_files"]) == 4
    for index, name in enumerate(manifest["clip_files"]):
        clip = np.fromfile(tmp_path / "in" / name, np.float32).reshape(3, 4, 16, 24)
        np.testing.assert_array_equal(clip, dataset.sample(index)["fast"])
    boxes = np.fromfile(tmp_path / "in/boxes.bin", np.float32).reshape(5, 2, 4)
    np.testing.assert_array_equal(boxes[1:3].reshape(4, 4)[:3], dataset.sample(1)["boxes"][:3])
    assert not boxes[2, 1].any()


def test_clips_of_half_the_size(cfg: CfgNode, model: Manifest, tmp_path: Path) -> None:
    cfg.defrost()
    cfg.EXPORT.CLIP_DTYPE = "float16"
    dataset = AvaDataset(cfg, "test")
    write_shard(dataset, model, tmp_path / "in", 1, 4)
    clip = np.fromfile(tmp_path / "in/fast_000000.bin", np.float16).reshape(3, 4, 16, 24)
    np.testing.assert_array_equal(clip, dataset.sample(0)["fast"].astype(np.float16))


@pytest.mark.parametrize("shards", [1, 2, 3, 4])
def test_results_do_not_depend_on_the_cut(cfg: CfgNode, model: Manifest, tmp_path: Path, shards: int) -> None:
    dataset = AvaDataset(cfg, "test")
    write_results(dataset, model, tmp_path / "out", shards)
    recorder = Recorder()
    assert gather_results(tmp_path / "out", recorder, model) == 7
    assert recorder.keys == [("v", second) for second in (0, 1, 1, 1, 3, 3, 4)]
    assert [box[0] for box in recorder.boxes] == [0.0, 0.0, 0.1, 0.2, 0.0, 0.1, 0.0]
    assert recorder.scores == [
        ROW_SCORES[row, box].tolist() for row, box in ((0, 0), (1, 0), (1, 1), (2, 0), (3, 0), (3, 1), (4, 0))
    ]


@pytest.mark.parametrize(
    ("budget", "shards"),
    [(10**9, 1), (4 * (CLIP_BYTES + 2 * BOX_BYTES), 1), (4 * CLIP_BYTES, 2), (CLIP_BYTES + 2 * BOX_BYTES, 4)],
)
def test_disk_budget_sets_the_number_of_shards(cfg: CfgNode, model: Manifest, budget: int, shards: int) -> None:
    assert count_shards(AvaDataset(cfg, "test"), budget) == shards


def test_budget_below_one_clip_is_refused(cfg: CfgNode, model: Manifest) -> None:
    with pytest.raises(
        UserError, match=f"the disk budget of 100 bytes is less than one clip's {CLIP_BYTES + 2 * BOX_BYTES}"
    ):
        count_shards(AvaDataset(cfg, "test"), 100)


def test_runs_are_told_apart(cfg: CfgNode, model: Manifest) -> None:
    dataset = AvaDataset(cfg, "test")
    other = manifest_of(cfg, "b")
    names = [run_id(dataset, model, 2), run_id(dataset, model, 3), run_id(dataset, other, 2)]
    assert len(set(names)) == 3
    assert run_id(AvaDataset(cfg, "test"), model, 2) == names[0]


def test_what_does_not_belong_together_is_refused(cfg: CfgNode, model: Manifest, tmp_path: Path) -> None:
    dataset, out = AvaDataset(cfg, "test"), tmp_path / "out"
    with pytest.raises(UserError, match="no results; expected a folder for each shard"):
        gather_results(tmp_path, Recorder(), model)
    write_results(dataset, model, out, 3)
    with pytest.raises(UserError, match=r"shard_1: results of another graph than slowfast\.mindir"):
        gather_results(out, Recorder(), manifest_of(cfg, "b"))

    shutil.copytree(out / "shard_1", out / "shard_9")
    with pytest.raises(UserError, match=r"shard_9: shard 1 is there twice, also in .*shard_1"):
        gather_results(out, Recorder(), model)
    shutil.rmtree(out / "shard_9")

    manifest = out / "shard_1/manifest.json"
    whole = manifest.read_text()
    manifest.write_text("{}")
    with pytest.raises(UserError, match=r"manifest\.json: not from preprogress\.py: it lacks format"):
        gather_results(out, Recorder(), model)
    manifest.write_text(whole)

    shutil.rmtree(out / "shard_2")
    write_shard(dataset, model, out / "shard_2", 1, 4)
    with pytest.raises(UserError, match=r"shard_2: results of another run than .*shard_1"):
        gather_results(out, Recorder(), model)
    shutil.rmtree(out / "shard_2")
    with pytest.raises(UserError, match=r"shard 2 of 3 is missing \(1 in all\)"):
        gather_results(out, Recorder(), model)


def test_truncated_scores_are_refused(cfg: CfgNode, model: Manifest, tmp_path: Path) -> None:
    write_results(AvaDataset(cfg, "test"), model, tmp_path / "out", 1)
    path = tmp_path / "out/shard_1/scores.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"scores\.bin: has 119 bytes, expected 120 for 5 rows"):
        gather_results(tmp_path / "out", Recorder(), model)
    path.unlink()
    with pytest.raises(UserError, match=r"scores\.bin: has 0 bytes, expected 120 for 5 rows"):
        gather_results(tmp_path / "out", Recorder(), model)


def test_a_broken_run_leaves_no_manifest(cfg: CfgNode, model: Manifest, tmp_path: Path) -> None:
    dataset = AvaDataset(cfg, "test")
    write_shard(dataset, model, tmp_path / "in", 1, 1)
    (Path(cfg.DATA.PATH_TO_DATA_DIR) / "frames/v/v_000007.jpg").unlink()
    with pytest.raises(UserError, match=r"v_000007\.jpg: cannot read the frame"):
        write_shard(AvaDataset(cfg, "test"), model, tmp_path / "in", 1, 1)
    assert not (tmp_path / "in/manifest.json").exists()


def test_too_many_shards_are_refused(cfg: CfgNode, model: Manifest, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shard 5 of 9 would be empty: there are only 4 key frames"):
        write_shard(AvaDataset(cfg, "test"), model, tmp_path / "in", 5, 9)


def test_configuration_comes_back_from_the_manifest(cfg: CfgNode, model: Manifest) -> None:
    again = manifest_config(Manifest.model_validate_json(model.model_dump_json()), "elsewhere")
    assert again.DATA.PATH_TO_DATA_DIR == "elsewhere"
    again.defrost()
    again.DATA.PATH_TO_DATA_DIR = cfg.DATA.PATH_TO_DATA_DIR
    assert again == cfg


def test_a_folder_of_other_files_is_not_written_to(cfg: CfgNode, model: Manifest, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt: not from preprogress\.py"):
        write_shard(AvaDataset(cfg, "test"), model, tmp_path / "in", 1, 1)
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["notes.txt"]


def test_class_names_travel_with_the_inputs(cfg: CfgNode, model: Manifest, tmp_path: Path) -> None:
    write_shard(AvaDataset(cfg, "test"), model, tmp_path / "in", 1, 1)
    manifest = json.loads((tmp_path / "in/manifest.json").read_text())
    assert manifest["class_names"] == {"1": "sit", "2": "stand", "3": "walk"}


def test_a_dataset_with_the_classes_in_another_order_is_refused(cfg: CfgNode, model: Manifest) -> None:
    path = Path(cfg.DATA.PATH_TO_DATA_DIR) / "ava_annotations" / cfg.AVA.LABEL_MAP_FILE
    write_label_map(path, {1: "sit", 2: "stand", 3: "walk"})
    check_dataset(model, cfg)
    write_label_map(path, {1: "sit", 2: "walk", 3: "stand"})
    with pytest.raises(
        UserError, match=r"mindir: its classes are 1 sit, 2 stand, 3 walk; .*pbtxt has 1 sit, 2 walk, 3 stand"
    ):
        check_dataset(model, cfg)
