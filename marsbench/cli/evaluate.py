"""``marsbench evaluate``: finished runs on other tasks and on corrupted samples."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marsbench.base.errors import ConfigError, MarsbenchError, some
from marsbench.cli import complete
from marsbench.cli.output import Format, FormatOption, fail, friendly, note, print_rows, say

if TYPE_CHECKING:
    from marsbench.evaluate.robustness import Robustness
    from marsbench.evaluate.settings import Settings
    from marsbench.results.record import RunRecord


@friendly
def evaluate(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... KEY=VALUE...",
            help="Finished runs as listed by `marsbench results`, by whole ids or folders; parts "
            "of a store or patterns of ids, or suite=NAME; and task=OTHER and further keys.",
            autocompletion=complete.evaluate_words,
        ),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Evaluate again; an existing record is moved aside.")
    ] = False,
    form: FormatOption = Format.AUTO,
) -> None:
    """Evaluate finished runs on another task or corrupted samples, and write records.

    For example: marsbench evaluate 0-3f2a91c04d task=mars_seg_mer, or marsbench evaluate
    0-3f2a91c04d corruption=all severity=1,3,5

    Classes are matched by name, or by a map (class_map=FILE). Corruptions are summed up as mean
    score and relative drop. A finished evaluation is not repeated. With suite=NAME and the keys of
    its sweep, every finished run of the suite is evaluated as the suite says.
    """
    from marsbench.evaluate.robustness import robustness_of
    from marsbench.evaluate.run import evaluate as carry_out

    jobs = list(_jobs(words))
    errors: list[tuple[str, MarsbenchError]] = []
    rows: list[dict[str, Any]] = []
    records: list[RunRecord] = []
    for name, outcome, store in (
        (*result, settings.store)
        for runs, settings in jobs
        for result in carry_out(runs, settings, force=force)
    ):
        if isinstance(outcome, MarsbenchError):
            errors.append((name, outcome))
            if form.is_json:
                say(json.dumps({"run_id": name, "status": "failed", "error": outcome.problem}))
            continue
        status = "done already" if outcome.was_done else "done"
        line = line_of(outcome.record, status, Path(store))
        if form.is_json:
            say(json.dumps(line))
        rows.append(line)
        records.append(outcome.record)
    summaries = robustness_of(records)
    if form.is_json:
        for summary in summaries:
            say(json.dumps({"summary": "robustness", **summary.to_dict()}))
    else:
        plain = [row for row in rows if row["corruption"] is None]
        if plain:
            cells, numbers = FORMS["temperature" in plain[0]]
            short = _short(settings.store for _, settings in jobs)
            plain = [{**row, "parent": short.get(row["parent"], row["parent"])} for row in plain]
            print_rows([cells(row) for row in plain], Format.TABLE, "", numbers, _FIRST)
        for summary in summaries:
            print_summary(summary)
    # One message for all evaluations that fail alike, as those of a run without its data do.
    alike: dict[str, list[str]] = {}
    for name, error in errors:
        alike.setdefault(f"{error.problem} {error.remedy}".rstrip(), []).append(name)
    if len(alike) == 1 and not rows:
        fail(errors[0][1])
    if errors:
        note(f"{len(errors)} of {len(errors) + len(rows)} failed:")
        for text, names in alike.items():
            note(f"{some(names, count=1)}: {text}")
        raise SystemExit(2)


def _jobs(words: Sequence[str]) -> "Iterator[tuple[Sequence[str], Settings]]":
    """Runs and settings: as named, or of a suite."""
    from marsbench.config.schema import config_keys
    from marsbench.evaluate.settings import Settings, setting_keys

    if not any(word.startswith("suite=") for word in words):
        runs, values = split_words(words)
        yield runs, Settings.from_dict(values)
        return
    from marsbench.cli.sweep import read_asked
    from marsbench.sweep.transfer import jobs_of

    ours = setting_keys().keys() - config_keys().keys()
    given = [word for word in words if word.partition("=")[0] in ours]
    asked = read_asked([word for word in words if word not in given])
    _, values = split_words(["-", *given])
    planned = jobs_of(asked, values)
    if planned.unfinished:
        note(
            f"{planned.unfinished} runs of suite {asked.suite.name} are not finished and are left "
            "out; `marsbench sweep` with the same keys trains them."
        )
    for job in planned.jobs:
        yield job.runs, job.settings


def split_words(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Split words into runs and keys with values.

    Raises:
        ConfigError: If no run is named, or a key is unknown or given twice.
    """
    from marsbench.base.keys import unknown_key
    from marsbench.evaluate.settings import setting_keys

    runs, values, known = [], dict[str, str](), setting_keys()
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or Path(word).exists() or "/" in key:
            runs.append(word)
        elif key not in known:
            raise unknown_key(key, known, f"The keys are {', '.join(known)}.")
        elif key in values:
            raise ConfigError(f"'{key}' is given twice.", "Leave one out.")
        else:
            values[key] = value
    if not runs:
        raise ConfigError(
            "No run is named.", "For example: marsbench evaluate 0-3f2a91c04d task=mars_seg_mer"
        )
    return runs, values


def line_of(record: "RunRecord", status: str, store: Path) -> dict[str, Any]:
    """Line of an evaluation for programs."""
    facts = record.data["evaluation"]
    return {
        "run_id": record.run_id,
        "status": status,
        "parent": record.parents[0],
        "trained_on": facts["trained_on"],
        "task": record.task,
        "test_on": facts.get("test_on"),
        "n": record.data.get("num_test"),
        "headline": record.headline,
        "score": record.score,
        "in_domain": facts["in_domain"],
        "gap": facts["gap"],
        "ceiling": (facts["ceiling"] or {}).get("score"),
        "ignored": facts["ignored"],
        **{key: facts[key] for key in ("temperature", "before", "after") if key in facts},
        "corruption": facts.get("corruption"),
        "severity": facts.get("severity"),
        "clean": facts.get("clean"),
        "metrics": record.metrics,
        "groups": facts.get("groups", {}),
        "folder": str(store / record.run_id),
    }


def print_summary(summary: "Robustness") -> None:
    """Print the scores of a run under corruptions: a row each, and their mean."""
    severities = sorted({s for scores in summary.scores.values() for s in scores})

    def cells(name: str, scores: Mapping[int, float], mean: float | None) -> dict[str, Any]:
        drop = summary.drop(mean)
        return {
            "corruption": name,
            **{f"severity {s}": f"{scores[s]:.4f}" if s in scores else "" for s in severities},
            "mean": "" if mean is None else f"{mean:.4f}",
            "relative drop": "" if drop is None else f"{100 * drop:.1f} %",
        }

    clean = "unknown" if summary.clean is None else f"{summary.clean:.4f}"
    say(f"{summary.parent} on {summary.task}: {summary.headline}, {clean} without corruption")
    rows = [cells(name, scores, summary.mean_of(name)) for name, scores in summary.scores.items()]
    rows.append(cells("mean", {}, summary.mean))
    right = (*(f"severity {s}" for s in severities), "mean", "relative drop")
    print_rows(rows, Format.TABLE, "", right=right)


def _short(stores: Iterable[str]) -> dict[str, str]:
    """Short forms of the run ids of stores."""
    from marsbench.results.find import finished_ids
    from marsbench.results.ids import short_ids
    from marsbench.results.store import Store

    return {
        run_id: short
        for store in set(stores)
        for run_id, short in short_ids(finished_ids(Store(store))).items()
    }


_FIRST = ("parent", "score", "temperature", "task", "status", "gap", "in domain")
"""Columns by importance."""

_NUMBERS = ("n", "score", "in domain", "gap", "ceiling")


def _cells(line: Mapping[str, Any]) -> dict[str, Any]:
    """Cells of an evaluation for people."""

    def number(key: str) -> str:
        return "" if line[key] is None else f"{line[key]:.4f}"

    return {
        "parent": line["parent"],
        "task": line["task"] if line["test_on"] is None else f"{line['task']} {line['test_on']}",
        "n": line["n"],
        "metric": line["headline"],
        "score": number("score"),
        "in domain": number("in_domain"),
        "gap": number("gap"),
        "ceiling": number("ceiling"),
        "status": line["status"],
    }


_CALIBRATION = {"ece": "calibration error", "brier": "Brier score", "log_loss": "log loss"}


def _calibrated_cells(line: Mapping[str, Any]) -> dict[str, Any]:
    """Cells of a run calibrated by a temperature, for people."""
    cells = {"parent": line["parent"], "temperature": f"{line['temperature']:.3f}"}
    for name, title in _CALIBRATION.items():
        cells[title] = f"{line['before'][name]:.4f} \N{RIGHTWARDS ARROW} {line['after'][name]:.4f}"
    return cells | {"status": line["status"]}


FORMS: Mapping[bool, tuple[Callable[[Mapping[str, Any]], dict[str, Any]], tuple[str, ...]]] = {
    False: (_cells, _NUMBERS),
    True: (_calibrated_cells, ("temperature",)),
}
"""Cells and columns of numbers of evaluations, and of runs calibrated by a temperature."""
