"""Which runs stand beside the paper's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from marsbench.report.study.cells import StudyProblem, Trouble
from marsbench.report.study.paper import Pairing, beside_paper
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS
from marsbench.tasks.catalog import TASKS
from tests.report.fake_store import Fake, fake_record, make_store, paper_record

TASKS_HERE = ("frost_cls", "landmark_cls")
PAPER = [
    paper_record(Fake(task, model, subset=subset, seed=seed))
    for task in ("frost_cls", "landmark_cls", "domars16k")
    for model in ("resnet101", "vit_l_16")
    for subset in ("full", "partition_0.05", "few_shot_5")
    for seed in (0, 1, 10)
]


def paired(
    folder: Path, records: list[RunRecord], paper: list[RunRecord] | None = None
) -> tuple[list[Pairing], list[StudyProblem]]:
    return beside_paper(make_store(folder, records), records, PAPER if paper is None else paper)


def ours(**fields: Any) -> list[RunRecord]:
    return [
        fake_record(Fake(task, "resnet101", seed=seed), **fields)
        for task in TASKS_HERE
        for seed in (0, 1)
    ]


def test_a_family_beside_the_paper(tmp_path: Path) -> None:
    extra = fake_record(Fake("landmark_cls", "squeezenet1_1", subset="partition_0.20"))
    (pairing,), problems = paired(tmp_path, [*ours(), extra])
    assert problems == []
    assert pairing.family.family_title == "Frozen classification models"
    assert list(pairing.ours) == ["partition_0.20", "full"]
    assert list(pairing.papers) == ["few_shot_5", "partition_0.05", "full"]
    assert pairing.shared == {"full": TASKS_HERE}
    mine, its = pairing.ours["full"], pairing.papers["full"]
    # One metric per task, the paper's, on both sides; and no task that the report lacks.
    expected = {"frost_cls": "f1_positive", "landmark_cls": "f1_weighted"}
    assert mine.metrics == its.metrics == expected
    assert mine.key == its.key == pairing.family
    scores = [r.score for r in PAPER if r.run_id in its.cells["frost_cls", "vit_l_16"].run_ids]
    assert its.cells["frost_cls", "vit_l_16"].scores.tolist() == scores
    assert its.cells["frost_cls", "vit_l_16"].seeds == (0, 1, 10)


def test_protocols_and_views_are_families_of_their_own(tmp_path: Path) -> None:
    online = [
        fake_record(Fake("frost_cls", "resnet101", seed=seed), protocol="online") for seed in (3, 4)
    ]
    pairings, _ = paired(tmp_path, [*ours(), *online])
    assert [p.family.protocol for p in pairings] == ["cached", "online"]
    assert [p.shared["full"] for p in pairings] == [TASKS_HERE, ("frost_cls",)]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"data": {"source": "demo", "classes": ["a", "b"]}}, "all are on demo data"),
        ({"mode": "finetune"}, "its runs are frozen"),
        ({"task": "mine"}, "mine not among its 3 tasks"),
        ({"identity": {"imbalance": "oversample"}}, "all have a method for unequal classes"),
        ({"data": {"source": "local", "scored_split": "oof"}}, "none is scored on the test split"),
        ({"record_type": "evaluation"}, "all are evaluations on other data"),
        ({"subset": "partition_0.50"}, "none has a subset of the paper"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_runs_that_cannot_stand_beside_it(
    fields: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    records = [replace(record, **fields) for record in ours()]
    if split := fields.get("data", {}).get("scored_split"):
        records = [replace(r, metrics={split: r.metrics["test"]}) for r in records]
    store = make_store(tmp_path, ours())
    pairings, (problem,) = beside_paper(store, records, PAPER)
    assert pairings == []
    assert problem.trouble is Trouble.NO_PAPER
    assert "No run of this report stands beside the 54 runs of the paper" in problem.message
    assert reason in problem.message


def test_only_the_metric_of_the_task(tmp_path: Path) -> None:
    weighted = [
        paper_record(
            Fake("frost_cls", "swin_v2_b", seed=seed),
            headline="f1_weighted",
            metrics={"test": {"f1_weighted": 0.9}},
        )
        for seed in range(9)
    ]
    (pairing,), _ = paired(tmp_path, ours(), [*PAPER, *weighted])
    assert pairing.papers["full"].models == ("resnet101", "vit_l_16")


def test_runs_without_predictions_are_named(tmp_path: Path) -> None:
    records = ours()
    store = make_store(tmp_path, records)
    for record in records:
        (store.folder(record.run_id) / PREDICTIONS).unlink()
    (pairing,), (problem,) = beside_paper(store, records, PAPER)
    assert pairing.shared == {"full": ("landmark_cls",)}
    assert problem.trouble is Trouble.NO_PAPER
    assert problem.message.startswith("Left out, without f1_positive: frost_cls/resnet101/")
    assert problem.run_ids == tuple(r.run_id for r in records if r.task == "frost_cls")
    pairings, (first, _) = beside_paper(store, records[:2], PAPER)
    assert pairings == []
    assert "none has a subset of the paper and the paper's metric" in first.message


def test_the_papers_own_runs_do_not_stand_beside_themselves(tmp_path: Path) -> None:
    copies = [replace(r, metrics={"test": {r.headline: (r.score or 0) + 4e-7}}) for r in PAPER[:6]]
    pairings, (first, second) = paired(tmp_path / "a", copies)
    assert pairings == []
    assert "its only comparable runs are imported runs of the paper" in first.message
    assert second.message == (
        "6 imported runs of frost_cls are runs of the paper, and not drawn beside themselves."
    )
    assert second.run_ids == tuple(record.run_id for record in copies)
    # Runs of the same code with other scores are somebody else's.
    others = [replace(r, metrics={"test": {r.headline: (r.score or 0) - 0.01}}) for r in copies]
    (pairing,), problems = paired(tmp_path / "b", others)
    assert pairing.family.protocol == "upstream"
    assert problems == []


def test_data_of_another_size_are_named(tmp_path: Path) -> None:
    sizes = TASKS["landmark_cls"].sizes
    data = {"source": "local", "classes": ["a", "b"], "num_test": 200}
    records = [replace(record, data=data) for record in ours()]
    (pairing,), _ = paired(tmp_path / "a", records)
    assert pairing.remarks["landmark_cls"] == f"200 test images here, {sizes['test']:,} published"
    fitting = [replace(r, data={**data, "num_test": sizes["test"]}) for r in records]
    (pairing,), _ = paired(tmp_path / "b", fitting)
    assert set(pairing.remarks) == {"frost_cls"}
