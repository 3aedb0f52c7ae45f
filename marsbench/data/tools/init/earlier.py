"""An existing task of a folder, to which new images are added."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marsbench.base.errors import ConfigError
from marsbench.base.reading import is_missing
from marsbench.data.sources.annotations import ANNOTATIONS, IMAGE_PATH, columns_of, csv_rows
from marsbench.data.tools.init.splits import OBSERVATION
from marsbench.tasks.custom import load_task
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TASK_FILE, TaskSpec


@dataclass(frozen=True)
class Earlier:
    """An existing task.

    Attributes:
        spec: The task.
        columns: Columns of its ``annotation.csv``.
        rows: Its rows.
        splits: Split by path of the image.
    """

    spec: TaskSpec
    columns: Sequence[str]
    rows: Sequence[dict[str, str]]
    splits: dict[str, str]

    @property
    def kind(self) -> str:
        """Value of ``--kind``."""
        return "classification" if self.spec.kind.is_classification else self.spec.kind.value

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by id."""
        return self.spec.class_names

    @property
    def group_column(self) -> str | None:
        """Column of groups, which hold images of a split together; None without groups."""
        return next((name for name in (OBSERVATION, "group") if name in self.columns), None)


def read_earlier(folder: Path) -> Earlier:
    """Read the task of a folder.

    Raises:
        ConfigError: If the folder is no task, its table has no paths of images, or its kind is
            not made by `init_task`.
        DataError: If the table cannot be read.
    """
    for name in (TASK_FILE, ANNOTATIONS):
        if is_missing(folder / name):
            raise ConfigError(
                f"{folder} has no {name}, so there is no task to update.", "Leave --update out."
            )
    table = folder / ANNOTATIONS
    columns = columns_of(table)
    if IMAGE_PATH not in columns:
        raise ConfigError(
            f"{table} has no column {IMAGE_PATH}, as of tasks made by `marsbench data init`.",
            "Add rows to it by hand.",
        )
    spec = load_task(folder)
    if spec.kind is Kind.MULTILABEL or spec.is_pairs:
        raise ConfigError(
            f"{spec.path} is a task of {'pairs' if spec.is_pairs else 'several labels'}, which no "
            "folders describe.",
            "Add rows to its table by hand.",
        )
    rows = [row for _, row in csv_rows(table, (IMAGE_PATH, "split"))]
    splits = {row[IMAGE_PATH]: row["split"] for row in rows}
    return Earlier(spec, columns, rows, splits)
