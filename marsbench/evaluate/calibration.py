"""Temperature scaling of finished runs, from their stored predictions and without their models."""

import time
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from marsbench.base.environment import git_state, peak_host_memory, versions
from marsbench.base.errors import ConfigError, StoreError
from marsbench.base.reading import is_missing
from marsbench.config.identity import run_id
from marsbench.evaluate.parents import Parent
from marsbench.evaluate.robustness import gap
from marsbench.evaluate.settings import TEMPERATURE, Settings
from marsbench.metrics import scoring
from marsbench.metrics.calibration import Floats, brier, ece
from marsbench.metrics.temperature import fit_temperature, log_loss, scaled
from marsbench.results.ensemble.members import read_member
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS, now
from marsbench.tasks.kinds import Kind

FITTED_ON = "val"

_WITHOUT_EFFECT = ("calibrate", "store")
"""Keys that go with calibrate; all others concern other data or the model."""

_COLUMNS = ("instrument", "meta")
"""Columns of predictions to repeat."""


def check_settings(settings: Settings) -> None:
    """Refuse keys that do not go with ``calibrate``.

    Raises:
        ConfigError: If there are any.
    """
    usual = Settings()
    names = [item.name for item in fields(Settings) if item.name not in _WITHOUT_EFFECT]
    if other := [name for name in names if getattr(settings, name) != getattr(usual, name)]:
        raise ConfigError(
            f"calibrate={settings.calibrate} takes the stored predictions of a run on its own "
            f"data, not {other[0]}={getattr(settings, other[0])}.",
            f"Leave out {', '.join(f'{name}=' for name in other)}.",
        )


@dataclass(frozen=True)
class Scaling:
    """A run to calibrate by a temperature.

    Attributes:
        parent: The run.
    """

    parent: Parent

    @property
    def identity(self) -> dict[str, Any]:
        """Choices with an effect on the score."""
        record = self.parent.record
        return {
            "parent": record.run_id,
            "task": record.task,
            "data_revision": record.data.get("revision"),
            "calibration": TEMPERATURE,
        }

    @cached_property
    def run_id(self) -> str:
        """``TASK/model/mode/subset/seed-HASH``."""
        record = self.parent.record
        choices = (record.task, record.model, record.mode, record.subset, record.seed)
        return run_id(*choices, self.identity)

    def check(self) -> None:
        """Refuse runs that cannot be calibrated.

        Raises:
            ConfigError: If the run is not of labels, or has no predictions of val.
            StoreError: If its predictions are missing.
        """
        record = self.parent.record
        if not Kind(record.kind).is_classification:
            raise ConfigError(
                f"Runs of {record.kind} tasks such as {record.run_id} are not calibrated.",
                "Name runs of classification tasks.",
            )
        if FITTED_ON not in record.metrics or record.scored_split == FITTED_ON:
            raise ConfigError(
                f"{record.run_id} has no predictions of {FITTED_ON}, to which a temperature is "
                "fitted.",
                f"Name runs on data with a {FITTED_ON} split.",
            )
        if is_missing(self.parent.folder / PREDICTIONS):
            raise StoreError(
                f"{record.run_id} has no {PREDICTIONS}.",
                "Run it again with `marsbench run --force`.",
            )

    def carried_out(self) -> tuple[RunRecord, pd.DataFrame]:
        """Fit the temperature to val, and scale the scored split.

        Returns:
            The record, and the scaled predictions to store.

        Raises:
            MarsbenchError: If the predictions are invalid, differ from the record's metrics, or are
                answers without probabilities.
        """
        started = time.perf_counter()
        parent = self.parent.record
        table = read_member(parent, self.parent.folder)
        val, test = (table[table["split"] == name] for name in (FITTED_ON, parent.scored_split))
        kind = Kind(parent.kind)
        is_multilabel = kind is Kind.MULTILABEL
        targets, scores = scoring.SCORERS[kind].read(val, len(parent.data["classes"]))
        if np.isin(scores, (0, 1)).all():
            raise ConfigError(
                f"{parent.run_id} answers with classes, without probabilities to calibrate.",
                "Name runs of models with probabilities.",
            )
        temperature = fit_temperature(targets, scores)
        truth, given = scoring.SCORERS[kind].read(test, len(parent.data["classes"]))
        changed = scaled(given, temperature, is_multilabel=is_multilabel).astype(np.float32)
        kept = [name for name in ("split", "sample_id", "target", *_COLUMNS) if name in test]
        predictions = test[kept].assign(scores=list(changed)).reset_index(drop=True)
        facts = {
            "temperature": temperature,
            "fitted_on": FITTED_ON,
            "before": _calibration(truth, given),
            "after": _calibration(truth, changed.astype(np.float64)),
        }
        values = scoring.score(kind, predictions, parent.data["classes"])
        return self._record(values, facts, time.perf_counter() - started), predictions

    def _record(self, values: dict[str, float], facts: dict[str, Any], seconds: float) -> RunRecord:
        parent = self.parent.record
        score, own = values.get(parent.headline), parent.score
        evaluation = {
            "trained_on": parent.task,
            "classes": {name: name for name in parent.data["classes"]},
            "ignored": {},
            "bands": "none",
            "calibration": TEMPERATURE,
            **facts,
            "in_domain": own,
            "gap": gap(parent.headline, own, score),
            "ceiling": None,
            "parent_created": parent.created,
        }
        return parent.evaluated(
            run_id=self.run_id,
            metrics={parent.scored_split: values},
            identity=self.identity,
            data={**parent.data, "evaluation": evaluation},
            timing={"data": 0.0, "train": 0.0, "eval": seconds},
            peak_memory={"host": peak_host_memory()},
            device="cpu",
            environment=versions(),
            git=git_state(),
            created=now(),
        )


def _calibration(targets: Any, scores: Floats) -> dict[str, float]:
    return {
        "ece": ece(targets, scores, ()),
        "brier": brier(targets, scores, ()),
        "log_loss": log_loss(targets, scores),
    }
