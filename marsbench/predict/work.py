"""Images in progress of a prediction, from the queue to the journal."""

import gc
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from marsbench.base.environment import usable_cores
from marsbench.base.errors import ConfigError, DataError, MarsbenchError
from marsbench.base.names import display_name
from marsbench.base.progress import tell
from marsbench.data.drawing import palette
from marsbench.data.rows import Pixels
from marsbench.data.transforms import resize, to_float
from marsbench.predict import outputs
from marsbench.predict.ahead import ahead
from marsbench.predict.inputs import Picture, open_picture
from marsbench.predict.journal import Journal, source_of
from marsbench.predict.options import Options
from marsbench.predict.predictor import Predictor
from marsbench.predict.walk import Item
from marsbench.training.failures import is_out_of_memory


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

    @property
    def total(self) -> int:
        """Number of all images."""
        return self.done + self.skipped + len(self.failed)


class Loaded(NamedTuple):
    """A loaded image.

    Attributes:
        picture: The image.
        image: The whole image as the model's input, (C, side, side), uint8 or in [0, 1]; None for
            images to predict in tiles.
    """

    picture: Picture
    image: Tensor | None


Waiting = tuple[Item, Picture, Tensor]

R = TypeVar("R")

Callback = Callable[[dict[str, Any]], None]
"""Called with the result of each image."""


_THREADS = 4
"""Most threads that load images for a GPU."""

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
        self._most = options.batch_size

    def loads(self, items: Sequence[Item]) -> Generator[Future[Loaded]]:
        """Load images in threads, ahead of the device."""
        # The processor's cores are busy with the network if that is the device.
        threads = 1 if self.device.type == "cpu" else min(_THREADS, max(1, usable_cores() - 1))
        most = self.options.batch_size
        return ahead(items, self._load, most=most, threads=threads, weigh=_num_pixels)

    def _load(self, item: Item) -> Loaded:
        """Open an image; images to predict whole are resized to the model's input."""
        picture = open_picture(item, self.predictor.task, self.predictor.bands)
        if self._is_tiled(item, picture):
            return Loaded(picture, None)
        return Loaded(picture, self._fed(picture.reduced(self.predictor.side), None))

    def take(self, item: Item, loaded: Future[Loaded]) -> None:
        """Predict an image, or queue the image for a full batch."""
        with self._failing(item):
            picture, image = loaded.result()
            if image is None:
                self._predict_tiled(item, picture)
                return
            self._waiting.append((item, picture, image))
        if len(self._waiting) == self.options.batch_size:
            self.flush()

    def flush(self) -> None:
        """Predict the queued images."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        self._predict(waiting, stacked([image for _, _, image in waiting]))

    @staticmethod
    @abstractmethod
    def write(
        out: Path, rows: outputs.Rows, classes: Sequence[str], about: Mapping[str, Any]
    ) -> None:
        """Write the tables of all predicted images, including earlier calls."""

    @abstractmethod
    def _predict(self, waiting: Sequence[Waiting], images: Tensor) -> None:
        """Predict images (B, C, side, side) in the memory of the host, and keep the results."""

    def _is_tiled(self, item: Item, picture: Picture) -> bool:
        """Whether to predict an image in tiles."""
        return False

    def _predict_tiled(self, item: Item, picture: Picture) -> None:
        """Predict an image in tiles, and keep the result."""
        raise NotImplementedError

    @contextmanager
    def _failing(self, item: Item) -> Iterator[None]:
        """Record the error of a failed image, and continue."""
        try:
            yield
        except DataError as error:
            self.summary.failed.append((item, error))
            self.journal.fail(item, error)
            self.report({**line_of(item, "failed"), "error": display_name(str(error))})

    def _apply(self, images: Tensor, function: Callable[[Tensor], R]) -> Iterator[tuple[int, R]]:
        """Apply a function to images on the device, to fewer at a time if memory is too small.

        Args:
            images: (B, C, side, side) as of `_fed`, in the memory of the host.
            function: Applied to parts of the images on the device, in [0, 1].

        Yields:
            Position of the first image of each part, and the result.

        Raises:
            ConfigError: If memory is too small for a single image.
        """
        start = 0
        while start < len(images):
            part = images[start : start + self._most]
            try:
                result = function(self._on_device(part))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(part) == 1:
                    raise too_large() from error
            else:
                yield start, result
                start += len(part)
                continue
            # Outside of the handler, whose error references tensors.
            self._most = (len(part) + 1) // 2
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            tell(f"Too little memory: continuing with --batch-size {self._most}.")

    @contextmanager
    def _memory(self) -> Iterator[None]:
        """Explain a lack of memory for a single image."""
        try:
            yield
        except Exception as error:
            if is_out_of_memory(error):
                raise too_large() from error
            raise

    def _on_device(self, images: Tensor) -> Tensor:
        """Move images to the device, 8-bit images as they are, and convert them there."""
        if self.device.type == "cuda":
            images = images.pin_memory()
        return to_float(images.to(self.device, non_blocking=True))

    def _fed(self, pixels: Pixels, footprint: tuple[int, int] | None) -> Tensor:
        """Resize pixels (h, w, C) to the model's input, (C, side, side), uint8 or in [0, 1].

        Tiles of images narrower than a tile are padded by mirroring.
        """
        if footprint is not None:
            pixels = _continued(pixels, footprint)
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return resize(image, self.predictor.side, self.predictor.resizing)

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


def stacked(images: Sequence[Tensor]) -> Tensor:
    """Stack images (C, side, side), uint8 or in [0, 1]; a mixture is converted to float32."""
    if len({image.dtype for image in images}) > 1:
        images = [to_float(image) for image in images]
    return torch.stack(list(images))


def too_large() -> ConfigError:
    """Error of an image too large for the memory."""
    return ConfigError(
        "The memory of the device is too small for a single image.", "Add --device cpu."
    )


def _num_pixels(loaded: Loaded) -> int:
    return math.prod(loaded.picture.size)


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
