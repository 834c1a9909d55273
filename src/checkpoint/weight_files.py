"""Weights in any of the file formats that are exchanged, read without executing anything, and written."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from src.checkpoint.mindspore_format import load_checkpoint, save_checkpoint
from src.checkpoint.names import to_pyslowfast
from src.checkpoint.safe_pickle import LazyArray, PickledArray, read_pickle
from src.checkpoint.torch_format import StoredTensor, read_torch, write_torch
from src.utils.errors import UserError
from src.utils.files import write_atomic

# Where a pickle keeps its parameters: Caffe2, PySlowFast and pytorchvideo, mmaction2. Else it is the dictionary itself.
_PARAMETER_KEYS = ("blobs", "model_state", "state_dict")
# PyTorch before 1.6 wrote several pickles in a row; the first is this number.
_TORCH_LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."


class _NoArray:
    """Something beside the arrays, such as a counter; it is listed, not loaded."""

    shape = ()


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


def read_weights(path: Path, sha256: str | None = None) -> tuple[str, dict[str, LazyArray | np.ndarray]]:
    """Read the parameters of a checkpoint of any format.

    Args:
        path: the file.
        sha256: the digest that the file must have, in hexadecimal digits.

    Returns:
        The format (see `file_format`), and name -> array in the names of the file.

    Raises:
        UserError: the file is absent, has another digest, is truncated or damaged, or holds anything to execute.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a checkpoint")
    data = path.read_bytes()
    if sha256 and (digest := hashlib.sha256(data).hexdigest()) != sha256.lower():
        raise UserError(f"{path}: its SHA-256 is {digest}, expected {sha256.lower()}")
    found = file_format(data, str(path))
    if found == "ckpt":
        return found, load_checkpoint(path)
    if found == "safetensors":
        return found, _read_safetensors(data, str(path))
    content = read_torch(data, str(path)) if found == "torch" else read_pickle(data, str(path))
    if isinstance(content, dict):
        content = next((content[key] for key in _PARAMETER_KEYS if key in content), content)
    if not isinstance(content, dict):
        raise UserError(f"{path}: no parameters: expected a dictionary of arrays, found a {type(content).__name__}")
    arrays = (PickledArray, StoredTensor)
    return found, {str(name): array if isinstance(array, arrays) else _NoArray() for name, array in content.items()}


def _read_safetensors(data: bytes, source: str) -> dict[str, np.ndarray]:
    import safetensors
    from safetensors.numpy import load

    try:
        return load(data)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{source}: not a safetensors file of numbers that NumPy has: {error}") from error


def write_weights(arrays: Mapping[str, np.ndarray], path: Path, to: str) -> None:
    """Write parameters, whole or not at all.

    Args:
        arrays: float32 arrays by the names of the MindSpore network.
        path: the file.
        to: ckpt (MindSpore's names), pyth or safetensors (PySlowFast's names).

    Raises:
        UserError: a .ckpt is asked for under another suffix.
    """
    if to == "ckpt":
        save_checkpoint(arrays, path)
        return
    renamed = {to_pyslowfast(name, "ckpt"): array for name, array in arrays.items()}
    if to == "pyth":
        write_atomic(path, write_torch(renamed))
    else:
        from safetensors.numpy import save

        write_atomic(path, save(renamed, metadata={"format": "pt"}))
