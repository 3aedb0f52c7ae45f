"""Gain from cached encoder features in frozen segmentation.

    python benchmarks/frozen_segmentation.py [--models unet_lite0 vit_tiny/linear] [--side 128]
        [--batch-size 8] [--rounds 5] [--threads 1]

A model is a segmentation model, or ENCODER/DECODER with upernet or linear.

Measures for every model, in one process and in turn: a training step with a frozen encoder, the
encoder's forward pass alone, and reading the features of a batch from a memory-mapped file; over an
encoder also a training step on features, as with protocol=cached. Prints medians, the bytes of
features per image and of its pixels, and the gain: the step over the step on features. Models with
a decoder of their own have no such step; theirs is estimated as the step without its encoder, with
reading instead. Random weights do not change the timings.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.nn import functional

from marsbench.config.schema import Decoder, Mode
from marsbench.data.encoded import EncodedImages
from marsbench.models.modes import build_for_mode
from marsbench.models.segmenters.encoder import MapSegmenter
from marsbench.models.zoo.catalog import get_model
from marsbench.tasks.kinds import Kind
from marsbench.training.loop.allocator import keep_freed_memory

CLASSES = 2
MOST = 100.0
"""Largest estimated gain that is told from noise."""

IMAGES = 64
"""Images in the file of features; batches are random."""


def timed(works: list[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of functions, called in turn after a warm-up call of each."""
    seconds: list[list[float]] = [[] for _ in works]
    for work in works:
        work()
    for _ in range(rounds):
        for work, mine in zip(works, seconds, strict=True):
            started = time.perf_counter()
            work()
            mine.append(time.perf_counter() - started)
    return [median(mine) for mine in seconds]


def measure(name: str, side: int, batch_size: int, rounds: int, folder: Path) -> None:
    """Measure a model and print a row."""
    encoder_name, _, word = name.partition("/")
    is_encoder = word in list(Decoder)
    spec = get_model(encoder_name if is_encoder else name)
    decoder = Decoder(word) if is_encoder else None
    model = build_for_mode(
        spec, Kind.SEGMENTATION, CLASSES, Mode.SCRATCH, side=side, decoder=decoder
    )
    model.freeze_backbone()
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    image = torch.rand(batch_size, 3, side, side).contiguous(memory_format=torch.channels_last)
    mask = torch.randint(CLASSES, (batch_size, side, side))
    encoder = model.get_submodule("model.encoder")
    model.to(memory_format=torch.channels_last)

    def step(inputs: torch.Tensor = image) -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs), mask).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def encode() -> list[torch.Tensor]:
        with torch.inference_mode():
            found: list[torch.Tensor] = encoder(image)
        return found

    # The first of smp's feature maps is the image itself.
    features = [f for f in encode() if f.shape[1] != 3]
    numbers = (
        model.num_features
        if isinstance(model, MapSegmenter)
        else sum(f[0].numel() for f in features)
    )
    path = folder / f"{name.replace('/', '-')}.f32"
    stored = np.memmap(path, dtype=np.float32, mode="w+", shape=(IMAGES, numbers))
    stored[:] = 1.0
    stored.flush()
    rng = np.random.default_rng(0)
    rows = EncodedImages(path, "float32", numbers)

    def read() -> torch.Tensor:
        drawn = rng.integers(IMAGES, size=batch_size)
        return torch.stack([torch.from_numpy(rows[int(i)]) for i in drawn])

    works: list[Callable[[], object]] = [step, encode, read]
    if isinstance(model, MapSegmenter):
        works.append(lambda: step(read()))
    whole, encoding, reading, *cached = timed(works, rounds)
    pixels = 3 * side * side
    # Noise may make the encoder alone slower than the whole step.
    gain = whole / cached[0] if cached else whole / max(whole - encoding + reading, whole / MOST)
    print(
        f"{name:<22}{1e3 * whole:>10.1f}{1e3 * encoding:>12.1f}{encoding / whole:>9.0%}"
        f"{1e3 * reading:>11.1f}{4 * numbers / 2**20:>12.2f}{4 * numbers / pixels:>13.1f}x"
        f"{gain:>13.2f}x",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Whether encoder features are worth caching.")
    parser.add_argument(
        "--models",
        nargs="+",
        default=[
            "unet_lite0",
            "unet",
            "vit_tiny/linear",
            "vit_tiny/upernet",
            "resnet18/linear",
            "resnet18/upernet",
        ],
    )
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    print(
        f"{options.batch_size} images of {options.side} pixels, {torch.get_num_threads()} threads"
    )
    print(
        f"{'':<22}{'step, ms':>10}{'encoder, ms':>12}{'share':>9}{'read, ms':>11}"
        f"{'MiB / image':>12}{'of the pixels':>14}{'gain':>14}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            measure(name, options.side, options.batch_size, options.rounds, Path(folder))


if __name__ == "__main__":
    main()
