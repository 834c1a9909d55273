"""Whole runs: scores are eval.py's, and nothing changes when a run is stopped and goes on."""

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from fvcore.common.config import CfgNode

from src.ava.box_csv import read_detections
from src.ava.box_table import BoxTable
from src.ava.label_map import write_label_map
from src.checkpoint.class_names import with_class_names
from src.checkpoint.loading import load_into
from src.checkpoint.mindspore_format import load_checkpoint, save_checkpoint
from src.datasets.ava_dataset import AvaDataset
from src.datasets.build import build_test_loader
from src.engine.evaluation import evaluate
from src.evaluation.build import build_evaluator
from src.predict.options import Options, build_scorer, score_settings
from src.predict.run import INTERRUPTED, Run, predict
from src.utils.errors import UserError
from tests.tiny import TinyNetwork

pytestmark = pytest.mark.usefixtures("tiny_network")


def scores_of(table: BoxTable) -> dict[tuple, float]:
    boxes = [
        (table.video_names[table.video[at]], *table.second[at : at + 1], *table.boxes_norm[at]) for at in table.row_box
    ]
    return {
        (*box, int(class_id)): float(score)
        for box, class_id, score in zip(boxes, table.row_class, table.row_score, strict=True)
    }


def test_scores_are_those_of_evaluation(
    configure: Callable[..., CfgNode], options: Callable[..., Options], held_out: Path, checkpoint: Path
) -> None:
    cfg = configure(
        "DATA.SOURCE", "video", "AVA.VIDEO_DIR", "videos", "AVA.DETECTION_SCORE_THRESH", 0.0, "AVA.EXCLUSION_FILE", ""
    )
    dataset = AvaDataset(cfg, "test")
    evaluator = build_evaluator(cfg, dataset.frames.names, 1)
    network = TinyNetwork(cfg)
    load_into(network, load_checkpoint(checkpoint))
    evaluate(network, build_test_loader(dataset, 0, 1), evaluator)
    expected = scores_of(evaluator.detections())

    assert predict(options(video_out=False), held_out) == 0
    found = scores_of(read_detections(options().out / "detections.csv"))
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[key] for key in expected], list(expected.values()), atol=1e-4)
    assert np.ptp(list(expected.values())) > 0.2


def test_another_configuration_of_the_same_weights_scores_again(
    options: Callable[..., Options], held_out: Path, tmp_path: Path
) -> None:
    larger = (*options().overrides, "DATA.TEST_CROP_SIZE", "48")
    assert predict(options(video_out=False), held_out) == 0
    before = (options().out / "detections.csv").read_text()
    assert predict(options(video_out=False, overrides=larger), held_out) == 0
    assert predict(options(video_out=False, overrides=larger, out=tmp_path / "fresh"), held_out) == 0
    after = (options().out / "detections.csv").read_text()
    assert after == (tmp_path / "fresh" / "detections.csv").read_text() != before


def test_other_labels_are_drawn_anew(
    options: Callable[..., Options], held_out: Path, recipe: list[object], tmp_path: Path
) -> None:
    labels = tmp_path / "labels.pbtxt"
    write_label_map(labels, {1: "one", 2: "two", 3: "three"})
    assert predict(options(labels=labels), held_out) == 0
    video = options().out / f"{held_out.stem}_actions.mp4"
    before = video.read_bytes()
    assert predict(options(labels=labels), held_out) == 0
    assert video.read_bytes() == before
    write_label_map(labels, {1: "uno", 2: "due", 3: "tre"})
    assert predict(options(labels=labels), held_out) == 0
    assert predict(options(labels=labels, out=tmp_path / "fresh"), held_out) == 0
    assert video.read_bytes() == (tmp_path / "fresh" / video.name).read_bytes() != before


def test_scores_depend_on_all_files_of_a_detector(options: Callable[..., Options], tmp_path: Path) -> None:
    detector, seen = tmp_path / "yolo.onnx", set()
    for name in ("yolo.onnx", "yolo.onnx.data", "yolo.json"):
        for content in ("one", "two"):
            (tmp_path / name).write_text(content)
            seen.add(str(score_settings(options(boxes=None, detector=detector), "digest")))
    assert len(seen) == 6
    (tmp_path / "yolo8.json").write_text("of another")
    assert str(score_settings(options(boxes=None, detector=detector), "digest")) in seen


def test_class_names_that_differ_from_the_checkpoints_are_no_secret(
    options: Callable[..., Options], held_out: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    save_checkpoint(with_class_names(load_checkpoint(checkpoint), {1: "fall", 2: "sit"}), tmp_path / "own.ckpt")
    own = (*options().overrides, "TEST.CHECKPOINT_FILE_PATH", str(tmp_path / "own.ckpt"))
    with pytest.raises(UserError, match=r"own\.ckpt: its classes are 1 fall, 2 sit; the recipe's label map has"):
        predict(options(overrides=own), held_out)
    write_label_map(tmp_path / "labels.pbtxt", {1: "cade", 2: "sit"})
    assert predict(options(overrides=own, labels=tmp_path / "labels.pbtxt", video_out=False), held_out) == 0
    assert "other names for 1 of 2 classes, as 1: 'fall', here 'cade'" in capsys.readouterr().out


def test_what_only_evaluation_does_is_told(options: Callable[..., Options], capsys: pytest.CaptureFixture) -> None:
    build_scorer(options(overrides=(*options().overrides, "TEST.SCALES", "[32, 48]", "TEST.FLIP", "True")))
    assert "TEST.SCALES, TEST.FLIP: of eval.py alone; here one checkpoint" in capsys.readouterr().out


def test_a_video_whose_results_cannot_be_named_does_not_stop_the_others(
    options: Callable[..., Options], held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in (held_out.name, f"{'n' * 229}.mp4"):
        (folder / name).write_bytes(held_out.read_bytes())
    assert predict(options(video_out=False), folder) == 1
    assert "the name has more than 228 bytes" in capsys.readouterr().out
    assert (options().out / "index.html").is_file()
    latin = folder / os.fsdecode(b"caf\xe9.mp4")
    latin.write_bytes(held_out.read_bytes())
    with pytest.raises(UserError, match=r"caf\\xe9\.mp4': the name is no UTF-8, as tables and page are"):
        predict(options(video_out=False), latin)


def test_persons_of_given_boxes_go_on_however_far_apart_key_frames_are(
    options: Callable[..., Options], held_out: Path, tmp_path: Path
) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(
        "".join(
            f"{held_out.stem},{second},{left},0.2,{left + 0.3},0.9,-1,{score}\n"
            for second in range(1, 24, 4)
            for left, score in ((0.1, 0.9), (0.5, 0.15))
        )
    )
    assert predict(options(boxes=boxes, start=2.0, every_part=7.0, threshold=0.0, video_out=False), held_out) == 0
    rows = [row.split(",") for row in (options().out / "tracks.csv").read_text().splitlines()[1:]]
    assert [(row[1], row[2], row[7]) for row in rows] == [
        (f"{second}.000", str(track), score)
        for second in range(5, 24, 4)
        for track, score in enumerate(("0.9000", "0.1500"))
    ]
    (video,) = json.loads((options().out / "actions.json").read_text())["videos"]
    # Each key frame stands for two seconds around it, of those that are looked at.
    spans = {(action["start"], action["end"]) for person in video["persons"] for action in person["actions"]}
    assert spans == {(3.0, 23.0)}
    assert '"gap":6.0' in (options().out / "index.html").read_text()


def test_no_action_begins_before_the_first_second_that_is_looked_at(
    options: Callable[..., Options], held_out: Path
) -> None:
    assert predict(options(start=5.0, threshold=0.0, video_out=False), held_out) == 0
    (video,) = json.loads((options().out / "actions.json").read_text())["videos"]
    assert min(action["start"] for person in video["persons"] for action in person["actions"]) == 5.0


TABLES = ("detections.csv", "tracks.csv", "actions.json", "index.html")


def tables_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


@contextmanager
def running(repository: Path, options: Options, video: Path) -> Iterator[subprocess.Popen]:
    """The same run in a process of its own, that can be ended."""
    command = [sys.executable, repository / "tests/tiny.py", "predict", "--cfg", options.cfg, "--video", video]
    command += ["--out", options.out, "--boxes", options.boxes, "--every-part", options.every_part, *options.overrides]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_parts(options: Options, count: int) -> None:
    """Wait until so many parts are done."""
    end = time.monotonic() + 120
    while len(list(options.out.rglob("*.npz"))) < count:
        assert time.monotonic() < end, "no part was done in time"
        time.sleep(0.01)


def test_a_part_that_is_done_leaves_no_decoder_in_memory(options: Callable[..., Options], held_out: Path) -> None:
    """A decoder and its container refer to each other; with each goes a pool of frames."""
    kinds = (av.container.InputContainer, av.VideoStream, av.VideoCodecContext, av.VideoFrame)
    run = Run(options(video_out=False))
    job = run.job(held_out.stem, held_out)
    gc.collect()

    def alive() -> list[object]:
        return [thing for thing in gc.get_objects() if issubclass(type(thing), kinds)]

    of_other_tests = alive()
    gc.disable()
    try:
        run.do_part(job, 0)
        new = [thing for thing in alive() if all(thing is not other for other in of_other_tests)]
        assert [type(thing).__name__ for thing in new] == []
    finally:
        gc.enable()


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_ended_with_the_same_result(
    options: Callable[..., Options], held_out: Path, repository: Path, tmp_path: Path
) -> None:
    assert predict(options(out=tmp_path / "whole", every_part=3.0), held_out) == 0
    ended = options(out=tmp_path / "ended", every_part=3.0)
    with running(repository, ended, held_out) as process:
        wait_for_parts(ended, 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (ended.out / "index.html").exists()
    with running(repository, ended, held_out) as process:
        wait_for_parts(ended, 3)
        process.send_signal(signal.SIGINT)
        assert process.wait() == INTERRUPTED, process.stderr.read()
    # What there is stands in whole files.
    assert {path.name for path in ended.out.iterdir()} > set(TABLES)
    kept = {path: path.stat().st_mtime_ns for path in ended.out.rglob("*.npz")}
    assert predict(ended, held_out) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert tables_of(tmp_path / "ended") == tables_of(tmp_path / "whole")


def test_a_broken_video_does_not_stop_the_others(
    options: Callable[..., Options], held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / held_out.name).write_bytes(held_out.read_bytes())
    (folder / "broken.mp4").write_bytes(held_out.read_bytes()[:3000])
    assert predict(options(), folder) == 1
    printed = capsys.readouterr().out
    assert "1 of 2 videos failed:\n  broken: " in printed
    assert (options().out / f"{held_out.stem}_actions.mp4").is_file()
    assert {row.split(",")[0] for row in (options().out / "detections.csv").read_text().splitlines()} == {held_out.stem}

    (folder / held_out.name).write_bytes(b"broken, too")
    assert predict(options(out=tmp_path / "none"), folder) == 1
    assert "index.html" not in capsys.readouterr().out
    assert not (tmp_path / "none/index.html").exists()


def test_results_beside_the_videos_are_no_videos_to_work_off(
    options: Callable[..., Options], held_out: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / held_out.name).write_bytes(held_out.read_bytes())
    assert predict(options(out=folder, every=8.0), folder) == 0
    before = {path.name for path in folder.iterdir()}
    assert f"{held_out.stem}_actions.mp4" in before
    assert predict(options(out=folder, every=8.0), folder) == 0
    assert {path.name for path in folder.iterdir()} == before


def test_a_video_that_changes_while_it_is_scored_is_told(
    options: Callable[..., Options], held_out: Path, tmp_path: Path
) -> None:
    video = tmp_path / held_out.name
    video.write_bytes(held_out.read_bytes())
    run = Run(options(video_out=False, every_part=24.0))
    job = run.job(video.stem, video)
    with video.open("ab") as file:
        file.write(b"\0\0\0\x08free")
    with pytest.raises(UserError, match=r"has changed while it was scored; start again once it is complete"):
        run.do_part(job, 0)
    assert not list(options().out.rglob("*.npz"))


def test_a_detector_that_cannot_be_read_ends_the_run_at_once(
    options: Callable[..., Options], held_out: Path, tmp_path: Path
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed (tests/requirements.txt)")
    (tmp_path / "detector.onnx").write_text("no network")
    with pytest.raises(UserError, match=r"detector.onnx: OpenVINO cannot read the model"):
        predict(options(boxes=None, detector=tmp_path / "detector.onnx"), held_out)
    assert not (options().out / "index.html").exists()


def test_boxes_at_seconds_that_the_video_does_not_have_are_refused(
    options: Callable[..., Options], held_out: Path, tmp_path: Path
) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(f"{held_out.stem},902,0.1,0.1,0.5,0.9,-1\n{held_out.stem},903,0.1,0.1,0.5,0.9,-1\n")
    with pytest.raises(UserError, match=r"no key frame of \w+ lies within seconds 0 to 24, the first is at 902"):
        predict(options(boxes=boxes), held_out)


def test_shards_together_are_the_whole(
    options: Callable[..., Options], held_out: Path, sample: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    rows = options().boxes.read_text()
    for name in ("one", "two", "three"):
        (folder / f"{name}.mp4").write_bytes(held_out.read_bytes())
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("".join(rows.replace(held_out.stem, name) for name in ("one", "two", "three")))
    given = {"boxes": boxes, "video_out": False, "every_part": 12.0}
    assert predict(options(out=tmp_path / "whole", **given), folder) == 0
    for index in (1, 2):
        assert predict(options(out=tmp_path / "shared", **given), folder, (index, 2)) == 0
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "shared").rglob("*.npz")}
    assert len(parts) == 6
    assert predict(options(out=tmp_path / "shared", **given), folder) == 0
    assert {path: path.stat().st_mtime_ns for path in parts} == parts
    assert tables_of(tmp_path / "shared") == tables_of(tmp_path / "whole")


def test_a_full_disk_leaves_no_half_file(
    options: Callable[..., Options], held_out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on the size of files stands for the disk: parts and tables fit, the video with labels does not."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            predict(options(), held_out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.filename == str(options().out / f"{held_out.stem}_actions.mp4")
    names = {path.name for path in options().out.iterdir()}
    assert names == {".predict"}
    assert predict(options(), held_out) == 0


def streams_of(path: Path) -> dict[str, object]:
    """What the annotated video must share with its source."""
    with av.open(str(path)) as container:
        audio = [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video)]
        return {"codec": (video.codec_context.name, video.codec_context.pix_fmt), "times": times, "audio": audio}


def test_the_video_with_labels_has_the_frames_times_and_sound_of_its_source(
    options: Callable[..., Options], held_out: Path, tmp_path: Path
) -> None:
    source = tmp_path / "phone.mp4"
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("phone,1,0.1,0.1,0.5,0.9,-1\n")
    write_phone_video(source)
    assert predict(options(boxes=boxes), source) == 0
    before, after = streams_of(source), streams_of(options().out / "phone_actions.mp4")
    assert after["codec"] == ("h264", "yuv420p")
    np.testing.assert_allclose(after["times"], before["times"], atol=1e-3)
    assert after["audio"] == before["audio"]
    content = (options().out / "phone_actions.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # it plays while it is still being fetched
    with av.open(str(options().out / "phone_actions.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (120, 160)  # upright


def write_phone_video(path: Path) -> None:
    """A video of uneven frame times that is to be turned by 90 degrees, with sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        video.set_display_rotation(90)
        audio = container.add_stream("aac", rate=48000)
        audio.codec_context.layout = "mono"
        for index, milliseconds in enumerate((0, 33, 67, 100, 300, 333, 900, 1000, 1033, 1500, 1900)):
            image = np.full((120, 160, 3), 20 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = milliseconds, Fraction(1, 1000)
            container.mux(video.encode(frame))
        for index in range(90):
            wave = np.sin(np.arange(1024) / 20 + index).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.rate, frame.pts, frame.time_base = 48000, 1024 * index, Fraction(1, 48000)
            container.mux(audio.encode(frame))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
