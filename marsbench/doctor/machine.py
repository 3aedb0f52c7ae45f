"""Versions, processor and memory."""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from marsbench import environment
from marsbench.doctor import libraries

PATIENCE = 180
"""Seconds the heavy libraries have to load; from a slow network disk they take minutes."""


class Libraries:
    """The heavy libraries, being asked in a process of their own."""

    def __init__(self) -> None:
        # The folders of this process, and not the folder of the script.
        folders = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", libraries.__file__],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=folders,
            text=True,
        )

    def facts(self) -> dict[str, dict[str, Any]]:
        """Wait for the answer: what each step found, or why it ``failed``."""
        try:
            out, _ = self._process.communicate(timeout=PATIENCE)
            ending = _ending(self._process.returncode)
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, _ = self._process.communicate()
            ending = f"no answer within {PATIENCE} seconds"
        found: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(ValueError):  # a line cut short
            for line in out.splitlines():
                name, facts = json.loads(line)
                found[name] = facts
        for name in libraries.STEPS:
            if name not in found:
                found[name] = {"failed": ending}
                ending = "not tried, since the process ended before"
        return found


def _ending(code: int) -> str:
    if code >= 0:
        return f"Python ended with exit code {code}"
    try:
        return f"Python crashed with {signal.Signals(-code).name}"
    except ValueError:
        return f"Python crashed with signal {-code}"


def versions() -> dict[str, Any]:
    """Versions, the commit if this is a checkout, and which Python it is."""
    return {**environment.versions(), "executable": sys.executable, "git": environment.git_state()}


def requirements() -> tuple[list[str], dict[str, list[str]]]:
    """What marsbench needs, and what each of its extras does.

    Raises:
        PackageNotFoundError: If marsbench is not installed.
    """
    needed: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("marsbench") or ():
        name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line)
        if extra is None:
            needed.append(name)
        elif extra[1] not in ("all", "dev"):
            extras.setdefault(extra[1], []).append(name)
    return needed, extras


def installed(package: str) -> str | None:
    """Version of a package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def extras() -> list[dict[str, Any]]:
    """Every optional extra: the versions of its packages, or how to install it."""
    rows = []
    for extra, packages in requirements()[1].items():
        found = {package: installed(package) for package in packages}
        rows.append(
            {
                "extra": extra,
                "packages": found,
                "installed": None not in found.values(),
                "install": f"pip install 'marsbench[{extra}]'",
            }
        )
    return rows


def missing() -> list[str]:
    """Packages that marsbench needs and that are not installed."""
    return [package for package in requirements()[0] if installed(package) is None]


def processor() -> dict[str, Any]:
    """Model and cores of the processor, and the memory, as far as this process may use them."""
    found: dict[str, Any] = {
        "model": _model(),
        "cores": os.cpu_count(),
        "cores usable": usable_cores(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "memory": usable_memory(),
        "memory free": _meminfo("MemAvailable"),
    }
    return found


def _model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
            return done.stdout.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> float | None:
    """Cores this process may use: those it is bound to, and no more than its group's quota."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = [float(bound)] if bound else []
    for folder in _groups():
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            # Without a quota the file says "max", which is no number.
            limits.append(round(int(quota) / int(period), 2))
    return min(limits, default=None)


def usable_memory() -> int | None:
    """Bytes of memory, no more than the limit of this process's group."""
    limits = []
    with contextlib.suppress(OSError, ValueError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for folder in _groups():
        with contextlib.suppress(OSError, ValueError):
            limits.append(int((folder / "memory.max").read_text()))
    return min(limits, default=None)


def _groups() -> list[Path]:
    """Control groups of this process, from the innermost out; schedulers nest them."""
    top = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                own = top / line.removeprefix("0::/")
                return [own, *(p for p in own.parents if p.is_relative_to(top))]
    return [top]


def _meminfo(name: str) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def nvidia_device_present() -> bool:
    """Whether the driver of an NVIDIA device has made its files."""
    return any(Path("/dev").glob("nvidia[0-9]*"))
