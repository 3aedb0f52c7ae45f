"""Values of ``root=``: folders, archives and URLs of them."""

import multiprocessing
import os
import sys
from pathlib import Path

import fsspec
import pytest

from marsbench.base.errors import DataError, DataNotFoundError
from marsbench.data.download import unpacking
from marsbench.data.download.disk import WriteError
from marsbench.data.download.roots import fetch_root
from marsbench.data.download.web import UnreachableError
from tests.conftest import go_offline
from tests.data.download.test_unpacking import tarred, tree, zipped
from tests.fakes import make_spec, write_folder
from tests.server import Server


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write_folder(make_spec(), tmp_path / "toy", {"train": 3, "val": 2})


def test_root_is_a_folder_or_an_archive(server: Server, toy: Path, tmp_path: Path) -> None:
    assert fetch_root(str(toy)) == toy
    archive = zipped(tree(toy), tmp_path / "toy.zip")
    folder = fetch_root(str(archive))
    assert tree(folder) == tree(toy)
    assert folder.parent == tmp_path / "home" / "unpacked"
    before = folder.stat().st_ctime_ns
    assert fetch_root(os.path.relpath(archive)) == folder
    assert folder.stat().st_ctime_ns == before
    # A changed archive is another.
    zipped({"annotation.csv": b"1"}, archive)
    assert tree(fetch_root(str(archive))) == {"annotation.csv": b"1"}
    for missing in ("nowhere", "nowhere.zip"):
        with pytest.raises(DataNotFoundError, match=f"root={missing} is not a folder"):
            fetch_root(missing)


def test_root_is_a_web_address(
    server: Server, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    server.files["/toy.zip"] = zipped(tree(toy), tmp_path / "toy.zip").read_bytes()
    url = f"{server.url}/toy.zip?download=1"
    folder = fetch_root(url)
    assert tree(folder) == tree(toy)
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]
    server.forget()
    assert fetch_root(url) == folder
    assert server.seen() == []
    server.html("/page")
    with pytest.raises(DataError, match="web page"):
        fetch_root(f"{server.url}/page")
    with pytest.raises(DataError, match="HTTP 404") as caught:
        fetch_root(f"{server.url}/none.zip?token=SECRET")
    assert "SECRET" not in str(caught.value)
    server.files["/bad.zip"] = server.files["/toy.zip"][:-9]
    with pytest.raises(DataError, match=r"bad\.zip"):
        fetch_root(f"{server.url}/bad.zip")
    server.files["/bad.zip"] = server.files["/toy.zip"]
    assert tree(fetch_root(f"{server.url}/bad.zip")) == tree(toy)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_complete_download_is_kept_if_unpacking_stops(
    server: Server,
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    server.files["/toy.zip"] = zipped(tree(toy), tmp_path / "toy.zip").read_bytes()

    def stop(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("marsbench.data.download.unpacking.partial", lambda *_, **__: stop)
        with pytest.raises((KeyboardInterrupt, WriteError)):
            fetch_root(f"{server.url}/toy.zip")
    server.forget()
    folder = fetch_root(f"{server.url}/toy.zip")
    assert tree(folder) == tree(toy)
    assert server.seen() == []
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]


def test_an_unreadable_archive_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped({"a": b"1"}, tmp_path / "x.zip")

    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(unpacking, "_File", fail)
    with pytest.raises(DataError, match=r"x\.zip cannot be read: Permission denied") as caught:
        fetch_root(str(archive))
    assert "MARSBENCH_HOME" not in str(caught.value)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux")
def test_a_disk_that_fails_while_reading(server: Server) -> None:
    with pytest.raises(DataError, match="mem cannot be read: Input/output error") as caught:
        fetch_root("/proc/self/mem")
    assert "MARSBENCH_HOME" not in str(caught.value)


@pytest.fixture
def memory(toy: Path) -> fsspec.AbstractFileSystem:
    """A remote folder, `memory://bucket/toy`."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    for name, content in tree(toy).items():
        system.pipe(f"/bucket/toy/{name}", content)
    return system


def test_root_is_a_remote_folder(
    server: Server,
    memory: fsspec.AbstractFileSystem,
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "get_file", lambda *_, **__: 1 / 0)
        with pytest.raises(DataError, match=r"cannot be read: ZeroDivisionError"):
            fetch_root("memory://bucket/toy")
    folder = fetch_root("memory://bucket/toy")
    assert folder.parent == tmp_path / "home" / "copies"
    assert tree(folder) == tree(toy)
    monkeypatch.setattr("fsspec.core.url_to_fs", None)
    assert fetch_root("memory://bucket/toy") == folder


def test_root_is_a_file_url(server: Server, toy: Path, tmp_path: Path) -> None:
    folder = fetch_root(f"file://{toy}")
    assert folder != toy
    assert tree(folder) == tree(toy)


@pytest.mark.parametrize("protocol", ["memory", "file"])
def test_root_is_a_remote_archive(
    protocol: str, server: Server, memory: fsspec.AbstractFileSystem, toy: Path, tmp_path: Path
) -> None:
    archive = tarred({f"mb-toy/{name}": c for name, c in tree(toy).items()}, tmp_path / "x.tar.gz")
    memory.pipe(str(archive), archive.read_bytes())
    folder = fetch_root(f"{protocol}://{archive}")
    assert tree(folder) == tree(toy)
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]


def test_remote_roots_that_cannot_be(
    server: Server, memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataNotFoundError, match="memory://bucket/none holds no files"):
        fetch_root("memory://bucket/none")
    with pytest.raises(DataError, match="Protocol not known: xyz"):
        fetch_root("xyz://bucket/toy")
    for url, package in (("s3://bucket/toy", "s3fs"), ("gs://bucket/toy", "gcsfs")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(DataError, match=f"pip install {package}"):
            fetch_root(url)
    memory.pipe("/bucket/bad/../up", b"1")
    memory.store["/bucket/bad/../up"] = memory.store.pop(next(k for k in memory.store if "up" in k))
    with pytest.raises(DataError, match="leads out"):
        fetch_root("memory://bucket/bad")
    go_offline(monkeypatch)
    for url in ("s3://bucket/toy", f"{server.url}/toy.zip"):
        with pytest.raises(UnreachableError, match="HF_HUB_OFFLINE"):
            fetch_root(url)
    assert server.seen() == []


def test_several_processes_unpack_once(server: Server, toy: Path, tmp_path: Path) -> None:
    server.files["/toy.zip"] = zipped(tree(toy), tmp_path / "toy.zip").read_bytes()
    roots = (f"{server.url}/toy.zip", str(tmp_path / "toy.zip"))
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=fetch_root, args=(root,)) for root in roots * 4]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert len(server.seen("toy.zip")) == 1
    assert all(tree(fetch_root(root)) == tree(toy) for root in roots)
