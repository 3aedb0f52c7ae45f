"""Corruption of the evaluated samples: choice, identity and application to batches and spectra."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from marsbench.base.errors import ConfigError
from marsbench.config.schema import Bands
from marsbench.data.corruptions.table import (
    VERSION,
    Subject,
    parse_names,
    parse_severities,
)
from marsbench.evaluate.bands import Reading
from marsbench.evaluate.settings import Settings
from marsbench.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from torch import Tensor

    from marsbench.data.rows import Rows, Source
    from marsbench.data.spectra import Spectra

USUAL = "1,3,5"
"""Severities by default."""


@dataclass(frozen=True)
class Damage:
    """A corruption of the evaluated samples.

    Attributes:
        name: Entry of the table of corruptions.
        severity: 1 (mild) to 5 (strong).
        seed: Seed of the evaluation.
    """

    name: str
    severity: int
    seed: int = 0

    @property
    def identity(self) -> dict[str, Any]:
        """Part of an evaluation's identity."""
        choices: dict[str, Any] = {"corruption": self.name, "severity": self.severity}
        if self.seed:
            choices["corruption_seed"] = self.seed
        if VERSION > 1:
            choices["corruption_version"] = VERSION
        return choices

    def corrupt(self, images: "Tensor", sample_ids: Sequence[str], *, is_pairs: bool) -> "Tensor":
        """Corrupt a batch of images.

        Args:
            images: (B, C, H, W) in [0, 1], with the bands of the data.
            sample_ids: Their ids, B of them.
            is_pairs: Whether they are composites of two observations.
        """
        from marsbench.data.corruptions.applying import corrupt_images, corrupt_pairs
        from marsbench.data.corruptions.randomness import sample_seed

        seeds = [sample_seed(self.seed, sample_id, self.name) for sample_id in sample_ids]
        apply = corrupt_pairs if is_pairs else corrupt_images
        return apply(images, self.name, self.severity, seeds)

    def spectra(self, task: TaskSpec, source: "Source", rows: "Rows", *, cache: bool) -> "Spectra":
        """Corrupted spectra of a split.

        Args:
            task: The task.
            source: Its data.
            rows: Index of the split.
            cache: Whether the points of the files are kept in the cache.
        """
        from marsbench.data.corruptions.split import CorruptedSpectra
        from marsbench.data.spectra import open_spectra

        spectra = open_spectra(task, source, rows, cache=cache)
        return CorruptedSpectra(spectra, rows.sample_ids, self.name, self.severity, self.seed)


def damages_of(settings: Settings, task: TaskSpec, reading: Reading) -> list[Damage]:
    """Corruptions to evaluate under; empty without ``corruption=``.

    Args:
        settings: Settings of the call.
        task: The target.
        reading: Its bands.

    Raises:
        ConfigError: If a corruption does not apply to the target, or its images have other bands.
    """
    if settings.corruption is None:
        return []
    subject = Subject.SPECTRA if task.is_spectra else Subject.IMAGES
    names = parse_names(settings.corruption, subject)
    if task.channels > 3 and not task.is_spectra and reading.bands is Bands.ALL:
        raise ConfigError(
            f"corruption={settings.corruption} is for images of one or three bands; the run reads "
            f"{task.channels} bands of {task.name}.",
            "Choose a run with bands=rgb.",
        )
    severities = parse_severities(settings.severity or USUAL)
    return [Damage(name, severity, settings.seed) for name in names for severity in severities]
