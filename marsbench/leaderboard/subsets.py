"""Train samples of a submission's runs, selected again from the data of their task."""

from collections.abc import Sequence

from marsbench.base.errors import DataError
from marsbench.base.values import shown
from marsbench.config.schema import Mode, parse_subset
from marsbench.data.rows import Source
from marsbench.data.sources.huggingface import HubSource
from marsbench.data.subsets import select
from marsbench.leaderboard.findings import Findings
from marsbench.leaderboard.labels import Labels
from marsbench.leaderboard.runs import Run
from marsbench.results.store import RECORD

_REMEDY = "Run it again with `marsbench run --force`, and collect the submission again."


def with_samples(runs: Sequence[Run], truth: Labels | None, findings: Findings) -> list[Run]:
    """Compare the digests of train samples with those of the task's subset.

    Args:
        runs: Runs of a task and a subset.
        truth: Labels of the task; None if not on this machine.
        findings: Collects problems, and the reason if digests are not checked.

    Returns:
        The runs without contradiction.
    """
    if runs[0].record.mode == Mode.ZERO_SHOT:
        return list(runs)  # without train samples
    spec, subset = runs[0].spec, runs[0].record.subset
    try:
        digest, reason = _digest(runs[0], truth)
    except DataError as error:
        text = f"{spec.name} has no {subset}: {error.problem}"
        findings.error(f"{runs[0].place}/{RECORD}", text, error.remedy)
        return []
    if reason:
        text = f"The train samples of {spec.name} are not checked: {reason}"
        findings.flag(runs[0].place, text)
        return list(runs)
    kept, excluding = [], 0
    for run in runs:
        own = run.record.identity.get("subset_digest")
        if "negatives" in run.record.identity:  # follows from the content of images
            excluding += 1
        elif own != digest:
            text = f"The run was trained on other samples than {subset} of {spec.name}: their "
            text += f"digest is {shown(own)}; expected {digest}."
            findings.error(f"{run.place}/{RECORD}", text, _REMEDY)
            continue
        kept.append(run)
    if excluding:
        text = f"The train samples of {excluding} run(s) of {spec.name} are not checked: images "
        findings.flag(runs[0].place, f"{text}without objects are left out.")
    return kept


def _digest(run: Run, truth: Labels | None) -> tuple[str, str]:
    """Digest of the train samples, or the reason if the data are not on this machine.

    Raises:
        DataError: If the data have no such subset.
    """
    if truth is None:
        return "", "its labels are not read."
    if truth.source.revision != run.record.data.get("revision"):
        return "", f"its labels are of revision {truth.source.revision}."
    subset = parse_subset(run.record.subset)
    source: Source = truth.source
    try:
        if isinstance(source, HubSource):  # was opened for the scored split alone
            source = HubSource(run.spec, source.listing, subset)
        source.rows("train")
    except DataError as error:
        return "", error.problem
    return select(source, subset).digest, ""
