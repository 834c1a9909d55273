"""Result files in a folder that may also be the user's: only those that this package wrote there are replaced."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from src.utils.errors import UserError
from src.utils.files import atomic_path, sha256_of, write_atomic

RECORD = ".slowfast_outputs.json"
"""Beside the files: name -> SHA-256 of what was written under it, the last and the one before."""


class OutputFiles:
    """The result files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[str, list[str]] = {}
        with contextlib.suppress(OSError, ValueError):  # without a readable record nothing here is ours
            content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            if isinstance(content, dict) and all(isinstance(digests, list) for digests in content.values()):
                self._written = content

    def check(self, *names: str) -> None:
        """Raise UserError if a file of these names is there that was not written here, or was changed since."""
        for name in names:
            path = self._folder / name
            if path.is_symlink() or (path.exists() and not self._is_own(path)):
                raise UserError(
                    f"{path}: is there, but is not a result of this program in this folder; move it, "
                    "or write to another folder"
                )

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """Yield a path to write to; on success the file takes the place of an earlier result.

        Raises:
            UserError: see `check`.
        """
        self.check(name)
        with atomic_path(self._folder / name) as temporary:
            yield temporary
            # Before the file has its name, and with the digest of the one before: a kill leaves no file unknown.
            self._written[name] = [*self._written.get(name, [])[-1:], sha256_of(temporary)]
            write_atomic(self._folder / RECORD, json.dumps(self._written, indent=1) + "\n")

    def _is_own(self, path: Path) -> bool:
        return path.is_file() and sha256_of(path) in self._written.get(path.name, [])
