"""The ways to train a model, as a table: from a part of a run to what its training gives."""

from dataclasses import dataclass

from marsbench.config.schema import OptimName, Protocol
from marsbench.models.libraries import LIBRARIES
from marsbench.plan.resolve import Plan


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A way to train.

    Attributes:
        train: ``(plan, part, run_folder) -> Trained`` as ``"module:function"``, for one part of a
            run at a time; None where a bank trains.
        bank: ``(plan, *, force) -> Outcome`` likewise, for runs whose parts are trained together
            with those of other runs.
        has_epochs: Whether it trains in epochs, of which validation chooses one, and in batches,
            which may be halved where memory is short.
    """

    train: str | None = None
    bank: str | None = None
    has_epochs: bool = True


TRAINERS: dict[str, Trainer] = {
    "network": Trainer(train="marsbench.training.network:train"),
    "heads": Trainer(bank="marsbench.training.frozen.bank:run_alone"),
    "table": Trainer(train="marsbench.training.table:train", has_epochs=False),
}
"""Trainers by name; `marsbench.models.libraries.LIBRARIES` names the trainer of each library."""


def trainer_of(plan: Plan) -> Trainer:
    """Find the trainer of a run: heads where features are cached, else its library's."""
    if plan.protocol is Protocol.CACHED:
        return TRAINERS["heads"]
    return TRAINERS[LIBRARIES[plan.model.library].trainer]


def chooses_epoch(plan: Plan) -> bool:
    """Whether a run may choose an epoch on validation: L-BFGS and tables have none."""
    return trainer_of(plan).has_epochs and plan.config.optim.name is not OptimName.LBFGS
