"""``marsbench sweep``: the remaining runs of a suite, trained by a launcher."""

import json
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marsbench.cli import complete
from marsbench.cli.output import Format, FormatOption, friendly, note, print_rows, say

if TYPE_CHECKING:
    from pathlib import Path

    from marsbench.sweep.planner import PlannedRun, SweepPlan
    from marsbench.sweep.run import SweepResult
    from marsbench.sweep.words import Asked

WORDS = typer.Argument(
    metavar="KEY=VALUE...",
    help="suite=NAME; task=A,B model= mode= subset= seed= narrow it; launcher=NAME and "
    "launcher.KEY=VALUE choose the launcher; any other key is set for all runs.",
    autocompletion=complete.sweep_words,
)


@friendly
def sweep(
    words: Annotated[list[str] | None, WORDS] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the plan and its cost; train nothing."),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Only the I-th of N shards of equal cost."),
    ] = None,
    print_commands: Annotated[
        bool,
        typer.Option("--print-commands", help="Print a command line per unit; train nothing."),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Retry failed runs.")
    ] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Train the unfinished runs of a suite.

    For example: marsbench sweep suite=smoke

    The same command continues with the remaining runs, on any machine that shares the store.
    """
    from marsbench.sweep.run import plan_of
    from marsbench.sweep.words import read_shard

    asked = read_asked(words or [])
    part = read_shard(shard)
    plan = plan_of(
        asked,
        download=not (dry_run or print_commands),
        retry_failed=retry_failed,
        shard=part,
        report=note,
    )
    if print_commands:
        _print_commands(plan, asked, retry_failed=retry_failed)
    elif dry_run:
        print_plan(plan, asked, form, shard=part)
    else:
        _launch(plan, asked, form)


def read_asked(words: "list[str]") -> "Asked":
    """Read the arguments of a sweep; a group such as ``trainer=quick`` sets its YAML's keys."""
    from marsbench.cli.compose import GROUPS, set_by_groups, split_word
    from marsbench.sweep.words import read_words

    pairs = [split_word(word) for word in words]
    chosen = {key: value for key, value in pairs if key in GROUPS}
    return read_words(pairs, list(chosen), set_by_groups(chosen) if chosen else {})


def summary_of(plan: "SweepPlan", asked: "Asked") -> dict[str, Any]:
    """Counts of a plan's runs, in all, by grid and by state, and estimated cost."""
    from marsbench.sweep.planner import State

    grids: dict[str, int] = {}
    for run in plan.runs:
        grids[run.grid] = grids.get(run.grid, 0) + 1
    to_do = [run for unit in plan.units for run in unit.runs]
    measured = sum(run.is_measured for run in to_do)
    lacking = plan.lacking
    return {
        "suite": asked.suite.name,
        "runs": len(plan.runs),
        "grids": grids,
        **{state.value: plan.count(state) for state in State},
        "units": len(plan.units),
        "worker_hours": round(plan.seconds / 3600, 2),
        "units_lacking": len(lacking),
        "worker_hours_lacking": round(sum(unit.seconds for unit in lacking) / 3600, 2),
        "estimated_from_records": measured,
        "estimated_roughly": len(to_do) - measured,
    }


def _print_packing(packing: dict[str, Any], form: Format) -> None:
    """Print which units share GPUs."""
    if not packing["gpus"]:
        say("no GPU is visible: launcher.per_gpu has no effect")
        return
    rows = [
        {
            "units alike": row["like"],
            "units": row["units"],
            "GiB": "?" if row["gib"] is None else f"{row['gib']:.1f}",
            "from": f"{row['records']} records" if row["records"] else "its first unit, alone",
            "at once on a GPU": row["at_once"] if row["gib"] is not None else "1, then by its peak",
        }
        for row in packing["units"]
    ]
    rooms = ", ".join(f"{gpu['gpu']}: {gpu['room_gib']:.1f} GiB" for gpu in packing["gpus"])
    title = f"Up to {packing['per_gpu']} workers share a GPU; memory for them: {rooms}"
    if rows:
        print_rows(rows, form, title, right=("units", "GiB"))


def print_plan(
    plan: "SweepPlan", asked: "Asked", form: Format, *, shard: tuple[int, int] = (1, 1)
) -> None:
    """Print a plan: a summary, and a row per task."""
    from marsbench.sweep.launchers.forecast import forecast

    summary = summary_of(plan, asked)
    if shard != (1, 1):
        summary["shard"] = f"{shard[0]}/{shard[1]}"
    if (packing := forecast(plan.units, asked.settings)) is not None:
        summary["packing"] = packing
    rows = _rows(plan)
    if form.is_json:
        say(json.dumps(summary))
        print_rows(rows, form, "")
        return
    of = f", part {summary['shard']}" if "shard" in summary else ""
    hidden = {"reasons"} | ({"worker_hours"} if summary["estimated_roughly"] else set())
    shown = [{k: v for k, v in row.items() if k not in hidden} for row in rows]
    title = f"{asked.suite.name}{of}: {asked.suite.description}"
    columns = ("task", "runs", "done", "to_do", "worker_hours", "failed", "lacking")
    first = [name for name in columns if name not in hidden]
    # A shard may have no runs, and its table no columns.
    print_rows(shown, form, title, tuple(shown[0])[1:] if shown else (), first)
    grids = summary["grids"]
    parts = (
        f" ({', '.join(f'{n:,} {name}' for name, n in grids.items())})" if len(grids) > 1 else ""
    )
    say(
        f"{summary['runs']:,} runs{parts}: {summary['done']:,} done, {summary['failed']:,} failed, "
        f"{summary['to_do']:,} to do in {summary['units']:,} units, "
        f"{summary['lacking']:,} without data or weights"
    )
    if summary["to_do"]:
        say(time_of(plan))
    if summary["lacking"]:
        units = summary["units_lacking"]
        say(f"the {summary['lacking']:,} without data or weights: {units:,} units")
    if packing is not None:
        _print_packing(packing, form)
    for row in rows:
        for reason in row["reasons"]:
            say(f"missing  {row['task']}: {reason}")
    if any(run.lacks_data for run in plan.runs):
        say(_WAYS)


_WAYS = "         Fix: add root=FOLDER or source=demo, or run `marsbench data download TASK`."


SPREAD = 2.0
"""Factor by which runs alike may take longer or shorter: machines, their load, early stopping."""


def time_of(plan: "SweepPlan") -> str:
    """Range of one worker's time for the units to do; no time if some runs resemble no record."""
    to_do = [run for unit in plan.units for run in unit.runs]
    rough = sum(not run.is_measured for run in to_do)
    if rough:
        return f"time unknown: {rough:,} of {len(to_do):,} runs have no finished run like them"
    least, most = hours(plan.seconds / SPREAD), hours(plan.seconds * SPREAD)
    return f"{least} to {most} of one worker's time, from records of similar runs"


def hours(seconds: float) -> str:
    """Format a duration."""
    for unit, size in (("days", 172800.0), ("hours", 5400.0), ("minutes", 90.0)):
        if seconds >= size:
            length = {"days": 86400, "hours": 3600, "minutes": 60}[unit]
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _rows(plan: "SweepPlan") -> list[dict[str, Any]]:
    """Rows of the plan's table, by task."""
    from marsbench.sweep.planner import State

    tasks: dict[str, list[PlannedRun]] = {}
    for run in plan.runs:
        tasks.setdefault(run.config.task, []).append(run)
    units: dict[str, list[float]] = {}
    for unit in plan.units:
        units.setdefault(unit.runs[0].config.task, []).append(unit.seconds)
    return [
        {
            "task": task,
            "runs": len(runs),
            **{state.value: sum(run.state is state for run in runs) for state in State},
            "units": len(units.get(task, [])),
            "worker_hours": round(sum(units.get(task, [])) / 3600, 2),
            "reasons": _reasons(runs),
        }
        for task, runs in tasks.items()
    ]


def _reasons(runs: "list[PlannedRun]") -> list[str]:
    """Distinct reasons for missing data or weights, the first three."""
    reasons = list(dict.fromkeys(run.reason for run in runs if run.reason))
    shown = [reason if len(reason) <= 200 else f"{reason[:197]}..." for reason in reasons[:3]]
    return [*shown, f"and {len(reasons) - 3} more reasons"] if len(reasons) > 3 else shown


def _print_commands(plan: "SweepPlan", asked: "Asked", *, retry_failed: bool) -> None:
    """Print a command line per run, or per unit of runs with shared features."""
    from marsbench.sweep.words import run_command, unit_command

    # The missing data may exist on another machine.
    lacking = plan.lacking
    units = [*plan.units, *lacking]
    commands = [
        unit_command([run.config for run in unit.runs], asked, retry_failed=retry_failed)
        if unit.is_cached
        else run_command(unit.runs[0].config)
        for unit in units
    ]
    for command in dict.fromkeys(commands):
        say(command)
    if lacking:
        number = sum(len(unit.runs) for unit in lacking)
        note(f"Data or weights of {number:,} of these runs are missing on this machine.")


def _launch(plan: "SweepPlan", asked: "Asked", form: Format) -> None:
    from marsbench.sweep.planner import State
    from marsbench.sweep.run import carry_out

    _note_left(plan)

    def started(folder: "Path", units: int) -> None:
        note(
            f"{plan.count(State.TO_DO):,} runs in {units:,} units; {time_of(plan)}; "
            f"output in {folder}/logs"
        )

    try:
        result = carry_out(plan, asked, started)
    except KeyboardInterrupt:
        note("The sweep has stopped. Finished runs are kept; the same command continues.")
        raise
    _print_end(result, asked, form)


def _note_left(plan: "SweepPlan") -> None:
    """Report runs left out for missing data or weights."""
    for row in _rows(plan):
        for reason in row["reasons"]:
            note(f"Left out of {row['task']} ({row['lacking']:,} runs): {reason}")
    if any(run.lacks_data for run in plan.runs):
        note(_WAYS.strip())


def _print_end(result: "SweepResult", asked: "Asked", form: Format) -> None:
    """Print the end of a sweep; exit code 2 if runs failed or remain."""
    folder, failed, left, lacking = result.folder, result.failed, result.left, result.lacking
    if form.is_json:
        summary = asdict(result)
        del summary["folder"]
        summary |= {
            "store": str(result.store),
            "sweep": None if folder is None else folder.name,
        }
        say(json.dumps(summary))
    else:
        say(
            f"{result.suite}: {result.done:,} of {result.runs:,} runs done, {failed:,} failed, "
            f"{left:,} left, {lacking:,} without data or weights"
        )
    waits = asked.settings.name == "slurm" and folder is not None
    if waits:
        note("`marsbench status` with the same arguments shows the progress.")
    if failed:
        note(
            f"{failed:,} runs failed; see failed.json in their folders. Add --retry-failed to "
            "retry them."
        )
    if left and not waits:
        note(f"{left:,} runs are left; the same command continues.")
    if result.done and not left:
        root = shlex.quote(str(result.store))
        note(f"Next: marsbench results {root}, or marsbench report {root}")
    if failed or lacking or (left and not waits):
        raise SystemExit(2)
