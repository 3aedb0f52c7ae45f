"""Build a report: figures, tables and the page in a folder."""

import contextlib
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from marsbench.base.errors import ConfigError, StoreError, unknown_name
from marsbench.base.files import write_text
from marsbench.base.progress import steps
from marsbench.base.version import __version__
from marsbench.report.analysis import OBSERVED, REFERENCE, Analysis, analyse
from marsbench.report.figures import style
from marsbench.report.figures.spec import FAMILIES, FigureSpec
from marsbench.report.page.html import Figures, page
from marsbench.report.statistics.summary import ROUNDS
from marsbench.report.study.cells import StudyProblem, Trouble
from marsbench.report.study.coverage import ExpectedRuns
from marsbench.report.study.scores import open_study
from marsbench.report.tables.beside import compared_tables, published_table
from marsbench.report.tables.build import make_tables, runs_table
from marsbench.report.tables.forms import Table
from marsbench.results.store import Store

INDEX = "index.html"
MANIFEST = "report.json"
TABLES = "tables"


@dataclass(frozen=True)
class Report:
    """Files and problems of a finished report.

    Attributes:
        index: The page.
        figures: PDF and PNG of every figure.
        tables: CSV, Markdown and LaTeX of every table.
        problems: Problems of the records and of the report.
        num_runs: Number of records in the report.
    """

    index: Path
    figures: tuple[Path, ...]
    tables: tuple[Path, ...]
    problems: tuple[StudyProblem, ...]
    num_runs: int


def write_report(
    store: str | Path = "runs",
    out: str | Path = "report",
    *,
    only: Collection[str] | None = None,
    compare: str | Path | None = None,
    reference: bool = False,
    tasks: Sequence[str] = (),
    models: Sequence[str] = (),
    modes: Sequence[str] = (),
    plan: ExpectedRuns | None = None,
    normalise: str = REFERENCE,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Report:
    """Build a report of a store.

    Unreadable records and failed figures are listed as problems. Equal records and options give
    equal files. Files of an earlier report in the same folder are replaced or removed; other files
    stay.

    Args:
        store: Folder of records.
        out: Folder to write to.
        only: Parts to build, of `part_names`; None for all. The page is always built.
        compare: Folder of other records to compare with.
        reference: Whether to show published numbers.
        tasks: Only runs of these tasks; all if empty.
        models: Only runs of these models.
        modes: Only runs of these modes.
        plan: Expected runs, for the coverage; None for the seeds and tasks of the records.
        normalise: ``reference`` for the reference range of a task where available, ``observed`` for
            the lowest and highest score of each task.
        rounds: Rounds of the bootstrap.
        seed: Seed of the bootstrap.

    Raises:
        StoreError: If the store is missing or has no valid record, or `out` cannot be written.
        ConfigError: If `out` is within a store, or holds a page of another origin.
        UnknownNameError: If a part, task, model or mode is unknown.
    """
    parts = _parts(only)
    if normalise not in (REFERENCE, OBSERVED):
        raise unknown_name("normalisation", normalise, (REFERENCE, OBSERVED))
    if rounds < 1:
        raise ConfigError(f"rounds={rounds} is too low.", f"The default is {ROUNDS}.")
    opened = Store(store)
    folder = Path(out).expanduser()
    _check_folder(folder, [opened, *([] if compare is None else [Store(compare)])])
    study = open_study(opened, tasks, models, modes, plan)
    other = None if compare is None else open_study(Store(compare), tasks, models, modes)
    with _writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        total = len(study.groups) + (0 if other is None else len(other.groups))
        with steps("Estimating", total) as step:
            common: dict[str, Any] = {"rounds": rounds, "normalise": normalise, "step": step}
            others = () if other is None else tuple(other.groups.values())
            analysis = analyse(
                opened, study, others=others, seed=seed, with_published=reference, **common
            )
            beside, theirs = [published_table(analysis)] if reference else [], None
            if compare is not None and other is not None:
                mine = tuple(study.groups.values())
                theirs = analyse(Store(compare), other, others=mine, seed=seed + 1, **common)
                beside += compared_tables(analysis, theirs, str(compare))
        return _write(analysis, theirs, folder, parts, beside, normalise, str(store))


def part_names() -> tuple[str, ...]:
    """Valid names for `only`."""
    return (TABLES, *FAMILIES)


def _parts(only: Collection[str] | None) -> frozenset[str]:
    for name in only or ():
        if name not in part_names():
            raise unknown_name("part of a report", name, part_names())
    return frozenset(part_names() if only is None else only)


def _check_folder(folder: Path, stores: Sequence[Store]) -> None:
    """Check that a report would not overwrite other files.

    Raises:
        ConfigError: If the folder is within a store, or holds a page of another origin.
    """
    for store in stores:
        if folder.resolve().is_relative_to(store.root.resolve()):
            raise ConfigError(
                f"The folder {folder} lies in the store {store.root}.",
                "Choose a folder beside the store with --out.",
            )
    earlier = _earlier(folder)
    for path in (folder / INDEX, folder / MANIFEST):
        if earlier is None and path.exists():
            raise ConfigError(
                f"{path} exists and is not part of a report; it is not overwritten.",
                "Choose another folder with --out, or move the file away.",
            )


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Turn failures to write into a `StoreError` with a remedy."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The report cannot be written to {folder}: {error.strerror or error}.",
            "Choose a writable folder with enough space with --out.",
        ) from error


def _write(
    analysis: Analysis,
    theirs: Analysis | None,
    folder: Path,
    parts: Collection[str],
    beside: list[Table],
    normalise: str,
    store: str,
) -> Report:
    figures, failed = _draw(analysis, folder / "figures", parts)
    problems = [*analysis.problems, *failed]
    if theirs is not None:
        problems += (replace(problem, is_elsewhere=True) for problem in theirs.study.problems)
    tables = make_tables(analysis, beside, with_groups=TABLES in parts)
    written: list[Path] = []
    if TABLES in parts:
        for table in tables.files:
            written += table.write(folder / TABLES)
        # Too long for Markdown and LaTeX.
        written += runs_table(analysis).write(folder / TABLES, ("csv",))
        if theirs is not None:
            written += runs_table(theirs, "runs-there").write(folder / TABLES, ("csv",))
    title = f"Report of {Path(store).expanduser().resolve().name}"
    text = page(analysis, title, figures=figures, tables=tables, problems=problems, compared=theirs)
    write_text(folder / INDEX, text)
    report = Report(
        folder / INDEX,
        tuple(path for _, png in itertools.chain(*figures.values()) for path in (_pdf(png), png)),
        tuple(written),
        tuple(problems),
        analysis.study.num_records,
    )
    _write_manifest(report, analysis, normalise, store)
    return report


def _pdf(png: Path) -> Path:
    return png.with_suffix(".pdf")


def _draw(
    analysis: Analysis, folder: Path, parts: Collection[str]
) -> tuple[Figures, list[StudyProblem]]:
    """Draw all figures; failures become problems."""
    planned: list[tuple[str, FigureSpec]] = []
    failed: list[StudyProblem] = []
    for name, family in FAMILIES.items():
        if name in parts:
            try:
                planned += ((name, figure) for figure in family.plan(analysis))
            except Exception as error:
                failed.append(_not_drawn(name, error))
    drawn: defaultdict[str, list[tuple[FigureSpec, Path]]] = defaultdict(list)
    with style.drawing(), steps("Drawing", len(planned)) as step:
        for name, figure in planned:
            try:
                drawn[name].append((figure, style.save(figure.draw(), folder, figure.name)))
            except OSError:
                raise  # full disk or missing folder: every other figure would fail too
            except Exception as error:
                failed.append(_not_drawn(figure.title, error))
            step(1)
    return drawn, failed


def _not_drawn(title: str, error: Exception) -> StudyProblem:
    text = str(error).replace("\n", " ") or type(error).__name__
    if not isinstance(error, StoreError):
        text = f"{type(error).__name__}: {text}"
    return StudyProblem(Trouble.NOT_DRAWN, f"{title}. {text}")


def _write_manifest(report: Report, analysis: Analysis, normalise: str, store: str) -> None:
    """Write the manifest, and remove files of an earlier report."""
    folder = report.index.parent
    files = [report.index, *report.figures, *report.tables]
    names = sorted(path.relative_to(folder).as_posix() for path in files)
    for stale in set(_earlier(folder) or ()) - set(names):
        path = folder / stale
        # A manipulated manifest must not delete other files.
        if _PART.fullmatch(stale) and path.resolve().is_relative_to(folder.resolve()):
            path.unlink(missing_ok=True)
    content = {
        "marsbench": __version__,
        "store": store,
        "records": analysis.study.num_records,
        "normalise": normalise,
        "ranges": {
            family.family_title: {
                "source": ranges.source,
                "ends": [[*pair, low, ranges.high[pair]] for pair, low in ranges.low.items()],
            }
            for family, ranges in analysis.ranges.items()
        },
        "rounds": analysis.rounds,
        "seed": analysis.seed,
        "problems": [{"what": p.what, "message": p.message} for p in report.problems],
        "files": names,
    }
    write_text(folder / MANIFEST, json.dumps(content, indent=2) + "\n")


_PART = re.compile(r"(figures|tables)/[^/\\]+\.(pdf|png|csv|md|tex)")
"""Paths of the files beside the page."""


def _earlier(folder: Path) -> list[str] | None:
    """Files of the report in a folder, by its manifest; None without a report."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if isinstance(content, dict) and "marsbench" in content:
            return [str(name) for name in content.get("files", ())]
    return None
