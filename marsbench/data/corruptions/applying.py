"""Apply corruptions of the table to images and spectra."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from marsbench.base import lazy
from marsbench.base.errors import NotAvailableError
from marsbench.data.corruptions.randomness import Draws
from marsbench.data.corruptions.table import Subject, get_corruption
from marsbench.spectra.spectrum import Spectrum


def corrupt_images(images: Tensor, name: str, severity: int, seeds: Sequence[int]) -> Tensor:
    """Corrupt a batch of images. Nothing moves, so masks and boxes stay valid.

    Args:
        images: (B, C, H, W), floats in [0, 1], of one band or of red, green and blue, at the size
            of the model's input, before normalisation. Unchanged.
        name: A corruption of images.
        severity: 1 (mild) to 5 (strong).
        seeds: A seed of each image, see `randomness.sample_seed`; B of them.

    Returns:
        Same shape, type and device; each image depends on itself and its seed alone.

    Raises:
        ConfigError: If the corruption or the severity is unknown.
        NotAvailableError: If the images have other numbers of bands.
    """
    entry = get_corruption(name, Subject.IMAGES)
    parameters = entry.at(severity)
    if images.shape[1] not in (1, 3):
        raise NotAvailableError(
            f"corruption={name} is for images of one or three bands; these have {images.shape[1]}.",
            "Evaluate a run with bands=rgb.",
        )
    if len(seeds) != len(images):
        raise ValueError(f"{len(seeds)} seeds of {len(images)} images")
    if len(images) == 0:
        return images
    draws = Draws(seeds, images.device)
    # Not in mixed precision: networks compute so, cameras do not.
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        corrupted: Tensor = lazy.load(entry.apply)(images, draws, **parameters)
        return corrupted.clamp(0, 1).to(images.dtype)


def corrupt_pairs(images: Tensor, name: str, severity: int, seeds: Sequence[int]) -> Tensor:
    """Corrupt composites of two grey images, red zero, green after and blue before.

    The two are separate observations: each is corrupted by itself, with its own seed.

    Args:
        images: (B, 3, H, W), as in `corrupt_images`.
        name: A corruption of images.
        severity: 1 (mild) to 5 (strong).
        seeds: A seed of each pair, B of them.
    """
    corrupted = images.clone()
    for band in (1, 2):
        own = [seed ^ band for seed in seeds]
        corrupted[:, band : band + 1] = corrupt_images(
            images[:, band : band + 1], name, severity, own
        )
    return corrupted


def corrupt_spectrum(spectrum: Spectrum, name: str, severity: int, seed: int) -> Spectrum:
    """Corrupt the points of a measurement, before any image or feature is made of them.

    Args:
        spectrum: The measurement. Unchanged.
        name: A corruption of spectra.
        severity: 1 (mild) to 5 (strong).
        seed: Seed of the sample, see `randomness.sample_seed`.

    Returns:
        The measurement with other points, at least one.

    Raises:
        ConfigError: If the corruption or the severity is unknown.
    """
    entry = get_corruption(name, Subject.SPECTRA)
    rng = np.random.default_rng(seed)
    corrupted: Spectrum = lazy.load(entry.apply)(spectrum, rng, **entry.at(severity))
    return corrupted
