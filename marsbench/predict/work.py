"""Images in progress of a prediction, from the queue to the journal."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from marsbench.base.errors import ConfigError, DataError, MarsbenchError
from marsbench.base.names import display_name
from marsbench.data.drawing import palette
from marsbench.data.rows import Pixels
from marsbench.data.transforms import resize, to_float
from marsbench.predict import outputs
from marsbench.predict.inputs import Picture, open_picture
from marsbench.predict.journal import Journal, source_of
from marsbench.predict.predictor import Predictor
from marsbench.predict.walk import Item


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


@dataclass
class Summary:
    """Counts and errors of a prediction.

    Attributes:
        done: Number of predicted images.
        skipped: Number of images predicted by earlier calls.
        failed: Failed images with their errors.
    """

    done: int = 0
    skipped: int = 0
    failed: list[tuple[Item, MarsbenchError]] = field(default_factory=list)


Waiting = tuple[Item, Picture, Tensor]

Callback = Callable[[dict[str, Any]], None]
"""Called with the result of each image."""


_PER_BOX = ("boxes", "geo_boxes", "scores", "labels")


class Work(ABC):
    """Images in progress: small images are batched, large images are tiled at once.

    Attributes:
        settings: Options that change the predictions.
        draws: Whether overlays are drawn.
    """

    settings: ClassVar[tuple[str, ...]] = ()
    draws: ClassVar[bool] = False

    def __init__(
        self,
        predictor: Predictor,
        options: Options,
        journal: Journal,
        device: torch.device,
        report: Callback,
    ) -> None:
        self.predictor, self.options, self.journal = predictor, options, journal
        self.device, self.report = device, report
        self.colors = palette(predictor.classes)
        self.shows_tiles = False
        self.summary = Summary()
        self._waiting: list[Waiting] = []

    def take(self, item: Item) -> None:
        """Predict an image, or queue the image for a full batch."""
        with self._failing(item):
            picture = open_picture(item, self.predictor.task, self.predictor.bands)
            if self._tiled(item, picture):
                return
            whole = self._fed(picture.reduced(self.predictor.side), None)
            self._waiting.append((item, picture, whole))
        if len(self._waiting) == self.options.batch_size:
            self.flush()

    def flush(self) -> None:
        """Predict the queued images."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        self._predict(waiting, self._stacked([image for _, _, image in waiting]))

    @staticmethod
    @abstractmethod
    def write(
        out: Path, rows: outputs.Rows, classes: Sequence[str], about: Mapping[str, Any]
    ) -> None:
        """Write the tables of all predicted images, including earlier calls."""

    @abstractmethod
    def _predict(self, waiting: Sequence[Waiting], images: Tensor) -> None:
        """Predict images (B, C, side, side), and keep the results."""

    def _tiled(self, item: Item, picture: Picture) -> bool:
        """Predict a large image in tiles; False for images to predict whole."""
        return False

    @contextmanager
    def _failing(self, item: Item) -> Iterator[None]:
        """Record the error of a failed image, and continue."""
        try:
            yield
        except DataError as error:
            self.summary.failed.append((item, error))
            self.journal.fail(item, error)
            self.report({**line_of(item, "failed"), "error": display_name(str(error))})

    @contextmanager
    def _memory(self) -> Iterator[None]:
        try:
            yield
        except torch.cuda.OutOfMemoryError as error:
            raise ConfigError(
                f"The device is out of memory at --batch-size {self.options.batch_size}.",
                "Lower --batch-size, or add --device cpu.",
            ) from error

    def _fed(self, pixels: Pixels, footprint: tuple[int, int] | None) -> Tensor:
        """Convert pixels (h, w, C) to the model's input, (C, side, side) in [0, 1].

        Tiles of images narrower than a tile are padded by mirroring.
        """
        if footprint is not None:
            pixels = _continued(pixels, footprint)
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return to_float(resize(image, self.predictor.side, self.predictor.resizing))

    def _stacked(self, images: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(images)).to(self.device)

    def _keep(
        self, item: Item, stem: str, files: list[str], picture: Picture, result: dict[str, Any]
    ) -> None:
        result |= {"size": list(picture.size), "scaling": picture.scaling}
        self.journal.add(item, stem, files, result)
        self.summary.done += 1
        summary = {k: v for k, v in result.items() if k not in _PER_BOX}
        if "boxes" in result:
            summary["boxes"] = len(result["boxes"])
        self.report({**line_of(item, "done"), **summary, "outputs": files})


def line_of(item: Item, status: str) -> dict[str, Any]:
    """Line of the report on an image."""
    name, path = display_name(item.name), display_name(source_of(item))
    return {"file": name, "path": path, "status": status}


def _continued(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Pad pixels (h, w, C) to a size by mirroring at the right and bottom."""
    missing = [wanted - has for wanted, has in zip(size, pixels.shape[:2], strict=True)]
    if not any(missing):
        return pixels
    padding = [(0, missing[0]), (0, missing[1]), (0, 0)]
    continued: Pixels = np.pad(pixels, padding, mode="symmetric")  # type: ignore[assignment]
    return continued
