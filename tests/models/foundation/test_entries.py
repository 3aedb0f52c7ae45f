"""Every foundation model ends in a record."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import marsbench
from marsbench.config.schema import Decoder, Mode, RunConfig
from marsbench.models.foundation import building
from marsbench.models.foundation.recipes import RECIPES
from marsbench.models.modes import build_for_mode
from marsbench.models.spec import Library
from marsbench.models.zoo.catalog import MODELS
from marsbench.models.zoo.foundation import ENTRIES
from marsbench.plan.resolve import Resolver, resolve
from marsbench.tasks.kinds import Kind
from tests.models.foundation.checkpoints import shrink

TASKS = ("frost_cls", "mmls", "boulder_det")
"""A task of each kind: labels, masks and boxes."""

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


@pytest.mark.parametrize("task", TASKS)
def test_entries_serve_every_kind(task: str) -> None:
    shared = Resolver()
    for entry in ENTRIES:
        keys = {"task": task, "model": entry.name, "source": "demo", "size": 0.02}
        plan = resolve(RunConfig.from_dict(keys), shared)
        assert plan.weights == (entry.weights and entry.weights.name)


# One of each architecture: with a new normalisation, with fixed positions, with rotary ones.
@pytest.mark.parametrize("name", ["satmae", "prithvi", "dinov3_b"])
@pytest.mark.parametrize(
    ("kind", "decoder"),
    [(Kind.SEGMENTATION, Decoder.LINEAR), (Kind.DETECTION, Decoder.FASTER_RCNN)],
)
def test_masks_and_boxes(
    name: str, kind: Kind, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch, name, depth=4)
    entry = MODELS[name]
    model = build_for_mode(entry, kind, 3, Mode.SCRATCH, side=64, decoder=decoder).eval()
    with torch.inference_mode():
        output = model(torch.rand(1, entry.in_channels, 64, 64))
    if kind is Kind.SEGMENTATION:
        assert output.shape == (1, 3, 64, 64)
    positions = [p for n, p in model.named_parameters() if n.endswith("pos_embed")]
    assert [p.requires_grad for p in positions] == {"satmae": [True], "prithvi": [False]}.get(
        name, []
    )
