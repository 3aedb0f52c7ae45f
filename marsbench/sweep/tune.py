"""Hyperparameter search by validation loss: a grid, random settings or Optuna."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from marsbench.base import paths
from marsbench.base.documents import read_yaml
from marsbench.base.errors import (
    ConfigError,
    DeviceLostError,
    MarsbenchError,
    NotAvailableError,
    unknown_name,
)
from marsbench.base.keys import flatten, nest
from marsbench.base.paths import expanded
from marsbench.base.progress import steps
from marsbench.config.schema import RunConfig
from marsbench.plan.resolve import Resolver
from marsbench.plan.tuned import KEYS, Choice
from marsbench.results.record import RunRecord
from marsbench.results.store import FAILED, Store
from marsbench.sweep.launchers.settings import LauncherSettings, get_launcher
from marsbench.sweep.planner import plan_sweep
from marsbench.sweep.suites import canonical
from marsbench.sweep.units import SWEEPS, write_plan

TRIALS = ".tuning"
"""Folder in a store for the runs of a search, which reports do not read."""

TOGETHER = 32
"""Settings per Optuna proposal if heads are fitted together."""


class Search(StrEnum):
    """Search strategy."""

    GRID = "grid"
    RANDOM = "random"
    OPTUNA = "optuna"


@dataclass(frozen=True)
class Tuning:
    """Search for a task, model and mode.

    Attributes:
        base: Config whose settings are searched.
        space: Values to try, by key.
    """

    base: RunConfig
    space: Mapping[str, tuple[Any, ...]]

    def settings(self, trials: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
        """Settings of the grid, or `trials` random ones."""
        names = list(self.space)
        grid = [
            dict(zip(names, values, strict=True))
            for values in itertools.product(*self.space.values())
        ]
        if trials is None or trials >= len(grid):
            return grid
        drawn = np.random.default_rng(seed).permutation(len(grid))[:trials]
        return [grid[int(i)] for i in np.sort(drawn)]

    def configs(self, trials: int | None = None) -> list[RunConfig]:
        """Configs of `settings`."""
        return [self.config(setting) for setting in self.settings(trials)]

    def config(self, setting: Mapping[str, Any]) -> RunConfig:
        """Config of a setting."""
        config = self.base
        for group, values in nest(setting).items():
            inner = getattr(config, group)
            config = dataclasses.replace(config, **{group: dataclasses.replace(inner, **values)})
        return config


def space_names() -> list[str]:
    """Names of the shipped spaces."""
    return sorted(path.stem for path in (paths.configs() / "space").glob("*.yaml"))


def load_space(name: str, changes: Mapping[str, Sequence[str]]) -> dict[str, tuple[Any, ...]]:
    """Read a search space.

    Args:
        name: Name of a shipped space, or path of a YAML file.
        changes: Values by key, as typed; they replace or extend the space.

    Returns:
        Values to try, by key.

    Raises:
        ConfigError: If the space is not found or a value is invalid.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = expanded(name)
    elif name in space_names():
        path = paths.configs() / "space" / f"{name}.yaml"
    else:
        hint = "Or give the path of a YAML file: --space ./my.yaml."
        raise unknown_name("space", name, space_names(), hint)
    try:
        content = read_yaml(path).values
        values = {str(k): list(v) for k, v in content.items() if k != "description"}
    except (TypeError, AttributeError) as error:
        raise ConfigError(
            f"The space {path} is invalid: {error}.", "Map keys to lists of values."
        ) from error
    return space_of({**values, **changes}, f"The space {path}")


def space_of(values: Mapping[str, Sequence[Any]], name: str) -> dict[str, tuple[Any, ...]]:
    """Check the values of a search space.

    Args:
        values: Values to try, by key.
        name: Name of the space, for messages.

    Raises:
        ConfigError: If a key or value is invalid.
    """
    if odd := [key for key in values if key not in KEYS]:
        raise ConfigError(
            f"{name} has unknown keys: {', '.join(odd)}.",
            f"Choose from: {', '.join(KEYS)}.",
        )
    space = {}
    for key, typed in values.items():
        space[key] = tuple(dict.fromkeys(v for text in typed for v in canonical(key, text)))
    if empty := [key for key, choices in space.items() if not choices]:
        raise ConfigError(
            f"{name} has no values for {', '.join(empty)}.",
            "Add values, or remove the keys.",
        )
    return space


def check_search(search: str, trials: int | None) -> None:
    """Check a search strategy and its number of settings.

    Raises:
        ConfigError: If the strategy is unknown, or `trials` does not go with it.
    """
    if search not in list(Search):
        raise unknown_name("search", search, list(Search))
    if (search == Search.GRID) is not (trials is None) or (trials is not None and trials < 1):
        raise ConfigError(
            f"--search {search} {'excludes' if search == Search.GRID else 'needs'} --trials.",
            "Give --trials of 1 or more with random and optuna only; grid tries all settings.",
        )


def tunings_of(configs: Iterable[RunConfig], space: Mapping[str, tuple[Any, ...]]) -> list[Tuning]:
    """Searches over the settings of some runs, whose records stay apart from those of results."""
    bases = [
        dataclasses.replace(
            config,
            task=canonical("task", config.task)[0],
            store=str(expanded(config.store).absolute() / TRIALS),
            root=_absolute(config.root),
            weights=_absolute(config.weights),
            save_model=False,
            pictures=False,
            logger=dataclasses.replace(config.logger, csv=False),
        )
        for config in configs
    ]
    return [Tuning(base, space) for base in dict.fromkeys(bases)]


def _absolute(place: str | None) -> str | None:
    """Absolute path for workers with another working directory; URLs stay."""
    if place is None or "://" in place:
        return place
    return str(expanded(place).absolute())


Tried = list[tuple[Tuning, list[RunConfig]]]
"""Searches with the configs of their settings."""


def searched(
    tunings: Sequence[Tuning],
    search: str,
    trials: int | None,
    settings: LauncherSettings,
    resolver: Resolver,
    note: Callable[[str], None],
) -> Tried:
    """Train the settings of searches, with a launcher, or with Optuna in this process.

    Args:
        tunings: The searches.
        search: Strategy, checked by `check_search`.
        trials: Number of settings to try; None for the whole grid.
        settings: Settings of the launcher.
        resolver: Resolver of the runs.
        note: Called with remarks for the user.
    """
    if search == Search.OPTUNA and trials is not None:
        return [(tuning, search_with_optuna(tuning, trials, resolver)) for tuning in tunings]
    tried = [(tuning, tuning.configs(trials)) for tuning in tunings]
    _train(tried, settings, note)
    return tried


def _train(tried: Tried, settings: LauncherSettings, note: Callable[[str], None]) -> None:
    """Train the remaining runs of searches with a launcher."""
    for store in dict.fromkeys(tuning.base.store for tuning, _ in tried):
        runs = {
            config: f"{tuning.base.task} {tuning.base.model} {tuning.base.mode}"
            for tuning, configs in tried
            for config in configs
            if tuning.base.store == store
        }
        plan = plan_sweep(runs, Store(store), report=note)
        for reason in dict.fromkeys(run.reason for run in plan.runs if run.reason):
            note(f"Left out: {reason}")
        if plan.units:
            folder, files = write_plan(plan, Path(store) / SWEEPS, "tune", settings.name)
            get_launcher(settings.name, settings).launch(folder, files)


def chosen(tried: Tried, resolver: Resolver) -> tuple[list[Choice], int]:
    """Choices of the finished searches, and the number of runs that remain in the others."""
    choices, left = [], 0
    for tuning, configs in tried:
        choice, waiting = choose(tuning, configs, resolver)
        left += waiting
        if choice is not None and not waiting:
            choices.append(choice)
    return choices, left


def carry_out(configs: Sequence[RunConfig], resolver: Resolver) -> Iterator[RunRecord | None]:
    """Train runs in this process, runs with shared features together.

    Yields:
        Record of each run in order; None for a failed run, whose failure the store holds.
    """
    from marsbench.training import runner
    from marsbench.training.frozen import bank

    plans = [resolver.resolve(config) for config in configs]
    records: dict[str, RunRecord] = {}
    together = [plan for plan in plans if plan.fits_heads]
    for plan, outcome in bank.run_bank(together):
        if not isinstance(outcome, MarsbenchError):
            records[plan.run_id] = outcome.record
    for plan in plans:
        if not plan.fits_heads:
            try:
                records[plan.run_id] = runner.run(plan).record
            except DeviceLostError:
                raise
            except MarsbenchError:
                # A bad setting may diverge; the store then holds the failure.
                if not (Store(plan.config.store).folder(plan.run_id) / FAILED).exists():
                    raise
        yield records.get(plan.run_id)


def search_with_optuna(tuning: Tuning, trials: int, resolver: Resolver) -> list[RunConfig]:
    """Search settings with Optuna's tree-structured Parzen estimator.

    A repeated search proposes the same settings, so that it resumes after an interruption.

    Args:
        tuning: The search.
        trials: Number of settings to try.
        resolver: Resolver of the runs.

    Returns:
        Configs tried, in order.

    Raises:
        NotAvailableError: If Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise NotAvailableError(
            "--search optuna needs the package optuna, which is not installed.",
            "Install it with: pip install marsbench[tune]",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=min(10, trials))
    study = optuna.create_study(sampler=sampler, direction="minimize")
    is_cached = resolver.plan_of(tuning.base).fits_heads
    tried: list[RunConfig] = []
    with steps(f"Tuning {tuning.base.task} {tuning.base.model}", trials) as advance:
        while len(tried) < trials:
            count = min(TOGETHER if is_cached else 1, trials - len(tried))
            asked = [study.ask() for _ in range(count)]
            configs = [
                tuning.config(
                    {
                        # Indices, since Optuna stores plain values only.
                        key: values[trial.suggest_int(key, 0, len(values) - 1)]
                        for key, values in tuning.space.items()
                    }
                )
                for trial in asked
            ]
            for trial, record in zip(asked, carry_out(configs, resolver), strict=True):
                if record is None:
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
                else:
                    study.tell(trial, loss_of(record))
            tried += configs
            advance(count)
    return tried


def choose(
    tuning: Tuning, configs: Iterable[RunConfig], resolver: Resolver
) -> tuple[Choice | None, int]:
    """Choose the setting with the lowest validation loss.

    Args:
        tuning: The search.
        configs: Configs tried.
        resolver: Resolver of the runs.

    Returns:
        The choice, None if no run has finished; and the number of runs neither finished nor
        failed.
    """
    store = Store(tuning.base.store)
    best: tuple[float, RunConfig, RunRecord] | None = None
    done = failed = left = 0
    for config in dict.fromkeys(configs):
        run_id = resolver.run_id(config)
        record = store.find(run_id)
        if record is None:
            has_failed = (store.folder(run_id) / FAILED).exists()
            failed, left = failed + has_failed, left + (not has_failed)
            continue
        done += 1
        if best is None or loss_of(record) < best[0]:
            best = (loss_of(record), config, record)
    if best is None:
        return None, left
    loss, config, record = best
    values = flatten(config.to_dict())
    return Choice(
        task=record.task,
        model=record.model,
        mode=record.mode,
        set={key: values[key] for key in tuning.space},
        loss=loss,
        tried=done + failed,
        failed=failed,
        protocol=record.protocol,
        run=record.run_id,
        searched={key: [_plain(v) for v in values] for key, values in tuning.space.items()},
    ), left


def loss_of(record: RunRecord) -> float:
    """Validation loss of a run's checkpoint.

    Raises:
        ConfigError: If the checkpoint was not chosen on validation.
    """
    if "value" not in record.checkpoint:
        raise ConfigError(
            f"The checkpoint of {record.run_id} was not chosen on validation.",
            "Use trainer.checkpoint=best, a val split, and an optimiser with epochs.",
        )
    return float(record.checkpoint["value"])


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, StrEnum) else value
