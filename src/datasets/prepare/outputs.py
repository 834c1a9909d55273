"""What a step writes beside the user's files: only what is its own is replaced, and only by what is whole."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pydantic

from src.config.custom_config import PREPARED
from src.datasets.prepare.ffmpeg import PARTIAL_PREFIX, TargetError
from src.utils.errors import UserError
from src.utils.files import sha256_of, write_atomic
from src.utils.records import read_record


class _Record(pydantic.BaseModel):
    """What this package wrote in a folder.

    Attributes:
        files: SHA-256 by path relative to the folder; two where a run was stopped between the old and the new.
        links: target by path.
        videos: file by name of the videos that the folder was made of.
    """

    files: dict[str, list[str]] = {}
    links: dict[str, str] = {}
    videos: dict[str, str] = {}

    @pydantic.field_validator("files", "links")
    @classmethod
    def _stay_inside(cls, paths: dict) -> dict:
        if any(Path(path).is_absolute() or ".." in Path(path).parts for path in paths):
            raise ValueError("a path leads out of the folder")
        return paths


class Outputs:
    """The files and links of one data root that this package wrote, as a record in it says.

    Args:
        root: the folder.

    Raises:
        UserError: its record cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._path = root / PREPARED
        try:
            self._record = read_record(self._path, _Record)
        except FileNotFoundError:
            self._record = _Record()
        except ValueError as error:
            raise UserError(
                f"{self._path}: cannot read the record of what was written here: {error}; choose another folder"
            ) from error

    @property
    def videos(self) -> Mapping[str, str]:
        """File by name of the videos that the folder was made of."""
        return self._record.videos

    def check_free(self, paths: Iterable[str]) -> None:
        """Check that files may be written: each is absent, or as this package wrote it.

        Raises:
            UserError: one is not.
        """
        for path in paths:
            target = self.root / path
            if not os.path.lexists(target):
                continue
            if not self._is_own(path):
                known = "was changed since this program wrote it" if path in self._record.files else "is not ours"
                raise UserError(f"{target}: {known}, and would be replaced; rename it, or choose another folder")

    def check_links_free(self, links: Mapping[str, Path]) -> None:
        """Check that links may be made: each is absent, or a link that this package made.

        Raises:
            UserError: one is not.
        """
        for path in links:
            target = self.root / path
            if os.path.lexists(target) and not self._is_own_link(path):
                raise UserError(f"{target}: is not ours, and would be replaced; rename it, or choose another folder")

    def write(self, files: Mapping[str, Callable[[Path], object]], videos: Mapping[str, Path]) -> None:
        """Write files, all or none of them, and remove those of an earlier run that are no longer among them.

        Args:
            files: by path relative to the root, what writes a file to the path that it is given.
            videos: what the folder is made of, by name.

        Raises:
            UserError: a file is there that is not this package's.
            TargetError: the folder cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            stage = Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=self.root))
        except OSError as error:
            raise TargetError(f"{self.root}: cannot write to the folder: {error.strerror}") from error
        try:
            digests = {}
            for path, write in files.items():
                (stage / path).parent.mkdir(parents=True, exist_ok=True)
                write(stage / path)
                digests[path] = sha256_of(stage / path)
            self.check_free(path for path, digest in digests.items() if not self._holds(path, digest))
            old = self._record.files
            # Before the files: a run that is stopped in between finds both its old and its new ones.
            self._record.files = old | {path: [*old.get(path, []), digest] for path, digest in digests.items()}
            self._record.videos = {name: str(video.resolve()) for name, video in videos.items()}
            self._save()
            for path in files:
                (self.root / path).parent.mkdir(parents=True, exist_ok=True)
                (stage / path).replace(self.root / path)
            self._remove([path for path in old if path not in files])
            self._record.files = {path: [digest] for path, digest in digests.items()}
            self._save()
        except OSError as error:
            raise TargetError(f"{self.root}: cannot write: {error.strerror}") from error
        finally:
            shutil.rmtree(stage, ignore_errors=True)

    def link(self, links: Mapping[str, Path]) -> bool:
        """Make symbolic links, and remove those of an earlier run; return whether the file system has them."""
        self.check_links_free(links)
        targets = {path: str(target.resolve()) for path, target in links.items()}
        for path in self._record.links:
            if self._is_own_link(path) and self._record.links[path] != targets.get(path):
                (self.root / path).unlink()
        self._record.links = targets
        self._save()
        try:
            for path, target in targets.items():
                (self.root / path).parent.mkdir(parents=True, exist_ok=True)
                if not os.path.lexists(self.root / path):
                    (self.root / path).symlink_to(target)
        except OSError:
            self._record.links = {path: target for path, target in targets.items() if self._is_own_link(path)}
            self._save()
            return False
        return True

    def _remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            if self._is_own(path) and (self.root / path).exists():
                (self.root / path).unlink()
                print(f"{self.root / path}, of an earlier run, is removed: it does not fit this one")

    def _is_own(self, path: str) -> bool:
        return any(self._holds(path, digest) for digest in self._record.files.get(path, []))

    def _holds(self, path: str, digest: str) -> bool:
        """Whether a file, and no link to one, has this content."""
        target = self.root / path
        return target.is_file() and not target.is_symlink() and sha256_of(target) == digest

    def _is_own_link(self, path: str) -> bool:
        target = self.root / path
        return target.is_symlink() and str(target.readlink()) == self._record.links.get(path)

    def _save(self) -> None:
        write_atomic(self._path, self._record.model_dump_json(indent=1) + "\n")


def check_apart(inputs: Mapping[str, Path], outputs: Iterable[Path]) -> None:
    """Check that no input is an output, holds one or lies in one, by whatever link or name.

    Args:
        inputs: path by the option that names it.
        outputs: files and folders that will be written.

    Raises:
        UserError: one does.
    """
    for option, given in inputs.items():
        try:
            source = given.resolve()
        except (OSError, RuntimeError) as error:  # by version of Python
            raise UserError(f"{option} {given}: is a link that leads to itself") from error
        for output in outputs:
            target = output.resolve()
            is_one = target == source or _is_same_file(source, target)
            if is_one or target.is_relative_to(source) or source.is_relative_to(target):
                relation = "is" if is_one else "holds" if target.is_relative_to(source) else "lies in"
                raise UserError(
                    f"{option} {given}: {relation} {output}, which this program would write; choose another --out"
                )


def _is_same_file(source: Path, output: Path) -> bool:
    """Whether a file is an output, or one in it, by another name: a hard link."""
    with contextlib.suppress(OSError):
        if source.is_file() and source.stat().st_nlink > 1:
            candidates = output.rglob("*") if output.is_dir() else [output]
            return any(path.is_file() and path.samefile(source) for path in candidates)
    return False
