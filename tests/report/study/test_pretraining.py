"""Pre-training in reports: its table, and marks of scores on images that it may have seen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from marsbench.models.pretraining import OVERLAP_WARNING, RANDOM, UNKNOWN, Pretraining
from marsbench.models.zoo.catalog import MODELS
from marsbench.report.build import write_report
from marsbench.report.study.pretraining import pretraining_of
from marsbench.report.tables.forms import OVERLAP
from tests.report.fake_store import Fake, fake_record, make_store

MARS = Pretraining(data="MRO CTX tiles", images=1_200_000, overlaps=("landmark_cls",))
EARTH = Pretraining(data="ImageNet-1k", images=1_281_167, licence="Apache-2.0", overlaps=())


COLUMNS = ["model", "initial weights", "pre-training data", "images", "licence of the weights"]
COLUMNS += ["overlap with test images"]


def default_of(model: str) -> Any:
    weights = MODELS[model].weights
    assert weights is not None
    return weights


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (None, RANDOM),
        ({"name": default_of("resnet101").name}, default_of("resnet101").pretraining),
        ({"name": "sha256:0123"}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)
def test_records_of_earlier_versions(weights: Any, expected: Pretraining) -> None:
    record = replace(fake_record(Fake("frost_cls", "resnet101")), weights=weights)
    assert pretraining_of(record) == expected
    # Whatever the weights are called, what a record says is so.
    assert pretraining_of(replace(record, pretraining=MARS)) == MARS


def test_imported_runs_say_nothing() -> None:
    record = replace(fake_record(Fake("frost_cls", "resnet101")), record_type="imported")
    assert pretraining_of(record) == UNKNOWN


def test_report(tmp_path: Path) -> None:
    records = []
    for model, pretraining in (("vit_l_16", MARS), ("resnet101", EARTH)):
        for task in ("frost_cls", "landmark_cls"):
            record = fake_record(Fake(task, model))
            weights = {"name": f"{model}.weights"}
            records.append(replace(record, weights=weights, pretraining=pretraining))
    records.append(fake_record(Fake("frost_cls", "squeezenet1_1", "scratch")))
    store = make_store(tmp_path / "runs", records)
    write_report(store.root, tmp_path / "out", rounds=20, only=("tables",))
    tables = tmp_path / "out" / "tables"
    lines = (tables / "pretraining.csv").read_text().splitlines()
    assert lines == [
        ",".join(COLUMNS),
        "resnet101,resnet101.weights,ImageNet-1k,1281167,Apache-2.0,none known",
        "vit_l_16,vit_l_16.weights,MRO CTX tiles,1200000,,possible: landmark_cls",
    ]
    scores = (tables / "scores-classification-frozen-cached-full.md").read_text()
    assert f"{OVERLAP} {OVERLAP_WARNING}" in scores
    rows = {line.split(" | ")[0]: line for line in scores.splitlines() if " | " in line}
    frost, landmark = rows["| ViT-L/16"].split(" | ")[1:]
    assert OVERLAP in landmark
    assert OVERLAP not in frost
    assert OVERLAP not in rows["| ResNet-101"]
    assert r"$^\ddagger$" in (tables / "scores-classification-frozen-cached-full.tex").read_text()
    page = (tmp_path / "out" / "index.html").read_text()
    # In the scores, the aggregate over tasks, and their captions; in the list of all scores.
    assert page.count(f"{OVERLAP}</a>") == 2
    assert page.count(f"{OVERLAP}</td>") == 1
    assert page.count(OVERLAP_WARNING) == 4
    assert 'id="pretraining"' in page
