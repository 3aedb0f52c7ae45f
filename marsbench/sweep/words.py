"""``KEY=VALUE`` words of ``marsbench sweep`` and ``marsbench status``."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marsbench.base import keys
from marsbench.base.errors import ConfigError
from marsbench.base.paths import expanded
from marsbench.config.renamed import VIEWS
from marsbench.config.schema import RunConfig, check_key
from marsbench.plan.tuned import KEYS
from marsbench.results.store import Store
from marsbench.sweep.launchers.settings import LauncherSettings, load_settings
from marsbench.sweep.suites import Suite, expand, load_suite, narrowed

SUITE, LAUNCHER = "suite", "launcher"


@dataclass(frozen=True)
class Asked:
    """Requested sweep.

    Attributes:
        suite: Restricted suite.
        runs: Its runs, each with the name of its grid.
        settings: Settings of the launcher.
        store: Store of the records.
        words: Given words, including choices of groups.
        fixed: Keys of all runs.
    """

    suite: Suite
    runs: dict[RunConfig, str]
    settings: LauncherSettings
    store: Store
    words: tuple[str, ...]
    fixed: Mapping[str, Any]


def read_words(
    pairs: Sequence[tuple[str, str]], chosen: Sequence[str], groups: Mapping[str, Any]
) -> Asked:
    """Read the words of a sweep.

    Args:
        pairs: Keys and values, as given.
        chosen: Keys of `pairs` with choices of groups, such as ``trainer=quick``.
        groups: Keys set by these groups; `pairs` take precedence.

    Raises:
        ConfigError: If a word is invalid.
    """
    given: dict[str, str] = {}
    for key, value in pairs:
        if key in given:
            raise ConfigError(f"'{key}' is given twice.", "Give several values as A,B.")
        given[key] = value
    given = {key: value for key, value in given.items() if key not in chosen}
    name = given.pop(SUITE, "")
    if not name:
        raise ConfigError(
            "No suite is given: add suite=NAME.", "`marsbench list suites` shows them."
        )
    suite = load_suite(name)
    settings, given = read_launcher(given)
    axes = suite.axes
    wanted = {key: given.pop(key).split(",") for key in list(given) if key in axes}
    for key in given:
        check_key(key, (SUITE, LAUNCHER))
    if both := sorted(set(groups) & set(axes)):
        raise ConfigError(
            f"The chosen groups set {', '.join(both)}, which suite {suite.name} varies.",
            f"Leave them out, and narrow the suite: {both[0]}=A,B.",
        )
    fixed = {**groups, **given}
    suite = narrowed(suite, wanted) if wanted else suite
    store = Store(expanded(str(fixed.get("store", RunConfig().store))).absolute())
    runs = expand(suite, {**fixed, **_absolute(fixed), "store": str(store.root)})
    words = tuple(f"{key}={value}" for key, value in pairs)
    return Asked(suite, runs, settings, store, words, fixed)


def pairs_of(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Keys and values of Python as the pairs of a command line.

    Args:
        values: Values by key, groups nested or dotted; lists name several values.
    """
    pairs = []
    for key, value in keys.flatten(values).items():
        items = value if isinstance(value, list | tuple) else [value]
        pairs.append((key, ",".join(map(_text, items))))
    return pairs


def read_launcher(words: Mapping[str, str]) -> tuple[LauncherSettings, dict[str, str]]:
    """Separate the launcher's settings (``launcher=``, ``launcher.KEY=``) from the other words.

    Raises:
        ConfigError: If a setting is invalid.
    """
    given = {key: value for key, value in words.items() if keys.split(key)[0] == LAUNCHER}
    choice = given.pop(LAUNCHER, "local")
    settings = load_settings(choice, {keys.split(key)[1]: value for key, value in given.items()})
    return settings, {k: v for k, v in words.items() if keys.split(k)[0] != LAUNCHER}


def _absolute(fixed: Mapping[str, Any]) -> dict[str, str]:
    """Make paths absolute, since workers start in other folders."""
    paths = {}
    for key in ("root", "weights"):
        value = fixed.get(key)
        if isinstance(value, str) and value and "://" not in value:
            paths[key] = str(expanded(value).absolute())
    return paths


def read_shard(text: str | None) -> tuple[int, int]:
    """Parse a shard ``I/N``; None is the whole sweep.

    Raises:
        ConfigError: If the text is not a shard.
    """
    if text is None:
        return 1, 1
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(
            f"--shard is {text}; expected I/N, from 1/N to N/N.", "For example --shard 2/8."
        )
    return int(match[1]), int(match[2])


def run_command(config: RunConfig) -> str:
    """Command line of a run."""
    # Written for every run, even at their defaults.
    named = {key: getattr(config, key) for key in ("task", "model", "mode", "subset", "seed")}
    values = {**named, **differing(config)}
    if values.pop("hparams", None) is not None:
        # Tuned keys are written in full, since a missing key would be filled in.
        values |= {key: keys.get(config, key) for key in KEYS}
    words = [f"{key}={_text(value)}" for key, value in values.items()]
    return shlex.join(["marsbench", "run", *words])


def unit_command(runs: Sequence[RunConfig], asked: Asked, *, retry_failed: bool = False) -> str:
    """Command line of a unit of runs with shared features."""
    first = runs[0]
    # Restricting a key would drop grids without this axis.
    grids = asked.suite.grids
    varied = [key for key in asked.suite.axes if all(key in grid.axes for grid in grids)]
    names = [key for key in varied if key not in ("subset", "seed")]
    chosen = {key: dict.fromkeys(_text(_value(run, key)) for run in runs) for key in names}
    given = [word for word in asked.words if word.partition("=")[0] not in names]
    kept = [word for word in given if keys.split(word.partition("=")[0])[0] != LAUNCHER]
    words = [f"{key}={','.join(values)}" for key, values in chosen.items()]
    if not any(word.startswith("store=") for word in kept):
        words.append(f"store={first.store}")
    options = ["--retry-failed"] if retry_failed else []
    return shlex.join(["marsbench", "sweep", *kept, *words, *options])


def differing(config: RunConfig) -> dict[str, Any]:
    """Dotted keys with other values than the default."""
    default = keys.flatten(RunConfig().to_dict())
    values = keys.flatten(config.to_dict())
    return {key: value for key, value in values.items() if value != default[key]}


def _value(config: RunConfig, key: str) -> Any:
    return config.views or 1 if key == VIEWS else keys.get(config, key)


def _text(value: Any) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
