"""Downloads from a server on this machine that breaks off, refuses, and knows ranges."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from src.datasets.prepare import ava, download
from src.datasets.prepare.ffmpeg import TargetError
from src.utils.errors import UserError

CONTENT = bytes(range(256)) * 4096


@dataclass
class Server:
    """Serves `files`; the next answers may be an error status or break off after some bytes."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[tuple[str, int]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested = self.headers.get("Range")
            state.requests.append(f"{self.path} {requested or 'whole'}")
            fault, value = state.faults.pop(0) if state.faults else ("", 0)
            content = state.files.get(self.path.lstrip("/"))
            if fault == "status" or content is None:
                self.send_error(value or 404)
                return
            start = int(requested.removeprefix("bytes=").rstrip("-")) if requested else 0
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if requested else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : start + value] if fault == "break" else content[start:])

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(state.files[self.path.lstrip("/")])))
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def _fetch(server: Server, target: Path, name: str = "a.mkv", urls: list[str] | None = None) -> str:
    return download.fetch(urls or [server.url], name, target, attempts=4, pause=0)


def test_a_broken_transfer_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.files["a.mkv"] = CONTENT
    server.faults = [("break", 300_000), ("status", 503), ("break", 200_000)]
    digest = _fetch(server, tmp_path / "videos/a.mkv")
    assert (tmp_path / "videos/a.mkv").read_bytes() == CONTENT
    assert digest == hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "videos/a.mkv.sha256").read_text() == f"{digest}  a.mkv\n"
    assert server.requests == [
        "/a.mkv whole",
        "/a.mkv bytes=300000-",
        "/a.mkv bytes=300000-",
        "/a.mkv bytes=500000-",
    ]
    assert sorted(path.name for path in (tmp_path / "videos").iterdir()) == ["a.mkv", "a.mkv.sha256"]


def test_the_next_run_goes_on_too(server: Server, tmp_path: Path) -> None:
    server.files["a.mkv"] = CONTENT
    server.faults = [("break", 100_000)] + [("status", 503)] * 3
    with pytest.raises(UserError) as error:
        _fetch(server, tmp_path / "a.mkv")
    assert str(error.value) == (
        f"a.mkv: cannot download, after 4 tries: {server.url}/a.mkv: the server answered 503 Service Unavailable"
    )
    assert not (tmp_path / "a.mkv").exists()
    server.requests.clear()
    _fetch(server, tmp_path / "a.mkv")
    assert server.requests == ["/a.mkv bytes=100000-"]
    assert (tmp_path / "a.mkv").read_bytes() == CONTENT


def test_a_whole_but_unfinished_transfer_is_taken(server: Server, tmp_path: Path) -> None:
    """The run was killed between the last byte and the renaming."""
    server.files["a.mkv"] = CONTENT
    server.faults = [("break", 100_000)] + [("status", 503)] * 3
    with pytest.raises(UserError):
        _fetch(server, tmp_path / "a.mkv")
    (partial,) = tmp_path.glob(".a.mkv.*.download")
    partial.write_bytes(CONTENT)
    _fetch(server, tmp_path / "a.mkv")
    assert (tmp_path / "a.mkv").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    server.files["a.mkv"] = CONTENT
    server.faults = [("break", 100_000)] + [("status", 503)] * 3
    with pytest.raises(UserError):
        _fetch(server, tmp_path / "a.mkv")
    (partial,) = tmp_path.glob(".a.mkv.*.download")
    partial.write_bytes(CONTENT + b"more")
    _fetch(server, tmp_path / "a.mkv")
    assert (tmp_path / "a.mkv").read_bytes() == CONTENT


def test_a_missing_file_is_looked_for_elsewhere_and_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.files["mirror/%C3%A4%20b.mkv"] = CONTENT
    _fetch(server, tmp_path / "x.mkv", "ä b.mkv", [server.url + "/here", server.url + "/mirror/"])
    assert server.requests == ["/here/%C3%A4%20b.mkv whole", "/mirror/%C3%A4%20b.mkv whole"]
    with pytest.raises(UserError, match=r"absent\.mkv: cannot download, after 1 tries: .* 404 Not Found"):
        _fetch(server, tmp_path / "absent.mkv", "absent.mkv")


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.mkv: cannot download, after 2 tries: .*Connection refused"):
        download.fetch(["http://127.0.0.1:9"], "a.mkv", tmp_path / "a.mkv", attempts=2, pause=0)


def test_a_checksum_of_something_else_is_kept(server: Server, tmp_path: Path) -> None:
    server.files["a.mkv"] = CONTENT
    (tmp_path / "a.mkv.sha256").write_text("mine")
    with pytest.raises(UserError, match=r"a\.mkv\.sha256: is there, and not of what was downloaded"):
        _fetch(server, tmp_path / "a.mkv")
    assert (tmp_path / "a.mkv.sha256").read_text() == "mine" and not (tmp_path / "a.mkv").exists()


def test_downloading_leaves_foreign_files_as_they_are(server: Server, tmp_path: Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in (*ava.BOX_LISTS.values(), "notes.csv"):
            tar.addfile(tarfile.TarInfo(f"annotations/{name}"))
    server.files = {
        ava.NAMES_FILE: b"a.mkv\nb.mkv\n",
        ava.ANNOTATIONS_FILE: archive.getvalue(),
        "a.mkv": CONTENT,
        "b.mkv": CONTENT,
    }
    foreign = ("videos/a.mkv", "videos/notes.txt", "ava_annotations/notes.csv", ".a.mkv.download", "frames/a/a.jpg")
    for name in foreign:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = {name: ((tmp_path / name).stat().st_ino, (tmp_path / name).stat().st_mtime_ns) for name in foreign}
    urls = {"video_urls": [server.url], "names_urls": [server.url], "annotation_urls": [server.url]}
    ava.download_all(tmp_path, **urls, jobs=1, dry_run=False)
    assert (tmp_path / "videos/b.mkv").read_bytes() == CONTENT
    assert all((tmp_path / name).read_text() == "mine" for name in foreign)
    assert {name: ((tmp_path / name).stat().st_ino, (tmp_path / name).stat().st_mtime_ns) for name in foreign} == before


def test_disk_full(server: Server, mounted: Callable) -> None:
    server.files["a.mkv"] = CONTENT
    with pytest.raises(TargetError, match=r"a\.mkv: cannot write the file: No space left on device"):
        _fetch(server, mounted("size=256k") / "a.mkv")


def test_remote_size(server: Server) -> None:
    server.files["a.mkv"] = CONTENT
    assert download.remote_size([server.url], "a.mkv") == 1_048_576
