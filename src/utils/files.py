"""Files that are either whole or absent."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`, else removed.

    The temporary name keeps the suffix of `path`, because many writers choose the format by it.
    Missing parent folders are made.

    Raises:
        OSError: `path` cannot be written; it names `path`, not the temporary one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path
    try:
        temporary = _new_file(path)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        # A full disk is told without a name, or with the temporary one, which means nothing to the user.
        if error.errno is not None and (error.filename is None or _is_temporary(Path(error.filename), path)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        if temporary != path:
            temporary.unlink(missing_ok=True)


def _is_temporary(name: Path, path: Path) -> bool:
    return name.parent == path.parent and name.name.startswith(f".{path.stem}.") and name.suffix == path.suffix


def _new_file(path: Path) -> Path:
    """Make an empty file beside `path` under a name that nobody has, with the permissions that open() gives."""
    while True:
        # tempfile.mkstemp would make it private. To widen that needs the umask, which only setting it tells.
        name = f".{path.stem}.{secrets.token_hex(4)}{path.suffix}"
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path.with_name(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return path.with_name(name)


def write_atomic(path: str | os.PathLike, content: str | bytes) -> None:
    """Write `content` (text as UTF-8) to `path` so that a reader sees the old file or the whole new one."""
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def sha256_of(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
