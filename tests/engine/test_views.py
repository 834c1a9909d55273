"""Scores averaged over sizes, mirror images and checkpoints: against a loop that scores one after the other."""

import csv
import sys

import mindspore as ms
import numpy as np
import pytest

import eval as evaluation
from src.ava.box_csv import read_detections
from src.datasets.ava_dataset import AvaDataset
from src.datasets.build import build_test_loader
from src.datasets.views import MultiScaleDataset
from src.engine.evaluation import evaluate
from src.evaluation.build import build_evaluator
from src.models.build import build_model, device_layers
from tests.tiny import TinyNetwork

SIDES = [32, 48]


def network_of(cfg, seed: int, kind=None):
    ms.set_seed(seed)
    network = kind(cfg) if kind else build_model(cfg, device_layers(cfg, "O0"))
    # Scores of fresh weights hardly differ; the head's are enlarged.
    head = network.head.projection.weight
    head.set_data(ms.Tensor(100 * head.asnumpy()))
    return network


def scores_of(cfg, networks, dataset, mirrored=False) -> np.ndarray:
    evaluator = build_evaluator(cfg, dataset.frames.names)
    data = MultiScaleDataset(dataset, cfg.TEST.SCALES) if cfg.TEST.SCALES else dataset
    evaluate(networks, build_test_loader(data), evaluator, mirrored=mirrored)
    return evaluator.detections().row_score


@pytest.mark.slow
def test_the_mean_of_all_views_and_networks_is_that_of_a_loop_on_slowfast_r50(configure):
    few = ["AVA.VALID_SECONDS", [3, 6]]
    cfg = configure("TEST.SCALES", SIDES, *few)
    networks = [network_of(cfg, 1), network_of(cfg, 2, TinyNetwork)]
    found = scores_of(cfg, networks, AvaDataset(cfg, "test"), mirrored=True)
    each = []
    for side in SIDES:
        for mirrored in (False, True):
            one = configure("DATA.TEST_CROP_SIZE", side, "AVA.TEST_FORCE_FLIP", mirrored, *few)
            each += [scores_of(one, network, AvaDataset(one, "test")) for network in networks]
    assert len(each) == 8
    for network in (0, 1):
        assert np.ptp(each[network::2], axis=0).max() > 0.01  # its views differ
    np.testing.assert_allclose(found, np.mean(each, axis=0, dtype=np.float64), rtol=0, atol=2e-6)


def test_eval_averages_and_reports_the_persons_scores(configure, recipe_file, recipe, tmp_path, monkeypatch, capsys):
    paths, networks = [], [network_of(configure(), seed, TinyNetwork) for seed in (1, 2)]
    for at, network in enumerate(networks):
        paths.append(str(tmp_path / f"{at}.ckpt"))
        ms.save_checkpoint(network, paths[-1])
    few = ["AVA.VALID_SECONDS", [1, 17]]
    dataset = AvaDataset(configure(*few), "test")
    with dataset.box_lists()[1][0].open(newline="") as file:
        rows = list(csv.reader(file))

    expected = scores_of(configure("TEST.SCALES", SIDES, *few), networks, dataset, mirrored=True)

    # eval.py gets these networks, whose graphs are compiled, without their weights.
    for parameter in (parameter for network in networks for parameter in network.get_parameters()):
        parameter.set_data(ms.ops.zeros_like(parameter))
    empty = iter(networks)
    overrides = [*map(str, recipe), "OUTPUT_DIR", str(tmp_path / "out"), "TEST.CHECKPOINT_FILE_PATH", paths[0]]
    overrides += ["TEST.ENSEMBLE_FILE_PATHS", f"['{paths[1]}']", "TEST.SCALES", str(SIDES), "TEST.FLIP", "True"]
    overrides += ["TEST.PERSON_SCORE", "True", "DATA_LOADER.NUM_WORKERS", "2", *map(str, few)]
    monkeypatch.setattr("src.models.build.SlowFast", lambda *_: next(empty))
    monkeypatch.setattr(evaluation, "set_up_device", lambda *_: "CPU")
    monkeypatch.setattr(sys, "argv", ["eval.py", "--cfg", str(recipe_file), *overrides])
    assert evaluation.main() == 0
    printed = capsys.readouterr().out

    found = read_detections(tmp_path / "out/detections_test.csv").row_score
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    by_person = read_detections(tmp_path / "out/detections_test_person.csv")
    of_box = {(row[0], float(row[1]), *map(float, row[2:6])): float(row[7]) for row in rows}
    boxes = zip(by_person.video.tolist(), by_person.second.tolist(), by_person.boxes_norm.tolist(), strict=True)
    of_person = np.array([of_box[(by_person.video_names[video], second, *box)] for video, second, box in boxes])
    np.testing.assert_allclose(by_person.row_score, found * of_person[by_person.row_box], rtol=1e-6)
    assert len(set(of_person)) > 10
    assert "with scores times the person's" in printed
    assert '"map_person": ' in printed
    assert "note: frames in the ground truth but not in the detections: " in printed
