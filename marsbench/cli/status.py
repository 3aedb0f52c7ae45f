"""``marsbench status``: progress of sweeps."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marsbench.base.text import inline
from marsbench.cli.output import Format, FormatOption, friendly, note, print_rows, say
from marsbench.cli.stores import store_folder
from marsbench.cli.sweep import WORDS, hours, read_asked

if TYPE_CHECKING:
    from marsbench.results.store import Store
    from marsbench.sweep.heartbeat import Heartbeat
    from marsbench.sweep.status import Progress

EVERY = 5.0
"""Seconds between updates with --watch."""


@friendly
def status(
    words: Annotated[list[str] | None, WORDS] = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", help="Show all runs of this store instead of a suite."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Update every few seconds, on a terminal.")
    ] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Show counts of runs by state, throughput, and the ETA.

    For example: marsbench status suite=smoke, or: marsbench status --store runs
    """
    look = _looker(words or [], store)
    if watch and not form.is_json:
        _watch(look)
        return
    if watch:
        note("--watch needs a terminal; shown once.")
    rows, lines = look()
    if form.is_json:
        print_rows([{k: v for k, v in row.items() if k != "eta"} for row in rows], form, "")
        return
    print_rows(_shown(rows), form, "", right=tuple(rows[0])[1:], first=_first(rows))
    for line in lines:
        say(line)


Look = Callable[[], "tuple[list[dict[str, Any]], list[str]]"]


def _looker(words: list[str], folder: Path | None) -> Look:
    """Plan once and return a function that reads the current progress."""
    from marsbench.base.errors import ConfigError
    from marsbench.results.store import Store

    if any(word.startswith("suite=") for word in words):
        if folder is not None:
            words = [*words, f"store={folder}"]
        return _at_suite(words)
    if folder is None and len(words) == 1 and words[0].startswith("store="):
        words, folder = [], store_folder(words[0])
    if words:
        raise ConfigError(
            f"'{words[0]}' is given without a suite.",
            "Add suite=NAME, or give --store FOLDER alone.",
        )
    store = Store(folder or "runs")
    store.paths()  # raises if the store is missing

    def look() -> "tuple[list[dict[str, Any]], list[str]]":
        from marsbench.sweep import status as state

        workers = state.workers_of(store)
        sweeps = state.sweeps(store)
        everything = state.ids_on_disk(store).union(*(sweep.ids for sweep in sweeps))
        rows = [
            _row("sweep", f"{s.name} ({s.launcher})", store, s.ids, workers) for s in sweeps[-10:]
        ]
        rows.append(_row("sweep", "all runs of the store", store, everything, workers))
        return rows, _lines(rows, store, workers)

    return look


def _at_suite(words: list[str]) -> Look:
    from marsbench.sweep.planner import State, plan_sweep

    asked = read_asked(words)
    plan = plan_sweep(asked.runs, asked.store, download=False)
    tasks: dict[str, list[str]] = {}
    lacking: dict[str, int] = {}
    for run in plan.runs:
        ids = tasks.setdefault(run.config.task, [])
        if run.state is State.LACKING:
            lacking[run.config.task] = lacking.get(run.config.task, 0) + 1
        else:
            ids.append(run.run_id)

    def look() -> "tuple[list[dict[str, Any]], list[str]]":
        from marsbench.sweep import status as state

        workers = state.workers_of(asked.store)
        rows = [
            _row("task", task, asked.store, ids, workers, lacking.get(task, 0))
            for task, ids in tasks.items()
        ]
        everything = [run_id for ids in tasks.values() for run_id in ids]
        name, absent = f"suite {asked.suite.name}", sum(lacking.values())
        rows.append(_row("task", name, asked.store, everything, workers, absent))
        return rows, _lines(rows, asked.store, workers)

    return look


def _row(
    what: str,
    name: str,
    store: "Store",
    ids: Any,
    workers: "list[Heartbeat]",
    lacking: int = 0,
) -> dict[str, Any]:
    from marsbench.sweep.status import progress

    counts: Progress = progress(store, ids, workers)
    return {
        what: name,
        "runs": counts.runs + lacking,
        "done": counts.done,
        "running": counts.running,
        "failed": counts.failed,
        "to_do": counts.to_do,
        "lacking": lacking,
        "per_hour": None if counts.per_hour is None else round(counts.per_hour, 1),
        "eta_s": None if counts.eta is None else round(counts.eta),
        "eta": "" if counts.eta is None else hours(counts.eta),
    }


def _shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hide the ETA in seconds, and `lacking` if 0 in all rows."""
    hidden = {"eta_s"} | {"lacking" for _ in [0] if not any(row["lacking"] for row in rows)}
    return [{key: value for key, value in row.items() if key not in hidden} for row in rows]


def _first(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """Columns by importance."""
    return (next(iter(rows[0])), "runs", "done", "to_do", "failed", "running", "eta")


def _lines(rows: list[dict[str, Any]], store: "Store", workers: "list[Heartbeat]") -> list[str]:
    """Lines about a full disk, and about workers; stale ones are marked."""
    from marsbench.sweep.heartbeat import STALE
    from marsbench.sweep.status import disk_was_full

    lines = []
    if rows[-1]["to_do"] and (name := disk_was_full(store)) is not None:
        lines.append(f"disk    full in sweep {name}: free space, and start the sweep again")
    for beat in workers:
        at = beat.current or f"{len(beat.ids)} runs together"
        silent = f": no heartbeat for {hours(beat.age)}, perhaps lost" if beat.age > STALE else ""
        lines.append(inline(f"worker  {beat.host} {beat.pid} at {at}{silent}"))
    return lines


def _watch(look: Look) -> None:
    """Update the table until all runs are done, or Ctrl-C."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from marsbench.cli.output import left_out_text, table_of, terminal_width

    def picture() -> tuple[Group, bool]:
        rows, lines = look()
        shown = _shown(rows)
        width = terminal_width()
        table, left_out = table_of(shown, tuple(shown[0])[1:], _first(shown), width)
        if left_out:
            lines = [left_out_text(left_out, width), *lines]
        is_over = rows[-1]["running"] + rows[-1]["to_do"] == 0
        at = Text(time.strftime("%H:%M:%S"))
        return Group(at, table, *(Text(line) for line in lines[:20])), is_over

    shown, is_over = picture()
    with Live(shown, refresh_per_second=2) as live:
        while not is_over:
            time.sleep(EVERY)
            shown, is_over = picture()
            live.update(shown)
