"""A small web server that speaks enough of the Hugging Face hub and of Zenodo for real clients.

It follows what is documented of the published data, not the live services. Every request is
logged with the bytes that left, and it fails on demand. `tests.services.pushes` takes what clients
upload.
"""

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.services import hub, pushes, zenodo
from tests.services.answers import Answer
from tests.services.hub import COMMIT, MISSING, Repo
from tests.services.zenodo import PAGE, Record

__all__ = ["COMMIT", "PAGE", "Record", "Repo", "Server"]


@dataclass
class Seen:
    """One request, as it was answered, and the bytes of content that left."""

    method: str
    path: str
    start: int
    status: int
    token: str | None
    sent: int = 0


@dataclass
class Failure:
    """What goes wrong with the next requests whose path matches."""

    pattern: str
    times: int
    method: str = "GET"
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None
    bytes_per_second: float | None = None
    corrupt: bool = False


class Server:
    """A server on a free port of this machine; a context manager."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.models: dict[str, Repo] = {}
        self.uploads: dict[str, bytes] = {}
        self.writable = {hub.OWNER}
        self.records: dict[int, Record] = {}
        self.files: dict[str, bytes] = {}
        self.log: list[Seen] = []
        self.failures: list[Failure] = []
        self.lock = threading.Lock()
        handler = type("BoundHandler", (_Handler,), {"app": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        """Address of the server, without a slash at its end."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def fail(self, pattern: str, times: int = 1, **what: Any) -> None:
        """Let the next requests fail whose path matches a regular expression.

        Args:
            pattern: Searched in the path.
            times: How many requests fail.
            what: Fields of `Failure`.
        """
        self.failures.append(Failure(pattern, times, **what))

    def html(self, pattern: str, times: int = 1) -> None:
        """Answer with a web page in place of what was asked for."""
        page = b"<!DOCTYPE html><html><body>Just a moment...</body></html>"
        self.fail(pattern, times, status=200, headers={"Content-Type": "text/html"}, body=page)

    def forget(self) -> None:
        """Empty the log and the list of failures."""
        with self.lock:
            self.log.clear()
            self.failures.clear()

    def seen(self, pattern: str = "", method: str | None = None) -> list[Seen]:
        """Requests so far whose path matches."""
        with self.lock:
            return [
                s
                for s in self.log
                if re.search(pattern, s.path) and (method is None or s.method == method)
            ]

    def failure_of(self, method: str, path: str) -> Failure | None:
        """Take one failure that is due."""
        with self.lock:
            for failure in self.failures:
                if failure.times and failure.method == method and re.search(failure.pattern, path):
                    failure.times -= 1
                    return failure
        return None

    def of(self, kind: str) -> dict[str, Repo]:
        """Repositories of a kind, by the word of their addresses: ``models`` or ``datasets``."""
        return {"models": self.models, "datasets": self.repos}[kind]

    def answer(self, path: str, query: str) -> Answer:
        """Find what a path stands for."""
        if path in self.files:
            etag = hashlib.sha256(self.files[path]).hexdigest()
            return Answer(self.files[path], headers={"ETag": f'"{etag}"'})
        for pattern, route in (*hub.ROUTES, *zenodo.ROUTES):
            if match := re.fullmatch(pattern, path):
                return route(self, query, *map(unquote, match.groups("")))
        return Answer(b"not found", 404)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    app: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep standard error clean."""

    def do_HEAD(self) -> None:
        self._serve("HEAD")

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def _serve(self, method: str) -> None:
        path, query = unquote(urlsplit(self.path).path), urlsplit(self.path).query
        failure = self.app.failure_of(method, path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if failure is not None and failure.status is not None:
            answer = Answer(failure.body, failure.status, failure.headers)
        elif method in ("POST", "PUT"):
            answer = pushes.answer(self.app, path, query, token, content)
        else:
            answer = self.app.answer(path, query)
            if answer.needs_token and token not in ("good", "reader"):
                # As the hub does: what may not be seen is not said to exist.
                answer = Answer(b"Invalid username or password.", 401, MISSING)
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if asked and answer.status == 200 and (failure is None or failure.status is None):
            size = len(answer.content)
            start = min(int(asked[1]), size)
            whole = {"Content-Range": f"bytes */{size}"}
            rest = {"Content-Range": f"bytes {start}-{size - 1}/{size}"}
            answer.status, more = (416, whole) if start == size else (206, rest)
            answer.headers |= more
        body = answer.content[start:]
        if failure is not None and failure.corrupt:
            body = bytes(b ^ 0xFF for b in body[:16]) + body[16:]
        seen = Seen(method, path, start, answer.status, token)
        with self.app.lock:
            self.app.log.append(seen)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            if method != "HEAD":
                for part in _parts(body, failure):
                    self.wfile.write(part)
                    self.wfile.flush()
                    seen.sent += len(part)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        if seen.sent < len(body) and method != "HEAD":
            self.close_connection = True


def _parts(body: bytes, failure: Failure | None) -> Iterator[bytes]:
    if failure is not None and failure.cut_after is not None:
        body = body[: failure.cut_after]
    speed = None if failure is None else failure.bytes_per_second
    if speed is None:
        yield body
        return
    step = max(1, int(speed / 10))
    for at in range(0, len(body), step):
        yield body[at : at + step]
        time.sleep(step / speed)
