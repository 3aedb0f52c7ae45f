"""Every detector can learn eight images by heart: minutes each, on two cores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import marsbench
from marsbench.config import SourceName, Subset
from marsbench.data.catalog import TASKS
from marsbench.data.convert import convert
from marsbench.data.rows import Raw, Rows
from marsbench.data.sources.demo import open_demo
from marsbench.data.spec import SPLITS

COUNT = 8

HOW: dict[str, dict[str, Any]] = {
    "faster_rcnn": {"side": 256, "optim.lr": 2e-4},
    "retinanet": {"side": 256, "optim.lr": 2e-4},
    "ssd": {"optim.lr": 1e-4},
    "yolo11n": {"side": 256, "optim.lr": 2e-3},
}


class Eight:
    """The same eight demo images in every split, each with boxes."""

    name = SourceName.DEMO
    splits = SPLITS
    holds = Subset()
    notes: tuple[str, ...] = ()
    revision = where = "eight"

    def __init__(self) -> None:
        self._source = open_demo(TASKS["conequest_det"], 1.0)
        self.class_names = self._source.class_names

    def rows(self, split: str) -> Rows:
        """Index of a split."""
        rows = self._source.rows("train")
        ids: Sequence[str] = rows.sample_ids[:COUNT]
        return Rows(split, ids, rows.targets[:COUNT], "eight")

    def read(self, split: str, index: int) -> Raw:
        """One sample."""
        return self._source.read("train", index)

    def subset_ids(self, subset: Subset) -> None:
        """Nothing is published."""
        return


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("model", HOW)
def test_eight_images_are_learned_by_heart(model: str, tmp_path: Path) -> None:
    if model.startswith("yolo"):
        pytest.importorskip("ultralytics")
    folder = convert(TASKS["conequest_det"], Eight(), tmp_path)
    values: dict[str, Any] = {"task": "conequest_det", "root": str(folder), "model": model}
    values |= {"mode": "scratch", "augment": "none", "store": str(tmp_path / "runs")}
    values |= {"workers": 0, "optim.batch_size": 4, "optim.name": "adam", "optim.weight_decay": 0}
    values |= {"trainer.max_epochs": 120, "trainer.patience": None}
    record = marsbench.run(**values, **HOW[model])
    assert record.metrics["test"]["map50"] > 0.9
