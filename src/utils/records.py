"""Small JSON files that this package keeps beside results, to know later what it wrote there and how."""

from pathlib import Path
from typing import TypeVar

import pydantic

_Kind = TypeVar("_Kind")


def read_record(path: Path, kind: type[_Kind]) -> _Kind:
    """Read a record, and check that it is of its kind.

    Args:
        path: the file.
        kind: a model, or a type such as `dict[str, list[int]]`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read, or is not of that kind, as one of another version of this package.
    """
    try:
        return parse_record(path.read_bytes(), kind)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(error.strerror) from error


def parse_record(content: bytes, kind: type[_Kind]) -> _Kind:
    """Parse a record.

    Raises:
        ValueError: it is not of that kind.
    """
    try:
        return pydantic.TypeAdapter(kind).validate_json(content)
    except pydantic.ValidationError as error:
        raise ValueError(first_fault(error)) from error


def first_fault(error: pydantic.ValidationError) -> str:
    """Return the first field that does not validate, and why, on one line."""
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    return f"{field}: {first['msg']}" if field else first["msg"]
