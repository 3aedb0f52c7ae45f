"""Groups of samples by a field of their metadata, such as the instrument or the region."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import ConfigError, some
from marsbench.data.rows import Rows, Source
from marsbench.metrics.groups import INSTRUMENT, fields_of_meta, group_name


@dataclass(frozen=True)
class Group:
    """Samples with a value of a field.

    Attributes:
        field: Name of the field.
        value: Value, or bin of a numeric field of `marsbench.metrics.groups.BINS`.
    """

    field: str
    value: str

    def __str__(self) -> str:
        return f"{self.field}:{self.value}"


def fields_of_rows(rows: Rows) -> dict[str, list[str]]:
    """Fields of the N samples of an index: a group's name per sample, empty for none."""
    fields = {
        name: [group_name(name, value) for value in values] for name, values in rows.fields.items()
    }
    if rows.groups is not None:
        fields[INSTRUMENT] = list(rows.groups)
    return fields | fields_of_meta(rows.meta or ())


def find_group(source: Source, text: str, key: str = "train_on") -> Group:
    """Find a group in a task's data.

    Args:
        source: The data, opened.
        text: ``VALUE`` of any field, or ``FIELD:VALUE``.
        key: Key of the text, for messages.

    Raises:
        ConfigError: If no sample has the value, or several fields have it; lists the values.
    """
    values: dict[str, set[str]] = {}
    for split in source.splits:
        for name, of_samples in fields_of_rows(source.rows(split)).items():
            values.setdefault(name, set()).update(set(of_samples) - {""})
    if not any(values.values()):
        raise ConfigError(
            f"{key}={text}: the samples of {source.where} have no fields that group them.",
            f"Leave {key} out, or add a column to annotation.csv, such as region.",
        )
    groups = [Group(name, value) for name, known in values.items() for value in sorted(known)]
    chosen = [group for group in groups if text in (str(group), group.value)]
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        names = " or ".join(f"{key}={group}" for group in chosen)
        raise ConfigError(f"{key}={text} is a value of several fields.", f"Give {names}.")
    raise ConfigError(
        f"{key}={text} is not a group of the samples of {source.where}.",
        f"Choose one of: {some(map(str, groups), count=50)}.",
    )


def members(rows: Rows, group: Group) -> NDArray[np.int64]:
    """Positions of the samples of a group, ascending, (n,)."""
    values: Sequence[str] = fields_of_rows(rows).get(group.field, ())
    return np.flatnonzero(np.array(values, dtype=object) == group.value)
