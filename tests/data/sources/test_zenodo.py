"""Tasks from a Zenodo of our own."""

import hashlib
import multiprocessing
import time
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from marsbench.base.errors import DataError, DataNotFoundError
from marsbench.data.download.web import UnreachableError
from marsbench.data.sources import zenodo
from marsbench.data.sources.local import LocalSource
from tests.conftest import go_offline
from tests.fakes import make_spec, write_folder
from tests.server import PAGE, Record, Server

SPEC = make_spec(zenodo_title="mb-toy")


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """The task's folder as a zip."""
    return packed(write_folder(SPEC, tmp_path / "made", {"train": 6, "val": 3, "test": 3}))


@pytest.fixture
def community(
    server: Server, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Server:
    """More records than a page has; the task's is one of the last."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    server.records |= {i: Record(f"mb-other_{i}", {"x.zip": b"1"}) for i in range(2 * PAGE)}
    server.records[77] = Record("mb-toy", {"mb-toy.zip": content, "README.md": b"hello"})
    return server


def packed(folder: Path, top: str = "mb-toy/") -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{top}{path.relative_to(folder)}")
    return file.getvalue()


def is_there(folder: Path) -> None:
    """Check that a folder is whole."""
    source = LocalSource(SPEC, folder)
    assert {split: len(source.rows(split)) for split in source.splits} == {
        "train": 6,
        "val": 3,
        "test": 3,
    }


def refused(kind: type[DataError], *parts: str) -> DataError:
    with pytest.raises(kind) as caught:
        zenodo.download(SPEC)
    for part in parts:
        assert part in str(caught.value)
    assert not zenodo.folder(SPEC).exists()
    return caught.value


def test_download(community: Server, content: bytes, tmp_path: Path) -> None:
    folder = zenodo.download(SPEC)
    assert folder == tmp_path / "home" / "data" / "mb-toy" == zenodo.folder(SPEC)
    is_there(folder)
    manifest = zenodo.read_manifest(folder)
    assert manifest is not None
    assert manifest.pop("downloaded").endswith("+00:00")
    stored = [p for p in folder.rglob("*") if p.is_file() and p.name != ".marsbench.json"]
    assert manifest == {
        "source": "zenodo",
        "record": "77",
        "doi": "10.5281/zenodo.77",
        "title": "mb-toy",
        "file": "mb-toy.zip",
        "md5": hashlib.md5(content).hexdigest(),
        "size": len(content),
        "url": f"{community.url}/api/records/77/files/mb-toy.zip/content",
        "files": len(stored),
        "bytes": sum(p.stat().st_size for p in stored),
    }
    assert len(community.seen("records$")) == 3  # pages
    assert [seen.sent for seen in community.seen("content")] == [len(content)]
    assert not (tmp_path / "home" / "downloads" / "mb-toy").exists()
    community.forget()
    assert zenodo.download(SPEC) == folder
    assert community.seen() == []


def test_a_download_that_is_cut(community: Server, content: bytes) -> None:
    community.fail("content", cut_after=len(content) // 2)
    is_there(zenodo.download(SPEC))
    assert len(community.seen("content")) == 2


def test_eight_processes_download_once(community: Server, content: bytes) -> None:
    community.fail("content", bytes_per_second=2 * len(content))  # all are there before it ends
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=zenodo.download, args=(SPEC,)) for _ in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    is_there(zenodo.folder(SPEC))
    assert [seen.sent for seen in community.seen("content")] == [len(content)]
    assert len(community.seen("records$")) == 3


@pytest.mark.parametrize(
    "title",
    ["mb-toy", "MB_Toy", "Mars-Bench: mb-toy (v1)", "mb toy"],
)
def test_titles(title: str, community: Server) -> None:
    community.records[77].title = title
    community.records[78] = Record("mb-toy2", {"x.zip": b""})
    archive = zenodo.find_archive(SPEC)
    assert (archive.record, archive.title, archive.name) == ("77", title, "mb-toy.zip")


def test_the_very_title_comes_first(community: Server) -> None:
    community.records[1].title = "mb-toy, an older version"
    assert zenodo.find_archive(SPEC).record == "77"


def test_records_that_are_not_clear(community: Server) -> None:
    community.records[3].title = "mb toy"
    refused(DataError, "3 (mb toy)", "77 (mb-toy)", "root=ARCHIVE")
    community.records[3].title = community.records[77].title = "another"
    refused(DataNotFoundError, "'mb-toy'", "mb-other_0", "and 12 more")
    community.records.clear()
    refused(DataNotFoundError, "its records are: none")


def test_lists_in_an_unknown_form(community: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = (b"[]", b'{"hits": 3}', b'{"hits": {"hits": [{"id": 1, "title": "mb-toy", "files": 3}]}}')
    for answer in odd:
        community.files["/api/communities/mars-bench/records"] = answer
        refused(DataError, "has an unknown form")
    community.files["/api/communities/mars-bench/records"] = b"<html>"
    refused(DataError, "is not JSON")
    del community.files["/api/communities/mars-bench/records"]
    monkeypatch.setattr(zenodo, "MOST_PAGES", 2)
    refused(DataNotFoundError, "mb-other_0")


def test_several_archives(community: Server, content: bytes) -> None:
    record = community.records[77]
    record.files = {"other.tar.gz": b"1", "toy.zip": content, "notes.txt": b"2"}
    is_there(zenodo.download(SPEC))
    assert (zenodo.read_manifest(zenodo.folder(SPEC)) or {})["file"] == "toy.zip"


@pytest.mark.parametrize(
    "names", [("a.zip", "b.zip"), ("notes.txt",), ("mb-toy.zip", "toy.tar.gz")]
)
def test_no_clear_archive(names: tuple[str, ...], community: Server) -> None:
    community.records[77].files = dict.fromkeys(names, b"1")
    refused(DataError, "record 77", ", ".join(names), "root=ARCHIVE")


def test_a_layout_one_level_down(community: Server, tmp_path: Path) -> None:
    made = tmp_path / "made"
    (made / "README").write_text("hello")
    community.records[77].files = {"mb-toy.zip": packed(made, top="")}
    is_there(zenodo.download(SPEC))


def test_no_published_layout(community: Server, tmp_path: Path) -> None:
    (tmp_path / "made" / "mb-toy" / "annotation.csv").unlink()
    community.records[77].files = {"mb-toy.zip": packed(tmp_path / "made" / "mb-toy")}
    refused(DataError, "record 77 (mb-toy) has an unknown layout: data, mapping.json")


def test_a_wrong_checksum(community: Server, tmp_path: Path) -> None:
    community.records[77].md5["mb-toy.zip"] = "0" * 32
    refused(DataError, "The checksum of", "mb-toy.zip/content differs")
    assert list((tmp_path / "home" / "downloads" / "mb-toy").iterdir()) == []


def test_more_bytes_than_listed(community: Server, content: bytes, tmp_path: Path) -> None:
    community.fail("content", status=200, body=content + b"1")
    refused(DataError, f"mb-toy.zip/content is larger than its listed {len(content)} bytes")
    assert list((tmp_path / "home" / "downloads" / "mb-toy").iterdir()) == []
    is_there(zenodo.download(SPEC))


def test_a_folder_of_the_users_own(community: Server) -> None:
    folder = zenodo.folder(SPEC)
    folder.mkdir(parents=True)
    for text in (None, "[]", "{"):
        if text is not None:
            (folder / ".marsbench.json").write_text(text)
        with pytest.raises(DataError, match=f"{folder} exists, but was not downloaded"):
            zenodo.download(SPEC)
        assert zenodo.read_manifest(folder) is None
    assert [path.name for path in folder.iterdir()] == [".marsbench.json"]
    assert community.seen() == []


def test_no_record_no_network(community: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataNotFoundError, match="not on Zenodo"):
        zenodo.download(make_spec())
    go_offline(monkeypatch)
    refused(UnreachableError, "HF_HUB_OFFLINE")
    assert community.seen() == []
    go_offline(monkeypatch, False)
    community.fail("records", status=403, body=b"<html>robot?")
    assert not isinstance(refused(DataError, "HTTP 403"), UnreachableError)
    community.fail("records", status=503)
    refused(UnreachableError, "HTTP 503")
    monkeypatch.setenv("MARSBENCH_ZENODO_API", "http://user:SECRET@127.0.0.1:9")
    assert "SECRET" not in str(
        refused(UnreachableError, "http://127.0.0.1:9", "ConnectionRefusedError")
    )


def test_the_service_can_be_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MARSBENCH_ZENODO_API", raising=False)
    assert zenodo.api() == zenodo.API
    monkeypatch.setenv("MARSBENCH_ZENODO_API", "https://mirror/api/")
    assert zenodo.api() == "https://mirror/api"
