"""Units of work: the runs that one worker carries out, as a file, and where a sweep keeps them.

``STORE/.sweeps/NAME/`` holds ``sweep.json``, ``units/00012.json``, ``logs/`` and ``workers/``. Its
name begins with a dot, so that nobody takes it for the folder of a task.
"""

import json
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marsbench.base.errors import MarsbenchError, StoreError
from marsbench.base.files import write_text
from marsbench.config.identity import slug
from marsbench.config.schema import RunConfig
from marsbench.data.download.web import shown
from marsbench.results.store import FAILED, RECORD, now
from marsbench.sweep.planner import SweepPlan

SWEEPS = ".sweeps"
SWEEP = "sweep.json"
UNITS = "units"
LOGS = "logs"
WORKERS = "workers"


@dataclass(frozen=True)
class UnitFile:
    """What a unit file says.

    Attributes:
        runs: The runs, in the order in which they are carried out.
        ids: Their ids.
        force: Whether runs that have a record are carried out again.
    """

    runs: tuple[RunConfig, ...]
    ids: tuple[str, ...]
    force: bool = False


def write_unit(path: Path, unit: UnitFile) -> None:
    """Write a unit file."""
    content = {
        "runs": [config.to_dict() for config in unit.runs],
        "ids": list(unit.ids),
        "force": unit.force,
    }
    # For its owner alone: an address of data may hold a password, which a worker needs.
    path.touch(mode=0o600)
    # Not by rename: nobody reads it before ``sweep.json`` is there, and a sweep may have thousands.
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def read_unit(path: Path) -> UnitFile:
    """Read a unit file.

    Raises:
        StoreError: If it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        runs = tuple(RunConfig.from_dict(values) for values in content["runs"])
        ids = tuple(str(run_id) for run_id in content["ids"])
        force = bool(content["force"])
    except (OSError, ValueError, KeyError, TypeError, MarsbenchError) as error:
        raise StoreError(
            f"The unit {path} cannot be read: {error}.", "Start the sweep again: it plans anew."
        ) from error
    if len(runs) != len(ids):
        raise StoreError(f"The unit {path} names other runs than it holds.", "Start again.")
    return UnitFile(runs, ids, force)


def unit_ids(path: Path) -> list[str]:
    """Run ids of a unit file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return [str(run_id) for run_id in content["ids"]]


def sweep_of(unit: Path) -> Path:
    """The folder of the sweep that a unit file belongs to."""
    return unit.absolute().parent.parent


def write_sweep(folder: Path, facts: dict[str, Any], units: Sequence[UnitFile]) -> list[Path]:
    """Make a sweep's folder.

    Args:
        folder: ``STORE/.sweeps/NAME``; there must be none yet.
        facts: What ``sweep.json`` says beside the run ids.
        units: The units.

    Returns:
        The unit files.

    Raises:
        StoreError: If the store cannot be written.
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
            f"The sweep cannot be written into {folder}: {error.strerror or error}.",
            "Choose a folder you may write with store=FOLDER.",
        ) from error
    return files


def write_plan(
    plan: SweepPlan, sweeps: Path, name: str, launcher: str, words: Sequence[str] = ()
) -> tuple[Path, list[Path]]:
    """Write what is left to do as a sweep, and take away the word of failures to be retried.

    Args:
        plan: What is left to do.
        sweeps: ``STORE/.sweeps``.
        name: Name of the suite, with which the sweep's begins.
        launcher: Who is to carry it out.
        words: What the sweep was asked for with; passwords in addresses are not kept.

    Returns:
        The sweep's folder and its unit files.

    Raises:
        StoreError: If the store cannot be written.
    """
    units = [
        UnitFile(tuple(run.config for run in unit.runs), tuple(run.run_id for run in unit.runs))
        for unit in plan.units
    ]
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    folder = sweeps / f"{slug(name)}-{stamp}-{os.getpid()}"
    facts = {
        "suite": name,
        "words": [_public(word) for word in words],
        "time": now(),
        "launcher": launcher,
    }
    files = write_sweep(folder, facts, units)
    for unit in units:
        for run_id in unit.ids:
            # So that what is left of a unit is known by its records and failures alone.
            (sweeps.parent / run_id / FAILED).unlink(missing_ok=True)
    return folder, files


def _public(word: str) -> str:
    """A word without what may be secret in an address."""
    key, _, value = word.partition("=")
    if "://" not in value:
        return word
    # Addresses may be chained (zip://FILE::s3://KEY:SECRET@HOST/FOLDER), and secrets hold slashes.
    parts = [re.sub("://.*@", "://", part) for part in value.split("::")]
    return f"{key}={'::'.join(shown(part) if '://' in part else part for part in parts)}"


def left_of(unit: Path, ids: Iterable[str] | None = None) -> list[str]:
    """Runs of a unit that have neither a record nor failed.

    Args:
        unit: The unit file.
        ids: Their ids, if it was read before.
    """
    store = sweep_of(unit).parent.parent
    return [
        run_id
        for run_id in (unit_ids(unit) if ids is None else ids)
        if not os.path.exists(f"{store}/{run_id}/{RECORD}")  # noqa: PTH110
        and not os.path.exists(f"{store}/{run_id}/{FAILED}")  # noqa: PTH110
    ]
