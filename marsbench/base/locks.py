"""Locks between processes and nodes: ``flock``, or leases where a file system has no locks.

A lease is a file beside the lock file, touched every `BEAT` seconds by a thread of its process. A
lease that was not touched for `LIFETIME` seconds, or whose process has ended on this machine,
belongs to a lost process and is removed. Every process creates its own lease before it looks for
others, so two processes never both overlook the other's.
"""

import contextlib
import errno
import glob
import os
import platform
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from marsbench.base.progress import tell

LIFETIME = 180.0
"""Seconds without a sign of life after which a lease is lost."""

BEAT = 20.0
"""Seconds between two signs of life."""

_SUFFIX = ".lease"

_HELD = {errno.EAGAIN, errno.EACCES}
"""Errors of `flock` on a lock held by another process."""

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Errors of `flock` on file systems without locks."""

_ATTEMPTS = 4
"""Attempts of a process that does not wait: two processes that see each other both step back."""


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock against other processes, and against other holders in this process.

    Args:
        path: The lock file; made if missing, and left in place.
        wait: Whether to wait while the lock is held elsewhere.

    Raises:
        BlockingIOError: If the lock is held elsewhere and `wait` is False.
        OSError: If the lock file cannot be made.
    """
    file = _flocked(path, wait)
    if file is not None:
        try:
            yield
        finally:
            _release(file)
        return
    lease = _leased(path, wait)
    try:
        yield
    finally:
        _BEATING.remove(lease)
        lease.unlink(missing_ok=True)


def is_lock(path: Path, lock: Path) -> bool:
    """Whether a file is a lock file or a lease of it."""
    return path == lock or (path.name.startswith(f"{lock.name}.") and path.suffix == _SUFFIX)


def _flocked(path: Path, wait: bool) -> int | None:
    """Lock by `flock`; returns the open file, or None if the file system has no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    while True:
        # The umask decides who may lock, as for every other file.
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.fstat(file).st_nlink:
                return file
        except OSError as error:
            os.close(file)
            if error.errno in _HELD:
                raise BlockingIOError(error.errno, error.strerror, str(path)) from error
            if error.errno not in _NO_LOCKS:
                raise
            _say(path, error)
            return None
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # the lock file was removed while this process waited


def _release(file: int) -> None:
    import fcntl

    # Closing is not enough: worker processes forked meanwhile hold the file open.
    fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


def _leased(path: Path, wait: bool) -> Path:
    """Make a lease, once no other process has one; returns its file."""
    attempt = 0
    while True:
        attempt += 1
        lease = path.with_name(f"{path.name}.{_process()}-{os.urandom(4).hex()}{_SUFFIX}")
        lease.touch(exist_ok=False)
        try:
            # The file system's own clock; the clocks of nodes may differ.
            now = lease.stat().st_mtime
            others = path.parent.glob(f"{glob.escape(path.name)}.*{_SUFFIX}")
            rival = next((p for p in others if p != lease and _is_alive(p, path, now)), None)
            if rival is None:
                _BEATING.add(lease)
                return lease
        except BaseException:
            lease.unlink(missing_ok=True)
            raise
        lease.unlink(missing_ok=True)
        if not wait and attempt == _ATTEMPTS:
            raise BlockingIOError(errno.EAGAIN, f"held by {rival.name}", str(path))
        time.sleep(random.uniform(0.05, 0.15) if attempt < _ATTEMPTS else random.uniform(0.5, 1.5))  # noqa: S311


def _is_alive(lease: Path, lock: Path, now: float) -> bool:
    """Whether a lease belongs to a living process; the lease of a lost process is removed."""
    try:
        age = now - lease.stat().st_mtime
    except FileNotFoundError:
        return False  # released meanwhile
    if age < LIFETIME and not _has_ended(lease, lock):
        return True
    lease.unlink(missing_ok=True)
    return False


def _process() -> str:
    """Name of this process: host, start of the system, name space of process ids, process id."""
    space = ""
    with contextlib.suppress(OSError):
        # Machines may share a host name, and containers of a machine do not share process ids.
        system = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
        space = f"{system}.{Path('/proc/self/ns/pid').stat().st_ino}"
    return f"{platform.node()}-{space}-{os.getpid()}"


def _has_ended(lease: Path, lock: Path) -> bool:
    """Whether the process of a lease ran on this machine and has ended."""
    if os.name == "nt":
        return False  # os.kill would interrupt the process; its lease ends with its lifetime
    process = lease.stem.removeprefix(f"{lock.name}.").rpartition("-")[0]
    place, _, number = process.rpartition("-")
    # Equal, since the name of a host may end in the name of another.
    if place != _process().rpartition("-")[0] or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass  # the process of another user, or a number of no process
    return False


class _Beating:
    """Thread that touches the leases of this process."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew, in a forked process: it has no thread, and leases are its parent's."""
        self._leases: set[Path] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, lease: Path) -> None:
        with self._lock:
            self._leases.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._go_on, daemon=True)
                self._thread.start()

    def remove(self, lease: Path) -> None:
        with self._lock:
            self._leases.discard(lease)

    def _go_on(self) -> None:
        while True:
            time.sleep(BEAT)
            with self._lock:
                leases = list(self._leases)
                if not leases:
                    self._thread = None
                    return
            for lease in leases:
                try:
                    os.utime(lease)
                except FileNotFoundError:
                    with self._lock:
                        is_lost = lease in self._leases  # else released meanwhile
                        self._leases.discard(lease)
                    if is_lost:
                        tell(f"The lease {lease} is lost: another process may do its work again.")
                except OSError:
                    pass  # out of reach for a while


_BEATING = _Beating()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=lambda: _BEATING.forget())
_said: set[Path] = set()


def _say(path: Path, error: OSError) -> None:
    """Tell once per process and folder above that locks are missing."""
    place = Path(path.anchor, *path.absolute().parts[1:2])
    if place not in _said:
        _said.add(place)
        tell(
            f"The file system of {path.parent} has no file locks ({error.strerror}): leases are "
            f"used instead. A run whose node is lost can start again after {LIFETIME:.0f} s."
        )
