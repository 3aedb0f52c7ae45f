"""Seconds from the CSVs of a mass-spectrometry folder to images: plain pandas, and marsbench.

    python benchmarks/spectra.py FOLDER [--limit N] [--rounds 3]

FOLDER holds ``ega_ms`` in the challenge's layout. Each round makes the images of the challenge's
benchmark (preset ``ega_benchmark``) of all train samples in three ways, in rotating order, in one
process:

- pandas: the steps of a competent user, file by file: `read_csv`, whole m/z below 100 without
  helium, `groupby.transform("min")`, scaling, `cut` into 16 bins, and a pivot to the maximum of
  each bin, without any check;
- cold: from the CSVs with an empty cache: checks, MD5, the Parquet file of all points, prepared
  rasters, images;
- cache: opening the cache again, and all images.

Prints medians, ratios to pandas, and whether the pixels of every sample are equal in all three.
Pandas uses one core, the cold way all cores. A fourth row is the lower bound of any checking CSV
reader: checksums and Arrow's parsing of the same files, on all cores.

Then, with the Parquet file present: seconds per preset to prepare all samples, and to draw each
once, as in a training epoch. All files are read once beforehand, so that every way reads from the
operating system's cache.
"""

import argparse
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from marsbench.base.environment import usable_cores
from marsbench.data.cache import Samples
from marsbench.data.rendering import Rendering
from marsbench.data.rows import Rows
from marsbench.data.sources.challenge import ChallengeSource
from marsbench.data.spectra import prepared_samples
from marsbench.spectra.presets import PRESETS, RasterSpec, get_preset
from marsbench.tasks.catalog import get_task
from marsbench.tasks.kinds import Technique
from marsbench.tasks.spec import TaskSpec

Images = NDArray[np.float32]

EDGES = list(range(-100, 1501, 100))
IONS = [ion for ion in range(100) if ion != 4]


def with_pandas(path: Path) -> Images:
    """Make an image of the challenge's benchmark: (100, 16)."""
    table = pd.read_csv(path)
    table = table[table["m/z"].isin(IONS)]
    value = table["abundance"] - table.groupby("m/z")["abundance"].transform("min")
    value = (value - value.min()) / (value.max() - value.min())
    column = pd.cut(table["temp"], EDGES, labels=False)
    row = table["m/z"].astype(int)
    image = value.groupby([row, column]).max().unstack()
    wanted = image.reindex(index=range(100), columns=range(16)).fillna(0.0)
    return np.asarray(wanted, dtype=np.float32)


class Data:
    """An opened folder, with the three ways to its images."""

    def __init__(self, folder: Path, limit: int | None) -> None:
        self.spec: TaskSpec = get_task("ega_ms")
        self.source = ChallengeSource(self.spec, folder)
        rows = self.source.rows("train")
        kept = slice(limit)
        fingerprint = f"{rows.fingerprint} {limit}"
        self.rows = Rows("train", rows.sample_ids[kept], rows.targets[kept], fingerprint)

    def samples(self, raster: RasterSpec) -> Samples:
        """Open the prepared samples of a raster, through the cache."""
        return prepared_samples(self.spec, self.source, self.rows, raster)

    def drawn(self, raster: RasterSpec, samples: Samples, *, by_chance: bool = False) -> Images:
        """Draw every sample once, (N, C, M, T)."""
        rendering = Rendering(raster)
        read = samples.__getitem__
        return np.stack(
            [
                rendering.draw(read, self.rows.targets, i, i if by_chance else None)[0]
                for i in range(len(self.rows))
            ]
        )

    def plain(self) -> Images:
        """Make the benchmark's images with pandas."""
        paths = [self.source.path(sample_id) for sample_id in self.rows.sample_ids]
        return np.stack([with_pandas(path) for path in paths])

    def ours(self) -> Images:
        """Make the benchmark's images with the package."""
        raster = get_preset("ega_benchmark")
        return self.drawn(raster, self.samples(raster))[:, 0]

    def least(self) -> Images:
        """Compute checksums and parse, without using the result."""

        def parse(path: Path) -> None:
            content = path.read_bytes()
            hashlib.md5(content, usedforsecurity=False).digest()
            csv.read_csv(pa.BufferReader(content), csv.ReadOptions(use_threads=False))

        with ThreadPoolExecutor(usable_cores()) as pool:
            list(pool.map(parse, [self.source.path(s) for s in self.rows.sample_ids]))
        return np.empty(0, dtype=np.float32)

    def cold(self) -> Images:
        """Make the benchmark's images without a cache."""
        shutil.rmtree(os.environ["MARSBENCH_HOME"], ignore_errors=True)
        return self.ours()


def timed(work: Callable[[], Images]) -> tuple[float, Images]:
    """Time a function."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def compare(data: Data, rounds: int) -> None:
    """Print seconds and ratios of the three ways, and whether their images are the same."""
    times: dict[str, list[float]] = {"pandas": [], "cold": [], "cache": [], "bound": []}
    same = True
    data.ours()  # imports
    for turn in range(rounds):
        images: dict[str, Images] = {}
        # The cold way leaves the cache.
        first = (("pandas", data.plain), ("cold", data.cold), ("cache", data.ours))
        for name, work in first if turn % 2 == 0 else (*first[1:], first[0]):
            seconds, images[name] = timed(work)
            times[name].append(seconds)
        times["bound"].append(timed(data.least)[0])
        same &= all(np.array_equal(images["pandas"], images[n]) for n in ("cold", "cache"))
    print(f"{'':<10}{'seconds':>10}{'pandas takes':>14}   every round")
    for name, found in times.items():
        ratio = median(times["pandas"]) / median(found)
        every = " ".join(f"{seconds:.3f}" for seconds in found)
        print(f"{name:<10}{median(found):>10.3f}{ratio:>13.1f}x   {every}")
    told = "the same" if same else "NOT THE SAME"
    print(f"pixels of all {len(data.rows)} samples: {told} in all ways and rounds")


def presets(data: Data) -> None:
    """Print the seconds per preset to prepare all samples, and to draw each once."""
    print(f"\n{'':<20}{'prepare, s':>12}{'one epoch, s':>14}{'evaluation, s':>15}")
    for raster in PRESETS.values():
        if raster.technique is not Technique.EGA:
            continue
        home = Path(os.environ["MARSBENCH_HOME"]) / "decoded" / data.spec.name
        for folder in home.glob("train-*/"):
            shutil.rmtree(folder)
        started = time.perf_counter()
        samples = data.samples(raster)
        prepare = time.perf_counter() - started
        epoch, _ = timed(lambda r=raster, s=samples: data.drawn(r, s, by_chance=True))  # type: ignore[misc]
        still, _ = timed(lambda r=raster, s=samples: data.drawn(r, s))  # type: ignore[misc]
        print(f"{raster.name:<20}{prepare:>12.2f}{epoch:>14.2f}{still:>15.2f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="From CSVs of spectra to images.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, help="number of samples; default all")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["MARSBENCH_HOME"] = home
        data = Data(options.folder, options.limit)
        paths = [data.source.path(sample_id) for sample_id in data.rows.sample_ids]
        size = sum(len(path.read_bytes()) for path in paths)
        print(
            f"{len(data.rows)} samples, {size / 2**20:.0f} MiB of CSV, {usable_cores()} cores, "
            f"load {os.getloadavg()[0]:.1f}"
        )
        compare(data, options.rounds)
        presets(data)


if __name__ == "__main__":
    main()
