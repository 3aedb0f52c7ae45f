"""Downloads against a server that fails in every way it can."""

import errno
import hashlib
import os
import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, formatdate
from pathlib import Path

import pytest

from marsbench.base.errors import DataError
from marsbench.data.download import web
from marsbench.data.download.transfer import Remote, download
from marsbench.data.download.web import TransferError, get_json
from tests.server import Server

CONTENT = random.Random(0).randbytes(3_000_000)
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
GIT = f"git-sha1:{hashlib.sha1(b'blob %d' % len(CONTENT) + bytes(1) + CONTENT).hexdigest()}"


@pytest.fixture
def remote(server: Server, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """A file of three megabytes; whoever asks for it does not wait between tries."""
    monkeypatch.setattr(web, "WAITS", (0.01,) * 5)
    server.files["/file.bin"] = CONTENT
    return Remote(f"{server.url}/file.bin", len(CONTENT), SHA256)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What would have been slept."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept


def fetched(remote: Remote, folder: Path) -> list[int]:
    """Download, check that it is right and alone, and return what was said of the progress."""
    progress: list[int] = []
    download(remote, folder / "file.bin", progress.append)
    assert (folder / "file.bin").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["file.bin"]
    assert sum(progress) == len(CONTENT)
    return progress


def refused(remote: Remote, folder: Path, *parts: str) -> TransferError:
    """Download what cannot be had, and check that nothing of it has the file's name."""
    with pytest.raises(TransferError) as caught:
        download(remote, folder / "file.bin")
    for part in parts:
        assert part in str(caught.value)
    assert not (folder / "file.bin").exists()
    return caught.value


def requests(server: Server) -> list[tuple[int, int]]:
    """First byte and status of every answer."""
    return [(seen.start, seen.status) for seen in server.seen()]


@pytest.mark.parametrize("digest", [SHA256, MD5.upper().replace("MD5", "md5"), GIT, None])
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_digests(
    digest: str | None, size: int | None, remote: Remote, server: Server, tmp_path: Path
) -> None:
    fetched(Remote(remote.url, size, digest), tmp_path / "new")
    assert requests(server) == [(0, 200)]


def test_what_is_there_is_not_asked_for(remote: Remote, server: Server, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "file.bin").write_bytes(b"other")
    fetched(remote, tmp_path / "d")
    fetched(remote, tmp_path / "d")
    assert requests(server) == [(0, 200)]


def test_permissions_follow_the_umask(remote: Remote, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        fetched(remote, tmp_path / "d")
    finally:
        os.umask(before)
    assert (tmp_path / "d" / "file.bin").stat().st_mode & 0o777 == 0o640


def test_an_empty_file(server: Server, tmp_path: Path) -> None:
    server.files["/empty"] = b""
    empty = hashlib.sha256(b"").hexdigest()
    for size in (0, None):
        path = tmp_path / str(size)
        download(Remote(f"{server.url}/empty", size, f"sha256:{empty}"), path)
        assert path.read_bytes() == b""


@pytest.mark.parametrize("chunked", [False, True])
def test_cut_again_and_again(chunked: bool, remote: Remote, server: Server, tmp_path: Path) -> None:
    for _ in range(9):  # more often than a try without progress would be repeated
        server.fail("file.bin", cut_after=300_000, chunked=chunked)
    progress = fetched(remote, tmp_path / "d")
    assert all(amount > 0 for amount in progress)
    sent = sum(seen.sent for seen in server.seen())
    assert len(CONTENT) <= sent <= len(CONTENT) + 200  # what marks the pieces
    starts = [seen.start for seen in server.seen()]
    assert starts == sorted(starts)
    assert starts[-1] > 2_600_000


def test_a_process_that_is_killed_is_followed_by_one_that_resumes(
    remote: Remote, server: Server, tmp_path: Path
) -> None:
    server.fail("file.bin", stall_after=1_234_567)
    path = tmp_path / "d" / "file.bin"
    code = "from pathlib import Path; from marsbench.data.download.transfer import *\n"
    code += (
        f"download(Remote({remote.url!r}, {remote.size}, {remote.digest!r}), Path({str(path)!r}))"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    part = path.with_name("file.bin.part")
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size == 1_234_567):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert sorted(p.name for p in path.parent.iterdir()) == ["file.bin.part", "file.bin.part.json"]
    progress = fetched(remote, path.parent)
    assert progress[0] == 1_234_567
    assert [(s.start, s.status, s.sent) for s in server.seen()] == [
        (0, 200, 1_234_567),
        (1_234_567, 206, len(CONTENT) - 1_234_567),
    ]


def test_ctrl_c_leaves_what_came(remote: Remote, server: Server, tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(remote, tmp_path / "d" / "file.bin", stop)
    kept = (tmp_path / "d" / "file.bin.part").stat().st_size
    assert kept > 0
    assert fetched(remote, tmp_path / "d")[0] == kept
    assert requests(server)[-1] == (kept, 206)


def leave_part(remote: Remote, server: Server, folder: Path, length: int = 1_000_000) -> None:
    """Leave what a process that was killed would."""
    server.fail("file.bin", cut_after=length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "WAITS", ())
        refused(remote, folder, "cut after")
    assert (folder / "file.bin.part").stat().st_size == length
    server.forget()


def test_a_mirror_goes_on(remote: Remote, server: Server, tmp_path: Path) -> None:
    leave_part(remote, server, tmp_path / "d")
    with Server() as mirror:
        mirror.files["/elsewhere"] = CONTENT
        fetched(Remote(f"{mirror.url}/elsewhere", remote.size, SHA256), tmp_path / "d")
        assert requests(mirror) == [(1_000_000, 206)]


@pytest.mark.parametrize("changed", ["digest", "size", "side file", "no side file", "too long"])
def test_a_part_of_something_else(
    changed: str, remote: Remote, server: Server, tmp_path: Path
) -> None:
    leave_part(remote, server, tmp_path / "d")
    part, side = (tmp_path / "d" / f"file.bin.part{end}" for end in ("", ".json"))
    if changed == "digest":
        remote = Remote(remote.url, remote.size, MD5)
    elif changed == "size":
        remote = Remote(remote.url, None, SHA256)
    elif changed == "side file":
        side.write_text("[1")
    elif changed == "no side file":
        side.unlink()
    else:
        part.write_bytes(CONTENT + b"1")
    fetched(remote, tmp_path / "d")
    assert requests(server) == [(0, 200)]


def test_what_changed_meanwhile_is_not_mixed(
    server: Server, remote: Remote, tmp_path: Path
) -> None:
    unknown = Remote(remote.url, None, None)
    leave_part(unknown, server, tmp_path / "d")
    server.files["/file.bin"] = b"1" * 2_000_000
    progress: list[int] = []
    download(unknown, tmp_path / "d" / "file.bin", progress.append)
    assert (tmp_path / "d" / "file.bin").read_bytes() == b"1" * 2_000_000
    assert progress[:2] == [1_000_000, -1_000_000]
    assert sum(progress) == 2_000_000
    assert requests(server) == [(0, 200)]


def test_a_server_that_ignores_range(remote: Remote, server: Server, tmp_path: Path) -> None:
    leave_part(remote, server, tmp_path / "d")
    server.fail("file.bin", ignore_range=True)
    assert fetched(remote, tmp_path / "d")[:2] == [1_000_000, -1_000_000]
    # One that is cut each time as well must not be asked for ever.
    server.forget()
    server.fail("file.bin", times=99, ignore_range=True, cut_after=1000)
    refused(remote, tmp_path / "e", "tried 6 times", "cut after 1000 bytes")
    assert len(server.seen()) == 6


def test_a_server_that_sends_other_bytes(remote: Remote, server: Server, tmp_path: Path) -> None:
    leave_part(remote, server, tmp_path / "d")
    span = {"Content-Range": f"bytes 7-9/{len(CONTENT)}"}
    server.fail("file.bin", status=206, headers=span, body=b"789")
    fetched(remote, tmp_path / "d")
    assert requests(server) == [(0, 206), (0, 200)]


def test_range_not_satisfiable(remote: Remote, server: Server, tmp_path: Path) -> None:
    # All had come, and only the last step was missing.
    leave_part(remote, server, tmp_path / "d")
    (tmp_path / "d" / "file.bin.part").write_bytes(CONTENT)
    fetched(remote, tmp_path / "d")
    assert requests(server) == []
    unknown = Remote(remote.url, None, SHA256)
    leave_part(unknown, server, tmp_path / "e")
    (tmp_path / "e" / "file.bin.part").write_bytes(CONTENT)
    fetched(unknown, tmp_path / "e")
    assert requests(server) == [(len(CONTENT), 416)]
    # The server does not like to resume.
    leave_part(remote, server, tmp_path / "f")
    server.fail("file.bin", status=416)
    assert -1_000_000 in fetched(remote, tmp_path / "f")
    assert requests(server) == [(0, 416), (0, 200)]


@pytest.mark.parametrize("whole", [True, False])
def test_a_wrong_digest(whole: bool, remote: Remote, server: Server, tmp_path: Path) -> None:
    if not whole:
        leave_part(remote, server, tmp_path / "d")
    server.fail("file.bin", corrupt=True)
    error = refused(remote, tmp_path / "d", "file.bin", SHA256, "found sha256:", "try again")
    assert error.status is None
    assert list((tmp_path / "d").iterdir()) == []
    fetched(remote, tmp_path / "d")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_wrong_size(
    size: int, chunked: bool, remote: Remote, server: Server, tmp_path: Path
) -> None:
    if chunked:
        server.fail("file.bin", times=99, chunked=True)
    refused(Remote(remote.url, size, None), tmp_path / "d", f"expected {size} bytes, found")
    assert list((tmp_path / "d").iterdir()) == []


def test_a_web_page_in_place_of_a_file(remote: Remote, server: Server, tmp_path: Path) -> None:
    words = ("web page", "/file.bin", "login", "robots")
    leave_part(remote, server, tmp_path / "d")
    server.html("file.bin")
    refused(remote, tmp_path / "d", *words)
    assert (tmp_path / "d" / "file.bin.part").stat().st_size == 1_000_000  # still good
    page = b"\xef\xbb\xbf \n<!DOCTYPE HTML><p>"
    for known in (remote, Remote(remote.url, None, None), Remote(remote.url, len(page), None)):
        server.fail("file.bin", status=200, body=page)
        refused(known, tmp_path / "e", *words)
        assert list((tmp_path / "e").iterdir()) == []
    server.html("/page.html")
    download(Remote(f"{server.url}/page.html", None, None), tmp_path / "page.html")
    server.html("/list")
    with pytest.raises(TransferError, match="web page"):
        get_json(f"{server.url}/list")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_failures_that_pass(status: int, remote: Remote, server: Server, tmp_path: Path) -> None:
    server.fail("file.bin", times=3, status=status)
    fetched(remote, tmp_path / "d")
    assert requests(server) == [*[(0, status)] * 3, (0, 200)]


def test_failures_that_do_not_pass(
    remote: Remote, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "WAITS", (0.01, 0.02, 0.03, 0.04, 0.05))
    server.fail("file.bin", times=99, status=500)
    start = time.monotonic()
    error = refused(remote, tmp_path, remote.url, "HTTP 500", "tried 6 times", "proxy")
    assert time.monotonic() - start > 0.15
    assert error.status == 500
    assert len(server.seen()) == 6
    gone = Remote("http://127.0.0.1:9/file.bin", None, None)
    refused(gone, tmp_path, "refused", "tried 6 times")
    with pytest.raises(TransferError, match="refused"):
        get_json(gone.url)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusals(status: int, remote: Remote, server: Server, tmp_path: Path) -> None:
    server.fail("file.bin", times=2, status=status)
    hint = "token" if status == 401 else "browser"
    assert refused(remote, tmp_path, remote.url, f"HTTP {status}", hint).status == status
    with pytest.raises(TransferError) as caught:
        get_json(remote.url)
    assert caught.value.status == status
    assert len(server.seen()) == 2


def test_progress_starts_the_count_anew(remote: Remote, server: Server, tmp_path: Path) -> None:
    for _ in range(3):
        server.fail("file.bin", times=4, status=503)
        server.fail("file.bin", cut_after=100_000)
    fetched(remote, tmp_path / "d")
    assert len(server.seen()) == 16


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({}, 0.5, 0.5),
        ({"Retry-After": "7"}, 7, 7),
        ({"Retry-After": "0"}, 0.5, 0.5),
        ({"Retry-After": "9999"}, 300, 300),
        ({"Retry-After": "soon"}, 0.5, 0.5),
        ({"RateLimit": '"api";r=0;t=55', "RateLimit-Policy": '"api";q=500;w=300'}, 55, 55),
        ({"RateLimit-Reset": "12"}, 12, 12),
        ({"X-RateLimit-Reset": str(int(time.time()) + 40)}, 0.5, 40),
    ],
)
def test_waits(
    headers: dict[str, str],
    least: float,
    most: float,
    server: Server,
    tmp_path: Path,
    waits: list[float],
) -> None:
    server.files["/file.bin"] = CONTENT
    server.fail("file.bin", status=429, headers=headers)
    fetched(Remote(f"{server.url}/file.bin", None, SHA256), tmp_path / "d")
    (wait,) = waits
    assert least <= wait <= most


def test_waits_grow(server: Server, tmp_path: Path, waits: list[float]) -> None:
    server.fail("file.bin", times=99, status=500)
    refused(Remote(f"{server.url}/file.bin", None, None), tmp_path, "tried 6 times")
    assert waits == [0.5, 1, 2, 4, 8]


def test_retry_after_as_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    wait = web.retry_after({"Retry-After": soon})
    assert wait is not None
    assert 25 < wait <= 30
    assert web.retry_after({"Retry-After": formatdate(0, usegmt=True)}) == 0
    assert web.retry_after({}) is None


def test_a_real_retry_after(remote: Remote, server: Server, tmp_path: Path) -> None:
    server.fail("file.bin", status=429, headers={"Retry-After": "1"})
    start = time.monotonic()
    fetched(remote, tmp_path / "d")
    assert 1 <= time.monotonic() - start < 3


def test_silence_ends_and_slowness_does_not(
    remote: Remote, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "IDLE", 0.3)
    server.fail("file.bin", stall_after=1_000_000)
    server.fail("file.bin", bytes_per_second=2_500_000)  # longer than 0.3 s in all
    start = time.monotonic()
    fetched(remote, tmp_path / "d")
    assert 1.0 < time.monotonic() - start < 5
    assert requests(server) == [(0, 200), (1_000_000, 206)]
    server.fail("file.bin", times=6, stall_after=0)
    refused(remote, tmp_path / "e", "no byte in 0.3 s", "tried 6 times")


def test_another_host_does_not_get_the_token(
    remote: Remote, server: Server, tmp_path: Path
) -> None:
    private = {"Authorization": "Bearer good"}
    with Server() as other:
        other.files["/far.bin"] = CONTENT
        server.files["/near.bin"] = CONTENT
        server.fail("file.bin", status=302, headers={"Location": "/near.bin"})
        server.fail("near.bin", status=307, headers={"Location": f"{other.url}/far.bin"})
        fetched(Remote(remote.url, remote.size, SHA256, private), tmp_path / "d")
        assert [seen.token for seen in server.seen()] == ["good", "good"]
        assert [(seen.token, seen.status) for seen in other.seen()] == [(None, 200)]


def test_only_the_web(remote: Remote, server: Server, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("{}")
    for url in (f"file://{secret}", f"ftp://127.0.0.1{secret}", str(secret)):
        refused(Remote(url, None, None), tmp_path, "no web address")
        with pytest.raises(TransferError, match="no web address"):
            get_json(url)
        server.fail("file.bin", status=302, headers={"Location": url})
    refused(remote, tmp_path, "not allowed")  # file://, which the library refuses
    refused(remote, tmp_path, "no web address")  # ftp://, which it would follow


def test_offline(remote: Remote, server: Server, tmp_path: Path) -> None:
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        for value in ("1", "True", "YES", "on"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(variable, value)
                assert web.offline()
                refused(remote, tmp_path, variable, "marsbench data download TASK")
                with pytest.raises(TransferError, match=variable):
                    get_json(remote.url)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(variable, "0")
            assert not web.offline()
    assert server.seen() == []


def test_a_full_disk(
    remote: Remote, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    class Full:
        """A file on a disk with room for one more piece."""

        def __init__(self, path: Path) -> None:
            self.file = real(path, "ab", buffering=0)

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, piece: memoryview) -> int:
            if self.file.tell() > 100_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(piece[:60_000])

    monkeypatch.setattr(
        Path, "open", lambda p, *a, **k: Full(p) if k.get("buffering") == 0 else real(p, *a, **k)
    )
    folder = tmp_path / "d"
    with pytest.raises(DataError, match="No space left") as caught:
        download(remote, folder / "file.bin")
    assert not isinstance(caught.value, TransferError)
    assert str(folder) in str(caught.value)
    assert "MARSBENCH_HOME" in str(caught.value)
    kept = (folder / "file.bin.part").stat().st_size
    assert 100_000 < kept < 200_000
    monkeypatch.setattr(Path, "open", real)
    assert fetched(remote, folder)[0] == kept
    assert requests(server)[-1] == (kept, 206)


def test_a_folder_that_cannot_be(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        download(remote, tmp_path / "file" / "d" / "file.bin")


def test_json(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "WAITS", (0.01,) * 5)
    server.files["/list"] = b'{"hits": [1]}'
    server.fail("list", status=500)
    server.fail("list", cut_after=3)
    assert get_json(f"{server.url}/list?page=2") == {"hits": [1]}
    server.files["/list"] = b"{"
    with pytest.raises(TransferError, match=r"Zenodo answered.*not JSON.*/list"):
        get_json(f"{server.url}/list")


def test_secrets_are_not_shown(server: Server, tmp_path: Path) -> None:
    error = refused(Remote(f"{server.url}/no?token=secret", None, None), tmp_path, "/no cannot")
    assert "secret" not in str(error)
    assert web.shown("https://me:secret@host/path") == "https://host/path"
