"""Work on many videos at once, with progress, and without one bad video stopping the others."""

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from pathlib import Path

from src.datasets.prepare.ffmpeg import TargetError
from src.utils.cluster import result_of
from src.utils.errors import UserError

_LOCK = ".prepare.lock"


def run_all(step: str, names: Sequence[str], work: Callable[[str], str], pool: Executor) -> None:
    """Call `work(name)` for every name in a pool (`src.utils.cluster`), and print its result with the time left.

    A UserError of one name is printed and the others go on; only a TargetError ends the step, because all others
    would fail in the same way.

    Raises:
        UserError: at the end, when anything failed.
    """
    start, done, failed = time.monotonic(), 0, 0
    futures = {pool.submit(work, name): name for name in names}
    try:
        for future in as_completed(futures):
            done += 1
            left = (time.monotonic() - start) / done * (len(names) - done)
            try:
                message = f"{futures[future]}: {result_of(future)}"
                print(f"{step} {done}/{len(names)} {message}, about {format_duration(left)} left", flush=True)
            except TargetError:
                raise
            except UserError as error:
                failed += 1
                print(f"{step} {done}/{len(names)} failed: {error}", file=sys.stderr, flush=True)
    except BaseException as error:
        for future in futures:
            future.cancel()
        if isinstance(error, KeyboardInterrupt) and (running := sum(future.running() for future in futures)):
            text = f"{step}: interrupted; {running} videos at work are finished first (kill -9 {os.getpid()}: at once)"
            print(text, file=sys.stderr, flush=True)
        raise
    if failed:
        raise UserError(
            f"{step}: {failed} of {len(names)} failed as told above, the others are done; "
            "mend what is wrong and run the step again, it does only what is missing"
        )


def threads_per_job(jobs: int) -> int:
    """Return how many threads each of `jobs` processes may use so that together they fill the machine."""
    return max(1, (os.cpu_count() or 1) // jobs)


def format_duration(seconds: float) -> str:
    """Return a duration for people, as "4 h 10 min" or "12 s"."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def format_bytes(count: float) -> str:
    """Return a size for people, in powers of 1000."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the lock of a data root, so that two runs do not take each other's half-done work for left-overs.

    The kernel frees the lock when the process ends, however it ends. Its file is removed at the end, and so are folders
    that were made for it and in which nothing came to lie.

    Raises:
        UserError: another run holds it.
        TargetError: the folder cannot be written.
    """
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    path = root / _LOCK
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = path.open("a")
    except OSError as error:
        _remove_empty(made)
        raise TargetError(f"{root}: cannot write to the folder: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another run may have removed the file between opening and locking it: then this locks nothing.
            if not _is_file_at(path, lock.fileno()):
                raise BlockingIOError
        except BlockingIOError as error:
            raise UserError(f"{root}: another run of prepare works here; wait until it has ended") from error
        except OSError:
            pass  # A file system without locks. Two runs in one folder are then the user's affair.
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            _remove_empty(made)


def ignores_case(root: Path) -> bool:
    """Return whether the file system of a data root, whose lock is held, takes `A` and `a` for one name."""
    return (root / _LOCK.upper()).exists()


def _is_file_at(path: Path, descriptor: int) -> bool:
    """Return whether an open file is still the one of that name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, inner ones first, up to the first that holds something."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
