"""The label map: which class id stands for which action."""

import os
import re
from pathlib import Path

from src.utils.errors import UserError

_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<word>[\w.+-]+|[{}:,;])|(?P<bad>.)"""
)
_BLOCKS = {"item": "id", "label": "label_id"}


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
        if not number.isdecimal() or int(number) < 1:
            raise UserError(f"{path}: row {row}: {id_field} is {number!r}, expected an integer from 1")
        if int(number) in names:
            raise UserError(f"{path}: row {row}: class id {number} is there twice")
        if name in names.values():
            raise UserError(f"{path}: row {row}: class name {name!r} is there twice")
        names[int(number)] = name
    if not names:
        raise UserError(f'{path}: the label map has no items, expected `item {{ name: "walk" id: 14 }}` and so on')
    return names


def _blocks(path: Path, text: str) -> list[tuple[int, str, dict[str, str]]]:
    """Split the text into blocks: the row in which each begins, its kind, its fields as text."""
    tokens = [
        (text.count("\n", 0, match.start()) + 1, match.lastgroup, match.group())
        for match in _TOKEN.finditer(text)
        if match.lastgroup and match.group() not in {",", ";"}
    ]
    blocks = []
    at = 0

    def take(expected: str, wanted: re.Pattern | None = None) -> str:
        nonlocal at
        row, group, token = tokens[at] if at < len(tokens) else (text.count("\n") + 1, "end", "the end of the file")
        if group == "bad" or (wanted and not wanted.fullmatch(token)) or (wanted is None and group == "end"):
            raise UserError(f"{path}: row {row}: found {token}, expected {expected}")
        at += 1
        return token

    kind_word, brace, colon = re.compile("item|label"), re.compile(r"\{"), re.compile(":")
    field_word = re.compile(r"\w+|\}")
    while at < len(tokens):
        row = tokens[at][0]
        kind = take("`item` or `label`", kind_word)
        take("`{`", brace)
        fields: dict[str, str] = {}
        while (field := take("a field or `}`", field_word)) != "}":
            take("`:`", colon)
            value = take("a value")
            fields[field] = _unquoted(value)
        blocks.append((row, kind, fields))
    return blocks


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token[0] in "\"'" else token
