"""Inputs of a model: the way from an image's bands to its channels. Importable without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

from marsbench.base.errors import StoreError
from marsbench.base.values import Limit, Problem, build
from marsbench.config.schema import Channels, Normalisation
from marsbench.tasks.spec import MOST_BANDS

Band = Annotated[int, Limit(low=0)]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Way from the n bands of an image to the m channels of a model.

    Attributes:
        bands: n, after `select`; None if it equals m, or is 1 and the band is repeated.
        select: Positions of the model's channels among the image's bands, matched by name; None
            takes all bands in their order.
        channels: Adaptation of n bands to m channels.
        normalisation: Normalisation of the bands.
        mean: Mean of each band over the run's train samples, n values; only with
            ``normalisation=data``.
        std: Standard deviation of each band, likewise.
    """

    bands: Annotated[int, Limit(low=1, high=MOST_BANDS)] | None = None
    select: tuple[Band, ...] | None = None
    channels: Channels = Channels.REPLICATE
    normalisation: Normalisation = Normalisation.PRETRAINING
    mean: tuple[float, ...] | None = None
    std: tuple[Annotated[float, Limit(above=0)], ...] | None = None

    @property
    def identity(self) -> dict[str, Any] | None:
        """Choices for run ids; None for the default ones. Statistics follow from the data."""
        return {k: v for k, v in self.plain.items() if k not in ("mean", "std")} or None

    @property
    def plain(self) -> dict[str, Any]:
        """Values for records that differ from the default ones."""
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        different = {k: v for k, v in given.items() if v != getattr(DEFAULT, k)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in different.items()}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], where: str) -> "Inputs":
        """Read the values of a record.

        Args:
            values: Result of `plain`.
            where: The record, for messages.

        Raises:
            StoreError: If a value is invalid.
        """
        problems: list[Problem] = []
        inputs = build(cls, values, problems, strict=True, prefix="inputs.")
        if inputs is None:
            raise StoreError(f"{where}: {problems[0].message}", "Run it again.")
        return inputs

    def with_statistics(self, mean: tuple[float, ...], std: tuple[float, ...]) -> "Inputs":
        """Add the statistics of the train samples."""
        return replace(self, mean=mean, std=std)


DEFAULT = Inputs()
"""Equal numbers of bands and channels, or a grey image, by the statistics of the pre-training."""
