"""Every foundation model ends in a record."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import marsbench
from marsbench.models.foundation import building
from marsbench.models.foundation.recipes import RECIPES
from marsbench.models.spec import Library
from marsbench.models.zoo.foundation import ENTRIES
from tests.models.foundation.checkpoints import shrink

BUILT = [e.name for e in ENTRIES if e.library is Library.FOUNDATION]  # the others need an extra


def test_every_entry_has_a_recipe_and_facts() -> None:
    assert {e.id for e in ENTRIES} == set(RECIPES)
    for entry in ENTRIES:
        assert entry.weights is not None
        assert entry.weights.data
        assert entry.weights.licence
        assert len(entry.mean) == len(entry.std) == len(entry.bands or "rgb")
        assert entry.input_size % (entry.patch or 1) == 0


@pytest.mark.parametrize("name", BUILT)
def test_frozen_entries_end_in_a_record(
    name: str, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch, name)

    def fetch(spec: Any) -> Any:
        torch.manual_seed(0)
        return building.build(spec, None).module.state_dict()

    monkeypatch.setattr(building, "fetch", fetch)
    (entry,) = (e for e in ENTRIES if e.name == name)
    record = marsbench.run(
        task=toy, model=name, side=3 * (entry.patch or 0), workers=0, store=str(tmp_path)
    )
    assert record.model == name
    assert math.isfinite(record.metrics["test"]["f1_weighted"])
    assert entry.weights is not None
    assert record.weights is not None
    assert record.weights["name"] == entry.weights.name
    assert record.pretraining == entry.pretraining
