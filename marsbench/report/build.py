"""Build a report: figures, tables and the page in a folder."""

import contextlib
import itertools
import json
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from marsbench.base.documents import parse_json
from marsbench.base.errors import ConfigError, StoreError, unknown_name
from marsbench.base.files import write_text
from marsbench.base.paths import expanded
from marsbench.base.progress import steps
from marsbench.base.reading import read_text
from marsbench.base.text import inline
from marsbench.base.version import __version__
from marsbench.report.analysis import (
    Analysis,
    analyse,
    with_calibration,
    with_evaluations,
    with_groups_of_samples,
    with_paper,
)
from marsbench.report.figures import style
from marsbench.report.figures.fonts import FONTS
from marsbench.report.figures.spec import FAMILIES, FigureSpec
from marsbench.report.page.html import Figures, Layout, page
from marsbench.report.statistics.ranges import OBSERVED, REFERENCE
from marsbench.report.statistics.summary import ROUNDS
from marsbench.report.study.cells import StudyProblem, Trouble
from marsbench.report.study.coverage import ExpectedRuns
from marsbench.report.study.scores import open_study
from marsbench.report.tables.beside import compared_tables, published_table
from marsbench.report.tables.build import make_tables
from marsbench.report.tables.files import write_table
from marsbench.report.tables.forms import Table
from marsbench.report.tables.paper import paper_tables
from marsbench.report.tables.runs import paper_runs_table, runs_table
from marsbench.results.paper import paper_records
from marsbench.results.store import Store

INDEX = "index.html"
MANIFEST = "report.json"
FIGURES, TABLES = "figures", "tables"


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

    def __repr__(self) -> str:
        """Page and counts, in two lines."""
        counts = {"runs": self.num_runs, "files of figures": len(self.figures)}
        counts |= {"files of tables": len(self.tables), "problems": len(self.problems)}
        lines = (f"Report {self.index}", f"  {', '.join(f'{n} {k}' for k, n in counts.items())}")
        return "\n".join(map(inline, lines))


class ReportKeys(TypedDict, total=False):
    """Options of `write_report` as typed keyword arguments; see `marsbench.config.keywords`."""

    only: Collection[str] | None
    compare: str | Path | None
    reference: bool
    tasks: Sequence[str]
    models: Sequence[str]
    modes: Sequence[str]
    normalise: str
    rounds: int
    seed: int
    title: str
    font: str


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
    title: str = "",
    font: str = FONTS[0],
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
        reference: Whether to show the paper's runs and published numbers.
        tasks: Only runs of these tasks; all if empty.
        models: Only runs of these models.
        modes: Only runs of these modes.
        plan: Expected runs, for the coverage; None for the seeds and tasks of the records.
        normalise: ``reference`` for the reference range of a task where available, ``observed`` for
            the lowest and highest score of each task.
        rounds: Rounds of the bootstrap.
        seed: Seed of the bootstrap.
        title: Title of the page; by default the name of the store's folder.
        font: Font of the figures, of `fonts.FONTS`.

    Raises:
        StoreError: If the store is missing or has no valid record, or `out` cannot be written.
        ConfigError: If `out` is within a store, is a file, holds a page of another origin, or
            holds links or files in place of its folders.
        UnknownNameError: If a part, task, model or mode is unknown.
    """
    parts = _parts(only)
    if normalise not in (REFERENCE, OBSERVED):
        raise unknown_name("normalisation", normalise, (REFERENCE, OBSERVED))
    if font not in FONTS:
        raise unknown_name("font", font, FONTS)
    if rounds < 1:
        raise ConfigError(f"rounds={rounds} is too low.", f"The default is {ROUNDS}.")
    opened = Store(store)
    folder = expanded(out)
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
            analysis = with_evaluations(analysis)
            if parts & {TABLES, "reliability"}:
                analysis = with_calibration(analysis)
            if TABLES in parts:
                analysis = with_groups_of_samples(analysis)
            beside: list[Table] = []
            theirs = None
            if reference:
                analysis = with_paper(analysis, paper_records(), normalise)
                beside = [*paper_tables(analysis), published_table(analysis)]
            if compare is not None and other is not None:
                mine = tuple(study.groups.values())
                theirs = analyse(Store(compare), other, others=mine, seed=seed + 1, **common)
                beside += compared_tables(analysis, theirs, str(compare))
        named = title or f"Report of {expanded(store).resolve().name}"
        layout = Layout(named, font, TABLES in parts)
        return _write(analysis, theirs, folder, parts, beside, str(store), layout)


def part_names() -> tuple[str, ...]:
    """Valid names for `only`."""
    return (TABLES, *FAMILIES)


def _parts(only: Collection[str] | None) -> frozenset[str]:
    for name in only or ():
        if name not in part_names():
            listed = f"The parts are {', '.join(part_names())}."
            raise unknown_name("part of a report", name, part_names(), listed)
    return frozenset(part_names() if only is None else only)


def _check_folder(folder: Path, stores: Sequence[Store]) -> None:
    """Check a folder before the work of a report.

    Raises:
        ConfigError: If the folder is within a store, is a file, or holds a page of another origin
            or links in place of its folders.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; --out names a folder.", "Choose another --out.")
    for name in (FIGURES, TABLES):
        place = folder / name
        if place.is_symlink() or (os.path.lexists(place) and not place.is_dir()):
            raise ConfigError(
                f"{place} is a {'link' if place.is_symlink() else 'file'}; expected a folder, "
                "since its files are replaced.",
                "Choose another folder with --out; --out itself may be a link.",
            )
    for store in stores:
        if folder.resolve().is_relative_to(store.root.resolve()):
            raise ConfigError(
                f"The folder {folder} lies in the store {store.root}.",
                "Choose a folder beside the store with --out.",
            )
    _check_names(folder, (INDEX, MANIFEST))


def _check_names(folder: Path, names: Iterable[str]) -> None:
    """Check that no file of these names is of another origin than a report.

    Raises:
        ConfigError: If there is such a file.
    """
    earlier = _earlier(folder)
    for name in names:
        # Files of a manifest that has no such name are the user's.
        if os.path.lexists(folder / name) and (earlier is None or name not in (*earlier, MANIFEST)):
            raise ConfigError(
                f"{folder / name} exists and is not part of a report; it is not overwritten.",
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
    store: str,
    layout: Layout,
) -> Report:
    """Write all files into a temporary folder, and move them to their places at the end."""
    with tempfile.TemporaryDirectory(prefix=".report-", suffix=".part", dir=folder) as made:
        partial = Path(made)
        figures, failed = _draw(analysis, partial / FIGURES, parts, layout.font)
        problems = [*analysis.problems, *failed]
        if theirs is not None:
            problems += (replace(problem, is_elsewhere=True) for problem in theirs.study.problems)
        tables = make_tables(analysis, beside, with_groups=TABLES in parts)
        written: list[Path] = []
        if TABLES in parts:
            for table in tables.files:
                written += write_table(table, partial / TABLES)
            # Too long for Markdown and LaTeX.
            written += write_table(runs_table(analysis), partial / TABLES, ("csv",))
            if analysis.beside:
                written += write_table(paper_runs_table(analysis), partial / TABLES, ("csv",))
            if theirs is not None:
                written += write_table(runs_table(theirs, "runs-there"), partial / TABLES, ("csv",))
        text = page(
            analysis, layout, figures=figures, tables=tables, problems=problems, compared=theirs
        )
        (partial / INDEX).write_text(text, encoding="utf-8")
        drawn = [path for _, png in itertools.chain(*figures.values()) for path in (_pdf(png), png)]
        names = [path.relative_to(partial).as_posix() for path in (*drawn, *written)]
        manifest = _manifest(analysis, problems, store)
        _publish(partial, folder, [*names, INDEX], manifest)
    return Report(
        folder / INDEX,
        tuple(folder / name for name in names[: len(drawn)]),
        tuple(folder / name for name in names[len(drawn) :]),
        tuple(problems),
        analysis.study.num_records,
    )


def _publish(made: Path, folder: Path, names: Sequence[str], manifest: Mapping[str, Any]) -> None:
    """Move the files of a report to their places, and remove files of an earlier report.

    Args:
        made: Folder of the files.
        folder: The report's folder.
        names: Files relative to the folder.
        manifest: Manifest without its list of files.

    Raises:
        ConfigError: If a file is of another origin; nothing is moved.
    """
    _check_names(folder, names)
    earlier = _earlier(folder) or []

    def note(files: Collection[str]) -> None:
        content = {**manifest, "files": sorted(files)}
        write_text(folder / MANIFEST, json.dumps(content, indent=2) + "\n")

    # The manifest covers old and new files, so that an interruption leaves none of unknown origin.
    note({*earlier, *names})
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (made / name).replace(folder / name)
    for stale in set(earlier) - set(names):
        path = folder / stale
        # A manipulated manifest must not delete other files.
        if _PART.fullmatch(stale) and path.resolve().is_relative_to(folder.resolve()):
            path.unlink(missing_ok=True)
    note(names)


def _pdf(png: Path) -> Path:
    return png.with_suffix(".pdf")


def _draw(
    analysis: Analysis, folder: Path, parts: Collection[str], font: str
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
    with style.drawing(font), steps("Drawing", len(planned)) as step:
        for name, figure in planned:
            try:
                drawn[name].append(
                    (figure, style.save(figure.draw(), folder, figure.name, figure.is_photo))
                )
            except OSError:
                raise  # full disk or missing folder: every other figure would fail too
            except Exception as error:
                failed.append(_not_drawn(f"{FAMILIES[name].title}: {figure.title}", error))
            step(1)
    return drawn, failed


def _not_drawn(title: str, error: Exception) -> StudyProblem:
    text = str(error).replace("\n", " ") or type(error).__name__
    if not isinstance(error, StoreError):
        text = f"{type(error).__name__}: {text}"
    return StudyProblem(Trouble.NOT_DRAWN, f"{title}. {text}")


def _manifest(analysis: Analysis, problems: Sequence[StudyProblem], store: str) -> dict[str, Any]:
    """Facts of a report for its manifest, without the list of its files."""
    return {
        "marsbench": __version__,
        "store": store,
        "records": analysis.study.num_records,
        "normalise": analysis.normalise,
        "ranges": {
            title: {
                "source": ranges.source,
                "ends": [[*pair, low, ranges.high[pair]] for pair, low in ranges.low.items()],
            }
            for title, ranges, _ in analysis.scales
        },
        "rounds": analysis.rounds,
        "seed": analysis.seed,
        "problems": [{"what": p.what, "message": p.message} for p in problems],
    }


_PART = re.compile(r"(figures|tables)/[^/\\]+\.(pdf|png|csv|md|tex)")
"""Paths of the files beside the page."""


def _earlier(folder: Path) -> list[str] | None:
    """Files of the report in a folder, by its manifest; None without a report."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        content = parse_json(read_text(folder / MANIFEST))
        if isinstance(content, dict) and "marsbench" in content:
            return [str(name) for name in content.get("files", ())]
    return None
