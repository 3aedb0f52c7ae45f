"""Subject of a card: runs of one model on one task that differ in their seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from marsbench.base.errors import ConfigError
from marsbench.config.schema import Mode
from marsbench.results.find import find_run, task_of
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Subject:
    """Runs of a card.

    Attributes:
        task: Their task.
        records: Records by seed, ascending.
        folders: Folder of each run, by run id.
        published: Record whose weights are published.
    """

    task: TaskSpec
    records: tuple[RunRecord, ...]
    folders: Mapping[str, Path]
    published: RunRecord

    @property
    def folder(self) -> Path:
        """Folder of the published run."""
        return self.folders[self.published.run_id]

    @property
    def store(self) -> Store:
        """Store of the runs, wherever their folders are."""
        return _Runs(self.folders)


class _Runs(Store):
    """Store of runs in any folders.

    Args:
        folders: Folder of each run, by run id.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        super().__init__(Path())
        self._given = folders

    def folder(self, run_id: str) -> Path:
        """Folder of a run."""
        return self._given[run_id]


def subject_of(runs: Sequence[str], store: Path, task: str | None = None) -> Subject:
    """Find the runs of a card.

    Args:
        runs: Ids, short forms of ids, or folders; the weights of the first are published.
        store: Folder of records.
        task: File of a custom task that has moved.

    Raises:
        MarsbenchError: If a run or its task is not found, or the runs differ in more than the seed.
    """
    named = [find_run(run, store) for run in runs]
    published = named[0][0]
    for record, _ in named:
        if record.record_type != "run":
            raise ConfigError(
                f"{record.run_id} is of type {record.record_type}, without weights of its own.",
                "Name runs of a single model; the members of an ensemble have cards of their own.",
            )
        if record.mode == Mode.ZERO_SHOT:
            raise ConfigError(
                f"{record.run_id} trained nothing, so it has no weights to publish.",
                "Name runs with mode=frozen, mode=finetune or mode=scratch.",
            )
        if _without_seed(record) != _without_seed(published):
            raise ConfigError(
                f"{record.run_id} and {published.run_id} differ in more than the seed.",
                "Write a card for each.",
            )
    records = {record.seed: record for record, _ in named}
    if len(records) != len(named):
        raise ConfigError("A seed is named twice.", "Name every run once.")
    return Subject(
        task_of(published, named[0][1], task),
        tuple(records[seed] for seed in sorted(records)),
        {record.run_id: folder for record, folder in named},
        published,
    )


def _without_seed(record: RunRecord) -> tuple[str, str]:
    head, _, tail = record.run_id.rpartition("/")
    return head, tail.partition("-")[2]
