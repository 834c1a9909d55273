"""Own videos become a data root that passes verification, whatever their names and whichever tool drew the boxes."""

import csv
import json
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from src.config.custom_config import load_config
from src.datasets.prepare import custom
from src.datasets.prepare.custom import prepare_custom
from src.datasets.prepare.key_boxes import KeyBox
from src.datasets.prepare.verify import verify
from src.utils.errors import UserError


def _prepare(tmp_path: Path, boxes: Path, **changes: object) -> Path:
    labels = tmp_path / "classes.txt"
    labels.write_text("walk\nwave\n")
    settings = {
        "detections_path": None,
        "coordinates": None,
        "fps": 0,
        "first_second": 0,
        "key_every": Fraction(1),
        "annotation_fps": Fraction(0),
        "val_share": 0.34,
        "seed": 0,
        "short_side": 0,
        "jobs": 2,
    }
    prepare_custom(tmp_path / "videos", boxes, labels, tmp_path / "out", **(settings | changes))
    return tmp_path / "out"


def _write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture
def videos(make_video: Callable, tmp_path: Path) -> Path:
    """Three videos of different rates and sizes, with a space and non-ASCII letters in their names."""
    make_video(tmp_path / "videos/my clip.mp4", frames=40, fps=10, width=64, height=48)
    make_video(tmp_path / "videos/été.mp4", frames=60, fps=20, width=96, height=64)
    make_video(tmp_path / "videos/plain.MP4", frames=30, fps=10, width=64, height=48)
    return tmp_path


def test_ava_columns_in_pixels_with_awkward_names(videos: Path) -> None:
    boxes = _write(
        videos / "boxes.csv",
        "my clip,1,16,12,32,48,1,0",
        "my clip.mp4,1,16,12,32,48,2,0",
        "my clip.mp4,2,16,12,32,48,2,0",
        "été,2,48,32,96,64,1,0",
        "e\u0301te\u0301.mp4,1,48,32,96,64,2,0",
        "plain.MP4,1,16,12,32,48,1,0",
        "plain.MP4,2,16,12,32,48,2,0",
    )
    out = _prepare(videos, boxes)
    cfg = load_config(out / "slowfast_small.yaml")
    assert verify(cfg, jobs=1) == []
    assert (cfg.AVA.FPS, cfg.AVA.VALID_SECONDS, cfg.MODEL.NUM_CLASSES) == (10, [1, 2], 2)
    # Four key frames, fewer than the eight clips of a step by default.
    assert cfg.TRAIN.BATCH_SIZE == len({tuple(row[:2]) for row in _rows(out / "ava_annotations/train_boxes.csv")}) == 4
    names = {row[0]: row[2] for row in _rows(out / "videos.csv")[1:]}
    assert names == {"my_clip": "my clip.mp4", "plain": "plain.MP4", "été": "été.mp4"}
    annotations = out / "ava_annotations"
    truth = _rows(annotations / "train_boxes.csv") + _rows(annotations / "val_boxes.csv")
    assert len(truth) == 7
    assert [row for row in truth if row[0] == "my_clip"] == [
        ["my_clip", "0001", "0.2500", "0.2500", "0.5000", "1.0000", "1", "0"],
        ["my_clip", "0001", "0.2500", "0.2500", "0.5000", "1.0000", "2", "0"],
        ["my_clip", "0002", "0.2500", "0.2500", "0.5000", "1.0000", "2", "0"],
    ]
    assert [row[2:6] for row in truth if row[0] == "été"] == [["0.5000", "0.5000", "1.0000", "1.0000"]] * 2
    detections = _rows(annotations / "val_detections.csv")
    assert {tuple(row[6:]) for row in detections} == {("-1", "1.0")}
    train, val = (
        {row.split()[0] for row in (annotations / f).open(encoding="utf-8")} for f in ("train.csv", "val.csv")
    )
    assert train & val == {"original_vido_id"}
    assert len(list((out / "frames" / "été").iterdir())) == 30
    assert (out / "videos" / "my_clip.mp4").resolve() == (videos / "videos/my clip.mp4").resolve()


def test_the_three_formats_give_the_same_lists(videos: Path) -> None:
    """The same two boxes from AVA's columns, CVAT and COCO, at 20 frames a second."""
    ava = _write(videos / "b.csv", "été,1,48,32,96,64,2,0", "plain,2,16,12,32,48,1,0")
    results = []
    cvat = videos / "cvat"
    cvat.mkdir()
    for source, frame, label, corners in (
        ("été", 20, "wave", (48, 32, 96, 64)),
        ("plain", 20, "walk", (16, 12, 32, 48)),
    ):
        x1, y1, x2, y2 = corners
        attributes = f'xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" outside="0"'
        _write(
            cvat / f"{source}.xml",
            f'<annotations><track id="0" label="{label}"><box frame="{frame}" {attributes}/>'
            f'<box frame="{frame + 5}" {attributes}/></track></annotations>',
        )
    coco = videos / "b.json"
    content = {
        "images": [
            {"id": 1, "file_name": "été/été_000021.jpg"},
            {"id": 2, "file_name": "plain_000041.jpg"},
            {"id": 3, "file_name": "plain_000047.jpg"},
        ],
        "categories": [{"id": 1, "name": "walk"}, {"id": 2, "name": "wave"}],
        "annotations": [
            {"image_id": 1, "category_id": 2, "bbox": [48, 32, 48, 32]},
            {"image_id": 2, "category_id": 1, "bbox": [16, 12, 16, 36]},
            {"image_id": 3, "category_id": 1, "bbox": [16, 12, 16, 36]},
        ],
    }
    coco.write_text(json.dumps(content), encoding="utf-8")
    for boxes in (ava, cvat, coco):
        annotations = _prepare(videos, boxes, fps=20, val_share=0) / "ava_annotations"
        results.append([row[:7] for row in _rows(annotations / "train_boxes.csv")])
        assert results[-1] == results[0]
    assert results[0] == [
        ["plain", "0002", "0.2500", "0.2500", "0.5000", "1.0000", "1"],
        ["été", "0001", "0.5000", "0.5000", "1.0000", "1.0000", "2"],
    ]


def test_seconds_may_begin_elsewhere(videos: Path) -> None:
    boxes = _write(videos / "b.csv", "été,901,0.1,0.1,0.5,0.5,1,0", "plain,902,0.1,0.1,0.5,0.5,2,0")
    out = _prepare(videos, boxes, first_second=900, val_share=0)
    cfg = load_config(out / "slowfast.yaml")
    assert (cfg.AVA.FIRST_SECOND, cfg.AVA.VALID_SECONDS) == (900, [901, 902])
    assert [finding for finding in verify(cfg, jobs=1) if finding.harmful] == []
    with pytest.raises(UserError, match=r"b\.csv: row 1: lies at 901 s .* \(--first-second\)"):
        _prepare(videos, boxes, val_share=0)


def test_detections_are_validated_on(videos: Path, capsys) -> None:
    boxes = _write(videos / "b.csv", "plain,1,0.1,0.1,0.5,0.5,1,0", "plain,2,0.1,0.1,0.5,0.5,1,0")
    found = _write(videos / "d.csv", "plain,1,0.12,0.1,0.5,0.5,,0.93", "plain,1,0.6,0.6,0.8,0.8,,0.2")
    out = _prepare(videos, boxes, val_share=0, detections_path=found)
    text = capsys.readouterr().out
    assert "1 of 2 annotated key frames have no detection: all on them counts as missed, as plain at 2 s" in text
    assert "are not annotated" not in text
    assert "custom: 1 classes have no box, and cannot be learned: wave" in text
    assert _rows(out / "ava_annotations/val_detections.csv") == [
        ["plain", "0001", "0.1200", "0.1000", "0.5000", "0.5000", "-1", "0.93"],
        ["plain", "0001", "0.6000", "0.6000", "0.8000", "0.8000", "-1", "0.2"],
    ]
    _write(boxes, "plain,1,0.1,0.1,0.5,0.5,1,0")
    _prepare(videos, boxes, val_share=0, detections_path=_write(found, "plain,0,0.12,0.1,0.5,0.5,,0.93"))
    text = capsys.readouterr().out
    assert "1 of 1 key frames with detections are not annotated: all on them counts as false, as plain at 0 s" in text
    _write(found, "plain,1,0.12,0.1,0.5,0.5,,high")
    with pytest.raises(UserError, match=r"d\.csv: row 1: score is 'high'"):
        _prepare(videos, boxes, val_share=0, detections_path=found)


def test_of_several_scores_of_a_box_the_highest_counts(videos: Path, capsys) -> None:
    """As those of actions, which are no scores of persons."""
    boxes = _write(videos / "b.csv", "plain,1,0.1,0.1,0.5,0.5,1,0")
    found = _write(videos / "d.csv", *(f"plain,1,0.1,0.1,0.5,0.5,{c},{s}" for c, s in ((1, 0.81), (2, 0.93), (1, 0.9))))
    out = _prepare(videos, boxes, detections_path=found, val_share=0)
    assert "1 detected boxes have several scores, as one of plain at 1 s, of which the hi" in capsys.readouterr().out
    (row,) = _rows(out / "ava_annotations/val_detections.csv")
    assert row[6:] == ["-1", "0.93"]


def test_the_person_of_a_box_is_not_taken_for_its_score(videos: Path) -> None:
    """COCO and YOLO have scores or none; a tracker's MOT has both."""
    boxes = _write(videos / "b.csv", "plain,1,0.1,0.1,0.5,0.5,1,0")
    image = {"id": 1, "video": "plain.MP4", "second": 1}
    box = {"image_id": 1, "category_id": 1, "bbox": [6, 5, 26, 19]}
    coco = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "walk"}]}
    without_score = _write(videos / "d.json", json.dumps(coco))
    with pytest.raises(UserError, match=r"d\.json: annotation 0: has no score, which boxes of a detector need"):
        _prepare(videos, boxes, val_share=0, detections_path=without_score)
    with pytest.raises(UserError, match=r"plain_11\.txt: row 1: has no score, which boxes of a detector need"):
        _prepare(videos, boxes, val_share=0, detections_path=_write(videos / "plain_11.txt", "0 0.3 0.3 0.4 0.4"))
    found = _write(videos / "plain.txt", "11,7,6.4,4.8,25.6,19.2,0.87,-1,-1,-1")
    out = _prepare(videos, boxes, val_share=0, detections_path=found)
    assert _rows(out / "ava_annotations/val_detections.csv") == [
        ["plain", "0001", "0.1000", "0.1000", "0.5000", "0.5000", "-1", "0.87"]
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["plian,1,0.1,0.1,0.5,0.5,1,0"], "b.csv: row 1: there is no video 'plian' among the 3 videos"),
        (["plain,9,0.1,0.1,0.5,0.5,1,0"], "b.csv: row 1: lies at 9 s of the video plain, which lasts 3 s"),
        (["plain,3,0.1,0.1,0.5,0.5,1,0"], "b.csv: row 1: second 3 is not in the video, which has 30 frames"),
        (["plain,1,0.1,0.1,0.5,0.5,-1,0"], "no box names a class of"),
        (["plain,1,10,10,90,40,1,0"], "b.csv: row 1: box 10 10 90 40 in pixels reaches beyond the frame of 64 x 48"),
        (["plain,1,0.1,0.1,0.5,1.4,1,0"], "say --coordinates normalized or --coordinates pixels"),
        (["plain,1,0.1,0.1,0.5,0.5,1,0"], "plain is the only video with boxes; more are needed to hold one out"),
    ],
)
def test_mistakes_are_named_and_leave_no_lists(videos: Path, rows: list[str], message: str) -> None:
    share = 0.34 if "only video" in message else 0
    with pytest.raises(UserError) as error:
        _prepare(videos, _write(videos / "b.csv", *rows), val_share=share)
    assert message in str(error.value)
    assert not (videos / "out/ava_annotations").exists()


def test_names_that_differ_by_case_need_a_file_system_that_tells_them_apart(videos: Path) -> None:
    (videos / "videos/Plain.mp4").write_bytes((videos / "videos/plain.MP4").read_bytes())
    boxes = _write(videos / "b.csv", "plain,1,0.1,0.1,0.5,0.5,1,0", "Plain,1,0.1,0.1,0.5,0.5,2,0")
    out = videos / "out"
    out.mkdir()
    (out / ".PREPARE.LOCK").touch()  # what a file system that ignores case shows for the lock
    with pytest.raises(UserError, match="takes Plain and plain for one name, as its file system does"):
        _prepare(videos, boxes, val_share=0)
    (out / ".PREPARE.LOCK").unlink()
    rows = _rows(_prepare(videos, boxes, val_share=0) / "ava_annotations/train_boxes.csv")
    assert [(row[0], row[6]) for row in rows] == [("Plain", "2"), ("plain", "1")]


def test_frames_that_are_not_as_extracted_are_told(videos: Path, capsys) -> None:
    boxes = _write(videos / "b.csv", "plain,1,0.1,0.1,0.5,0.5,1,0")
    frame = _prepare(videos, boxes, val_share=0) / "frames/plain/plain_000017.jpg"
    capsys.readouterr()
    frame.write_bytes(frame.read_bytes()[:-20])
    size = sum(path.stat().st_size for path in frame.parent.iterdir())
    _prepare(videos, boxes, val_share=0)
    assert f"frames/plain: its frames have {size} bytes, but {size + 20} were extracted" in capsys.readouterr().out
    frame.write_bytes(b"")
    with pytest.raises(UserError, match=r"frames/plain: plain_000017\.jpg is empty; remove the folder"):
        _prepare(videos, boxes, val_share=0)


def test_names_that_no_files_can_have_are_refused(videos: Path, make_video: Callable) -> None:
    boxes = _write(videos / "b.csv", "plain,1,0.1,0.1,0.5,0.5,1,0")
    extra = make_video(videos / "videos/plain.mkv.mp4").rename(videos / "videos/plain.mkv")
    with pytest.raises(UserError, match=r"there is also plain\.\w+; two videos cannot share the name plain"):
        _prepare(videos, boxes)
    extra.rename(videos / "videos/my_clip.mkv")
    with pytest.raises(UserError, match=r"becomes my_clip, as my( clip|_clip)\.\w+ does; rename one of them"):
        _prepare(videos, boxes)
    (videos / "videos/my_clip.mkv").rename(videos / "videos" / f"{'é' * 121}.mkv")
    with pytest.raises(UserError, match=r"é\.mkv: its name has 242 bytes, expected at most 240; rename it"):
        _prepare(videos, boxes)


def _key_boxes(classes: dict[str, int]) -> list[KeyBox]:
    return [KeyBox(name, 1.0, (0, 0, 1, 1), (class_id,), "", "") for name, class_id in classes.items()]


def test_split_keeps_a_training_video_of_every_class() -> None:
    boxes = _key_boxes({"a1": 1, "a2": 1, "b": 2, "c": 3, "d": 4})
    for seed in range(10):
        splits = custom.split_videos(boxes, 0.2, seed)
        assert splits["val"] in (["a1"], ["a2"])
        assert sorted(splits["train"] + splits["val"]) == ["a1", "a2", "b", "c", "d"]


def test_split_is_by_video_and_depends_on_the_seed_alone() -> None:
    boxes = _key_boxes({f"v{number}": number % 2 + 1 for number in range(20)})
    splits = [custom.split_videos(boxes, 0.25, seed) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]
    assert len(splits[0]["val"]) == 5


def test_videos_that_are_only_scored_need_no_classes(videos: Path) -> None:
    boxes = _write(videos / "b.csv", "plain,1,0.1,0.1,0.5,0.5,,", "my clip,1,0.1,0.1,0.5,0.5,,")
    labeled = _write(videos / "labeled.csv", "plain,1,0.1,0.1,0.5,0.5,1,", "my clip,1,0.1,0.1,0.5,0.5,1,")
    _prepare(videos, labeled, val_share=0)
    out = _prepare(videos, boxes, val_share=1)
    assert _rows(out / "ava_annotations/val_detections.csv") == [
        ["my_clip", "0001", "0.1000", "0.1000", "0.5000", "0.5000", "-1", "1.0"],
        ["plain", "0001", "0.1000", "0.1000", "0.5000", "0.5000", "-1", "1.0"],
    ]
    assert not list((out / "ava_annotations").glob("train*"))


def test_most_common_rate() -> None:
    assert custom.most_common_rate([25.0, 25.0, 29.97]) == 25
    assert custom.most_common_rate([59.94, 23.976]) == 30


def test_folders_of_images_are_videos(make_video: Callable, run_ffmpeg: Callable, tmp_path: Path, capsys) -> None:
    """As JHMDB and rawframes have them; image names in box files lead to folder and number."""
    for name in ("a kick", "b.2"):
        video = make_video(tmp_path / f"{name}.mp4", frames=60, fps=25)
        (tmp_path / "videos" / name).mkdir(parents=True)
        run_ffmpeg("-i", video, "-start_number", "0", tmp_path / "videos" / name / "img_%05d.png")
    coco = {
        "images": [
            {"id": number, "file_name": f"frames/{name}/img_{index:05d}.png", "width": 64, "height": 48}
            for number, (name, index) in enumerate([("a kick", 25), ("a kick", 50), ("b.2", 24)])
        ],
        "annotations": [{"image_id": number, "category_id": 1, "bbox": [16, 12, 32, 24]} for number in range(3)],
        "categories": [{"id": 1, "name": "walk"}],
    }
    boxes = _write(tmp_path / "boxes.json", json.dumps(coco))
    with pytest.raises(UserError, match="a kick: is a folder of images, which do not state their rate: say --fps"):
        _prepare(tmp_path, boxes)
    out = _prepare(tmp_path, boxes, fps=25, val_share=0)
    text = capsys.readouterr().out
    assert (
        "custom: 2 folders of images are taken for videos of 25 images a second (--fps), as a kick: 60 images, "
        "the first at 0 s" in text
    )
    rows = [row[:7] for row in _rows(out / "ava_annotations/train_boxes.csv")]
    box = ["0.2500", "0.2500", "0.7500", "0.7500", "1"]
    assert rows == [["a_kick", "0001", *box], ["a_kick", "0002", *box], ["b.2", "0001", *box]]
    assert len(list((out / "frames/a_kick").iterdir())) == 60
    cfg = load_config(out / "slowfast.yaml")
    assert verify(cfg, 1) == []
    cfg.defrost()
    cfg.DATA.SOURCE = "video"
    assert verify(cfg, 1) == []
    (tmp_path / "videos/b.2/img_00059.png").unlink()
    cfg.DATA.SOURCE = "frames"
    assert [finding.what for finding in verify(cfg, 1)] == [
        "has changed since its frames were extracted, and its boxes checked against it"
    ]


def test_images_extracted_as_documented_show_whole_seconds(
    repository: Path, make_video: Callable, run_ffmpeg: Callable, tmp_path: Path, frame_numbers: Callable
) -> None:
    (options,) = re.findall(r'ffmpeg -i "my clip.mp4" (-vf \S+) ', (repository / "docs/own_data.md").read_text())
    (tmp_path / "images").mkdir()
    video = make_video(tmp_path / "clip.mp4", frames=60, fps=10)
    run_ffmpeg("-i", video, *options.split(), tmp_path / "images" / "clip_%06d.jpg")
    assert frame_numbers(tmp_path / "images") == [0, 10, 20, 30, 40, 50]


def test_a_file_of_two_videos_is_told(make_video: Callable, run_ffmpeg: Callable, tmp_path: Path, capsys) -> None:
    (tmp_path / "videos").mkdir()
    front, rear = make_video(tmp_path / "front.mp4", frames=60), make_video(tmp_path / "rear.mp4", frames=60)
    run_ffmpeg("-i", front, "-i", rear, "-map", "0:v", "-map", "1:v", "-c", "copy", tmp_path / "videos/clip.mp4")
    _prepare(tmp_path, _write(tmp_path / "boxes.csv", "clip,1,0.1,0.1,0.5,0.9,1,0"), val_share=0)
    assert (
        "custom: warning: 1 files hold several videos, as of two cameras, and the first is taken: clip.mp4 of 64 x 48; "
        "`ffmpeg -i IN -map 0:v:1" in capsys.readouterr().out
    )


def test_a_bare_stream_is_told(make_video: Callable, run_ffmpeg: Callable, tmp_path: Path, capsys) -> None:
    (tmp_path / "videos").mkdir()
    run_ffmpeg("-i", make_video(tmp_path / "clip.mp4", frames=60, fps=30), "-c", "copy", tmp_path / "videos/clip.h264")
    _prepare(tmp_path, _write(tmp_path / "boxes.csv", "clip,1,0.1,0.1,0.5,0.9,1,0"), val_share=0)
    assert (
        "custom: warning: 1 videos are bare streams, without times, and taken as they state their rate, which may be a "
        "default: clip.h264 for 25 frames a second; `ffmpeg -r RATE" in capsys.readouterr().out
    )
