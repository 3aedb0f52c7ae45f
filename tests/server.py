"""A small web server that speaks enough of the Hugging Face hub and of Zenodo for real clients.

It follows what is documented of the published data, not the live services. Every request is
logged with the bytes that left, and it fails on demand.
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""Commit of every repository that does not say another."""

COMMUNITY = "mars-bench"

PAGE = 8
"""Records on a page of the community's list, fewer than there are tasks."""


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


@dataclass
class Repo:
    """A dataset repository: files of one commit."""

    files: dict[str, bytes]
    commit: str = COMMIT
    private: bool = False
    card: dict[str, Any] = field(default_factory=dict)
    branches: tuple[str, ...] = ()
    states_sizes: bool = True


@dataclass
class Record:
    """A Zenodo record; a checksum may be stated wrong."""

    title: str
    files: dict[str, bytes]
    md5: dict[str, str] = field(default_factory=dict)


class Server:
    """A server on a free port of this machine; a context manager."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
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

    def answer(self, path: str, query: str) -> "Answer":
        """Find what a path stands for."""
        if path in self.files:
            etag = hashlib.sha256(self.files[path]).hexdigest()
            return Answer(self.files[path], headers={"ETag": f'"{etag}"'})
        for pattern, route in _ROUTES:
            if match := re.fullmatch(pattern, path):
                return route(self, query, *map(unquote, match.groups()))
        return Answer(b"not found", 404)


@dataclass
class Answer:
    """Content, status and headers."""

    content: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    needs_token: bool = False


def _json(value: Any) -> Answer:
    return Answer(json.dumps(value).encode(), headers={"Content-Type": "application/json"})


_MISSING_REPO = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}


def _repo(server: Server, name: str, revision: str) -> Repo | Answer:
    repo = server.repos.get(name)
    if repo is None:
        return Answer(b"Repository not found", 404, _MISSING_REPO)
    if revision not in ("main", repo.commit, *repo.branches):
        return Answer(b"Invalid rev id", 404, {"X-Error-Code": "RevisionNotFound"})
    return repo


def _lfs(content: bytes) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {"sha256": sha256, "size": len(content), "pointerSize": 131}


def _hub_info(server: Server, _: str, name: str, revision: str = "main") -> Answer:
    repo = _repo(server, name, revision)
    if isinstance(repo, Answer):
        return repo
    siblings = [
        {
            "rfilename": path,
            **({"size": len(content)} if repo.states_sizes else {}),
            "blobId": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
            **({"lfs": _lfs(content)} if path.endswith(".parquet") else {}),
        }
        for path, content in repo.files.items()
    ]
    answer = _json(
        {
            "_id": "0",
            "id": name,
            "sha": repo.commit,
            "private": repo.private,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": siblings,
            "cardData": repo.card,
        }
    )
    answer.needs_token = repo.private
    return answer


def _hub_file(server: Server, _: str, name: str, revision: str, path: str) -> Answer:
    repo = _repo(server, name, revision)
    if isinstance(repo, Answer):
        return repo
    if path not in repo.files:
        return Answer(b"Entry not found", 404, {"X-Error-Code": "EntryNotFound"})
    content = repo.files[path]
    etag = hashlib.sha256(content).hexdigest()
    headers = {"X-Repo-Commit": repo.commit, "ETag": f'"{etag}"', "X-Linked-ETag": f'"{etag}"'}
    headers |= {"X-Linked-Size": str(len(content)), "Content-Type": "application/octet-stream"}
    return Answer(content, headers=headers, needs_token=repo.private)


def _hub_tree(server: Server, query: str, name: str, revision: str, folder: str = "") -> Answer:
    repo = _repo(server, name, revision)
    if isinstance(repo, Answer):
        return repo
    below = f"{folder.strip('/')}/" if folder else ""
    deep = "recursive=true" in query.lower()
    entries: dict[str, dict[str, Any]] = {}
    for path, content in repo.files.items():
        inside = path.removeprefix(below)
        if inside == path and below:
            continue
        if "/" in inside and not deep:
            path = below + inside.partition("/")[0]
            entries[path] = {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}
        else:
            sha1 = hashlib.sha1(content).hexdigest()
            entries[path] = {"type": "file", "path": path, "size": len(content), "oid": sha1}
    return _json(list(entries.values()))


def _record_json(server: Server, record_id: int) -> dict[str, Any]:
    record = server.records[record_id]
    link = f"{server.url}/api/records/{record_id}"
    return {
        "id": record_id,
        "title": record.title,
        "doi": f"10.5281/zenodo.{record_id}",
        "metadata": {"title": record.title, "version": "1.0.0"},
        "links": {"self": link},
        "files": [
            {
                "id": name,
                "key": name,
                "size": len(content),
                "checksum": f"md5:{record.md5.get(name) or hashlib.md5(content).hexdigest()}",
                "links": {"self": f"{link}/files/{name}/content"},
            }
            for name, content in record.files.items()
        ],
    }


def _community(server: Server, query: str, community: str) -> Answer:
    if community != COMMUNITY:
        return Answer(b'{"status": 404}', 404)
    page = int(dict(re.findall(r"(\w+)=([^&]*)", query)).get("page", 1))
    ids = sorted(server.records)
    shown = ids[(page - 1) * PAGE : page * PAGE]
    links = {"self": f"{server.url}/api/communities/{community}/records?page={page}"}
    if page * PAGE < len(ids):
        links["next"] = f"{server.url}/api/communities/{community}/records?page={page + 1}"
    hits = [_record_json(server, record_id) for record_id in shown]
    return _json({"hits": {"hits": hits, "total": len(ids)}, "links": links})


def _record(server: Server, _: str, record_id: str) -> Answer:
    if int(record_id) not in server.records:
        return Answer(b'{"status": 404}', 404)
    return _json(_record_json(server, int(record_id)))


def _record_file(server: Server, _: str, record_id: str, name: str) -> Answer:
    content = server.records[int(record_id)].files[name]
    return Answer(content, headers={"Content-Type": "application/octet-stream"})


_ROUTES: list[tuple[str, Callable[..., Answer]]] = [
    (r"/api/datasets/([^/]+/[^/]+)", _hub_info),
    (r"/api/datasets/([^/]+/[^/]+)/revision/(.+)", _hub_info),
    (r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)", _hub_tree),
    (r"/api/datasets/([^/]+/[^/]+)/tree/([^/]+)/(.*)", _hub_tree),
    (r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", _hub_file),
    (r"/api/communities/([^/]+)/records", _community),
    (r"/api/records/(\d+)", _record),
    (r"/api/records/(\d+)/files/([^/]+)/content", _record_file),
]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    app: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep standard error clean."""

    def do_HEAD(self) -> None:
        self._serve("HEAD")

    def do_GET(self) -> None:
        self._serve("GET")

    def _serve(self, method: str) -> None:
        path, query = unquote(urlsplit(self.path).path), urlsplit(self.path).query
        failure = self.app.failure_of(method, path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        if failure is not None and failure.status is not None:
            answer = Answer(failure.body, failure.status, failure.headers)
        else:
            answer = self.app.answer(path, query)
            if answer.needs_token and token != "good":
                # As the hub does: what may not be seen is not said to exist.
                answer = Answer(b"Invalid username or password.", 401, _MISSING_REPO)
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
            if method == "GET":
                for part in _parts(body, failure):
                    self.wfile.write(part)
                    self.wfile.flush()
                    seen.sent += len(part)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        if seen.sent < len(body) and method == "GET":
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
