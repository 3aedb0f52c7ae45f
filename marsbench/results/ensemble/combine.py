"""Ensembles: records of averaged predictions of finished runs, without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from marsbench.base import environment
from marsbench.base.errors import ConfigError, StoreError, some, unknown_name
from marsbench.base.files import replacing
from marsbench.config.identity import run_id
from marsbench.data.folds import OUT_OF_FOLD
from marsbench.metrics import scoring
from marsbench.models.pretraining import combined
from marsbench.results.ensemble import weights as ensemble_weights
from marsbench.results.ensemble.members import digest_of, read_member
from marsbench.results.find import check_model, find_run
from marsbench.results.record import IMPORTED, Outcome, RunRecord
from marsbench.results.store import PREDICTIONS, Store, now
from marsbench.tasks.kinds import Kind

ENSEMBLE = "ensemble"
"""Model name and record type of ensembles."""

MIXED = "mixed"
"""Mode, subset or protocol of an ensemble of runs with different values."""


class Weights(StrEnum):
    """Weighting of the runs."""

    EQUAL = "equal"
    FITTED = "fitted"


@dataclass(frozen=True)
class _Split:
    """Predictions of R runs for the N samples of a split."""

    ids: list[str]
    targets: list[Any]
    scores: ensemble_weights.Scores
    instruments: list[str] | None

    @property
    def stacked(self) -> Any:
        """Targets, (N,) or (N, K)."""
        return np.stack(self.targets)


def make_ensemble(
    runs: Sequence[str],
    store: str | Path = "runs",
    *,
    weights: str = Weights.EQUAL,
) -> Outcome:
    """Average the predictions of finished runs into a new record.

    All splits predicted by every run are averaged. Weights are fitted to the validation split, or
    with cross-validation to the other folds of each fold, and to all folds for other splits; never
    to scored samples.

    Args:
        runs: Ids, short forms of ids, or folders of at least two runs.
        store: Folder of records, also for the new record.
        weights: ``equal``, the mean of the probabilities; or ``fitted``, the weighted sum of the
            log odds with the lowest log loss.

    Raises:
        MarsbenchError: If the runs differ in task, data or samples, or are not of labels; if
            predictions do not give the metrics of their record, or have changed since the same
            ensemble was made.
    """
    if weights not in list(Weights):
        raise unknown_name("weighting", weights, list(Weights))
    opened = Store(store)
    pairs = [find_run(run, Path(store)) for run in runs]
    folders = {record.run_id: folder for record, folder in pairs}
    records = sorted({r.run_id: r for r, _ in pairs}.values(), key=lambda r: r.run_id)
    for run_id_, folder in folders.items():
        if folder.resolve() != opened.folder(run_id_).resolve():
            raise ConfigError(
                f"{folder} is outside of the store {store} of the ensemble.",
                "Name runs of a single store, and the store with --store.",
            )
    if len(folders) < 2:
        raise ConfigError("An ensemble needs at least two runs.", "Name more runs.")
    first = records[0]
    _check(records)
    choices: dict[str, Any] = {
        "members": [record.run_id for record in records],
        "kind": first.kind,
    }
    if weights == Weights.FITTED:
        choices["weights"] = {"how": weights, "version": ensemble_weights.VERSION}
    if first.train_on is not None:
        choices["train_on"] = first.train_on
    new_id = run_id(
        first.task,
        ENSEMBLE,
        _common(records, "mode"),
        _common(records, "subset"),
        0,
        choices,
    )
    tables = [read_member(record, opened.folder(record.run_id)) for record in records]
    members = {r.run_id: digest_of(t) for r, t in zip(records, tables, strict=True)}
    splits = _splits(records, tables)
    with opened.claim(new_id) as folder:
        if (existing := opened.find(new_id)) is not None:
            _check_unchanged(existing, members, folder)
            return Outcome(existing, was_done=True)
        combined, chosen = _combined(records, splits, Weights(weights))
        table, values = _scored(records, splits, combined)
        with replacing(folder / PREDICTIONS) as partial:
            table.to_parquet(partial, index=False)
        record = _record(records, new_id, choices, values, chosen, members)
        opened.finish(record)
    return Outcome(record, was_done=False)


def _check(records: Sequence[RunRecord]) -> None:
    """Refuse runs of different tasks, data or folds, and runs without labels."""
    first = records[0]
    for record in records:
        check_model(record)
        if record.record_type == IMPORTED:
            raise ConfigError(
                f"{record.run_id} is imported and has no predictions.", "Name other runs."
            )
    if not Kind(first.kind).is_classification:
        raise ConfigError(
            f"Runs of {first.kind} tasks such as {first.task} cannot be averaged.",
            "Name runs of classification tasks.",
        )
    for other in records[1:]:
        for what, a, b in (
            ("task", first.task, other.task),
            ("data", first.data["revision"], other.data["revision"]),
            ("classes", first.data["classes"], other.data["classes"]),
            ("scored split", first.scored_split, other.scored_split),
            ("folds", first.config.get("folds"), other.config.get("folds")),
            ("train_on", first.train_on, other.train_on),
        ):
            if a != b:
                raise ConfigError(
                    f"{first.run_id} and {other.run_id} differ in {what}: {a} and {b}.",
                    "Name runs of the same task and data, all with the same folds or none.",
                )


def _check_unchanged(existing: RunRecord, members: dict[str, str], folder: Path) -> None:
    """Refuse an ensemble of other predictions; ensembles of earlier versions have no digests."""
    known = existing.data.get("predictions", members)
    if changed := [run_id_ for run_id_, content in members.items() if known[run_id_] != content]:
        raise StoreError(
            f"{existing.run_id} was made of other predictions of {some(changed)}.",
            f"Remove the folder {folder}, and make the ensemble again.",
        )


def _splits(records: Sequence[RunRecord], tables: Sequence[pd.DataFrame]) -> dict[str, _Split]:
    """Gather the predictions of all splits shared by the runs."""
    splits = {}
    for name in records[0].metrics:
        if not all(name in record.metrics for record in records):
            continue
        parts = [table[table["split"] == name].sort_values("sample_id") for table in tables]
        ids = list(parts[0]["sample_id"])
        targets = list(parts[0]["target"])
        for record, part in zip(records, parts, strict=True):
            same = list(part["sample_id"]) == ids
            if not same or not np.array_equal(np.stack(list(part["target"])), np.stack(targets)):
                raise StoreError(
                    f"{record.run_id} and {records[0].run_id} differ in samples of {name}.",
                    "Run both again on the same data.",
                )
        scores = np.stack([np.stack(list(part["scores"])).astype(np.float64) for part in parts])
        instruments = [list(part["instrument"]) for part in parts if "instrument" in part]
        splits[name] = _Split(ids, targets, scores, instruments[0] if instruments else None)
    return splits


def _combined(
    records: Sequence[RunRecord], splits: dict[str, _Split], weights: Weights
) -> tuple[dict[str, ensemble_weights.Scores], dict[str, Any]]:
    """Combine the runs in every split, (N, K), and describe the weights for the record."""
    if weights is Weights.EQUAL:
        return {name: split.scores.mean(axis=0) for name, split in splits.items()}, {
            "chosen_by": "none"
        }
    kind, folds = Kind(records[0].kind), records[0].config.get("folds")
    fitted_to = OUT_OF_FOLD if folds else "val"
    if fitted_to not in splits:
        raise ConfigError(
            f"Weights are fitted to predictions of {fitted_to}, missing for some of the runs.",
            "Name other runs, or remove --weights.",
        )
    split = splits[fitted_to]
    fitted = ensemble_weights.fit_weights(kind, split.scores, split.stacked)
    combined = {
        name: ensemble_weights.combine(kind, other.scores, fitted)
        if name != fitted_to
        else ensemble_weights.cross_fitted(
            kind, split.scores, split.stacked, split.instruments, folds or ensemble_weights.PARTS
        )
        for name, other in splits.items()
    }
    by_run = {record.run_id: float(w) for record, w in zip(records, fitted, strict=True)}
    return combined, {"chosen_by": f"log loss of {fitted_to}", "weights": by_run}


def _scored(
    records: Sequence[RunRecord],
    splits: dict[str, _Split],
    combined: dict[str, ensemble_weights.Scores],
) -> tuple[pd.DataFrame, dict[str, dict[str, float]]]:
    """Score every split, and build the table of predictions to store."""
    frames, values = [], {}
    for name, split in splits.items():
        columns: dict[str, list[Any]] = {
            "target": split.targets,
            "scores": list(combined[name].astype(np.float32)),
        }
        if split.instruments is not None:
            columns["instrument"] = split.instruments
        kind = Kind(records[0].kind)
        values[name] = scoring.score(kind, columns, records[0].data["classes"])
        frames.append(pd.DataFrame({"split": name, "sample_id": split.ids, **columns}))
    return pd.concat(frames, ignore_index=True), values


def _common(records: Sequence[RunRecord], name: str) -> str:
    values = {str(getattr(record, name)) for record in records}
    return values.pop() if len(values) == 1 else MIXED


def _record(
    records: Sequence[RunRecord],
    new_id: str,
    choices: dict[str, Any],
    values: dict[str, dict[str, float]],
    chosen: dict[str, Any],
    members: dict[str, str],
) -> RunRecord:
    first = records[0]
    shared = ("source", "revision", "classes", "scored_split", "num_val", "num_test", "num_train")
    return RunRecord(
        run_id=new_id,
        task=first.task,
        kind=first.kind,
        model=ENSEMBLE,
        mode=_common(records, "mode"),
        subset=_common(records, "subset"),
        seed=0,
        protocol=_common(records, "protocol"),
        headline=first.headline,
        metrics=values,
        config={"folds": first.config.get("folds"), "task": first.config.get("task")},
        identity=choices,
        data={
            **{name: first.data[name] for name in shared if name in first.data},
            "predictions": members,
        },
        weights=None,
        checkpoint=chosen,
        timing={
            name: sum(record.timing.get(name, 0.0) for record in records)
            for name in ("data", "train", "eval")
        },
        peak_memory={"host": environment.peak_host_memory()},
        parameters={
            name: sum(record.parameters[name] for record in records) for name in first.parameters
        },
        device=_common(records, "device"),
        environment=environment.versions(),
        git=environment.git_state(),
        created=now(),
        record_type=ENSEMBLE,
        parents=[record.run_id for record in records],
        pretraining=combined(record.pretraining for record in records),
    )
