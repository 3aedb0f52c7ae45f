"""Handmade spectra, and their images by pandas."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from marsbench.spectra.spectrum import Instrument, Spectrum
from marsbench.tasks.catalog import get_task

EGA_HEADER = "time,temp,m/z,abundance\n"
GC_HEADER = "time,mass,intensity\n"


def commercial(
    seed: int = 0, scans: int = 60, ions: int = 60, low: float = -63.0, high: float = 1484.0
) -> Spectrum:
    """Run on a grid: noise of either sign, some peaks, and a falling temperature."""
    rng = np.random.default_rng(seed)
    axis = np.linspace(low, high, scans) + rng.normal(0, 8, scans)
    curves = rng.normal(0.0, 0.05, (scans, ions))
    for ion in rng.choice(ions, min(ions, 12), replace=False):
        curves[:, ion] += rng.random() * np.exp(-(((axis - rng.uniform(low, high)) / 60) ** 2))
    curves[:, 4] += 50
    return Spectrum(
        time=np.repeat(np.arange(scans) * 5.2, ions),
        axis=np.repeat(axis, ions),
        mz=np.tile(np.arange(ions, dtype=np.float64), scans),
        abundance=curves.ravel() * 1e-9,
    )


def one_by_one(seed: int = 0, points: int = 4000) -> Spectrum:
    """Run of ions measured in turn, also at fractional m/z, in counts."""
    rng = np.random.default_rng(seed)
    axis = np.linspace(20.0, 1000.0, points) + rng.normal(0, 5, points)
    mz = rng.integers(0, 150, points) + rng.choice([0.0, 0.1, -0.1, 0.4], points)
    counts = rng.poisson(20.0, points).astype(np.float64)
    return Spectrum(
        time=np.arange(points, dtype=np.float64) * 0.02,
        axis=axis,
        mz=np.abs(mz.round(1)),
        abundance=counts * 1000.0 * np.exp(-(((axis - 500) / 200) ** 2)),
        instrument=Instrument.SAM_TESTBED,
    )


def chromatogram(seed: int = 0, scans: int = 120, minutes: float = 30.0) -> Spectrum:
    """GC run with fractional masses, two of which share a row."""
    rng = np.random.default_rng(seed)
    rows = []
    for time in np.sort(rng.uniform(0, minutes, scans)):
        masses = np.unique(rng.uniform(0, 400, 60).round(1))
        rows += [(time, mass, rng.exponential(1e4)) for mass in masses]
    time, mz, abundance = np.array(rows).T
    return Spectrum(time, time, mz, abundance, derivatized=bool(seed % 2))


def scaled(spectrum: Spectrum, factor: float) -> Spectrum:
    """The same run in another unit of abundance."""
    return replace(spectrum, abundance=spectrum.abundance * factor)


def to_csv(spectrum: Spectrum) -> bytes:
    """CSV of a run in its challenge's layout, with exact numbers."""
    columns = {"time": spectrum.time, "mass": spectrum.mz, "intensity": spectrum.abundance}
    if spectrum.axis is not spectrum.time:
        columns = {
            "time": spectrum.time,
            "temp": spectrum.axis,
            "m/z": spectrum.mz,
            "abundance": spectrum.abundance,
        }
    return pd.DataFrame(columns).to_csv(index=False).encode()


def ega_benchmark(spectrum: Spectrum) -> NDArray[np.float32]:
    """The EGA challenge's benchmark, step by step: (100, 16)."""
    table = pd.DataFrame(
        {"temp": spectrum.axis, "mz": spectrum.mz, "abundance": spectrum.abundance}
    )
    table = table[(table.mz % 1 == 0) & (table.mz < 100) & (table.mz != 4)]
    return _image(table, "temp", list(range(-100, 1501, 100)), 100)


def gcms_benchmark(spectrum: Spectrum) -> NDArray[np.float32]:
    """The GC challenge's benchmark, step by step: (351, 50)."""
    table = pd.DataFrame(
        {"time": spectrum.time, "mz": spectrum.mz.round(), "abundance": spectrum.abundance}
    )
    table = table.groupby(["time", "mz"])["abundance"].mean().reset_index()
    table = table[(table.mz <= 350) & (table.mz != 4)]
    return _image(table, "time", [half / 2 for half in range(51)], 351)


def _image(table: pd.DataFrame, axis: str, edges: list[float], rows: int) -> NDArray[np.float32]:
    value = table.abundance - table.groupby("mz").abundance.transform("min")
    largest = value.max()
    value = (value - value.min()) / (largest if largest > 0 else 1.0)
    column = pd.cut(table[axis], edges, labels=False)
    image = value.groupby([table.mz, column]).max().unstack()
    whole = image.reindex(index=range(rows), columns=range(len(edges) - 1)).fillna(0.0)
    return np.asarray(whole, dtype=np.float32)


def write_challenge(root: Path, train: int = 6, val: int = 3, test: int = 2) -> Path:
    """Write ``ega_ms`` in the challenge's layout; the test split has no labels.

    Every third sample is from the testbed, and sample i has label i modulo 10 alone.
    """
    folder = root / "ega_ms"
    names = get_task("ega_ms").class_names
    listed = ["sample_id,split,instrument_type,features_path,features_md5_hash"]
    number = 0
    for split, count in {"train": train, "val": val, "test": test}.items():
        place = folder / f"{split}_features"
        place.mkdir(parents=True)
        labels = [",".join(("sample_id", *names))]
        for _ in range(count):
            sample_id = f"S{number:04d}"
            is_testbed = number % 3 == 2
            spectrum = one_by_one(number, 800) if is_testbed else commercial(number, 25, 30)
            content = to_csv(spectrum)
            (place / f"{sample_id}.csv").write_bytes(content)
            md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
            instrument = "sam_testbed" if is_testbed else "commercial"
            path = f"{split}_features/{sample_id}.csv"
            listed.append(f"{sample_id},{split},{instrument},{path},{md5}")
            row = (str(int(k == number % 10)) for k in range(len(names)))
            labels.append(",".join((sample_id, *row)))
            number += 1
        if split != "test":
            (folder / f"{split}_labels.csv").write_text("\n".join(labels) + "\n")
    (folder / "metadata.csv").write_text("\n".join(listed) + "\n")
    return folder


def edit(path: Path, old: str, new: str) -> None:
    """Replace a unique text in a file."""
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
