"""Where jobs on videos run: in threads of this machine, or on the workers of a Dask cluster."""

import contextlib
import errno
import functools
import hashlib
import logging
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from pathlib import Path

from src.utils.errors import UserError

_CONNECT_SECONDS = 30
_LOOK_SECONDS = 5.0
# A job that fails is tried again so often, perhaps by another worker: one may lack a folder that others see.
_RETRIES = 2
_START = "start scheduler and workers anew in this folder, as `python -m dask ...`"
HELP = "run the jobs on the workers of this Dask scheduler, as tcp://10.0.0.1:8786; needs requirements-cluster.txt"


@contextlib.contextmanager
def job_pool(jobs: int, cluster: str | None = None) -> Iterator[Executor]:
    """Yield what runs jobs.

    Jobs for a cluster are functions of modules, with arguments that can be pickled; paths are absolute, as workers may
    run in other folders. A job whose worker is lost runs again elsewhere, from its beginning and perhaps beside its
    former self: it must be repeatable. Its errors name the machine.

    Args:
        jobs: at a time, on this machine.
        cluster: address of a Dask scheduler; None: this machine.

    Raises:
        UserError: Dask is not installed, or no scheduler answers.
    """
    if cluster is None:
        with ThreadPoolExecutor(jobs) as pool:
            yield pool
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError("--cluster: Dask is not installed: pip install -r requirements-cluster.txt") from error
    # It logs a traceback where the scheduler is lost, which `result_of` tells in a line.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        client = Client(cluster, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"--cluster {cluster}: no scheduler answers there: {error}") from error
    stopped = threading.Event()
    watcher = threading.Thread(target=_tell_of_no_workers, args=(client, cluster, stopped), daemon=True)
    with client:
        watcher.start()
        try:
            # Results are files, so that nothing is gained by taking equal calls for one.
            yield _Workers(client.get_executor(pure=False, retries=_RETRIES))
        finally:
            stopped.set()
            watcher.join()


def _tell_of_no_workers(client: object, cluster: str, stopped: threading.Event) -> None:
    """Say so whenever nobody works: a worker that cannot read a job ends, and Dask waits for another without a word."""
    were_there = True
    while not stopped.wait(_LOOK_SECONDS):
        try:
            are_there = bool(client.nthreads())
        except OSError:
            return  # The jobs tell that the scheduler is gone.
        if were_there and not are_there:
            print(
                f"--cluster {cluster}: no worker is there, waiting for one; {_START}: one that cannot import this "
                "package ends at its first job",
                file=sys.stderr,
                flush=True,
            )
        were_there = are_there


class _Workers(Executor):
    """The workers of a cluster, as far as they run the code of this process."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, work: Callable, /, *args: object) -> Future:
        """Have a worker call `work(*args)`."""
        return self._executor.submit(run_job, _code_digest(), work, *args)


@functools.cache
def _code_digest() -> str:
    """Return the SHA-256 of this package's Python code, as it was when this process asked first."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def run_job(code: str, work: Callable, *args: object) -> object:
    """Call `work(*args)` on a worker.

    Args:
        code: digest of the code of whoever asks.
        work: the job.
        args: its arguments.

    Raises:
        UserError: by the job, or because this worker runs other code.
        OSError: by the job.
    """
    node = platform.node()
    if code != _code_digest():
        raise UserError(f"the worker on {node} runs another version of this package: {_START}")
    try:
        return work(*args)
    except UserError as error:
        raise type(error)(f"{error} (on {node})") from error
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror or error} (on {node})", error.filename) from error


def result_of(future: Future) -> object:
    """Return the result of a job that is done.

    Raises:
        UserError: by the job, because it lost several workers, because a worker lacks what it needs, or because the
            scheduler is gone.
        OSError: by the job.
    """
    try:
        return future.result()
    except ModuleNotFoundError as error:
        raise UserError(f"a worker cannot import {error.name}: {_START}, and with the same requirements") from error
    except CancelledError as error:
        # No job's fault: all others end like this.
        text = "the scheduler is gone; what was done is kept, the same command goes on once it is back"
        raise OSError(errno.ECONNRESET, text, "--cluster") from error
    except Exception as error:
        if type(error).__name__ == "KilledWorker":
            raise UserError(f"several workers were lost over it ({error}); their memory may be too small") from error
        if "deserialization of the task graph" in str(error):
            raise UserError(f"the scheduler runs another version of this package, or none: {_START}") from error
        raise
