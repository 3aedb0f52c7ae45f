"""``marsbench results``: list, import and export records of a store."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from marsbench.cli import complete
from marsbench.cli.choosing import ColumnsOption, SortOption, arrange
from marsbench.cli.output import Format, FormatOption, friendly, note, print_rows, say
from marsbench.cli.stores import StoreArgument, store_folder

if TYPE_CHECKING:
    from marsbench.metrics.groups import GroupScores
    from marsbench.results.classes import ClassTable
    from marsbench.results.record import RunRecord


LISTING = "(listing)"
"""Internal name of the listing command, inserted if no command is named."""

HELP = "List a store's finished runs; import and export results."


class Results(TyperGroup):
    """Group with a default command: ``marsbench results [STORE]`` lists.

    A store named like a command is given as ``./import``.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the listing command if no command is named."""
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else [LISTING, *args])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; hide the name of the listing command in messages and help."""
        name, command, words = super().resolve_command(ctx, args)
        return None if name == LISTING else name, command, words


app = typer.Typer(cls=Results, help=HELP)


class PerClass(StrEnum):
    """Metrics per class."""

    RECALL = "recall"
    F1 = "f1"


EvaluationsOption = Annotated[
    bool,
    typer.Option("--evaluations", help="Evaluations on other data, instead of all other records."),
]


@app.command(
    LISTING,
    hidden=True,
    epilog="Import records: `marsbench results import`; export them: `marsbench results export`.",
)
@friendly
def results(
    store: Annotated[
        Path,
        typer.Argument(
            help="Folder of records, also store=FOLDER.",
            metavar="STORE",
            parser=store_folder,
            autocompletion=complete.results_words,
        ),
    ] = Path("runs"),
    per_class: Annotated[
        PerClass | None,
        typer.Option(
            "--per-class",
            help="Test scores per class, rarest first, with a column for each imbalance=: recall "
            "(the accuracy within a class) or f1.",
        ),
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="Only runs of this task.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only runs of this model.")] = None,
    evaluations: EvaluationsOption = False,
    columns: ColumnsOption = None,
    sort: SortOption = None,
    form: FormatOption = Format.AUTO,
) -> None:
    """List the finished runs of a store with their headline scores, and invalid records.

    The column `run` names a run for other commands; `--columns run_id` shows its whole id.
    """
    from marsbench.base.errors import ConfigError, unknown_name
    from marsbench.results.classes import class_tables
    from marsbench.results.find import finished_ids
    from marsbench.results.ids import short_ids
    from marsbench.results.store import Store

    opened = Store(store)
    records, unreadable = opened.records()
    for error in unreadable:
        note(f"Left out: {error}")
    if evaluations:
        records = opened.evaluations()
    for what, wanted in (("task", task), ("model", model)):
        known = {getattr(record, what) for record in records}
        if wanted is not None and wanted not in known:
            raise unknown_name(f"{what} in {store}", wanted, known)
        records = [r for r in records if wanted in (None, getattr(r, what))]
    if per_class is not None:
        if columns or sort:
            raise ConfigError(
                "--columns and --sort do not apply to --per-class, whose columns are fixed.",
                "Leave them out.",
            )
        _print_classes(class_tables(records), per_class, form)
        return
    short = short_ids(finished_ids(opened))
    if evaluations:
        rows = _evaluation_rows(records)
        if not form.is_json:
            rows = [{**row, "parent": short.get(row["parent"], row["parent"])} for row in rows]
    else:
        rows = [_row(record) for record in records]
    hidden = {"run" if form.is_json else "run_id"}
    if evaluations and not form.is_json:
        hidden |= {name for row in rows for name in row if all(r[name] is None for r in rows)}
    rows = [{"run": short.get(row["run_id"], row["run_id"]), **row} for row in rows]
    usual = [name for name in (rows[0] if rows else ()) if name not in hidden]
    shown = arrange(rows, columns, sort, usual)
    if not form.is_json:
        shown = [
            {k: _decimals(v, 4) if k in SCORES else v for k, v in row.items()} for row in shown
        ]
    print_rows(
        shown,
        form,
        f"{'Evaluations' if evaluations else 'Finished runs'} in {store}: {len(rows)}",
        right=(*SCORES, "seed", "epochs", "train s", "severity", "temperature"),
        first=tuple(shown[0]) if columns and shown else IMPORTANCE,
        has_options=True,
    )
    if evaluations:
        return
    failed, unfinished = opened.unfinished()
    if failed or unfinished:
        note(f"{len(failed)} failed and {len(unfinished)} unfinished runs are not shown.")


SCORES = ("val", "test", "in_domain", "gap", "ceiling")
"""Columns of scores."""

IMPORTANCE = (
    *("run", "test", "model", "task", "corruption", "severity", "gap", "in_domain"),
    *("mode", "subset", "parent", "trained_on", "metric", "val", "seed"),
)
"""Columns of listings of runs, the most important first."""


def _row(record: "RunRecord") -> dict[str, Any]:
    return {
        "task": record.task,
        "model": record.model,
        "mode": record.mode,
        "subset": record.subset,
        "imbalance": record.imbalance,
        "seed": record.seed,
        "metric": record.headline,
        "val": _rounded(record.metrics.get("val", {}).get(record.headline)),
        "test": _rounded(record.score),
        "of": record.scored_split,
        "epochs": record.checkpoint.get("epochs_trained", ""),
        "train s": _rounded(record.timing.get("train"), 1),
        "run_id": record.run_id,
    }


def _evaluation_rows(records: "list[RunRecord]") -> list[dict[str, Any]]:
    from marsbench.results.store import evaluation_row

    return [
        {
            "task": record.task,
            **{k: _rounded(v) if isinstance(v, float) else v for k, v in facts.items()},
            "metric": record.headline,
            "test": _rounded(record.score),
            "run_id": record.run_id,
        }
        for record in records
        for facts in [evaluation_row(record)]
    ]


def _decimals(value: float | None, places: int) -> str | None:
    return None if value is None else f"{value:.{places}f}"


def _print_classes(tables: "list[ClassTable]", metric: PerClass, form: Format) -> None:
    for table in tables:
        classes, summary = table.per_class(metric), table.summary(metric)
        if form.is_json:
            for row in (*classes, *summary):
                say(json.dumps({"runs": table.title, "metric": metric, **row}))
            continue
        for rows, title in (
            (classes, f"{table.title}: test {metric} per class"),
            (summary, f"{table.title}: overall, rarest and most frequent class"),
        ):
            shown = [
                {k: f"{v:.3f}" if isinstance(v, float) else v for k, v in r.items()} for r in rows
            ]
            print_rows(shown, form, title, right=tuple(rows[0])[1:])
    if not tables:
        note("No classification runs found.")


def _rounded(value: float | None, places: int = 4) -> float | None:
    return None if value is None else round(value, places)


@app.command("groups")
@friendly
def groups(
    run: Annotated[
        str,
        typer.Argument(
            help="Run as listed by `marsbench results`, its whole id, or its folder.",
            autocompletion=complete.run_ids,
        ),
    ],
    by: Annotated[
        str | None,
        typer.Option("--by", help="Field of the samples, such as instrument; default every field."),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Split; default the scored split.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", help="Metrics, separated by commas; default the headline."),
    ] = None,
    rounds: Annotated[
        int,
        typer.Option(
            "--rounds", min=0, help="Bootstrap rounds over samples, for 95 % intervals; 0 for none."
        ),
    ] = 0,
    store: Annotated[Path, typer.Option("--store", help="Folder of records.")] = Path("runs"),
    form: FormatOption = Format.AUTO,
) -> None:
    """Score each group of samples of a run (instrument, region ...) from its stored predictions.

    A metric that a group does not define is n/a, such as the average precision of a group without
    a positive sample. Classes without ground truth in a group are counted as absent.
    """
    from marsbench.base.errors import unknown_name
    from marsbench.metrics.groups import Resampling
    from marsbench.results.find import find_run
    from marsbench.results.groups import groups_of
    from marsbench.tasks.kinds import Kind, metrics_of

    record, folder = find_run(run, store)
    known = {*metrics_of(Kind(record.kind)), *record.scores}
    names = metrics.split(",") if metrics else [record.headline, *_BESIDE.get(record.headline, ())]
    for name in names:
        if name not in known:
            raise unknown_name(f"metric of {record.kind} tasks", name, known)
    resampling = Resampling(names, rounds) if rounds else None
    scored = groups_of(record, folder, by, split, resampling)
    if form.is_json:
        print_rows([{"group": name, **scores} for name, scores in scored.items()], form, "")
        return
    total = len(record.data["classes"])
    rows = [
        {
            "group": group,
            "n": scores["n"],
            **{name: _with_interval(scores, name) for name in names},
            "classes": f"{total - len(scores['absent'])} of {total}",
        }
        for group, scores in scored.items()
    ]
    title = f"{record.run_id}: {split or record.scored_split} by group"
    print_rows(rows, form, title, right=("n", *names))
    undefined = sum(name not in scores["metrics"] for scores in scored.values() for name in names)
    if undefined:
        note(f"{undefined} of {len(rows) * len(names)} scores are n/a: undefined in their group.")
    if not scored:
        note("No field of the samples has two or more groups.")


_BESIDE = {"log_loss": ("ap_micro",)}
"""Metrics shown beside a headline."""


def _with_interval(scores: "GroupScores", name: str) -> str:
    """Value of a metric, with its interval if there is any; n/a if undefined."""
    value = scores["metrics"].get(name)
    if value is None:
        return "n/a"
    interval = scores.get("intervals", {}).get(name)
    ends = "" if interval is None else f" [{interval['low']:.4f}, {interval['high']:.4f}]"
    return f"{value:.4f}{ends}"


@app.command("import")
@friendly
def import_results(
    files: Annotated[list[Path], typer.Argument(help="CSV files of the Mars-Bench code base.")],
    store: Annotated[Path, typer.Option("--store", help="Folder of records.")] = Path("runs"),
    mode: Annotated[
        str | None,
        typer.Option("--mode", help="Mode for files without the column training_type."),
    ] = None,
    subset: Annotated[
        str | None,
        typer.Option("--subset", help="Subset for rows without a subset; default full."),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option("--rename", help="NAME=OURS: our name of a task or model."),
    ] = None,
    percent: Annotated[bool, typer.Option("--percent", help="Scores are in percent.")] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Import results of Mars-Bench's own code: a record for every run in its CSV files.

    Records keep the file name, its SHA-256 and the row. Their protocol is `upstream`, never mixed
    with runs of marsbench in reports. Rows without a score are left out. If a row is invalid, or
    two rows of a run have unequal scores, nothing is imported.
    """
    from marsbench.base.errors import ConfigError, some
    from marsbench.results.upstream import importing

    pairs = [text.rpartition("=") for text in rename or ()]
    for (name, _, ours), text in zip(pairs, rename or (), strict=True):
        if not name or not ours:
            raise ConfigError(
                f"--rename {text} is invalid; expected NAME=OURS.", "For example DeiT=vit_l_16."
            )
    names = {name: ours for name, _, ours in pairs}
    done = importing.import_results(
        files, store, mode=mode, subset=subset, rename=names, percent=percent
    )
    for text in done.notes:
        note(text)
    if done.empty:
        note(f"Left out, without a score: {len(done.empty)} rows ({some(done.empty)}).")
    if done.repeated:
        note(f"Repeated with the same score, of runs in other rows: {done.repeated} rows.")
    rows = [
        {
            "records": len(done.records),
            "there_before": done.existing,
            "repeated": done.repeated,
            "without_score": len(done.empty),
            "store": str(store),
        }
    ]
    if form.is_json:
        print_rows(rows, form, "")
        return
    say(f"{len(done.records)} records imported into {store}; {done.existing} existed already.")


@app.command("export")
@friendly
def export_results(
    store: StoreArgument,
    out: Annotated[Path, typer.Option("--out", help="File to write: .parquet or .csv.")],
    long: Annotated[
        bool,
        typer.Option(
            "--long",
            help="Write a row per metric instead of a row per run with a column per metric.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    evaluations: EvaluationsOption = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Export a store as a table, Parquet or CSV."""
    from marsbench.results.exporting import export_results as export

    rows, unreadable = export(store, out, long=long, replace=force, evaluations=evaluations)
    for error in unreadable:
        note(f"Left out: {error}")
    if form.is_json:
        print_rows([{"rows": rows, "left_out": len(unreadable), "file": str(out)}], form, "")
        return
    say(f"{rows} rows in {out}")
