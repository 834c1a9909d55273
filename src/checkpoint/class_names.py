"""The names of a head's classes, which travel in the checkpoint beside the weights."""

import json
from collections.abc import Mapping

import numpy as np

from src.utils.errors import UserError

CLASS_NAMES = "class_names"


def with_class_names(arrays: Mapping[str, np.ndarray], names: Mapping[int, str]) -> dict[str, np.ndarray]:
    """Return a checkpoint's arrays with an entry for the class names; without names, as they are.

    Args:
        arrays: name -> array.
        names: class name by class id, from 1.
    """
    if not names:
        return dict(arrays)
    text = json.dumps({str(number): name for number, name in names.items()}, ensure_ascii=False)
    return {**arrays, CLASS_NAMES: np.frombuffer(text.encode(), np.uint8)}


def class_names(arrays: Mapping[str, np.ndarray]) -> dict[int, str]:
    """Return class name by class id from a checkpoint's arrays; nothing where it does not say.

    Raises:
        UserError: the entry is damaged.
    """
    if CLASS_NAMES not in arrays:
        return {}
    try:
        content = json.loads(arrays[CLASS_NAMES].tobytes())
        if not all(isinstance(name, str) for name in content.values()):
            raise TypeError("a name that is no text")
        return {int(number): name for number, name in content.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError("the class names in the checkpoint are damaged") from error


def check_class_names(trained: Mapping[int, str], names: Mapping[int, str], source: str, label_map: str) -> None:
    """Raise unless class ids mean the same to a checkpoint and to a label map, as far as both name them.

    Args:
        trained: the checkpoint's class name by class id; without names nothing is checked.
        names: the label map's.
        source: what to call the checkpoint.
        label_map: what to call the label map.

    Raises:
        UserError: an id has two names; both lists are shown.
    """
    if differing_classes(trained, names):
        raise UserError(
            f"{source}: its classes are {_listed(trained)}; {label_map} has {_listed(names)}; "
            "scores would be told under wrong names"
        )


def differing_classes(trained: Mapping[int, str], names: Mapping[int, str]) -> list[int]:
    """Return the class ids that have two names."""
    return [number for number, name in names.items() if trained.get(number, name) != name]


def _listed(names: Mapping[int, str]) -> str:
    return ", ".join(f"{number} {name}" for number, name in sorted(names.items()))
