"""Built-in demo data, drawn when asked for."""

import numpy as np
from numpy.typing import NDArray

from marsbench.config import SourceName, Subset
from marsbench.data.rows import Raw, Rows
from marsbench.data.spec import SPLITS, Decode, TaskSpec
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
    holds = Subset()
    notes: tuple[str, ...] = ()

    def __init__(self, spec: TaskSpec, size: float) -> None:
        if spec.name not in recipes.RECIPES:
            raise NotAvailableError(
                f"There are no demo data of {spec.name} yet.",
                f"Demo data exist of: {', '.join(sorted(recipes.RECIPES))}.",
            )
        self.recipe = recipes.RECIPES[spec.name]
        self.class_names = spec.class_names
        self._paired = spec.decode is Decode.PAIR_LABEL
        self.revision = f"demo:v{self.recipe.version}:size={size:g}"
        self._labels = {split: recipes.labels(self.recipe, split, size) for split in SPLITS}

    @property
    def where(self) -> str:
        """What stands for a place."""
        return f"generated ({self.revision})"

    def rows(self, split: str) -> Rows:
        """Index of a split."""
        labels = self._labels[split]
        targets: NDArray[np.integer]
        if self.recipe.label_sets is None:
            targets = np.array([self.class_names.index(name) for (name,) in labels], dtype=np.int64)
        else:
            targets = np.array(
                [[name in names for name in self.class_names] for names in labels], dtype=np.uint8
            )
        ids = [f"demo_{split}_{i:06d}" for i in range(len(labels))]
        return Rows(split, ids, targets, self.revision)

    def read(self, split: str, index: int) -> Raw:
        """Draw one sample; each has a random stream of its own."""
        image = recipes.render(self.recipe, split, index, self._labels[split][index])
        where = f"demo sample {split} {index}"
        if self._paired:
            return Raw(image[:, :, :1], f"{where}, before", Raw(image[:, :, 1:], f"{where}, after"))
        return Raw(image, where)

    def subset_ids(self, subset: Subset) -> None:
        """Nothing is published of demo data."""
        return
