"""The network of a run, as its mode wants it."""

from pathlib import Path

from marsbench.config.schema import Mode
from marsbench.data.samples import colors_of
from marsbench.models.base import Model
from marsbench.models.modes import build_for_mode
from marsbench.plan.resolve import Plan


def build_network(plan: Plan, mode: Mode) -> Model:
    """Build a run's network, its weights loaded.

    Args:
        plan: The run.
        mode: The mode to build it in.

    Raises:
        WeightsError: If the mode needs weights that cannot be had.
    """
    config = plan.config
    raster = None if plan.rendering is None else plan.rendering.raster
    return build_for_mode(
        plan.model,
        plan.task.kind,
        plan.num_outputs,
        mode,
        side=plan.side,
        colors=colors_of(plan.task, config.bands),
        shape=None if raster is None else (raster.rows, raster.columns),
        checkpoint=Path(config.weights).expanduser() if config.weights else None,
    )
