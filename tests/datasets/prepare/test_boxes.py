"""Box files of every tool: read to the same boxes, and every mistake named with its row."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.datasets.prepare.box import Box, Classes, in_shares, tell_units
from src.datasets.prepare.box_parts import image_time
from src.datasets.prepare.boxes import read_boxes
from src.utils.errors import UserError

CLASSES = {1: "walk", 2: "wave", 3: "sit"}
# One person, 20 20 to 60 80 in frames of 160 x 96, a second after the start of one.mp4 with 30 frames a second.
CORNERS = (20.0, 20.0, 60.0, 80.0)
SHARES = (0.125, 20 / 96, 0.375, 80 / 96)


def _write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def _read(path: Path, classes: Classes | None = None) -> list[Box]:
    return [box for boxes in read_boxes(path, classes or Classes(CLASSES)).values() for box in boxes]


def _when(box: Box) -> tuple:
    return (box.second, box.frame, box.image)


CVAT_BOX = 'xtl="20" ytl="20" xbr="60" ybr="80" occluded="0"'
CVAT_TRACK = f'<track id="4" label="walk"><box frame="30" outside="0" {CVAT_BOX}/></track>'
CVAT_IMAGE = f'<image id="30" name="{{}}" width="160" height="96"><box label="walk" {CVAT_BOX}/></image>'
LABEL_STUDIO_STEPS = [
    {"frame": 31, "enabled": True, "x": 12.5, "y": 100 * 20 / 96, "width": 25, "height": 62.5, "rotation": 0},
    {"frame": 33, "enabled": False, "x": 14.5, "y": 100 * 20 / 96, "width": 25, "height": 62.5, "rotation": 0},
]
COCO = {
    "images": [{"id": 1, "file_name": "one_000031.jpg", "width": 160, "height": 96}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 20, 40, 60], "track_id": 4}],
    "categories": [{"id": 1, "name": "walk"}],
}
VIA3 = {
    "project": {},
    "config": {},
    "attribute": {"1": {"aname": "action", "options": {"0": "walk", "1": "sit"}}},
    "file": {"1": {"fid": "1", "fname": "one.mp4"}},
    "view": {"1": {"fid_list": ["1"]}},
    "metadata": {"m": {"vid": "1", "z": [1.0], "xy": [2, 20, 20, 40, 60], "av": {"1": "0"}}},
}
FORMATS = {
    "AVA": ("one.csv", "one.mp4,1,0.125,0.2083333,0.375,0.8333333,1,4\n", (1.0, None, None)),
    "CVAT video": (
        "one.xml",
        f"<annotations><meta><task><source>one.mp4</source></task></meta>{CVAT_TRACK}</annotations>",
        (None, 30, None),
    ),
    "CVAT project": (
        "p.xml",
        "<annotations><meta><project><tasks><task><id>7</id><name>one.mp4</name></task></tasks></project></meta>"
        f"{CVAT_TRACK.replace('<track', '<track task_id=' + chr(34) + '7' + chr(34))}</annotations>",
        (None, 30, None),
    ),
    "CVAT images of a video": (
        "i.xml",
        "<annotations><meta><task><source>one.mp4</source></task></meta>"
        f"{CVAT_IMAGE.format('frame_000030')}</annotations>",
        (None, 30, None),
    ),
    "CVAT images": ("j.xml", f"<annotations>{CVAT_IMAGE.format('one_000031.jpg')}</annotations>", (None, None, 31)),
    "CVAT polygon": (
        "g.xml",
        "<annotations><meta><task><source>one.mp4</source></task></meta><track id='4' label='walk'>"
        "<polygon frame='30' outside='0' points='20,50;40,20;60,30;30,80'/></track></annotations>",
        (None, 30, None),
    ),
    "COCO": ("c.json", COCO, (None, None, 31)),
    "Label Studio": (
        "l.json",
        [
            {
                "data": {"video": "/data/upload/one.mp4"},
                "annotations": [
                    {
                        "result": [
                            {
                                "type": "videorectangle",
                                "value": {"framesCount": 150, "sequence": LABEL_STUDIO_STEPS, "labels": ["walk"]},
                            }
                        ]
                    }
                ],
            }
        ],
        (None, 30, None),
    ),
    "Label Studio image": (
        "li.json",
        [
            {
                "data": {"image": "/data/upload/2/0f3ad3a0-one_000031.jpg"},
                "annotations": [
                    {
                        "result": [
                            {
                                "type": "rectanglelabels",
                                "original_width": 160,
                                "value": {
                                    **{key: LABEL_STUDIO_STEPS[0][key] for key in ("x", "y", "width", "height")},
                                    "rectanglelabels": ["walk"],
                                },
                            }
                        ]
                    }
                ],
            }
        ],
        (None, None, 31),
    ),
    "LabelMe": (
        "one_000031.json",
        {
            "imagePath": "..\\one_000031.jpg",
            "imageWidth": 160,
            "imageHeight": 96,
            "shapes": [{"label": "walk", "points": [[60, 20], [20, 80]], "shape_type": "rectangle", "group_id": 4}],
        },
        (None, None, 31),
    ),
    "VIA 3": ("v.json", VIA3, (1.0, None, None)),
    "VIA CSV": (
        "v.csv",
        "# Exported using VGG Image Annotator\n"
        '"1_a","[""one.mp4""]",0,"[1.0]","[2,20,20,40,60]","{""action"":""walk""}"\n',
        (1.0, None, None),
    ),
    "VIA 2 CSV": (
        "w.csv",
        "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
        'one_000031.jpg,9,"{}",1,0,"{""name"":""rect"",""x"":20,""y"":20,""width"":40,""height"":60}",'
        '"{""action"":""walk""}"\n',
        (None, None, 31),
    ),
    "YOLO": ("one_31.txt", "0 0.25 0.5208333 0.25 0.625\n", (None, 30, 31)),
    "YOLO polygon": ("one_31.txt", "0 0.125 0.5 0.25 0.2083333 0.375 0.5 0.25 0.8333333\n", (None, 30, 31)),
    "YOLO images": ("one_000031.txt", "0 0.25 0.5208333 0.25 0.625\n", (None, None, 31)),
    "VIA 2 JSON": (
        "w.json",
        {
            "one_000031.jpg9": {
                "filename": "one_000031.jpg",
                "regions": [
                    {
                        "shape_attributes": {"name": "rect", "x": 20, "y": 20, "width": 40, "height": 60},
                        "region_attributes": {"action": "walk"},
                    }
                ],
            }
        },
        (None, None, 31),
    ),
    "COCO of Roboflow": (
        "rf.json",
        COCO | {"images": [COCO["images"][0] | {"file_name": "one_000031_jpg.rf.0f3ad3a0.jpg"}]},
        (None, None, 31),
    ),
    "Pascal VOC": (
        "o.xml",
        "<annotation><filename>one_000031.jpg</filename><size><width>160</width><height>96</height></size><object>"
        "<name>walk</name><bndbox><xmin>20</xmin><ymin>20</ymin><xmax>60</xmax><ymax>80</ymax></bndbox></object>"
        "</annotation>",
        (None, None, 31),
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_box(tmp_path: Path, name: str) -> None:
    file, content, when = FORMATS[name]
    box = _read(_write(tmp_path / file, content))[0]
    assert Path(box.video).stem == "one"
    assert _when(box) == when
    assert box.classes == (1,)
    units = box.units or tell_units([box], tmp_path)
    assert in_shares(box, units, (160, 96), (160, 96)) == pytest.approx(SHARES, abs=1e-6)


def test_label_studio_interpolates_until_a_track_is_switched_off(tmp_path: Path) -> None:
    boxes = _read(_write(tmp_path / "l.json", FORMATS["Label Studio"][1]))
    assert [box.frame for box in boxes] == [30, 31, 32]
    assert [round(box.corners[0], 4) for box in boxes] == [0.125, 0.135, 0.145]
    assert {box.frames for box in boxes} == {150}


def test_a_track_of_label_studio_without_a_count_of_frames_is_timed_by_its_steps(tmp_path: Path) -> None:
    """The program plays at 25 frames a second, whatever the video's rate is; frame 26 is at 1 s."""
    steps = [{"frame": frame, "time": frame / 25, "x": 1, "y": 1, "width": 9, "height": 9} for frame in (26, 28)]
    value = {"sequence": steps, "labels": ["walk"]}
    task = {"data": {"video": "one.mp4"}, "annotations": [{"result": [{"type": "videorectangle", "value": value}]}]}
    path = _write(tmp_path / "l.json", [task])
    assert [_when(box) for box in _read(path)] == [(1.0, None, None), (1.04, None, None), (1.08, None, None)]
    value["sequence"] = steps[:1]
    assert [_when(box) for box in _read(_write(path, [task]))] == [(1.0, None, None)]
    value["sequence"] = []
    classes = Classes(CLASSES)
    with pytest.raises(UserError, match="holds no boxes"):
        _read(_write(path, [task]), classes)
    assert +classes.unread == {"track without boxes (Label Studio)": 1}


def test_numbers_of_a_tracker_are_neither_scores_nor_corners(tmp_path: Path) -> None:
    path, box = tmp_path / "one_31.txt", "0 0.25 0.52 0.25 0.62"
    for row, score, person, classes in (
        (f"{box} 3\n{box} 1", None, "3", (1,)),
        (f"{box} 0.9 1\n{box} 1 2", "0.9", "1", (-1,)),
        (f"{box} 0.9\n{box} 1", "0.9", f"{path}: row 1", (-1,)),
    ):
        first, _ = _read(_write(path, row))
        assert (first.score, first.last, first.classes) == (score, person, classes)
        assert first.corners == pytest.approx((0.125, 0.21, 0.375, 0.83))
    triangle = "0 0.1 0.2 0.3 0.2 0.2 0.9"
    assert _read(_write(path, triangle))[0].corners == (0.1, 0.2, 0.3, 0.9)


@pytest.mark.parametrize(("name", "image"), [("one_mp4-30_jpg.rf.0a1b", 31), ("one_31_jpg.rf.0a1b", 31)])
def test_roboflow_numbers_images_that_it_extracts_from_0(tmp_path: Path, name: str, image: int) -> None:
    (box,) = _read(_write(tmp_path / f"{name}.txt", FORMATS["YOLO"][1]))
    assert (box.video, box.image, box.frame) == ("one", image, None)


def test_label_studio_counts_frames_of_all_that_it_plays(tmp_path: Path) -> None:
    """25 a second, as long as the sound lasts."""
    value = {"sequence": LABEL_STUDIO_STEPS[:1], "labels": ["walk"], "framesCount": 100}
    for more, rate in (({"duration": 4.0}, 25.0), ({}, None)):
        result = [{"type": "videorectangle", "value": value | more}]
        task = {"data": {"video": "one.mp4"}, "annotations": [{"result": result}]}
        assert {(box.frames, box.rate) for box in _read(_write(tmp_path / "l.json", [task]))} == {(100, rate)}


def test_label_studio_exports_to_other_formats_with_its_digits(tmp_path: Path) -> None:
    """Before the names of uploads; and notes.json beside YOLO's files."""
    _write(tmp_path / "yolo/notes.json", {"categories": [], "info": {"contributor": "Label Studio"}})
    _write(tmp_path / "yolo/classes.txt", "walk\n")
    _write(tmp_path / "yolo/labels/a1b2c3d4-one_000031.txt", FORMATS["YOLO"][1])
    image = {"id": 1, "file_name": "images/a1b2c3d4-one_000031.jpg"}
    annotation = {"image_id": 1, "category_id": 0, "bbox": [0.1, 0.2, 0.2, 0.3]}
    categories = [{"id": 0, "name": "walk"}]
    _write(tmp_path / "coco.json", {"images": [image], "annotations": [annotation], "categories": categories})
    for path in (tmp_path / "yolo", tmp_path / "coco.json"):
        (box,) = _read(path)
        assert (box.video, box.image, box.other_names[0]) == ("a1b2c3d4-one", 31, "one")


def test_persons_of_a_table_are_known_however_their_number_is_written(tmp_path: Path) -> None:
    """And where there is none, each box is a person of its own, whatever its actions are."""
    rows = "".join(
        f"one,{second},0.1,0.1,0.5,0.5,1,{person}\n" for second, person in enumerate(("1", "1.0", "01", "x"))
    )
    assert [box.last for box in _read(_write(tmp_path / "a.csv", rows))] == ["1", "1", "1", "x"]
    for person in ("", ",", ",nan"):
        rows = (f"one,{second},0.1,0.1,0.5,0.5,{action}{person}\n" for second, action in ((1, 1), (1, 2), (2, 1)))
        first, again, later = (box.last for box in _read(_write(tmp_path / "a.csv", "".join(rows))))
        assert first == again != later


def test_labelme_circles_flags_and_attributes(tmp_path: Path) -> None:
    shape = {"label": "person", "points": [[40, 50], [40, 60]], "shape_type": "circle"}
    shape |= {"flags": {"sit": True, "wave": False}, "attributes": {"action": "walk"}}
    file = {"imagePath": "one_000031.jpg", "shapes": [shape]}
    (box,) = _read(_write(tmp_path / "a.json", file))
    assert (box.corners, box.classes, box.last) == ((30, 40, 50, 60), (1, 3), f"{tmp_path / 'a.json'}: shape 0")


def test_persons_of_detectors_have_scores_and_no_action(tmp_path: Path) -> None:
    mot = _read(_write(tmp_path / "one.txt", "31,-1,20,20,40,60,0.9,-1,-1,-1\n32,-1,20,20,40,60,0.8\n"))
    assert [(box.video, box.frame, box.corners, box.classes, box.score) for box in mot] == [
        ("one", 30, CORNERS, (-1,), "0.9"),
        ("one", 31, CORNERS, (-1,), "0.8"),
    ]
    classes = Classes(CLASSES)
    _read(_write(tmp_path / "one.txt", "31,1,20,20,40,60,1,1,0.9\n31,2,20,20,40,60,1,3,0.9\n"), classes)
    assert classes.detected == {"1": 1, "3": 1}
    (tracked,) = _read(_write(tmp_path / "one.txt", "31,7,20,20,40,60,0.9,-1,-1,-1\n"))
    assert (tracked.last, tracked.score) == ("7", "0.9")
    classes = Classes(CLASSES)
    row = "0.25 0.5208333 0.25 0.625 0.7"
    yolo, _ = _read(_write(tmp_path / "one_31.txt", f"0 {row}\n56 {row}\n"), classes)
    assert (yolo.classes, yolo.score) == ((-1,), "0.7")
    assert classes.detected == {"0": 1, "56": 1}
    proposals = {"one,0902": np.array([[0.1, 0.2, 0.5, 0.9, 0.93]])}
    (pickled,) = _read(_write(tmp_path / "d.pkl", pickle.dumps(proposals)))
    assert (pickled.video, pickled.second, pickled.is_ava) == ("one", 902, True)
    assert (pickled.corners, pickled.score) == ((0.1, 0.2, 0.5, 0.9), "0.93")


def test_coco_results_refer_to_the_images_of_the_coco_file_before(tmp_path: Path) -> None:
    classes = Classes(CLASSES)
    _read(_write(tmp_path / "c.json", COCO), classes)
    results = [{"image_id": 1, "category_id": 1, "bbox": [20, 20, 40, 60], "score": 0.41}]
    (box,) = _read(_write(tmp_path / "r.json", results), classes)
    assert (box.video, box.image, box.corners, box.score, box.size) == ("one", 31, CORNERS, "0.41", (160, 96))


def test_images_of_one_number_are_told_apart_or_refused(tmp_path: Path) -> None:
    """Numbers of COCO files are their own: two files of a folder may use the same ones for different images."""
    other = COCO | {"images": [COCO["images"][0] | {"file_name": "two_000061.jpg"}]}
    for name, content in (("a.json", COCO), ("b.json", other)):
        _write(tmp_path / "coco" / name, content)
    classes = Classes(CLASSES)
    assert [(box.video, box.image) for box in _read(tmp_path / "coco", classes)] == [("one", 31), ("two", 61)]
    results = [{"image_id": 1, "category_id": 1, "bbox": [20, 20, 40, 60], "score": 0.41}]
    with pytest.raises(UserError, match="result 0: image '1' stands for several images in the COCO files"):
        _read(_write(tmp_path / "r.json", results), classes)
    twice = COCO | {"images": [*COCO["images"], *other["images"]]}
    with pytest.raises(UserError, match=r"t\.json: image '1' is there twice, with different content"):
        _read(_write(tmp_path / "t.json", twice))
    with pytest.raises(UserError, match="annotation 1: there is no image '9'"):
        _read(_write(tmp_path / "t.json", COCO | {"annotations": [COCO["annotations"][0] | {"image_id": 9}]}), classes)


@pytest.mark.parametrize("name", ["classes.txt", "obj.names", "data.yaml"])
def test_names_beside_yolos_files_say_which_class_is_meant(tmp_path: Path, capsys, name: str) -> None:
    """Their order is often not that of the class list."""
    _write(tmp_path / "labels/one_31.txt", FORMATS["YOLO"][1])
    names = ["sit", "walk"]
    _write(tmp_path / name, f"names: {names}" if name == "data.yaml" else "\n".join(names))
    boxes = read_boxes(tmp_path, Classes(CLASSES))
    assert [(file.name, box.classes) for file, found in boxes.items() for box in found] == [("one_31.txt", (3,))]
    text = capsys.readouterr().out
    assert f"classes of YOLO's files are those of {tmp_path / name}" in text and "passed over" not in text
    _write(tmp_path / "labels/one_61.txt", FORMATS["YOLO"][1].replace("0", "2", 1))
    with pytest.raises(UserError, match=r"one_61\.txt: row 1: class 2 is none of the 2 names beside the file"):
        _read(tmp_path)


def test_numbers_of_yolos_classes_without_names_are_those_of_the_class_list(tmp_path: Path) -> None:
    classes, path = Classes(CLASSES), tmp_path / "one_31.txt"
    (box,) = _read(_write(path, FORMATS["YOLO"][1].replace("0", "2", 1)), classes)
    assert (box.classes, classes.by_number) == ((3,), (2, "sit"))
    for number in (3, -1, -2):
        with pytest.raises(UserError, match=r"one_31\.txt: row 2: class \d is not in the class list"):
            _read(_write(path, FORMATS["YOLO"][1] + FORMATS["YOLO"][1].replace("0", str(number), 1)))


def test_of_several_annotations_of_a_label_studio_task_the_ground_truth_counts(tmp_path: Path) -> None:
    (task,) = json.loads(json.dumps(FORMATS["Label Studio image"][1]))
    (annotation,) = task["annotations"]
    other = json.loads(json.dumps(annotation))
    other["result"][0]["value"]["x"] = 50
    task["annotations"] = [annotation, other]
    path = tmp_path / "l.json"
    with pytest.raises(UserError, match="task 0: holds 2 annotations of the same persons; mark one as the"):
        _read(_write(path, [task]))
    other["ground_truth"] = True
    assert [box.corners[0] for box in _read(_write(path, [task]))] == [0.5]
    other |= {"ground_truth": False, "was_cancelled": True}
    classes = Classes(CLASSES)
    assert [box.corners[0] for box in _read(_write(path, [task]), classes)] == [0.125]
    assert classes.unread["task that was skipped (Label Studio)"] == 1


def test_label_studio_images_that_were_turned_or_are_others(tmp_path: Path) -> None:
    (task,) = json.loads(json.dumps(FORMATS["Label Studio image"][1]))
    (region,) = task["annotations"][0]["result"]
    region |= {"original_width": 160, "original_height": 96, "image_rotation": 0}
    assert _read(_write(tmp_path / "l.json", [task]))[0].size == (160, 96)
    region["image_rotation"] = 90
    with pytest.raises(UserError, match="task 0: 0: the image was turned in the program; annotate it as it is"):
        _read(_write(tmp_path / "l.json", [task]))


@pytest.mark.parametrize(
    "source",
    [
        "https://host/a/one_000031.jpg?X-Amz-Expires=9&v=1.2",
        "s3://bucket/one_000031.jpg",
        "/data/local-files/?d=one_000031.jpg",
    ],
)
def test_label_studio_names_files_by_address(tmp_path: Path, source: str) -> None:
    (task,) = json.loads(json.dumps(FORMATS["Label Studio image"][1]))
    task["data"] = {"version": "7.5", "image": source}
    (box,) = _read(_write(tmp_path / "l.json", [task]))
    assert (box.video, box.image) == ("one", 31)


def test_checkboxes_of_via_3_name_several_classes(tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    for chosen, classes in (("0,1", (1, 3)), ("1", (3,)), ("", (-1,))):
        metadata = {"m": VIA3["metadata"]["m"] | {"av": {"1": chosen}}}
        assert _read(_write(path, VIA3 | {"metadata": metadata}))[0].classes == classes
    row = FORMATS["VIA CSV"][1]
    assert _read(_write(tmp_path / "v.csv", row.replace("walk", "walk,sit")))[0].classes == (1, 3)
    with pytest.raises(UserError, match="holds numbers of options instead of their names"):
        _read(_write(tmp_path / "v.csv", row.replace("walk", "0,1")))


def test_spans_of_time_of_via_3_are_counted(tmp_path: Path) -> None:
    span = {"vid": "1", "z": [1.0, 3.5], "xy": [], "av": {"1": "1"}}
    classes = Classes(CLASSES)
    path = _write(tmp_path / "v.json", VIA3 | {"metadata": VIA3["metadata"] | {"n": span}})
    assert len(_read(path, classes)) == 1 and +classes.unread == {"span of time (VIA)": 1}
    row = '"n","[""one.mp4""]",0,"[1.0,3.5]","[]","{}"\n'
    _read(_write(tmp_path / "v.csv", FORMATS["VIA CSV"][1] + row), classes)
    assert +classes.unread == {"span of time (VIA)": 2}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.json", {"images": [{"id": 0, "file_name": "one_000000.jpg"}, {"id": 1, "file_name": "one_31.jpg"}]}),
        ("one_000000.txt", ""),
        ("one/000000.jpg", "an image"),
        ("one_000000.xml", "<annotation><filename>one_000000.jpg</filename></annotation>"),
        ("i.xml", '<annotations><image name="one/0.jpg"/></annotations>'),
        ("l.json", [{"data": {"image": "/data/upload/2/0f3ad3a0-one_0.jpg"}, "annotations": [{"result": []}]}]),
        ("one_0.json", {"imagePath": "one_0.jpg", "shapes": []}),
        ("v.json", {"one_0.jpg9": {"filename": "one_0.jpg", "regions": []}}),
        ("v.csv", FORMATS["VIA 2 CSV"][1].splitlines()[0] + '\none_0.jpg,9,"{}",0,0,"{}","{}"\n'),
        ("r.json", [{"image_id": "one_0.jpg", "category_id": 1, "bbox": [1, 1, 2, 2], "score": 0.5}]),
    ],
)
def test_an_image_of_the_number_0_is_noted_without_boxes_too(tmp_path: Path, name: str, content: object) -> None:
    """By the name of its video: images of other names, as a logo, say nothing."""
    (tmp_path / "boxes").mkdir()
    _write(tmp_path / "boxes" / FORMATS["CVAT images"][0], FORMATS["CVAT images"][1])
    _write(tmp_path / "boxes/logo0.png", "an image")
    if name == "c.json":
        annotation = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}
        content = content | {"annotations": [annotation], "categories": [{"id": 1, "name": "walk"}]}
    classes = Classes(CLASSES)
    _read(tmp_path / "boxes", classes)
    assert classes.images.numbers["one"] == {31}
    _write(tmp_path / "boxes" / name, content)
    _read(tmp_path / "boxes", classes)
    assert classes.images.numbers["one"] == {0, 31}


def test_via_3_counts_pixels_as_a_player_shows_them(tmp_path: Path) -> None:
    """Of 720 x 576 as on DVD, 1024 x 576 are shown; images keep the pixels that are stored."""
    sizes = (720, 576), (1024, 576)
    for name, left in (("VIA 3", 20 / 1024), ("VIA CSV", 20 / 1024), ("VIA 2 CSV", 20 / 720)):
        (box,) = _read(_write(tmp_path / FORMATS[name][0], FORMATS[name][1]))
        assert in_shares(box, "pixels", *sizes)[0] == left


def test_images_of_via_2_without_regions_are_counted(tmp_path: Path) -> None:
    row = 'one_000001.jpg,9,"{}",0,0,"{}","{}"\n'
    header, region = FORMATS["VIA 2 CSV"][1].splitlines(keepends=True)
    classes = Classes(CLASSES)
    assert len(_read(_write(tmp_path / "v.csv", header + row + region), classes)) == 1
    assert classes.empty_rows == 1


@pytest.mark.parametrize(
    "shape",
    [
        {"name": "polygon", "all_points_x": [20, 60, 40], "all_points_y": [20, 50, 80]},
        {"name": "circle", "cx": 40, "cy": 50, "r": 20},
        {"name": "ellipse", "cx": 40, "cy": 50, "rx": 30, "ry": 20, "theta": np.pi / 2},
    ],
)
def test_shapes_of_via_2_count_as_what_encloses_them(tmp_path: Path, shape: dict) -> None:
    region = {"shape_attributes": shape, "region_attributes": {"action": {"walk": True, "sit": False}}}
    project = {"_via_img_metadata": {"one_000031.jpg9": {"filename": "one_000031.jpg", "regions": [region]}}}
    (box,) = _read(_write(tmp_path / "v.json", project))
    height = 20 if shape["name"] == "circle" else 30
    assert box.corners == pytest.approx((20, 50 - height, 60, 50 + height)) and box.classes == (1,)


def test_names_that_look_the_same_are_the_same(tmp_path: Path) -> None:
    """Composed and decomposed letters, and spaces of any kind."""
    classes = Classes({1: "\u00e9tirer", 2: "stand up"})
    assert classes.named("e\u0301tirer ", {}, "") == (1,)
    assert classes.named(None, {"action": "stand\u00a0up"}, "") == (2,)
    with pytest.raises(UserError, match="the classes 1 'stand up' and 2 'stand  up' look the same"):
        Classes({1: "stand up", 2: "stand  up"})


def test_mot_boxes_go_around_the_whole_person(tmp_path: Path) -> None:
    row = "31,1,-20,20,60,60,1\n"
    (box,) = _read(_write(tmp_path / "one.txt", row))
    assert in_shares(box, "pixels", (160, 96), (160, 96)) == pytest.approx((0, 20 / 96, 0.25, 80 / 96))
    _write(tmp_path / "one/seqinfo.ini", "[Sequence]\nimWidth=320\nimHeight=192\n")
    (box,) = _read(_write(tmp_path / "one/gt/gt.txt", row))
    assert in_shares(box, "pixels", (160, 96), (160, 96)) == pytest.approx((0, 20 / 192, 0.125, 80 / 192))


def test_what_a_file_marks_as_no_person_is_known(tmp_path: Path) -> None:
    crowd = COCO | {"annotations": [COCO["annotations"][0] | {"iscrowd": crowd} for crowd in (0, 1)]}
    assert [box.is_marked for box in _read(_write(tmp_path / "c.json", crowd))] == [False, True]
    truth = "31,1,20,20,40,60,1,1,1.0\n31,2,20,20,40,60,0,8,1.0\n"
    assert [box.is_marked for box in _read(_write(tmp_path / "one.txt", truth))] == [False, True]
    found = "31,-1,20,20,40,60,0,-1,-1,-1\n"
    assert [box.is_marked for box in _read(_write(tmp_path / "two.txt", found))] == [False]


@pytest.mark.parametrize(("file", "video"), [("MOT/cam-1/gt/gt.txt", "cam-1"), ("det/cam.txt", "cam")])
def test_mot_names_the_video_by_file_or_folder(tmp_path: Path, file: str, video: str) -> None:
    (box,) = _read(_write(tmp_path / file, "31,1,20,20,40,60,1\n"))
    assert box.video == video


def test_label_studio_puts_digits_before_names_and_knows_more_than_boxes(tmp_path: Path) -> None:
    (task,) = json.loads(json.dumps(FORMATS["Label Studio"][1]))
    task["data"]["video"] = "/data/upload/1/0f3ad3a0-my%20clip.mp4"
    task["annotations"][0]["result"].append({"type": "choices", "value": {"choices": ["indoor"]}})
    classes = Classes(CLASSES)
    boxes = _read(_write(tmp_path / "b.json", [task]), classes)
    assert {(box.video, box.other_names) for box in boxes} == {("0f3ad3a0-my clip.mp4", ("my clip.mp4",))}
    assert +classes.unread == {"'choices' (Label Studio)": 1}


def test_labels_and_choices_of_a_region_of_label_studio_are_its_classes(tmp_path: Path) -> None:
    (task,) = json.loads(json.dumps(FORMATS["Label Studio image"][1]))
    (region,) = task["annotations"][0]["result"]
    region["id"], region["value"]["rectanglelabels"] = "a", ["person"]
    choices = {"id": "a", "type": "choices", "from_name": "action", "value": {"choices": ["walk", "sit"]}}
    of_the_task = {"id": "b", "type": "choices", "from_name": "place", "value": {"choices": ["indoor"]}}
    task["annotations"][0]["result"] += [choices, of_the_task]
    classes = Classes(CLASSES)
    assert [box.classes for box in _read(_write(tmp_path / "l.json", [task]), classes)] == [(1, 3)]
    assert +classes.unread == {"'choices' (Label Studio)": 1}
    region["type"] = "rectangle"
    del region["value"]["rectanglelabels"]
    task["annotations"][0]["result"][1] = {"id": "a", "type": "labels", "value": {"labels": ["wave"]}}
    assert [box.classes for box in _read(_write(tmp_path / "l.json", [task]))] == [(2,)]


@pytest.mark.parametrize("value", [["walk", "sit"], "walk,sit", "walk, sit"])
def test_an_attribute_may_name_several_classes(tmp_path: Path, value: object) -> None:
    annotation = COCO["annotations"][0] | {"category_id": 2, "attributes": {"actions": value}}
    content = COCO | {"annotations": [annotation], "categories": [{"id": 2, "name": "person"}]}
    assert [box.classes for box in _read(_write(tmp_path / "c.json", content))] == [(1, 3)]


def test_frames_of_cvat_that_its_task_has_not_are_refused(tmp_path: Path) -> None:
    """Every fifth frame from 10 on was annotated; a file that counts them 0, 1, 2 means others."""
    task = "<id>7</id><name>one.mp4</name><start_frame>10</start_frame><frame_filter>step=5</frame_filter>"
    track = '<track id="4" label="walk" task_id="7"><box frame="{}" outside="0" ' + f"{CVAT_BOX}/></track>"
    for meta in (f"<task>{task}</task>", f"<project><tasks><task>{task}</task></tasks></project>"):
        text = f"<annotations><meta>{meta}</meta>{track}</annotations>"
        assert _read(_write(tmp_path / "a.xml", text.format(30)))[0].frame == 30
        with pytest.raises(UserError, match="track 4, frame 1: is none of the frames of its task, which are every 5th"):
            _read(_write(tmp_path / "a.xml", text.format(1)))


def test_no_pickle_is_executed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.write_text, (tmp_path / "written", "x"))

    with pytest.raises(UserError, match=r"d\.pkl: refused"):
        _read(_write(tmp_path / "d.pkl", pickle.dumps({"one,1": Evil()})))
    assert not (tmp_path / "written").exists()


def test_turned_boxes_and_other_shapes_count_as_what_encloses_them(tmp_path: Path) -> None:
    shapes = (
        '<box label="walk" xtl="30" ytl="20" xbr="50" ybr="40" rotation="45"/>'
        '<ellipse label="walk" cx="40" cy="30" rx="20" ry="10" rotation="90"/>'
        '<mask label="walk" left="1" top="2" width="3" height="4" rle="1"/>'
        '<skeleton label="walk"><points label="a" points="5,6"/><points label="b" points="9,8"/>'
        '<points label="c" points="0,0" outside="1"/></skeleton>'
        '<cuboid label="walk" xtl1="5" ytl1="6" xbl1="5" ybl1="8" xtr1="7" ytr1="6" xbr1="7" ybr1="8" '
        'xtl2="6" ytl2="5" xbl2="6" ybl2="7" xtr2="9" ytr2="5" xbr2="9" ybr2="7"/><tag label="walk"/>'
    )
    image = f'<annotations><image name="one_000001.jpg" width="160" height="96">{shapes}</image></annotations>'
    classes = Classes(CLASSES)
    boxes = _read(_write(tmp_path / "a.xml", image), classes)
    half = 10 * 2**0.5
    expected = [(40 - half, 30 - half, 40 + half, 30 + half), (30, 10, 50, 50), (1, 2, 4, 6)]
    expected += [(5, 6, 9, 8), (5, 5, 9, 8)]
    assert dict(classes.unread) == {"tag (CVAT)": 1}
    for box, corners in zip(boxes, expected, strict=True):
        assert box.corners == pytest.approx(corners)


def test_a_cvat_box_stands_for_label_attribute_values_and_ticked_boxes(tmp_path: Path) -> None:
    attributes = (
        '<attribute name="action">walk</attribute><attribute name="wave">true</attribute>'
        '<attribute name="sit">false</attribute>'
    )
    text = (
        f'<annotations><track id="0" label="person"><box frame="0" {CVAT_BOX}>{attributes}</box></track></annotations>'
    )
    assert _read(_write(tmp_path / "a.xml", text))[0].classes == (1, 2)


def test_a_cvat_task_of_extracted_images_is_no_video(tmp_path: Path) -> None:
    """The video's own frames have no suffix and count from 0; ffmpeg's images have one, and count from 1."""
    task = "<meta><task><name>one.mp4</name><size>3</size><mode>annotation</mode></task></meta>"

    def read(content: str, meta: str = task) -> Box:
        (box,) = _read(_write(tmp_path / "a.xml", f"<annotations>{meta}{content}</annotations>"))
        return box

    box = read(CVAT_IMAGE.format("frame_000031.jpg"))
    assert (_when(box), box.other_names) == ((None, None, 31), ("one.mp4",))
    box = read(CVAT_IMAGE.format("one/frame_000031.jpg"))
    assert (_when(box), box.other_names) == ((None, None, 31), ("one", "one.mp4"))
    no_source = task.replace("<mode>", "<source></source><mode>")
    assert _when(read(CVAT_IMAGE.format("frame_000031.jpg"), no_source)) == (None, None, 31)
    assert _when(read(CVAT_IMAGE.format("frame_000030"))) == (None, 30, None)
    of_video = task.replace("<mode>annotation", "<source>one.mp4</source><mode>interpolation")
    assert _when(read(CVAT_IMAGE.format("frame_000030.PNG"), of_video)) == (None, 30, None)
    # "CVAT for video" numbers a task's images anew.
    assert read(CVAT_TRACK).listed == 3
    assert read(CVAT_TRACK, of_video).listed is None


def test_turned_boxes_of_cvat_in_coco_and_pascal_voc(tmp_path: Path) -> None:
    """Both hold the box as it was before it was turned, and by how much in an attribute."""
    coco = COCO | {"annotations": [COCO["annotations"][0] | {"attributes": {"rotation": 90.0, "occluded": False}}]}
    attribute = "<attributes><attribute><name>rotation</name><value>90.0</value></attribute></attributes>"
    voc = FORMATS["Pascal VOC"][1].replace("</object>", f"{attribute}</object>")
    for path in (_write(tmp_path / "c.json", coco), _write(tmp_path / "one_000031.xml", voc)):
        (box,) = _read(path)
        assert box.corners == pytest.approx((10, 30, 70, 70))
        assert (box.classes, box.is_whole) == ((1,), True)


def test_keypoints_of_yolo_are_no_corners(tmp_path: Path) -> None:
    for dimensions, point in ((2, "0.2 0.3"), (3, "0.2 0.3 2")):
        _write(tmp_path / "data.yaml", f"names: [walk, wave, sit]\nkpt_shape: [17, {dimensions}]\n")
        row = FORMATS["YOLO"][1].strip() + 17 * f" {point}"
        (box,) = _read(_write(tmp_path / "one_31.txt", row))
        assert box.corners == pytest.approx(SHARES)
        (box,) = _read(_write(tmp_path / "one_31.txt", f"{row} 0.9"))
        assert (box.corners, box.score) == (pytest.approx(SHARES), "0.9")


def test_a_mot_sequence_states_its_rate_and_length(tmp_path: Path) -> None:
    path = _write(tmp_path / "one/gt/gt.txt", "31,1,20,20,40,60,1,-1,-1,-1\n")
    _write(tmp_path / "one/seqinfo.ini", "[Sequence]\nname=one\nframeRate=10\nseqLength=50\n")
    (box,) = _read(path)
    assert (box.frames, box.rate, box.size) == (50, 10.0, None)
    _write(tmp_path / "one/seqinfo.ini", f"[Sequence]\nframeRate={400 * '9'}\nseqLength=50\n")
    assert _read(path)[0].rate is None


def test_flags_of_a_whole_image_are_counted(tmp_path: Path) -> None:
    name, content, _ = FORMATS["LabelMe"]
    classes = Classes(CLASSES)
    _read(_write(tmp_path / name, content | {"flags": {"sit": True, "blurred": False}}), classes)
    assert +classes.unread == {"flag of a whole image (LabelMe)": 1}


def test_label_studio_knows_the_video_among_other_texts(tmp_path: Path) -> None:
    _, (task,), _ = FORMATS["Label Studio"]
    data = {"camera": "cam1.example.com", **task["data"]}
    assert {box.video for box in _read(_write(tmp_path / "l.json", [task | {"data": data}]))} == {"one.mp4"}


def test_copies_of_an_image_are_known(tmp_path: Path) -> None:
    images = [COCO["images"][0] | {"file_name": "one_000031_jpg.rf.0a1b.jpg"}]
    (box,) = _read(_write(tmp_path / "c.json", COCO | {"images": images}))
    assert (box.video, box.image, box.copy) == ("one", 31, "0a1b")


def test_attributes_in_pascal_voc_files_name_classes(tmp_path: Path) -> None:
    attribute = "<attributes><attribute><name>action</name><value>sit</value></attribute></attributes>"
    text = FORMATS["Pascal VOC"][1].replace("<name>walk</name>", f"<name>person</name>{attribute}")
    assert [box.classes for box in _read(_write(tmp_path / "one_000031.xml", text))] == [(3,)]


def test_values_that_nearly_are_classes_are_counted(tmp_path: Path) -> None:
    boxes = "".join(
        f'<box frame="{frame}" {CVAT_BOX}><attribute name="action">{value}</attribute></box>'
        for frame, value in enumerate(["Sit", "Sit", "waving", "nothing at all"])
    )
    classes = Classes(CLASSES)
    found = _read(
        _write(tmp_path / "a.xml", f'<annotations><track label="person">{boxes}</track></annotations>'), classes
    )
    assert [box.classes for box in found] == [(-1,)] * 4
    assert classes.near_misses == {("Sit", "sit"): 2, ("waving", "wave"): 1}
    # Beside a class, too.
    assert classes.named(None, {"action": "walk, waving"}, "") == (1,)
    assert classes.near_misses["waving", "wave"] == 2


def test_numbers_in_quotes_are_numbers_and_byte_order_marks_are_skipped(tmp_path: Path) -> None:
    content = COCO | {"images": [{"id": "1", "video": "one.mp4", "second": "2"}]}
    path = _write(tmp_path / "c.json", b"\xef\xbb\xbf" + json.dumps(content).encode())
    assert _when(_read(path)[0]) == (2.0, None, None)


def test_a_folder_of_files_is_read_whole_and_what_is_not_read_is_told(tmp_path: Path, capsys) -> None:
    for name in ("AVA", "CVAT video", "COCO"):
        _write(tmp_path / "boxes" / FORMATS[name][0], FORMATS[name][1])
    _write(tmp_path / "boxes/below/one_31.txt", FORMATS["YOLO"][1])
    _write(tmp_path / "boxes/notes.txt", "not boxes")
    for name in ("task 2.zip", "images/one_000031.jpg", "one.mp4", ".hidden"):
        _write(tmp_path / "boxes" / name, "")
    assert [file.name for file in read_boxes(tmp_path / "boxes", Classes(CLASSES))] == [
        "one_31.txt",
        "c.json",
        "one.csv",
        "one.xml",
    ]
    text = capsys.readouterr().out
    assert "notes.txt is passed over" in text
    assert "1 files of other kinds are passed over: task 2.zip" in text


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("b.csv", "a,1,0.1,0.2,0.5,0.9\n", "b.csv: row 1: 6 columns, expected 7 or 8"),
        ("b.csv", "a,1,0.1,0.2,0.5,0.9,1\na,1,x,0.2,0.5,0.9,1\n", "b.csv: row 2: x1 is 'x', expected a finite number"),
        ("b.csv", "a,nan,0.1,0.2,0.5,0.9,1\n", "b.csv: row 1: second is 'nan', expected a number"),
        ("b.csv", "a,1,0.1,0.2,0.5,0.9,2.7\n", "b.csv: row 1: class id is '2.7'"),
        ("b.csv", "a,1,0.1,0.2,0.5,0.9,9\n", "b.csv: row 1: class 9 is not in the class list (ids 1 to 3)"),
        ("b.csv", "", "b.csv: holds no boxes"),
        ("b.doc", "", "b.doc: cannot tell the format from its suffix; taken are CVAT (.xml), Pascal VOC (.xml)"),
        ("b.txt", "hello", "b.txt: begins with 'hello', which is no known form; taken are"),
        ("b.xml", "<annotations>", "b.xml: not an XML file: no element found"),
        ("b.xml", "<a/>", "b.xml: the outermost element is <a>, expected <annotations> (CVAT)"),
        (
            "b.xml",
            f'<annotations><track id="3" label="wlak"><box frame="7" {CVAT_BOX}/></track></annotations>',
            "b.xml: track 3, frame 7: label 'wlak' is not in the class list; the nearest class is 'walk'",
        ),
        ("b.json", "{", "b.json: not a JSON file"),
        ("b.json", "[" * 100_000, "b.json: not a JSON file"),
        ("b.json", "[]", "b.json: is a list, which no known tool writes; taken are"),
        ("b.json", '{"shape": []}', "b.json: is an object with 'shape', which no known tool writes"),
        ("b.json", COCO | {"annotations": ["x"]}, "b.json: annotation 0: Input should be a valid dictionary"),
        ("b.json", COCO | {"annotations": [{"id": 5, "image_id": 1}]}, "b.json: annotation 5: category_id: Field"),
        (
            "b.json",
            COCO | {"images": [{"id": 1, "video": "a", "second": float("nan")}]},
            "b.json: image 0: second: Input should be a finite number",
        ),
        (
            "b.json",
            COCO | {"images": [{"id": 1, "file_name": "x.jpg"}]},
            "b.json: annotation 1: cannot tell video and time from 'x.jpg', expected a name as NAME_000031.jpg",
        ),
        ("b.pkl", b"junk", "b.pkl: truncated or damaged"),
        ("b.zip", b"PK", "b.zip: is an archive; unpack it, and give the file or folder that it holds"),
        (
            "b.json",
            {"info": {}, "categories": {}, "items": []},
            "b.json: looks like a file of Datumaro, which is not read",
        ),
        ("b.json", {"size": {}, "objects": [], "frames": []}, "b.json: looks like a file of Supervisely, which is not"),
        ("one.txt", "30,1,6,5,26,38,walk\n", "one.txt: row 1: confidence is 'walk', expected a number"),
        # What the mutation loop found.
        (
            "b.json",
            VIA3 | {"metadata": {"m": {"vid": {}, "xy": [2, 1, 1, 1, 1]}}},
            "metadata m: view: expected an object",
        ),
        ("b.pkl", pickle.dumps({"one\n1,x\n": 1}), "second is 'x"),
        (
            "b.pkl",
            b"\x80\x02}U\x05one,1cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87Rs.",
            "b.pkl: one,1: damaged: it holds an array without content",
        ),
        (
            "b.json",
            json.dumps(FORMATS["Label Studio"][1]).replace('"frame": 33', '"frame": 3300000'),
            "frames 31 and 3300000 of its sequence lie too far apart",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, name: str, text: object, message: str) -> None:
    with pytest.raises(UserError) as error:
        _read(_write(tmp_path / name, text))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@given(data=st.data())
def test_whatever_a_file_holds_it_is_read_or_refused_in_one_line(tmp_path_factory, data) -> None:
    """Bytes of a good file are replaced, cut out and doubled."""
    name = data.draw(st.sampled_from(sorted(FORMATS)))
    file, content, _ = FORMATS[name]
    text = bytearray((content if isinstance(content, str) else json.dumps(content)).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(start + 12, len(text))))
        text[start:end] = data.draw(st.binary(max_size=6))
    path = _write(tmp_path_factory.getbasetemp() / "fuzz" / file, bytes(text))
    try:
        _read(path)
    except UserError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)


def _box(*corners: float, **changes: object) -> Box:
    return Box("a", corners, (1,), "", "b.csv: row 1", second=1, **changes)


def test_units_are_told_apart_or_asked_for() -> None:
    source = Path("b.csv")
    assert tell_units([_box(0, 0, 0.5, 1.0)], source) == "shares"
    assert tell_units([_box(0, 0, 0.5, 1.0), _box(3, 4, 200, 100)], source) == "pixels"
    with pytest.raises(UserError, match="say --coordinates normalized or --coordinates pixels"):
        tell_units([_box(0, 0, 0.5, 1.3)], source)


def test_boxes_are_scaled_and_clipped_by_the_size_that_was_annotated() -> None:
    frame = (640, 480), (640, 480)
    assert in_shares(_box(32, 24, 320, 482), "pixels", *frame) == (0.05, 0.05, 0.5, 1.0)
    assert in_shares(_box(-0.01, 0.2, 0.5, 1.02), "shares", *frame) == (0.0, 0.2, 0.5, 1.0)
    assert in_shares(_box(16, 12, 160, 400, size=(320, 240), is_whole=True), "pixels", *frame) == (0.05, 0.05, 0.5, 1.0)
    assert in_shares(_box(1.01, 0.1, 1.04, 0.9), "shares", *frame) is None
    # As a player shows pixels that are not square.
    assert in_shares(_box(32, 24, 320, 240, size=(640, 480)), "pixels", (480, 480), (640, 480)) == (
        0.05,
        0.05,
        0.5,
        0.5,
    )


@pytest.mark.parametrize(
    ("box", "units", "message"),
    [
        (_box(0.5, 0.1, 0.4, 0.9), "shares", "row 1: box 0.5 0.1 0.4 0.9, expected x1 < x2 and y1 < y2"),
        (_box(0.1, 0.1, 0.4, 0.9), "pixels", "is smaller than a pixel; the other boxes are in pixels"),
        (_box(10, 10, 800, 90), "pixels", "reaches beyond the frame of 640 x 480"),
        (_box(10, 10, 400, 90, size=(320, 240)), "pixels", "reaches beyond the frame of 320 x 240"),
        (_box(10, 10, 80, 90, size=(480, 640)), "pixels", "frames are 640 x 480; annotate the video upright"),
        (_box(0.1, 0.1, 0.4, 0.9, size=(480, 640)), "shares", "frames are 640 x 480; annotate the video upright"),
        (_box(10, 10, 80, 90, size=(640, 360)), "pixels", "frames are 640 x 480; is it the video that was annotated?"),
    ],
)
def test_impossible_boxes_are_named(box: Box, units: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        in_shares(box, units, (640, 480), (640, 480))
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["one/vlcsnap-00h00m02s120.png", "one/00-00-02.jpg", "one/00_00_02.jpg"])
def test_a_time_by_the_clock_is_no_number_of_an_image(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}' seems to say a time by the clock"):
        image_time(name, "a.json")
    assert image_time("2023_01_02_31.jpg", "a.json")["image"] == 31
    assert image_time("one/cam-2-000031.jpg", "a.json")["image"] == 31


def test_persons_of_several_files_or_images_are_apart(tmp_path: Path) -> None:
    """Tools count tracks anew in each task, and say of images who is there, not who was there before."""
    track = (
        f'<track id="0" label="walk"><box frame="30" outside="0" {CVAT_BOX}/><box frame="60" outside="0" {CVAT_BOX}/>'
    )
    for name in ("a", "b"):
        source = "<meta><task><source>one.mp4</source></task></meta>"
        _write(tmp_path / f"tracks/{name}.xml", f"<annotations>{source}{track}</track></annotations>")
        _write(
            tmp_path / f"images/one_{ord(name)}.json",
            {"imagePath": "", "shapes": [{"label": "walk", "points": [[1, 1], [9, 9]]}]},
        )
    assert len({box.last for box in _read(tmp_path / "tracks")}) == 2
    assert len({box.last for box in _read(tmp_path / "images")}) == 2


def test_cvat_says_where_the_task_of_a_video_ends(tmp_path: Path) -> None:
    meta = "<meta><task><stop_frame>449</stop_frame>{}</task></meta>"
    track = f'<track id="0" label="walk"><box frame="30" outside="0" {CVAT_BOX}/></track>'
    for source, end in (("<source>one.mp4</source>", 449), ("", None)):
        (box,) = _read(_write(tmp_path / "one.xml", f"<annotations>{meta.format(source)}{track}</annotations>"))
        assert box.task_end == end
