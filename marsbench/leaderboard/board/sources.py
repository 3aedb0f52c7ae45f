"""Entries of the paper's runs and of local stores."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from marsbench.base.errors import some
from marsbench.base.paths import expanded
from marsbench.leaderboard.board.entries import NOT_SUBMITTED, Entry, Origin
from marsbench.leaderboard.board.tasksets import Choice, metric_of
from marsbench.leaderboard.schema import Author, Badge
from marsbench.models.pretraining import combined
from marsbench.report.statistics.ranges import Pair
from marsbench.report.study.cells import REAL, GroupKey
from marsbench.report.study.scores import study_of
from marsbench.results.metrics import scores_with
from marsbench.results.paper import paper_records
from marsbench.results.record import EVALUATION, RunRecord
from marsbench.results.store import Store
from marsbench.tasks.catalog import TASKS

PAPER_AUTHOR = Author(
    name="Purohit et al. 2025",
    organisation="Mars-Bench",
    link="https://arxiv.org/abs/2510.24010",
)


class Loaded(NamedTuple):
    """Entries of a source.

    Attributes:
        entries: Entries.
        notes: Records or submissions left out, in sentences.
    """

    entries: list[Entry]
    notes: list[str]


ScoreOf = Callable[[RunRecord, str], float | None]
"""Value of a metric of a record on its scored split; None if undefined."""


def paper_entries() -> Loaded:
    """Entries of the paper's runs."""
    return entries_of(
        paper_records(),
        lambda record, metric: record.scores.get(metric),
        origin=Origin.PAPER,
        author=PAPER_AUTHOR,
        badge=Badge.PUBLISHED,
    )


def store_names(folders: Iterable[Path]) -> dict[Path, str]:
    """Names of stores on a board: of the folder, or the whole path if several have equal names.

    Args:
        folders: Stores; a store that is named twice is one.
    """
    places = dict.fromkeys(expanded(str(folder)).resolve() for folder in folders)
    counts = Counter(place.name for place in places)
    return {p: p.name if p.name and counts[p.name] == 1 else str(p) for p in places}


def store_entries(folder: Path, name: str) -> Loaded:
    """Entries of a local store of runs, shown as not submitted.

    Args:
        folder: The store.
        name: Its name on the board, the author of its entries.

    Raises:
        StoreError: If the store is missing.
    """
    store = Store(folder)
    records, unreadable = store.records()
    loaded = entries_of(
        records,
        lambda record, metric: scores_with(store, record, metric),
        origin=Origin.STORE,
        author=Author(name=name),
        badge=NOT_SUBMITTED,
    )
    left = [f"Left out of {folder}: {error}" for error in unreadable]
    return Loaded(loaded.entries, [some(left, " ")] * bool(left) + loaded.notes)


def entries_of(
    records: Sequence[RunRecord], score_of: ScoreOf, *, origin: Origin, author: Author, badge: str
) -> Loaded:
    """Group records into entries: of a model with several settings, those of a report.

    Runs on demo data, on custom tasks and evaluations on other data are left out, and so are runs
    that a report keeps apart. Notes count them.

    Args:
        records: Records.
        score_of: Value of a metric of a record.
        origin: Place of the records.
        author: Author of the entries.
        badge: Origin of the scores in words.
    """
    kept = [r for r in records if r.task in TASKS and r.record_type != EVALUATION]
    members: defaultdict[tuple[str, GroupKey], list[RunRecord]] = defaultdict(list)
    within = [r for r in kept if r.train_on is not None]
    left = Counter(
        {
            "on custom tasks or other data": len(records) - len(kept),
            "trained within a group of samples": len(within),
        }
    )
    kept = [record for record in kept if record.train_on is None]
    by_id = {record.run_id: record for record in kept}
    for key, group in study_of(kept).groups.items():
        for (_, model), cell in group.cells.items():
            if key.data != REAL:
                left["on demo data"] += len(cell.runs)
                continue
            common = GroupKey("", key.mode, key.protocol, key.subset, key.imbalance, key.views)
            members[model, common] += [by_id[run_id] for run_id in cell.run_ids]
    shown = sum(map(len, members.values()))
    left["with further settings or another metric, which a report keeps apart"] = (
        len(by_id) - shown - left["on demo data"]
    )
    entries = [
        _entry(model, key, runs, score_of, origin=origin, author=author, badge=badge)
        for (model, key), runs in members.items()
    ]
    notes = [
        f"Left out of {author.name}: {count} run{'s' if count > 1 else ''} {where}."
        for where, count in left.items()
        if count
    ]
    return Loaded(entries, notes)


def _entry(
    model: str,
    key: GroupKey,
    records: Sequence[RunRecord],
    score_of: ScoreOf,
    *,
    origin: Origin,
    author: Author,
    badge: str,
) -> Entry:
    scores: defaultdict[Pair, dict[int, float]] = defaultdict(dict)
    for record in records:
        for metric in {metric_of(record.task, choice) for choice in Choice}:
            value = score_of(record, metric)
            if value is not None and math.isfinite(value):
                scores[record.task, metric][record.seed] = value
    seconds = [r.train_seconds for r in records if r.train_seconds is not None]
    totals = {r.parameters["total"] for r in records if "total" in r.parameters}
    ways = [key.mode, key.protocol, key.subset, key.imbalance, key.views]
    return Entry(
        name="/".join([origin, author.name, model, *ways]),
        origin=origin,
        model=model,
        mode=key.mode,
        protocol=key.protocol,
        subset=key.subset,
        imbalance=key.imbalance,
        views=key.views,
        author=author,
        badge=badge,
        created=max((record.created for record in records), default="")[:10],
        # The head differs with the number of classes.
        parameters=max(totals, default=None),
        train_seconds=fmean(seconds) if seconds else None,
        weights=", ".join(sorted({str(r.weights["name"]) for r in records if r.weights})),
        pretraining=combined(record.pretraining for record in records),
        scores=dict(scores),
    )
