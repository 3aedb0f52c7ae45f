"""The built-in demo data of the mass-spectrometry tasks: which exist, and how one is drawn.

Sample ``index`` of a split depends on the recipe, the split, the index and its labels alone,
never on other samples or on how many there are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from marsbench.base import lazy
from marsbench.base.errors import unknown_name
from marsbench.spectra.spectrum import Floats, Spectrum
from marsbench.tasks.catalog import get_task
from marsbench.tasks.spec import SPLITS


@dataclass(frozen=True, kw_only=True)
class SpectraRecipe:
    """How the demo data of one mass-spectrometry task are made.

    Attributes:
        task: Name of the task.
        version: Raised with every change that moves a point or a label.
        sizes: Samples per split at size 1.
        mixtures: Set of class names to how often samples are made of just these; the frequencies
            need not sum to 1.
        draw: ``"module:function"`` of the function ``(rng, names) -> Spectrum`` that draws one
            sample; a string, so that listing recipes imports nothing heavy.
    """

    task: str
    version: int
    sizes: Mapping[str, int]
    mixtures: Mapping[tuple[str, ...], float]
    draw: str


_SIZES = {"train": 240, "val": 60, "test": 80}

_MINERALS: dict[tuple[str, ...], float] = {
    # About the shares among the 763 published train samples, rare mixtures pooled. The one of
    # seven labels is a simulant of Martian soil, measured many times.
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

_COMPOUNDS: dict[tuple[str, ...], float] = {
    # The published shares are not known here: these are ours.
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

SPECTRA: dict[str, SpectraRecipe] = {
    recipe.task: recipe
    for recipe in (
        SpectraRecipe(
            task="ega_ms",
            version=1,
            sizes=_SIZES,
            mixtures=_MINERALS,
            draw="marsbench.demo.spectrum.ega:draw",
        ),
        SpectraRecipe(
            task="gcms",
            version=1,
            sizes=_SIZES,
            mixtures=_COMPOUNDS,
            draw="marsbench.demo.spectrum.gc:draw",
        ),
    )
}
"""Every recipe by the name of its task."""


def label_sets(recipe: SpectraRecipe, split: str, size: float) -> NDArray[np.uint8]:
    """Decide which classes each sample of a split holds.

    Every class is in at least one sample, however small the split.

    Args:
        recipe: The task's recipe.
        split: Which split.
        size: Amount of data, as a multiple of the recipe's default.

    Returns:
        One row a sample, one column a class of the task in its order, of 0 and 1: (N, K).

    Raises:
        UnknownNameError: If there is no such split.
    """
    count = max(round(recipe.sizes[_known(split)] * size), 2)
    rng = np.random.default_rng(_seed(recipe, split, (0,)))
    # Evenly spaced quantiles: each mixture comes as often as its share says, give or take one.
    share = np.cumsum(list(recipe.mixtures.values()))
    quantiles = (np.arange(count) + rng.random()) / count * share[-1]
    mixtures = list(recipe.mixtures)
    chosen = rng.permutation(np.searchsorted(share[:-1], quantiles, side="right"))
    names = get_task(recipe.task).class_names
    labels = np.array(
        [[name in mixtures[which] for name in names] for which in chosen], dtype=np.uint8
    )
    for missing in np.flatnonzero(labels.sum(axis=0) == 0):
        # To the sample with the fewest, so that no other class loses its only one.
        labels[labels.sum(axis=1).argmin(), missing] = 1
    return labels


def draw_spectrum(
    recipe: SpectraRecipe, split: str, index: int, labels: NDArray[np.uint8]
) -> Spectrum:
    """Draw one sample; each has a random stream of its own.

    Args:
        recipe: The task's recipe.
        split: Which split.
        index: Which sample of it.
        labels: Its row of `label_sets`, (K,).

    Raises:
        UnknownNameError: If there is no such split.
    """
    rng = np.random.default_rng(_seed(recipe, _known(split), (1, index)))
    classes = get_task(recipe.task).class_names
    names = tuple(name for name, held in zip(classes, labels, strict=True) if held)
    spectrum: Spectrum = lazy.load(recipe.draw)(rng, names)
    return replace(spectrum, where=f"demo sample {split} {index}")


def peak(x: Floats, centre: Floats, spread: Floats, tail: Floats) -> Floats:
    """Peaks of height 1, Gaussian but for a tail.

    The exponential-Gaussian hybrid of Lan and Jorgenson (2001), J. Chromatogr. A 915, 1-13.

    Args:
        x: Where to evaluate them, (N,).
        centre: Where each is highest, (C,).
        spread: Standard deviation where the tail is 0, (C,).
        tail: Decay length of the far side, (C,); below 0, the tail leads and the far side drops.

    Returns:
        Each peak everywhere, (N, C).
    """
    offset = x[:, None] - centre
    width = 2 * spread**2 + tail * offset
    inside = width > 0
    return np.where(inside, np.exp(-(offset**2) / np.where(inside, width, 1.0)), 0.0)


def patterns(ions: Sequence[Mapping[int, float]], mz_end: int) -> Floats:
    """Fragment patterns as a matrix.

    Args:
        ions: Of each substance, m/z to abundance.
        mz_end: One more than the largest m/z kept.

    Returns:
        Abundance by substance and m/z, (len(ions), mz_end).
    """
    matrix = np.zeros((len(ions), mz_end))
    for row, pattern in zip(matrix, ions, strict=True):
        for mz, abundance in pattern.items():
            if mz < mz_end:
                row[mz] += abundance
    return matrix


def _known(split: str) -> str:
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    return split


def _seed(recipe: SpectraRecipe, split: str, key: tuple[int, ...]) -> np.random.SeedSequence:
    entropy = (crc32(recipe.task.encode()), recipe.version, SPLITS.index(split))
    return np.random.SeedSequence(entropy, spawn_key=key)
