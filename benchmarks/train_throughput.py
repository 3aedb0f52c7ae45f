"""Training loop against the bare model step.

    python benchmarks/train_throughput.py [--model timm:resnet18] [--precision 32-true]
        [--batch-size 32] [--batches 12] [--rounds 5] [--workers N] [--figures FILE]
        [--set KEY=VALUE ...]

The loop is that of `marsbench run`: samples from the cache, resized, collated, moved to the device,
flipped and scaled there, through the Lightning module with its checks and logs. The bare step is
forward, loss, backward and optimiser on one batch already on the device, in the same layout and
precision. Both take turns in one process. Prints medians over the rounds and their ratio, the share
of the bare step's speed kept by the loop.
"""

import argparse
import contextlib
import copy
import math
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import measured
import pytorch_lightning as pl
import torch
from torch.nn import functional

from marsbench.config.schema import RunConfig
from marsbench.data.datamodule import MarsDataModule
from marsbench.demo.recipes import RECIPES
from marsbench.plan.resolve import resolve
from marsbench.training.loop.allocator import keep_freed_memory
from marsbench.training.loop.trainer import make_trainer, quiet
from marsbench.training.network import build_module

GOAL = 0.9
"""Share of the bare step's speed to keep."""


class TakeTurns(pl.Callback):
    """Time the bare step before every epoch, and the batches of the epoch.

    Args:
        batches: Steps of a round.
    """

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self.bare: list[float] = []
        self.real: list[float] = []
        self._step: tuple[Any, Any, Any, Any] | None = None
        self._started = 0.0

    def _now(self, module: pl.LightningModule) -> float:
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Time the bare steps of a round."""
        if self._step is None:
            self._step = _bare(pl_module, trainer)
        model, optimizer, images, labels = self._step
        started = self._now(pl_module)
        for _ in range(self.batches):
            with trainer.precision_plugin.train_step_context():
                loss = functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        self.bare.append((self._now(pl_module) - started) / self.batches)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Record the end of the first batch, which includes the loader's start, and of the last."""
        if batch_idx == 0:
            self._started = self._now(pl_module)
        elif batch_idx == self.batches:
            self.real.append((self._now(pl_module) - self._started) / self.batches)


def _bare(module: pl.LightningModule, trainer: pl.Trainer) -> tuple[Any, Any, Any, Any]:
    """Copy of the model, its optimiser, and a batch on the device."""
    original: Any = module.model
    model = copy.deepcopy(original).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4)
    data: MarsDataModule = trainer.datamodule  # type: ignore[attr-defined]
    batch = next(iter(data.train_dataloader()))
    batch = module.transfer_batch_to_device(batch, module.device, 0)
    batch = module.on_after_batch_transfer(batch, 0)
    return model, optimizer, batch["image"], batch["label"]


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["MARSBENCH_HOME"] = temporary
        yield Path(temporary)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The real training loop against the bare step.")
    parser.add_argument("--model", default="timm:resnet18")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--figures", type=Path, help="file for the figures, as JSON")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    keep_freed_memory()
    with _folder() as folder, quiet():
        draws = (options.batches + 1) * options.batch_size
        config = RunConfig.from_dict(
            {
                "task": "landmark_cls",
                "source": "demo",
                "size": math.ceil(100 * draws / RECIPES["landmark_cls"].sizes["train"]) / 100,
                "model": options.model,
                "mode": "scratch",
                "workers": options.workers,
                "store": str(folder / "runs"),
                "optim.batch_size": options.batch_size,
                "trainer.max_epochs": options.rounds + 1,
                "trainer.patience": None,
                "trainer.precision": options.precision,
                **dict(word.split("=", 1) for word in options.set),
            }
        )
        plan = resolve(config)
        side = plan.model.input_size
        data = MarsDataModule(config, plan.task, plan.source, plan.selection.indices, side=side)
        module = build_module(plan)
        trainer = make_trainer(config, folder / "run")
        turns = TakeTurns(options.batches)
        callbacks: list[pl.Callback] = getattr(trainer, "callbacks")  # noqa: B009
        callbacks.append(turns)
        trainer.fit(module, datamodule=data)
        device = module.device if trainer.num_devices == 0 else trainer.strategy.root_device
    # The first round warms up.
    bare, real = turns.bare[1:], turns.real[1:]
    ratio = median(b / r for b, r in zip(bare, real, strict=True))
    print(
        f"{options.model}, {options.precision}, {side} px, batch {options.batch_size}, flips and "
        f"turns, on {device} ({torch.get_num_threads()} threads), {len(real)} rounds"
    )
    settings = " ".join([options.model, options.precision, *options.set])
    figures = []
    for name, found in (("bare step", bare), ("real loop", real)):
        rate = options.batch_size / median(found)
        print(f"{name:<12}{rate:>10.1f} images/s{1000 * median(found):>10.1f} ms per batch")
        figures.append(measured.Figure(f"{settings}: {name}", rate, "images/s"))
    spread = ", ".join(f"{b / r:.3f}" for b, r in zip(bare, real, strict=True))
    print(f"{'real / bare':<12}{ratio:>10.3f}  (rounds: {spread})")
    figures.append(measured.Figure(f"{settings}: real / bare", ratio, "", GOAL))
    measured.write(options.figures, figures)


if __name__ == "__main__":
    main()
