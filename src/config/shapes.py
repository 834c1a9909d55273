"""What a key's value may look like: the type, the lengths and the nesting of its default."""

import ast
import math

# Lists of any length, with the type of what is in them. NONLOCAL.LOCATION: the innermost lists.
_OPEN_LISTS = {
    "AVA.TRAIN_LISTS": str,
    "AVA.TEST_LISTS": str,
    "AVA.TRAIN_GT_BOX_LISTS": str,
    "AVA.TRAIN_PREDICT_BOX_LISTS": str,
    "AVA.TEST_PREDICT_BOX_LISTS": str,
    "TEST.ENSEMBLE_FILE_PATHS": str,
    "TEST.SCALES": int,
    "SOLVER.STEPS": float,
    "SOLVER.LRS": float,
    "NONLOCAL.LOCATION": int,
}
_SINGULAR = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
_PLURAL = {bool: "True or False each", int: "whole numbers", float: "numbers", str: "texts"}
# Of whole numbers: what NumPy and MindSpore take.
_MAX_INT = 2**63 - 1


class ShapeError(ValueError):
    """A value without the shape of its default. The message says what was expected."""


def parse(text: str, default: object) -> object:
    """Read a text as a Python literal, where the default is no text and it is one."""
    if isinstance(default, str):
        return text
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def conform(key: str, value: object, default: object) -> object:
    """Return `value` in the types of `default`: whole numbers serve where floats are due, tuples where lists are.

    Raises:
        ShapeError: another type, length or nesting, or a number that is not finite.
    """
    entry = _OPEN_LISTS.get(key)
    try:
        return _conform(value, default, entry)
    except ShapeError:
        raise ShapeError(_describe(default, entry, plural=False)) from None


def _conform(value: object, default: object, entry: type | None) -> object:
    if isinstance(default, list):
        if not isinstance(value, list | tuple):
            raise ShapeError
        if _is_open(default, entry):
            return [_conform(item, entry(), None) for item in value]
        if len(value) != len(default):
            raise ShapeError
        return [_conform(item, like, entry) for item, like in zip(value, default, strict=True)]
    if isinstance(default, float) and type(value) is int:
        value = float(value) if abs(value) <= _MAX_INT else math.inf
    if type(value) is not type(default):
        raise ShapeError
    if (isinstance(value, float) and not math.isfinite(value)) or (isinstance(value, int) and abs(value) > _MAX_INT):
        raise ShapeError
    return value


def _is_open(default: list, entry: type | None) -> bool:
    return entry is not None and not any(isinstance(item, list) for item in default)


def _describe(default: object, entry: type | None, plural: bool) -> str:
    if not isinstance(default, list):
        return (_PLURAL if plural else _SINGULAR)[type(default)]
    lists = "lists" if plural else "a list"
    if _is_open(default, entry):
        return f"{lists} of {_PLURAL[entry]}"
    return f"{lists} of {len(default)} {_describe(default[0], entry, plural=True)}"
