"""Unit files: runs for a worker; and the folder of a sweep.

``STORE/.sweeps/NAME/`` holds ``sweep.json``, ``units/00012.json``, ``logs/`` and ``workers/``. The
leading dot sets it apart from the folders of tasks.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from marsbench.base import paths
from marsbench.base.documents import parse_json
from marsbench.base.errors import MarsbenchError, StoreError, is_disk_full
from marsbench.base.files import write_text
from marsbench.base.reading import read_text
from marsbench.base.values import build
from marsbench.config.identity import slug
from marsbench.config.schema import RunConfig
from marsbench.data.download.web import shown
from marsbench.results.store import FAILED, RECORD, Store, now, read_record
from marsbench.sweep.memory import Need, device_bytes
from marsbench.sweep.planner import SweepPlan

SWEEPS = ".sweeps"
SWEEP = "sweep.json"
UNITS = "units"
LOGS = "logs"
WORKERS = "workers"
WAS_FULL = "disk_full"
"""Empty file in the folder of a sweep whose workers stopped on a full disk."""

MEASURED = 12
"""Records of a unit read for its device memory; each has the peak of the worker so far."""

_PROBE = 1 << 16
"""Bytes of a file that tests whether a disk is full."""


@dataclass(frozen=True)
class UnitFile:
    """Content of a unit file.

    Attributes:
        runs: Runs in order of execution.
        ids: Their run ids.
        force: Whether finished runs are repeated.
        need: Device memory; None if unknown to the planner.
    """

    runs: tuple[RunConfig, ...]
    ids: tuple[str, ...]
    force: bool = False
    need: Need | None = None


def write_unit(path: Path, unit: UnitFile) -> None:
    """Write a unit file."""
    content = {
        "runs": [config.to_dict() for config in unit.runs],
        "ids": list(unit.ids),
        "force": unit.force,
        "need": None if unit.need is None else asdict(unit.need),
    }
    if any("://" in (config.root or "") for config in unit.runs):
        # Readable by the owner alone: a URL may hold a password that the worker needs.
        path.touch(mode=0o600)
    # Not by rename: units are read after ``sweep.json`` exists, and a sweep may have thousands.
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def read_unit(path: Path) -> UnitFile:
    """Read a unit file.

    Raises:
        StoreError: If the file is unreadable or invalid.
    """
    try:
        content = parse_json(read_text(path))
        runs = tuple(RunConfig.from_dict(values) for values in content["runs"])
        ids = tuple(str(run_id) for run_id in content["ids"])
        force, need = bool(content["force"]), _need(content)
    except (OSError, ValueError, KeyError, TypeError, MarsbenchError) as error:
        raise StoreError(
            f"The unit file {path} is invalid: {error}.", "Run the sweep again to plan it anew."
        ) from error
    if len(runs) != len(ids):
        raise StoreError(
            f"The unit file {path} has {len(runs)} runs and {len(ids)} ids.",
            "Run the sweep again to plan it anew.",
        )
    return UnitFile(runs, ids, force, need)


def unit_ids(path: Path) -> list[str]:
    """Run ids of a unit file."""
    content: dict[str, Any] = parse_json(read_text(path))
    return [str(run_id) for run_id in content["ids"]]


def unit_need(path: Path) -> Need | None:
    """Device memory of a unit file."""
    return _need(parse_json(read_text(path)))


def _need(content: Mapping[str, Any]) -> Need | None:
    given = content.get("need")
    return None if given is None else build(Need, given, [], strict=True)


def sweep_of(unit: Path) -> Path:
    """Folder of a unit file's sweep."""
    return unit.absolute().parent.parent


def write_sweep(folder: Path, facts: dict[str, Any], units: Sequence[UnitFile]) -> list[Path]:
    """Write a sweep's folder.

    Args:
        folder: ``STORE/.sweeps/NAME``; must not exist.
        facts: Content of ``sweep.json`` beside the run ids.
        units: Content of the unit files.

    Returns:
        Paths of the unit files.

    Raises:
        StoreError: If the folder cannot be written.
    """
    try:
        for name in (UNITS, LOGS, WORKERS):
            (folder / name).mkdir(parents=True)
        files = [folder / UNITS / f"{i:05d}.json" for i in range(len(units))]
        for path, unit in zip(files, units, strict=True):
            write_unit(path, unit)
        ids = [run_id for unit in units for run_id in unit.ids]
        write_text(folder / SWEEP, json.dumps({**facts, "ids": ids}) + "\n")
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written: {error.strerror or error}.",
            "Choose a writable folder with store=FOLDER.",
        ) from error
    return files


def write_plan(
    plan: SweepPlan, sweeps: Path, name: str, launcher: str, words: Sequence[str] = ()
) -> tuple[Path, list[Path]]:
    """Write a plan's units as a sweep, and clear the failures of runs to be retried.

    Args:
        plan: The plan.
        sweeps: ``STORE/.sweeps``.
        name: Name of the suite; the folder's name begins with it.
        launcher: Name of the launcher.
        words: Arguments of the command; passwords in URLs are not kept.

    Returns:
        The sweep's folder and the unit files.

    Raises:
        StoreError: If the store cannot be written.
    """
    units = [
        UnitFile(
            tuple(run.config for run in unit.runs),
            tuple(run.run_id for run in unit.runs),
            need=unit.need,
        )
        for unit in plan.units
    ]
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    place = f"{slug(name)}-{stamp}-{os.getpid()}"
    # A process may begin several sweeps within a second.
    places = (sweeps / (f"{place}-{n}" if n else place) for n in itertools.count())
    folder = next(folder for folder in places if not folder.exists())
    facts = {
        "suite": name,
        "words": [_public(word) for word in words],
        "time": now(),
        "launcher": launcher,
    }
    files = write_sweep(folder, facts, units)
    for unit in units:
        for run_id in unit.ids:
            # Records and failures alone then say which runs of a unit are left.
            (sweeps.parent / run_id / FAILED).unlink(missing_ok=True)
    return folder, files


def _public(word: str) -> str:
    """Remove passwords from a URL in ``key=value``."""
    key, _, value = word.partition("=")
    if "://" not in value:
        return word
    # URLs may be chained (zip://FILE::s3://KEY:SECRET@HOST/FOLDER), and secrets may hold slashes.
    parts = [re.sub("://.*@", "://", part) for part in value.split("::")]
    return f"{key}={'::'.join(shown(part) if '://' in part else part for part in parts)}"


def has_room(folder: Path) -> bool:
    """Whether a small file can be written into a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE))
    except OSError as error:
        return not is_disk_full(error)
    return True


def disk_full(sweep: Path) -> str:
    """Message about a sweep whose workers could not write.

    Args:
        sweep: The sweep's folder.
    """
    places = {"store": sweep.parent.parent, "MARSBENCH_HOME": paths.home()}
    free = []
    for name, place in places.items():
        existing = next(p for p in (place, *place.absolute().parents) if p.exists())
        free.append(f"{name} {place}: {shutil.disk_usage(existing).free / 2**20:.1f} MiB free")
    return (
        f"The disk is full, or a quota is exceeded ({'; '.join(free)}); see {sweep / LOGS}. "
        "Finished runs are kept. Free space; the same command then continues with the other runs."
    )


def left_of(unit: Path, ids: Iterable[str] | None = None) -> list[str]:
    """Ids of a unit's runs with neither a record nor a failure.

    Args:
        unit: The unit file.
        ids: Its run ids, if already read.
    """
    store = sweep_of(unit).parent.parent
    return [
        run_id
        for run_id in (unit_ids(unit) if ids is None else ids)
        if not os.path.exists(f"{store}/{run_id}/{RECORD}")  # noqa: PTH110
        and not os.path.exists(f"{store}/{run_id}/{FAILED}")  # noqa: PTH110
    ]


def peaks_of(unit: Path) -> list[int]:
    """Device memory of a unit's runs in bytes, of its newest few records; 0 without a GPU."""
    store = Store(sweep_of(unit).parent.parent)
    times: dict[str, float] = {}
    for run_id in unit_ids(unit):
        with contextlib.suppress(OSError):
            times[run_id] = os.stat(f"{store.root}/{run_id}/{RECORD}").st_mtime  # noqa: PTH116
    newest = sorted(times, key=lambda run_id: -times[run_id])[:MEASURED]
    peaks = []
    for run_id in newest:
        with contextlib.suppress(StoreError):
            peaks.append(device_bytes(read_record(store.folder(run_id) / RECORD).peak_memory) or 0)
    return peaks
