"""Scores of rare and frequent classes by method for unequal classes."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from marsbench.config.identity import digest
from marsbench.config.schema import Imbalance
from marsbench.results.record import RunRecord


@dataclass(frozen=True)
class ClassTable:
    """Test scores per class of runs of equal settings except `imbalance` and seed.

    Attributes:
        title: Task, model, mode and subset.
        counts: Train samples of each class in the subset, the rarest class first.
        runs: Records by strategy, in the order of `Imbalance`.
    """

    title: str
    counts: dict[str, int]
    runs: dict[str, list[RunRecord]]

    def per_class(self, metric: str) -> list[dict[str, Any]]:
        """Rows per class, the rarest first, with a column per strategy.

        Args:
            metric: recall (the accuracy within a class) or f1; means over the seeds.
        """
        return [
            {"class": name, "train": count, **self._by_strategy(f"{metric}/{name}")}
            for name, count in self.counts.items()
        ]

    def summary(self, metric: str) -> list[dict[str, Any]]:
        """Rows per strategy with overall scores and scores of the minority and majority class."""
        minority, *_, majority = self.counts
        headline = next(iter(self.runs.values()))[0].headline
        wanted = {
            headline: headline,
            "accuracy": "accuracy",
            f"minority: {minority}": f"{metric}/{minority}",
            f"majority: {majority}": f"{metric}/{majority}",
        }
        columns = {title: self._by_strategy(name) for title, name in wanted.items()}
        return [
            {
                "imbalance": strategy,
                "seeds": len(records),
                **{title: values[strategy] for title, values in columns.items()},
            }
            for strategy, records in self.runs.items()
        ]

    def _by_strategy(self, name: str) -> dict[str, float | None]:
        """Mean of a test metric over the seeds of each strategy; None if undefined."""
        means = {}
        for strategy, records in self.runs.items():
            values = [record.scores[name] for record in records if name in record.scores]
            means[strategy] = fmean(values) if values else None
        return means


def class_tables(records: Iterable[RunRecord]) -> list[ClassTable]:
    """Group records of classification into tables.

    Records without the number of train samples per class are left out.
    """
    groups: defaultdict[tuple[str, ...], list[RunRecord]] = defaultdict(list)
    for record in records:
        if len(record.data.get("train_counts") or ()) < 2:
            continue
        choices = {k: v for k, v in record.identity.items() if k != "imbalance"}
        named = (record.task, record.model, record.mode, record.subset)
        groups[*named, digest(choices)].append(record)
    tables = []
    for key, group in sorted(groups.items()):
        # Includes strategies of later versions.
        strategies = dict.fromkeys([*map(str, Imbalance), *sorted({r.imbalance for r in group})])
        runs = {name: [r for r in group if r.imbalance == name] for name in strategies}
        counts = group[0].data["train_counts"]
        tables.append(
            ClassTable(
                title=" ".join(key[:-1]),
                counts=dict(sorted(counts.items(), key=lambda item: item[1])),
                runs={strategy: members for strategy, members in runs.items() if members},
            )
        )
    return tables
