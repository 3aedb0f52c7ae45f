"""Small records and suites for tests of sweeps."""

from pathlib import Path
from typing import Any

import yaml

from marsbench.config.schema import RunConfig
from marsbench.plan.resolve import Resolver
from marsbench.results.record import RunRecord
from marsbench.results.store import Store, now

TINY = {"source": "demo", "size": 0.02, "workers": 0, "save_model": False, "logger.csv": False}
"""Keys of runs on next to no data."""


def write_suite(path: Path, *grids: dict[str, Any], **keys: Any) -> str:
    """Write a suite of one's own; gives its path."""
    content = {"description": "A suite of a test.", "set": {**TINY, **keys}, "grids": list(grids)}
    path.write_text(yaml.safe_dump(content))
    return str(path)


def record_of(config: RunConfig, resolver: Resolver, seconds: float = 1.0) -> RunRecord:
    """Make the record of a run that nobody trained."""
    plan = resolver.resolve(config)
    return RunRecord(
        run_id=plan.run_id,
        task=plan.task.name,
        kind=str(plan.task.kind),
        model=plan.model.name,
        mode=str(config.mode),
        subset=config.subset,
        seed=config.seed,
        protocol=str(plan.protocol),
        headline=plan.task.headline_metric,
        metrics={"val": {}, "test": {plan.task.headline_metric: 0.5}},
        config=config.to_dict(),
        identity=plan.identity,
        data={"num_train": plan.num_samples["train"]},
        weights=None,
        checkpoint={},
        timing={"data": 0.0, "train": seconds, "eval": 0.0},
        peak_memory={},
        parameters={},
        device="cpu",
        environment={},
        git=None,
        created=now(),
    )


def finish(store: Store, record: RunRecord) -> None:
    """Put a record into a store as a run does."""
    with store.claim(record.run_id):
        store.finish(record)
