"""Records of the community ``mars-bench`` on Zenodo: the archived folder of each task.

Records are found by title. The manifest ``.marsbench.json`` in a downloaded folder names the record
and the archive, and is written last.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from marsbench.base import paths
from marsbench.base.documents import parse_json
from marsbench.base.errors import DataError, DataNotFoundError, some
from marsbench.base.files import once
from marsbench.base.reading import read_text
from marsbench.data.download import web
from marsbench.data.download.disk import writing
from marsbench.data.download.unpacking import top_folder, unpack
from marsbench.data.download.web import get_json, shown
from marsbench.data.sources.annotations import ANNOTATIONS
from marsbench.tasks.spec import TaskSpec, normalise

API = "https://zenodo.org/api"
"""Address of the API; `MARSBENCH_ZENODO_API` sets another, such as a mirror."""

COMMUNITY = "mars-bench"

MARKER = ".marsbench.json"
"""Manifest of a downloaded folder."""

MOST_PAGES = 100
"""Limit of pages read from the list of records."""

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


@dataclass(frozen=True)
class Archive:
    """Archive of a Zenodo record; ``digest`` is ``md5:HEX``."""

    record: str
    title: str
    doi: str
    name: str
    size: int
    digest: str
    url: str


def api() -> str:
    """Address of the API, without a trailing slash."""
    return (os.environ.get("MARSBENCH_ZENODO_API") or API).rstrip("/")


def folder(spec: TaskSpec) -> Path:
    """Folder of a task's download."""
    return paths.home() / "data" / (spec.folder or spec.name)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Manifest of a downloaded folder; None for other folders."""
    try:
        manifest = parse_json(read_text(folder / MARKER))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def is_ours(folder: Path) -> bool:
    """Whether a folder is a complete download from Zenodo."""
    return (read_manifest(folder) or {}).get("source") == "zenodo"


def download(spec: TaskSpec) -> Path:
    """Download a task's missing data, and return their folder.

    Concurrent processes wait for each other. An interrupted download starts anew.

    Raises:
        DataNotFoundError: If the task has no record.
        UnreachableError: If Zenodo does not answer.
        DataError: If the layout of the record is unknown, or unpacking its archive fails.
    """
    target = folder(spec)
    if is_ours(target):
        return target
    if spec.zenodo_title is None:
        raise DataNotFoundError(
            f"Task {spec.name} is not on Zenodo: it has no zenodo_title.",
            "Add zenodo_title to a task of your own, or choose another source.",
        )
    place = paths.home() / "downloads" / target.name
    with writing(place.parent):
        return once(
            place,
            lambda: target if is_ours(target) else None,
            lambda: _download(spec, target, place),
        )


def _download(spec: TaskSpec, target: Path, scratch: Path) -> Path:
    if target.exists():
        raise DataError(
            f"{target} exists, but was not downloaded by marsbench.",
            f"Move it away to download the data, or use it: root={target}.",
        )
    archive = find_archive(spec)
    path = scratch / Path(archive.name).name
    web.download(archive.url, path, archive.digest, archive.size)
    unpack(path, target, lambda unpacked: _with_manifest(spec, archive, unpacked))
    shutil.rmtree(scratch, ignore_errors=True)
    return target


def _with_manifest(spec: TaskSpec, archive: Archive, unpacked: Path) -> Path:
    """Find the task's folder among the unpacked files, and write its manifest."""
    top = top_folder(unpacked)
    places = [p for p in (top, top / folder(spec).name) if (p / ANNOTATIONS).is_file()]
    if not places:
        entries = some(sorted(entry.name for entry in top.iterdir()))
        raise DataError(
            f"{archive.name} of record {archive.record} ({archive.title}) has an unknown layout: "
            f"{entries}; expected {ANNOTATIONS}.",
            f"If the record holds the data of {spec.name}, arrange them by hand and add "
            "root=FOLDER.",
        )
    count, size = measure(places[0])
    manifest = {
        "source": "zenodo",
        "record": archive.record,
        "doi": archive.doi,
        "title": archive.title,
        "file": archive.name,
        "md5": archive.digest.removeprefix("md5:"),
        "size": archive.size,
        "url": shown(archive.url),
        "files": count,
        "bytes": size,
        "downloaded": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (places[0] / MARKER).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return places[0]


def measure(folder: Path) -> tuple[int, int]:
    """Count the files and bytes of a task's folder.

    The manifest and the lists of subsets are ignored: `marsbench data subsets` adds lists.
    """
    count = size = 0
    for where, names, files in os.walk(folder):
        if Path(where) == folder:
            names[:] = [name for name in names if name not in ("few_shot", "partitions")]
            files = [name for name in files if name != MARKER]
        count += len(files)
        size += sum(Path(where, name).lstat().st_size for name in files)
    return count, size


def find_archive(spec: TaskSpec) -> Archive:
    """Find a task's archive in the community's record with the task's title.

    The record's title may contain more words; case and punctuation are ignored. Among several
    archives, the archive named like the task is chosen.

    Raises:
        DataNotFoundError: If no record has the title.
        DataError: If the record or the archive is ambiguous.
        UnreachableError: If Zenodo does not answer.
    """
    title = spec.zenodo_title or ""
    titles = [(_title(hit), hit) for hit in _hits()]
    wanted = normalise(title)
    same = [hit for name, hit in titles if normalise(name) == wanted]
    like = [hit for name, hit in titles if f" {wanted} " in f" {normalise(name)} "]
    matches = same or like
    if len(matches) != 1:
        listed = some(f"{hit.get('id')} ({_title(hit)})" for hit in matches)
        records = f"its records are: {some(name for name, _ in titles) or 'none'}"
        raise (DataError if matches else DataNotFoundError)(
            f"{len(matches)} records of the community {COMMUNITY} on {shown(api())} are titled "
            f"'{title}': {listed or records}.",
            "Download the right record by hand and add root=ARCHIVE.",
        )
    (hit,) = matches
    url = f"{api()}/records/{hit.get('id')}"
    hit = hit if hit.get("files") else get_json(url)
    try:
        return _archive(spec, hit)
    except (AttributeError, KeyError, TypeError) as error:
        raise _not_understood(url) from error


def _archive(spec: TaskSpec, record: Mapping[str, Any]) -> Archive:
    files = {file["key"]: file for file in record["files"]}
    archives = [name for name in files if name.lower().endswith(ARCHIVES)]
    names = {normalise(name) for name in (spec.folder, spec.name)}
    named = [name for name in archives if normalise(name.partition(".")[0]) in names]
    choices = archives if len(archives) == 1 else named
    if len(choices) != 1:
        raise DataError(
            f"The archive of {spec.name} in record {record['id']} ({_title(record)}) is "
            f"ambiguous; its files are: {', '.join(files) or 'none'}.",
            f"Download the right file by hand ({shown(api())}/records/{record['id']}) and add "
            "root=ARCHIVE.",
        )
    file = files[choices[0]]
    return Archive(
        str(record["id"]),
        _title(record),
        str(record.get("doi") or ""),
        file["key"],
        file["size"],
        file["checksum"],
        file["links"]["self"],
    )


def _hits() -> Iterator[Mapping[str, Any]]:
    """Iterate over the community's records, page by page."""
    # Default page size: Zenodo has refused others.
    url = f"{api()}/communities/{COMMUNITY}/records"
    for _ in range(MOST_PAGES):
        page = get_json(url)
        try:
            yield from page["hits"]["hits"]
            following = page.get("links", {}).get("next")
        except (AttributeError, KeyError, TypeError) as error:
            raise _not_understood(url) from error
        if not following:
            return
        url = urljoin(url, following)


def _title(hit: Mapping[str, Any]) -> str:
    return str((hit.get("metadata") or {}).get("title") or hit.get("title") or "")


def _not_understood(url: str) -> DataError:
    return DataError(
        f"The answer of {shown(url)} has an unknown form.",
        "Download the record by hand and add root=ARCHIVE.",
    )
