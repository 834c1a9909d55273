"""Loading and overriding a configuration, and the command line that all entry scripts share."""

import argparse
import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from fvcore.common.config import CfgNode

from src.config import pyslowfast
from src.config.checks import check_values, value_of
from src.config.defaults import get_cfg
from src.config.shapes import ShapeError, conform, parse
from src.config.yaml_file import read_yaml
from src.utils.arguments import IntermixedParser
from src.utils.errors import UserError
from src.utils.logging import get_logger
from src.utils.nested import leaves

_COMMAND_LINE = "command line"
_DATA = "DATA.PATH_TO_DATA_DIR"
PREPARED = ".prepare.json"
"""What `src.datasets.prepare` wrote in a data root; only such a folder has it."""
_SHOWN = 200


def argument_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser of `--cfg FILE [--device_target CPU|GPU|Ascend] [KEY VALUE ...]`; scripts may add to it."""
    parser = IntermixedParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", required=True, metavar="FILE", help="YAML file of the configuration")
    parser.add_argument(
        "--device_target",
        choices=("CPU", "GPU", "Ascend"),
        help="where to run; default: the best that MindSpore finds on this machine",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY VALUE",
        help="configuration keys to set, as TRAIN.BATCH_SIZE 4",
    )
    return parser


def load_config(path: str | os.PathLike | None = None, overrides: Sequence[object] = ()) -> CfgNode:
    """Load a YAML file over the defaults, apply overrides, check, and freeze.

    A file of PySlowFast's is translated (see `src.config.pyslowfast`), and one line says what that changed.

    Args:
        path: YAML file; a top-level `_BASE_` names a file (relative to this one) to start from. None: the defaults.
        overrides: KEY VALUE pairs in one flat sequence; texts are read as Python literals where they are some.

    Returns:
        A frozen CfgNode with the keys of `defaults.py`.

    Raises:
        UserError: unreadable file, unknown keys (the nearest real keys are named), a value whose type, length or
            nesting is not the default's, a value out of range, or a data root's config that names another root.
    """
    cfg = get_cfg()
    if len(overrides) % 2:
        raise UserError(f"overrides come as KEY VALUE pairs, but {overrides[-1]!r} has no value")
    translation = pyslowfast.translate(read_yaml(os.fspath(path)) if path is not None else [])
    pairs = zip(overrides[::2], overrides[1::2], strict=True)
    entries = translation.entries + [(_COMMAND_LINE, str(key), value) for key, value in pairs]
    entries = [entry for entry in entries if not _is_empty_group(cfg, *entry)]
    _refuse_unknown(cfg, entries)
    for where, key, value in entries:
        _set(cfg, where, key, value)
    check_values(cfg)
    _check_copied(cfg, next((where for where, key, _ in reversed(entries) if key == _DATA), _COMMAND_LINE))
    cfg.freeze()
    if translation.notes:
        get_logger().info(translation.notes)
    return cfg


def _check_copied(cfg: CfgNode, where: str) -> None:
    """Raise where a config lies in a data root, but names the lists of another: the root was copied, or replaced.

    Args:
        cfg: the config.
        where: the file that names the data.
    """
    root = Path(where).parent
    own, named = root / get_cfg().AVA.ANNOTATION_DIR, Path(cfg.DATA.PATH_TO_DATA_DIR) / cfg.AVA.ANNOTATION_DIR
    if where == _COMMAND_LINE or not ((root / PREPARED).is_file() and own.is_dir() and named.is_dir()):
        return
    if not own.samefile(named):
        raise UserError(
            f"{where}: lies in a data root, but {_DATA} names another, {cfg.DATA.PATH_TO_DATA_DIR}; if it was copied "
            f"from there, say {_DATA} {root} OUTPUT_DIR {root / 'output'}, or prepare it again"
        )


def _is_empty_group(cfg: CfgNode, where: str, key: str, value: object) -> bool:
    """Return whether an entry is a group of keys without one, as a file with all of them in comments has it."""
    groups = {name.rpartition(".")[0] for name, _ in leaves(cfg)} - {""}
    if key not in groups:
        return False
    if value is not None:
        raise UserError(f"{where}: {key} is {_show(value)}, expected keys below it")
    return True


def _refuse_unknown(cfg: CfgNode, entries: Sequence[tuple[str, str, object]]) -> None:
    """Report all unknown keys at once, each with the nearest real one."""
    known = [key for key, _ in leaves(cfg)]
    unknown: dict[str, dict[str, str]] = {}
    for where, key, _ in entries:
        if key not in known:
            nearest = difflib.get_close_matches(key.upper()[:_SHOWN], known, n=1, cutoff=0.0)[0]
            unknown.setdefault(where, {})[_show(key).strip("'\"")] = nearest
    messages = []
    for where, keys in unknown.items():
        if len(keys) == 1:
            key, nearest = next(iter(keys.items()))
            messages.append(f"{where}: unknown key {key}; the nearest key is {nearest}")
        else:
            listed = ", ".join(f"{key} (nearest: {nearest})" for key, nearest in keys.items())
            messages.append(f"{where}: {len(keys)} unknown keys: {listed}")
    if messages:
        raise UserError("; ".join(messages))


def _set(cfg: CfgNode, where: str, key: str, value: object) -> None:
    """Set one key to a value of its default's shape."""
    default = value_of(cfg, key)
    if isinstance(value, str):
        value = parse(value, default)
    try:
        value = conform(key, value, default)
    except ShapeError as expected:
        raise UserError(f"{where}: {key} is {_show(value)}, expected {expected}") from None
    group, _, name = key.rpartition(".")
    (value_of(cfg, group) if group else cfg)[name] = value


def _show(value: object) -> str:
    """Return a value as a user wrote it, in one line of bounded length."""
    try:
        text = repr(value)
    except ValueError:  # Python does not print numbers of thousands of digits
        text = f"a number of {value.bit_length()} bits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
