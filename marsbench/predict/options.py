"""Options of a prediction, checked without torch."""

from dataclasses import dataclass
from typing import TypedDict

from marsbench.base.errors import ConfigError


@dataclass(frozen=True)
class Options:
    """Options of a prediction.

    Attributes:
        batch_size: Images or tiles per batch.
        overlap: Share of a tile shared with the next tile.
        threshold: Smallest probability of a multilabel label, smallest score of a box.
        tile: Side of a tile in pixels of the image; 0 never tiles, None chooses by image size.
        overlay: Whether overlays are drawn.
        overwrite: Whether to discard earlier predictions in the folder.
        device: auto, or a torch device.
    """

    batch_size: int = 8
    overlap: float = 0.25
    threshold: float = 0.5
    tile: int | None = None
    overlay: bool = True
    overwrite: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, value, fits, wanted in (
            ("batch-size", self.batch_size, self.batch_size >= 1, "1 or more"),
            ("overlap", self.overlap, 0 <= self.overlap <= 0.9, "from 0 to 0.9"),
            ("threshold", self.threshold, 0 <= self.threshold <= 1, "from 0 to 1"),
            ("tile", self.tile, self.tile is None or self.tile == 0 or self.tile >= 16, "0 or 16+"),
        ):
            if not fits:
                raise ConfigError(f"--{name} is {value}; expected {wanted}.")


class OptionKeys(TypedDict, total=False):
    """Keys of `Options` as typed keyword arguments; see `marsbench.config.keywords`."""

    batch_size: int
    overlap: float
    threshold: float
    tile: int | None
    overlay: bool
    overwrite: bool
    device: str
