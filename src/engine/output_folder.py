"""The folder of a run: made, tried and held before the first step, not found unfit after hours."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from src.utils.distributed import ProcessGroup
from src.utils.errors import UserError

_LOCK = ".lock"


def make_output_folder(folder: Path, group: ProcessGroup) -> None:
    """Make a folder, and try whether files can be written there; the first process does, all learn of the answer.

    Raises:
        UserError: they cannot.
    """

    def make() -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"tried")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"OUTPUT_DIR {folder}: cannot write there: {error.strerror}") from error

    group.on_main(make)


@contextlib.contextmanager
def locked(folder: Path, group: ProcessGroup) -> Iterator[None]:
    """Hold a folder against other runs, as long as the first process lives.

    The operating system lets go of the lock when the process ends, however it does; the file stays.

    Raises:
        UserError: another run holds it.
    """
    with contextlib.ExitStack() as stack:

        def lock() -> None:
            file = stack.enter_context((folder / _LOCK).open("a+"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise UserError(
                    f"OUTPUT_DIR {folder}: process {file.read().strip() or 'unknown'} trains in it; "
                    "give this run another OUTPUT_DIR, or wait for its end"
                ) from error
            except OSError:
                # A file system without locks. Two runs in one folder are then the user's affair.
                return
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()

        group.on_main(lock)
        yield
