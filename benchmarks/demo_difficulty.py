"""Difficulty of the demo data: raw pixels against a small network.

Prints, for each classification task, the macro F1 on test of

- logistic regression on raw pixels, its penalty chosen on val: a measure of colour and position;
- a small convolutional network, the same for all tasks, in 1,500 steps (--steps) of 64 images.

    python benchmarks/demo_difficulty.py [TASK ...] [--steps N] [--size X]

A multiclass recipe should stay below 0.5 with the first and exceed 0.8 with the second.
"""

import argparse
import itertools
import time

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier
from torch import Tensor, nn
from torch.nn import functional

from marsbench import load_dataset
from marsbench.data.dataset import MarsDataset
from marsbench.demo.recipes import RECIPES
from marsbench.tasks.catalog import get_task
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import SPLITS, Platform
from marsbench.training.loop.allocator import keep_freed_memory

STEPS, BATCH = 1500, 64


def stack(data: MarsDataset) -> Tensor:
    """All images of a split, float32 (N, C, H, W) in [0, 1]."""
    return torch.stack([data[i]["image"] for i in range(len(data))])


def macro_f1(targets: NDArray[np.integer], predicted: NDArray[np.integer]) -> float:
    """Macro F1 over the classes."""
    return float(f1_score(targets, predicted, average="macro", zero_division=0.0))


def pixels_f1(images: dict[str, Tensor], targets: dict[str, NDArray[np.integer]]) -> float:
    """Macro F1 on test of logistic regression on standardised pixels."""
    flat = {s: x.flatten(1).numpy() for s, x in images.items()}
    mean, deviation = flat["train"].mean(0), flat["train"].std(0) + 1e-6
    flat = {s: (x - mean) / deviation for s, x in flat.items()}
    # Penalised weights lie in the span of the train images: in its basis the fit is the same, and
    # much smaller. Directions of next to no variance are left out.
    _u, size, vt = np.linalg.svd(flat["train"], full_matrices=False)
    keep = size > 1e-4 * size[0]
    basis = vt[keep].T
    reduced = {s: x @ basis for s, x in flat.items()}
    best = (-1.0, 0.0)
    for strength in (1e-5, 1e-4, 1e-3):
        model = LogisticRegression(C=strength, max_iter=200)
        if targets["train"].ndim == 2:
            model = OneVsRestClassifier(model)
        model.fit(reduced["train"], targets["train"])
        scores = [macro_f1(targets[s], model.predict(reduced[s])) for s in ("val", "test")]
        best = max(best, (scores[0], scores[1]))
    return best[1]


def small_network(channels: int, outputs: int) -> nn.Module:
    """Five convolutions with a stride of two, then a linear layer on the channel means."""
    layers: list[nn.Module] = []
    widths = (channels, 24, 48, 96, 128, 160)
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(160, outputs)
    )


def network_f1(
    images: dict[str, Tensor],
    targets: dict[str, NDArray[np.integer]],
    outputs: int,
    turns: bool,
    steps: int,
) -> float:
    """Macro F1 on test of the small network, trained on balanced classes."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    multilabel = targets["train"].ndim == 2
    net = small_network(images["train"].shape[1], outputs).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    if multilabel:
        chance = (targets["train"] / targets["train"].sum(0).clip(1)).sum(1)
    else:
        chance = 1.0 / np.bincount(targets["train"], minlength=outputs)[targets["train"]]
    chance = chance / chance.sum()
    wanted = torch.as_tensor(targets["train"], dtype=torch.float32 if multilabel else torch.int64)
    for _ in range(steps):
        chosen = torch.from_numpy(rng.choice(len(chance), BATCH, p=chance))
        batch = images["train"][chosen]
        flip = torch.from_numpy(rng.random(BATCH) < 0.5)
        batch[flip] = batch[flip].flip(-1)
        if turns:
            batch = torch.rot90(batch, int(rng.integers(4)), (2, 3))
        batch = (batch - 0.5) * 4.0
        batch = batch * float(rng.uniform(0.8, 1.25)) + float(rng.normal(0.0, 0.1))
        logits = net(batch.contiguous(memory_format=torch.channels_last))
        loss = (
            functional.binary_cross_entropy_with_logits(logits, wanted[chosen])
            if multilabel
            else functional.cross_entropy(logits, wanted[chosen], label_smoothing=0.05)
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    net.eval()
    with torch.inference_mode():
        out = torch.cat([net((x - 0.5) * 4.0) for x in torch.tensor_split(images["test"], 8)])
    predicted = (out > 0).int() if multilabel else out.argmax(1)
    return macro_f1(targets["test"], predicted.numpy())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("tasks", nargs="*", metavar="TASK")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--size", type=float, default=1.0)
    options = parser.parse_args()
    keep_freed_memory()
    names = options.tasks or [name for name, recipe in RECIPES.items() if recipe.class_weights]
    print(f"{'task':<26}{'classes':>8}{'train':>7}{'pixels':>9}{'network':>9}   seconds")
    for name in names:
        spec = get_task(name)
        data = {s: load_dataset(name, s, source="demo", size=options.size) for s in SPLITS}
        images = {s: stack(d) for s, d in data.items()}
        targets = {s: d.targets for s, d in data.items()}
        outputs = len(spec.classes)
        started = time.perf_counter()
        pixels = pixels_f1(images, targets)
        middle = time.perf_counter()
        turns = spec.platform is Platform.ORBITER
        network = network_f1(images, targets, outputs, turns, options.steps)
        print(
            f"{name:<26}{outputs:>8}{len(data['train']):>7}{pixels:>9.3f}{network:>9.3f}"
            f"   {middle - started:.0f} + {time.perf_counter() - middle:.0f}",
            flush=True,
        )
        if spec.kind is Kind.MULTICLASS and not (pixels < 0.5 and network > 0.8):
            print(f"{name}: outside the expected range of a multiclass recipe")


if __name__ == "__main__":
    main()
