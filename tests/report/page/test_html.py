"""The text of the page; `test_browser` looks at it as a reader does."""

import dataclasses
import re
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from marsbench.base.errors import UnknownNameError
from marsbench.config.identity import run_id
from marsbench.report.build import write_report
from marsbench.report.figures.style import COLUMN, PAGE, SMALLEST
from marsbench.report.page.fit import fitted, lifted
from marsbench.report.tables.forms import Column, Entry, Score, Table
from marsbench.results.record import RunRecord
from tests.report.fake_store import Fake, fake_record, make_store


def runs(task: str = "frost_cls", models: tuple[str, ...] = ("vit_l_16",)) -> list[RunRecord]:
    return [fake_record(Fake(task, model, seed=seed)) for model in models for seed in (0, 1, 10)]


def page_of(
    folder: Path, records: list[RunRecord], only: str = "tables", reference: bool = False
) -> str:
    store = make_store(folder / "runs", records)
    built = write_report(store.root, folder / "out", only=(only,), rounds=50, reference=reference)
    return built.index.read_text(encoding="utf-8")


def figures_of(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg .*?</svg>", text, re.DOTALL)]


def test_figures_have_values_and_text_of_seven_points(tmp_path: Path) -> None:
    text = page_of(tmp_path, runs(models=("vit_l_16", "resnet101")), "violins")
    (figure,) = figures_of(text)
    width = float(figure.attrib["viewBox"].split()[2]) / 72
    assert width in (pytest.approx(COLUMN), pytest.approx(PAGE))
    texts = figure.findall(".//text")
    sizes = [float(re.search(r"([\d.]+)px", t.attrib["style"])[1]) for t in texts]  # type: ignore[index]
    assert min(sizes) >= SMALLEST
    assert {t.text for t in texts} >= {"ViT-L/16", "ResNet-101", "frost_cls"}
    tips = [title.text or "" for title in figure.iter("title")]
    assert len(tips) == 2 + 6  # two models and their runs
    assert re.fullmatch(r"ViT-L/16: 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", tips[-2])
    assert "@font-face { font-family: 'Report sans'" in text


def test_a_title_and_another_font(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", runs())
    options: Any = {"title": "Frost & <ice>", "font": "serif", "only": ("violins",), "rounds": 20}
    built = write_report(store.root, tmp_path / "out", **options)
    text = built.index.read_text(encoding="utf-8")
    assert "<h1>Frost &amp; &lt;ice&gt;</h1>" in text
    assert "Runs of 1 January 2026." in text
    assert "font-family: 'Report serif'" in text
    assert "Report sans" not in text
    pdf = next(path for path in built.figures if path.suffix == ".pdf").read_bytes()
    assert b"Reportserif" in pdf
    with pytest.raises(UnknownNameError, match="comic"):
        write_report(store.root, tmp_path / "out", font="comic")


def test_captions_stand_once(tmp_path: Path) -> None:
    records = [
        fake_record(Fake("frost_cls", "vit_l_16", mode, seed=seed))
        for mode in ("frozen", "finetune")
        for seed in (0, 1)
    ]
    text = page_of(tmp_path, records, "violins")
    assert text.count("shapes the distribution of 50 rounds") == 1
    assert text.index("Scores of each task") < text.index('<table id="scores">')
    assert lifted(["A is b. C is d.", "A is b. E is f."]) == ("A is b.", ["C is d.", "E is f."])
    assert lifted(["A is b."]) == ("", ["A is b."])


def test_wide_tables_are_transposed() -> None:
    names = ["model", *(f"task {number}" for number in range(20))]
    row: list[Entry] = ["vit_l_16", *(Score(0.5, 0.4, 0.6) for _ in names[1:])]
    table, is_dense = fitted(Table("t", "t", "c", list(map(Column, names)), [row, row]))
    assert [column.name for column in table.columns] == ["", "ViT-L/16", "ViT-L/16"]
    assert (len(table.rows), is_dense) == (20, False)
    assert fitted(Table("t", "t", "c", list(map(Column, names)), [row] * 40))[1]
    small = Table("t", "t", "c", [Column("model")], [["vit_l_16"]])
    assert fitted(small) == (small, False)


def test_other_settings_are_told_apart_in_the_row(tmp_path: Path) -> None:
    kept = runs()
    identity = {**kept[0].identity, "optim": {"lr": 0.5}}
    name = run_id("frost_cls", "vit_l_16", "frozen", "full", 0, identity)
    other = dataclasses.replace(kept[0], identity=identity, run_id=name)
    text = page_of(tmp_path, [*kept, other])
    digest = name.rpartition("-")[2]
    assert f"<li>{digest} (optim.lr=0.5 instead of 0.001)</li>" in text


def test_the_origin_of_a_subset_is_in_the_row(tmp_path: Path) -> None:
    records = [
        fake_record(Fake("frost_cls", "vit_l_16", subset="few_shot_5", seed=seed))
        for seed in (0, 1)
    ]
    drawn = [
        dataclasses.replace(one, data={**one.data, "subset_origin": "generated"}) for one in records
    ]
    assert "<p>Subset: generated.</p>" in page_of(tmp_path, drawn)


def test_a_comparison_with_nothing_says_so(tmp_path: Path) -> None:
    text = page_of(tmp_path, runs("crater_det", ("retinanet",)), reference=True)
    beside = text.partition('<section id="beside">')[2].partition("</section>")[0]
    assert "has no number for the tasks of this report." in beside
    assert "runs of the paper: crater_det not among its 17 tasks." in beside
    assert "<table" not in beside


def test_it_is_said_that_normalised_scores_equal_raw_ones(tmp_path: Path) -> None:
    two = runs("frost_cls", ("vit_l_16", "resnet101")) + runs("landmark_cls")
    assert "which leaves them as they are" in page_of(tmp_path / "f1", two)
    loss = runs("ega_ms", ("lightgbm", "cnn_1d"))
    assert "which leaves them as they are" not in page_of(tmp_path / "loss", loss)


def test_ids_are_single_also_of_names_that_look_alike(tmp_path: Path) -> None:
    one = fake_record(Fake("frost_cls", "vit_l_16"))
    start, digest = one.run_id.rpartition("/")[0], one.run_id.rpartition("-")[2]
    records = [
        dataclasses.replace(
            one,
            model=model,
            seed=seed,
            run_id=f"{start.replace('vit_l_16', 'a-b')}/{seed}-{digest}",
        )
        for seed, model in enumerate(("a/b", "a-b"))
    ]
    ids = Counter(re.findall(r' id="([^"]*)"', page_of(tmp_path, records)))
    assert len(ids) > 10
    assert [name for name, count in ids.items() if count > 1] == []


def test_runs_of_the_other_store_are_listed(tmp_path: Path) -> None:
    here, there = make_store(tmp_path / "a", runs()), make_store(tmp_path / "b", runs()[:2])
    built = write_report(
        here.root, tmp_path / "out", only=("tables",), rounds=50, compare=there.root
    )
    listed = (built.index.parent / "tables" / "runs-there.csv").read_text().splitlines()[1:]
    assert [line.partition(",")[0] for line in listed] == [run.run_id for run in runs()[:2]]
    text = built.index.read_text(encoding="utf-8")
    anchor = f"there-cell-{runs()[0].run_id}"
    assert f'id="{anchor}"' in text
    assert f'href="#{anchor}"' in text
