"""Tables, pages and texts of the app, without a server."""

import html
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.leaderboard.app import pages, tables, texts
from marsbench.leaderboard.app.scatter import Point, front_of, scatter
from marsbench.leaderboard.app.upload import result
from marsbench.leaderboard.app.words import cut, duration, link, millions, safe
from marsbench.leaderboard.board.entries import Entry
from marsbench.leaderboard.board.live import Live
from marsbench.leaderboard.board.tasksets import Choice, categories, kinds
from marsbench.leaderboard.schema import Author, Check, Finding
from marsbench.models.pretraining import RANDOM, Pretraining
from marsbench.report.statistics.summary import Estimate
from tests.leaderboard.fakes import many, put, some_scores

HOSTILE = '<img src=x onerror="alert(1)">\u202e\x1b[31m=1+1 & "quoted" \'single\''

VALUES: tuple[Any, ...] = ("headline metric", "", [], [], "full", [], [], "any")
"""Filters that keep all entries of the full train split."""


BAR = r'(<span class="interval">[\w<>="/ :;.%-]+)?'
"""Form of the only cells that are markup: numbers in our own tags."""


def views_of(live: Live) -> Any:
    """Views of the app; imported by the tests that need them, since gradio takes seconds."""
    from marsbench.leaderboard.app.views import Views

    return Views(live)


class Reader(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Live:
    folder: Path = tmp_path_factory.mktemp("results")
    many(folder, 40, seeds=(0, 1, 10))
    put(
        folder,
        "hostile",
        some_scores(np.random.default_rng(1), categories()["classification"].tasks, (0, 1)),
        parameters=None,
        weights=HOSTILE,
        licence=HOSTILE,
        note=HOSTILE,
        author=Author(name=HOSTILE, organisation=HOSTILE, link="https://example.org/a"),
        pretraining=Pretraining(data=HOSTILE, overlaps=(HOSTILE,)),
        findings=(Finding(where=HOSTILE, problem=HOSTILE, is_error=False),),
    )
    return Live(results=str(folder))


@pytest.fixture
def hostile(live: Live) -> Entry:
    entry = live.board.entry("submission/hostile")
    assert entry is not None
    return entry


def test_words() -> None:
    assert safe("<b>&\"'") == "&lt;b&gt;&amp;&quot;&#x27;"
    assert safe("a\u202eb\x1b\n") == r"a\u202eb\x1b\n"
    assert len(cut("x" * 100)) == 60
    assert millions(25_600_000) == "25.6 M"
    assert millions(None) == duration(None) == "unknown"
    assert [duration(s) for s in (3.21, 90, 7200)] == ["3.2 s", "1.5 min", "2.0 h"]


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org",
        "javascript:alert(1)",
        "https://example.org/ onmouseover=x",
        'https://example.org/"onmouseover="x',
        "https://example.org/<b>",
        "data:text/html,x",
        "",
    ],
)
def test_only_plain_https_addresses_are_links(address: str) -> None:
    assert Reader(link(address)).tags == []


def test_a_link() -> None:
    reader = Reader(link("https://example.org/a?b=1&c=2"))
    assert dict(reader.attributes)["href"] == "https://example.org/a?b=1&c=2"
    assert dict(reader.attributes)["rel"] == "noopener nofollow"
    assert reader.text == "example.org/a?b=1&c=2"


def test_an_address_ends_where_its_link_ends() -> None:
    reader = Reader(link("https://a.b/)[x](javascript:1)|"))
    assert reader.tags == ["a"]
    href = dict(reader.attributes)["href"]
    assert href == "https://a.b/%29%5Bx%5D%28javascript:1%29%7C"


def test_names_of_submissions_are_text(live: Live, hostile: Entry) -> None:
    page = pages.model_page(hostile, live.board.entries, Choice.HEADLINE)
    reader = Reader(page)
    # The only images are the figures.
    sources = [value or "" for name, value in reader.attributes if name == "src"]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/png;base64,")
    assert not any(name.startswith("on") for name, _ in reader.attributes)
    assert '<img src=x onerror="alert(1)">' in html.unescape(reader.text)
    assert "\u202e" not in page
    assert "\x1b" not in page
    other = live.board.entries[-1]
    pair = Reader(pages.pair_page(hostile, other, Choice.HEADLINE))
    assert not any(name.startswith("on") for name, _ in pair.attributes)


def test_cells_of_names_are_of_type_text(live: Live) -> None:
    views = views_of(live)
    for filled in (
        views.overall(VALUES, "classification"),
        views.kind(VALUES, "binary classification"),
        views.capability(VALUES, "classification", "landform"),
        views.efficiency(VALUES, "classification"),
    ):
        value = filled.table.value
        assert len(value["data"]) == len(filled.table.names) > 10
        shown = value["metadata"]["display_value"]
        for kind, *column in zip(filled.table.kinds, *shown, strict=True):
            if kind == "html":
                assert all(
                    re.fullmatch(r'(<span class="interval">[\w<>="/ :;.%-]+)?', c) for c in column
                )
        if filled.picture:
            assert not any(name.startswith("on") for name, _ in Reader(filled.picture).attributes)


def test_a_ranking(live: Live) -> None:
    table = views_of(live).overall(VALUES, "classification").table
    value = table.value
    titles = value["headers"]
    assert titles[:3] == ["#", "Model", "IQM"]
    places = [row[0] for row in value["data"]]
    complete = [place for place in places if place is not None]
    assert complete == list(range(1, len(complete) + 1))
    assert places == complete + [None] * (len(places) - len(complete))
    # Incomplete entries show no aggregate.
    texts_of = dict(zip(titles, value["metadata"]["display_value"][-1], strict=True))
    assert texts_of["IQM"] == texts_of["#"] == texts_of["Mean rank"] == "\N{EN DASH}"
    assert texts_of["Tasks"].endswith("incomplete")
    first = dict(zip(titles, value["metadata"]["display_value"][0], strict=True))
    assert re.fullmatch(r"0\.\d{3}", first["IQM"])
    assert first["Overlap"] in ("none known", "possible", "unknown")
    assert first["Scores"] == "consistent"


def test_partial_submissions_are_marked(tmp_path: Path) -> None:
    scores = some_scores(np.random.default_rng(0), categories()["detection"].tasks, (0, 1))
    put(tmp_path, "few", scores, partial=True, weights="", pretraining=RANDOM)
    live = Live(results=str(tmp_path))
    value = views_of(live).overall(VALUES, "detection").table.value
    row = dict(zip(value["headers"], value["metadata"]["display_value"][0], strict=True))
    assert (row["#"], row["Seeds"], row["Scores"]) == ("1", "2", "consistent, partial")
    entry = live.board.entry("submission/few")
    assert entry is not None
    page = pages.model_page(entry, [entry], Choice.HEADLINE)
    assert "<dt>Initial weights</dt><dd>random</dd>" in page


def test_the_first_rows(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marsbench.leaderboard.app.views.FIRST_ROWS", 7)
    views = views_of(live)
    part, every = (
        views.efficiency((*VALUES, ticked), "classification") for ticked in (False, True)
    )
    assert part.table.names == every.table.names[:7]
    assert len(every.table.names) > 10
    assert "The table has the first 7" in part.caption
    assert "The table has" not in every.caption
    # Figures show all entries.
    assert part.picture == every.picture
    assert part.picture is not None
    assert part.picture.count("<circle") > 14


def test_columns_of_tasks_and_groups(live: Live) -> None:
    views = views_of(live)
    titles = views.kind(VALUES, "binary classification").table.value["headers"]
    assert set(kinds()["binary classification"].tasks) <= set(titles)
    titles = views.capability(VALUES, "segmentation", "sensor").table.value["headers"]
    assert "CTX (2)" in titles
    assert "THEMIS (2)" in titles


def test_no_entry(live: Live) -> None:
    filled = views_of(live).overall(VALUES, "spectra")
    assert filled.table.names == []
    assert filled.table.value["data"] == []
    assert "0 entries" in filled.caption


def test_the_heading_counts(live: Live) -> None:
    text = Reader(texts.heading(live.board)).text
    assert "53 entries" in text  # 41 submissions and the paper's 12
    assert "20 of 22 tasks" in text


@pytest.mark.parametrize("choice", Choice)
def test_captions_name_metric_and_ranges(choice: Choice) -> None:
    text = texts.caption(categories()["classification"], choice, 3, 2)
    assert "3 entries, 2 with all" in text
    version = "paper 1" if choice is Choice.PAPER else "reference 1"
    assert f"Version of the ranges: {version}." in text
    assert "version: paper 1, reference 1" in texts.about()
    assert ("F1 of class 1" in text) == (choice is Choice.PAPER)
    assert ("change_cls_ctx" in text) == (choice is Choice.PAPER)
    assert "{" not in texts.about() + texts.submit()


def test_bars_of_intervals() -> None:
    bar = tables._bar(Estimate(0.5, 0.25, 0.75)).text
    assert "left:25.0%;width:50.0%" in bar
    assert "0.250 to 0.750" in bar
    assert "left:0.0%;width:100.0%" in tables._bar(Estimate(0.5, -3.0, 1.2)).text
    assert "one seed" in tables._bar(Estimate(0.5, math.nan, math.nan)).text


def test_a_pair(live: Live) -> None:
    first, second = (
        entry
        for entry in live.board.entries
        if entry.name in ("submission/model-0000", "submission/model-0001")
    )
    text = Reader(pages.pair_page(first, second, Choice.HEADLINE)).text
    match = re.search(r"Probability of improvement: (\d\.\d{3})", text)
    assert match
    plain = np.mean(
        [
            np.mean(
                [
                    (x > y) + 0.5 * (x == y)
                    for x in first.scores[task, "f1_weighted"].values()
                    for y in second.scores[task, "f1_weighted"].values()
                ]
            )
            for task in categories()["classification"].tasks
        ]
    )
    assert float(match[1]) == pytest.approx(plain, abs=5e-4)
    back = Reader(pages.pair_page(second, first, Choice.HEADLINE)).text
    other = re.search(r"Probability of improvement: (\d\.\d{3})", back)
    assert other
    assert float(other[1]) == pytest.approx(1 - plain, abs=5e-4)
    assert "9 shared tasks" in text


def test_a_pair_without_a_shared_task(live: Live) -> None:
    first, second = (
        live.board.entry("submission/model-0000"),
        live.board.entry("submission/model-0004"),
    )
    assert first is not None
    assert second is not None
    assert "share no task" in pages.pair_page(first, second, Choice.HEADLINE)


def test_curves_of_the_papers_models() -> None:
    board = Live().board
    (vit,) = [e for e in board.entries if (e.model, e.subset) == ("vit_l_16", "full")]
    page = pages.model_page(vit, board.entries, Choice.PAPER)
    assert page.count("<img ") == 3  # scores, partitions, few shots
    assert "scores as published" in page
    assert "https://arxiv.org/abs/2510.24010" in page
    assert "No task has a score" in pages.model_page(
        next(e for e in board.entries if e.model == "unet"), board.entries, Choice.HEADLINE
    )


def test_points_without_a_better_and_cheaper_one() -> None:
    points = [
        Point(cost, Estimate(value, value - 0.1, value + 0.1), name)
        for cost, value, name in ((10, 0.5, "a"), (20, 0.4, "b"), (30, 0.9, "c"), (10, 0.3, "d"))
    ]
    assert [point.label for point in front_of(points)] == ["a", "c"]
    reader = Reader(scatter(points, "Size", "parameters"))
    assert reader.tags.count("circle") == 4
    assert reader.text.count("a: IQM 0.500") == 1
    # Of names that would overlap, that of the better point is shown.
    near = [
        Point(10, Estimate(0.5, 0.5, 0.5), "low"),
        Point(11, Estimate(0.502, 0.5, 0.51), "high"),
    ]
    near.append(Point(1000, Estimate(0.9, 0.9, 0.9), "far"))
    text = scatter(near, "Size", "parameters")
    assert [name for name in ("low", "high", "far") if f">{name}</text>" in text] == ["high", "far"]
    assert "nan" not in scatter([Point(5, Estimate(0.5, math.nan, math.nan), "e")], "a", "b")


def test_findings_of_an_upload() -> None:
    wrong = Finding(where=HOSTILE, problem=HOSTILE, remedy="Run it again.")
    reader = Reader(result(Check(checked="", findings=(wrong,)), HOSTILE))
    assert "is not valid: 1 error" in reader.text
    assert "Run it again." in reader.text
    assert "img" not in reader.tags
