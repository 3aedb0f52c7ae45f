"""Submission to the leaderboard: a folder of plain files.

::

    SUBMISSION/
      submission.json    `Submission`: who, which model, its pre-training, the runs and their files
      runs/              store of the records with predictions and class maps, no weights, no logs
      rows/              classification.csv, segmentation.csv, detection.csv for the public Space
      .eval_results/     results for the model's own hub repository

A submission is data: nothing in it is executed, and scores count only as re-scored by
`marsbench.leaderboard.check`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, TypeVar

from marsbench.base.documents import parse_json
from marsbench.base.errors import StoreError, some
from marsbench.base.values import Limit, Problem, Text, build, to_plain
from marsbench.base.version import __version__
from marsbench.models.pretraining import UNKNOWN, Pretraining

T = TypeVar("T")

SCHEMA_VERSION = 1

CHECK_VERSION = 1
"""Version of the layout of a check."""

SUBMISSION = "submission.json"
RUNS = "runs"
ROWS = "rows"
EVAL_RESULTS = ".eval_results"

SEEDS = 7
"""Seeds of a complete cell, as in the paper."""

MOST_PARAMETERS = 10**14
"""Largest number of a model's parameters."""

Name = Annotated[str, Text(200, r".*\S.*", "a name")]
Words = Annotated[str, Text(1000)]
Link = Annotated[str, Text(500, r"(https://[^\s<>\"]+)?", "an address that begins with https://")]


class Data(StrEnum):
    """Data of the runs; the two are never on one board."""

    REAL = "real"
    DEMO = "demo"


@dataclass(frozen=True, kw_only=True)
class Author:
    """Author of a submission.

    Attributes:
        name: Name of a person or group.
        organisation: Organisation.
        link: Web page, https.
    """

    name: Name
    organisation: Words = ""
    link: Link = ""


@dataclass(frozen=True, kw_only=True)
class SubmittedModel:
    """Model of a submission.

    Attributes:
        name: Name on the board, as in its records.
        weights: Name or address of the initial weights; empty for random weights.
        parameters: Number of parameters; None if unknown.
        pretraining: Data behind the weights.
        licence: Licence of the model.
        links: Web pages of paper, code and weights, https.
    """

    name: Name
    weights: Words = ""
    parameters: Annotated[int, Limit(low=1, high=MOST_PARAMETERS)] | None = None
    pretraining: Pretraining = UNKNOWN
    licence: Words = ""
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SubmittedRun:
    """Run of a submission.

    Attributes:
        run_id: Id of its record.
        files: SHA-256 of each of its files, by path within ``runs/RUN_ID``.
    """

    run_id: str
    files: Mapping[str, str]

    @property
    def task(self) -> str:
        """Task, from a valid run id."""
        return self.run_id.split("/")[0]

    @property
    def seed(self) -> int:
        """Seed, from a valid run id."""
        return int(self.run_id.split("/")[-1].rpartition("-")[0])


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A model's runs on some tasks, by one author.

    Attributes:
        schema_version: Version of this layout.
        author: Author.
        model: Model.
        mode: Mode of all runs.
        protocol: Protocol of all runs.
        subset: Subset of all runs.
        imbalance: Method for unequal classes of all runs; none for no method.
        views: d4 for cached flips and turns, a number of averaged draws, or none, of all runs.
        data: Data of all runs.
        tasks: Tasks, sorted.
        seeds: Seeds that every task should have.
        partial: Whether seeds or tasks are missing on purpose.
        created: Time, UTC, ISO 8601.
        note: Remark of the author in a sentence or two.
        runs: Runs.
    """

    schema_version: Annotated[int, Limit(low=1, high=SCHEMA_VERSION)] = SCHEMA_VERSION
    author: Author
    model: SubmittedModel
    mode: str
    protocol: str
    subset: str
    imbalance: str = "none"
    views: str = "none"
    data: Data = Data.REAL
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    partial: bool = False
    created: str
    note: Words = ""
    runs: tuple[SubmittedRun, ...]

    @property
    def missing(self) -> dict[str, tuple[int, ...]]:
        """Seeds without a run, by task, for valid run ids; tasks with all seeds are left out."""
        present = {(run.task, run.seed) for run in self.runs}
        gaps = {t: tuple(s for s in self.seeds if (t, s) not in present) for t in self.tasks}
        return {task: seeds for task, seeds in gaps.items() if seeds}

    @property
    def is_complete(self) -> bool:
        """Whether every task has every seed, and these are at least `SEEDS`."""
        return not self.missing and len(self.seeds) >= SEEDS

    def to_json(self) -> str:
        """Write the submission as JSON."""
        return json.dumps(to_plain(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> "Submission":
        """Read a submission; the files that it names are not read.

        Args:
            text: JSON.
            where: Path, for messages.

        Raises:
            StoreError: If the text is not a submission, or of a newer version.
        """
        remedy = "Collect it again with `marsbench submit`."
        return _parsed(cls, text, where, "a submission", SCHEMA_VERSION, remedy)


class Badge(StrEnum):
    """Origin of the scores of a run."""

    CONSISTENT = "scores consistent with predictions"
    NOT_RESCORED = "not re-scored"
    PUBLISHED = "scores as published"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Problem of a submission.

    Attributes:
        where: File within the submission.
        problem: The problem in a sentence or two.
        remedy: Advice to the author.
        is_error: Whether it refuses the submission; otherwise it is a flag for readers.
    """

    where: str
    problem: str
    remedy: str = ""
    is_error: bool = True


@dataclass(frozen=True, kw_only=True)
class Signature:
    """Short form of the predictions of a run, to find near-equal predictions of others.

    Attributes:
        digest: Digest of all predictions, rounded; equal for equal predictions.
        sketch: Two bytes for each of a few samples, the same samples for all runs, in base 64.
    """

    digest: str
    sketch: str


@dataclass(frozen=True, kw_only=True)
class CheckedRun:
    """Run of a submission after its check.

    Attributes:
        run_id: Run id.
        task: Task.
        seed: Seed.
        split: Scored split: test, or oof for out-of-fold predictions of the train split.
        badge: Origin of the scores.
        metrics: Metrics on the scored split, from the predictions and the labels, or the targets
            stored beside the predictions if not re-scored.
        labels: Revision of the labels; empty if not re-scored.
        folds: Digest of the folds of out-of-fold predictions; empty for test.
        num_samples: Number of scored samples.
        parameters: Number of parameters in the record; None if it has none.
        train_seconds: Seconds of training in the record; None if it has none, or was resumed.
        signature: Short form of the predictions; None without predictions.
    """

    run_id: str
    task: str
    seed: int
    split: str
    badge: Badge
    metrics: Mapping[str, float]
    labels: str = ""
    folds: str = ""
    num_samples: int
    parameters: int | None = None
    train_seconds: float | None = None
    signature: Signature | None = None


@dataclass(frozen=True, kw_only=True)
class Check:
    """Result of the check of a submission.

    Attributes:
        schema_version: Version of this layout.
        checked: Time, UTC, ISO 8601.
        version: Version of marsbench.
        digest: SHA-256 of ``submission.json``; empty if it cannot be read.
        submission: The submission; None if it cannot be read. Without runs if read from JSON.
        runs: Its runs, as far as they are valid.
        findings: Problems, errors first.
    """

    schema_version: int = CHECK_VERSION
    checked: str
    version: str = __version__
    digest: str = ""
    submission: Submission | None = None
    runs: tuple[CheckedRun, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def is_valid(self) -> bool:
        """Whether the submission was read and no finding is an error."""
        return self.submission is not None and not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that refuse the submission."""
        return tuple(finding for finding in self.findings if finding.is_error)

    def to_json(self) -> str:
        """Write the check as JSON, without the digests of the submission's files."""
        submission = None if self.submission is None else replace(self.submission, runs=())
        plain = to_plain(replace(self, submission=submission))
        return json.dumps(plain, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> "Check":
        """Read a check.

        Args:
            text: JSON.
            where: Path, for messages.

        Raises:
            StoreError: If the text is not a check, or of a newer version.
        """
        remedy = "Check the submission again with `marsbench submit --check`."
        return _parsed(cls, text, where, "a check of a submission", CHECK_VERSION, remedy)


def _parsed(cls: type[T], text: str, where: str, what: str, newest: int, remedy: str) -> T:
    """Read a versioned dataclass from JSON; `what` names it in messages."""
    try:
        content = parse_json(text, strict=True)
    except ValueError as error:
        raise StoreError(f"{where} is not {what}: {error}.", remedy) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > newest:
        raise StoreError(
            f"{where} has schema version {version}; this marsbench reads up to {newest}.",
            "Update marsbench.",
        )
    problems: list[Problem] = []
    built = build(cls, content, problems, strict=True) if isinstance(content, dict) else None
    if built is None:
        details = some((problem.message for problem in problems), " ")
        raise StoreError(f"{where} is not {what}. {details}".strip(), remedy)
    return built
