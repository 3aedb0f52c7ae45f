"""GPUs of this machine, without loading torch."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

from marsbench.base import environment
from marsbench.base.errors import ConfigError, NotAvailableError
from marsbench.sweep.launchers.packing import Memory
from marsbench.sweep.launchers.settings import LauncherSettings

GPUS = "CUDA_VISIBLE_DEVICES"

_UUIDS = ("GPU-", "MIG-")
"""Prefixes of GPUs and of parts of a GPU by UUID."""

_ASK = """
import json, torch
print(json.dumps([torch.cuda.mem_get_info(i) for i in range(torch.cuda.device_count())]))
"""
"""Program of the child process that asks for free and total bytes, in the order of `GPUS`."""

MOST_PER_GPU = 8
"""Most workers per GPU by ``launcher.per_gpu=auto``; each has at least two cores."""


def visible_gpus() -> list[str]:
    """Names of the GPUs visible to this process, for `GPUS`."""
    installed = _installed()
    if (given := os.environ.get(GPUS)) is None:
        return installed
    names = parse_visible(given)
    # Without nvidia-smi the number of GPUs is unknown, and ordinals are taken as given.
    wrong = [i for i, name in enumerate(names) if name.isdecimal() and name not in installed]
    return names[: wrong[0]] if installed and wrong else names


def parse_visible(given: str) -> list[str]:
    """Names in a value of CUDA_VISIBLE_DEVICES, as CUDA reads it.

    All names are ordinals, or UUIDs with the prefix of the first. CUDA ignores the first invalid
    name and all names after it, and sees no GPU if a name is repeated.

    See https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables.
    """
    prefix = next((prefix for prefix in _UUIDS if given.startswith(prefix)), None)
    names: list[str] = []
    for part in given.split(","):
        if prefix is None:
            # The digits at the beginning count, as in C's strtoul.
            number = re.match(r"\+?(\d+)", part.strip())
            name = str(int(number[1])) if number else None
        else:
            name = part if part.startswith(prefix) else None
        if name is None:
            break
        if name in names:
            return []
        names.append(name)
    return names


def _installed() -> list[str]:
    """Ordinals of the GPUs by nvidia-smi; empty without a driver."""
    if (program := shutil.which("nvidia-smi")) is None:
        return []
    try:
        command = [program, "--query-gpu=index", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip().isdecimal()]


def sets_of(settings: LauncherSettings, gpus: Sequence[str]) -> list[str]:
    """GPUs of each worker, as values of `GPUS`; workers may share a set.

    Args:
        settings: ``gpus`` per worker.
        gpus: Names of the visible GPUs.

    Returns:
        Disjoint sets; empty without GPUs.

    Raises:
        ConfigError: If ``gpus`` is a fraction or exceeds the visible GPUs.
    """
    each = 1 if settings.gpus is None else int(settings.gpus)
    if settings.gpus is not None and each != settings.gpus:
        raise ConfigError(
            f"launcher.gpus is {settings.gpus:g}; launcher=local expects a whole number.",
            "Set a whole number; launcher.per_gpu=2 lets two workers share a GPU.",
        )
    if settings.gpus is not None and each > len(gpus):
        raise ConfigError(
            f"launcher.gpus is {each}; {len(gpus)} GPUs are visible.",
            f"Lower launcher.gpus (0 uses the CPU), or check {GPUS}.",
        )
    if each == 0:
        return []
    return [",".join(gpus[i : i + each]) for i in range(0, len(gpus) - each + 1, each)]


def most_per_gpu(settings: LauncherSettings, sets: Sequence[str]) -> int:
    """Most workers that may share a GPU, or a set of GPUs.

    Args:
        settings: ``per_gpu``; None goes by the cores.
        sets: The sets.
    """
    if settings.per_gpu is not None:
        return settings.per_gpu
    return max(1, min(MOST_PER_GPU, environment.usable_cores() // max(len(sets), 1) // 2))


def memory_of(sets: Sequence[str]) -> list[Memory]:
    """Ask CUDA for the memory of each set of GPUs, of the GPU with the least free memory.

    A child process asks, since CUDA would keep memory of every GPU for this process.

    Args:
        sets: Values of `GPUS`.

    Raises:
        NotAvailableError: If torch cannot use the GPUs.
    """
    sizes = [len(each.split(",")) for each in sets]
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", _ASK],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
            env={**os.environ, GPUS: ",".join(sets)},
        )
        answers = [Memory(int(free), int(total)) for free, total in json.loads(done.stdout)]
        reason = f"torch sees {len(answers)} of {sum(sizes)} GPUs"
    except subprocess.CalledProcessError as error:
        answers, reason = [], (error.stderr.strip().splitlines() or ["no reason is given"])[-1]
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        answers, reason = [], str(error)
    if len(answers) != sum(sizes):
        raise NotAvailableError(
            f"The memory of the GPUs {','.join(sets)} is unknown: {reason}.",
            "See `marsbench doctor`, or leave launcher.per_gpu out: each worker then has its own.",
        )
    rest = iter(answers)
    return [
        min((next(rest) for _ in range(size)), key=lambda memory: memory.room) for size in sizes
    ]
