"""Whole reports beside the paper's runs."""

import csv
import json
from pathlib import Path

import pytest

from marsbench.report.study.cells import Trouble
from marsbench.results.paper import paper_records
from tests.report.building import build, call, problems
from tests.report.fake_store import Fake, fake_record, make_store

SHARED = [
    fake_record(Fake(task, "resnet101", subset=subset, seed=seed))
    for task in ("frost_cls", "landmark_cls")
    for subset in ("full", "partition_0.05", "few_shot_5")
    for seed in (0, 1, 10)
]
FULL = [record for record in SHARED if record.subset == "full"]
NAME = "classification-frozen-cached"
FIGURES = {
    *(f"paper-curves-partition-{NAME}", f"paper-curves-few-shot-{NAME}"),
    f"paper-violins-{NAME}-full",
}


def test_a_report_beside_the_paper(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SHARED)
    report = build(store, tmp_path / "out", reference=True, only=("tables", "paper"))
    assert {path.stem for path in report.figures} == FIGURES
    assert Trouble.NO_PAPER not in problems(report)
    page = report.index.read_text()
    assert "Frozen classification models, beside the paper" in page
    assert page.index("Frozen classification models, beside the paper") < page.index(
        "Published numbers"
    )
    with (tmp_path / f"out/tables/paper-{NAME}.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["subset"] == "full"]
    # Every model of the paper with these tasks, and the shared one with a difference.
    classifiers = {"inception_v3", "resnet101", "squeezenet1_1", "swinv2_b", "vit_l_16"}
    assert {row["model"] for row in rows if row["task"] == "landmark_cls"} == classifiers
    differing = {(row["task"], row["model"]) for row in rows if row["difference"]}
    assert differing == {
        (task, "resnet101") for task in ("all 2 tasks", "frost_cls", "landmark_cls")
    }
    with (tmp_path / "out/tables/runs-paper.csv").open() as file:
        listed = {row["run_id"]: row for row in csv.DictReader(file)}
    scores = {record.run_id: record.score for record in paper_records()}
    imported = {i: row for i, row in listed.items() if row["record_type"] == "imported"}
    assert set(listed) - set(imported) == {record.run_id for record in SHARED}
    # All amounts of the paper are in the curves.
    tasks = {record.task for record in SHARED}
    assert set(imported) == {
        r.run_id for r in paper_records() if r.task in tasks and r.model in classifiers
    }
    assert all(float(row["score"]) == scores[i] for i, row in imported.items())
    ranges = json.loads((tmp_path / "out/report.json").read_text())["ranges"]
    assert set(ranges) == {
        "Frozen classification models",
        "Frozen classification models beside the paper",
    }


def test_equal_records_give_equal_reports_beside_the_paper(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", FULL)
    texts = []
    for name in ("a", "b"):
        build(store, tmp_path / name, reference=True, only=("tables", "paper"))
        texts.append((tmp_path / name / "index.html").read_bytes())
    assert texts[0] == texts[1]


def test_the_paper_is_not_read_without_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "runs", FULL)
    monkeypatch.setattr("marsbench.report.build.paper_records", None)
    report = build(store, tmp_path / "out", only=("tables", "paper"))
    assert report.figures == ()
    assert not any("paper" in path.stem for path in report.tables)


def test_nothing_to_stand_beside_the_paper(tmp_path: Path) -> None:
    records = [fake_record(Fake("landmark_cls", "resnet101", "finetune", seed=s)) for s in (0, 1)]
    store = make_store(tmp_path / "runs", records)
    out = tmp_path / "out"
    done = call(str(store.root), "--out", str(out), "--only", "paper,tables", "--reference")
    assert json.loads(done.stdout)["figures"] == 0
    assert not any(path.name.startswith("paper") for path in (out / "tables").iterdir())
    written = json.loads((out / "report.json").read_text())
    (problem,) = (p for p in written["problems"] if p["what"] == Trouble.NO_PAPER)
    assert problem["message"].endswith("of the paper: its runs are frozen.")
    page = (out / "index.html").read_text()
    # On the page beside other numbers, and among the problems.
    assert page.count("No run of this report stands beside the") == 2


def test_imported_runs_of_the_paper_are_not_beside_themselves(tmp_path: Path) -> None:
    copies = [r for r in paper_records() if (r.task, r.subset) == ("frost_cls", "full")]
    report = build(make_store(tmp_path / "a", copies), tmp_path / "out", reference=True)
    messages = [p.message for p in report.problems if p.trouble is Trouble.NO_PAPER]
    assert len(messages) == 2
    assert f"{len(copies)} imported runs of frost_cls are runs of the paper" in messages[1]
    assert not any(path.stem.startswith("paper-") for path in report.figures)
    # Beside runs of one's own, the same copies do no harm.
    both = make_store(tmp_path / "b", [*copies, *FULL])
    report = build(both, tmp_path / "both", reference=True, only=("paper",))
    assert {path.stem for path in report.figures} == {f"paper-violins-{NAME}-full"}
