"""Corrupted spectra of a split."""

from collections.abc import Sequence

from marsbench.data.corruptions.applying import corrupt_spectrum
from marsbench.data.corruptions.randomness import sample_seed
from marsbench.data.spectra import Spectra
from marsbench.spectra.spectrum import Spectrum


class CorruptedSpectra:
    """Spectra of a split, corrupted on each access.

    Args:
        spectra: The spectra.
        sample_ids: Their ids.
        name: A corruption of spectra.
        severity: 1 (mild) to 5 (strong).
        seed: Seed of the corruption.
    """

    def __init__(
        self, spectra: Spectra, sample_ids: Sequence[str], name: str, severity: int, seed: int = 0
    ) -> None:
        self.spectra, self.sample_ids = spectra, sample_ids
        self.name, self.severity, self.seed = name, severity, seed

    def __len__(self) -> int:
        return len(self.spectra)

    def __getitem__(self, index: int) -> Spectrum:
        own = sample_seed(self.seed, self.sample_ids[index], self.name)
        return corrupt_spectrum(self.spectra[index], self.name, self.severity, own)
