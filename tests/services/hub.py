"""Repositories of a hub, and what its clients read of them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.services.answers import Answer, json_answer

if TYPE_CHECKING:
    from tests.server import Server

COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""Commit of every repository that does not say another."""

OWNER = "me"
"""User of the token "good", which may read and write everything. "reader" may read only."""


LARGE = (".safetensors", ".parquet", ".png", ".zip")
"""Ends of names of files that git keeps as pointers."""


@dataclass
class Pull:
    """A pull request: its title and the files that the repository would have."""

    title: str
    files: dict[str, bytes]
    commit: str
    is_open: bool = True

    @property
    def state(self) -> str:
        return "open" if self.is_open else "closed"


@dataclass
class Repo:
    """A repository: files of one commit, and of earlier commits and pull requests."""

    files: dict[str, bytes]
    commit: str = COMMIT
    private: bool = False
    card: dict[str, Any] = field(default_factory=dict)
    branches: tuple[str, ...] = ()
    states_sizes: bool = True
    earlier: dict[str, dict[str, bytes]] = field(default_factory=dict)
    pulls: dict[int, Pull] = field(default_factory=dict)

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Commit and files of a revision; None if there is no such revision."""
        if revision in ("main", self.commit, *self.branches):
            return self.commit, self.files
        if revision in self.earlier:
            return revision, self.earlier[revision]
        for number, pull in self.pulls.items():
            if revision in (f"refs/pr/{number}", pull.commit):
                return pull.commit, pull.files
        return None


MISSING = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}


def find_repo(server: "Server", kind: str, name: str, revision: str = "main") -> Repo | Answer:
    """A repository that has this revision, or the hub's answer that there is none."""
    repo = server.of(kind).get(name)
    if repo is None:
        return Answer(b"Repository not found", 404, MISSING)
    if repo.at(revision) is None:
        return Answer(b"Invalid rev id", 404, {"X-Error-Code": "RevisionNotFound"})
    return repo


def _files(
    server: "Server", kind: str, name: str, revision: str
) -> tuple[Repo, str, dict[str, bytes]] | Answer:
    """A repository with commit and files of a revision."""
    repo = find_repo(server, kind, name, revision)
    if isinstance(repo, Answer):
        return repo
    known = repo.at(revision)
    assert known is not None
    return repo, *known


def _lfs(content: bytes) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {"sha256": sha256, "size": len(content), "pointerSize": 131}


def _hub_info(server: "Server", _: str, kind: str, name: str, revision: str = "main") -> Answer:
    known = _files(server, kind, name, revision)
    if isinstance(known, Answer):
        return known
    repo, commit, files = known
    siblings = [
        {
            "rfilename": path,
            **({"size": len(content)} if repo.states_sizes else {}),
            "blobId": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
            **({"lfs": _lfs(content)} if path.endswith(LARGE) else {}),
        }
        for path, content in files.items()
    ]
    answer = json_answer(
        {
            "_id": "0",
            "id": name,
            "sha": commit,
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


def _hub_file(server: "Server", _: str, kind: str, name: str, revision: str, path: str) -> Answer:
    known = _files(server, "datasets" if kind else "models", name, revision)
    if isinstance(known, Answer):
        return known
    repo, commit, files = known
    if path not in files:
        return Answer(b"Entry not found", 404, {"X-Error-Code": "EntryNotFound"})
    content = files[path]
    etag = hashlib.sha256(content).hexdigest()
    headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "X-Linked-ETag": f'"{etag}"'}
    headers |= {"X-Linked-Size": str(len(content)), "Content-Type": "application/octet-stream"}
    return Answer(content, headers=headers, needs_token=repo.private)


def _hub_tree(
    server: "Server", query: str, kind: str, name: str, revision: str, folder: str = ""
) -> Answer:
    known = _files(server, kind, name, revision)
    if isinstance(known, Answer):
        return known
    repo, _, files = known
    below = f"{folder.strip('/')}/" if folder else ""
    deep = "recursive=true" in query.lower()
    entries: dict[str, dict[str, Any]] = {}
    for path, content in files.items():
        inside = path.removeprefix(below)
        if inside == path and below:
            continue
        if "/" in inside and not deep:
            path = below + inside.partition("/")[0]
            entries[path] = {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}
        else:
            sha1 = hashlib.sha1(content).hexdigest()
            entries[path] = {"type": "file", "path": path, "size": len(content), "oid": sha1}
    answer = json_answer(list(entries.values()))
    answer.needs_token = repo.private
    return answer


def _pulls(server: "Server", _: str, kind: str, name: str) -> Answer:
    repo = find_repo(server, kind, name)
    if isinstance(repo, Answer):
        return repo
    place = {"name": name, "type": kind.removesuffix("s")}
    pulls = [
        {
            "num": number,
            "title": pull.title,
            "status": pull.state,
            "isPullRequest": True,
            "author": {"name": OWNER},
            "createdAt": "2026-01-01T00:00:00.000Z",
            "repo": place,
        }
        for number, pull in repo.pulls.items()
    ]
    answer = json_answer({"discussions": pulls, "count": len(pulls), "start": 0})
    answer.needs_token = repo.private
    return answer


def _whoami(server: "Server", _: str) -> Answer:
    answer = json_answer({"name": OWNER, "type": "user", "orgs": []})
    answer.needs_token = True
    return answer


PLACE = r"(models|datasets)/([^/]+/[^/]+)"
_REVISION = r"(refs/pr/\d+|[^/]+)"

ROUTES: list[tuple[str, Callable[..., Answer]]] = [
    (rf"/api/{PLACE}", _hub_info),
    (rf"/api/{PLACE}/revision/(.+)", _hub_info),
    (rf"/api/{PLACE}/tree/{_REVISION}", _hub_tree),
    (rf"/api/{PLACE}/tree/{_REVISION}/(.*)", _hub_tree),
    (rf"/api/{PLACE}/discussions", _pulls),
    (rf"/(datasets/)?([^/]+/[^/]+)/resolve/{_REVISION}/(.+)", _hub_file),
    (r"/api/whoami-v2", _whoami),
]
