"""Uploads to a hub: new repositories, commits and pull requests, small and large files."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import yaml

from tests.services.answers import Answer, json_answer
from tests.services.hub import LARGE, MISSING, OWNER, PLACE, Pull, Repo, find_repo

if TYPE_CHECKING:
    from tests.server import Server

LARGEST = 10_000_000
"""Bytes from which any file is uploaded apart from its commit."""


def answer(server: "Server", path: str, query: str, token: str | None, content: bytes) -> Answer:
    """Take an upload; all but checks of a card need the token of `OWNER`, or one that reads."""
    for pattern, route in _ROUTES:
        if match := re.fullmatch(pattern, path):
            # Content of large files needs no token: its address is a secret.
            if route is not _content and token not in ("good", "reader"):
                return Answer(b"Invalid username or password.", 401, MISSING)
            is_pull = "create_pr=1" in query
            if route in _WRITES and token == "reader" and not is_pull:
                return _error(403, "Forbidden: uploads to a repository need a write token.")
            groups = map(unquote, match.groups(""))
            return route(server, content, *groups, **({"is_pull": True} if is_pull else {}))
    return Answer(b"not found", 404)


def _error(status: int, message: str, **more: str) -> Answer:
    content = json.dumps({"error": message, **more}).encode()
    return Answer(content, status, {"Content-Type": "application/json", "X-Error-Message": message})


def _create(server: "Server", content: bytes) -> Answer:
    asked = json.loads(content)
    kind = f"{asked.get('type', 'model')}s"
    owner = asked.get("organization") or OWNER
    name = f"{owner}/{asked['name']}"
    if owner not in server.writable:
        return _error(403, f"Forbidden: you may not create repositories of {owner}.")
    prefix = "datasets/" if kind == "datasets" else ""
    place = {"url": f"{server.url}/{prefix}{name}", "name": name}
    if name in server.of(kind):
        return _error(409, "You already created this repo", **place)
    private = asked.get("visibility") == "private" or bool(asked.get("private"))
    server.of(kind)[name] = Repo({".gitattributes": b"* text\n"}, private=private)
    return json_answer(place)


def _check_card(_: "Server", content: bytes) -> Answer:
    """Check the front matter of a card, as the hub does before a commit."""
    text = json.loads(content)["content"]
    try:
        head = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
        if head is None or not isinstance(yaml.safe_load(head[1]), dict):
            return json_answer({"errors": [], "warnings": [{"message": "empty metadata"}]})
    except yaml.YAMLError as error:
        problem = json_answer({"errors": [{"message": str(error)}], "warnings": []})
        problem.status = 400
        return problem
    return json_answer({"errors": [], "warnings": []})


def _preupload(
    server: "Server", content: bytes, kind: str, name: str, revision: str, *, is_pull: bool = False
) -> Answer:
    repo = find_repo(server, kind, name, revision)
    if isinstance(repo, Answer):
        return repo
    modes = [
        {
            "path": file["path"],
            "uploadMode": "lfs"
            if file["path"].endswith(LARGE) or file["size"] > LARGEST
            else "regular",
            "shouldIgnore": False,
            "oid": None,
        }
        for file in json.loads(content)["files"]
    ]
    return json_answer({"files": modes})


def _batch(server: "Server", content: bytes, prefix: str, name: str) -> Answer:
    repo = find_repo(server, "datasets" if prefix else "models", name)
    if isinstance(repo, Answer):
        return repo
    objects: list[dict[str, Any]] = []
    for item in json.loads(content)["objects"]:
        place = {"href": f"{server.url}/uploads/{item['oid']}"}
        known = item["oid"] in server.uploads
        objects.append(item | ({} if known else {"actions": {"upload": place}}))
    return json_answer({"transfer": "basic", "objects": objects})


def _content(server: "Server", content: bytes, digest: str) -> Answer:
    if hashlib.sha256(content).hexdigest() != digest:
        return _error(400, "The content has another digest")
    server.uploads[digest] = content
    return Answer(b"")


def _commit(
    server: "Server", content: bytes, kind: str, name: str, revision: str, *, is_pull: bool = False
) -> Answer:
    repo = find_repo(server, kind, name, revision)
    if isinstance(repo, Answer):
        return repo
    lines = [json.loads(line) for line in content.splitlines()]
    header = lines[0]["value"]
    if header.get("parentCommit", repo.commit) != repo.commit:
        return _error(412, "A commit has happened since. Please refresh and try again.")
    before = repo.at(revision)
    assert before is not None
    files = dict(before[1])
    for line in lines[1:]:
        value = line["value"]
        path = value["path"]
        if ".." in path.split("/") or path.startswith("/"):
            return _error(400, f"Invalid path {path}")
        if line["key"] == "file":
            files[path] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            if value["oid"] not in server.uploads:
                return _error(404, f"LFS pointer pointed to a file that does not exist: {path}")
            files[path] = server.uploads[value["oid"]]
        elif line["key"] == "deletedFile":
            del files[path]
        elif line["key"] == "deletedFolder":
            inside = f"{path.rstrip('/')}/"
            files = {key: each for key, each in files.items() if not key.startswith(inside)}
        else:
            return _error(400, f"Unknown operation {line['key']}")
    commit = hashlib.sha1(before[0].encode() + content).hexdigest()
    prefix = "datasets/" if kind == "datasets" else ""
    web = f"{server.url}/{prefix}{name}"
    said = {"success": True, "commitUrl": f"{web}/commit/{commit}", "commitOid": commit}
    number = int(revision.rpartition("/")[2]) if revision.startswith("refs/pr/") else None
    if is_pull or number is not None:
        title = header["summary"] if number is None else repo.pulls[number].title
        number = number or len(repo.pulls) + 1
        repo.pulls[number] = Pull(title, files, commit)
        return json_answer(said | {"pullRequestUrl": f"{web}/discussions/{number}"})
    repo.earlier[repo.commit] = repo.files
    repo.files, repo.commit = files, commit
    return json_answer(said)


_WRITES = (_create, _commit, _preupload)

_ROUTES: list[tuple[str, Callable[..., Answer]]] = [
    (r"/api/repos/create", _create),
    (r"/api/validate-yaml", _check_card),
    (rf"/api/{PLACE}/preupload/(.+)", _preupload),
    (rf"/api/{PLACE}/commit/(.+)", _commit),
    (r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", _batch),
    (r"/uploads/([0-9a-f]{64})", _content),
]
