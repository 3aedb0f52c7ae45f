"""Records scored by a chosen metric instead of their headline metric."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from marsbench.base.errors import MarsbenchError, some, unknown_name
from marsbench.base.progress import track
from marsbench.report.study.cells import StudyProblem, Trouble
from marsbench.report.study.coverage import Study
from marsbench.report.study.scores import study_of
from marsbench.results.metrics import scores_with
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.results.upstream.names import HEADLINES
from marsbench.tasks.kinds import Kind


def paper_metric(record: RunRecord) -> str:
    """Metric of the paper for the task of a record.

    F1 of class 1 for binary tasks, mean over images of the IoU for segmentation, and the headline
    of the record for all others.

    Raises:
        UnknownNameError: If the kind is unknown.
    """
    if record.kind not in [*Kind]:
        raise unknown_name("kind", record.kind, Kind)
    return HEADLINES.get(Kind(record.kind), record.headline)


class Rescored(NamedTuple):
    """Records with a chosen headline metric.

    Attributes:
        records: Records whose headline is the chosen metric.
        problems: Records without this metric, a problem per task and metric.
    """

    records: tuple[RunRecord, ...]
    problems: tuple[StudyProblem, ...]


def rescored(
    store: Store,
    records: Iterable[RunRecord],
    choose: Callable[[RunRecord], str] = paper_metric,
) -> Rescored:
    """Give records another headline metric, from the record or from its stored predictions.

    Args:
        store: Store of the records and their predictions.
        records: Records of any runs; they do not change.
        choose: Metric for a record, the same for all records of a task.
    """
    kept: list[RunRecord] = []
    without: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    listed = list(records)
    for record in track(listed, "Scoring by other metrics", len(listed)):
        value, metric = None, ""
        reason = "It is neither in the record nor given by stored predictions."
        try:
            metric = choose(record)
            value = scores_with(store, record, metric)
        except MarsbenchError as error:
            reason = error.problem
        if value is None:
            without[record.task, metric, reason].append(record.run_id)
            continue
        split = record.scored_split
        metrics = {**record.metrics, split: {**record.scores, metric: value}}
        kept.append(replace(record, headline=metric, metrics=metrics))
    problems = (
        StudyProblem(
            Trouble.NO_SCORE,
            f"Left out, without {metric or 'a metric'}: {some(ids)}. {reason}",
            tuple(ids),
        )
        for (_, metric, reason), ids in without.items()
    )
    return Rescored(tuple(kept), tuple(problems))


def study_by_metric(
    store: Store,
    records: Iterable[RunRecord],
    choose: Callable[[RunRecord], str] = paper_metric,
) -> Study:
    """Group records by a chosen metric into comparable cells; arguments as in `rescored`."""
    made = rescored(store, records, choose)
    return study_of(made.records, problems=made.problems)
