import errno
import fcntl
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from marsbench.base import files, locks
from marsbench.base.errors import BusyError
from marsbench.base.locks import locked
from marsbench.results.store import Store

NO_LOCKS = [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP]

WITHOUT = """
import errno, fcntl, sys, time
from pathlib import Path
def refuse(file, operation):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = refuse
from marsbench.base import files, locks
"""
"""Head of a program on a file system without locks."""

HOLDING = f"""{WITHOUT}
with locks.locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def leases(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.lease"))


@pytest.fixture(params=[None, *NO_LOCKS], ids=lambda number: errno.errorcode.get(number, "flock"))
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """Take the locks of a file system away."""
    number: int | None = request.param
    if number is not None:
        remove_locks(monkeypatch, number)
    return number


def remove_locks(monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSYS) -> None:
    def refuse(_file: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(locks, "_said", set())


@pytest.fixture
def hold(tmp_path: Path) -> "Callable[[], subprocess.Popen[str]]":
    """Start a process that holds a lease."""

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", HOLDING, str(tmp_path / "lock")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    return start


def test_a_lock_excludes_others(tmp_path: Path, kind: int | None) -> None:
    lock = tmp_path / "lock"
    with locked(lock, wait=False):
        with pytest.raises(BlockingIOError), locked(lock, wait=False):
            pytest.fail("held twice")
        with locked(tmp_path / "lock2", wait=False):
            pass
    with locked(lock, wait=False):
        pass
    assert leases(tmp_path) == []


def test_waiting(tmp_path: Path, kind: int | None) -> None:
    order = []

    def hold() -> None:
        with locked(tmp_path / "lock"):
            order.append("begun")
            time.sleep(0.3)
            order.append("ended")

    threads = [threading.Thread(target=hold) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == ["begun", "ended"] * 3


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"):
        child = os.fork()
        if not child:
            signal.pause()  # as a worker of a data loader that has not ended yet
            os._exit(0)
    try:
        with locked(tmp_path / "lock", wait=False):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_removed_lock_file(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    order = []

    def wait() -> None:
        with locked(lock):
            order.append("waited")
            with pytest.raises(BlockingIOError), locked(lock, wait=False):
                pass

    with locked(lock):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.2)
        lock.unlink()
        order.append("removed")
    thread.join()
    assert order == ["removed", "waited"]


def test_missing_locks_are_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remove_locks(monkeypatch, errno.ENOLCK)
    for _ in range(2):
        with locked(tmp_path / "lock"):
            pass
    said = capsys.readouterr().err
    assert said.count("has no file locks (No locks available): leases") == 1
    assert str(tmp_path) in said


def test_other_errors_of_the_disk_are_not_a_held_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_locks(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output") as caught, locked(tmp_path / "lock"):
        pass
    assert not isinstance(caught.value, BlockingIOError)


def test_a_claim_without_locks(tmp_path: Path, kind: int | None) -> None:
    store = Store(tmp_path)
    with store.claim("a/b/c/d/0") as folder:
        with pytest.raises(BusyError, match="Another process is running"), store.claim("a/b/c/d/0"):
            pass
        (folder / "config.yaml").touch()
        assert store.clear("a/b/c/d/0") is not None
        with pytest.raises(BusyError), store.claim("a/b/c/d/0"):
            pass
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_lease_of_a_living_process(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hold: "Callable[[], subprocess.Popen[str]]",
) -> None:
    remove_locks(monkeypatch)
    process = hold()
    try:
        with pytest.raises(BlockingIOError), locked(tmp_path / "lock", wait=False):
            pass
        (lease,) = leases(tmp_path)
        assert f"{platform.node()}-" in lease
        assert f"-{process.pid}-" in lease
    finally:
        process.kill()
        process.wait()
    # Killed on this machine: no reason to wait for the end of its lifetime.
    with locked(tmp_path / "lock", wait=False):
        (mine,) = leases(tmp_path)
        assert mine != lease


@pytest.mark.parametrize(("age", "is_lost"), [(60.0, False), (200.0, True)])
def test_a_lease_of_a_lost_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float, is_lost: bool
) -> None:
    remove_locks(monkeypatch)
    store = Store(tmp_path)
    folder = store.folder("a/b/c/d/0")
    folder.mkdir(parents=True)
    lease = folder / ".lock.node7-1-1-abcdabcd.lease"
    lease.touch()
    os.utime(lease, (time.time() - age,) * 2)
    if is_lost:
        with store.claim("a/b/c/d/0"):
            assert not lease.exists()
    else:
        with pytest.raises(BusyError), store.claim("a/b/c/d/0"):
            pass
        assert lease.exists()


def test_a_host_whose_name_ends_in_that_of_this_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_locks(monkeypatch)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    place = locks._process().rpartition("-")[0]
    (tmp_path / f"lock.login-{place}-{ended.pid}-abcdabcd.lease").touch()
    with pytest.raises(BlockingIOError), locked(tmp_path / "lock", wait=False):
        pass
    # A number beyond those of processes, from elsewhere.
    (tmp_path / f"lock2.{place}-{'9' * 30}-abcdabcd.lease").touch()
    with pytest.raises(BlockingIOError), locked(tmp_path / "lock2", wait=False):
        pass


def test_a_rival_on_windows_is_not_signalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock"
    lease = tmp_path / f"lock.{locks._process()}-abcdabcd.lease"
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _signal: sent.append(pid))
    assert not locks._has_ended(lease, lock)
    assert sent == [os.getpid()]
    with monkeypatch.context() as windows:
        windows.setattr(os, "name", "nt")
        has_ended = locks._has_ended(lease, lock)
    assert not has_ended
    assert sent == [os.getpid()]


def test_a_forked_child_leaves_the_leases_of_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_locks(monkeypatch)
    with locked(tmp_path / "lock"):
        (lease,) = tmp_path.glob("*.lease")
        os.utime(lease, (0, 0))
        with locks._BEATING._lock:  # as if the thread held it
            child = os.fork()
        if not child:
            signal.alarm(20)
            locks.BEAT = 0.02
            with locked(tmp_path / "other"):
                time.sleep(0.3)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert lease.stat().st_mtime == 0


def test_a_lease_is_touched_and_its_loss_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remove_locks(monkeypatch)
    monkeypatch.setattr(locks, "BEAT", 0.05)
    monkeypatch.setattr(locks, "_BEATING", locks._Beating())
    with locked(tmp_path / "lock"):
        (lease,) = tmp_path.glob("*.lease")
        os.utime(lease, (0, 0))
        deadline = time.monotonic() + 10
        while lease.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        lease.unlink()
        said = ""
        while "is lost" not in said:
            assert time.monotonic() < deadline
            time.sleep(0.02)
            said += capsys.readouterr().err
    assert leases(tmp_path) == []


def test_a_cache_is_built_once_without_locks(tmp_path: Path) -> None:
    program = f"""{WITHOUT}
place = Path(sys.argv[1])
def build():
    with Path(sys.argv[1] + ".builds").open("a") as file:
        file.write("x")
    time.sleep(0.3)
    files.write_text(place, "content")
    return "content"
print(files.once(place, lambda: place.read_text() if place.exists() else None, build))
"""
    command = [sys.executable, "-c", program, str(tmp_path / "cache")]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [process.communicate()[0] for process in processes] == ["content\n"] * 4
    assert (tmp_path / "cache.builds").read_text() == "x"
    assert leases(tmp_path) == []


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o027])
def test_modes_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with files.replacing(tmp_path / "private") as partial:
            private = tmp_path / "x"
            os.close(os.open(private, os.O_CREAT | os.O_WRONLY, 0o600))
            private.replace(partial)
        files.write_text(tmp_path / "text", "")
        with locked(tmp_path / "lock"):
            pass
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("private", "text", "lock"), 0o666 & ~umask)
