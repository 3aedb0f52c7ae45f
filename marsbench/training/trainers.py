"""Trainers: functions from a part of a run to its trained model and predictions."""

from dataclasses import dataclass

from marsbench.config.schema import OptimName, Protocol
from marsbench.models.libraries import LIBRARIES
from marsbench.plan.resolve import Plan


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Training of a family of models.

    Attributes:
        train: ``(plan, part, run_folder) -> Trained`` as ``"module:function"``, for a single part.
        bank: ``(plan, *, force) -> Outcome``, instead of `train`, for parts trained together with
            parts of other runs.
        has_epochs: Whether training has epochs, so that validation can choose a checkpoint, and
            batches, which can be halved if memory is short.
        rebuild: ``(record, folder, task, shape, entry) -> model``, the model of a finished run.
    """

    rebuild: str
    train: str = ""
    bank: str = ""
    has_epochs: bool = True


_NETWORK = "marsbench.training.trained:rebuild_network"

TRAINERS: dict[str, Trainer] = {
    "network": Trainer(train="marsbench.training.network:train", rebuild=_NETWORK),
    "heads": Trainer(bank="marsbench.training.frozen.bank:run_alone", rebuild=_NETWORK),
    "maps": Trainer(train="marsbench.training.frozen.maps:train", rebuild=_NETWORK),
    "table": Trainer(
        train="marsbench.training.table:train",
        rebuild="marsbench.training.trained:rebuild_table",
        has_epochs=False,
    ),
    "zero_shot": Trainer(
        train="marsbench.training.zero_shot.asking:train",
        rebuild="marsbench.training.zero_shot.asking:rebuild",
        has_epochs=False,
    ),
}
"""Trainers by name; `marsbench.models.libraries.LIBRARIES` names the trainer of each library."""


def trainer_of(plan: Plan) -> Trainer:
    """Find the trainer of a run: by its mode or protocol, else by the model's library."""
    if not plan.trains:
        return TRAINERS["zero_shot"]
    if plan.fits_heads:
        return TRAINERS["heads"]
    if plan.protocol is Protocol.CACHED:
        return TRAINERS["maps"]
    return TRAINERS[LIBRARIES[plan.model.library].trainer]


def chooses_epoch(plan: Plan) -> bool:
    """Whether validation can choose an epoch, or neighbours; lbfgs and tables have none."""
    return trainer_of(plan).has_epochs and plan.config.optim.name is not OptimName.LBFGS
