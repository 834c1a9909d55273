"""YAML files of keys and values, each over the one that it names as its base."""

import os

import yaml

from src.utils.errors import UserError
from src.utils.nested import leaves

_BASE_KEY = "_BASE_"


class _Loader(yaml.SafeLoader):
    """Reads plain values; a key that stands twice is an error, where YAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Return a mapping as a dict."""
        keys = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is no text", key_node.start_mark)
            if key in keys:
                raise yaml.constructor.ConstructorError(None, None, f"{key} stands twice", key_node.start_mark)
            keys.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: str, including: tuple[str, ...] = ()) -> list[tuple[str, str, object]]:
    """Read a file and, before it, the one that its `_BASE_` names, relative to its own folder.

    Args:
        path: the file.
        including: the files that led here.

    Returns:
        (file, "A.B", value) in the order of the files; a later one overrides an earlier one.

    Raises:
        UserError: a file cannot be read or is not YAML, or the bases lead in a circle.
    """
    real = os.path.realpath(path)
    if real in including:
        raise UserError(f"{path}: {_BASE_KEY} leads in a circle")
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - os.path keeps relative names readable in messages
            content = yaml.load(file, _Loader)
    except OSError as error:
        raise UserError(f"{path}: cannot read the configuration: {error.strerror}") from error
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are no text, dates that are none
        raise UserError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected KEY: VALUE lines, found {type(content).__name__}")
    base = content.pop(_BASE_KEY, None)
    entries = []
    if base is not None:
        if not isinstance(base, str) or "\0" in base:
            raise UserError(f"{path}: {_BASE_KEY} is {base!r}, expected the name of a file")
        base_path = os.path.normpath(os.path.join(os.path.dirname(path), base))  # noqa: PTH118, PTH120
        entries = read_yaml(base_path, (*including, real))
    try:
        return entries + [(path, key, value) for key, value in leaves(content)]
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply") from error
