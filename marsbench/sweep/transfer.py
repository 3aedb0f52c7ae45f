"""Evaluations of a suite's finished runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from marsbench.base.errors import ConfigError, NothingYetError
from marsbench.evaluate.settings import Settings
from marsbench.models.own.calling import place_of
from marsbench.sweep.planner import State, plan_sweep
from marsbench.sweep.words import Asked


@dataclass(frozen=True)
class Job:
    """Finished runs to evaluate with equal settings.

    Attributes:
        runs: Their ids.
        settings: The settings.
    """

    runs: tuple[str, ...]
    settings: Settings


@dataclass(frozen=True)
class Jobs:
    """Evaluations of a suite.

    Attributes:
        jobs: Its finished runs, by target and settings.
        unfinished: Number of runs without a record.
    """

    jobs: tuple[Job, ...]
    unfinished: int


PLACE = ("source", "root", "size", "revision")
"""Keys of the place of data, which runs and evaluations of a suite share."""


def jobs_of(asked: Asked, given: Mapping[str, Any]) -> Jobs:
    """List the evaluations of a suite, narrowed as a sweep.

    Args:
        asked: The suite.
        given: Further keys of evaluations, which override those of the suite.

    Raises:
        ConfigError: If the suite has no evaluations.
        NothingYetError: If none of its runs has finished.
    """
    if not asked.suite.evaluate:
        raise ConfigError(
            f"Suite {asked.suite.name} has no evaluations.",
            "Name runs, or a suite with evaluations, such as suite=cross_domain.",
        )
    plan = plan_sweep(asked.runs, asked.store, download=False)
    done = [run for run in plan.runs if run.state is State.DONE]
    if not done:
        raise NothingYetError(
            f"No run of suite {asked.suite.name} in {asked.store.root} has finished.",
            f"`marsbench sweep suite={asked.suite.name}` trains them; give both the same keys.",
        )
    jobs: dict[Settings, dict[str, None]] = {}
    for transfer in asked.suite.evaluate:
        for run in done:
            if run.config.task not in transfer.task:
                continue
            for target in transfer.target:
                if target == run.config.task:
                    continue
                values = {"task": target, "store": str(asked.store.root)}
                if target is not None:
                    values |= {key: getattr(run.config, key) for key in PLACE}
                if place_of(run.config.model) is not None:
                    values["model"] = run.config.model
                values |= {**transfer.settings, **given}
                settings = Settings.from_dict(values)
                jobs.setdefault(settings, {})[run.run_id] = None
    return Jobs(
        tuple(Job(tuple(runs), settings) for settings, runs in jobs.items()),
        len(plan.runs) - len(done),
    )
