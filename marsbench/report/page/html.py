"""Page of a report: a single HTML file without external resources."""

import base64
import contextlib
import io
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from marsbench.base.text import visible
from marsbench.base.version import __version__
from marsbench.report.analysis import Analysis
from marsbench.report.figures.fonts import font_faces
from marsbench.report.figures.spec import FAMILIES, FigureSpec
from marsbench.report.figures.style import COLUMN, DPI
from marsbench.report.names import SHORT_MODES, model_title, subset_title
from marsbench.report.page.fit import breakable, fitted, lifted
from marsbench.report.page.svg import inline_svg
from marsbench.report.statistics.summary import LEVEL, TaskSummary
from marsbench.report.study.cells import (
    FULL,
    Cell,
    GroupKey,
    StudyProblem,
    metric_label,
)
from marsbench.report.tables.build import Tables, coverage_name
from marsbench.report.tables.entries import THERE, anchor_of, overlap_note, overlaps_of, score_of
from marsbench.report.tables.forms import Link, Score, Table
from marsbench.results.record import RunRecord

PAGE = Path(__file__).parent

CSS_INCH = 130
"""CSS pixels per inch of a figure; larger than 96, since 7.5 points are small on a screen."""

_ANSWER, _MODES = "violins", "modes"
"""Families of figures with sections of their own."""


class Layout(NamedTuple):
    """Choices of a page.

    Attributes:
        title: Title.
        font: Font of the figures.
        has_files: Whether the tables are files too.
    """

    title: str
    font: str
    has_files: bool


Figures = Mapping[str, Sequence[tuple[FigureSpec, Path]]]
"""Drawn figures and paths of their PNG, by family."""


def page(
    analysis: Analysis,
    layout: Layout,
    *,
    figures: Figures,
    tables: Tables,
    problems: Sequence[StudyProblem],
    compared: Analysis | None = None,
) -> str:
    """Render the page.

    Args:
        analysis: Estimates.
        layout: Title and font.
        figures: Figures to embed.
        tables: Tables.
        problems: Problems to list.
        compared: Estimates of the other store of a comparison.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        finalize=_visible,
        undefined=jinja2.StrictUndefined,
        trim_blocks=False,
    )
    environment.tests["score"] = lambda value: isinstance(value, Score)
    environment.tests["link"] = lambda value: isinstance(value, Link)
    environment.tests["incomplete"] = _is_incomplete
    environment.filters["fitted"] = fitted
    environment.filters["breakable"] = breakable
    environment.filters["words"] = _words
    environment.filters["origins"] = _origins
    environment.filters["sources"] = partial(_sources, analysis.study.groups)
    cells = [
        _cell_row(result, summary.key, analysis.overlapping)
        for summary in analysis.summaries.values()
        for result in sorted(summary.tasks.values(), key=_best_first)
    ]
    others = [] if compared is None else compared.study.groups.values()
    elsewhere = [
        (anchor_of(cell, THERE), cell)
        for group in others
        for _, cell in sorted(group.cells.items())
    ]
    anchors = {row["anchor"] for row in cells} | {anchor for anchor, _ in elsewhere}
    anchors.update(anchor for table in tables.coverage for anchor in table.anchors)
    named = {
        start: [table for table in tables.groups if table.name.startswith(f"{start}-")]
        for start in ("scores", "overall", "modes")
    }
    shown = {name: [_figure(*figure) for figure in drawn] for name, drawn in figures.items()}
    return environment.get_template("index.html.j2").render(
        title=layout.title,
        has_files=layout.has_files,
        version=__version__,
        dates=_dates(analysis.study.records),
        fonts=Markup(font_faces(layout.font)),  # noqa: S704
        css=Markup((PAGE / "style.css").read_text(encoding="utf-8")),  # noqa: S704
        script=Markup((PAGE / "script.js").read_text(encoding="utf-8")),  # noqa: S704
        facts=_facts(analysis),
        filters=_filters(analysis.study.groups),
        answer=_answer(analysis, named["scores"], shown.pop(_ANSWER, [])),
        modes=_part(named["modes"], shown.pop(_MODES, [])),
        overall=_part(named["overall"], []),
        families=[(FAMILIES[name].title, _part([], part)) for name, part in shown.items()],
        tables=[table for table in tables.groups if not table.name.startswith(tuple(named))],
        cells=cells,
        overlap_note=overlap_note(row["scores"][0] for row in cells),
        elsewhere=elsewhere,
        anchors=anchors,
        beside=tables.beside,
        level=LEVEL,
        rounds=analysis.rounds,
        seed=analysis.seed,
        normalisation=analysis.normalisation,
        ranges=tables.ranges,
        pretraining=tables.pretraining,
        evaluations=tables.evaluations,
        coverage=tables.coverage,
        missing=tables.missing,
        unfinished=_unfinished(analysis),
        environment=_environment(analysis),
        problems=problems,
    )


class Part(NamedTuple):
    """Tables and figures of a section.

    Attributes:
        caption: Sentences of all its captions.
        tables: Tables, without these sentences.
        figures: Figures, likewise.
    """

    caption: str
    tables: Sequence[Table]
    figures: Sequence[dict[str, Any]]


def _part(tables: Sequence[Table], figures: Sequence[dict[str, Any]]) -> Part:
    """A section whose captions say once what holds for all of them."""
    shared_t, own_t = lifted([table.text for table in tables])
    shared_f, own_f = lifted([figure["caption"] for figure in figures])
    return Part(
        f"{shared_t} {shared_f}".strip(),
        [
            replace(table, caption=text, nothing=text)
            for table, text in zip(tables, own_t, strict=True)
        ],
        [{**figure, "caption": text} for figure, text in zip(figures, own_f, strict=True)],
    )


def _answer(
    analysis: Analysis, tables: Sequence[Table], figures: Sequence[dict[str, Any]]
) -> tuple[str, list[tuple[str, list[GroupKey], Part]]]:
    """Scores and violins of each group, with the caption of all of them."""
    part = _part(tables, figures)
    groups = []
    for key in (group.key for group in analysis.headline_groups):
        mine = [table for table in part.tables if key in table.keys]
        drawn = [figure for figure in part.figures if key in figure["keys"]]
        if mine or drawn:
            groups.append((key.title, [key], Part("", mine, drawn)))
    return part.caption, groups


def _dates(records: Iterable[RunRecord]) -> str:
    """Days of the first and the last run; unlike the day of the report, the same each time."""
    days = []
    for record in records:
        with contextlib.suppress(ValueError):
            days.append(datetime.fromisoformat(record.created).date())
    ends = [f"{day.day} {day:%B %Y}" for day in ((min(days), max(days)) if days else ())]
    return " to ".join(dict.fromkeys(ends))


def _visible(value: Any) -> Any:
    """Show control characters of names, which might reverse or hide other text of the page."""
    return visible(value) if type(value) is str else value


def _best_first(result: TaskSummary) -> tuple[str, bool, float, str]:
    value = result.iqm.value if math.isfinite(result.iqm.value) else 0.0
    sign = -1 if result.cell.higher_is_better else 1
    return result.cell.task, not math.isfinite(result.iqm.value), sign * value, result.cell.model


def _is_incomplete(value: object) -> bool:
    """Whether an entry is an incomplete count such as 3/7."""
    match = re.fullmatch(r"(\d+)/(\d+)", str(value))
    return match is not None and int(match[1]) < int(match[2])


def _words(keys: Iterable[GroupKey], name: str) -> str:
    return " ".join(dict.fromkeys(getattr(key, name) for key in keys))


def _sources(groups: Collection[GroupKey], keys: Iterable[GroupKey]) -> list[Link]:
    """Links to the coverage of groups, named by the words not shared by all."""
    shown = [key for key in keys if key in groups]
    titles = [key.words.split() for key in shown]
    shared = set(titles[0]).intersection(*titles) if titles else set()
    return [
        Link(" ".join(w for w in words if w not in shared) or key.subset, coverage_name(key))
        for key, words in zip(shown, titles, strict=True)
    ]


def _facts(analysis: Analysis) -> list[tuple[int, str]]:
    cells = [c for g in analysis.study.groups.values() for c in g.cells.values()]
    counts = (
        (sum(len(cell.runs) for cell in cells), "run"),
        (len({cell.task for cell in cells}), "task"),
        (len({cell.model for cell in cells}), "model"),
        (len({cell.key.mode for cell in cells}), "mode"),
        (len({run.seed for cell in cells for run in cell.runs}), "seed"),
    )
    return [(number, word if number == 1 else f"{word}s") for number, word in counts]


def _filters(keys: Iterable[GroupKey]) -> list[tuple[str, list[str]]]:
    listed = list(keys)
    return [
        (name, list(dict.fromkeys(sorted(getattr(key, name) for key in listed))))
        for name in ("category", "mode", "subset")
    ]


def _cell_row(result: TaskSummary, key: GroupKey, overlapping: Collection[str]) -> dict[str, Any]:
    cell = result.cell
    settings = [
        SHORT_MODES.get(key.mode, key.mode),
        subset_title(key.subset),
        ", ".join([key.protocol, *key.unusual]),
        metric_label(cell.metric),
    ]
    names = [cell.task, cell.model, model_title(cell.model), key.words]
    return {
        "anchor": anchor_of(cell),
        "cell": cell,
        "names": (cell.task, model_title(cell.model)),
        "settings": settings,
        "words": " ".join([*names, *settings]).lower(),
        "scores": [
            score_of(result.iqm, overlaps=overlaps_of([cell], overlapping)),
            Score(result.normalised_iqm.value),
            Score(result.mean.value),
            Score(result.std),
        ],
    }


def _origins(cell: Cell) -> str:
    """Origin of the subset: published or generated; empty for the full split."""
    if cell.key.subset == FULL:
        return ""
    return ", ".join(sorted({run.subset_origin for run in cell.runs} - {""}))


def _figure(spec: FigureSpec, png: Path) -> dict[str, Any]:
    from markupsafe import Markup
    from PIL import Image

    with Image.open(png) as image:
        inches = image.width / DPI
    svg = png.with_suffix(".svg")
    drawn = _photo(png) if spec.is_photo else inline_svg(svg, CSS_INCH / 72)
    return {
        "name": spec.name,
        "title": spec.title,
        "caption": spec.caption,
        "keys": spec.keys,
        "drawn": Markup(drawn),  # noqa: S704 (written by matplotlib, which escapes names)
        "inches": round(inches, 2),
        "is_wide": inches > COLUMN + 0.1,
    }


def _photo(png: Path) -> str:
    """Embed a figure of pictures as WebP."""
    from PIL import Image

    packed = io.BytesIO()
    with Image.open(png) as image:
        # Figures have no transparency.
        image.convert("RGB").save(packed, "WEBP", quality=88, method=4)
        width, height = (round(side / DPI * CSS_INCH) for side in image.size)
    data = base64.b64encode(packed.getvalue()).decode()
    return f'<img src="data:image/webp;base64,{data}" width="{width}" height="{height}" alt="">'


def _unfinished(analysis: Analysis) -> str:
    failed, stopped = analysis.store.unfinished()
    if not failed and not stopped:
        return "The store has no failed or unfinished runs."
    return (
        f"The store also has {len(failed)} failed and {len(stopped)} unfinished runs, not counted "
        "in this report; `marsbench status` lists them."
    )


def _environment(analysis: Analysis) -> list[tuple[str, str]]:
    records = analysis.study.records
    commits = Counter(_commit(record.git) for record in records)
    rows = [("commit of the code", _counted(commits))]
    rows.append(("device", _counted(Counter(record.device for record in records))))
    versions: dict[str, Counter[str]] = {}
    for record in records:
        for name, version in record.environment.items():
            versions.setdefault(name, Counter())[str(version)] += 1
    return rows + [(name, _counted(counts)) for name, counts in sorted(versions.items())]


def _commit(git: Mapping[str, Any] | None) -> str:
    if not git or not git.get("commit"):
        return "not recorded"
    return f"{str(git['commit'])[:12]}{' with uncommitted changes' if git.get('dirty') else ''}"


def _counted(counts: Counter[str]) -> str:
    """List values, the most frequent first, with their counts if there are several."""
    if len(counts) == 1:
        return next(iter(counts))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{value} ({count} runs)" for value, count in ordered)
