"""Runs within a group of samples: train, val and folds keep to it, test never changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marsbench
from marsbench.base.errors import ConfigError, DataError
from marsbench.config.schema import RunConfig
from marsbench.metrics.groups import fields_of
from marsbench.plan.resolve import Plan, resolve
from marsbench.report.study.scores import study_of
from marsbench.results.ensemble.combine import make_ensemble
from marsbench.results.groups import groups_of
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.training.parts import parts_of
from tests.challenges import keys as spectra_keys
from tests.fakes import add_column, make_spec, write_folder, write_spec
from tests.training.frozen.banks import config, run_all

REGIONS = ["Isidis", "Isidis", "Utopia", "Isidis", "Isidis"]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A custom task whose samples are of two regions."""
    folder = write_folder(make_spec(), tmp_path_factory.mktemp("sites"))
    add_column(folder, "region", REGIONS)
    add_column(folder, "site", ["north", *["south"] * 44])
    return str(write_spec(make_spec(), folder / "task.yaml"))


def plan_of(task: str, tmp_path: Path, **more: Any) -> Plan:
    keys = {"task": task, "model": "timm:test_resnet", "mode": "scratch", "store": str(tmp_path)}
    return resolve(RunConfig.from_dict(keys | {"workers": 0, "trainer.max_epochs": 1} | more))


def regions(plan: Plan, split: str, indices: Any) -> set[str]:
    meta = plan.source.rows(split).meta
    assert meta is not None
    chosen = range(len(meta)) if indices is None else indices
    return {str(meta[int(i)]["region"]) for i in chosen}


def stored_regions(tmp_path: Path, record: RunRecord) -> dict[str, list[str]]:
    table = Store(tmp_path).predictions(record.run_id)
    return {str(split): fields_of(part)["region"] for split, part in table.groupby("split")}


def test_the_group_is_in_the_id_and_one_spelling_is_canonical(sites: str, tmp_path: Path) -> None:
    plain, within = plan_of(sites, tmp_path), plan_of(sites, tmp_path, train_on="Utopia")
    assert "train_on" not in plain.identity
    assert within.identity["train_on"] == "region:Utopia"
    assert within.run_id == plan_of(sites, tmp_path, train_on="region:Utopia").run_id
    assert within.run_id != plain.run_id
    (part,) = parts_of(within)
    assert part.val is not None
    assert part.train.indices is not None
    assert regions(within, "train", part.train.indices) == {"Utopia"}
    assert regions(within, "val", part.val.indices) == {"Utopia"}
    assert part.scored["val"] == part.val
    assert part.scored["test"].indices is None
    assert within.num_samples == {"train": 5, "val": 2, "test": 12}
    assert sum(within.train_counts.values()) == 5


def test_subsets_are_drawn_before_the_group(sites: str, tmp_path: Path) -> None:
    for subset in ("few_shot_3", "partition_0.50"):
        plan = plan_of(sites, tmp_path, subset=subset, train_on="Isidis")
        whole = plan_of(sites, tmp_path, subset=subset).selection
        rows = plan.source.rows("train")
        assert rows.meta is not None
        kept = [int(i) for i in whole.indices if rows.meta[int(i)]["region"] == "Isidis"]
        assert 0 < len(kept) < len(whole.indices)
        assert plan.selection.indices.tolist() == kept


def test_folds_keep_to_the_group(sites: str, tmp_path: Path) -> None:
    plan = plan_of(sites, tmp_path, folds=3, train_on="Isidis")
    plain = parts_of(plan_of(sites, tmp_path, folds=3))
    scored: list[int] = []
    for part, whole in zip(parts_of(plan), plain, strict=True):
        assert part.val is not None
        held, all_held = part.scored["oof"].indices, whole.scored["oof"].indices
        for indices in (part.train.indices, part.val.indices, held):
            assert regions(plan, "train", indices) == {"Isidis"}
        assert held is not None
        assert all_held is not None
        # The folds are those of every run of the task.
        assert set(held) <= set(all_held)
        assert part.scored["test"].indices is None
        scored += held.tolist()
    assert len(scored) == len(set(scored)) == plan.num_samples["train"] == 19


def test_refusals(sites: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="train_on=Mars is not a group") as unknown:
        plan_of(sites, tmp_path, train_on="Mars")
    assert "region:Isidis, region:Utopia, site:north, site:south" in unknown.value.remedy
    with pytest.raises(
        DataError, match=r"The val split of .* has no sample of train_on=site:north"
    ):
        plan_of(sites, tmp_path, train_on="north")
    with pytest.raises(ConfigError, match=r"Fold \d of 2 has no"):
        parts_of(plan_of(sites, tmp_path, train_on="north", folds=2))
    with pytest.raises(DataError, match="No train sample of the subset is in the group"):
        plan_of(sites, tmp_path, train_on="north", folds=2, subset="few_shot_1")


def test_networks_and_heads(
    sites: str, weights: str, tmp_path: Path, own_home: Path, encoded: list[tuple[str, int]]
) -> None:
    network = marsbench.run(**plan_of(sites, tmp_path, train_on="Isidis").config.to_dict())
    plain, head = run_all(
        [config(sites, tmp_path, weights, **of) for of in ({}, {"train_on": "Isidis"})]
    )
    assert sum(count for _, count in encoded) == 24 + 9 + 12  # encoded once for both
    for record in (network, head):
        by_split = stored_regions(tmp_path, record)
        assert set(by_split["val"]) == {"Isidis"}
        assert sorted(set(by_split["test"])) == ["Isidis", "Utopia"]
        assert len(by_split["test"]) == 12
        groups = groups_of(record, tmp_path / record.run_id, "region")
        assert [scores["n"] for scores in groups.values()] == [10, 2]
    assert head.metrics["val"] != plain.metrics["val"]
    # Reports never mix the two.
    keys = {key.words for key in study_of([plain, head]).groups}
    assert keys == {
        "classification frozen cached full",
        "classification frozen cached full train_on=region:Isidis",
    }
    with pytest.raises(ConfigError, match="differ in train_on"):
        make_ensemble([plain.run_id, head.run_id], tmp_path)


@pytest.mark.usefixtures("spectra_home")
def test_tables_of_spectra(challenge: Path, tmp_path: Path) -> None:
    values = {**spectra_keys(tmp_path, root=str(challenge), folds=2), "model": "kernel_logistic"}
    record = marsbench.run(**values, train_on="commercial")
    table = Store(tmp_path).predictions(record.run_id)
    metadata = (challenge / "metadata.csv").read_text()
    assert set(table["split"]) == {"oof"}
    assert set(table["instrument"]) == {"commercial"}
    assert len(table) == metadata.count(",train,commercial,") == record.data["num_train"]
    assert 0 < len(table) < 48
    assert np.isfinite(record.score or np.nan)
    assert record.train_on == "instrument:commercial"
