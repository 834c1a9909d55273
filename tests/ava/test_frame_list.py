"""Frame lists, and how mistakes in them are named."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.ava import frame_list as frame_list_module
from src.ava.frame_list import FrameList, write_frame_list
from src.utils.errors import UserError

HEADER = "original_vido_id video_id frame_id path labels\n"


def frame_list(tmp_path: Path, text: str, name: str = "list.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def test_frames_stand_in_the_order_of_the_lists(tmp_path):
    first = frame_list(tmp_path, HEADER + 'b 0 0 b/9.jpg ""\nb 0 1 b/2.jpg ""\na 1 0 a/1.jpg ""\n', "1.csv")
    second = frame_list(tmp_path, HEADER + 'ab 2 0 ab/1.jpg ""\r\n\nb 0 2 b/1.jpg', "2.csv")
    frames = FrameList([first, second])
    assert frames.names == ("b", "a", "ab")
    assert frames.counts.tolist() == [3, 1, 1]
    assert [frames.path(0, frame) for frame in range(3)] == ["b/9.jpg", "b/2.jpg", "b/1.jpg"]
    assert (frames.path(1, 0), frames.path(2, 0)) == ("a/1.jpg", "ab/1.jpg")
    assert (frames.where(0, 1), frames.where(0, 2)) == (f"{first}: row 3", f"{second}: row 4")
    with pytest.raises(IndexError):
        frames.path(1, 1)


@settings(max_examples=50)
@given(
    rows=st.lists(st.sampled_from(["a", "b", "ab", "abc", "äö", "-5K_x"]), max_size=60),
    block=st.integers(1, 200),
)
def test_a_list_reads_as_split_rows_whatever_the_block_size(tmp_path_factory, rows, block):
    text = HEADER + "".join(f'{name} 0 {n} {name}/{n}.jpg ""\n' for n, name in enumerate(rows))
    path = frame_list(tmp_path_factory.mktemp("lists"), text)
    expected: dict[str, list[str]] = {}
    for n, name in enumerate(rows):
        expected.setdefault(name, []).append(f"{name}/{n}.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame_list_module, "_BLOCK_BYTES", block)
        frames = FrameList([path])
    found = {
        name: [frames.path(video, frame) for frame in range(frames.counts[video])]
        for video, name in enumerate(frames.names)
    }
    assert found == expected
    assert list(found) == list(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "list.csv: the frame list is empty"),
        ("a 0 0 a/1.jpg\n", "list.csv: row 1: expected the header"),
        (
            HEADER + "a 0 0 a/1.jpg\na 0 1\n",
            "list.csv: row 3: expected 'original_vido_id video_id frame_id path labels'",
        ),
        (HEADER + "\na\t0\t0\ta/1.jpg\n", "list.csv: row 3: expected"),
    ],
)
def test_a_bad_frame_list_is_named_with_its_row(tmp_path, text, message):
    path = frame_list(tmp_path, text)
    with pytest.raises(UserError, match=re.escape(message)):
        FrameList([path])


def test_a_missing_frame_list_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no\.csv: no such file, expected a frame list"):
        FrameList([tmp_path / "no.csv"])


def test_a_byte_order_mark_is_skipped(tmp_path):
    frames = FrameList([frame_list(tmp_path, "\ufeff" + HEADER + "a 0 0 a/1.jpg\n")])
    assert (frames.names, frames.path(0, 0), frames.where(0, 0)) == (("a",), "a/1.jpg", f"{tmp_path}/list.csv: row 2")


def test_written_lists_are_read_back(tmp_path):
    write_frame_list(tmp_path / "list.csv", {"b": 2, "a": 1})
    frames = FrameList([tmp_path / "list.csv"])
    assert (frames.names, frames.counts.tolist(), frames.path(0, 1)) == (("b", "a"), [2, 1], "b/b_000002.jpg")
