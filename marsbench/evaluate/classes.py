"""Classes of a model and of another task, matched by name or by a map in YAML.

A map holds two sides of tasks, ``first`` and ``second``, and serves both directions::

    first: [landmark_cls]
    second: [domars16k]
    matches:                       # classes that mean the same
      - {first: Crater, second: Crater}
    unmatched:                     # classes without a counterpart
      first: [Spider]
      second: [Cliff]
    ignore:                        # classes left out altogether
      first: [Other]

Every class of both sides stands once. A list on one side of a match merges classes. A class of the
target without a counterpart, or ignored, is left out: its samples, pixels or boxes do not count. A
class of the model without a counterpart competes, and its prediction is an error; an ignored one
does not compete.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base import paths
from marsbench.base.documents import read_yaml
from marsbench.base.errors import ConfigError, some, unknown_name
from marsbench.base.values import Problem, build
from marsbench.config.identity import digest
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import BACKGROUND, TaskSpec, normalise

Names = tuple[str, ...]


@dataclass(frozen=True)
class Match:
    """Classes that mean the same.

    Attributes:
        first: Classes of the model.
        second: Classes of the target.
    """

    first: Names
    second: Names

    @property
    def name(self) -> str:
        """Name of the class in scores: the target's; of several target classes the model's."""
        chosen = self.first if len(self.second) > 1 and len(self.first) == 1 else self.second
        return " + ".join(chosen)


@dataclass(frozen=True)
class Sides:
    """Classes of each side."""

    first: Names = ()
    second: Names = ()

    @property
    def turned(self) -> "Sides":
        """The sides exchanged."""
        return Sides(self.second, self.first)


@dataclass(frozen=True)
class Map:
    """Map in a YAML file; the first side is the model's once a direction is chosen.

    Attributes:
        first: Tasks of the first side.
        second: Tasks of the second side.
        matches: Matching classes.
        unmatched: Classes without a counterpart.
        ignore: Classes left out.
    """

    first: Names
    second: Names
    matches: tuple[Match, ...]
    unmatched: Sides = field(default_factory=Sides)
    ignore: Sides = field(default_factory=Sides)

    @property
    def turned(self) -> "Map":
        """The map in the other direction."""
        matches = tuple(Match(match.second, match.first) for match in self.matches)
        return Map(self.second, self.first, matches, self.unmatched.turned, self.ignore.turned)

    def directed(self, trained_on: str, task: str) -> "Map | None":
        """The map from a task to another; None if it is of other tasks."""
        if trained_on in self.first and task in self.second:
            return self
        return self.turned if trained_on in self.second and task in self.first else None


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
    found = _map_of(trained_on, task, file)
    if found is None:
        matches = _by_name(trained_on, source, task, target)
    else:
        where, chosen = found
        sides = (_Side(trained_on, source), _Side(task, target))
        matches, ignored = _checked(where, chosen, *sides)
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


# By name


def _spellings(spec: TaskSpec, names: Sequence[str]) -> dict[str, set[str]]:
    """Normalised names and aliases of each class."""
    aliases = {c.name: c.aliases for c in spec.classes}
    return {name: {normalise(s) for s in (name, *aliases.get(name, ()))} for name in names}


def _by_name(
    trained_on: TaskSpec, source: Sequence[str], task: TaskSpec, target: Sequence[str]
) -> list[Match]:
    if list(source) == list(target):
        return [Match((name,), (name,)) for name in target]
    mine, theirs = _spellings(trained_on, source), _spellings(task, target)
    pairs = [(a, b) for b in target for a in source if mine[a] & theirs[b]]
    for which, spec in ((0, trained_on), (1, task)):
        names = [pair[which] for pair in pairs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(
                f"{twice[0]} of {spec.name} matches several classes by name or alias.",
                "Match the classes in a YAML, class_map=FILE.",
            )
    return [Match((a,), (b,)) for a, b in pairs]


# By a map


def _map_of(trained_on: TaskSpec, task: TaskSpec, file: str | None) -> tuple[str, Map] | None:
    """Given or shipped map in the direction of an evaluation, with its place for messages."""
    if file is not None:
        path = paths.expanded(file)
        given = read_map(path).directed(trained_on.name, task.name)
        if given is None:
            raise ConfigError(
                f"The map {path} is not of {trained_on.name} and {task.name}.",
                "Name one of them under first, and the other under second.",
            )
        return str(path), given
    if trained_on.name == task.name:
        return None
    for path in shipped_maps():
        if (chosen := read_map(path).directed(trained_on.name, task.name)) is not None:
            return str(path), chosen
    return None


def shipped_maps() -> list[Path]:
    """Files of the shipped maps."""
    return sorted((paths.configs() / "transfer").glob("*.yaml"))


def read_map(path: Path) -> Map:
    """Read a map; its classes are not checked.

    Raises:
        ConfigError: If the file is missing or not a map.
    """
    content = read_yaml(path).values
    problems: list[Problem] = []
    values = _listed(content) if isinstance(content, Mapping) else {}
    chosen = build(Map, values, problems, strict=True)
    if chosen is None or problems:
        details = " ".join(problem.message for problem in problems)
        raise ConfigError(
            f"{path} is not a map of classes. {details}", "docs/evaluate.md shows the form."
        )
    return chosen


def _listed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Replace single names by lists, which both may stand in a file."""

    def side(values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {k: [v] if isinstance(v, str) else v or [] for k, v in values.items()}

    listed = {k: [v] if isinstance(v, str) else v for k, v in content.items()}
    for key in ("unmatched", "ignore"):
        if key in listed:
            listed[key] = side(listed[key])
    if isinstance(listed.get("matches"), list):
        listed["matches"] = [side(match) for match in listed["matches"]]
    return listed


class _Side:
    """Classes of a side, for the check of a map.

    Args:
        spec: The task.
        names: Its class names.
    """

    def __init__(self, spec: TaskSpec, names: Sequence[str]) -> None:
        self.spec, self.names = spec, names
        spellings = _spellings(spec, names)
        self._known = {s: name for name in names for s in spellings[name]}
        self._seen: list[str] = []

    def read(self, names: Collection[str], problems: list[str]) -> Names:
        """The task's own spelling of names in a map."""
        own = []
        for name in names:
            known = self._known.get(normalise(name))
            if known is None:
                error = unknown_name(f"class of {self.spec.name}", name, self.names)
                problems.append(f"{error.problem} {error.remedy}".strip())
                continue
            if known in self._seen:
                problems.append(f"{known} of {self.spec.name} stands twice.")
            self._seen.append(known)
            own.append(known)
        return tuple(own)

    def missing(self) -> Iterator[str]:
        """Problem with the classes that the map does not name, if any."""
        if names := [name for name in self.names if name not in self._seen]:
            yield f"The map misses {some(names)} of {self.spec.name}."


def _checked(
    where: str, chosen: Map, first: _Side, second: _Side
) -> tuple[list[Match], tuple[str, ...]]:
    """Check that a map names each class of both sides once; returns matches and ignored classes."""
    problems: list[str] = []
    matches = []
    for match in chosen.matches:
        if not match.first or not match.second:
            problems.append("A match has classes of one side only.")
        matches.append(
            Match(first.read(match.first, problems), second.read(match.second, problems))
        )
    ignored = first.read(chosen.ignore.first, problems)
    for side, names in (
        (first, chosen.unmatched.first),
        (second, chosen.unmatched.second),
        (second, chosen.ignore.second),
    ):
        side.read(names, problems)
    problems += [*first.missing(), *second.missing()]
    if problems:
        raise ConfigError(
            f"The map {where} is invalid. {' '.join(problems)}",
            "Name each class of both tasks once, under matches, unmatched or ignore.",
        )
    return matches, ignored
