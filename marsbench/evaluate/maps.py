"""Maps of classes between tasks, in YAML.

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
from pathlib import Path
from typing import Any

from marsbench.base import paths
from marsbench.base.documents import read_yaml
from marsbench.base.errors import ConfigError, some, unknown_name
from marsbench.base.values import Problem, build
from marsbench.tasks.spec import TaskSpec, normalise

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
        """Name of the class in scores: that of the target, several joined."""
        return " + ".join(self.second)


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


def map_of(trained_on: TaskSpec, task: TaskSpec, file: str | None) -> tuple[str, Map] | None:
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


class Side:
    """Classes of a side, for the check of a map.

    Args:
        spec: The task.
        names: Its class names.
    """

    def __init__(self, spec: TaskSpec, names: Sequence[str]) -> None:
        self.spec, self.names = spec, names
        known = spellings(spec, names)
        self._known = {spelling: name for name in names for spelling in known[name]}
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


def checked(
    where: str, chosen: Map, first: Side, second: Side
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


def spellings(spec: TaskSpec, names: Sequence[str]) -> dict[str, set[str]]:
    """Normalised names and aliases of each class."""
    aliases = {c.name: c.aliases for c in spec.classes}
    return {name: {normalise(s) for s in (name, *aliases.get(name, ()))} for name in names}
