"""Every foundation model ends in a record on every kind of task it serves, in every mode."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import marsbench
from marsbench.base.lazy import load
from marsbench.config.schema import Decoder, Mode
from marsbench.models.foundation import building, recipes
from marsbench.models.libraries import LIBRARIES
from marsbench.models.spec import Library
from marsbench.models.zoo.foundation import ENTRIES
from tests.models.foundation.checkpoints import shrink
from tests.models.foundation.test_torchgeo import TINY

TASKS = {
    "frost_cls": None,
    "landmark_cls": None,
    "surface_multi_label_cls": None,
    "conequest_seg": Decoder.UPERNET,
    "mars_seg_mer": Decoder.LINEAR,
    "boulder_det": Decoder.FASTER_RCNN,
}
"""Tasks of each kind, with the decoder of masks or boxes."""


@pytest.mark.slow
@pytest.mark.parametrize("mode", [Mode.SCRATCH, Mode.FROZEN, Mode.FINETUNE])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_run(
    entry: Any, task: str, mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if entry.library is not Library.FOUNDATION:
        if importlib.util.find_spec("torchgeo") is None:
            pytest.skip("torchgeo is not installed")
        architecture, options = (
            TINY[entry.name.replace("_l", "_b")] if entry.name == "dofa_l" else TINY[entry.name]
        )
        recipe = recipes.RECIPES[entry.name]
        small = replace(recipe, architecture=architecture, options={**recipe.options, **options})
        monkeypatch.setitem(recipes.RECIPES, entry.name, small)
    else:
        shrink(monkeypatch, entry.name, depth=4)

    def fetch(spec: Any) -> Any:
        torch.manual_seed(0)
        return load(LIBRARIES[spec.library].backbone)(spec, None).module.state_dict()

    monkeypatch.setattr(building, "fetch", fetch)
    keys: dict[str, Any] = {"trainer.max_epochs": 1, "optim.batch_size": 4, "size": 0.02}
    if not entry.fixed_size:
        keys["side"] = 4 * (entry.patch or 16)
    if decoder := TASKS[task]:
        keys["decoder"] = decoder
    if decoder is Decoder.FASTER_RCNN:
        keys["size"] = 0.002  # two images of each split
    record = marsbench.run(
        task=task,
        model=entry.name,
        mode=mode,
        source="demo",
        workers=0,
        store=str(tmp_path),
        **keys,
    )
    assert record.mode == mode
    assert record.score is not None
    assert math.isfinite(record.score)
    assert (record.weights is None) == (mode is Mode.SCRATCH)
