"""Entries of a board: a model with its scores on some tasks, from one author."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from marsbench.leaderboard.board.tasksets import Choice, TaskSet, metric_of
from marsbench.leaderboard.schema import Author
from marsbench.models.pretraining import UNKNOWN, Pretraining
from marsbench.report.statistics.ranges import Pair
from marsbench.report.study.cells import NONE, Basis, Cell, Group, GroupKey, Run
from marsbench.report.study.coverage import category_of

NOT_SUBMITTED = "not submitted"
"""Label of runs of a local store, in place of a badge."""

Scores = Mapping[Pair, Mapping[int, float]]
"""Score by task and metric, and by seed."""


class Origin(StrEnum):
    """Place that an entry comes from."""

    PAPER = "paper"
    SUBMISSION = "submission"
    STORE = "store"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model's scores on some tasks, with one mode, protocol and subset.

    Attributes:
        name: Unique name on the board.
        origin: Place it comes from.
        model: Model.
        mode: Mode.
        protocol: Protocol.
        subset: Subset of the train split.
        imbalance: Method for unequal classes; none for no method.
        views: Views of cached features; none without.
        author: Author.
        badge: Origin of the scores in words: a `Badge`, or `NOT_SUBMITTED`.
        created: Date, ISO 8601; empty if unknown.
        partial: Whether its author left out tasks or seeds on purpose.
        parameters: Number of parameters; None if unknown.
        train_seconds: Mean seconds of training over its runs; None if unknown.
        weights: Name of the initial weights; empty if there are none or they are unknown.
        pretraining: Data behind the weights.
        licence: Licence of the model; empty if unstated.
        links: Web pages, https.
        note: Remark of the author.
        flags: Remarks of the check.
        scores: Headline and paper metric of each task, one score per seed.
    """

    name: str
    origin: Origin
    model: str
    mode: str
    protocol: str
    subset: str
    imbalance: str = NONE
    views: str = NONE
    author: Author
    badge: str
    created: str = ""
    partial: bool = False
    parameters: int | None = None
    train_seconds: float | None = None
    weights: str = ""
    pretraining: Pretraining = UNKNOWN
    licence: str = ""
    links: tuple[str, ...] = ()
    note: str = ""
    flags: tuple[str, ...] = ()
    scores: Scores

    def key(self, category: str) -> GroupKey:
        """Key of its cells of a category, as in a report."""
        ways = (self.mode, self.protocol, self.subset, self.imbalance, self.views)
        return GroupKey(category, *ways)

    @property
    def settings(self) -> str:
        """Imbalance and views in words, empty by default."""
        words = [f"imbalance={self.imbalance}"] if self.imbalance != NONE else []
        return ", ".join(words + ([self.key("").averaged] if self.views != NONE else []))

    @property
    def label(self) -> str:
        """Model with its settings."""
        return f"{self.model} ({self.settings})" if self.settings else self.model

    def has(self, tasks: TaskSet, choice: Choice) -> bool:
        """Whether it has a score of each of some tasks."""
        return all(pair in self.scores for pair in tasks.pairs(choice))

    def present(self, tasks: TaskSet, choice: Choice) -> tuple[str, ...]:
        """Those of some tasks that it has a score of."""
        return tuple(task for task, metric in tasks.pairs(choice) if (task, metric) in self.scores)

    @cached_property
    def digest(self) -> str:
        """Digest of the scores and of the names that determine the random stream."""
        scores = sorted((*pair, sorted(by.items())) for pair, by in self.scores.items())
        content = json.dumps([self.key("").title, self.model, scores])
        return hashlib.sha256(content.encode()).hexdigest()[:24]

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories of its tasks."""
        return tuple(dict.fromkeys(category_of(task) for task, _ in sorted(self.scores)))


def group_of(
    named: Mapping[str, Entry], category: str, tasks: Sequence[str], choice: Choice
) -> Group:
    """Build the cells of some entries, for the report's statistics and figures.

    Args:
        named: Entries by the name of the model in the group; the first gives the key.
        category: Category of the tasks.
        tasks: Tasks.
        choice: Metric of each task.
    """
    key = next(iter(named.values())).key(category)
    cells = {}
    for name, entry in named.items():
        for task in tasks:
            metric = metric_of(task, choice)
            if scores := entry.scores.get((task, metric)):
                runs = tuple(
                    _run(key, task, name, metric, seed, score)
                    for seed, score in sorted(scores.items())
                )
                cells[task, name] = Cell(task, name, key, runs)
    return Group(key, cells)


def _run(key: GroupKey, task: str, model: str, metric: str, seed: int, score: float) -> Run:
    nan = float("nan")
    return Run(
        run_id=f"{task}/{model}/{seed}",
        key=key,
        task=task,
        model=model,
        seed=seed,
        setting="",
        identity={},
        data=Basis("", "test", metric),
        subset_origin="",
        score=score,
        val_loss=nan,
        train_seconds=nan,
        resumed=False,
        record_type="run",
    )
