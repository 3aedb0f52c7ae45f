"""Mixtures of classes in demo spectra, with their frequencies."""

from collections.abc import Mapping

import numpy as np
from numpy.random import Generator

from marsbench.tasks.catalog import get_task

Mixtures = Mapping[tuple[str, ...], float]

MINERALS: Mixtures = {
    # Approximate counts of the 763 published train samples, rare mixtures pooled. The mixture of
    # seven is a simulant of Martian soil, measured many times.
    (): 101,
    ("phyllosilicate",): 108,
    ("sulfate",): 54,
    ("silicate",): 44,
    ("carbonate",): 39,
    ("oxychlorine",): 39,
    ("chloride",): 37,
    ("basalt",): 34,
    ("oxalate",): 30,
    ("iron_oxide",): 24,
    ("sulfide",): 14,
    ("iron_oxide", "oxychlorine"): 30,
    ("oxychlorine", "phyllosilicate"): 29,
    ("chloride", "sulfate"): 17,
    ("chloride", "phyllosilicate"): 14,
    ("iron_oxide", "sulfate"): 13,
    ("oxychlorine", "sulfide"): 11,
    ("carbonate", "iron_oxide"): 7,
    ("basalt", "oxychlorine"): 5,
    ("silicate", "sulfide"): 5,
    ("silicate", "sulfate"): 4,
    ("chloride", "iron_oxide", "phyllosilicate"): 20,
    ("iron_oxide", "oxychlorine", "phyllosilicate"): 17,
    ("iron_oxide", "sulfate", "sulfide"): 4,
    ("basalt", "phyllosilicate", "silicate"): 4,
    (
        "basalt",
        "carbonate",
        "iron_oxide",
        "oxychlorine",
        "phyllosilicate",
        "silicate",
        "sulfate",
    ): 43,
}

COMPOUNDS: Mixtures = {
    # The published shares are unknown; these are ours.
    (): 15,
    ("mineral",): 20,
    ("hydrocarbon",): 10,
    ("carboxylic_acid",): 9,
    ("aromatic",): 6,
    ("nitrogen_bearing_compound",): 7,
    ("chlorine_bearing_compound",): 7,
    ("sulfur_bearing_compound",): 5,
    ("alcohol",): 5,
    ("other_oxygen_bearing_compound",): 6,
    ("aromatic", "hydrocarbon"): 6,
    ("chlorine_bearing_compound", "mineral"): 5,
    ("mineral", "sulfur_bearing_compound"): 4,
    ("hydrocarbon", "mineral"): 4,
    ("carboxylic_acid", "hydrocarbon"): 4,
    ("alcohol", "carboxylic_acid"): 2,
    ("carboxylic_acid", "nitrogen_bearing_compound"): 4,
    ("alcohol", "other_oxygen_bearing_compound"): 3,
    ("aromatic", "hydrocarbon", "nitrogen_bearing_compound"): 3,
    ("carboxylic_acid", "hydrocarbon", "other_oxygen_bearing_compound"): 3,
    ("aromatic", "chlorine_bearing_compound", "sulfur_bearing_compound"): 2,
}


def minerals(rng: Generator, count: int) -> list[tuple[str, ...]]:
    """Classes of ``count`` samples of evolved gas; every class occurs."""
    return _label_sets(rng, count, MINERALS, get_task("ega_ms").class_names)


def compounds(rng: Generator, count: int) -> list[tuple[str, ...]]:
    """Classes of ``count`` samples of gas chromatography; every class occurs."""
    return _label_sets(rng, count, COMPOUNDS, get_task("gcms").class_names)


def _label_sets(
    rng: Generator, count: int, mixtures: Mixtures, names: tuple[str, ...]
) -> list[tuple[str, ...]]:
    # Evenly spaced quantiles: each mixture's count matches its share to within 1.
    share = np.cumsum(list(mixtures.values()))
    quantiles = (np.arange(count) + rng.random()) / count * share[-1]
    order = rng.permutation(np.searchsorted(share[:-1], quantiles, side="right"))
    held = [set(list(mixtures)[i]) for i in order]
    for name in names:
        if not any(name in labels for labels in held):
            # Added to the sample with the fewest classes.
            min(held, key=len).add(name)
    return [tuple(name for name in names if name in labels) for labels in held]
