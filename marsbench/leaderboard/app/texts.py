"""Texts of the app: heading, how to submit, about."""

from pathlib import Path

from marsbench.base.reading import read_text
from marsbench.base.version import __version__
from marsbench.leaderboard.app.words import count, safe
from marsbench.leaderboard.board.live import Board
from marsbench.leaderboard.board.normalisation import (
    normalisable,
    ranges_of,
    source_of,
    version_of,
)
from marsbench.leaderboard.board.tasksets import Choice, TaskSet, metric_of
from marsbench.leaderboard.schema import SEEDS, Badge
from marsbench.report.statistics.reference import PAPER
from marsbench.report.statistics.summary import LEVEL, ROUNDS
from marsbench.report.study.cells import FULL, metric_label
from marsbench.tasks.catalog import TASKS

TITLE = "Mars-Bench leaderboard"


def heading(board: Board) -> str:
    """Title, and the content of the board in a line."""
    entries = [entry for entry in board.entries if entry.subset == FULL]
    tasks = {task for entry in board.entries for task, _ in entry.scores}
    runs = sum(
        len({(task, seed) for (task, _), by in entry.scores.items() for seed in by})
        for entry in board.entries
    )
    facts = [
        f"{count(len(entries), 'entry', 'entries')} on the full train split",
        f"{len(tasks)} of {len(TASKS)} tasks with scores",
        f"{count(runs, 'run')} on all subsets, {SEEDS} seeds per task in a complete entry",
    ]
    notes = "".join(f"<p>{safe(note, 2000)}</p>" for note in board.notes)
    left = f"<details><summary>Left out</summary>{notes}</details>" if notes else ""
    return (
        f'<header class="top"><h1>{TITLE}</h1><p class="lead">Which model works on Mars science? '
        "Models, trained and tested on images and spectra of Mars missions, ranked by the "
        "interquartile mean (IQM) of their test scores over seeds and tasks.</p>"
        f'<ul class="counts">{"".join(f"<li>{fact}</li>" for fact in facts)}</ul>{left}</header>'
    )


def caption(
    tasks: TaskSet, choice: Choice, entries: int, complete: int, shown: int | None = None
) -> str:
    """Content of a table: number of entries, tasks, metrics and normalisation.

    Args:
        tasks: Tasks of the ranking.
        choice: Metric of each task.
        entries: Number of ranked entries.
        complete: Number of entries with all tasks.
        shown: Number of rows of the table; None for all.
    """
    usable = normalisable(tasks, choice)
    pairs = usable.pairs(choice)
    without = sorted(set(tasks.tasks) - set(usable.tasks))
    metrics = dict.fromkeys(metric_label(metric) for _, metric in pairs)
    whole = f"all {len(pairs)} tasks" if len(pairs) > 1 else "the task"
    first = [f"{count(entries, 'entry', 'entries')}, {complete:,} with {whole}."]
    if shown is not None and shown < entries:
        first.append(f'The table has the first {shown}; tick "All rows" for the others.')
    if entries > complete:
        first.append("Entries with missing tasks have no IQM and come last.")
    first.append("Select a model to open its page.")
    over = f"IQM over {count(len(pairs), 'task')} ({', '.join(metrics)}) and all seeds"
    intervals = f"{LEVEL} intervals of {ROUNDS:,} stratified bootstrap rounds"
    method = [
        f"{over}, with {intervals}.",
        f"Scores are normalised by {source_of(pairs, choice)}.",
        f"Version of the ranges: {version_of(pairs, choice)}.",
    ]
    if without:
        method.append(f"Not in the IQM, without a range: {', '.join(without)}.")
    return (
        f'<div class="caption"><p>{safe(" ".join(first))}</p>'
        f'<p class="method">{safe(" ".join(method), 3000)}</p></div>'
    )


def submit() -> str:
    """How to submit, in Markdown."""
    return _text("submit.md", seeds=SEEDS)


def about() -> str:
    """Meaning of numbers, metrics and badges, in Markdown."""
    every = TaskSet("", tuple(TASKS))
    headline = dict.fromkeys(metric_label(metric_of(task, Choice.HEADLINE)) for task in TASKS)
    return _text(
        "about.md",
        level=LEVEL,
        rounds=ROUNDS,
        headline=", ".join(headline),
        headline_ranges=ranges_of(Choice.HEADLINE).source,
        headline_version=version_of(every.pairs(Choice.HEADLINE), Choice.HEADLINE),
        paper_ranges=ranges_of(Choice.PAPER).source,
        paper_version=version_of(every.pairs(Choice.PAPER), Choice.PAPER),
        consistent=Badge.CONSISTENT,
        not_rescored=Badge.NOT_RESCORED,
        published=Badge.PUBLISHED,
        paper=PAPER,
        version=__version__,
    )


def _text(name: str, **values: object) -> str:
    return read_text(Path(__file__).with_name(name)).format(**values)
