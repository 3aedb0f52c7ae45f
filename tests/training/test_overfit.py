"""Every detector can learn eight images by heart: minutes each, on two cores."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marsbench
from marsbench.config.schema import SourceName, Subset
from marsbench.data.rows import Raw, Rows
from marsbench.data.sources.demo import DemoSource
from marsbench.data.tools.convert import convert
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.spec import SPLITS
from tests.fakes import needs_ultralytics

COUNT = 8
COPIES = 20
"""Of each image, in training only: twenty times fewer evaluations than epochs of eight images."""

LEAST = 0.19
"""Share of the image's side that every object of the eight has: small images then do."""

HOW: dict[str, dict[str, Any]] = {
    "faster_rcnn": {"side": 128, "optim.lr": 3e-4, "trainer.max_epochs": 2},
    "retinanet": {"side": 128, "optim.lr": 3e-4, "trainer.max_epochs": 9},
    "ssd": {"side": 268, "optim.lr": 1e-4, "trainer.max_epochs": 2},
    "yolo11n": {"side": 128, "optim.lr": 2e-3, "trainer.max_epochs": 8},
}
"""Settings, found by trying: of how a detector learns best they say nothing."""


class Eight:
    """The same eight demo images in every split, each with boxes."""

    name = SourceName.DEMO
    splits = SPLITS
    holds = Subset()
    notes: tuple[str, ...] = ()
    revision = where = "eight"

    def __init__(self) -> None:
        self._source = DemoSource(TASKS["conequest_det"], 1.0)
        self.class_names = self._source.class_names
        self._chosen = list(itertools.islice(filter(self._is_large, itertools.count()), COUNT))

    def _is_large(self, index: int) -> bool:
        raw = self._source.read("train", index)
        assert raw.boxes is not None
        assert isinstance(raw.image, np.ndarray)
        sides = raw.boxes.xyxy[:, 2:] - raw.boxes.xyxy[:, :2]
        return len(sides) > 0 and bool(sides.min() >= LEAST * raw.image.shape[0])

    def rows(self, split: str) -> Rows:
        """Index of a split."""
        count = COUNT * (COPIES if split == "train" else 1)
        ids = [f"{i:03}" for i in range(count)]
        return Rows(split, ids, np.zeros((count, 0), dtype=np.uint8), "eight")

    def read(self, split: str, index: int) -> Raw:
        """One sample."""
        return self._source.read("train", self._chosen[index % COUNT])

    def subset_ids(self, subset: Subset) -> None:
        """Nothing is published."""
        return


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("model", HOW)
def test_eight_images_are_learned_by_heart(model: str, tmp_path: Path) -> None:
    if model.startswith("yolo"):
        needs_ultralytics()
    folder = convert(TASKS["conequest_det"], Eight(), tmp_path)
    values: dict[str, Any] = {"task": "conequest_det", "root": str(folder), "model": model}
    values |= {"mode": "scratch", "augment": "none", "store": str(tmp_path / "runs")}
    values |= {"workers": 0, "optim.batch_size": 4, "optim.name": "adam", "optim.weight_decay": 0}
    values |= {"trainer.patience": None, "scheduler.name": "cosine"}
    record = marsbench.run(**values, **HOW[model])
    assert record.metrics["test"]["map50"] > 0.9
