"""Predict images with a loaded model, whole or in tiles, and write the results."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marsbench.base import environment
from marsbench.base.errors import ConfigError, DataError, MarsbenchError
from marsbench.base.progress import track
from marsbench.data.drawing import palette
from marsbench.data.georeference import Georeference
from marsbench.data.rows import Pixels
from marsbench.data.transforms import resize, to_float
from marsbench.metrics.boxes import PredictedBoxes
from marsbench.metrics.masks import IGNORE
from marsbench.predict import outputs
from marsbench.predict.inputs import Item, Picture, open_picture
from marsbench.predict.journal import Journal, source_of
from marsbench.predict.outputs import MAPS, OVERLAYS
from marsbench.predict.predictor import Predictor
from marsbench.predict.tiles import Probabilities, Tile, grid, join, stitch
from marsbench.tasks.kinds import Kind

LARGE = 2
"""Images longer than `LARGE` tiles in either direction are tiled."""

_TOUCHING = 2
"""Distance from a tile's border up to which a box touches it, in pixels of the model's input."""

_MOST_AT_ONCE = 4 << 30
"""Largest size in bytes of the probabilities of an untiled image."""


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


Report = Callable[[dict[str, Any]], None]
"""Called with the result of each image."""


def predict(
    predictor: Predictor,
    items: Sequence[Item],
    out: Path,
    options: Options,
    report: Report = lambda _: None,
) -> Summary:
    """Predict images and write the results into a folder.

    Failed images are skipped and listed in the summary.

    Args:
        predictor: The model.
        items: The images.
        out: The folder.
        options: Options of the prediction.
        report: Called with the result of each image.

    Raises:
        MarsbenchError: If the folder cannot be written or holds another model's predictions.
    """
    device = device_of(options.device)
    predictor.model.eval()
    predictor.model.to(device)
    journal = Journal(out, _settings(predictor, options), options.overwrite)
    try:
        work = _Work(predictor, options, journal, device, report)
        todo = []
        for item in items:
            if journal.is_done(item, options.overlay and work.draws):
                work.summary.skipped += 1
                report(_line(item, "skipped"))
            else:
                todo.append(item)
        journal.reserve(todo)
        work.shows_tiles = len(todo) == 1
        with torch.inference_mode():
            for item in todo if work.shows_tiles else track(todo, "predicting", len(todo)):
                work.take(item)
            work.flush()
        about = {
            **_settings(predictor, options),
            "notes": list(predictor.notes),
            "environment": environment.versions(),
        }
        outputs.write_tables(out, journal.rows, predictor.task.kind, predictor.classes, about)
    finally:
        journal.close()
    return work.summary


def device_of(name: str) -> torch.device:
    """Resolve a torch device, or ``auto``.

    Raises:
        ConfigError: If the device is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except Exception as error:  # torch raises many types on devices that are not there
        lines = str(error).splitlines() or [type(error).__name__]
        reason = lines[0].rstrip(".")
        if name.partition(":")[0] == "cuda" and not torch.cuda.is_available():
            reason = f"this machine has no usable GPU ({reason})"
        raise ConfigError(f"--device {name} is not available: {reason}.", "Try cpu.") from error
    return device


def _settings(predictor: Predictor, options: Options) -> dict[str, Any]:
    """Settings of the predictions besides the image."""
    kind = predictor.task.kind
    settings: dict[str, Any] = {
        "model": predictor.origin,
        "version": predictor.version,
        "task": predictor.task.name,
        "kind": str(kind),
        "classes": list(predictor.classes),
        "side": predictor.side,
        "bands": str(predictor.bands),
    }
    if not kind.is_classification:
        settings |= {"overlap": options.overlap, "tile": options.tile}
    if kind in (Kind.MULTILABEL, Kind.DETECTION):
        settings["threshold"] = options.threshold
    return settings


class _Work:
    """Images in progress: small images are batched, large images are tiled at once."""

    def __init__(
        self,
        predictor: Predictor,
        options: Options,
        journal: Journal,
        device: torch.device,
        report: Report,
    ) -> None:
        self.predictor, self.options, self.journal = predictor, options, journal
        self.device, self.report = device, report
        self.kind = predictor.task.kind
        self.colors = palette(predictor.classes)
        self.draws = not self.kind.is_classification
        self.shows_tiles = False
        self.summary = Summary()
        self._waiting: list[tuple[Item, Picture, Tensor]] = []

    def take(self, item: Item) -> None:
        """Predict an image, or queue the image for a full batch."""
        with self._failing(item):
            picture = open_picture(item, self.predictor.task, self.predictor.bands)
            footprint = self._footprint(picture.size)
            if footprint is not None:
                self._tiled(item, picture, footprint)
                return
            self._check_memory(item, picture)
            whole = self._fed(picture.reduced(self.predictor.side), None)
            self._waiting.append((item, picture, whole))
        if len(self._waiting) == self.options.batch_size:
            self.flush()

    def flush(self) -> None:
        """Predict the queued images."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        images = self._stacked([image for _, _, image in waiting])
        if self.kind.is_classification:
            with self._memory():
                rows = self.predictor.label(images).cpu().numpy()
            for (item, picture, _), row in zip(waiting, rows, strict=True):
                with self._failing(item):
                    self._keep_label(item, picture, row)
        elif self.kind is Kind.SEGMENTATION:
            for i, (item, picture, _) in enumerate(waiting):
                with self._failing(item), self._memory():
                    probabilities = self.predictor.segment(images[i : i + 1], picture.size)
                    strips = iter([(0, probabilities[0].cpu().numpy())])
                    self._keep_map(item, picture, strips, 1)
        else:
            with self._memory():
                detected = self.predictor.detect(images)
            for (item, picture, _), boxes in zip(waiting, detected, strict=True):
                with self._failing(item):
                    self._keep_boxes(item, picture, self._scaled(boxes, picture.size), 1)

    @contextmanager
    def _failing(self, item: Item) -> Iterator[None]:
        """Record the error of a failed image, and continue."""
        try:
            yield
        except DataError as error:
            self.summary.failed.append((item, error))
            self.report({**_line(item, "failed"), "error": str(error)})

    @contextmanager
    def _memory(self) -> Iterator[None]:
        try:
            yield
        except torch.cuda.OutOfMemoryError as error:
            raise ConfigError(
                f"The device is out of memory at --batch-size {self.options.batch_size}.",
                "Lower --batch-size, or add --device cpu.",
            ) from error

    # Model input

    def _footprint(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """Height and width of the tiles of an image; None for untiled images."""
        tile, side = self.options.tile, self.predictor.side
        if self.kind.is_classification or tile == 0:
            return None
        if tile is not None:
            return (tile, tile) if max(size) > tile else None
        # Size of training images before resizing.
        height, width = self.predictor.task.image_size or (side, side)
        is_large = size[0] > LARGE * height or size[1] > LARGE * width
        return (height, width) if is_large else None

    def _check_memory(self, item: Item, picture: Picture) -> None:
        needed = 4 * len(self.predictor.classes) * math.prod(picture.size)
        if self.kind is Kind.SEGMENTATION and needed > _MOST_AT_ONCE:
            raise DataError(
                f"{item.path} is too large to predict without tiles.", "Leave --tile 0 out."
            )

    def _fed(self, pixels: Pixels, footprint: tuple[int, int] | None) -> Tensor:
        """Convert pixels (h, w, C) to the model's input, (C, side, side) in [0, 1].

        Tiles of images narrower than a tile are padded by mirroring.
        """
        if footprint is not None:
            pixels = _continued(pixels, footprint)
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return to_float(resize(image, self.predictor.side))

    def _stacked(self, images: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(images)).to(self.device)

    def _scaled(self, boxes: PredictedBoxes, size: tuple[int, int]) -> PredictedBoxes:
        """Scale boxes from the model's input to the image or tile, and drop low scores."""
        height, width = size
        scale = np.array([width, height, width, height]) / self.predictor.side
        moved = replace(boxes, xyxy=boxes.xyxy * scale)
        return moved[moved.scores >= self.options.threshold]

    # Large images

    def _tiled(self, item: Item, picture: Picture, footprint: tuple[int, int]) -> None:
        rows = grid(picture.size, footprint, self.options.overlap)
        count = sum(map(len, rows))
        shown = track(rows, item.path.name, len(rows)) if self.shows_tiles else iter(rows)
        if self.kind is Kind.DETECTION:
            self._keep_boxes(item, picture, self._joined(shown, picture, footprint), count)
            return

        def classify(tiles: Sequence[Tile]) -> list[Probabilities | None]:
            by_tile: list[Probabilities | None] = [None] * len(tiles)
            seen = [i for i, tile in enumerate(tiles) if self._shows(picture, tile)]
            if seen:
                images = self._parts(picture, [tiles[i] for i in seen], footprint)
                with self._memory():
                    probabilities = self.predictor.segment(images, footprint).cpu().numpy()
                for i, part in zip(seen, probabilities, strict=True):
                    by_tile[i] = part[:, : tiles[i].height, : tiles[i].width]
            return by_tile

        strips = stitch(
            rows, picture.size, len(self.predictor.classes), classify, self.options.batch_size
        )
        tracked = (strip for strip, _ in zip(strips, shown, strict=True))
        self._keep_map(item, picture, tracked, count)

    def _shows(self, picture: Picture, tile: Tile) -> bool:
        return not picture.has_gaps or bool(picture.valid(tile.rows, tile.columns).any())

    def _parts(self, picture: Picture, tiles: Sequence[Tile], footprint: tuple[int, int]) -> Tensor:
        return self._stacked(
            [self._fed(picture.part(tile.rows, tile.columns), footprint) for tile in tiles]
        )

    def _joined(
        self, rows: Iterator[Sequence[Tile]], picture: Picture, footprint: tuple[int, int]
    ) -> PredictedBoxes:
        """Detect in tiles."""
        parts: list[tuple[Tile, PredictedBoxes]] = []
        size = self.options.batch_size
        for row in rows:
            seen = [tile for tile in row if self._shows(picture, tile)]
            for start in range(0, len(seen), size):
                tiles = seen[start : start + size]
                with self._memory():
                    detected = self.predictor.detect(self._parts(picture, tiles, footprint))
                for tile, boxes in zip(tiles, detected, strict=True):
                    scaled = self._scaled(boxes, footprint)
                    # Drop boxes in the padding.
                    parts.append((tile, _clipped(scaled, (tile.height, tile.width))))
        return join(parts, _TOUCHING * max(footprint) / self.predictor.side)

    # Outputs

    def _keep(
        self, item: Item, stem: str, files: list[str], picture: Picture, result: dict[str, Any]
    ) -> None:
        result |= {"size": list(picture.size), "scaling": picture.scaling}
        self.journal.add(item, stem, files, result)
        self.summary.done += 1
        summary = {k: v for k, v in result.items() if k not in _PER_BOX}
        if "boxes" in result:
            summary["boxes"] = len(result["boxes"])
        self.report({**_line(item, "done"), **summary, "outputs": files})

    def _keep_label(self, item: Item, picture: Picture, row: NDArray[np.float32]) -> None:
        names = self.predictor.classes
        chosen = [int(row.argmax())]
        if self.kind is Kind.MULTILABEL:
            chosen = np.flatnonzero(row >= self.options.threshold).tolist()
        result = {"label": ";".join(names[k] for k in chosen), "probabilities": row.tolist()}
        self._keep(item, self.journal.stem(item), [], picture, result)

    def _keep_map(
        self,
        item: Item,
        picture: Picture,
        strips: Iterator[tuple[int, Probabilities]],
        tiles: int,
    ) -> None:
        names, stem, out = self.predictor.classes, self.journal.stem(item), self.journal.out
        suffix = "png" if picture.geo is None else "tif"
        files = [f"{MAPS}/{stem}.{suffix}"]
        counts = np.zeros(256, dtype=np.int64)

        def classes() -> outputs.Strips:
            for top, probabilities in strips:
                ids = probabilities.argmax(axis=0).astype(np.uint8)
                if picture.has_gaps:
                    ids[~picture.valid(slice(top, top + len(ids)), slice(None))] = IGNORE
                counts[:] += np.bincount(ids.ravel(), minlength=256)
                yield top, ids

        shown = outputs.write_class_map(
            out / files[0], classes(), picture.size, self.colors, picture.geo, picture.has_gaps
        )
        if self.options.overlay:
            files.append(f"{OVERLAYS}/{stem}.{suffix}")
            outputs.draw_classes(
                out / files[1],
                picture.preview(outputs.OVERLAY_SIDE),
                shown,
                self.colors,
                outputs.has_background(names),
                self._overlay_geo(picture),
            )
        # An empty image has no pixels to share.
        total = max(1, int(counts[: len(names)].sum()))
        shares = (counts[: len(names)] / total).tolist()
        self._keep(item, stem, files, picture, {"shares": shares, "tiles": tiles})

    def _overlay_geo(self, picture: Picture) -> Georeference | None:
        step = outputs.overlay_step(picture.size)
        return None if picture.geo is None else picture.geo.decimated(step)

    def _keep_boxes(self, item: Item, picture: Picture, boxes: PredictedBoxes, tiles: int) -> None:
        stem, files = self.journal.stem(item), []
        boxes = _clipped(boxes, picture.size)
        if self.options.overlay:
            files.append(f"{OVERLAYS}/{stem}.{'png' if picture.geo is None else 'tif'}")
            outputs.draw_boxes(
                self.journal.out / files[0],
                picture.preview(outputs.OVERLAY_SIDE),
                boxes,
                picture.size,
                self.predictor.classes,
                self.colors,
                self._overlay_geo(picture),
            )
        xyxy = boxes.xyxy.tolist()
        places = None
        if picture.geo is not None and picture.geo.transform is not None:
            places = [picture.geo.bounds(box) for box in xyxy]
        result = {
            "boxes": xyxy,
            "scores": boxes.scores.tolist(),
            "labels": boxes.labels.tolist(),
            "geo_boxes": places,
            "tiles": tiles,
        }
        self._keep(item, stem, files, picture, result)


def _line(item: Item, status: str) -> dict[str, Any]:
    return {"file": item.name, "path": source_of(item), "status": status}


_PER_BOX = ("boxes", "geo_boxes", "scores", "labels")


def _clipped(boxes: PredictedBoxes, size: tuple[int, int]) -> PredictedBoxes:
    """Clip boxes to an image, and drop boxes outside."""
    height, width = size
    xyxy = np.clip(boxes.xyxy, 0, np.array([width, height, width, height]))
    kept = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
    return replace(boxes, xyxy=xyxy)[kept]


def _continued(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Pad pixels (h, w, C) to a size by mirroring at the right and bottom."""
    missing = [wanted - has for wanted, has in zip(size, pixels.shape[:2], strict=True)]
    if not any(missing):
        return pixels
    padding = [(0, missing[0]), (0, missing[1]), (0, 0)]
    continued: Pixels = np.pad(pixels, padding, mode="symmetric")  # type: ignore[assignment]
    return continued
