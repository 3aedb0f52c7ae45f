"""The text of the page; `test_browser` looks at it as a reader does."""

import base64
import dataclasses
import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from marsbench.config.identity import run_id
from marsbench.report.build import write_report
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


def test_pictures_are_packed_without_loss(tmp_path: Path) -> None:
    text = page_of(tmp_path, runs(), "violins")
    (packed,) = re.findall(r'src="data:image/webp;base64,([^"]+)"', text)
    (png,) = (tmp_path / "out" / "figures").glob("*.png")
    content = base64.b64decode(packed)
    assert len(content) < 0.6 * png.stat().st_size
    with Image.open(io.BytesIO(content)) as here, Image.open(png) as there:
        np.testing.assert_array_equal(np.asarray(here), np.asarray(there.convert("RGB")))


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
