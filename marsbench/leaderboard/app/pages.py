"""Pages of single entries and of pairs, in HTML."""

from collections.abc import Iterable, Sequence

from marsbench.leaderboard.app import pictures
from marsbench.leaderboard.app.words import (
    DASH,
    count,
    duration,
    full_name,
    link,
    millions,
    number,
    safe,
    table,
)
from marsbench.leaderboard.board.entries import Entry, group_of
from marsbench.leaderboard.board.normalisation import ranges_of
from marsbench.leaderboard.board.tasksets import Choice, categories
from marsbench.models.pretraining import RANDOM
from marsbench.report.statistics.summary import LEVEL, Comparison, Estimate, compare, summarise
from marsbench.report.study.cells import Group, metric_label


def model_page(entry: Entry, entries: Iterable[Entry], choice: Choice) -> str:
    """Facts, scores and figures of an entry.

    Args:
        entry: The entry.
        entries: All entries of the board, for curves over subsets.
        choice: Metric of each task.
    """
    family = [other for other in entries if _family(other) == _family(entry)]
    parts = [f"<h2>{safe(entry.label, 200)}</h2>", _facts(entry)]
    scores = [
        _scores(group_of({entry.label: entry}, category, tasks.tasks, choice), choice)
        for category, tasks in categories().items()
        if entry.present(tasks, choice)
    ]
    if scores:
        parts += ["<h3>Scores</h3>", *scores, '<div class="pictures">']
        parts += [pictures.of_model(entry, family, choice), "</div>"]
    else:
        parts.append(f"<p>No task has a score in the {choice}.</p>")
    return f'<article class="page">{"".join(parts)}</article>'


def _family(entry: Entry) -> tuple[object, ...]:
    ways = (entry.mode, entry.protocol, entry.imbalance, entry.views)
    return (entry.origin, entry.author, entry.model, *ways)


def _facts(entry: Entry) -> str:
    author, data = entry.author, entry.pretraining
    by = safe(author.name) + (f", {safe(author.organisation)}" if author.organisation else "")
    images = "" if data.images is None else f" ({data.images:,} images)"
    ways = " ".join([entry.mode, entry.protocol, entry.subset])
    facts = {
        "Scores": f'<span class="badge">{safe(entry.badge)}</span>'
        + (" partial on purpose" if entry.partial else ""),
        "Author": by + (f" {DASH} {link(author.link)}" if author.link else ""),
        "Mode, protocol, subset": safe(f"{ways} {entry.settings}"),
        "Initial weights": safe(entry.weights or ("random" if data == RANDOM else "unknown")),
        "Pre-training data": safe(f"{data.data}{images}"),
        "Overlap with test images": safe(data.overlap_words),
        "Licence": safe(entry.licence or data.licence or "unstated"),
        "Parameters": millions(entry.parameters),
        "Training per run": duration(entry.train_seconds),
        "Date": safe(entry.created or "unknown"),
        "Links": ", ".join(map(link, entry.links)),
        "Note": safe(entry.note, 1000),
        "Remarks of the check": "<br>".join(safe(flag, 1000) for flag in entry.flags[:20]),
    }
    rows = (f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items() if value)
    return f'<dl class="facts">{"".join(rows)}</dl>'


def _scores(group: Group, choice: Choice) -> str:
    """Table of the scores on each task."""
    summary = summarise(group, ranges=ranges_of(choice))
    rows = [
        [
            task,
            metric_label(result.cell.metric),
            number(result.iqm.value),
            _interval(result.iqm),
            number(result.mean.value),
            number(result.std),
            str(len(result.cell.seeds)),
        ]
        for (task, _), result in summary.tasks.items()
    ]
    titles = ["Task", "Metric", "IQM", f"{LEVEL} interval", "Mean", "Std", "Seeds"]
    return table(group.key.category, titles, rows)


def _interval(estimate: Estimate) -> str:
    if estimate.low != estimate.low:
        return DASH
    return f"{estimate.low:.3f} to {estimate.high:.3f}"


def pair_page(first: Entry, second: Entry, choice: Choice) -> str:
    """Comparison of two entries over their shared tasks.

    Args:
        first: An entry.
        second: Another entry.
        choice: Metric of each task.
    """
    parts = []
    for category, tasks in categories().items():
        theirs = second.present(tasks, choice)
        shared = [task for task in first.present(tasks, choice) if task in theirs]
        if shared:
            named = dict(zip(_names(first, second), (first, second), strict=True))
            group = group_of(named, category, shared, choice)
            missing = len(tasks.tasks) - len(shared)
            parts.append(_comparison(group, list(named), choice, missing))
    if not parts:
        parts = [f"<p>These entries share no task in the {choice}.</p>"]
    return f'<article class="page">{"".join(parts)}</article>'


def _names(first: Entry, second: Entry) -> tuple[str, str]:
    """Different names of two entries."""
    if first.label != second.label:
        return first.label, second.label
    names = full_name(first), full_name(second)
    return names if names[0] != names[1] else (f"A: {names[0]}", f"B: {names[1]}")


def _comparison(group: Group, names: Sequence[str], choice: Choice, missing: int) -> str:
    ranges = ranges_of(choice)
    first, second = names
    summary = summarise(group, ranges=ranges)
    rows = []
    for task in group.tasks:
        ours, theirs = summary.tasks[task, first], summary.tasks[task, second]
        difference = ours.iqm.value - theirs.iqm.value
        label = metric_label(ours.cell.metric)
        values = [number(ours.iqm.value), _interval(ours.iqm)]
        values += [number(theirs.iqm.value), _interval(theirs.iqm), f"{difference:+.3f}"]
        rows.append([task, label, *values])
    titles = ["Task", "Metric", first, LEVEL, second, LEVEL, "Difference"]
    made = compare(group, ranges=ranges)
    text = _probability(made[0], first, second) if made else "<p>No shared task has a range.</p>"
    left = f" {count(missing, 'task')} of this category is not shared." if missing == 1 else ""
    left = left or (f" {missing} tasks of this category are not shared." if missing else "")
    return (
        f"<h3>{safe(group.key.category).capitalize()}: {count(len(group.tasks), 'shared task')}"
        f"</h3>{text}<p>{left}</p>"
        + table("IQM of each task", titles, rows)
        + f'<div class="pictures">{pictures.of_pair(group, choice)}</div>'
    )


def _probability(made: Comparison, first: str, second: str) -> str:
    """Probability of improvement in words, from the view of the first entry."""
    estimate = made.probability
    if made.first != first:
        estimate = Estimate(1 - estimate.value, 1 - estimate.high, 1 - estimate.low)
    interval = f" ({LEVEL} interval {_interval(estimate)})" if estimate.low == estimate.low else ""
    test = "Too few paired runs for a test."
    if made.p_value == made.p_value:
        test = (
            f"Wilcoxon's signed rank test of {made.num_pairs} pairs of runs of equal task and "
            f"seed: p = {made.p_value:.2g}."
        )
    return (
        f'<p class="result">Probability of improvement: <strong>{estimate.value:.3f}</strong>'
        f"{interval}</p><p>That is the probability that a run of {safe(first)} beats a run of "
        f"{safe(second)} on the same task, mean over {count(len(made.tasks), 'task')}; ties count "
        f"half, and 0.5 means no difference. {test}</p>"
    )
