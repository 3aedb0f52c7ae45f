"""Submission to the leaderboard: a folder of plain files.

::

    SUBMISSION/
      submission.json    `Submission`: who, which model, its pre-training, the runs and their files
      runs/              store of the records with their predictions, as `marsbench run` writes it
      rows/              classification.csv, segmentation.csv, detection.csv for the public Space
      .eval_results/     results for the model's own hub repository

A submission is data: nothing in it is executed, and scores count only as re-scored by
`marsbench.leaderboard.check`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from marsbench.base.values import Limit, NotBlank

SCHEMA_VERSION = 1

SUBMISSION = "submission.json"
RUNS = "runs"
ROWS = "rows"
EVAL_RESULTS = ".eval_results"

SEEDS = 7
"""Seeds of a complete cell, as in the paper."""


@dataclass(frozen=True, kw_only=True)
class Author:
    """Author of a submission.

    Attributes:
        name: Name of a person or group.
        organisation: Organisation.
        link: Web page, https.
    """

    name: Annotated[str, NotBlank]
    organisation: str = ""
    link: str = ""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Data behind a model's initial weights.

    Attributes:
        data: Data set; "unknown", or "none" for random weights.
        images: Number of images; None if unknown.
        licence: Licence of the data or weights; empty if unstated.
        overlaps: Tasks whose test images may be among the data; None if unknown.
    """

    data: Annotated[str, NotBlank] = "unknown"
    images: Annotated[int, Limit(low=0)] | None = None
    licence: str = ""
    overlaps: tuple[str, ...] | None = None


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

    name: Annotated[str, NotBlank]
    weights: str = ""
    parameters: Annotated[int, Limit(low=0)] | None = None
    pretraining: Training = field(default_factory=Training)
    licence: str = ""
    links: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SubmittedRun:
    """Run of a submission.

    Attributes:
        run_id: Id of its record.
        files: SHA-256 of each of its files, by path within ``runs/RUN_ID``.
    """

    run_id: str
    files: Mapping[str, str]


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
        tasks: Tasks, sorted.
        seeds: Seeds that every task should have.
        partial: Whether seeds or tasks are missing on purpose.
        created: Time, UTC, ISO 8601.
        note: Remark of the author in a sentence or two.
        runs: Runs.
    """

    schema_version: int = SCHEMA_VERSION
    author: Author
    model: SubmittedModel
    mode: str
    protocol: str
    subset: str
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    partial: bool = False
    created: str
    note: str = ""
    runs: tuple[SubmittedRun, ...]


class Badge(StrEnum):
    """Origin of the scores of a run."""

    CONSISTENT = "scores consistent with predictions"
    NOT_RESCORED = "not re-scored"
    PUBLISHED = "scores as published"


@dataclass(frozen=True)
class Finding:
    """Problem of a submission.

    Attributes:
        where: File within the submission, or run id.
        problem: The problem in a sentence.
        remedy: What to do about it.
        is_error: Whether it refuses the submission; otherwise it is a flag for readers.
    """

    where: str
    problem: str
    remedy: str = ""
    is_error: bool = True


@dataclass(frozen=True)
class CheckedRun:
    """Run of a submission after its check.

    Attributes:
        run_id: Run id.
        badge: Origin of the scores.
        metrics: Metrics on the scored split: re-scored, or of the record if not re-scored.
    """

    run_id: str
    badge: Badge
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Check:
    """Result of the check of a submission.

    Attributes:
        submission: The submission; None if it cannot be read.
        runs: Its runs, as far as they are valid.
        findings: Problems, errors first.
    """

    submission: Submission | None
    runs: tuple[CheckedRun, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def is_valid(self) -> bool:
        """Whether no finding is an error."""
        return not any(finding.is_error for finding in self.findings)
