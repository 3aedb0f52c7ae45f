"""Archives good and bad, and what `root=` may be."""

import bz2
import gzip
import io
import json
import lzma
import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest

from marsbench.base.errors import DataError, DataNotFoundError
from marsbench.data.download import archives, unpacking
from marsbench.data.download.archives import fetch_root, unpack
from marsbench.data.download.web import TransferError
from tests.fakes import make_spec, write_folder
from tests.server import Server

FILES = {"annotation.csv": b"file_id\n", "data/train/a.png": b"\x89PNG" * 300, "data/empty": b""}
LITTER = {"__MACOSX/data/._a.png": b"1", "data/.DS_Store": b"2", "data/train/._a.png": b"3"}


def tree(folder: Path) -> dict[str, bytes]:
    """Files below a folder but for our own."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != archives.MARKER
    }


def zipped(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(files: dict[str, bytes], path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    packers: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.compress,
        ".tgz": gzip.compress,
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
    }
    if packer := packers.get(path.suffix):
        path.write_bytes(packer(path.read_bytes()))
    return path


def packed(files: dict[str, bytes], path: Path) -> Path:
    return zipped(files, path) if path.suffix == ".zip" else tarred(files, path)


def refused(archive: Path, *parts: str) -> None:
    """Unpack what may not be, and check that nothing is left of it."""
    before = set(archive.parent.rglob("*"))
    with pytest.raises(DataError) as caught:
        unpack(archive, archive.parent / "out")
    for part in (archive.name, *parts):
        assert part in str(caught.value)
    assert set(archive.parent.rglob("*")) == before


ENDS = ("zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("top", ["", "mb-toy/", "./"])
def test_good_archives(end: str, top: str, tmp_path: Path) -> None:
    content = {**FILES, **LITTER}
    archive = packed({f"{top}{name}": c for name, c in content.items()}, tmp_path / f"x.{end}")
    archive = archive.rename(tmp_path / "any name")
    unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == FILES
    assert {path.name for path in tmp_path.iterdir()} == {"any name", "out"}
    with pytest.raises(DataError, match="exists already"):
        unpack(archive, tmp_path / "out")


def test_folders_and_repeated_folders(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in ("./", "a", "a", "a/b"):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("f"))
    zipped({"a/": b"", "a/b/": b"", "f": b""}, tmp_path / "x.zip")
    for name in ("x.tar", "x.zip"):
        unpack(tmp_path / name, tmp_path / f"{name} out")
        assert (tmp_path / f"{name} out" / "a" / "b").is_dir()


def test_a_tar_that_holds_a_zip_is_a_tar(tmp_path: Path) -> None:
    inner = zipped(FILES, tmp_path / "inner.zip").read_bytes()
    unpack(tarred({"inner.zip": inner, "b": b""}, tmp_path / "x.tar"), tmp_path / "out")
    assert tree(tmp_path / "out") == {"inner.zip": inner, "b": b""}


@pytest.mark.parametrize("end", ["zip", "tar.gz"])
@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../up", "a/../../up", "a/..", "C:/x", "c:x", "a\\b", "..\\up", "//host/x"],
)
def test_names_that_lead_elsewhere(name: str, end: str, tmp_path: Path) -> None:
    refused(packed({"good": b"1", name: b"2"}, tmp_path / f"x.{end}"), "would lead out")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_links_and_devices_in_a_tar(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("good"))
        info = tarfile.TarInfo("odd")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    links = (tarfile.SYMTYPE, tarfile.LNKTYPE)
    refused(tmp_path / "x.tar", "odd is a link" if kind in links else "odd is a device")


@pytest.mark.parametrize(("mode", "what"), [(stat.S_IFLNK, "a link"), (stat.S_IFIFO, "a device")])
def test_links_and_devices_in_a_zip(mode: int, what: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("odd")
        info.external_attr = (mode | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path / "x.zip", f"odd is {what}")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("end", ["zip", "tar"])
def test_names_that_occur_twice(end: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{end}"
    packed({"a/b": b"1", "a/./b": b"2"}, path)
    refused(path, "a/b is in it twice")
    packed({"a/b": b"1", "A/b": b"2"}, path)
    unpack(path, tmp_path / "out")


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b/c", "a/b"), ("a", "a/"), ("a/", "a")])
@pytest.mark.parametrize("end", ["zip", "tar"])
def test_a_file_that_is_a_folder(end: str, names: tuple[str, str], tmp_path: Path) -> None:
    if end == "tar" and any(name.endswith("/") for name in names):
        return  # there a folder has a type, not a slash
    refused(packed(dict.fromkeys(names, b""), tmp_path / f"x.{end}"), "a file and a folder")


def test_an_encrypted_member(tmp_path: Path) -> None:
    content = bytearray(zipped({"a": b"1" * 50}, tmp_path / "x.zip").read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    refused(tmp_path / "x.zip", "a is encrypted")


def test_another_way_of_packing(tmp_path: Path) -> None:
    content = bytearray(zipped({"a": b"1" * 50}, tmp_path / "x.zip").read_bytes())
    for signature, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(signature) + method] = 97
    (tmp_path / "x.zip").write_bytes(content)
    refused(tmp_path / "x.zip", "packed in a way", "root=FOLDER")


@pytest.mark.parametrize("stated", [10, 5000])
def test_a_member_of_another_size_than_stated(stated: int, tmp_path: Path) -> None:
    content = bytearray(zipped({"a": b"1" * 1000}, tmp_path / "x.zip").read_bytes())
    for signature, size in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(signature) + size
        content[at : at + 4] = stated.to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(content)
    refused(tmp_path / "x.zip", "damaged", " a")


def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "FREE_GROWTH", 1000)
    for end in ("zip", "tar.gz", "tar.xz"):
        refused(packed({"zeros": bytes(5_000_000)}, tmp_path / f"x.{end}"), "more than 200 times")


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_MEMBERS", 2)
    for end in ("zip", "tar"):
        refused(packed(FILES, tmp_path / f"x.{end}"), "more than 2 members")


def test_too_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    for end in ("zip", "tar.bz2"):
        refused(packed(FILES, tmp_path / f"x.{end}"), "1,000 bytes are free", "MARSBENCH_HOME")


@pytest.mark.parametrize("end", ENDS)
def test_archives_that_are_cut_short(end: str, tmp_path: Path) -> None:
    good = packed({f"{i}.bin": os.urandom(700) for i in range(20)}, tmp_path / f"g.{end}")
    content = good.read_bytes()
    # Of a tar alone all is there before its two empty blocks and their padding begin.
    size = 20 * 1536 if end == "tar" else len(content) - 1
    for length in (0, 1, 100, 512, 1536, len(content) // 2, size):
        (tmp_path / f"x.{end}").write_bytes(content[:length])
        refused(tmp_path / f"x.{end}")


@pytest.mark.parametrize("end", ENDS)
def test_a_damaged_archive(end: str, tmp_path: Path) -> None:
    content = bytearray(
        packed({"a": os.urandom(9000), "b": b"1"}, tmp_path / f"x.{end}").read_bytes()
    )
    if end == "tar":
        content[9728 + 150] ^= 0xFF  # the second header: the content has no checksum
    else:
        content[4000] ^= 0xFF
    (tmp_path / f"x.{end}").write_bytes(content)
    refused(tmp_path / f"x.{end}", "damaged", " a")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!doctype html><p>", "a web page"),
        (b"<HTML>", "a web page"),
        (b"hello", "no zip"),
        (b"", "no zip"),
        (gzip.compress(b"hello", mtime=0), "no zip"),
    ],
)
def test_what_is_no_archive(content: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    refused(tmp_path / "x.zip", what)


def test_an_archive_without_files(tmp_path: Path) -> None:
    for end in ("zip", "tar"):
        refused(packed(LITTER, tmp_path / f"x.{end}"), "holds no files")


def test_ctrl_c_and_a_killed_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped(FILES, tmp_path / "x.zip")

    def stop(_: Path) -> Path:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", stop)
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]
    (tmp_path / "out.part" / "left").mkdir(parents=True)
    unpack(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == FILES
    assert not (tmp_path / "out.part").exists()


def test_no_room_while_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    archive = zipped({"a": bytes(3_000_000)}, tmp_path / "x.zip")
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from marsbench.data.download.archives import unpack\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))\n"
        f"unpack(Path({str(archive)!r}), Path({str(tmp_path / 'out')!r}))\n"
    )
    assert resource.RLIMIT_FSIZE is not None
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert "MARSBENCH_HOME" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


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
        with pytest.raises(DataNotFoundError, match=f"root={missing} is no folder"):
            fetch_root(missing)


def test_root_is_a_web_address(server: Server, toy: Path, tmp_path: Path) -> None:
    server.files["/toy.zip"] = zipped(tree(toy), tmp_path / "toy.zip").read_bytes()
    url = f"{server.url}/toy.zip?download=1"
    server.fail("toy.zip", cut_after=500)
    folder = fetch_root(url)
    assert tree(folder) == tree(toy)
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]
    assert [seen.start for seen in server.seen()] == [0, 500]
    server.forget()
    assert fetch_root(url) == folder
    assert server.seen() == []
    server.html("/page")
    with pytest.raises(TransferError, match="web page"):
        fetch_root(f"{server.url}/page")
    server.files["/bad.zip"] = server.files["/toy.zip"][:-9]
    with pytest.raises(DataError, match=r"bad\.zip"):
        fetch_root(f"{server.url}/bad.zip")
    server.files["/bad.zip"] = server.files["/toy.zip"]
    assert tree(fetch_root(f"{server.url}/bad.zip")) == tree(toy)


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
    opened: list[str] = []
    real = type(memory).open

    def counted(self: fsspec.AbstractFileSystem, path: str, *args: object, **kw: object) -> object:
        opened.append(path)
        if len(opened) == 3:
            raise OSError("the line is cut")
        return real(self, path, *args, **kw)

    monkeypatch.setattr(type(memory), "open", counted)
    monkeypatch.setattr(archives, "AT_ONCE", 1)
    with pytest.raises(DataError, match=r"cannot be read: OSError: the line is cut"):
        fetch_root("memory://bucket/toy")
    folder = fetch_root("memory://bucket/toy")
    assert folder.parent == tmp_path / "home" / "mirrors"
    assert tree(folder) == tree(toy)
    assert len(opened) == len(tree(toy)) + 1  # what had come was not fetched again
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
    assert json.loads((folder / archives.MARKER).read_text())["source"].endswith("x.tar.gz")
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
    with pytest.raises(DataError, match="would lead out"):
        fetch_root("memory://bucket/bad")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for url in ("s3://bucket/toy", f"{server.url}/toy.zip"):
        with pytest.raises(TransferError, match="HF_HUB_OFFLINE"):
            fetch_root(url)
    assert server.seen() == []


def test_several_processes_unpack_once(server: Server, toy: Path, tmp_path: Path) -> None:
    server.files["/toy.zip"] = zipped(tree(toy), tmp_path / "toy.zip").read_bytes()
    code = (
        "import sys; from marsbench.data.download.archives import fetch_root\n"
        f"print(fetch_root({server.url + '/toy.zip'!r}), fetch_root({str(tmp_path / 'toy.zip')!r}))"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)
    ]
    said = {child.communicate(timeout=60)[0] for child in children}
    assert [child.returncode for child in children] == [0] * 4
    assert len(said) == 1
    assert len(server.seen()) == 1
