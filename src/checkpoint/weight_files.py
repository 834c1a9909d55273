"""Weights in any of the file formats that are exchanged, read without executing anything, and written."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pydantic

from src.checkpoint.mindspore_format import load_checkpoint, save_checkpoint
from src.checkpoint.names import recognize, to_mmaction2, to_pyslowfast
from src.checkpoint.safe_pickle import LazyArray, PickledArray, read_pickle
from src.checkpoint.torch_format import StoredTensor, read_torch, widen_bfloat16, write_torch
from src.utils.errors import UserError
from src.utils.files import sha256_of, write_atomic
from src.utils.records import read_record

# Under which keys programs keep the parameters, the likeliest first, and how deep such dictionaries may lie.
_PARAMETER_KEYS = ("blobs", "model_state", "state_dict", "model_state_dict", "model", "net", "network", "module")
_DEEPEST = 4
# PyTorch before 1.6 wrote several pickles in a row; the first is this number.
_TORCH_LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
# A checkpoint in several files, as Hugging Face's libraries write it.
_SHARD = re.compile(r"(.+)-\d+-of-\d+(\.\w+)")
_ARRAYS = (PickledArray, StoredTensor)
_SAFETENSORS_DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?"},
    **{f"{kind.upper()}{8 * size}": f"<{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)},
}


class _NoArray:
    """Something beside the arrays, such as a counter; it is listed, not loaded."""

    shape = ()


class _Index(pydantic.BaseModel):
    """Which of several files holds which parameter."""

    weight_map: dict[str, str]


def file_format(data: bytes, source: str) -> str:
    """Tell a file's format from its content: torch, pickle, safetensors or ckpt.

    Raises:
        UserError: it is none of these, or PyTorch's old format, with the advice to write it anew.
    """
    if data.startswith(b"PK"):
        return "torch"
    if data.startswith(_TORCH_LEGACY):
        raise UserError(
            f"{source}: PyTorch's format from before version 1.6, which cannot be read without executing it; write it "
            "anew in PyTorch: torch.save(torch.load(OLD, map_location='cpu', weights_only=True), NEW)"
        )
    if data[8:9] == b"{":  # behind the length of the header
        return "safetensors"
    if data[:1] in (b"\x80", b"(", b"c", b"}"):
        return "pickle"
    if data[:1] == b"\n":
        return "ckpt"
    raise UserError(f"{source}: not a checkpoint: expected a pickle, a PyTorch, safetensors or MindSpore file")


def read_weights(path: Path, sha256: str | None = None) -> tuple[str, dict[str, LazyArray | np.ndarray], list[str]]:
    """Read the parameters of a checkpoint of any format.

    Args:
        path: the file; of a checkpoint in several, the index of them (`*.index.json`).
        sha256: the digest that the file must have, in hexadecimal digits.

    Returns:
        The format (see `file_format`); name -> array in the names of the file; and the keys, joined by dots, under
        which the file holds the parameters of further networks, such as their moving averages.

    Raises:
        UserError: the file is absent, has another digest, is truncated or damaged, or holds anything to execute.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a checkpoint")
    if (shard := _SHARD.fullmatch(path.name)) and path.with_name(index := f"{shard[1]}{shard[2]}.index.json").is_file():
        raise UserError(f"{path}: a part of a checkpoint; expected the index of its parts, {index}")
    if sha256 and (digest := sha256_of(path)) != sha256.lower():
        raise UserError(f"{path}: its SHA-256 is {digest}, expected {sha256.lower()}")
    return _read_shards(path) if path.suffix == ".json" else _read_file(path)


def _read_file(path: Path) -> tuple[str, dict[str, LazyArray | np.ndarray], list[str]]:
    """Read a checkpoint that is one file; see `read_weights`."""
    data = path.read_bytes()
    found = file_format(data, str(path))
    if found == "ckpt":
        return found, load_checkpoint(path), []
    if found == "safetensors":
        return found, _read_safetensors(data, str(path)), []
    content = read_torch(data, str(path)) if found == "torch" else read_pickle(data, str(path))
    if not isinstance(content, dict):
        raise UserError(f"{path}: no parameters: expected a dictionary of arrays, found a {type(content).__name__}")
    parameters, others = _find_parameters(content)
    arrays = {str(name): array if isinstance(array, _ARRAYS) else _NoArray() for name, array in parameters.items()}
    return found, arrays, others


def _read_shards(path: Path) -> tuple[str, dict[str, LazyArray | np.ndarray], list[str]]:
    """Read a checkpoint that lies in several files, by its index; see `read_weights`."""
    try:
        places = read_record(path, _Index).weight_map
    except ValueError as error:
        raise UserError(f"{path}: not the index of a checkpoint's parts: {error}") from error
    formats, arrays = set(), {}
    for file in sorted(set(places.values())):
        if Path(file).name != file or not path.with_name(file).is_file():
            raise UserError(f"{path}: names the part {file[:80]!r}, but there is no such file beside it")
        found, part, _ = _read_file(path.with_name(file))
        formats.add(found)
        listed = {name for name, place in places.items() if place == file}
        if differing := sorted(listed ^ part.keys()):
            state = "lacks" if differing[0] in listed else "also holds"
            raise UserError(
                f"{path}: {file} {state} {differing[0][:80]}, unlike the index says ({len(differing)} such names); "
                "the files do not belong together"
            )
        arrays |= part
    if len(formats) != 1:
        raise UserError(
            f"{path}: its parts are {' and '.join(sorted(formats)) or 'none'}, expected files of one format"
        )
    return formats.pop(), arrays, []


def _find_parameters(content: dict) -> tuple[dict, list[str]]:
    """Return the dictionary that holds parameters, and the places of others that do.

    It is the content itself, or the first below it, by the usual keys. Others hold arrays, too, as the state of a
    random generator beside the parameters: they count where there are no names of parameters at all.
    """
    level, seen = [("", content)], {id(content)}
    networks, arrays = [], []
    for _ in range(_DEEPEST):
        found = [pair for pair in level if any(isinstance(value, _ARRAYS) for value in pair[1].values())]
        networks += [pair for pair in found if _is_recognized(pair[1])]
        arrays += found
        below = ((f"{place}.{key}", entry[key]) for place, entry in level for key in sorted(entry, key=_order))
        level = []
        for place, entry in below:
            if isinstance(entry, dict) and id(entry) not in seen:  # a dictionary may stand in several places
                seen.add(id(entry))
                level.append((place.lstrip("."), entry))
    (_, parameters), *others = networks or arrays[:1] or [("", content)]
    return parameters, [place[:80] for place, _ in others]


def _is_recognized(arrays: dict) -> bool:
    try:
        recognize(map(str, arrays), "")
    except UserError:
        return False
    return True


def _order(key: object) -> int:
    return _PARAMETER_KEYS.index(key) if key in _PARAMETER_KEYS else len(_PARAMETER_KEYS)


def _read_safetensors(data: bytes, source: str) -> dict[str, np.ndarray]:
    import safetensors

    try:
        return {name: _safetensor(entry, name, source) for name, entry in safetensors.deserialize(data)}
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{source}: not a safetensors file of numbers that NumPy has: {reason}") from error


def _safetensor(entry: dict, name: str, source: str) -> np.ndarray:
    if entry["dtype"] not in _SAFETENSORS_DTYPES:
        raise UserError(f"{source}: {name[:80]} is of the type {entry['dtype']}, expected one that NumPy has or BF16")
    array = np.frombuffer(entry["data"], _SAFETENSORS_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return widen_bfloat16(array) if entry["dtype"] == "BF16" else array


def write_weights(arrays: Mapping[str, np.ndarray], path: Path, to: str) -> None:
    """Write parameters, whole or not at all.

    Args:
        arrays: float32 arrays by the names of the MindSpore network.
        path: the file.
        to: ckpt (MindSpore's names), pyth or safetensors (PySlowFast's names), or pth (mmaction2's names).

    Raises:
        UserError: a .ckpt is asked for under another suffix, or mmaction2 has no such network.
    """
    if to == "ckpt":
        save_checkpoint(arrays, path)
        return
    if to == "pth":
        write_atomic(path, write_torch(to_mmaction2(arrays), "state_dict"))
        return
    renamed = {to_pyslowfast(name, "ckpt"): array for name, array in arrays.items()}
    if to == "pyth":
        write_atomic(path, write_torch(renamed))
    else:
        from safetensors.numpy import save

        write_atomic(path, save(renamed, metadata={"format": "pt"}))
