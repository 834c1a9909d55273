"""Where jobs on videos run: in threads of this machine, or on the workers of a Dask cluster."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor

from src.utils.errors import UserError

_CONNECT_SECONDS = 30
# A job that took so many workers with it is given up by Dask, which counts only the workers that were lost.
_RETRIES = 2
HELP = "run the jobs on the workers of this Dask scheduler, as tcp://10.0.0.1:8786; needs requirements-cluster.txt"


@contextlib.contextmanager
def job_pool(jobs: int, cluster: str | None = None) -> Iterator[Executor]:
    """Yield what runs jobs.

    Jobs for a cluster are functions of modules, with arguments that can be pickled. A job whose worker is lost runs
    again elsewhere, from its beginning and perhaps beside its former self: it must be repeatable.

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
    try:
        client = Client(cluster, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"--cluster {cluster}: no scheduler answers there: {error}") from error
    with client:
        # Results are files, so that nothing is gained by taking equal calls for one.
        yield client.get_executor(pure=False, retries=_RETRIES)


def result_of(future: Future) -> object:
    """Return the result of a job that is done.

    Raises:
        UserError: by the job, because it lost several workers, or because a worker lacks what it needs.
    """
    try:
        return future.result()
    except ModuleNotFoundError as error:
        raise UserError(
            f"a worker cannot import {error.name}: start workers in this folder, with `python -m dask worker ADDRESS`, "
            "and with the same requirements"
        ) from error
    except Exception as error:
        if type(error).__name__ == "KilledWorker":
            raise UserError(f"several workers were lost over it ({error}); their memory may be too small") from error
        raise
