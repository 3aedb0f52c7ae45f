"""Demo spectra in the layout of the challenges, and runs on them."""

from pathlib import Path
from typing import Any

import pandas as pd

from marsbench.demo import recipes
from marsbench.results.store import Store
from marsbench.spectra.spectrum import Spectrum
from marsbench.tasks.catalog import TASKS

TASK = TASKS["ega_ms"]
NAMES = list(TASK.class_names)


def write_challenge(folder: Path, splits: dict[str, int], labelled: tuple[str, ...]) -> Path:
    """Write demo spectra in the challenge's layout."""
    recipe = recipes.RECIPES["ega_ms"]
    table: list[tuple[str, ...]] = []
    for split, count in splits.items():
        labels = recipes.labels(recipe, split, count / recipe.sizes[split])
        place = folder / f"{split}_features"
        place.mkdir(parents=True)
        ids = []
        for i, names in enumerate(labels):
            spectrum = recipes.draw(recipe, split, i, names)
            assert isinstance(spectrum, Spectrum)
            sample_id = f"S{len(table):04d}"
            ids.append(sample_id)
            frame = pd.DataFrame(
                {
                    "time": spectrum.time,
                    "temp": spectrum.axis,
                    "m/z": spectrum.mz,
                    "abundance": spectrum.abundance,
                }
            )
            frame.to_csv(place / f"{sample_id}.csv", index=False)
            relative = f"{split}_features/{sample_id}.csv"
            table.append((sample_id, split, str(spectrum.instrument), relative, ""))
        if split in labelled:
            held = [[int(name in names) for name in NAMES] for names in labels]
            frame = pd.DataFrame(held, columns=NAMES)
            frame.insert(0, "sample_id", ids)
            frame.to_csv(folder / f"{split}_labels.csv", index=False)
    columns = ["sample_id", "split", "instrument_type", "features_path", "features_md5_hash"]
    pd.DataFrame(table, columns=columns).to_csv(folder / "metadata.csv", index=False)
    return folder


def keys(store: Path, **more: Any) -> dict[str, Any]:
    return {
        "task": "ega_ms",
        "model": "gru_net",
        "mode": "scratch",
        "store": str(store),
        "workers": 0,
        "optim.batch_size": 16,
        "trainer.max_epochs": 2,
        **more,
    }


def stored(store: Path, run_id: str, split: str) -> pd.DataFrame:
    table = Store(store).predictions(run_id)
    return table[table["split"] == split].sort_values("sample_id")
