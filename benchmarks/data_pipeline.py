"""Images per second from disk, from the cache, and of decoding alone.

    python benchmarks/data_pipeline.py [--images 1000] [--side 227] [--format png] [--workers 0 2]
    python benchmarks/data_pipeline.py --large 512 1024 2048 [--images 32] [--bands 3]

Writes a folder of generated grey images in the published layout, measures each step in turn over
several rounds, and prints medians and their ratios:

- read: bytes of the files, from the operating system's cache;
- decode: from bytes in memory to pixels;
- disk: read and decode, as in a run without the cache;
- cache: pixels from the memory-mapped cache;
- dataset: samples from the cache, resized to the model's input;
- views, each read: the eight views of augment=d4, ready for an encoder, in a pass each;
- views, read once: the same, all views of a batch in one pass, as features are encoded;
- batches: samples from the cache in batches of 32, with worker processes.

With ``--large`` it measures instead, for images of each of these sides, samples of a model's side
from the cache at the images' own size, resized at every visit, and from the cache at the model's
side, in alternation; and checks that they are equal.
"""

import argparse
import dataclasses
import functools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from marsbench.config.schema import Augment
from marsbench.data.cache import DirectSamples, cached_samples
from marsbench.data.datamodule import collate
from marsbench.data.dataset import MarsDataset
from marsbench.data.samples import decode_sample
from marsbench.data.sources.local import LocalSource
from marsbench.data.transforms import augment_batch, finish_batch
from marsbench.demo.art import terrain
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import ClassInfo, TaskSpec

ROUNDS = 5
SIDE = 224
"""Side of the model's input in pixels."""

SPEC = TaskSpec(
    name="pipeline",
    title="Generated images",
    kind=Kind.BINARY,
    classes=(ClassInfo("even"), ClassInfo("odd")),
    folder="pipeline",
)


def write_folder(root: Path, count: int, side: int, form: str, bands: int = 1) -> Path:
    """Write images of fractal ground, as compressible as pictures from orbit."""
    folder = root / SPEC.folder
    rows = ["file_id,split,feature_name,label"]
    for i in range(count):
        path = folder / "data" / "train" / f"c{i % 2}" / f"{i:05d}.{form}"
        path.parent.mkdir(parents=True, exist_ok=True)
        height = 4.0 * terrain.fractal(np.random.default_rng(i), side, 2.8)
        pixels = terrain.sensor(terrain.hillshade(height, 300, 40), np.random.default_rng(i))
        image = Image.fromarray(pixels)
        (image if bands == 1 else image.convert("RGB")).save(path)
        rows.append(f"{path.name},train,c{i % 2},{i % 2}")
    (folder / "annotation.csv").write_text("\n".join(rows) + "\n")
    (folder / "mapping.json").write_text('{"0": "even", "1": "odd"}')
    return folder


def seconds(work: Callable[[], object]) -> float:
    """Time a function."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare_large(root: Path, options: argparse.Namespace) -> None:
    """Print samples per second of large images by the size at which they are cached."""
    spec = dataclasses.replace(SPEC, channels=options.bands)
    print(
        f"{options.images} {options.format} images of {options.bands} band(s), side {SIDE}, "
        "one thread; ms per sample"
    )
    print(f"{'own side':<10}{'own size':>10}{'at side':>10}{'ratio':>8}   every round")
    for side in options.large:
        folder = write_folder(root / str(side), options.images, side, options.format, options.bands)
        source = LocalSource(spec, folder)
        resized = MarsDataset(spec, source, "train", side=SIDE)
        own = MarsDataset(spec, source, "train", side=SIDE)
        own.samples = cached_samples(spec, source, source.rows("train"))
        for i in range(len(own)):  # also warms up
            if not torch.equal(own[i]["image"], resized[i]["image"]):
                raise SystemExit(f"Sample {i} of {side} px differs between the caches.")
        ways = {data: functools.partial(_visit, data) for data in (own, resized)}
        times: dict[MarsDataset, list[float]] = {data: [] for data in ways}
        for _ in range(ROUNDS):
            for data, work in ways.items():
                times[data].append(seconds(work))
        slow, fast = (1000 * median(times[data]) / len(data) for data in (own, resized))
        rounds = [a / b for a, b in zip(times[own], times[resized], strict=True)]
        spread = ", ".join(f"{ratio:.1f}" for ratio in rounds)
        print(f"{side:<10}{slow:>10.3f}{fast:>10.3f}{median(rounds):>7.1f}x   {spread}")


def _visit(data: MarsDataset) -> None:
    for i in range(len(data)):
        data[i]


def prepare(batch: dict[str, Any], views: range) -> None:
    """Prepare views of a batch as the encoder does."""
    images = finish_batch(batch, Augment.NONE, channels_last=True)["image"]
    for view in views:
        augment_batch(images, [view] * len(images), Augment.D4)


def views_each_read(loader: DataLoader[Any]) -> None:
    """Prepare eight views in eight passes over the images."""
    for view in range(8):
        for batch in loader:
            prepare(batch, range(view, view + 1))


def views_read_once(loader: DataLoader[Any]) -> None:
    """Prepare eight views in one pass over the images."""
    for batch in loader:
        prepare(batch, range(8))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Images per second of the data pipeline.")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=227)
    parser.add_argument("--format", choices=("png", "jpg"), default="png")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    parser.add_argument("--large", type=int, nargs="+", metavar="SIDE")
    parser.add_argument("--bands", type=int, default=3, choices=(1, 3), help="bands with --large")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["MARSBENCH_HOME"] = str(Path(temporary) / "home")
        root = Path(temporary)
        if options.large:
            compare_large(root, options)
            return
        source = LocalSource(SPEC, write_folder(root, options.images, options.side, options.format))
        rows = source.rows("train")
        everything = range(len(rows))
        raws = [source.read("train", i) for i in everything]
        direct, cache = DirectSamples(SPEC, source, rows), cached_samples(SPEC, source, rows)
        data = MarsDataset(SPEC, source, "train", side=SIDE)
        ways: dict[str, Callable[[], object]] = {
            "read": lambda: [source.read("train", i) for i in everything],
            "decode": lambda: [decode_sample(SPEC, raw) for raw in raws],
            "disk": lambda: [direct[i] for i in everything],
            "cache": lambda: [cache[i].pixels.copy() for i in everything],
            "dataset": lambda: [data[i] for i in everything],
        }
        alone: DataLoader[Any] = DataLoader(data, batch_size=32, collate_fn=collate)
        ways["views, each read"] = lambda: views_each_read(alone)
        ways["views, read once"] = lambda: views_read_once(alone)
        for workers in options.workers:
            loader = DataLoader(
                data,
                batch_size=32,
                collate_fn=collate,
                num_workers=workers,
                persistent_workers=workers > 0,
            )
            ways[f"batches, {workers} workers"] = functools.partial(list, loader)
        for work in ways.values():
            work()
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, work in ways.items():
                times[name].append(seconds(work))
    rates = {name: options.images / median(found) for name, found in times.items()}
    print(f"{options.images} {options.format} images of {options.side} px, one thread each way")
    print(f"{'':<22}{'images/s':>10}{'of disk':>10}")
    for name, rate in rates.items():
        print(f"{name:<22}{rate:>10.0f}{rate / rates['disk']:>9.1f}x")


if __name__ == "__main__":
    main()
