"""Classes of a model and of another task, matched by name or by a map."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import ConfigError, some
from marsbench.config.identity import digest
from marsbench.evaluate.maps import Match, Names, Side, checked, map_of, spellings
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import BACKGROUND, TaskSpec, normalise


@dataclass(frozen=True)
class Classes:
    """Classes of a model and of a target, matched.

    Attributes:
        source: Names of the model's classes by id.
        target: Names of the target's classes by id.
        matches: Matching classes, in the order of the target's ids.
        ignored: Classes of the model that do not compete.
        kind: Kind by which the target is scored.
    """

    source: Names
    target: Names
    matches: tuple[Match, ...]
    ignored: Names
    kind: Kind

    @cached_property
    def names(self) -> Names:
        """Classes in predictions: those of the matches, then competing classes of the model."""
        matched = [match.name for match in self.matches]
        others = [name for k, name in enumerate(self.source) if self.of_source[k] >= len(matched)]
        return (*matched, *(f"{n} (not matched)" if n in matched else n for n in others))

    @property
    def num_scored(self) -> int:
        """Number of the first classes in `names` that a target sample can have."""
        return len(self.matches)

    @cached_property
    def of_source(self) -> NDArray[np.int64]:
        """Position in `names` of each class of the model, -1 if it does not compete: (K,)."""
        ids = _positions(self.source, [match.first for match in self.matches])
        # Labels of a multilabel target do not compete.
        if self.kind is Kind.MULTILABEL:
            return ids
        competing = [k for k in np.flatnonzero(ids < 0) if self.source[k] not in self.ignored]
        ids[competing] = len(self.matches) + np.arange(len(competing))
        return ids

    @cached_property
    def of_target(self) -> NDArray[np.int64]:
        """Position in `names` of each class of the target, -1 without a counterpart: (K,)."""
        return _positions(self.target, [match.second for match in self.matches])

    @property
    def is_identical(self) -> bool:
        """Whether each class has exactly one counterpart of the same name."""
        return len(self.matches) == len(self.source) == len(self.target) and all(
            len(m.first) == len(m.second) == 1 and m.first == m.second for m in self.matches
        )

    @property
    def is_one_to_one(self) -> bool:
        """Whether each class has exactly one counterpart."""
        return len(self.matches) == len(self.source) == len(self.target)

    @property
    def counterparts(self) -> dict[str, Any]:
        """Class of the model by class of the target: a name, several names, or None."""
        by_name: dict[str, Any] = dict.fromkeys(self.target)
        for match in self.matches:
            chosen = match.first[0] if len(match.first) == 1 else list(match.first)
            by_name |= dict.fromkeys(match.second, chosen)
        return by_name

    @property
    def digest(self) -> str | None:
        """Digest for ids; None if the classes are identical."""
        if self.is_identical:
            return None
        matches = sorted([sorted(m.first), sorted(m.second)] for m in self.matches)
        return digest({"matches": matches, "ignored": sorted(self.ignored)})[:16]


def _positions(names: Names, groups: Sequence[Names]) -> NDArray[np.int64]:
    """Position of the group of each name, -1 for none."""
    known = {name: i for i, group in enumerate(groups) for name in group}
    return np.array([known.get(name, -1) for name in names], dtype=np.int64)


def match_classes(
    trained_on: TaskSpec,
    source: Sequence[str],
    task: TaskSpec,
    target: Sequence[str],
    file: str | None = None,
) -> Classes:
    """Match the classes of a model with those of a target.

    Args:
        trained_on: Task of the model.
        source: Its class names by id.
        task: The target.
        target: Its class names by id.
        file: YAML of a map; None for the shipped map of the tasks, else by names and aliases.

    Raises:
        ConfigError: If a map is invalid or of other tasks, or if no class has a counterpart.
    """
    ignored: Names = ()
    found = map_of(trained_on, task, file)
    if found is None:
        matches = _by_name(trained_on, source, task, target)
    else:
        where, chosen = found
        sides = (Side(trained_on, source), Side(task, target))
        matches, ignored = checked(where, chosen, *sides)
    if not {name for match in matches for name in match.second if normalise(name) != BACKGROUND}:
        raise ConfigError(
            f"No class of {task.name} has a counterpart among the classes of {trained_on.name}: "
            f"{some(source)}.",
            "Name matching classes in a YAML, class_map=FILE (docs/evaluate.md).",
        )
    order = {name: i for i, name in enumerate(target)}
    matches.sort(key=lambda match: min(order[name] for name in match.second))
    if trained_on.kind is Kind.MULTILABEL:
        # Labels do not exclude each other, so those without a counterpart are no error.
        matched = {name for match in matches for name in match.first}
        ignored = tuple(name for name in source if name not in matched)
    classes = Classes(tuple(source), tuple(target), tuple(matches), ignored, task.kind)
    if task.kind is Kind.BINARY and len(classes.names) != 2:
        classes = Classes(classes.source, classes.target, classes.matches, ignored, Kind.MULTICLASS)
    if len(classes.names) == 1 and task.kind not in (Kind.MULTILABEL, Kind.DETECTION):
        raise ConfigError(
            f"{classes.names[0]} is the only class of {task.name} and {trained_on.name} that "
            "counts, so every prediction would be right.",
            "Match further classes in class_map=FILE, or ignore fewer.",
        )
    return classes


def _by_name(
    trained_on: TaskSpec, source: Sequence[str], task: TaskSpec, target: Sequence[str]
) -> list[Match]:
    if list(source) == list(target):
        return [Match((name,), (name,)) for name in target]
    mine, theirs = spellings(trained_on, source), spellings(task, target)
    pairs = [(a, b) for b in target for a in source if mine[a] & theirs[b]]
    for which, spec in ((0, trained_on), (1, task)):
        names = [pair[which] for pair in pairs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(
                f"{twice[0]} of {spec.name} matches several classes by name or alias.",
                "Match the classes in a YAML, class_map=FILE.",
            )
    return [Match((a,), (b,)) for a, b in pairs]
