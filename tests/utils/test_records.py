"""Records of other versions and damaged ones are told by field."""

import pydantic
import pytest

from src.utils.records import read_record


class _Record(pydantic.BaseModel):
    files: dict[str, list[int]]
    later: int = 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Invalid JSON: EOF while parsing a value at line 1 column 0"),
        (b'{"files": {"a": [1', "Invalid JSON: EOF while parsing a list at line 1 column 18"),
        (b"[]", "Input should be an object"),
        (b"{}", "files: Field required"),
        (
            b'{"files": {"a": ["x"]}}',
            "files.a.0: Input should be a valid integer, unable to parse string as an integer",
        ),
        (b"\xff", "Invalid JSON: expected value at line 1 column 1"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path, content, message):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_record(path, _Record)
    assert str(error.value).startswith(message)


def test_fields_of_later_versions_are_passed_over_and_missing_ones_have_defaults(tmp_path):
    path = tmp_path / "record.json"
    path.write_text('{"files": {"a": [1]}, "newer": true}')
    assert read_record(path, _Record) == _Record(files={"a": [1]}, later=7)
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "absent.json", _Record)
    with pytest.raises(ValueError, match="Is a directory"):
        read_record(tmp_path, _Record)
