"""Finished runs to evaluate: choice by id, folder, or part of a store."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from marsbench.base.errors import ConfigError, NotAvailableError
from marsbench.base.paths import expanded
from marsbench.config.resizing import Resizing
from marsbench.config.schema import Mode, RunConfig
from marsbench.models.spec import ModelSpec
from marsbench.models.zoo.catalog import find_model, get_model
from marsbench.plan.case import Case
from marsbench.results.find import check_trained, finished_run, in_store, task_of, unknown_run
from marsbench.results.record import RUN, RunRecord
from marsbench.results.store import RECORD, Store, read_record
from marsbench.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Parent:
    """A finished run.

    Attributes:
        record: Its record.
        folder: Its folder.
        own: Own encoder, which the record does not name.
    """

    record: RunRecord
    folder: Path
    own: str | None = None

    @cached_property
    def task(self) -> TaskSpec:
        """Its task, as trained.

        Raises:
            MarsbenchError: If the file of a custom task is missing or of other classes.
        """
        return task_of(self.record, self.folder)

    @cached_property
    def config(self) -> RunConfig:
        """Its configuration."""
        return RunConfig.from_dict(self.record.config)

    @cached_property
    def model(self) -> ModelSpec:
        """Its model.

        Raises:
            NotAvailableError: If it is an own encoder that is not given.
        """
        return find_model(self.own) if self.own else get_model(self.record.model)

    @cached_property
    def case(self) -> Case:
        """Its choices."""
        return Case(self.config, self.task, self.model)

    @property
    def resizing(self) -> Resizing:
        """Resizing of its images."""
        return Resizing.from_identity(self.record.identity.get("resize"))

    @property
    def places(self) -> list[Path]:
        """Folders of its models: its own, or those of its folds."""
        folds = self.config.folds
        return [self.folder] if folds is None else [self.folder / f"fold_{k}" for k in range(folds)]


def find_parents(words: Sequence[str], store: Path, own: str | None = None) -> list[Parent]:
    """Find runs.

    Args:
        words: Ids, short forms of ids, or folders of runs; a store, or a folder within, for all
            runs below; patterns of ids, such as ``landmark_cls/*/frozen/*``.
        store: Folder of records.
        own: Own encoder of the runs.

    Raises:
        MarsbenchError: If a run is not found or unfinished, or has no model of its own.
    """
    chosen: dict[str, Parent] = {}
    for word in words:
        for record, folder in _found(word, store):
            chosen.setdefault(record.run_id, Parent(record, folder, own))
    return list(chosen.values())


def _found(word: str, store: Path) -> Iterator[tuple[RunRecord, Path]]:
    path = expanded(word)
    if any(c in word for c in "*?["):
        yield from _several(word, store, [p for p in Store(store).paths() if _fits(p, store, word)])
        return
    folder = (
        path if path.is_dir() else path.parent if path.name == RECORD else in_store(word, store)
    )
    if folder is None and (store / word).is_dir():
        folder = store / word
    if folder is None:
        raise unknown_run(word, store)
    if not (folder / RECORD).exists() and (below := _below(folder)):
        yield from _several(word, store, below)
        return
    record = finished_run(folder, word)
    if record.record_type != RUN:
        raise NotAvailableError(
            f"{record.run_id} is of type {record.record_type}, without a model of its own.",
            "Name a run; an ensemble's and an evaluation's are the parents in their records.",
        )
    check_trained(record)
    yield record, folder


def _fits(path: Path, store: Path, pattern: str) -> bool:
    run_id = path.parent.relative_to(expanded(store)).as_posix()
    return fnmatchcase(run_id, pattern) or fnmatchcase(run_id, f"{pattern}/*")


def _below(folder: Path) -> list[Path]:
    """Records below a store, or below a part of a store."""
    return sorted(
        path
        for path in folder.glob(f"**/{RECORD}")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _several(word: str, store: Path, files: Sequence[Path]) -> Iterator[tuple[RunRecord, Path]]:
    """Runs among the records of files; other types and runs without training are left out."""
    records = ((read_record(path), path.parent) for path in files)
    runs = [
        (record, folder)
        for record, folder in records
        if record.record_type == RUN and record.mode != Mode.ZERO_SHOT
    ]
    if not runs:
        raise ConfigError(
            f"'{word}' names no finished run in {store}.",
            f"`marsbench results {store}` lists them.",
        )
    yield from runs
