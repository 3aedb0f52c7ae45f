"""Images per second from disk, from the cache, and of decoding alone.

    python benchmarks/data_pipeline.py [--images 1000] [--side 227] [--format png] [--workers 0 2]

Writes a folder of generated grey images in the published layout, measures each step in turn over
several rounds, and prints medians and their ratios:

- read: bytes of the files, from the operating system's cache;
- decode: from bytes in memory to pixels;
- disk: read and decode, as in a run without the cache;
- cache: pixels from the memory-mapped cache;
- dataset: samples from the cache, resized to the model's input;
- batches: the same in batches of 32, with worker processes.
"""

import argparse
import functools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from marsbench.data.cache import DirectSamples, cached_samples
from marsbench.data.datamodule import collate
from marsbench.data.dataset import MarsDataset
from marsbench.data.samples import decode_sample
from marsbench.data.sources.local import LocalSource
from marsbench.demo.art import terrain
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import ClassInfo, TaskSpec

ROUNDS = 5
SPEC = TaskSpec(
    name="pipeline",
    title="Generated images",
    kind=Kind.BINARY,
    classes=(ClassInfo("even"), ClassInfo("odd")),
    folder="pipeline",
)


def write_folder(root: Path, count: int, side: int, form: str) -> Path:
    """Write images of fractal ground, as compressible as pictures from orbit."""
    folder = root / SPEC.folder
    rows = ["file_id,split,feature_name,label"]
    for i in range(count):
        path = folder / "data" / "train" / f"c{i % 2}" / f"{i:05d}.{form}"
        path.parent.mkdir(parents=True, exist_ok=True)
        height = 4.0 * terrain.fractal(np.random.default_rng(i), side, 2.8)
        pixels = terrain.sensor(terrain.hillshade(height, 300, 40), np.random.default_rng(i))
        Image.fromarray(pixels).save(path)
        rows.append(f"{path.name},train,c{i % 2},{i % 2}")
    (folder / "annotation.csv").write_text("\n".join(rows) + "\n")
    (folder / "mapping.json").write_text('{"0": "even", "1": "odd"}')
    return folder


def seconds(work: Callable[[], object]) -> float:
    """Time a function."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Images per second of the data pipeline.")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=227)
    parser.add_argument("--format", choices=("png", "jpg"), default="png")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["MARSBENCH_HOME"] = str(Path(temporary) / "home")
        root = Path(temporary)
        source = LocalSource(SPEC, write_folder(root, options.images, options.side, options.format))
        rows = source.rows("train")
        everything = range(len(rows))
        raws = [source.read("train", i) for i in everything]
        direct, cache = DirectSamples(SPEC, source, rows), cached_samples(SPEC, source, rows)
        data = MarsDataset(SPEC, source, "train", side=224)
        ways: dict[str, Callable[[], object]] = {
            "read": lambda: [source.read("train", i) for i in everything],
            "decode": lambda: [decode_sample(SPEC, raw) for raw in raws],
            "disk": lambda: [direct[i] for i in everything],
            "cache": lambda: [cache[i].pixels.copy() for i in everything],
            "dataset": lambda: [data[i] for i in everything],
        }
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
