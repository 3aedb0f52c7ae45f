"""Records of a Zenodo, and what its clients read of them."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.services.answers import Answer, json_answer

if TYPE_CHECKING:
    from tests.server import Server

COMMUNITY = "mars-bench"

PAGE = 8
"""Records on a page of the community's list, fewer than there are tasks."""


@dataclass
class Record:
    """A Zenodo record; a checksum may be stated wrong."""

    title: str
    files: dict[str, bytes]
    md5: dict[str, str] = field(default_factory=dict)


def _record_json(server: "Server", record_id: int) -> dict[str, Any]:
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


def _community(server: "Server", query: str, community: str) -> Answer:
    if community != COMMUNITY:
        return Answer(b'{"status": 404}', 404)
    page = int(dict(re.findall(r"(\w+)=([^&]*)", query)).get("page", 1))
    ids = sorted(server.records)
    shown = ids[(page - 1) * PAGE : page * PAGE]
    links = {"self": f"{server.url}/api/communities/{community}/records?page={page}"}
    if page * PAGE < len(ids):
        links["next"] = f"{server.url}/api/communities/{community}/records?page={page + 1}"
    hits = [_record_json(server, record_id) for record_id in shown]
    return json_answer({"hits": {"hits": hits, "total": len(ids)}, "links": links})


def _record(server: "Server", _: str, record_id: str) -> Answer:
    if int(record_id) not in server.records:
        return Answer(b'{"status": 404}', 404)
    return json_answer(_record_json(server, int(record_id)))


def _record_file(server: "Server", _: str, record_id: str, name: str) -> Answer:
    content = server.records[int(record_id)].files[name]
    return Answer(content, headers={"Content-Type": "application/octet-stream"})


ROUTES: list[tuple[str, Callable[..., Answer]]] = [
    (r"/api/communities/([^/]+)/records", _community),
    (r"/api/records/(\d+)", _record),
    (r"/api/records/(\d+)/files/([^/]+)/content", _record_file),
]
