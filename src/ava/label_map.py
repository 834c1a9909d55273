"""The label map: which class id stands for which action. And the class lists of other programs."""

import functools
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory, text_format

from src.ava.rows import MAX_CLASS_ID
from src.ava.text_files import read_text
from src.utils.errors import UserError
from src.utils.files import write_atomic

# `14: walk`, as mmaction2 has it.
_NUMBERED = re.compile(r"(\d+)\s*:\s*(\S.*)")
_COUNTED = re.compile(r"(\d+)[\s,;]\s*(\S.*)")
# Ids behind names, as some programs write them; names of their own, as `level 1` and `level 2`, differ by nothing else.
_TRAILED = re.compile(r"(.*\S)[\s,;:]+(\d{1,9})")
# What a line of another format looks like; names of classes do not.
_OTHER_FORMAT = re.compile(
    r"""[{}\[\]]|^\s*["'].*:|^\s*-\s|^\s*\d+\s*[,;\t]|[,;\t]\s*\d+\s*$|^\w+:\s*$"""
    # Comments, XML, rows of a table, quoted names, and `1.` or `(1)` before a name.
    r"""|^[\#<]|[,;]$|^["'].*["']$|^\(?\d+[.)]\s"""
)
# What the first line of a table says.
_HEADERS = {f"{word}{ending}" for word in ("name", "class", "label", "action", "category") for ending in ("", "s")}
_HEADERS |= {"class name", "class_name", "categories"}
# What lists of detectors' classes begin with; it would shift the numbers of the others.
_NO_CLASS = re.compile(r"_*(background|ignore)_*", re.IGNORECASE)
_MAX_NAME = 1000
# Characters of a parser's message that are passed on.
_SHOWN = 120


@dataclass(frozen=True)
class ClassList:
    """Names of classes.

    Attributes:
        names: class name by class id (from 1), in the order of the file.
        from_zero: the file counts from 0, as YOLO's and PySlowFast's do; ids here are one more.
    """

    names: dict[int, str]
    from_zero: bool = False


def read_label_map(path: str | os.PathLike) -> dict[int, str]:
    """Read a label map in protobuf's text format, in either of AVA's two dialects.

    `item { name: "walk" id: 14 }` is the form of the benchmark's class list, `label { name: "walk" label_id: 14
    label_type: PERSON_MOVEMENT }` that of the full list. Other fields do not count.

    Args:
        path: the .pbtxt file.

    Returns:
        Class name by class id (from 1), in the order of the file.

    Raises:
        UserError: the file is absent, is not a label map, has no items, or has an id or a name twice.
    """
    path = Path(path)
    text = read_text(path, "label map")
    label_map = _label_map_message()()
    try:
        text_format.Parse(text, label_map, allow_unknown_field=True)
    except text_format.ParseError as error:
        row, column = error.GetLine(), error.GetColumn()
        reason = str(error).removeprefix(f"{row}:{column} : ").partition("\n")[0][:_SHOWN]
        expected = 'expected `item { name: "walk" id: 14 }` and so on'
        raise UserError(f"{path}: {f'row {row}: ' if row else ''}{reason}; {expected}") from error
    except (RecursionError, ValueError) as error:
        raise UserError(f"{path}: not a label map: {str(error).partition(chr(10))[0]}") from error
    found = [(item, "id") for item in label_map.item] + [(label, "label_id") for label in label_map.label]
    if not found:
        raise UserError(f'{path}: the label map has no items, expected `item {{ name: "walk" id: 14 }}` and so on')
    for number, (block, field) in enumerate(found, start=1):
        if not (block.HasField("name") and block.HasField(field)):
            raise UserError(f"{path}: {block.DESCRIPTOR.name} {number}: expected `name` and `{field}`")
    return _checked(path, [(getattr(block, field), block.name) for block, field in found])


def write_label_map(path: str | os.PathLike, names: Mapping[int, str]) -> None:
    """Write a label map, class name by class id (from 1), in the lines that AVA's own evaluators look for."""
    label_map = _label_map_message()()
    for class_id, name in names.items():
        label_map.item.add(name=name, id=class_id)
    write_atomic(path, text_format.MessageToString(label_map, as_utf8=True))


def read_class_list(path: str | os.PathLike) -> ClassList:
    """Read names of classes in any form that people have.

    The suffix says which: a label map (.pbtxt); JSON or YAML, with a list of names or names and ids either way round,
    or these under `names`, as YOLO's data.yaml; else text, with one name a line, `14: walk` in each line, or numbers
    without a gap before the names, as `1 walk`, `2 sit` and so on.

    Raises:
        UserError: the file cannot be read, looks like another format, has no names, or has one twice.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".pbtxt", ".prototxt"):
        return ClassList(read_label_map(path))
    text = read_text(path, "list of classes")
    if suffix == ".json":
        return _from_structure(path, _parsed(path, "JSON", _load_json, text))
    if suffix in (".yaml", ".yml"):
        return _from_structure(path, _parsed(path, "YAML", _load_yaml, text))
    return _from_lines(path, text)


@functools.cache
def _label_map_message() -> type[message.Message]:
    """Return the message of a label map: items and labels."""
    file = descriptor_pb2.FileDescriptorProto(name="label_map.proto", package="ava", syntax="proto2")
    types = descriptor_pb2.FieldDescriptorProto
    whole = file.message_type.add(name="LabelMap")
    for place, (name, id_field) in enumerate((("item", "id"), ("label", "label_id")), start=1):
        block = file.message_type.add(name=name)
        block.field.add(name="name", number=1, type=types.TYPE_STRING, label=types.LABEL_OPTIONAL)
        block.field.add(name=id_field, number=2, type=types.TYPE_INT64, label=types.LABEL_OPTIONAL)
        whole.field.add(
            name=name, number=place, type=types.TYPE_MESSAGE, type_name=f".ava.{name}", label=types.LABEL_REPEATED
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ava.LabelMap"))


def _parsed(path: Path, kind: str, parse: Callable[[str], object], text: str) -> object:
    try:
        return parse(text)
    except (ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path}: not {kind}: {' '.join(str(error).split())[:_SHOWN]}") from error


def _load_json(text: str) -> object:
    return json.loads(text, object_pairs_hook=_without_repeats)


def _without_repeats(pairs: Iterable[tuple[object, object]]) -> dict:
    """Make a dictionary; raise ValueError if a key is there twice, of which parsers take the last without a word."""
    result = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"{key!r} is there twice")
        result[key] = value
    return result


def _load_yaml(text: str) -> object:
    # Imported here because whoever reads a label map does not need it.
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            names = [(key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            _without_repeats(names)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(error) from error


def _from_structure(path: Path, content: object) -> ClassList:
    """Read a list of names, `id: name`, `name: id`, or these under `names`."""
    if isinstance(content, dict) and isinstance(content.get("names"), list | dict):
        content = content["names"]
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return _in_order(path, content)
    if isinstance(content, dict):
        pairs = list(content.items())
        if all(_is_id(key) and isinstance(value, str) for key, value in pairs):
            return _counted_from_one(path, [(int(key), value) for key, value in pairs])
        if all(isinstance(key, str) and _is_id(value) for key, value in pairs):
            return _counted_from_one(path, [(int(value), key) for key, value in pairs])
    raise UserError(f"{path}: expected a list of class names, or names and ids as `14: walk` or `walk: 14`")


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdecimal() and len(value) < 10
    return isinstance(value, int) and not isinstance(value, bool)


def _from_lines(path: Path, text: str) -> ClassList:
    lines = [(row, line.strip()) for row, line in enumerate(text.splitlines(), start=1) if line.strip()]
    numbered = [_NUMBERED.fullmatch(line) for _, line in lines]
    counted = [_COUNTED.fullmatch(line) for _, line in lines]
    if all(counted) and [match[1].lstrip("0") or "0" for match in counted] in (
        [str(number) for number in range(start, start + len(counted))] for start in (0, 1)
    ):
        numbered = counted
    if lines and all(numbered):
        if any(len(match[1]) > 9 for match in numbered):
            raise UserError(f"{path}: a class id has more than nine digits")
        return _counted_from_one(path, [(int(match[1]), match[2].strip()) for match in numbered])
    trailed = [_TRAILED.fullmatch(line) for _, line in lines]
    if len(lines) > 1 and all(trailed):
        bare, numbers = ({match[group] for match in trailed} for group in (1, 2))
        if len(bare) == len(lines) and numbers in (_texts(0, len(lines)), _texts(1, len(lines))):
            row, line = lines[0]
            raise UserError(
                f"{path}: row {row}: {line[:60]!r} ends with a number, as all rows do; "
                "expected `14: walk` in every line"
            )
    for (row, line), match in zip(lines, numbered, strict=True):
        is_header = row == lines[0][0] and len(lines) > 1 and line.casefold() in _HEADERS
        if match or is_header or _OTHER_FORMAT.search(line):
            raise UserError(
                f"{path}: row {row}: {line[:60]!r} is not the name of a class; "
                "expected one name a line, or `14: walk` in every line"
            )
    return _in_order(path, [name for _, name in lines])


def _texts(start: int, count: int) -> set[str]:
    """Return `count` whole numbers from `start` on, as text."""
    return {str(number) for number in range(start, start + count)}


def _in_order(path: Path, names: Sequence[str]) -> ClassList:
    """Count names from 1."""
    stray = next(filter(_NO_CLASS.fullmatch, names), None)
    if stray is not None:
        raise UserError(f"{path}: {stray!r} is no action: take it out, so that the first action is class 1")
    return ClassList(_checked(path, enumerate(names, start=1)))


def _counted_from_one(path: Path, pairs: list[tuple[int, str]]) -> ClassList:
    from_zero = any(class_id == 0 for class_id, _ in pairs)
    return ClassList(_checked(path, [(class_id + from_zero, name) for class_id, name in pairs]), from_zero)


def _checked(path: Path, pairs: Iterable[tuple[int, str]]) -> dict[int, str]:
    """Return names by id, none of them empty, out of range, or there twice."""
    names: dict[int, str] = {}
    ids: dict[str, int] = {}
    for class_id, name in pairs:
        if not 1 <= class_id <= MAX_CLASS_ID:
            raise UserError(
                f"{path}: class id {class_id} of {name[:60]!r}, expected an integer from 1 to {MAX_CLASS_ID}"
            )
        if not name.strip() or not name.isprintable() or len(name) > _MAX_NAME:
            raise UserError(f"{path}: class {class_id} is called {name[:60]!r}, expected a name in one line")
        if class_id in names:
            raise UserError(f"{path}: class id {class_id} is there twice, as {names[class_id]!r} and {name!r}")
        if name in ids:
            raise UserError(f"{path}: class name {name!r} is there twice, as {ids[name]} and {class_id}")
        names[class_id], ids[name] = name, class_id
    if not names:
        raise UserError(f"{path}: holds no class names")
    return names
