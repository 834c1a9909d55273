"""Result files in a folder that may also be the user's: only those that this package wrote there are replaced."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from src.utils.errors import UserError
from src.utils.files import atomic_path, sha256_of, write_atomic

_GROWS = "grows"
RECORD = ".slowfast_outputs.json"
"""Beside the files: name -> SHA-256 of what was written under it, the last and the one before."""


class OutputFiles:
    """The result files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self, *names: str) -> None:
        """Raise UserError if a file of these names is there that was not written here, or was changed since."""
        written = self._written()
        for name in names:
            path = self._folder / name
            if path.is_symlink() or (path.exists() and not _is_own(path, written.get(name, []))):
                raise UserError(
                    f"{path}: is there, but is not a result of this program in this folder; move it, "
                    "or write to another folder"
                )

    def claim(self, *names: str) -> None:
        """Take names for files that grow, as logs: from now on they are this program's, whatever they hold.

        Raises:
            UserError: a file of such a name is there that is not.
        """
        new = [name for name in names if _GROWS not in self._written().get(name, [])]
        self.check(*new)
        for name in new:
            self._note(name, _GROWS)

    def adopt(self, name: str) -> None:
        """Take a file as it is for one that was written here, as what a power cut left of it."""
        self._note(name, sha256_of(self._folder / name))

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
            self._note(name, sha256_of(temporary))

    def _written(self) -> dict[str, list[str]]:
        """Return the record as it is now: other processes may write to the folder, too."""
        with contextlib.suppress(OSError, ValueError):  # without a readable record nothing here is ours
            content = json.loads((self._folder / RECORD).read_text(encoding="utf-8"))
            if isinstance(content, dict) and all(isinstance(digests, list) for digests in content.values()):
                return content
        return {}

    def _note(self, name: str, digest: str) -> None:
        """Add what a file is about to hold to what it holds now."""
        written, path = self._written(), self._folder / name
        written[name] = [*([sha256_of(path)] if path.is_file() else []), digest]
        write_atomic(self._folder / RECORD, json.dumps(written, indent=1) + "\n")


def _is_own(path: Path, digests: list[str]) -> bool:
    return path.is_file() and bool(digests) and sha256_of(path) in digests
