"""Resizing of images to the square input of a model."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from marsbench.base.errors import ConfigError, some
from marsbench.base.values import Limit, Problem, build


class Interpolation(StrEnum):
    """Interpolation of pixels, always with antialiasing."""

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


@dataclass(frozen=True)
class Resizing:
    """Resizing of an image.

    Attributes:
        interpolation: Interpolation.
        shorter: Shorter side in pixels to which an image is resized, keeping its shape, before the
            central square is cropped; None resizes the whole image to the square.
    """

    interpolation: Interpolation = Interpolation.BILINEAR
    shorter: Annotated[int, Limit(low=1)] | None = None

    @property
    def identity(self) -> dict[str, Any] | None:
        """The choice as plain values for run ids; None for the default."""
        if self == WHOLE:
            return None
        return {"interpolation": str(self.interpolation), "shorter": self.shorter}

    @classmethod
    def from_identity(cls, values: object) -> "Resizing":
        """Read `identity` back from a record.

        Raises:
            ConfigError: If the values are invalid.
        """
        if values is None:
            return WHOLE
        problems: list[Problem] = []
        resizing = build(cls, values, problems, strict=True) if isinstance(values, dict) else None
        if resizing is None:
            details = some((problem.message for problem in problems), " ") or repr(values)
            raise ConfigError(
                f"The resize of the record is invalid: {details}", "Restore the record."
            )
        return resizing


WHOLE = Resizing()
"""Resizing of the whole image."""
