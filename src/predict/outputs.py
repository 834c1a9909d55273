"""The output folder: what this program wrote there, and what it must not touch."""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from src.predict.parts import Part
from src.utils.errors import UserError
from src.utils.files import write_atomic

_STATE = ".predict"


class OutputFolder:
    """A folder for the results of runs.

    Notes in `.predict/` tell which files a run wrote, and keep the whole parts of videos, so that a run goes on where
    one before was ended. A file that no note tells of is never replaced.

    Args:
        folder: made if it is not there.

    Raises:
        UserError: it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._state = folder, folder / _STATE
        inner = [self._state / name for name in ("files", "parts")]
        # What this run made, the innermost first: a run that is refused takes it back.
        self._made = [path for path in (*inner, self._state, folder, *folder.parents) if not path.exists()]
        try:
            for path in inner:
                path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._take_back()
            raise UserError(f"{folder}: cannot write the results there: {error.strerror}") from error

    @contextlib.contextmanager
    def held(self, is_shared: bool = False) -> Iterator[None]:
        """Hold the folder against other runs; of one that fails, what it made and did not come to use is removed.

        The operating system lets go of the lock when the process ends, however it does.

        Args:
            is_shared: with others who share it, too: the shards of a folder of videos.

        Raises:
            UserError: another run holds it.
        """
        path = self._state / "lock"
        if not path.exists() and not is_shared:
            self._made.insert(0, path)
        with path.open("a") as file:
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"{self.folder}: another run of predict works there; wait until it has ended, or name another "
                    "folder with --out"
                ) from error
            except OSError:
                pass  # A file system without locks. Two runs in one folder are then the user's affair.
            try:
                yield
            except BaseException:
                self._take_back()
                raise

    def _take_back(self) -> None:
        """Remove what this run made, unless something came to lie in it."""
        for path in self._made:
            with contextlib.suppress(OSError):
                if path.is_dir():
                    path.rmdir()
                elif path.parent != self._state / "files" or not (self.folder / path.stem).exists():
                    path.unlink()

    def claim(self, name: str) -> Path:
        """Return where to write a file of this name.

        Raises:
            UserError: somebody else's file is there.
        """
        path = self.folder / name
        if not self.is_own(name):
            if path.exists() or path.is_symlink():
                raise UserError(f"{path}: is there, and not from predict.py; name another folder with --out")
            write_atomic(self._note(name), "{}")
            self._made.insert(0, self._note(name))
        return path

    def is_own(self, name: str) -> bool:
        """Whether a file of this name is, or will be, a run's."""
        return self._note(name).is_file()

    def is_done(self, name: str, digest: str) -> bool:
        """Whether a file is there as a run with this digest left it."""
        try:
            return (self.folder / name).is_file() and json.loads(self._note(name).read_text()) == {"digest": digest}
        except (OSError, ValueError):
            return False

    def set_done(self, name: str, digest: str) -> None:
        """Note that a file is as a run with this digest leaves it."""
        write_atomic(self._note(name), json.dumps({"digest": digest}))

    def _note(self, name: str) -> Path:
        return self._state / "files" / f"{name}.json"

    def part_path(self, video: str, digest: str, number: int) -> Path:
        """Return where a part of a video is kept."""
        return self._state / "parts" / video / digest[:16] / f"{number:06d}.npz"

    def load_part(self, video: str, digest: str, number: int) -> Part | None:
        """Return a part that is whole; None: it is to be done."""
        return Part.load(self.part_path(video, digest, number))

    def drop_other_parts(self, video: str, digest: str) -> None:
        """Remove the parts that a run with other settings left, and the beginning of one whose writer was killed."""
        folder = self._state / "parts" / video
        for other in folder.iterdir() if folder.is_dir() else ():
            if other.name != digest[:16]:
                shutil.rmtree(other)
        for unfinished in (folder / digest[:16]).glob(".*"):
            unfinished.unlink()
