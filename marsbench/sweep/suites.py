"""Suites: named sets of runs, written as grids in YAML.

A suite has a ``description``, a list of ``grids``, and optionally ``include`` (other suites) and
``set`` (keys of all its runs). A grid gives values for ``task``, ``model`` and any other key of a
run: a value, a list, or the name of a list in `marsbench.sweep.lists`. Its ``name`` labels its runs
in counts, ``set`` fixes keys, and ``exclude`` lists excluded combinations.

``evaluate`` lists evaluations of the finished runs: ``task``, the tasks of the runs, ``target``,
other tasks to evaluate them on (by default their own), and further keys of ``marsbench evaluate``.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from marsbench.base import keys, paths
from marsbench.base.documents import read_yaml
from marsbench.base.errors import ConfigError, MarsbenchError, unknown_name
from marsbench.base.paths import expanded
from marsbench.config.renamed import VIEWS, merged, renamed
from marsbench.config.schema import RunConfig, canonical_subset, check_key
from marsbench.evaluate.settings import Settings
from marsbench.models.own.calling import place_of
from marsbench.models.zoo.catalog import find_model
from marsbench.plan.tuned import filled
from marsbench.sweep.lists import LISTS
from marsbench.tasks.catalog import TASKS, get_task

AXES = ("task", "model", "mode", "subset", "seed")
"""Keys of every grid, in the order of a run's id."""

_DEFAULTS: dict[str, tuple[Any, ...]] = {"mode": ("frozen",), "subset": ("full",), "seed": (0,)}
_REPLACED = ("task", "model", "subset", "seed")
"""Axes whose values are checked once, since they are valid with any other keys."""
_ALONE = ("store", "name")
"""Keys of the whole sweep, not of single runs."""


@dataclass(frozen=True)
class Grid:
    """All combinations of some values, minus exclusions.

    Attributes:
        name: Label of its runs in counts.
        axes: Canonical values by key.
        fixed: Fixed keys of all its runs.
        exclude: Excluded combinations: values by key, all of which must match.
    """

    name: str
    axes: Mapping[str, tuple[Any, ...]]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    exclude: tuple[Mapping[str, tuple[Any, ...]], ...] = ()


@dataclass(frozen=True)
class Transfer:
    """Evaluations of a suite's finished runs.

    Attributes:
        task: Tasks of the runs.
        target: Tasks to evaluate on; None stands for the run's own.
        settings: Further keys of ``marsbench evaluate``.
    """

    task: tuple[str, ...]
    target: tuple[str | None, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """Named set of runs.

    Attributes:
        name: Name.
        description: Description in one line.
        grids: Grids, beginning with the grids of included suites.
        evaluate: Evaluations of the finished runs, likewise.
    """

    name: str
    description: str
    grids: tuple[Grid, ...]
    evaluate: tuple[Transfer, ...] = ()

    @property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """All values by key."""
        values: dict[str, dict[Any, None]] = {axis: {} for axis in AXES}
        for grid in self.grids:
            for key, axis in grid.axes.items():
                values.setdefault(key, {}).update(dict.fromkeys(axis))
        return {key: tuple(axis) for key, axis in values.items()}


def suite_names() -> list[str]:
    """Names of the shipped suites."""
    return sorted(path.stem for path in (paths.configs() / "suite").glob("*.yaml"))


def load_suite(name: str) -> Suite:
    """Read a suite.

    Args:
        name: Name of a shipped suite, or path of a YAML file.

    Raises:
        ConfigError: If the suite is unknown or invalid; the message lists all problems.
    """
    return _load(name, ())


def _load(name: str, within: tuple[str, ...]) -> Suite:
    if name in within:
        raise ConfigError(f"Suite {name} includes itself.", "Remove it from include.")
    path = expanded(name) if _is_path(name) else None
    if path is None:
        if name not in suite_names():
            raise unknown_name(
                "suite",
                name,
                suite_names(),
                "`marsbench list suites` shows all; give your own by path: suite=./my.yaml.",
            )
        path = paths.configs() / "suite" / f"{name}.yaml"
    content = read_yaml(path).values
    problems: list[str] = []
    if not isinstance(content, Mapping):
        content = {}
        problems.append("The file holds no keys.")
    allowed = ("description", "include", "set", "grids", "evaluate")
    problems += [
        f"Unknown key '{k}'; expected {', '.join(allowed)}." for k in content if k not in allowed
    ]
    included = [_load(str(other), (*within, name)) for other in _listed(content.get("include"))]
    entries = _listed(content.get("grids"))
    if not entries and not included:
        problems.append("Both grids and include are missing.")
    shared = _keys(content.get("set"), "set", problems)
    grids = [grid for suite in included for grid in suite.grids]
    for number, entry in enumerate(entries):
        grids.append(_grid(entry, f"{path.stem} {number + 1}", path, shared, problems))
    evaluate = [transfer for suite in included for transfer in suite.evaluate]
    trained = {str(task) for grid in grids for task in grid.axes.get("task", ())}
    for entry in _listed(content.get("evaluate")):
        evaluate += _transfer(entry, trained, path, problems)
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise ConfigError(f"Suite {path} is invalid:\n{listed}", "Correct the file.")
    description = str(content.get("description", ""))
    return Suite(path.stem, description, tuple(grids), tuple(evaluate))


def _is_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or "/" in name


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _keys(values: Any, where: str, problems: list[str]) -> dict[str, Any]:
    """Read the fixed keys of all runs, dotted."""
    if not isinstance(values or {}, Mapping):
        problems.append(f"'{where}' is not a mapping of keys to values.")
        return {}
    flat = keys.flatten(values or {})
    if not _check(lambda: renamed(flat), problems):
        del flat[VIEWS]
    for key in flat:
        _check(lambda key=key: check_key(key), problems)
        if key in _ALONE:
            problems.append(f"'{key}' applies to the whole sweep: give it on the command line.")
    return flat


def _grid(
    entry: Any, unnamed: str, suite: Path, shared: Mapping[str, Any], problems: list[str]
) -> Grid:
    if not isinstance(entry, Mapping):
        problems.append(f"Grid {entry!r} is not a mapping of keys to values.")
        return Grid(unnamed, {})
    name = str(entry.get("name", suite.stem))
    axes: dict[str, tuple[Any, ...]] = dict(_DEFAULTS)
    for key, value in entry.items():
        if key in ("name", "set", "exclude"):
            continue
        if key in _ALONE or not _check(lambda key=key: check_key(str(key)), problems):
            continue
        axes[str(key)] = _values(str(key), _listed(value), problems, suite.parent)
    problems += [f"Grid {name} has no {key}." for key in ("task", "model") if key not in axes]
    exclude = []
    for combination in _listed(entry.get("exclude")):
        if not isinstance(combination, Mapping) or not set(combination) <= set(axes):
            problems.append(f"Grid {name} excludes {combination!r}; expected keys of the grid.")
            continue
        exclude.append(
            {k: _values(k, _listed(v), problems, suite.parent) for k, v in combination.items()}
        )
    fixed = merged(shared, _keys(entry.get("set"), f"{name}.set", problems))
    # Axes of the grid override fixed keys.
    fixed = {key: value for key, value in fixed.items() if key not in axes}
    ordered = {key: axes[key] for key in (*AXES, *axes) if key in axes}
    return Grid(name, ordered, fixed, tuple(exclude))


def _transfer(
    entry: Any, trained: Set[str], suite: Path, problems: list[str]
) -> Iterator[Transfer]:
    """Read an entry of ``evaluate``; `trained` are the tasks of the grids."""
    if not isinstance(entry, Mapping) or "task" not in entry:
        problems.append(f"evaluate holds {entry!r}; expected a mapping with the key task.")
        return
    settings = {str(k): v for k, v in entry.items() if k not in ("task", "target")}
    _check(lambda: Settings.from_dict(settings), problems)
    if reserved := {"store", "model", "class_map"} & set(settings):
        problems.append(
            f"evaluate sets {', '.join(sorted(reserved))}: give it on the command line."
        )
    tasks = _values("task", _listed(entry["task"]), problems, suite.parent)
    target = _values("task", _listed(entry.get("target")), problems, suite.parent)
    if others := [str(task) for task in tasks if task not in trained]:
        problems.append(f"evaluate names {', '.join(others)}, which no grid trains.")
    yield Transfer(tasks, target or (None,), settings)


def _check(call: Any, problems: list[str]) -> bool:
    try:
        call()
    except ConfigError as error:
        problems.append(str(error).replace("\n", " "))
        return False
    return True


def _values(
    key: str, values: Sequence[Any], problems: list[str], folder: Path | None = None
) -> tuple[Any, ...]:
    """Canonical values of an axis, with names of lists expanded.

    Paths of custom tasks may be relative to `folder`, that of the suite, or to the working folder.
    """
    distinct: dict[Any, None] = {}
    for value in values:
        try:
            distinct.update(dict.fromkeys(canonical(key, _located(key, value, folder))))
        except MarsbenchError as error:
            problems.append(str(error).replace("\n", " "))
    return tuple(distinct)


def _located(key: str, value: Any, folder: Path | None) -> Any:
    if key == "task" and folder is not None and _is_path(str(value)):
        path = (folder / str(value)).resolve()
        return path if path.exists() else value
    return value


def canonical(key: str, value: Any) -> tuple[Any, ...]:
    """Canonical values for a value of an axis; the name of a list gives the list.

    Raises:
        ConfigError: If the value is invalid.
    """
    if isinstance(value, str) and value in LISTS.get(key, {}):
        return LISTS[key][value]
    if key == "task":
        spec = get_task(str(value))
        # Absolute paths for custom tasks, since workers start in other folders.
        known = spec.path is None and spec.name in TASKS
        return (spec.name if known else str(expanded(str(value)).absolute()),)
    if key == "model":
        return (find_model(str(value)).command,)
    if key == "subset":
        return (canonical_subset(str(value)),)
    config = RunConfig.from_dict({"task": "-", "model": "-", key: value})
    return (str(value) if key == VIEWS else keys.get(config, key),)


def narrowed(suite: Suite, wanted: Mapping[str, Sequence[str]]) -> Suite:
    """Restrict a suite to given values.

    Own encoders take the place of the suite's models, for tasks of their kinds.

    Args:
        suite: The suite.
        wanted: Values by axis, as given.

    Raises:
        ConfigError: If a value is not in the suite; the message lists its values.
    """
    axes, problems = suite.axes, list[str]()
    kept: dict[str, tuple[Any, ...]] = {}
    for key, typed in wanted.items():
        kept[key] = _values(key, typed, problems)
        if key == "model":
            suite = _with_own(suite, [v for v in kept[key] if place_of(str(v))])
            axes = suite.axes
        if odd := [str(value) for value in kept[key] if value not in axes[key]]:
            has = ", ".join(str(value) for value in axes[key])
            problems.append(f"Suite {suite.name} has no {key}={','.join(odd)}; it has {has}.")
    if problems:
        raise ConfigError("\n".join(problems), "Or write your own suite: suite=./my.yaml.")
    grids = []
    for grid in suite.grids:
        left = {
            key: tuple(v for v in values if key not in kept or v in kept[key])
            for key, values in grid.axes.items()
        }
        if all(left.values()) and set(kept) <= set(left):
            grids.append(replace(grid, axes=left))
    if not grids:
        words = " ".join(f"{key}={','.join(map(str, values))}" for key, values in kept.items())
        raise ConfigError(
            f"No grid of suite {suite.name} combines {words}.", "Leave one of them out."
        )
    return replace(suite, grids=tuple(grids))


def _with_own(suite: Suite, models: Sequence[str]) -> Suite:
    """Add own encoders to every grid with a task that they serve."""
    grids = []
    for grid in suite.grids:
        tasks = {str(task): get_task(str(task)).kind for task in grid.axes["task"]}
        for model in models:
            served = tuple(t for t, kind in tasks.items() if kind in find_model(model).kinds)
            if served:
                grids.append(replace(grid, axes={**grid.axes, "task": served, "model": (model,)}))
    return replace(suite, grids=(*suite.grids, *grids))


def expand(suite: Suite, extra: Mapping[str, Any]) -> dict[RunConfig, str]:
    """List the runs of a suite.

    Args:
        suite: The suite.
        extra: Keys of all runs, which override keys of the suite.

    Returns:
        Each run once, in the suite's order, with the name of its first grid.

    Raises:
        ConfigError: If a run is invalid.
    """
    runs: dict[RunConfig, str] = {}
    for grid in suite.grids:
        for config in _expand(grid, extra):
            runs.setdefault(config, grid.name)
    if not runs:
        raise ConfigError(
            f"Suite {suite.name} has no runs.", "Remove exclusions, or add values to its grids."
        )
    return runs


def _expand(grid: Grid, extra: Mapping[str, Any]) -> Iterator[RunConfig]:
    """Build the runs of a grid, checked once per choice of the other keys."""
    others = [key for key in grid.axes if key not in _REPLACED]
    first = {key: grid.axes[key][0] for key in _REPLACED}
    for chosen in itertools.product(*(grid.axes[key] for key in others)):
        choice = dict(zip(others, chosen, strict=True))
        values = merged(grid.fixed, choice, extra)
        alike = None
        if "hparams" not in values:
            alike = RunConfig.from_dict({**first, **values})
        for task, model in itertools.product(grid.axes["task"], grid.axes["model"]):
            # Tuned hyperparameters differ by task and model.
            base = alike or RunConfig.from_dict(filled({**values, "task": task, "model": model}))
            for subset, seed in itertools.product(grid.axes["subset"], grid.axes["seed"]):
                at = {"task": task, "model": model, "subset": subset, "seed": seed, **choice}
                if any(all(at[k] in v for k, v in out.items()) for out in grid.exclude):
                    continue
                yield replace(base, task=task, model=model, subset=subset, seed=seed)
