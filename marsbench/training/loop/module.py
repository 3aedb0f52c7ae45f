"""The LightningModule of all kinds: optimises a model and collects its predictions."""

import math
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, distributed, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, lr_scheduler

from marsbench.base.errors import TrainingError
from marsbench.config.schema import Augment, OptimName, Precision, RunConfig, SchedulerName
from marsbench.data.datamodule import check_batch
from marsbench.data.transforms import augment_boxes, finish_batch
from marsbench.models.base import Model, plain_kernels
from marsbench.models.layers import rate_scales
from marsbench.training.loop.objectives.base import Objective, Observed

MONITOR = "val/loss"
"""Metric for early stopping, the choice of a checkpoint and the plateau schedule (paper, C.4)."""

CHECK_EVERY = 50
"""Batches between two checks of the losses on a GPU."""

_PLATEAU = "plateau_schedule"


class MarsModule(pl.LightningModule):
    """Trains a model.

    Args:
        model: The model, in its mode.
        objective: Loss, and outputs to keep in evaluation.
        config: The run, for optimiser and schedule.
        augment: Resolved augmentation of training images.
        num_draws: Training samples drawn in an epoch by all devices together.
    """

    def __init__(
        self,
        model: Model,
        objective: Objective,
        config: RunConfig,
        *,
        augment: Augment,
        num_draws: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.config = config
        self.augment = augment
        self.num_draws = num_draws
        decay = config.optim.layer_decay
        self.rate_scales = None if decay is None else rate_scales(model, decay, config.model)
        # Checkpoints do not hold a frozen backbone.
        self.strict_loading = not model.is_frozen
        self._plateau: lr_scheduler.ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] | None = None
        self._outputs: list[Observed] = []
        self._num_dropped = 0
        self._unchecked: list[tuple[int, Tensor]] = []
        self._sum_of_losses = 0.0

    def on_before_batch_transfer(
        self, batch: dict[str, Any], dataloader_idx: int
    ) -> dict[str, Any]:
        """Raise the errors of loader processes, and augment boxes."""
        check_batch(batch)
        return augment_boxes(batch, self.augment)

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Augment training images and scale all images, in batches on the device."""
        # Lightning converts floating-point tensors to double, but images are integers.
        double = self.config.trainer.precision is Precision.FLOAT64
        return finish_batch(
            batch,
            self.augment,
            channels_last=self.config.channels_last,
            dtype=torch.float64 if double else torch.float32,
        )

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Share of a batch in the loss of its step."""
        # Seeds dropout, so that a resumed run equals an uninterrupted one.
        place = [self.config.seed, self.current_epoch, batch_idx, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
        losses = self.objective.train_losses(self.model, batch)
        self._num_dropped += batch.get("dropped", 0)
        num_mine, share = self._share(batch_idx)
        losses = losses[:num_mine]
        loss: Tensor = losses.sum() * share
        self._unchecked.append((batch_idx, losses.detach().sum()))
        # Reading a loss makes the host wait for a GPU, so it is not done in every step there.
        if losses.device.type == "cpu" or len(self._unchecked) >= CHECK_EVERY:
            self._check_losses()
        return loss

    def _share(self, batch_idx: int) -> tuple[int, float]:
        """Weight of a batch's losses in the mean over all samples of its optimiser step.

        Lightning averages over accumulated batches and devices. This is the mean over samples only
        for batches of equal size, and the last ones of an epoch may be smaller.

        Returns:
            Number of samples of this device's batch that count, and a factor of their sum that
            turns Lightning's mean of means into the mean over the samples of the step.
        """
        world, accumulated = self.trainer.world_size, self.config.trainer.accumulate_grad_batches
        together = self.config.optim.batch_size * world
        start = batch_idx * together
        in_batch = min(together, self.num_draws - start)
        first = start // (together * accumulated) * (together * accumulated)
        in_step = min(together * accumulated, self.num_draws - first)
        num_mine = len(range(self.global_rank, in_batch, world))
        return num_mine, accumulated * world / in_step

    def _check_losses(self) -> None:
        """Raise on all devices if a recent loss is NaN or infinite on any of them."""
        sums = torch.stack([loss for _, loss in self._unchecked]).float()
        bad = ~torch.isfinite(sums)
        if self.trainer.world_size > 1:
            bad = self.trainer.strategy.reduce(bad.float(), reduce_op="sum") > 0
        self._sum_of_losses += float(sums.nan_to_num().sum())
        if bad.any():
            batch_idx = self._unchecked[int(bad.nonzero()[0])][0]
            value = float(sums[bad][0])
            # The loss of this device may be finite.
            became = "NaN or infinite on another device" if math.isfinite(value) else value
            raise TrainingError(
                f"The training loss became {became} in epoch {self.current_epoch}, "
                f"batch {batch_idx}.",
                f"Lower optim.lr (now {self.config.learning_rate:g}), set "
                f"trainer.gradient_clip_val=1.0, or use trainer.precision=32-true "
                f"(now {self.config.trainer.precision}).",
            )
        self._unchecked.clear()

    def on_train_epoch_start(self) -> None:
        """Reset the sum of the epoch's losses."""
        self._sum_of_losses = 0.0
        self._num_dropped = 0
        self._unchecked.clear()

    def on_train_epoch_end(self) -> None:
        """Log the mean loss over the epoch's samples."""
        if self._unchecked:
            self._check_losses()
        total = torch.tensor(self._sum_of_losses, dtype=torch.float64, device="cpu")
        if self.trainer.world_size > 1:
            total = self.trainer.strategy.reduce(total.float().to(self.device), reduce_op="sum")
        self.log("train/loss", float(total) / self.num_draws)
        if self._num_dropped:
            # Boxes mostly outside of the enlarged crop of their image.
            self.log("train/boxes_dropped", float(self._num_dropped))

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Collect outputs; the loss is computed over the whole split."""
        with plain_kernels():
            self._collect(batch, self.objective.measure(self.model, batch))

    def on_validation_epoch_end(self) -> None:
        """Log the mean loss over all validation samples."""
        loss = self.objective.val_loss(self.take_outputs())
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The validation loss became {loss.item()} in epoch {self.current_epoch}.",
                f"Lower optim.lr (now {self.config.learning_rate:g}).",
            )
        self.log(MONITOR, loss)
        if self._plateau is not None and self.current_epoch >= self._warmup_epochs:
            # Before the checkpoint is written: Lightning would step afterwards, and skip this step
            # in a resumed run.
            self._plateau.step(float(loss))

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Collect outputs for `take_outputs`."""
        with plain_kernels():
            self._collect(batch, self.objective.observe(self.model, batch))

    def _collect(self, batch: dict[str, Any], observed: Observed) -> None:
        self._outputs.append({"index": batch["index"], **observed})

    def take_outputs(self) -> Observed:
        """Return and clear the collected outputs, in the order of the split.

        Returns:
            ``index`` (N,) and the observed outputs of the samples of all devices: tensors (N, ...)
            on this device, or lists of N.
        """
        outputs = _joined(self._outputs)
        self._outputs.clear()
        if self.trainer.world_size > 1:
            outputs = _gathered(outputs, self.device)
        return _taken(outputs, torch.as_tensor(outputs["index"]).argsort())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remove a frozen backbone from the checkpoint."""
        if self._plateau is not None:
            checkpoint[_PLATEAU] = self._plateau.state_dict()
        if self.model.is_frozen:
            checkpoint["state_dict"] = {
                k: v
                for k, v in checkpoint["state_dict"].items()
                if not k.removeprefix("model.").startswith(self.model.frozen_prefix)
            }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of the plateau schedule for `configure_optimizers`."""
        self._plateau_state = checkpoint.get(_PLATEAU)

    def configure_optimizers(self) -> Any:
        """Build the optimiser of the trainable parameters, and the schedule."""
        optim = self.config.optim
        parameters = self._trained()
        options: dict[str, Any] = {"lr": self.config.learning_rate}
        options["weight_decay"] = optim.weight_decay
        if optim.name is OptimName.SGD:
            options |= {"momentum": optim.momentum, "nesterov": optim.momentum > 0}
        classes = {OptimName.ADAM: Adam, OptimName.ADAMW: AdamW, OptimName.SGD: SGD}
        optimizer: Optimizer = classes[optim.name](parameters, **options)
        return {"optimizer": optimizer, **self._schedule(optimizer)}

    def _trained(self) -> list[Any]:
        """Trainable parameters, with ``optim.layer_decay`` in a group for each learning rate."""
        trained = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        if self.rate_scales is None:
            return [parameter for _, parameter in trained]
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in trained:
            groups.setdefault(self.rate_scales[name], []).append(parameter)
        rate = self.config.learning_rate
        return [
            {"params": groups[scale], "lr": rate * scale} for scale in sorted(groups, reverse=True)
        ]

    @property
    def _warmup_epochs(self) -> int:
        return self.config.scheduler.warmup_epochs(self.config.trainer.max_epochs)

    def _warmed(self, optimizer: Optimizer, warmup: int) -> dict[str, Any]:
        """Schedule with warm-up, in factors of the first rate by epoch."""
        scheduler, left = self.config.scheduler, self.config.trainer.max_epochs - warmup

        def factor(epoch: int) -> float:
            after = epoch - warmup
            if after < 0:
                return (epoch + 1) / (warmup + 1)
            if scheduler.name is SchedulerName.COSINE:
                return (1 + math.cos(math.pi * after / left)) / 2
            if scheduler.name is SchedulerName.STEP:
                return float(scheduler.gamma ** (after // scheduler.step_size))
            return 1.0

        return {"lr_scheduler": lr_scheduler.LambdaLR(optimizer, factor)}

    def _schedule(self, optimizer: Optimizer) -> dict[str, Any]:
        scheduler, epochs = self.config.scheduler, self.config.trainer.max_epochs
        warmup = self._warmup_epochs
        if warmup and scheduler.name is not SchedulerName.PLATEAU:
            return self._warmed(optimizer, warmup)
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
                if not warmup:
                    return {}
                # Multiplies the rate, which plateau lowers afterwards.
                rising = lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup)
                return {"lr_scheduler": rising}


def _joined(parts: list[Observed]) -> Observed:
    """Concatenate batches."""
    joined: Observed = {}
    for name, first in parts[0].items():
        values: list[Any] = [part[name] for part in parts]
        is_tensor = isinstance(first, Tensor)
        joined[name] = torch.cat(values) if is_tensor else [v for part in values for v in part]
    return joined


def _taken(outputs: Observed, order: Tensor) -> Observed:
    """Select samples."""
    return {
        name: values[order.to(values.device)]
        if isinstance(values, Tensor)
        else [values[i] for i in order.tolist()]
        for name, values in outputs.items()
    }


def _gathered(outputs: Observed, device: torch.device) -> Observed:
    """Collect the outputs of all devices; samples of two devices are kept once."""
    parts: list[Any] = [None] * distributed.get_world_size()
    mine = {n: v.cpu() if isinstance(v, Tensor) else v for n, v in outputs.items()}
    distributed.all_gather_object(parts, mine)
    joined = _joined(parts)
    _, first = np.unique(torch.as_tensor(joined["index"]).numpy(), return_index=True)
    chosen = _taken(joined, torch.from_numpy(first))
    return {n: v.to(device) if isinstance(v, Tensor) else v for n, v in chosen.items()}
