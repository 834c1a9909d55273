"""The label map: which class id stands for which action."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from src.utils.errors import UserError
from src.utils.files import write_atomic

# White space, commas and comments part the tokens; the last alternative is whatever cannot be one.
_TOKEN = re.compile(r"""[\s,;]+|\#[^\n]*|("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[\w.+-]+|.)""")
# Block and the field that holds its id.
_BLOCKS = {"item": "id", "label": "label_id"}

MAX_CLASS_ID = 32767
"""Class ids are kept in 16 bits: a full evaluation has millions of them."""


def read_label_map(path: str | os.PathLike) -> dict[int, str]:
    """Read a label map in protobuf text form, in either of AVA's two dialects.

    `item { name: "walk" id: 14 }` is the form of the benchmark's class list, `label { name: "walk" label_id: 14
    label_type: PERSON_MOVEMENT }` that of the full list.

    Args:
        path: The .pbtxt file.

    Returns:
        Class name by class id (from 1), in the order of the file.

    Raises:
        UserError: The file is absent, is not a label map, has no items, or has an id or a name twice.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UserError(f"{path}: cannot read the label map: {reason}") from error
    names: dict[int, str] = {}
    for row, kind, fields in _blocks(path, text):
        id_field = _BLOCKS[kind]
        if "name" not in fields or id_field not in fields:
            raise UserError(f"{path}: row {row}: expected `{kind}` with `name` and `{id_field}`")
        name, number = fields["name"], fields[id_field]
        if not number.isdecimal() or not 1 <= int(number) <= MAX_CLASS_ID:
            raise UserError(
                f"{path}: row {row}: {id_field} is {number!r}, expected an integer from 1 to {MAX_CLASS_ID}"
            )
        if int(number) in names:
            raise UserError(f"{path}: row {row}: class id {number} is there twice")
        if name in names.values():
            raise UserError(f"{path}: row {row}: class name {name!r} is there twice")
        names[int(number)] = name
    if not names:
        raise UserError(f'{path}: the label map has no items, expected `item {{ name: "walk" id: 14 }}` and so on')
    return names


def write_label_map(path: str | os.PathLike, names: Mapping[int, str]) -> None:
    """Write a label map, class name by class id (from 1), as AVA's pbtxt."""
    items = []
    for class_id, name in names.items():
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        items.append(f'item {{\n  name: "{escaped}"\n  id: {class_id}\n}}\n')
    write_atomic(path, "".join(items))


def _blocks(path: Path, text: str) -> Iterator[tuple[int, str, dict[str, str]]]:
    """Yield the blocks: the row in which each begins, its kind, its fields as text."""
    tokens = _Tokens(path, text)
    while tokens.left():
        row = tokens.row()
        kind = tokens.take("`item` or `label`", "item|label")
        tokens.take("`{`", r"\{")
        fields: dict[str, str] = {}
        while (field := tokens.take("a field or `}`", r"\w+|\}")) != "}":
            tokens.take("`:`", ":")
            fields[field] = tokens.take("a value", r"[\w.+-]+|\".*\"|'.*'")
        yield row, kind, {field: _unquoted(value) for field, value in fields.items()}


class _Tokens:
    """The words, quoted strings and signs of a protobuf text, taken one by one."""

    def __init__(self, path: Path, text: str):
        self._path = path
        self._tokens = []
        for match in _TOKEN.finditer(text):
            if match.group(1):
                self._tokens.append((text.count("\n", 0, match.start()) + 1, match.group()))
        self._end = text.count("\n") + 1
        self._at = 0

    def left(self) -> bool:
        return self._at < len(self._tokens)

    def row(self) -> int:
        return self._tokens[self._at][0] if self.left() else self._end

    def take(self, expected: str, pattern: str) -> str:
        token = self._tokens[self._at][1] if self.left() else ""
        if not re.fullmatch(pattern, token):
            raise UserError(
                f"{self._path}: row {self.row()}: found {token or 'the end of the file'}, expected {expected}"
            )
        self._at += 1
        return token


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token[0] in "\"'" else token
