"""The one LightningModule: optimises a model by its kind's loss and collects predictions."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, lr_scheduler

from marsbench.config import OptimName, RunConfig, SchedulerName
from marsbench.errors import TrainingError
from marsbench.kinds import KINDS, Kind
from marsbench.models.build import Classifier
from marsbench.training.losses import LOSSES

MONITOR = "val/loss"
"""What early stopping, the choice of checkpoint and the plateau schedule watch (paper, C.4)."""


_PLATEAU = "plateau_schedule"


class MarsModule(pl.LightningModule):
    """Trains a classifier.

    Args:
        model: The model, in its mode.
        kind: Kind of the task: gives the loss.
        config: The run: gives optimiser and schedule.
    """

    def __init__(self, model: Classifier, kind: Kind, config: RunConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.loss = LOSSES[KINDS[kind].loss]
        # A frozen backbone is in no checkpoint, so a checkpoint lacks what the model has.
        self.strict_loading = not model.is_frozen
        self._plateau: lr_scheduler.ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] | None = None
        self._outputs: dict[str, list[Tensor]] = {"index": [], "logits": [], "label": []}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """One step's loss."""
        # Seeds dropout: a resumed run is the run that never stopped, whatever else drew
        # random numbers before.
        place = [self.config.seed, self.current_epoch, batch_idx]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
        loss = self.loss(self.model(batch["image"]), batch["label"])
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The training loss became {loss.item()} in epoch {self.current_epoch}, "
                f"batch {batch_idx}.",
                f"Lower optim.lr (now {self.config.learning_rate:g}), set "
                f"trainer.gradient_clip_val=1.0, or use trainer.precision=32-true "
                f"(now {self.config.trainer.precision}).",
            )
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["image"]))
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Collect logits; the loss is taken over the whole split at once."""
        self._collect(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the mean loss over all validation samples, whatever the batch size."""
        outputs = self.take_outputs()
        loss = self.loss(outputs["logits"], outputs["label"])
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The validation loss became {loss.item()} in epoch {self.current_epoch}.",
                f"Lower optim.lr (now {self.config.learning_rate:g}).",
            )
        self.log(MONITOR, loss)
        if self._plateau is not None:
            # Here, before the checkpoint is written: Lightning would step it afterwards, and
            # skip that step when a run resumes.
            self._plateau.step(float(loss))

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Collect logits for `take_outputs`."""
        self._collect(batch)

    def _collect(self, batch: Mapping[str, Any]) -> None:
        self._outputs["index"].append(batch["index"])
        self._outputs["logits"].append(self.model(batch["image"]).float())
        self._outputs["label"].append(batch["label"])

    def take_outputs(self) -> dict[str, Tensor]:
        """Hand over what evaluation collected, in the order of the split.

        Returns:
            index (N,), logits (N, K) and label (N,) or (N, K), on this device.
        """
        outputs = {name: torch.cat(parts) for name, parts in self._outputs.items()}
        for parts in self._outputs.values():
            parts.clear()
        order = outputs["index"].argsort()
        return {name: values[order] for name, values in outputs.items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave a frozen backbone out: it is where it came from, unchanged."""
        if self._plateau is not None:
            checkpoint[_PLATEAU] = self._plateau.state_dict()
        if self.model.is_frozen:
            checkpoint["state_dict"] = {
                k: v
                for k, v in checkpoint["state_dict"].items()
                if not k.startswith("model.backbone.")
            }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the plateau schedule's state until there is an optimiser for it."""
        self._plateau_state = checkpoint.get(_PLATEAU)

    def configure_optimizers(self) -> Any:
        """Optimiser over what trains, and the schedule."""
        optim = self.config.optim
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        lr, decay = self.config.learning_rate, optim.weight_decay
        optimizer: Optimizer
        match optim.name:
            case OptimName.ADAM:
                optimizer = Adam(parameters, lr=lr, weight_decay=decay)
            case OptimName.ADAMW:
                optimizer = AdamW(parameters, lr=lr, weight_decay=decay)
            case OptimName.SGD:
                optimizer = SGD(
                    parameters,
                    lr=lr,
                    weight_decay=decay,
                    momentum=optim.momentum,
                    nesterov=optim.momentum > 0,
                )
        return {"optimizer": optimizer, **self._schedule(optimizer)}

    def _schedule(self, optimizer: Optimizer) -> dict[str, Any]:
        scheduler, epochs = self.config.scheduler, self.config.trainer.max_epochs
        match scheduler.name:
            case SchedulerName.NONE:
                return {}
            case SchedulerName.COSINE:
                return {"lr_scheduler": lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)}
            case SchedulerName.STEP:
                step = lr_scheduler.StepLR(optimizer, scheduler.step_size, scheduler.gamma)
                return {"lr_scheduler": step}
            case SchedulerName.PLATEAU:
                self._plateau = lr_scheduler.ReduceLROnPlateau(
                    optimizer, factor=scheduler.gamma, patience=scheduler.patience
                )
                if self._plateau_state is not None:
                    self._plateau.load_state_dict(self._plateau_state)
                return {}
