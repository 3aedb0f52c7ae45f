"""Cost of each corruption of images against the cost of encoding them.

    python benchmarks/corruptions.py [--images 64] [--rounds 5] [--severity 3] [--bands 1 3]

Corrupts generated images of 224 px in batches of 32, and encodes the same images by
EfficientNet-Lite0 in the same process, side by side in every round. Times are CPU times of one
thread by default, which other processes disturb least. Printed are medians, in milliseconds per
image, and the ratio of each corruption to encoding; a median ratio of 1 or more ends the program
with exit code 1. ``--images 10000`` measures a large test split.
"""

import argparse
import functools
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from torch import Tensor

from marsbench.config.schema import Mode
from marsbench.data.corruptions.applying import corrupt_images
from marsbench.data.corruptions.randomness import sample_seed
from marsbench.data.corruptions.table import SEVERITIES, Subject, names_of
from marsbench.demo.art import terrain
from marsbench.models.modes import build_for_mode
from marsbench.models.zoo.catalog import get_model
from marsbench.tasks.kinds import Kind
from marsbench.training.loop.allocator import keep_freed_memory

SIDE = 224
BATCH = 32
DRAWN = 32
"""Number of different images."""


def draw_images(count: int, bands: int) -> Tensor:
    """Draw images of fractal ground, (N, C, H, W) in [0, 1]."""
    images = []
    for i in range(min(count, DRAWN)):
        height = 4.0 * terrain.fractal(np.random.default_rng(i), SIDE, 2.8)
        images.append(terrain.sensor(terrain.hillshade(height, 300, 40), np.random.default_rng(i)))
    grey = torch.from_numpy(np.stack(images)).float()[:, None] / 255
    colors = grey * torch.tensor([1.0, 0.8, 0.6][:bands]).view(-1, 1, 1)
    return colors[torch.arange(count) % len(images)]


def corrupt(images: Tensor, name: str, severity: int) -> None:
    """Corrupt all images, seeds included."""
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH]
        seeds = [sample_seed(0, f"image-{start + i}", name) for i in range(len(part))]
        corrupt_images(part, name, severity, seeds)


def seconds(work: Callable[[], object]) -> float:
    """CPU time of a function, over all threads."""
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Cost of corruptions against encoding.")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--severity", type=int, default=3, choices=SEVERITIES)
    parser.add_argument("--bands", type=int, nargs="*", default=[1, 3], choices=(1, 3))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    # Random weights take as long as trained ones.
    model = build_for_mode(get_model("efficientnet_lite0"), Kind.BINARY, 2, Mode.SCRATCH, side=SIDE)
    model.eval()
    names = names_of(Subject.IMAGES)
    slow = []
    for bands in options.bands:
        images = draw_images(options.images, bands)

        def encode(images: Tensor = images) -> None:
            with torch.inference_mode():
                for part in torch.split(images, BATCH):
                    model(part.expand(-1, 3, -1, -1))

        ways: dict[str, Callable[[], object]] = {
            name: functools.partial(corrupt, images, name, options.severity) for name in names
        }
        for work in (encode, *ways.values()):
            work()  # once, to warm up
        times: dict[str, list[float]] = {name: [] for name in ways}
        ratios: dict[str, list[float]] = {name: [] for name in ways}
        encoding = []
        for _ in range(options.rounds):
            for name, work in ways.items():
                # Side by side: another process slows both.
                encoding.append(seconds(encode))
                times[name].append(seconds(work))
                ratios[name].append(times[name][-1] / encoding[-1])
        per_image = 1000 / options.images
        print(
            f"{options.images} images of {SIDE} px, {bands} band(s), severity {options.severity}, "
            f"{options.threads} thread(s); encoding {per_image * median(encoding):.2f} ms an image"
        )
        print(f"{'':<16}{'ms/image':>10}{'of encoding':>13}{'highest':>10}")
        for name in names:
            ratio = median(ratios[name])
            print(
                f"{name:<16}{per_image * median(times[name]):>10.2f}{ratio:>13.3f}"
                f"{max(ratios[name]):>10.3f}"
            )
            slow += [f"{name} ({bands} bands)"] if ratio >= 1 else []
    if slow:
        sys.exit(f"Slower than encoding: {', '.join(slow)}.")


if __name__ == "__main__":
    main()
