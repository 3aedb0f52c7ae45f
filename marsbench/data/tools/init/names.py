"""Names of classes and tasks."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from marsbench.base.errors import ConfigError, DataError, some
from marsbench.base.names import display_name
from marsbench.base.text import is_formula
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.spec import normalise


def named_classes(held: Sequence[str], names: Sequence[str], where: str) -> list[str]:
    """Names of the classes by id.

    Args:
        held: Names in the data.
        names: Names given by the user, in the order of their ids; empty takes those of the data.
        where: Place of the names in the data, for messages, such as ``folders of X``.

    Raises:
        DataError: If a name has no letter or digit or is a formula in spreadsheets, or two differ
            in case and punctuation alone.
        ConfigError: If given names differ from those of the data.
    """
    for known in (held, names):
        _check_names(known, where)
    if not names:
        return list(held)
    spellings = {normalise(name) for name in names}
    if missing := [name for name in held if normalise(name) not in spellings]:
        raise ConfigError(
            f"The {where} name {some(missing)}, but the classes given are {some(names, count=20)}.",
            f"Name all of them: --classes {','.join(held)}, or in task.yaml with --update.",
        )
    owners = {normalise(name): name for name in held}
    if unknown := [name for name in names if normalise(name) not in owners]:
        raise ConfigError(
            f"The class(es) {some(unknown)} are given, but no {where} name them.",
            f"The {where} are named {some(held, count=50)}.",
        )
    return [owners[normalise(name)] for name in names]


def _check_names(names: Sequence[str], where: str) -> None:
    owners: dict[str, str] = {}
    for name in names:
        key = normalise(name)
        if not key:
            raise DataError(
                f"The name of a class, '{display_name(name)}', has no letter or digit ({where}).",
                "Rename it.",
            )
        if is_formula(name):
            raise DataError(
                f"The name of a class, '{display_name(name)}', is a formula in spreadsheets "
                f"({where}).",
                "Rename it: begin with a letter or digit.",
            )
        if (other := owners.setdefault(key, name)) != name:
            raise DataError(
                f"Two classes, '{other}' and '{name}', have names that differ in case or "
                f"punctuation alone ({where}).",
                "Rename one of them, or move their images into one folder.",
            )
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise DataError(f"The class '{twice[0]}' is named twice ({where}).", "Keep one.")


def task_name(name: str | None, folder: Path, taken: Collection[str] = TASKS) -> str:
    """Name of a task: the given name, else the name of its folder in small letters.

    Raises:
        ConfigError: If the name has other characters than small letters, digits and _, or is the
            name of a task of the catalogue.
    """
    own = folder.resolve().name
    slug = re.sub(r"[^a-z0-9]+", "_", (name or own).lower()).strip("_")
    if not slug or (name is not None and slug != name):
        raise ConfigError(
            f"The name of the task, '{name or own}', has other characters than a-z, 0-9 and _.",
            f"Add --name {slug or 'my_task'}.",
        )
    if slug in taken:
        raise ConfigError(
            f"'{slug}' is the name of a task of the catalogue.", f"Add --name my_{slug}."
        )
    return slug
