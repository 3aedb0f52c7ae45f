"""Built-in demo data, drawn when asked for."""

import numpy as np

from marsbench.config import SourceName, Subset
from marsbench.data.rows import Raw, Rows
from marsbench.data.spec import SPLITS, TaskSpec
from marsbench.demo import recipes
from marsbench.errors import NotAvailableError


class DemoSource:
    """Procedural samples of a task: seeded, with exact labels.

    Args:
        spec: The task.
        size: Amount of data, as a multiple of the recipe's default.

    Raises:
        NotAvailableError: If the task has no recipe.
    """

    name = SourceName.DEMO
    splits = SPLITS

    def __init__(self, spec: TaskSpec, size: float) -> None:
        if spec.name not in recipes.RECIPES:
            raise NotAvailableError(
                f"There are no demo data of {spec.name} yet.",
                f"Demo data exist of: {', '.join(sorted(recipes.RECIPES))}.",
            )
        self.recipe = recipes.RECIPES[spec.name]
        self.class_names = spec.class_names
        self.revision = f"demo:v{self.recipe.version}:size={size:g}"
        self._labels = {split: recipes.labels(self.recipe, split, size) for split in SPLITS}

    @property
    def where(self) -> str:
        """What stands for a place."""
        return f"generated ({self.revision})"

    def rows(self, split: str) -> Rows:
        """Index of a split."""
        labels = self._labels[split]
        targets = np.array([self.class_names.index(label) for label in labels], dtype=np.int64)
        ids = [f"demo_{split}_{i:06d}" for i in range(len(labels))]
        return Rows(split, ids, targets, self.revision)

    def read(self, split: str, index: int) -> Raw:
        """Draw one sample; each has a random stream of its own."""
        image = recipes.render(self.recipe, split, index, self._labels[split][index])
        return Raw(image, f"demo sample {split} {index}")

    def subset_ids(self, subset: Subset) -> None:
        """Nothing is published of demo data."""
        return
