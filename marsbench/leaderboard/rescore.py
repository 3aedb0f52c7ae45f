"""Scores of a submission's runs, computed again from their predictions and the task's labels."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from marsbench.base.errors import ConfigError, DataError, MarsbenchError, some
from marsbench.base.progress import steps
from marsbench.config.schema import SourceName
from marsbench.data.folds import OUT_OF_FOLD
from marsbench.leaderboard.comparison import COMPARISONS, Scored
from marsbench.leaderboard.earlier import EARLIER
from marsbench.leaderboard.files import Files
from marsbench.leaderboard.findings import Findings
from marsbench.leaderboard.guard import limited
from marsbench.leaderboard.labels import SPLITS, ContradictionError, Labels, open_labels
from marsbench.leaderboard.predictions import read_predictions
from marsbench.leaderboard.runs import Run
from marsbench.leaderboard.schema import Badge, CheckedRun
from marsbench.leaderboard.signature import sign
from marsbench.leaderboard.subsets import with_samples
from marsbench.metrics import scoring
from marsbench.results.store import PREDICTIONS
from marsbench.tasks.kinds import BOXES, LABELS, MASKS, Kind

TOLERANCE = 1e-6
"""Largest difference of a metric from its record; the same code gives 1e-15."""

NOT_OF_PREDICTIONS = ("loss", "unanswered", "refused")
"""Metrics that scores of classes do not give: the mean training loss, and the shares of images
without an answer."""

_MASKS_AT_ONCE = 8
"""Runs whose class maps are compared together, so that masks are decoded once."""

_CHANGED = "Restore the predictions of the run, or run it again."
_SOURCE = "Give the data of the run by --source and --root."


def rescore(
    files: Files,
    runs: Sequence[Run],
    findings: Findings,
    source: SourceName,
    root: str | Path | None,
    *,
    labels: bool = True,
) -> list[CheckedRun]:
    """Score runs from their predictions; contradictions become findings.

    Args:
        files: Files of the submission.
        runs: Runs with valid records.
        findings: Collects problems.
        source: Source of the labels.
        root: Folder of a local source, as for `open_source`.
        labels: Whether to read labels; otherwise predictions are compared with the targets stored
            beside them.

    Returns:
        The runs without contradictions.
    """
    readable = _readable(files, runs, findings)
    groups: defaultdict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in readable:
        record = run.record
        groups[record.task, record.scored_split, tuple(record.data["classes"]), _size(run)].append(
            run
        )
    checked: list[CheckedRun] = []
    for group in groups.values():
        kind = group[0].spec.kind
        truth = _open(group[0], findings, source, root) if labels else None
        members = with_samples(group, truth, findings)
        # Masks and boxes show the progress of their images.
        bar = steps(f"Re-scoring {group[0].spec.name}", len(members))
        with bar if kind in LABELS else nullcontext(_ignore) as advance:
            at_once = _MASKS_AT_ONCE if kind in MASKS else 1
            for batch in (members[i : i + at_once] for i in range(0, len(members), at_once)):
                checked += _scored(files, batch, truth, findings)
                advance(len(batch))
    return checked


def _ignore(_: int) -> None: ...


def _scored(
    files: Files,
    runs: Sequence[Run],
    truth: Labels | None,
    findings: Findings,
) -> Iterator[CheckedRun]:
    """Compare and score runs of a task; yield those without contradictions."""
    aligned = [_aligned(files, run, truth, findings) for run in runs]
    scored = [of_run for of_run in aligned if of_run is not None]
    try:
        COMPARISONS[runs[0].spec.kind](files, scored)
    except DataError as error:
        name = runs[0].spec.name
        text = f"The labels of {name} cannot be read, so it is not re-scored: {error.problem}"
        findings.flag(runs[0].place, text, error.remedy)
        for of_run in scored:
            of_run.labels = None
    for of_run in scored:
        result = None if of_run.problems else _result(of_run)
        where = f"{of_run.run.place}/{PREDICTIONS}"
        for problem in of_run.problems:
            findings.error(where, f"The file {problem}.", _CHANGED)
        if result is not None and not of_run.problems:
            yield result
            _flag(of_run, result, findings)


def _size(run: Run) -> float:
    """Amount of demo data."""
    size = run.record.config.get("size", 1.0)
    is_number = isinstance(size, int | float) and not isinstance(size, bool)
    return float(size) if is_number and run.record.data.get("source") == "demo" else 1.0


def _readable(files: Files, runs: Sequence[Run], findings: Findings) -> list[Run]:
    """Runs whose predictions can be opened within the limits of memory."""
    present = [run for run in runs if f"{run.place}/{PREDICTIONS}" in files.sizes]
    calls = [(str(files.root / run.place / PREDICTIONS),) for run in present]
    reasons = limited("marsbench.leaderboard.predictions:refusal", calls)
    if len(reasons) < len(present):  # time ran out
        reasons[-1] += f"; {len(present) - len(reasons)} further file(s) are not read"
    opened = list(zip(present, reasons, strict=False))
    for run, reason in opened:
        if reason:
            where = f"{run.place}/{PREDICTIONS}"
            findings.error(where, f"The file {reason}.", _CHANGED)
    return [run for run, reason in opened if not reason]


def _open(
    run: Run, findings: Findings, source: SourceName, root: str | Path | None
) -> Labels | None:
    """Labels of a run's task; the reason if there are none becomes a finding."""
    record = run.record
    classes, strict = record.data["classes"], record.config.get("strict") is not False
    if record.data.get("source") == SourceName.DEMO:
        source, root = SourceName.DEMO, None
    try:
        truth = open_labels(
            run.spec, record.scored_split, classes, source, root, _size(run), strict=strict
        )
    except ContradictionError as error:
        findings.error(run.place, error.problem, error.remedy)
        return None
    except MarsbenchError as error:
        text = f"{run.spec.name} is not re-scored: {error.problem}"
        findings.flag(run.place, text, error.remedy or _SOURCE)
        return None
    if truth is None:
        text = f"{run.spec.name} is not re-scored: its labels are not on this machine."
        findings.flag(run.place, text, _SOURCE)
    elif truth.source.revision != record.data.get("revision"):
        text = f"{run.spec.name} is re-scored with labels of revision {truth.source.revision}; "
        findings.flag(run.place, f"{text}the runs are of {record.data.get('revision')}.", _SOURCE)
    return truth


def _aligned(files: Files, run: Run, truth: Labels | None, findings: Findings) -> Scored | None:
    """Read the predictions of a run and bring them into the order of the labels."""
    where = f"{run.place}/{PREDICTIONS}"
    record = run.record
    try:
        predictions = read_predictions(
            files.root / where, record.scored_split, run.spec.kind, len(record.data["classes"])
        )
    except (ValueError, MemoryError) as error:
        findings.error(where, f"The file {error}.", _CHANGED)
        return None
    if truth is None:
        published = run.spec.sizes.get(SPLITS[record.scored_split])
        if published not in (None, len(predictions)):
            text = f"The file has {len(predictions)} samples; {run.spec.name} has {published}."
            findings.flag(where, text)
        order = np.array(sorted(range(len(predictions)), key=predictions.sample_ids.__getitem__))
        return Scored(run, predictions.ordered(order), None)
    ids = truth.rows.sample_ids
    position = {name: i for i, name in enumerate(predictions.sample_ids)}
    known = set(ids)
    foreign = [name[:80] for name in predictions.sample_ids if name not in known]
    missing = [name[:80] for name in ids if name not in position]
    if foreign:
        text = f"The file has {len(foreign)} sample(s) that are not in the {truth.split} split of "
        findings.error(where, f"{text}{run.spec.name}: {some(foreign)}.", _CHANGED)
    if missing:
        text = f"The file is missing {len(missing)} sample(s) of the {truth.split} split of "
        findings.error(where, f"{text}{run.spec.name}: {some(missing)}.", _CHANGED)
    if foreign or missing:
        return None
    return Scored(run, predictions.ordered(np.array([position[name] for name in ids])), truth)


def _result(of_run: Scored) -> CheckedRun | None:
    """Score a run and compare its record; None if it cannot be scored."""
    run, predictions = of_run.run, of_run.predictions
    record, kind = run.record, run.spec.kind
    try:
        values = scoring.score(kind, predictions.columns, record.data["classes"])
    except ValueError as error:
        of_run.problems.append(f"cannot be scored: {error}")
        return None
    of_run.problems += _differences(of_run, values)
    truth, folds = of_run.labels, ""
    if truth is not None and record.scored_split == OUT_OF_FOLD:
        folds = _folds(of_run, truth)
    return CheckedRun(
        run_id=record.run_id,
        task=record.task,
        seed=record.seed,
        split=record.scored_split,
        badge=Badge.NOT_RESCORED if truth is None else Badge.CONSISTENT,
        metrics=values,
        labels="" if truth is None else truth.source.revision,
        folds=folds,
        num_samples=len(predictions),
        parameters=record.parameters.get("total"),
        train_seconds=record.train_seconds,
        signature=sign(kind, predictions, of_run.num_classes),
    )


def _folds(of_run: Scored, truth: Labels) -> str:
    """Digest of the folds of a run, compared with the digest in its record."""
    record = of_run.run.record
    count = record.identity.get("folds")
    try:
        digest = truth.folds(count if isinstance(count, int) else 0)
    except ConfigError as error:
        of_run.problems.append(f"has no such folds: {error.problem}")
        return ""
    if record.data.get("folds_digest") != digest:
        of_run.problems.append(f"has {count} folds that are not those of the labels")
    return digest


def _differences(of_run: Scored, values: Mapping[str, float]) -> Iterator[str]:
    """Metrics of a record that do not follow from its predictions."""
    stored = of_run.run.record.scores
    changed = [
        f"{name[:80]} is {values[name]:.6f}, in the record {value:.6f}"
        for name, value in stored.items()
        if name in values
        and not _is_equal(value, values[name])
        and not (name in EARLIER and _is_equal(value, _earlier(of_run, name)))
    ]
    if changed:
        yield f"gives other scores than the record: {some(changed, '; ')}"
    # Records of earlier versions lack metrics, but a record has no further ones.
    if other := [name[:80] for name in stored if name not in (*values, *NOT_OF_PREDICTIONS)]:
        yield f"does not give the metrics {some(other)} of the record"


def _is_equal(a: float, b: float) -> bool:
    return abs(a - b) <= TOLERANCE


def _earlier(of_run: Scored, name: str) -> float:
    return EARLIER[name](of_run.predictions.columns, of_run.num_classes)


def _flag(of_run: Scored, result: CheckedRun, findings: Findings) -> None:
    """Flag predictions that equal the labels."""
    if PERFECT[of_run.run.spec.kind](of_run.predictions.columns, result.metrics):
        text = "All predictions equal the labels."
        findings.flag(f"{of_run.run.place}/{PREDICTIONS}", text)


def _is_right(columns: Mapping[str, Any], _: Mapping[str, float]) -> bool:
    return bool((columns["scores"].argmax(axis=1) == columns["target"]).all())


def _is_right_for_all(columns: Mapping[str, Any], _: Mapping[str, float]) -> bool:
    return bool(((columns["scores"] >= 0.5) == (columns["target"] > 0)).all())


def _has_perfect(columns: Mapping[str, Any], metrics: Mapping[str, float]) -> bool:
    return 1.0 in (metrics.get("pixel_accuracy"), metrics.get("map"))


PERFECT: dict[Kind, Callable[[Mapping[str, Any], Mapping[str, float]], bool]] = {
    **dict.fromkeys(LABELS, _is_right),
    Kind.MULTILABEL: _is_right_for_all,
    **dict.fromkeys((*MASKS, *BOXES), _has_perfect),
}
"""Whether predictions equal the labels, by kind of task."""
