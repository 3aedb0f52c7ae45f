"""Built-in demo data, drawn when asked for."""

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import NotAvailableError
from marsbench.config.schema import SourceName, Subset
from marsbench.data.rows import Raw, Rows, Source
from marsbench.demo import recipes, scenes
from marsbench.demo.spectrum import recipes as spectra
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.spec import SPLITS, Decode, TaskSpec

DEMO_TASKS = sorted([*recipes.RECIPES, *scenes.SCENES, *spectra.SPECTRA])
"""Tasks that have demo data."""


def open_demo(spec: TaskSpec, size: float) -> Source:
    """Open the demo data of a task.

    Args:
        spec: The task.
        size: Amount of data, as a multiple of the recipe's default.

    Raises:
        NotAvailableError: If the task has no recipe.
    """
    if spec.name in scenes.SCENES:
        return SceneSource(spec, size)
    if spec.name in spectra.SPECTRA:
        return SpectrumSource(spec, size)
    return DemoSource(spec, size)


class _Generated(ABC):
    """What all demo sources share."""

    name = SourceName.DEMO
    splits = SPLITS
    holds = Subset()
    notes: tuple[str, ...] = ()
    revision: str

    @property
    def where(self) -> str:
        """What stands for a place."""
        return f"generated ({self.revision})"

    @cached_property
    def _index(self) -> dict[str, Rows]:
        return {}

    def rows(self, split: str) -> Rows:
        """Index of a split."""
        if split not in self._index:
            self._index[split] = self._rows(split)
        return self._index[split]

    @abstractmethod
    def _rows(self, split: str) -> Rows:
        """Make the index of a split."""

    def subset_ids(self, subset: Subset) -> None:
        """Nothing is published of demo data."""
        return


class DemoSource(_Generated):
    """Procedural samples of a classification task: seeded, with exact labels.

    Args:
        spec: The task.
        size: Amount of data, as a multiple of the recipe's default.

    Raises:
        NotAvailableError: If the task has no recipe.
    """

    def __init__(self, spec: TaskSpec, size: float) -> None:
        if spec.name not in recipes.RECIPES:
            raise NotAvailableError(
                f"There are no demo data of {spec.name} yet.",
                f"Demo data exist of: {', '.join(DEMO_TASKS)}.",
            )
        self.recipe = recipes.RECIPES[spec.name]
        self.class_names = spec.class_names
        self._paired = spec.decode is Decode.PAIR_LABEL
        self.revision = f"demo:v{self.recipe.version}:size={size:g}"
        self._labels = {split: recipes.labels(self.recipe, split, size) for split in SPLITS}

    def _rows(self, split: str) -> Rows:
        labels = self._labels[split]
        targets: NDArray[np.integer]
        if self.recipe.label_sets is None:
            targets = np.array([self.class_names.index(name) for (name,) in labels], dtype=np.int64)
        else:
            targets = np.array(
                [[name in names for name in self.class_names] for names in labels], dtype=np.uint8
            )
        return Rows(split, _ids(split, len(labels)), targets, self.revision)

    def read(self, split: str, index: int) -> Raw:
        """Draw one sample; each has a random stream of its own."""
        image = recipes.render(self.recipe, split, index, self._labels[split][index])
        where = f"demo sample {split} {index}"
        if self._paired:
            after = Raw(image[:, :, 1:], f"{where}, after")
            return Raw(image[:, :, :1], f"{where}, before", after)
        return Raw(image, where)


class SceneSource(_Generated):
    """Procedural samples of a segmentation or detection task: exact masks and boxes.

    Args:
        spec: The task.
        size: Amount of data, as a multiple of the recipe's default.
    """

    def __init__(self, spec: TaskSpec, size: float) -> None:
        self.recipe = scenes.SCENES[spec.name]
        self.class_names = spec.class_names
        self.revision = f"demo:v{self.recipe.version}:size={size:g}"
        self._counts = {s: max(round(self.recipe.sizes[s] * size), 2) for s in SPLITS}

    def _rows(self, split: str) -> Rows:
        count = self._counts[split]
        targets = np.zeros((count, 0), dtype=np.uint8)
        return Rows(split, _ids(split, count), targets, self.revision)

    def read(self, split: str, index: int) -> Raw:
        """Draw one sample."""
        scene = scenes.draw_scene(self.recipe, split, index)
        where = f"demo sample {split} {index}"
        mask = None if scene.mask is None else Raw(scene.mask[:, :, None], f"{where}, mask")
        boxes = None
        if scene.boxes is not None and scene.labels is not None:
            boxes = Boxes(scene.boxes, scene.labels)
        return Raw(scene.image, where, mask=mask, boxes=boxes)


class SpectrumSource(_Generated):
    """Procedural spectra: exact labels.

    Args:
        spec: The task.
        size: Amount of data, as a multiple of the recipe's default.
    """

    def __init__(self, spec: TaskSpec, size: float) -> None:
        self.recipe = spectra.SPECTRA[spec.name]
        self.class_names = spec.class_names
        self.revision = f"demo:v{self.recipe.version}:size={size:g}"
        self._labels = {s: spectra.label_sets(self.recipe, s, size) for s in SPLITS}

    def _rows(self, split: str) -> Rows:
        labels = self._labels[split]
        return Rows(split, _ids(split, len(labels)), labels, self.revision)

    def read(self, split: str, index: int) -> Raw:
        """Draw one sample."""
        spectrum = spectra.draw_spectrum(self.recipe, split, index, self._labels[split][index])
        return Raw(b"", f"demo sample {split} {index}", spectrum=spectrum)


def _ids(split: str, count: int) -> list[str]:
    return [f"demo_{split}_{i:06d}" for i in range(count)]
