"""Page of a report: a single HTML file without external resources."""

import base64
import io
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from marsbench.base.text import visible
from marsbench.base.version import __version__
from marsbench.report.analysis import Analysis
from marsbench.report.figures.spec import FAMILIES, FigureSpec
from marsbench.report.figures.style import DPI
from marsbench.report.statistics.summary import LEVEL, TaskSummary
from marsbench.report.study.cells import (
    DEMO,
    FULL,
    NONE,
    Cell,
    GroupKey,
    StudyProblem,
    metric_label,
)
from marsbench.report.tables.build import Tables, coverage_name
from marsbench.report.tables.entries import THERE, anchor_of, overlap_note, overlaps_of, score_of
from marsbench.report.tables.forms import Link, Score

PAGE = Path(__file__).parent

CSS_INCH = 130
"""CSS pixels per inch of a figure; larger than 96, since 7.5 points are small on a screen."""

Figures = Mapping[str, Sequence[tuple[FigureSpec, Path]]]
"""Drawn figures and paths of their PNG, by family."""


def page(
    analysis: Analysis,
    title: str,
    *,
    figures: Figures,
    tables: Tables,
    problems: Sequence[StudyProblem],
    compared: Analysis | None = None,
) -> str:
    """Render the page.

    Args:
        analysis: Estimates.
        title: Title of the page.
        figures: Figures to embed.
        tables: Tables; aggregates over all tasks come first.
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
    return environment.get_template("index.html.j2").render(
        title=title,
        version=__version__,
        css=Markup((PAGE / "style.css").read_text(encoding="utf-8")),  # noqa: S704
        script=Markup((PAGE / "script.js").read_text(encoding="utf-8")),  # noqa: S704
        facts=_facts(analysis),
        filters=_filters(analysis.study.groups),
        overall=[table for table in tables.groups if table.name.startswith("overall-")],
        tables=[table for table in tables.groups if not table.name.startswith("overall-")],
        cells=cells,
        overlap_note=overlap_note(row["scores"][0] for row in cells),
        elsewhere=elsewhere,
        anchors=anchors,
        families=[
            {"title": FAMILIES[name].title, "figures": [_figure(*figure) for figure in drawn]}
            for name, drawn in figures.items()
        ],
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
    titles = [key.title.split() for key in shown]
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
    more = [key.protocol]
    more += [f"imbalance={key.imbalance}"] if key.imbalance != NONE else []
    more += [key.averaged] if key.views != NONE else []
    more += [f"train_on={key.train_on}"] if key.train_on != NONE else []
    more += ["demo data"] if key.data == DEMO else []
    shown = [cell.task, cell.model, key.mode, key.subset, ", ".join(more)]
    shown.append(metric_label(cell.metric))
    return {
        "anchor": anchor_of(cell),
        "cell": cell,
        "shown": shown,
        "words": " ".join([*shown, key.category]).lower(),
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
    content, width, height = _webp(png)
    return {
        "name": spec.name,
        "title": spec.title,
        "caption": spec.caption,
        "keys": spec.keys,
        "webp": base64.b64encode(content).decode(),
        "width": round(width / DPI * CSS_INCH),
        "height": round(height / DPI * CSS_INCH),
    }


def _webp(png: Path) -> tuple[bytes, int, int]:
    """Convert a PNG to lossless WebP, a third of the size; with width and height in pixels."""
    from PIL import Image

    packed = io.BytesIO()
    with Image.open(png) as image:
        # Figures have no transparency.
        image.convert("RGB").save(packed, "WEBP", lossless=True, quality=80, method=4)
        return packed.getvalue(), *image.size


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
