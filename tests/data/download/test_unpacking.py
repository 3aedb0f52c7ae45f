"""Archives good and bad."""

import bz2
import gzip
import io
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

import pytest

from marsbench.base.errors import DataError
from marsbench.data.download import unpacking
from marsbench.data.download.unpacking import Limits, unpack

FILES = {"annotation.csv": b"file_id\n", "data/train/a.png": b"\x89PNG" * 300, "data/empty": b""}
LITTER = {"__MACOSX/data/._a.png": b"1", "data/.DS_Store": b"2", "data/train/._a.png": b"3"}


def tree(folder: Path) -> dict[str, bytes]:
    """Files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
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


ELSEWHERE = ("/etc/passwd", "../up", "a/../../up", "a/..", "C:/x", "c:x", "..\\up", "//host/x")
ELSEWHERE_ON_WINDOWS = ("a\\..\\..\\up", "\\up", "C:\\up", "\\\\host\\x", "a/..\\../up")


@pytest.mark.parametrize("end", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", ELSEWHERE + ELSEWHERE_ON_WINDOWS)
def test_names_that_lead_elsewhere(name: str, end: str, tmp_path: Path) -> None:
    refused(packed({"good": b"1", name: b"2"}, tmp_path / f"x.{end}"), "leads out")


def test_backslashes_of_windows(tmp_path: Path) -> None:
    files = {f"mb-toy/{name}".replace("/", "\\"): content for name, content in FILES.items()}
    folders = {"mb-toy\\": b"", "mb-toy\\data\\none\\": b""}
    unpack(zipped(folders | files, tmp_path / "x.zip"), tmp_path / "out")
    assert tree(tmp_path / "out") == FILES
    assert (tmp_path / "out" / "data" / "none").is_dir()


def test_two_names_of_a_file(tmp_path: Path) -> None:
    archive = zipped({"a/b": b"1", "a\\b": b"2"}, tmp_path / "x.zip")
    refused(archive, repr("a\\b"), "is the same file as 'a/b'")


@pytest.mark.parametrize("name", ["", ".", "./."])
@pytest.mark.parametrize("end", ["zip", "tar"])
def test_a_file_without_a_name(name: str, end: str, tmp_path: Path) -> None:
    archive = tmp_path / f"x.{end}"
    if end == "tar":
        tarred({"good": b"1", name: b"2"}, archive)
    else:
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("good", b"1")
            info = zipfile.ZipInfo("x")
            info.filename = name
            file.writestr(info, b"2")
    refused(archive, f"{name!r} is not a file")


@pytest.mark.parametrize("umask", [0o002, 0o027])
@pytest.mark.parametrize("end", ["zip", "tar"])
def test_the_umask_decides_who_may_read(umask: int, end: str, tmp_path: Path) -> None:
    archive = tmp_path / f"x.{end}"
    if end == "zip":
        info = zipfile.ZipInfo("a/b")
        info.external_attr = (stat.S_IFREG | 0o600) << 16
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(info, "1")
    else:
        with tarfile.open(archive, "w") as tar:
            for name, kind, mode in (
                ("a", tarfile.DIRTYPE, 0o700),
                ("a/b", tarfile.REGTYPE, 0o600),
            ):
                member = tarfile.TarInfo(name)
                member.type, member.mode = kind, mode
                tar.addfile(member)
    before = os.umask(umask)
    try:
        unpack(archive, tmp_path / "out", lambda folder: folder)
    finally:
        os.umask(before)
    modes = [(tmp_path / "out" / name).stat().st_mode & 0o777 for name in ("a", "a/b")]
    assert modes == [0o777 & ~umask, 0o666 & ~umask]


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_would_fill_the_memory(kind: bytes, is_first: bool, tmp_path: Path) -> None:
    size = 3_000_000
    header, good = tarfile.TarInfo("x"), tarfile.TarInfo("good")
    header.type, header.size = kind, size
    with gzip.open(tmp_path / "x.tar.gz", "wb") as archive:
        if not is_first:
            archive.write(good.tobuf())
        archive.write(header.tobuf() + b"x" * size)
    refused(tmp_path / "x.tar.gz", "a header of 3,000,000 bytes")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_links_and_devices_in_a_tar(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("good"))
        info = tarfile.TarInfo("odd")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    refused(tmp_path / "x.tar", "'odd' is a link or a special file")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO])
def test_links_and_devices_in_a_zip(mode: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("odd")
        info.external_attr = (mode | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path / "x.zip", "'odd' is a link or a special file")


@pytest.mark.parametrize("end", ["zip", "tar"])
def test_a_file_that_is_a_folder(end: str, tmp_path: Path) -> None:
    refused(packed({"a": b"", "a/b": b""}, tmp_path / f"x.{end}"))


def test_an_encrypted_member(tmp_path: Path) -> None:
    content = bytearray(zipped({"a": b"1" * 50}, tmp_path / "x.zip").read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    refused(tmp_path / "x.zip", "'a' is encrypted")


def test_another_way_of_packing(tmp_path: Path) -> None:
    content = bytearray(zipped({"a": b"1" * 50}, tmp_path / "x.zip").read_bytes())
    for signature, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(signature) + method] = 97
    (tmp_path / "x.zip").write_bytes(content)
    refused(tmp_path / "x.zip", "unknown compression", "root=FOLDER")


def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "FREE_GROWTH", 1000)
    for end in ("zip", "tar.gz", "tar.xz"):
        refused(packed({"zeros": bytes(5_000_000)}, tmp_path / f"x.{end}"), "unpacks to more than")


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_MEMBERS", 2)
    for end in ("zip", "tar"):
        refused(packed(FILES, tmp_path / f"x.{end}"), "more than 2 members")


@pytest.mark.parametrize("end", ["zip", "tar.gz"])
def test_limits_of_unknown_authors(end: str, tmp_path: Path) -> None:
    archive = packed({"a": b"1" * 600, "b": b"2" * 600}, tmp_path / f"x.{end}")
    for limits, reason in (
        (Limits(num_bytes=1000), "it unpacks to more than 1,000 bytes"),
        (Limits(members=1), "it has more than 1 members"),
    ):
        with pytest.raises(DataError, match=reason):
            unpack(archive, tmp_path / "out", limits=limits)
    unpack(archive, tmp_path / "out", limits=Limits(1200, 2, repeats=False))
    assert tree(tmp_path / "out").keys() == {"a", "b"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_repeated_names_may_be_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for content in ("1", "2"):
            archive.writestr("a", content)
    with pytest.raises(DataError, match="'a' is in it twice"):
        unpack(tmp_path / "x.zip", tmp_path / "out", limits=Limits(repeats=False))
    unpack(tmp_path / "x.zip", tmp_path / "out")
    assert tree(tmp_path / "out") == {"a": b"2"}


def test_too_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    for end in ("zip", "tar.bz2"):
        refused(packed(FILES, tmp_path / f"x.{end}"), "the 1,000 free bytes")


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
    refused(tmp_path / f"x.{end}", "damaged")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!doctype html><p>", "a web page"),
        (b"<HTML>", "a web page"),
        (b"hello", "not an archive"),
        (b"", "not an archive"),
        (gzip.compress(b"hello", mtime=0), "not an archive"),
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


def test_no_room_while_unpacking(tmp_path: Path) -> None:
    archive = zipped({"a": bytes(3_000_000)}, tmp_path / "x.zip")
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from marsbench.data.download.unpacking import Limits, unpack\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))\n"
        f"unpack(Path({str(archive)!r}), Path({str(tmp_path / 'out')!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert "MARSBENCH_HOME" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]
