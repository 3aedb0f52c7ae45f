"""Planned figures and their families: a figure is planned first and drawn later."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marsbench.base.lazy import load

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from marsbench.report.analysis import Analysis
    from marsbench.report.study.cells import GroupKey


@dataclass(frozen=True)
class FigureSpec:
    """A planned figure.

    Attributes:
        name: Name of its files.
        title: Title in a few words.
        caption: Content and method.
        keys: Keys of the shown groups.
        draw: Draws the figure; call within `style.drawing`.
        is_photo: Whether it is made of pictures, which the page shows as pixels.
    """

    name: str
    title: str
    caption: str
    keys: "tuple[GroupKey, ...]"
    draw: Callable[[], "Figure"]
    is_photo: bool = False


@dataclass(frozen=True)
class Family:
    """Family of figures, a section of the page.

    Attributes:
        title: Heading of their section of the page.
        planner: ``module:name`` of a function from an `Analysis` to planned figures.
    """

    title: str
    planner: str

    def plan(self, analysis: "Analysis") -> list[FigureSpec]:
        """Plan the figures of the family, if there are records for them."""
        return list(load(self.planner)(analysis))


_HERE = "marsbench.report.figures"

FAMILIES = {
    "violins": Family("Scores of each task", f"{_HERE}.by_task:violins"),
    "modes": Family("Frozen, fine-tuned and from scratch", f"{_HERE}.modes:modes"),
    "curves": Family("Amounts of training data", f"{_HERE}.over_tasks:curves"),
    "profiles": Family("Performance profiles", f"{_HERE}.over_tasks:profiles"),
    "ranks": Family("Ranks", f"{_HERE}.over_tasks:ranks"),
    "heatmap": Family("Models and tasks", f"{_HERE}.grids:heat_maps"),
    "cost": Family("Training time and score", f"{_HERE}.by_task:costs"),
    "confusion": Family("Confusion matrices", f"{_HERE}.grids:confusions"),
    "reliability": Family("Calibration", f"{_HERE}.calibration:reliability"),
    "robustness": Family("Robustness to corruptions", f"{_HERE}.evaluations:robustness"),
    "shift": Family("Other tasks", f"{_HERE}.evaluations:shifts"),
    "imbalance": Family("Unequal classes", f"{_HERE}.grids:imbalances"),
    "paper": Family("Beside the paper", f"{_HERE}.paper:beside_paper"),
}
"""Families by their names for ``--only``, in the order of a report."""
