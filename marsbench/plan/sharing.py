"""Keys of shared work: decoded data, and cached features of a frozen backbone."""

from collections.abc import Hashable
from typing import TYPE_CHECKING

from marsbench.config.schema import Normalisation, RunConfig

if TYPE_CHECKING:
    from marsbench.plan.resolve import Plan


def place_of(config: RunConfig) -> tuple[Hashable, ...]:
    """Key of a run's data; runs with equal keys share decoded images."""
    return (config.task, config.source, config.root, config.size, config.revision, config.strict)


def features_of(config: RunConfig) -> tuple[Hashable, ...]:
    """Key of a run's features; runs with equal keys and equal data share them."""
    trainer = config.trainer
    # Statistics of the train samples, which depend on the subset, its group and its seed.
    of_data = config.normalisation is Normalisation.DATA
    return (
        *place_of(config),
        config.model,
        config.weights,
        config.side,
        config.bands,
        config.resize,
        config.channels,
        config.normalisation,
        (config.subset, config.train_on, config.seed) if of_data else None,
        config.pooling,
        config.raster,
        config.views,
        config.folds,
        trainer.precision,
        trainer.matmul,
        config.compile,
        trainer.accelerator,
    )


def bank_of(plan: "Plan") -> Hashable:
    """Key of a run's bank; heads of runs with equal keys are fitted together.

    The key includes the data: a hub may provide only the published subset.
    """
    prints = [plan.source.rows(split).fingerprint for split in plan.source.splits]
    return (features_of(plan.config), plan.num_outputs, *prints)
