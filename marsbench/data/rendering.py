"""Rasterise the samples of a spectra task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import ConfigError
from marsbench.data.samples import Decoded
from marsbench.data.spectra import technique_of
from marsbench.spectra import raster
from marsbench.spectra.presets import DEFAULTS, PRESETS, RasterSpec, get_preset
from marsbench.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Rendering:
    """Rasterisation of spectra.

    Attributes:
        raster: Parameters of the rasteriser.
        change: Whether training images are augmented.
        points: Whether samples include the points of their spectra.
    """

    raster: RasterSpec
    change: bool = True
    points: bool = False

    def draw(
        self,
        read: Callable[[int], Decoded],
        targets: NDArray[np.integer],
        index: int,
        seed: int | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Draw a sample; with a seed, augmented and possibly mixed with another sample.

        Args:
            read: Returns the prepared sample at a position.
            targets: Labels of all samples, (n, K).
            index: Position of the sample.
            seed: Seed of a visit in training; None in evaluation.

        Returns:
            Image (C, M, T) in [0, 1] and label (K,); a mixture has the labels of both samples.
        """
        decoded = read(index)
        label = targets[index].astype(np.float32)
        if seed is None or not self.change:
            return self._image(decoded, None, None), label
        rng = np.random.default_rng(seed)
        other = None
        if rng.random() < self.raster.change.mix:
            second = int(rng.integers(len(targets)))
            other = read(second)
            label = np.maximum(label, targets[second]).astype(np.float32)
        return self._image(decoded, rng, other), label

    def view(self, decoded: Decoded, seed: Sequence[int]) -> NDArray[np.float32]:
        """Draw a view for test-time averaging: augmented, never mixed."""
        return self._image(decoded, np.random.default_rng(seed), None)

    def _image(
        self, decoded: Decoded, rng: np.random.Generator | None, other: Decoded | None
    ) -> NDArray[np.float32]:
        told = decoded.meta.get("derivatized")
        return raster.draw(
            decoded.pixels[:, :, 0],
            self.raster,
            rng,
            None if other is None else other.pixels[:, :, 0],
            derivatized=None if told is None else told == "1",
        )


def rendering_for(
    spec: TaskSpec,
    raster: str | None = None,
    own: Sequence[str] = (),
    *,
    change: bool = True,
    points: bool = False,
) -> Rendering:
    """Choose the rasterisation for a task.

    Args:
        spec: The task.
        raster: Name of a preset; None takes the model's preset, else the default.
        own: Presets of the model, at most one per technique.
        change: Whether training images are augmented.
        points: Whether samples include the points of their spectra.

    Raises:
        ConfigError: If the preset is unknown or for another technique.
    """
    technique = technique_of(spec)
    fitting = [name for name in own if PRESETS[name].technique is technique]
    chosen = get_preset(raster or (fitting or [DEFAULTS[technique]])[0])
    if chosen.technique is not technique:
        known = [p.name for p in PRESETS.values() if p.technique is technique]
        raise ConfigError(
            f"raster={chosen.name} is for {chosen.technique}; {spec.name} is {technique}.",
            f"Choose one of: {', '.join(known)}.",
        )
    return Rendering(chosen, change=change, points=points)
