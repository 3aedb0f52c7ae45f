"""Tables of scores per group of samples, from stored predictions."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from marsbench.report.analysis import analyse, with_groups_of_samples
from marsbench.report.study.scores import open_study
from marsbench.report.tables.by_group import group_tables
from marsbench.report.tables.forms import Score
from marsbench.results.store import PREDICTIONS, Store
from tests.report.fake_store import Fake, fake_record, make_store


def test_tables_of_tasks_whose_samples_have_groups(tmp_path: Path) -> None:
    fakes = [Fake("frost_cls", m, seed=s) for m in ("vit_l_16", "resnet101") for s in (0, 1)]
    fakes += [Fake("mmls", "unet")]
    store = make_store(tmp_path, map(fake_record, fakes))
    expected: dict[tuple[str, str], list[float]] = {}
    for record in store.records()[0]:
        if record.task != "frost_cls":
            continue
        frame = store.predictions(record.run_id)
        regions = ["north" if i % 4 else "south" for i in range(len(frame))]
        frame["meta"] = [json.dumps({"region": region}) for region in regions]
        frame.to_parquet(store.folder(record.run_id) / PREDICTIONS, index=False)
        for name in ("north", "south"):
            chosen = (frame["split"] == "test") & (np.array(regions) == name)
            guess = [int(np.argmax(row)) for row in frame["scores"][chosen]]
            score = f1_score(frame["target"][chosen], guess, average="weighted")
            expected.setdefault((record.model, name), []).append(score)
    analysis = with_groups_of_samples(analyse(store, open_study(store), rounds=50))
    (table,) = group_tables(analysis)
    assert table.name == "groups-frost_cls-classification-frozen-cached-full"
    names = [column.name.partition(" ")[0] for column in table.columns[1:]]
    assert names == ["region:north", "region:south"]
    for model, *scores in table.rows:
        for name, score in zip(("north", "south"), scores, strict=True):
            assert isinstance(score, Score)
            assert score.value == pytest.approx(np.mean(expected[str(model), name]))
    path = Store(tmp_path).folder(store.records()[0][0].run_id) / PREDICTIONS
    path.write_bytes(b"PAR1")
    analysis = with_groups_of_samples(analyse(store, open_study(store), rounds=50))
    assert "Without groups of samples" in analysis.by_group_problems[0].message
