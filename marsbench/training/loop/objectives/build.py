"""Objectives by kind of task."""

import numpy as np
from numpy.typing import NDArray

from marsbench.config.schema import LossName
from marsbench.models.spec import Library
from marsbench.tasks.kinds import BOXES, LABELS, MASKS, Kind
from marsbench.training.loop.objectives.answers import AnswerObjective
from marsbench.training.loop.objectives.base import Objective
from marsbench.training.loop.objectives.boxes import BoxObjective
from marsbench.training.loop.objectives.labels import LabelObjective
from marsbench.training.loop.objectives.masks import MaskObjective

OBJECTIVES: dict[Kind, type[Objective]] = {
    **dict.fromkeys(LABELS, LabelObjective),
    **dict.fromkeys(MASKS, MaskObjective),
    **dict.fromkeys(BOXES, BoxObjective),
}
"""Objective class of each kind."""


OF_LIBRARY: dict[Library, type[Objective]] = {Library.VLM: AnswerObjective}
"""Objective class of models with outputs of their own."""


def objective_of(
    kind: Kind,
    loss: LossName,
    num_classes: int,
    num_outputs: int,
    class_weights: NDArray[np.float64] | None = None,
    library: Library | None = None,
) -> Objective:
    """Build the objective of a kind; arguments as in `Objective`, and the model's library."""
    chosen = OBJECTIVES[kind] if library not in OF_LIBRARY else OF_LIBRARY[library]
    return chosen(kind, loss, num_classes, num_outputs, class_weights)
