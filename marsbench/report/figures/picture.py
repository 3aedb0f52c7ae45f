"""A figure that is planned: what it shows, in words, and how it is drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marsbench.report.study.cells import GroupKey
from marsbench.tasks.kinds import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure that can be drawn.

    Attributes:
        name: Of its files.
        family: One of `marsbench.report.figures.by_task.FAMILIES`.
        title: In a few words.
        caption: What is seen, and how it was made.
        keys: Groups it is made of.
        draw: Draws it; call within `style.drawing`.
    """

    name: str
    family: str
    title: str
    caption: str
    keys: tuple[GroupKey, ...]
    draw: Callable[[], "Figure"]


def metric_label(metric: str) -> str:
    """A metric's title with an arrow in the direction of better."""
    info = METRICS.get(metric.partition("/")[0])
    if info is None:
        return metric
    arrow = "\N{UPWARDS ARROW}" if info.higher_is_better else "\N{DOWNWARDS ARROW}"
    return f"{info.title} {arrow}"
