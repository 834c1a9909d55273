"""The page of a live stream: served to browsers, told of news by server-sent events."""

import ipaddress
import json
import secrets
import threading
import urllib.parse
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from src.utils.errors import UserError

# A browser that hears nothing for long takes the program for dead, and a closed one is noticed by writing.
_HEARTBEAT_SECONDS = 5.0


class LivePage:
    """Serves a page and its news.

    On this machine alone anybody may look; elsewhere only whoever knows the token in the URL.

    Args:
        host: address to listen on.
        port: 0: any that is free.
        html: the page.

    Raises:
        UserError: the address cannot be listened on.
    """

    def __init__(self, host: str, port: int, html: str) -> None:
        self._token = None if is_loopback(host) else secrets.token_urlsafe(16)
        self._news: bytes | None = None
        self._version = 0
        self._changed = threading.Condition()
        try:
            self._server = ThreadingHTTPServer((host, port), self._handler(html.encode()))
        except (OSError, OverflowError) as error:
            raise UserError(f"--live-port {port}: cannot listen on {host}: {error}") from error
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self._server.server_address[:2]
        return f"http://{host}:{port}/" + (f"?token={self._token}" if self._token else "")

    def publish(self, message: dict) -> None:
        """Tell every browser."""
        with self._changed:
            self._news = json.dumps(message, separators=(",", ":")).encode()
            self._version += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self, html: bytes) -> type[BaseHTTPRequestHandler]:
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urllib.parse.urlsplit(self.path)
                if not page._may_see(urllib.parse.parse_qs(parts.query), self.headers.get("Host", "")):
                    self.send_error(HTTPStatus.FORBIDDEN)
                elif parts.path == "/":
                    self._begin("text/html; charset=utf-8")
                    self.wfile.write(html)
                elif parts.path == "/events":
                    self._begin("text/event-stream")
                    page._send_news(self.wfile)
                else:
                    self.send_error(HTTPStatus.NOT_FOUND)

            def _begin(self, kind: str) -> None:
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", kind)
                self.send_header("Cache-Control", "no-store")
                # The token stays out of other sites' logs.
                self.send_header("Referrer-Policy", "no-referrer")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing: requests are no news, and hold the token."""

        return Handler

    def _may_see(self, query: dict[str, list[str]], host: str) -> bool:
        if self._token is not None:
            return secrets.compare_digest(query.get("token", [""])[0].encode(), self._token.encode())
        # Another site's name that leads here must not show this page to its scripts.
        return is_loopback(urllib.parse.urlsplit(f"//{host}").hostname or "")

    def _send_news(self, file) -> None:
        version = 0
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._version > version, _HEARTBEAT_SECONDS)  # noqa: B023
                    news, is_new, version = self._news, self._version > version, self._version
                file.write(b"data: " + news + b"\n\n" if is_new else b": still here\n\n")
                file.flush()
        except OSError:
            return  # the browser has gone


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
