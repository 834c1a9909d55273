"""The rule for a row, and that the fast reader keeps it as the slow one does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.ava import box_csv
from src.ava.box_csv import read_boxes, read_rows, write_boxes
from src.ava.rows import COLUMNS, NO_ACTION, BoxRow, FrameRow, RowError, RowRule, format_second, parse_row
from src.utils.errors import UserError

TRUTH, FOUND = RowRule(scored=False), RowRule(scored=True)
TRAINING = RowRule(scored=False, normalized=True, num_classes=80)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v,0902,0.1,0.2,0.3,0.4,3,7", ("v", 902.0, (0.1, 0.2, 0.3, 0.4), 3, "7")),
        ("v,902.0,0.1,0.2,0.3,0.4,3.0", ("v", 902.0, (0.1, 0.2, 0.3, 0.4), 3, "")),
        ("v,902.0000004,0.1,0.2,0.3,0.4,3", ("v", 902.0, (0.1, 0.2, 0.3, 0.4), 3, "")),
        ("v,11.5,0.1,0.2,0.3,0.4,", ("v", 11.5, (0.1, 0.2, 0.3, 0.4), NO_ACTION, "")),
        (" v , 5 ,0.1,0.2,0.3,0.4, -1 , someone ", ("v", 5.0, (0.1, 0.2, 0.3, 0.4), NO_ACTION, "someone")),
        ("v,1,-0.004,0,1.004,1e0,80", ("v", 1.0, (-0.004, 0.0, 1.004, 1.0), 80, "")),
    ],
)
def test_what_a_row_may_be(text, expected):
    assert parse_row(text.split(","), TRAINING) == BoxRow(*expected)


def test_a_row_of_two_fields_is_a_frame_without_boxes():
    assert parse_row(["v", "902.5"], TRAINING) == FrameRow("v", 902.5)


def test_the_metric_and_custom_take_any_corner_and_training_does_not():
    cells = ["v", "1", "16", "9", "80", "86", "1"]
    assert parse_row(cells, TRUTH).corners == (16.0, 9.0, 80.0, 86.0)
    with pytest.raises(RowError, match="x1 is '16', expected 0 to 1, as a share of the frame"):
        parse_row(cells, TRAINING)


def test_the_metric_drops_detections_that_end_before_they_begin_and_training_refuses_them():
    cells = ["v", "1", "0.5", "0.1", "0.1", "0.5", "1", "0.9"]
    assert parse_row(cells, FOUND).corners == (0.5, 0.1, 0.1, 0.5)
    for rule in (TRUTH, RowRule(scored=True, normalized=True)):
        with pytest.raises(RowError, match="the box ends before it begins"):
            parse_row(cells, rule)


@pytest.mark.parametrize(("second", "text"), [(902.0, "0902"), (2.5, "0002.5"), (0.0, "0000"), (12345.04, "12345.04")])
def test_seconds_are_written_as_ava_writes_them(second, text):
    assert format_second(second) == text


# Each field is now and then something that people or programs write instead of it.
NAME = st.sampled_from(["v", "a b", " v", '"q,r"', '"', "", "\ufeffv", "v\0", "é", "v\t"])
NUMBER = st.sampled_from(["0", "0.25", "1", "1.004", "-0.5", ".5", "1.", "1e-1", "+0.5", " 0.5 ", "16"])
ODD = st.sampled_from(
    [
        "",
        " ",
        "nan",
        "NaN",
        "inf",
        "-inf",
        "1e999",
        "1_0",
        "0x1",
        "x",
        "0,5",
        "1;2",
        "\0",
        "ä",
        '"0.5"',
        "٣",
        "1/3",
        "#",
    ]
)
HUGE = st.sampled_from(["1e308", "-1e308", "9" * 40, "0." + "3" * 400, "1e-400", "1" * 400, "1e+0000000001", "-0.0"])
CLASS = st.sampled_from(["1", "3.0", "1.7", "0", "-1", "-2", "", " ", "81", "32768", "01", "1e1", "+3"])
SECOND = st.sampled_from(["0902", "902.0", "11.5", "-1", "1e7", "9999999", " 3", "3.1234567"])
LAST = st.sampled_from(["0", "0.9", "", "p", "-3", "1e400"])
BOX = st.tuples(NAME, SECOND | ODD | HUGE, *[NUMBER] * 4, CLASS | ODD | HUGE, LAST | HUGE) | st.tuples(
    NAME, SECOND, *[NUMBER | ODD | HUGE] * 4, CLASS, LAST
)
GOOD = st.sampled_from(["0902", "902.0", "11.5"]).flatmap(
    lambda second: st.tuples(*map(st.just, ["v", second, "0.1", "0.2", "0.5"]), st.just("0.6"), CLASS, LAST)
)
ROW = BOX | GOOD | BOX.map(lambda row: row[:7]) | GOOD.map(lambda row: row[:7]) | BOX.map(lambda row: row[:2])
ROW |= st.lists(NUMBER, max_size=3).map(tuple)
HEADER = st.sampled_from([(*COLUMNS, "score"), ("video_id", "middle_frame_timestamp", *COLUMNS[2:6], "action_id")])


def quoted(row: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    """Rows some of whose fields stand in quotes."""
    return st.lists(st.booleans(), min_size=len(row), max_size=len(row)).map(
        lambda chosen: tuple(
            f'"{cell}"' if quote and '"' not in cell else cell for cell, quote in zip(row, chosen, strict=True)
        )
    )


# Semicolons as spreadsheets write them where commas stand in numbers.
LINE = st.one_of(ROW, ROW, ROW, ROW.flatmap(quoted), HEADER).map(",".join) | ROW.map(";".join)
END = st.sampled_from(["\n", "\r\n", "\n\n", "\r", " \n", "\n \n"])


@given(
    lines=st.lists(st.tuples(LINE, END), max_size=6),
    mark=st.sampled_from(["", "\ufeff"]),
    span=st.sampled_from([1, 40, 1 << 20]),
    rule=st.sampled_from([TRUTH, FOUND, TRAINING]),
)
@settings(max_examples=1500)
@pytest.mark.filterwarnings("error")
@pytest.mark.slow
def test_both_readers_take_and_refuse_the_same_files(tmp_path_factory, lines, mark, span, rule):
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    path.write_text(mark + "".join(line + end for line, end in lines), encoding="utf-8", newline="")
    try:
        rows = [row for _, row in read_rows(path, rule)]
        expected = None if rows else "the file is empty"
    except UserError as error:
        expected = str(error)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(box_csv, "_SPAN_BYTES", span)
        try:
            table = read_boxes(path, rule)
        except UserError as error:
            assert expected is not None, error
            assert expected in str(error)
            return
    assert expected is None
    boxes = [row for row in rows if isinstance(row, BoxRow)]
    assert [table.video_names[table.video[box]] for box in table.row_box] == [row.video for row in boxes]
    assert table.second[table.row_box].tolist() == [row.second for row in boxes]
    assert table.boxes_norm[table.row_box].tolist() == [list(row.corners) for row in boxes]
    assert table.row_class.tolist() == [row.class_id for row in boxes]
    if rule.scored:
        assert table.row_score.tolist() == [float(row.last) for row in boxes]
    assert table.empty_frames == {tuple(row) for row in rows if isinstance(row, FrameRow)}
    write_boxes(path.with_name("again.csv"), table)
    again = read_boxes(path.with_name("again.csv"), rule)
    assert again.empty_frames == table.empty_frames
    np.testing.assert_array_equal(again.row_class, table.row_class)
    np.testing.assert_array_equal(again.second[again.row_box], table.second[table.row_box])
