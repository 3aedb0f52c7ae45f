"""Heads of planned runs."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from marsbench.config.schema import Augment
from marsbench.data.imbalance import every_position
from marsbench.plan.resolve import Plan
from marsbench.training.frozen.heads import Head
from marsbench.training.frozen.losses import HeadLoss
from marsbench.training.loop.objectives.labels import LabelObjective
from marsbench.training.parts import Part, Section


def head_of(plan: Plan, part: Part) -> Head:
    """Describe the head of a part of a run."""
    config = plan.config
    num_train = len(plan.source.rows("train"))
    val = None
    if part.val is not None:
        val = (part.val.split, positions_of(part.val, len(plan.source.rows(part.val.split))))
    return Head(
        train=positions_of(part.train, num_train),
        draws=part.balance.draws,
        val=val,
        loss=HeadLoss(_objective(plan, part)),
        seed=config.seed,
        batch_size=config.effective_batch_size,
        optimizer=config.optim.name,
        lr=config.learning_rate,
        weight_decay=config.optim.weight_decay,
        momentum=config.optim.momentum,
        scheduler=config.scheduler,
        max_epochs=config.trainer.max_epochs,
        patience=config.trainer.patience,
        clip=config.trainer.gradient_clip_val,
        turned=plan.augment is Augment.D4,
    )


def _objective(plan: Plan, part: Part) -> LabelObjective:
    choices = plan.task.kind, plan.loss, len(plan.source.class_names), plan.num_outputs
    weights = part.balance.class_weights
    return _unweighted(*choices) if weights is None else LabelObjective(*choices, weights)


# Shared by all heads of a kind: it has no tensors, and building a module is slow.
_unweighted = lru_cache(maxsize=64)(LabelObjective)


def positions_of(section: Section, length: int) -> NDArray[np.int64]:
    """Indices of a section's samples in its split of so many samples."""
    return every_position(length) if section.indices is None else section.indices
