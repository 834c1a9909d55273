"""Reading and writing of AVA's CSV files."""

import numpy as np
import pytest

from src.ava import box_csv
from src.ava.box_csv import read_detections, read_excluded, read_ground_truth, write_boxes
from src.ava.box_table import select_rows
from src.utils.errors import UserError

GOOD = "v,0902,0.1,0.2,0.3,0.4,3,0.5\n"


def written(tmp_path, content, name="boxes.csv"):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_detections_are_read_exactly_and_a_repeated_box_is_kept_once(tmp_path):
    content = "v,0902,0.1,0.2,0.3,0.4,3,0.123456789012345678\nv,0902,0.1,0.2,0.3,0.4,7,1e-09\nw,1798,0,0,1,1,3,1\n"
    table = read_detections(written(tmp_path, content))
    assert table.video_names == ("v", "w")
    assert (table.video.tolist(), table.second.tolist()) == ([0, 1], [902, 1798])
    assert table.boxes_norm.tolist() == [[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 1.0]]
    assert table.row_box.tolist() == [0, 0, 1]
    assert table.row_class.tolist() == [3, 7, 3]
    assert table.row_score.tolist() == [0.123456789012345678, 1e-09, 1.0]


@pytest.mark.parametrize("end", ["", ",0", ",person 7", ","])
def test_ground_truth_may_have_a_person_id(tmp_path, end):
    table = read_ground_truth(written(tmp_path, f"-v,0902,0.1,0.2,0.3,0.4,3{end}\n"))
    assert (table.video_names, table.row_class.tolist(), table.row_score) == (("-v",), [3], None)


def test_blank_lines_line_ends_and_quotes_do_not_matter(tmp_path):
    table = read_detections(written(tmp_path, '"a,b",902,0.1,0.2,0.3,0.4,3,0.5\r\n\r\nv, 903 ,0.1,0.2,0.3,0.4,-1,0.25'))
    assert table.video_names == ("a,b", "v")
    assert (table.second.tolist(), table.row_class.tolist()) == ([902, 903], [3, -1])


def test_file_read_in_pieces_is_the_same_table(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows = [
        f"v{rng.integers(4)},{902 + box // 5:04d},{','.join(f'{x:.3f}' for x in rng.random(4))},{c},{rng.random():.5f}"
        for box in range(40)
        for c in range(1, 6)
    ]
    path = written(tmp_path, "\n".join(rows))
    whole = read_detections(path)
    monkeypatch.setattr(box_csv, "_SPAN_BYTES", 100)
    pieces = read_detections(path)
    for table in (whole, pieces):
        assert [
            f"{table.video_names[table.video[b]]},{int(table.second[b]):04d},"
            f"{','.join(f'{x:.3f}' for x in table.boxes_norm[b])},{c},{s:.5f}"
            for b, c, s in zip(table.row_box, table.row_class, table.row_score, strict=True)
        ] == rows


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("v,0902,0.1,0.2,0.3,0.4,3\n", "row 2: 7 columns, expected 8 (video, second, x1, y1, x2, y2, class id, score)"),
        ("v,0902,0.1,0.2,0.3,0.4,3,0.5,1\n", "row 2: 9 columns, expected 8"),
        ("v\n", "row 2: 1 column, expected 8"),
        ("v,0902,0.1,left,0.3,0.4,3,0.5\n", "row 2: y1 is 'left', expected a finite number"),
        ("v,0902,0.1,,0.3,0.4,3,0.5\n", "row 2: y1 is '', expected a finite number"),
        ("v,0902,0.1,0.2,nan,0.4,3,0.5\n", "row 2: x2 is 'nan', expected a finite number"),
        ("v,0902,0.1,0.2,0.3,0.4,3,NaN\n", "row 2: score is 'NaN', expected a finite number"),
        ("v,0902,0.1,0.2,0.3,0.4,3,inf\n", "row 2: score is 'inf', expected a finite number"),
        ("v,0902,0.1,0.2,0.3,0.4,3,1e999\n", "row 2: score is '1e999', expected a finite number"),
        ("v,0902,0.1,0.2,0.3,0.4,3,1_0\n", "row 2: score is '1_0', expected a finite number"),
        ("v,0902,0.1,0.2,0.3,0.4,1.7,0.5\n", "row 2: class id is '1.7', expected an integer"),
        ("v,0902,0.1,0.2,0.3,0.4,0,0.5\n", "row 2: class id is '0', expected an integer from 1 to 32767"),
        ("v,0902,0.1,0.2,0.3,0.4,-2,0.5\n", "row 2: class id is '-2', expected an integer from 1 to 32767"),
        ("v,nan,0.1,0.2,0.3,0.4,3,0.5\n", "row 2: second is 'nan', expected a number from 0 to 9999999"),
        ("v,-1,0.1,0.2,0.3,0.4,3,0.5\n", "row 2: second is '-1', expected a number from 0 to 9999999"),
        ("v;0902;0.1;0.2;0.3;0.4;3;0.5\n", "row 2: 1 column, expected 8"),
        (",0902,0.1,0.2,0.3,0.4,3,0.5\n", "row 2: the video name is empty"),
        ("a\0b,0902,0.1,0.2,0.3,0.4,3,0.5\n", "row 2: the video name 'a\\x00b' holds control characters"),
        ("v,0902,0.1,0.2,0.3,0.4,walk,0.5\n", "row 2: class id is 'walk', expected an integer"),
        ("v,0902,0.1,0.2,0.3,0.4,70000,0.5\n", "row 2: class id is '70000', expected an integer from 1 to 32767"),
    ],
)
def test_bad_detection_is_named_with_its_row(tmp_path, row, message):
    path = written(tmp_path, GOOD + row + GOOD)
    with pytest.raises(UserError) as error:
        read_detections(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("v,0902,0.1,0.2,0.3,0.4\n", "row 1: 6 columns, expected 7 or 8"),
        ("v,0902,0.1,0.2,0.3,0.4,3\nv,0902,0.1,0.2,0.3,0.4,3,1\n", "row 2: 8 columns, expected 7"),
        ("v,0902,0.3,0.2,0.1,0.4,3\n", "row 1: the box ends before it begins, expected x1 <= x2 and y1 <= y2"),
        (
            "video,second,x1,y1,x2,y2,class\n",
            "row 1: second is 'second', expected a number from 0 to 9999999 (a header line is not expected)",
        ),
    ],
)
def test_bad_ground_truth_is_named_with_its_row(tmp_path, content, message):
    with pytest.raises(UserError) as error:
        read_ground_truth(written(tmp_path, content))
    assert message in str(error.value)


def test_row_is_counted_over_all_pieces_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(box_csv, "_SPAN_BYTES", 64)
    path = written(tmp_path, GOOD * 99 + "\n" + GOOD.replace("0.5", "half"))
    with pytest.raises(UserError, match="row 101: score is 'half'"):
        read_detections(path)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_empty_file_is_refused(tmp_path, content):
    with pytest.raises(UserError, match="the file is empty, expected rows of video, second"):
        read_detections(written(tmp_path, content))


def test_bytes_that_are_not_text_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"boxes\.csv: "):
        read_detections(written(tmp_path, bytes(range(128, 256)) * 10))
    with pytest.raises(UserError, match="row 1: the video name is not UTF-8"):
        read_detections(written(tmp_path, b"\xff" + GOOD.encode()))


@pytest.mark.parametrize("read", [read_detections, read_ground_truth, read_excluded])
def test_folder_and_absent_file_are_refused(tmp_path, read):
    with pytest.raises(UserError, match="is a directory, expected a CSV file"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"absent\.csv: no such file"):
        read(tmp_path / "absent.csv")


def test_excluded_timestamps(tmp_path):
    assert read_excluded(written(tmp_path, "v,0902\nw,1038\n")) == {("v", 902), ("w", 1038)}
    assert read_excluded(written(tmp_path, "")) == set()
    assert read_excluded(written(tmp_path, "\ufeffv,0902\r\n")) == {("v", 902)}
    with pytest.raises(UserError, match="row 2: 1 column, expected 2"):
        read_excluded(written(tmp_path, "v,0902\nw\n"))
    with pytest.raises(UserError, match="row 1: second is 'x'"):
        read_excluded(written(tmp_path, "v,x\n"))


def test_written_files_have_the_columns_of_ava(tmp_path, monkeypatch):
    monkeypatch.setattr(box_csv, "_ROWS_WRITTEN_AT_ONCE", 2)
    rows = "v,0902,0.1,0.2,0.3,0.4,3,0.1\nv,0902,0.1,0.2,0.3,0.4,7,0.30000000000000004\nw,1798,0,0,1,1,3,1e-30\n"
    write_boxes(tmp_path / "out" / "det.csv", read_detections(written(tmp_path, rows)))
    assert (tmp_path / "out" / "det.csv").read_text() == rows
    truth = read_ground_truth(written(tmp_path, "v,0902,0.1,0.2,0.3,0.4,3,0\nv,0902,0.1,0.2,0.3,0.4,7,0\n"))
    write_boxes(tmp_path / "gt.csv", truth)
    assert (tmp_path / "gt.csv").read_text() == "v,0902,0.1,0.2,0.3,0.4,3\nv,0902,0.1,0.2,0.3,0.4,7\n"


def test_names_with_commas_and_quotes_are_read_as_they_were_written(tmp_path):
    table = read_detections(written(tmp_path, '"a,""b""",0902,0.1,0.2,0.3,0.4,3,0.1\n'))
    assert table.video_names == ('a,"b"',)
    write_boxes(tmp_path / "again.csv", table)
    again = read_detections(tmp_path / "again.csv")
    assert (again.video_names, again.second.tolist()) == (table.video_names, [902])


def test_table_without_rows_is_written_empty(tmp_path):
    table = read_detections(written(tmp_path, GOOD))
    write_boxes(tmp_path / "none.csv", select_rows(table, [9]))
    assert (tmp_path / "none.csv").read_bytes() == b""


def test_real_ava_ground_truth_is_read_whole(shared_dir):
    table = read_ground_truth(shared_dir / "data/ava/ava_val_v2.1_head27163.csv")
    assert (table.num_rows, len(table.video_names)) == (27163, 8)
