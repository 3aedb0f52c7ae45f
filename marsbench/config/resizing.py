"""Resizing of images to the square input of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Resizing:
    """Resizing of an image, always with antialiasing.

    Attributes:
        interpolation: bilinear or bicubic.
        shorter: Shorter side in pixels to which an image is resized, keeping its shape, before the
            central square is cropped; None resizes the whole image to the square.
    """

    interpolation: str = "bilinear"
    shorter: int | None = None

    @property
    def identity(self) -> dict[str, Any] | None:
        """The choice as plain values for run ids; None for the default."""
        return None if self == Resizing() else dict(vars(self))

    @classmethod
    def from_identity(cls, values: Mapping[str, Any] | None) -> Self:
        """Read `identity` back."""
        return cls(**(values or {}))


WHOLE = Resizing()
"""Resizing of the whole image."""
