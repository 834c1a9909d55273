"""Box files of three tools: read to the same boxes, and every mistake named with its row."""

import json
from pathlib import Path

import pytest

from src.datasets.prepare.boxes import Box, normalise, read_boxes, tell_coordinates
from src.utils.errors import UserError

CLASSES = {1: "walk", 2: "wave", 3: "sit"}


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _summary(boxes: list[Box]) -> list[tuple]:
    return [(box.video, box.second, box.frame, box.corners, box.classes, box.last) for box in boxes]


def test_ava_columns(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "boxes.csv",
        "clip one.mp4,0902,0.1,0.2,0.5,0.9,1,7\nclip one.mp4,903,0.1,0.2,0.5,0.9,,7\nä,3,0.1,0.2,0.5,0.9,-1,\n",
    )
    corners = (0.1, 0.2, 0.5, 0.9)
    assert _summary(read_boxes(path, CLASSES, 30)) == [
        ("clip one.mp4", 902.0, None, corners, (1,), "7"),
        ("clip one.mp4", 903.0, None, corners, (-1,), "7"),
        ("ä", 3.0, None, corners, (-1,), ""),
    ]


CVAT_VIDEO = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
  <meta><task><name>first</name></task><source>clip.mp4</source></meta>
  <track id="4" label="person">
    <box frame="25" outside="0" occluded="0" keyframe="1" xtl="10.5" ytl="20" xbr="110" ybr="200">
      <attribute name="action">walk</attribute><attribute name="wave">true</attribute>
      <attribute name="sit">false</attribute></box>
    <box frame="50" outside="0" occluded="0" keyframe="1" xtl="10" ytl="20" xbr="110" ybr="200">
      <attribute name="action">__undefined__</attribute></box>
    <box frame="75" outside="1" occluded="0" keyframe="1" xtl="10" ytl="20" xbr="110" ybr="200"></box>
  </track>
  <track id="5" label="sit"><box frame="0" outside="0" xtl="1" ytl="2" xbr="3" ybr="4"></box></track>
</annotations>"""


def test_cvat_for_video(tmp_path: Path) -> None:
    boxes = read_boxes(_write(tmp_path / "boxes.xml", CVAT_VIDEO), CLASSES, 30)
    assert _summary(boxes) == [
        ("clip.mp4", None, 25, (10.5, 20.0, 110.0, 200.0), (1, 2), "4"),
        ("clip.mp4", None, 50, (10.0, 20.0, 110.0, 200.0), (-1,), "4"),
        ("clip.mp4", None, 0, (1.0, 2.0, 3.0, 4.0), (3,), "5"),
    ]


def test_cvat_for_images(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "boxes.xml",
        '<annotations><image id="0" name="clip/clip_000061.jpg" width="640" height="480">'
        '<box label="walk" xtl="1" ytl="2" xbr="30" ybr="40"/></image></annotations>',
    )
    assert _summary(read_boxes(path, CLASSES, 30)) == [("clip", 2.0, None, (1.0, 2.0, 30.0, 40.0), (1,), "0")]


def test_coco(tmp_path: Path) -> None:
    content = {
        "images": [
            {"id": 1, "file_name": "clip_000031.jpg", "width": 640, "height": 480},
            {"id": 2, "file_name": "x.jpg", "video": "other.mp4", "second": 4},
            {"id": 3, "file_name": "x.jpg", "video": "other.mp4", "frame": 50},
        ],
        "categories": [{"id": 7, "name": "wave"}, {"id": 8, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "bbox": [10, 20, 30, 40], "track_id": 5},
            {
                "id": 2,
                "image_id": 2,
                "category_id": 8,
                "bbox": [1, 2, 3, 4],
                "attributes": {"walk": True, "sit": False},
            },
            {"id": 3, "image_id": 3, "category_id": 8, "bbox": [1, 2, 3, 4], "attributes": {"action": "sit"}},
        ],
    }
    boxes = read_boxes(_write(tmp_path / "boxes.json", json.dumps(content)), CLASSES, 30)
    assert _summary(boxes) == [
        ("clip", 1.0, None, (10.0, 20.0, 40.0, 60.0), (2,), "5"),
        ("other.mp4", 4, None, (1.0, 2.0, 4.0, 6.0), (1,), "1"),
        ("other.mp4", None, 50, (1.0, 2.0, 4.0, 6.0), (3,), "2"),
    ]


def test_a_folder_of_files_is_read_whole(tmp_path: Path) -> None:
    _write(tmp_path / "a.csv", "a,1,0.1,0.2,0.5,0.9,1\n")
    _write(tmp_path / "b.xml", CVAT_VIDEO)
    _write(tmp_path / "notes.txt", "not boxes")
    assert [box.video for box in read_boxes(tmp_path, CLASSES, 30)] == ["a", "clip.mp4", "clip.mp4", "clip.mp4"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("b.csv", "a,1,0.1,0.2,0.5,0.9\n", "b.csv: row 1: 6 columns, expected 7 or 8"),
        ("b.csv", "a,1,0.1,0.2,0.5,0.9,1\na,1,x,0.2,0.5,0.9,1\n", "b.csv: row 2: x1 is 'x', expected a finite number"),
        ("b.csv", "a,1.5,0.1,0.2,0.5,0.9,1\n", "b.csv: row 1: second is 1.5, expected a whole number"),
        ("b.csv", "a,1,0.1,0.2,0.5,0.9,9\n", "b.csv: row 1: class 9 is not in the class list (ids 1 to 3)"),
        ("b.csv", "", "b.csv: holds no boxes"),
        ("b.txt", "", "b.txt: expected a .csv (AVA's columns), .xml (CVAT) or .json (COCO-style) file"),
        ("b.xml", "<annotations>", "b.xml: not an XML file: no element found"),
        ("b.xml", "<a/>", "b.xml: the outermost element is <a>, expected <annotations>"),
        (
            "b.xml",
            '<annotations><track id="3" label="wlak"><box frame="7" xtl="1" ytl="2" xbr="3" ybr="4"/>'
            "</track></annotations>",
            "b.xml: track 3, frame 7: label 'wlak' is not in the class list; the nearest class is 'walk'",
        ),
        ("b.json", "{", "b.json: not a JSON file"),
        ("b.json", "[]", "b.json: expected an object with the lists images, annotations and categories"),
        (
            "b.json",
            '{"images": [], "categories": [], "annotations": [{"id": 5, "image_id": 1}]}',
            "b.json: annotation 5: expected image_id, category_id and bbox",
        ),
        (
            "b.json",
            '{"images": [{"id": 1, "file_name": "x.jpg"}], "categories": [{"id": 1, "name": "walk"}], '
            '"annotations": [{"id": 5, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}]}',
            "b.json: annotation 5: cannot tell video and time from 'x.jpg', expected a name as NAME_000031.jpg",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        read_boxes(_write(tmp_path / name, text), CLASSES, 30)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def _box(*corners: float) -> Box:
    return Box("a", 1, None, corners, (1,), "", "b.csv: row 1")


def test_coordinates_are_told_apart_or_asked_for() -> None:
    source = Path("b.csv")
    assert tell_coordinates([_box(0, 0, 0.5, 1.0)], source) == "normalised"
    assert tell_coordinates([_box(0, 0, 0.5, 1.0), _box(3, 4, 200, 100)], source) == "pixels"
    with pytest.raises(UserError, match="say --coordinates normalised or --coordinates pixels"):
        tell_coordinates([_box(0, 0, 0.5, 1.3)], source)


def test_boxes_are_scaled_and_clipped() -> None:
    assert normalise(_box(32, 24, 320, 482), "pixels", 640, 480) == (0.05, 0.05, 0.5, 1.0)
    assert normalise(_box(-0.01, 0.2, 0.5, 1.02), "normalised", 640, 480) == (0.0, 0.2, 0.5, 1.0)


@pytest.mark.parametrize(
    ("corners", "coordinates", "message"),
    [
        ((0.5, 0.1, 0.4, 0.9), "normalised", "row 1: box 0.5 0.1 0.4 0.9, expected x1 < x2 and y1 < y2"),
        ((0.1, 0.1, 0.4, 0.9), "pixels", "is smaller than a pixel; the other boxes are in pixels"),
        ((10, 10, 800, 90), "pixels", "reaches beyond the frame of 640 x 480"),
        ((1.01, 0.1, 1.04, 0.9), "normalised", "lies outside the frame"),
    ],
)
def test_impossible_boxes_are_named(corners: tuple, coordinates: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        normalise(_box(*corners), coordinates, 640, 480)
    assert message in str(error.value)
