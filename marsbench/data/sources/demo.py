"""Built-in demo data, drawn when read."""

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import NotAvailableError
from marsbench.config.schema import SourceName, Subset
from marsbench.data.rows import Raw, Rows
from marsbench.demo import recipes
from marsbench.demo.recipes import RECIPES
from marsbench.metrics.boxes import Boxes
from marsbench.spectra.spectrum import Spectrum
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import SPLITS, TaskSpec


class DemoSource:
    """Procedural samples of a task, with exact labels, masks or boxes.

    Args:
        spec: The task.
        size: Amount of data, as a multiple of the recipe's default.

    Raises:
        NotAvailableError: If the task has no recipe.
    """

    name = SourceName.DEMO
    splits = SPLITS
    holds = Subset()
    notes: tuple[str, ...] = ()

    def __init__(self, spec: TaskSpec, size: float) -> None:
        if spec.name not in RECIPES:
            raise NotAvailableError(
                f"Task {spec.name} has no demo data.",
                f"Tasks with demo data: {', '.join(sorted(RECIPES))}.",
            )
        self.recipe = RECIPES[spec.name]
        self.class_names = spec.class_names
        self.revision = f"demo:v{self.recipe.version}:size={size:g}"
        self._kind = spec.kind
        self._paired = spec.is_pairs
        self._labels = {split: recipes.labels(self.recipe, split, size) for split in SPLITS}
        self._rows: dict[str, Rows] = {}

    @property
    def where(self) -> str:
        """Description of the data, for messages."""
        return f"generated ({self.revision})"

    def rows(self, split: str) -> Rows:
        """Index of a split."""
        if split not in self._rows:
            labels = self._labels[split]
            ids = [f"demo_{split}_{i:06d}" for i in range(len(labels))]
            fields = recipes.fields(self.recipe, split, len(labels))
            self._rows[split] = Rows(
                split, ids, self._targets(labels), self.revision, fields=fields
            )
        return self._rows[split]

    def _targets(self, labels: list[recipes.Labels]) -> NDArray[np.integer]:
        if not self._kind.is_classification:
            return np.zeros((len(labels), 0), dtype=np.uint8)
        if self._kind is Kind.MULTILABEL:
            held = [[name in names for name in self.class_names] for names in labels]
            return np.array(held, dtype=np.uint8)
        return np.array([self.class_names.index(name) for (name,) in labels], dtype=np.int64)

    def read(self, split: str, index: int) -> Raw:
        """Draw a sample."""
        drawn = recipes.draw(self.recipe, split, index, self._labels[split][index])
        where = f"demo sample {split} {index}"
        if isinstance(drawn, Spectrum):
            return Raw(b"", where, spectrum=drawn)
        if self._paired:
            after = Raw(drawn.image[:, :, 1:], f"{where}, after")
            return Raw(drawn.image[:, :, :1], f"{where}, before", after)
        mask = None if drawn.mask is None else Raw(drawn.mask[:, :, None], f"{where}, mask")
        boxes = None
        if drawn.boxes is not None and drawn.labels is not None:
            boxes = Boxes(drawn.boxes, drawn.labels)
        return Raw(drawn.image, where, mask=mask, boxes=boxes)

    def subset_ids(self, subset: Subset) -> None:
        """None: demo data have no published subsets."""
        return
