"""Scores per group of samples of a finished run, from its stored predictions."""

from pathlib import Path

from marsbench.base.errors import StoreError, unknown_name
from marsbench.metrics.groups import GroupScores, Resampling, fields_of, grouping, score_groups
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS, read_table
from marsbench.tasks.kinds import Kind


def score_in(record: RunRecord, folder: Path, group: str, metric: str) -> float | None:
    """Score of a run on a group of its scored split, from its stored predictions.

    Args:
        record: The run.
        folder: Its folder.
        group: The group, as ``FIELD:VALUE``.
        metric: Name of the metric.

    Returns:
        The value; None if the metric is undefined in the group.

    Raises:
        StoreError: If the predictions are missing, invalid or without the field.
    """
    scores = groups_of(record, folder, group.partition(":")[0]).get(group)
    return None if scores is None else scores["metrics"].get(metric)


def groups_of(
    record: RunRecord,
    folder: Path,
    field: str | None = None,
    split: str | None = None,
    resampling: Resampling | None = None,
) -> dict[str, GroupScores]:
    """Score each group of samples of a run; no model is needed.

    Args:
        record: The run.
        folder: Its folder.
        field: Field whose values are the groups, such as ``instrument``; None for every field of
            two to `marsbench.metrics.groups.MOST_GROUPS` values.
        split: Split of the predictions; None for the scored split.
        resampling: Bootstrap over the samples of each group for intervals; None for none.

    Returns:
        Scores by ``FIELD:VALUE``; empty if no field groups the samples.

    Raises:
        UnknownNameError: If the predictions have no such field.
        StoreError: If the predictions are missing or invalid.
    """
    split = record.scored_split if split is None else split
    frame = read_table(folder / PREDICTIONS)
    try:
        part = frame[frame["split"] == split]
        fields = fields_of(part)
        if field is not None and field not in fields:
            raise unknown_name(
                f"field of the samples of {record.run_id}",
                field,
                fields,
                "" if fields else "Its predictions have no fields that group samples.",
            )
        chosen = grouping(fields) if field is None else {field: fields[field]}
        num_scored = record.data.get("evaluation", {}).get("num_scored")
        classes = tuple(record.data["classes"])
        return score_groups(Kind(record.kind), part, classes, chosen, num_scored, resampling)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"The predictions of {record.run_id} give no scores per group ({error}).",
            "Run it again.",
        ) from error
