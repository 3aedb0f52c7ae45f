"""Catalogue of tasks: the 20 of Mars-Bench and two mass-spectrometry challenges.

Facts about tasks are stated only in `marsbench.tasks.tables`. Importing this module loads neither
torch nor numpy, so that listing tasks is immediate.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from marsbench.base import paths
from marsbench.base.errors import unknown_name
from marsbench.tasks.spec import TASK_FILE, TaskSpec
from marsbench.tasks.tables import classification, detection, segmentation, spectra

PREFIX = "mb-"
"""Prefix of task names where Mars-Bench publishes its data."""

COLLECTIONS: dict[str, dict[str, str]] = {
    "mars_bench": {
        "folder": PREFIX + "{name}",
        "hub_id": "Mirali33/" + PREFIX + "{name}",
        "zenodo_title": PREFIX + "{name}",
        "licence": "CC-BY-4.0",
    },
}
"""Default fields by collection, filled with the task's name; values of an entry win."""


def _published(spec: TaskSpec) -> TaskSpec:
    """Fill the empty fields of an entry from its collection."""
    usual = COLLECTIONS.get(spec.collection, {"folder": "{name}"})
    empty: dict[str, Any] = {
        key: text.format(name=spec.name) for key, text in usual.items() if not getattr(spec, key)
    }
    return replace(spec, **empty)


def by_name(specs: Iterable[TaskSpec]) -> dict[str, TaskSpec]:
    """Index tasks by name, with the defaults of their collections.

    Raises:
        ValueError: If two tasks have the same name.
    """
    tasks: dict[str, TaskSpec] = {}
    for spec in specs:
        if spec.name in tasks:
            raise ValueError(f"Two tasks of the catalogue are named '{spec.name}'.")
        tasks[spec.name] = _published(spec)
    return tasks


TASKS: dict[str, TaskSpec] = by_name(
    (
        *classification.TASKS,
        *segmentation.TASKS,
        *detection.TASKS,
        *spectra.TASKS,
    )
)
"""Tasks of the catalogue by name: classification, segmentation, detection, spectra."""


def get_task(name: str) -> TaskSpec:
    """Look up a task of the catalogue, or read a custom task.

    Args:
        name: A name in `TASKS`, with or without the published prefix ``mb-``; or the path of a
            custom task's YAML file, or of a data folder that holds a ``task.yaml``.

    Raises:
        UnknownNameError: If no task has this name; the message suggests close matches.
        ConfigError: If the file of a custom task is missing or invalid.
    """
    spec = TASKS.get(name.removeprefix(PREFIX))
    if spec is not None:
        return spec
    if _is_path(name):
        from marsbench.tasks.custom import load_task  # needs yaml

        return load_task(Path(name), taken=TASKS)
    hint = "`marsbench list tasks` shows all; a custom task is a path to its YAML."
    if os.path.isdir(name):  # noqa: PTH112 - False for names that no path can have
        hint = f"The folder {name} has no {TASK_FILE}; `marsbench data init {name}` makes it."
    raise unknown_name("task", name.removeprefix(PREFIX), TASKS, hint=hint)


def known_task(name: str) -> TaskSpec | None:
    """Task of the catalogue, or custom task that ships with the package; None for others."""
    if (spec := TASKS.get(name)) is not None or re.fullmatch("[a-z0-9_]{1,100}", name) is None:
        return spec
    file = paths.configs() / "tasks" / f"{name}.yaml"
    return get_task(str(file)) if file.is_file() else None


def _is_path(name: str) -> bool:
    return (
        name.endswith((".yaml", ".yml"))
        or "/" in name
        or os.sep in name
        or (name != "" and os.path.lexists(Path(name) / TASK_FILE))
    )
