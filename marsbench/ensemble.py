"""Averages of finished runs: one record made of the predictions of others, without torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from marsbench import environment, metrics
from marsbench.errors import ConfigError, StoreError
from marsbench.identity import run_id
from marsbench.kinds import Kind
from marsbench.results.find import find_run
from marsbench.results.record import Outcome, RunRecord
from marsbench.results.store import PREDICTIONS, Store, now

ENSEMBLE = "ensemble"
"""What records call the model of an average, and their type."""

MIXED = "mixed"
"""Mode, subset or protocol of an average of runs that differ in it."""


def make_ensemble(runs: Sequence[str], store: str | Path = "runs") -> Outcome:
    """Average the predicted probabilities of finished runs into a record of its own.

    All splits that every run predicted are averaged. Nothing is chosen or weighed, so nothing is
    fitted to the split that is scored.

    Args:
        runs: Their ids, hashes or folders; at least two.
        store: Folder of records; the new one goes there.

    Raises:
        MarsbenchError: If runs are not of one task, its data and its samples, or not of labels.
    """
    opened = Store(store)
    found = [find_run(run, Path(store)) for run in runs]
    folders = {record.run_id: folder for record, folder in found}
    records = sorted({r.run_id: r for r, _ in found}.values(), key=lambda r: r.run_id)
    for run_id_, folder in folders.items():
        if folder.resolve() != opened.folder(run_id_).resolve():
            raise ConfigError(
                f"{folder} is not in the store {store}, where the ensemble would go.",
                "Name runs of one store, and that with --store.",
            )
    if len(folders) < 2:
        raise ConfigError("An ensemble needs at least two runs.", "Name more of them.")
    first = records[0]
    _check(records)
    choices = {"members": [record.run_id for record in records], "kind": first.kind}
    new_id = run_id(
        first.task,
        ENSEMBLE,
        _common(records, "mode"),
        _common(records, "subset"),
        0,
        choices,
    )
    with opened.claim(new_id) as folder:
        if (there := opened.find(new_id)) is not None:
            return Outcome(there, was_done=True)
        tables = [opened.predictions(record.run_id) for record in records]
        table, values = _averaged(records, tables)
        unfinished = folder / f".{PREDICTIONS}.part"
        table.to_parquet(unfinished, index=False)
        unfinished.replace(folder / PREDICTIONS)
        record = _record(records, new_id, choices, values)
        opened.finish(record)
    return Outcome(record, was_done=False)


def _check(records: Sequence[RunRecord]) -> None:
    """Refuse what cannot be averaged."""
    first = records[0]
    if first.kind not in (Kind.BINARY, Kind.MULTICLASS, Kind.MULTILABEL):
        raise ConfigError(
            f"Runs of {first.kind} tasks such as {first.task} cannot be averaged.",
            "Name runs of tasks of labels.",
        )
    for other in records[1:]:
        for what, a, b in (
            ("task", first.task, other.task),
            ("data", first.data["revision"], other.data["revision"]),
            ("classes", first.data["classes"], other.data["classes"]),
            ("scored split", first.scored_split, other.scored_split),
            ("folds", first.config.get("folds"), other.config.get("folds")),
        ):
            if a != b:
                raise ConfigError(
                    f"{first.run_id} and {other.run_id} differ in {what}: {a} and {b}.",
                    "Name runs of one task and the same data, all with the same folds or none.",
                )


def _averaged(
    records: Sequence[RunRecord], tables: Sequence[pd.DataFrame]
) -> tuple[pd.DataFrame, dict[str, dict[str, float]]]:
    """Average the splits that all runs have, and score them."""
    splits = [
        name for name in records[0].metrics if all(name in record.metrics for record in records)
    ]
    frames, values = [], {}
    for split in splits:
        parts = [table[table["split"] == split].sort_values("sample_id") for table in tables]
        ids = list(parts[0]["sample_id"])
        targets = np.stack(list(parts[0]["target"]))
        for record, part in zip(records, parts, strict=True):
            same = np.array_equal(np.stack(list(part["target"])), targets)
            if list(part["sample_id"]) != ids or not same:
                raise StoreError(
                    f"{record.run_id} predicted other samples of {split} than "
                    f"{records[0].run_id}, or knew other labels.",
                    "Run both again on the same data.",
                )
        scores = np.mean(
            [np.stack(list(part["scores"])).astype(np.float64) for part in parts], axis=0
        )
        columns: dict[str, list[Any]] = {
            "target": list(parts[0]["target"]),
            "scores": list(scores.astype(np.float32)),
        }
        with_instrument = [part for part in parts if "instrument" in part]
        if with_instrument:
            columns["instrument"] = list(with_instrument[0]["instrument"])
        kind = Kind(records[0].kind)
        values[split] = metrics.score_labels(kind, columns, records[0].data["classes"])
        frames.append(pd.DataFrame({"split": split, "sample_id": ids, **columns}))
    return pd.concat(frames, ignore_index=True), values


def _common(records: Sequence[RunRecord], name: str) -> str:
    found = {str(getattr(record, name)) for record in records}
    return found.pop() if len(found) == 1 else MIXED


def _record(
    records: Sequence[RunRecord],
    new_id: str,
    choices: dict[str, Any],
    values: dict[str, dict[str, float]],
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
        data={name: first.data[name] for name in shared if name in first.data},
        weights=None,
        checkpoint={"chosen_by": "none"},
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
    )
