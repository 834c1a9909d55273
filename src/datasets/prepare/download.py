"""Files from the web: tried again, resumed, and with their checksums kept."""

import http.client
import os
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path

from src.datasets.prepare.ffmpeg import TargetError
from src.utils.errors import UserError
from src.utils.files import sha256_of, write_atomic

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60
# What comes and goes: worth another try. Other statuses (404, 403) end the attempts at once.
_TEMPORARY_STATUSES = {408, 416, 425, 429, 500, 502, 503, 504}
_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


def remote_size(base_urls: Sequence[str], name: str, attempts: int = 3, pause: float = 1.0) -> int:
    """Return the size in bytes of NAME at the first of `base_urls` that has it.

    Raises:
        UserError: none has it or states its size.
    """
    reasons = []
    for url in _urls(base_urls, name):
        for attempt in range(attempts):
            try:
                request = urllib.request.Request(url, method="HEAD")
                with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
                    return int(response.headers["Content-Length"])
            except _NETWORK_ERRORS as error:
                reasons.append(f"{url}: {_reason(error)}")
                if not _is_temporary(error):
                    break
                time.sleep(pause * 2**attempt)
            except TypeError:
                reasons.append(f"{url}: states no size")
                break
    raise UserError(f"{name}: cannot ask for its size: {reasons[-1]}")


def fetch(base_urls: Sequence[str], name: str, target: Path, attempts: int = 5, pause: float = 2.0) -> str:
    """Download NAME to `target`, which is whole or absent, and return its SHA-256.

    A broken transfer goes on where it stopped, in this run or the next. The checksum is written beside the target
    as TARGET.sha256, in the format of `sha256sum -c`.

    Args:
        base_urls: places that hold the file, the first that answers is taken.
        name: name of the file below the base URL.
        target: where it goes.
        attempts: tries at each place.
        pause: seconds before the second try; doubled each time.

    Raises:
        UserError: no place delivered the file.
        TargetError: the target cannot be written or is full.
    """
    reasons = []
    for url in _urls(base_urls, name):
        # The name holds the address: a transfer is never continued from another place.
        partial = target.with_name(f".{target.name}.{zlib.crc32(url.encode()):08x}.download")
        for attempt in range(attempts):
            try:
                _transfer(url, partial)
                return _finish(partial, target)
            except _NETWORK_ERRORS as error:
                reasons.append(f"{url}: {_reason(error)}")
                if not _is_temporary(error):
                    break
                if attempt + 1 < attempts:
                    time.sleep(pause * 2**attempt)
            except OSError as error:
                raise TargetError(f"{target}: cannot write the file: {error.strerror}") from error
    raise UserError(f"{name}: cannot download, after {len(reasons)} tries: {reasons[-1]}")


def checksum_file(path: Path) -> Path:
    """Return where the checksum of `path` is kept."""
    return path.with_name(path.name + ".sha256")


def _transfer(url: str, partial: Path) -> None:
    """Append what is missing of `url` to `partial`."""
    partial.parent.mkdir(parents=True, exist_ok=True)
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # the whole file is here already
        if error.code == 416:
            partial.unlink()  # longer than the file: not a part of it
        raise
    with response:
        resumed = response.status == 206
        total = int(response.headers.get("Content-Length", -1)) + (have if resumed else 0)
        with partial.open("ab" if resumed else "wb") as file:
            shutil.copyfileobj(response, file, _CHUNK_BYTES)
            file.flush()
            os.fsync(file.fileno())
    if "Content-Length" in response.headers and partial.stat().st_size != total:
        raise http.client.IncompleteRead(b"", total - partial.stat().st_size)


def _finish(partial: Path, target: Path) -> str:
    digest = sha256_of(partial)
    # First the checksum: a file without one counts as not downloaded.
    path, line = checksum_file(target), f"{digest}  {target.name}\n"
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") != line:
        raise UserError(f"{path}: is there, and not of what was downloaded ({digest}); move it away")
    write_atomic(path, line)
    partial.replace(target)
    return digest


def _urls(base_urls: Sequence[str], name: str) -> list[str]:
    return [f"{base.rstrip('/')}/{urllib.parse.quote(name)}" for base in base_urls]


def _is_temporary(error: Exception) -> bool:
    return not isinstance(error, urllib.error.HTTPError) or error.code in _TEMPORARY_STATUSES


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, http.client.IncompleteRead):
        return f"the transfer ended {error.expected} bytes early"
    return str(getattr(error, "reason", None) or error) or type(error).__name__
