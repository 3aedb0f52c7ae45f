"""Records of the community ``mars-bench`` on Zenodo: one per task, with its folder as an archive.

Their numbers are found by their titles. What was downloaded, and from where, stands in
``.marsbench.json`` in the task's folder, which is there only when all else is.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from marsbench.base import paths
from marsbench.base.errors import DataError, DataNotFoundError, some
from marsbench.base.progress import bar
from marsbench.data.download import transfer
from marsbench.data.download.archives import MARKER, locked, unpack
from marsbench.data.download.unpacking import top_folder
from marsbench.data.download.web import get_json, shown
from marsbench.data.sources.annotations import ANNOTATIONS
from marsbench.tasks.spec import TaskSpec, normalise

API = "https://zenodo.org/api"
"""Address of the service; `MARSBENCH_ZENODO_API` names another, such as a mirror."""

COMMUNITY = "mars-bench"

MOST_PAGES = 100
"""Pages of a community's list that are read."""

TITLES_SHOWN = 30

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


@dataclass(frozen=True)
class RecordFile:
    """One file of a record: name, bytes, ``md5:HEX`` and address."""

    name: str
    size: int
    digest: str | None
    url: str


@dataclass(frozen=True)
class RecordInfo:
    """One record."""

    id: str
    title: str
    doi: str
    files: tuple[RecordFile, ...]


def api() -> str:
    """Address of the service, without a slash at its end."""
    return (os.environ.get("MARSBENCH_ZENODO_API") or API).rstrip("/")


def folder(spec: TaskSpec) -> Path:
    """Where a task's data are once they are downloaded."""
    return paths.home() / "data" / (spec.folder or spec.name)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What is known of a folder that was downloaded; None of any other folder."""
    try:
        manifest = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def is_ours(folder: Path) -> bool:
    """Whether a folder was downloaded from Zenodo, and is whole."""
    return (read_manifest(folder) or {}).get("source") == "zenodo"


def download(spec: TaskSpec) -> Path:
    """Download a task's data unless they are here, and return their folder.

    Several processes may ask for the same task at once: one works, the others wait.

    Raises:
        DataNotFoundError: If the task has no record.
        TransferError: If it cannot be downloaded; the same call resumes.
        DataError: If the record is not as published, or its archive cannot be unpacked.
    """
    target = folder(spec)
    if not is_ours(target):
        with locked(paths.home() / "downloads" / target.name):
            if not is_ours(target):
                _download(spec, target)
    return target


def _download(spec: TaskSpec, target: Path) -> None:
    if spec.zenodo_title is None:
        raise DataNotFoundError(
            f"Task {spec.name} is not on Zenodo: it names no record.",
            "Give the zenodo_title in a task of your own, or choose another source.",
        )
    if target.exists():
        raise DataError(
            f"{target} was not downloaded by marsbench, and is left as it is.",
            f"Move it away to download the data, or use it: root={target}.",
        )
    record = find_record(spec.zenodo_title)
    file = _archive(record, spec)
    remote = transfer.Remote(file.url, file.size, file.digest)
    archive = paths.home() / "downloads" / target.name / Path(file.name).name
    with bar(f"Downloading {archive.name}", file.size) as advance:
        transfer.download(remote, archive, advance)
    unpack(archive, target, lambda unpacked: _with_manifest(spec, record, file, unpacked))
    archive.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        archive.parent.rmdir()  # unless parts of an older record are left in it


def _archive(record: RecordInfo, spec: TaskSpec) -> RecordFile:
    """The one archive of a record, or the one of several that is named like the task."""
    archives = [file for file in record.files if file.name.lower().endswith(ARCHIVES)]
    names = {normalise(name) for name in (spec.folder, spec.name)}
    named = [file for file in archives if normalise(_stem(file.name)) in names]
    for choice in (archives, named):
        if len(choice) == 1:
            return choice[0]
    files = ", ".join(file.name for file in record.files) or "none"
    raise DataError(
        f"It is not clear which file of record {record.id} ({record.title}) is the data of "
        f"{spec.name}: {files}.",
        f"Download the right one by hand ({_record_page(record.id)}) and give root=ARCHIVE.",
    )


def _record_page(record_id: str) -> str:
    return f"{shown(api())}/records/{record_id}"


def _stem(name: str) -> str:
    ends = sorted((end for end in ARCHIVES if name.lower().endswith(end)), key=len)
    return name[: -len(ends[-1])] if ends else name


def _with_manifest(spec: TaskSpec, record: RecordInfo, file: RecordFile, unpacked: Path) -> Path:
    """Find the task's folder in what was unpacked, and write there what it is."""
    top = top_folder(unpacked)
    places = [p for p in (top, top / folder(spec).name) if (p / ANNOTATIONS).is_file()]
    if not places:
        entries = some(sorted(entry.name for entry in top.iterdir()))
        raise DataError(
            f"Record {record.id} ({record.title}) holds no published layout: no {ANNOTATIONS} in "
            f"{file.name}, only {entries}.",
            f"Is it the data of {spec.name}? Else arrange it by hand and give root=FOLDER.",
        )
    count, size = measure(places[0])
    manifest = {
        "source": "zenodo",
        "record": record.id,
        "doi": record.doi,
        "title": record.title,
        "file": file.name,
        "md5": (file.digest or "").removeprefix("md5:"),
        "size": file.size,
        "url": shown(file.url),
        "files": count,
        "bytes": size,
        "downloaded": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (places[0] / MARKER).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return places[0]


def measure(folder: Path) -> tuple[int, int]:
    """Files and bytes of a task's folder, our own and the lists of subsets left out.

    A user may add lists (`marsbench data subsets`).
    """
    count = size = 0
    for where, names, files in os.walk(folder):
        if Path(where) == folder:
            names[:] = [name for name in names if name not in ("few_shot", "partitions")]
            files = [name for name in files if name != MARKER]
        count += len(files)
        size += sum(Path(where, name).lstat().st_size for name in files)
    return count, size


def find_record(title: str) -> RecordInfo:
    """Find the community's record with a title, or with one that holds it as whole words.

    Case and punctuation do not count.

    Raises:
        DataNotFoundError: If there is none; names the titles there are.
        DataError: If there are several, or the answers are not understood.
        TransferError: If the service cannot be reached.
    """
    hits = [(_title(hit), hit) for hit in _hits()]
    wanted = normalise(title)
    same = [hit for found, hit in hits if normalise(found) == wanted]
    like = [hit for found, hit in hits if f" {wanted} " in f" {normalise(found)} "]
    matches = same or like
    if not matches:
        titles = [found for found, _ in hits]
        listed = ", ".join(titles[:TITLES_SHOWN]) or "none"
        more = f" and {len(titles) - TITLES_SHOWN} more" if len(titles) > TITLES_SHOWN else ""
        raise DataNotFoundError(
            f"No record of the community {COMMUNITY} on {shown(api())} is titled '{title}'; its "
            f"records are: {listed}{more}.",
            "Has it been renamed? Then download it by hand and give root=ARCHIVE.",
        )
    if len(matches) > 1:
        found = ", ".join(f"{hit.get('id')} ({_title(hit)})" for hit in matches)
        raise DataError(
            f"{len(matches)} records of the community {COMMUNITY} are titled '{title}': {found}.",
            "Download the right one by hand and give root=ARCHIVE.",
        )
    return _info(matches[0])


def _hits() -> Iterator[Mapping[str, Any]]:
    """All records of the community, page by page."""
    # As it is: the service has refused other page sizes.
    url = f"{api()}/communities/{COMMUNITY}/records"
    host = urlsplit(url).netloc
    visited: set[str] = set()
    while url not in visited and len(visited) < MOST_PAGES:
        visited.add(url)
        page = get_json(url)
        try:
            yield from page["hits"]["hits"]
            following = page.get("links", {}).get("next")
        except (AttributeError, KeyError, TypeError) as error:
            raise _not_understood(url) from error
        if not following:
            return
        url = urljoin(url, following)
        if urlsplit(url).netloc != host:
            raise DataError(
                f"The list of records on {host} goes on at another host: {url}.",
                "Set MARSBENCH_ZENODO_API to that host if you trust it.",
            )


def _title(hit: Mapping[str, Any]) -> str:
    return str((hit.get("metadata") or {}).get("title") or hit.get("title") or "")


def _info(hit: Mapping[str, Any]) -> RecordInfo:
    url = f"{api()}/records/{hit.get('id')}"
    if not hit.get("files"):
        hit = get_json(url)
    try:
        files = hit.get("files") or []
        entries = files["entries"].values() if isinstance(files, dict) else files
        return RecordInfo(
            str(hit["id"]),
            _title(hit),
            str(hit.get("doi") or ""),
            tuple(_file(entry, url) for entry in entries),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _not_understood(url) from error


def _file(entry: Mapping[str, Any], record_url: str) -> RecordFile:
    name, links = str(entry["key"]), entry.get("links") or {}
    url = links.get("content") or links.get("self")
    url = url or f"{record_url}/files/{quote(name, safe='')}/content"
    return RecordFile(name, int(entry["size"]), entry.get("checksum") or None, str(url))


def _not_understood(url: str) -> DataError:
    return DataError(
        f"The answer of {shown(url)} is not understood.",
        "Has the service changed? Download the record by hand and give root=ARCHIVE.",
    )
