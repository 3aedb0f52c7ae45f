"""Predict images with a loaded model, whole or in tiles, and write what was found."""

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
"""Images more than so many times as long as a tile, in either direction, are tiled."""

_TOUCHING = 2
"""Pixels of the model's input from a tile's border at which a box touches it."""

_MOST_AT_ONCE = 4 << 30
"""Bytes of the probabilities of an image that is not tiled."""


@dataclass(frozen=True)
class Options:
    """How to predict.

    Attributes:
        batch_size: Images or tiles given to the model at a time.
        overlap: Share of a tile that the next one covers again.
        threshold: Least probability of a label of several, least score of a box.
        tile: Side of a tile in pixels of the image; 0 never tiles, None decides.
        overlay: Whether pictures are drawn.
        overwrite: Whether to predict again what is there.
        device: auto, or torch's name of one.
    """

    batch_size: int = 8
    overlap: float = 0.25
    threshold: float = 0.5
    tile: int | None = None
    overlay: bool = True
    overwrite: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        for name, value, fits, wanted in (
            ("batch-size", self.batch_size, self.batch_size >= 1, "1 or more"),
            ("overlap", self.overlap, 0 <= self.overlap <= 0.9, "from 0 to 0.9"),
            ("threshold", self.threshold, 0 <= self.threshold <= 1, "from 0 to 1"),
            ("tile", self.tile, self.tile is None or self.tile == 0 or self.tile >= 16, "0 or 16+"),
        ):
            if not fits:
                raise ConfigError(f"--{name} {value} cannot be used.", f"Give {wanted}.")


@dataclass
class Summary:
    """What became of the images.

    Attributes:
        done: Images predicted now.
        skipped: Images that had been predicted before.
        failed: Images that could not be predicted, each with the reason.
    """

    done: int = 0
    skipped: int = 0
    failed: list[tuple[Item, MarsbenchError]] = field(default_factory=list)


Report = Callable[[dict[str, Any]], None]
"""Called with what became of each image."""


def predict(
    predictor: Predictor,
    items: Sequence[Item],
    out: Path,
    options: Options,
    report: Report = lambda _: None,
) -> Summary:
    """Predict images and write what was found into a folder.

    An image that cannot be predicted is left out, and the others are finished.

    Args:
        predictor: The model.
        items: The images.
        out: The folder.
        options: How.
        report: Told of each image.

    Raises:
        MarsbenchError: If the folder cannot be written or is another model's.
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
                report(_told(item, "skipped"))
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
    """Find a device by torch's name of it, or ``auto``.

    Raises:
        ConfigError: If this machine has none such.
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
        raise ConfigError(f"--device {name} cannot be used: {reason}.", "Try cpu.") from error
    return device


def _settings(predictor: Predictor, options: Options) -> dict[str, Any]:
    """What the predictions depend on, beside the image."""
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
    """The images on their way: small ones are gathered to batches, large ones done at once."""

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
        """Predict an image, or put it to those that wait for a full batch."""
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
        """Predict the images that wait."""
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
                    found = self.predictor.segment(images[i : i + 1], picture.size)
                    strips = iter([(0, found[0].cpu().numpy())])
                    self._keep_map(item, picture, strips, 1)
        else:
            with self._memory():
                detected = self.predictor.detect(images)
            for (item, picture, _), one in zip(waiting, detected, strict=True):
                with self._failing(item):
                    self._keep_boxes(item, picture, self._scaled(one, picture.size), 1)

    @contextmanager
    def _failing(self, item: Item) -> Iterator[None]:
        """Note an image that cannot be predicted, and go on."""
        try:
            yield
        except DataError as error:
            self.summary.failed.append((item, error))
            self.report({**_told(item, "failed"), "error": str(error)})

    @contextmanager
    def _memory(self) -> Iterator[None]:
        try:
            yield
        except torch.cuda.OutOfMemoryError as error:
            raise ConfigError(
                f"The memory of the device does not hold --batch-size {self.options.batch_size}.",
                "Lower --batch-size, or add --device cpu.",
            ) from error

    # What the model sees

    def _footprint(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """Height and width of the tiles of an image; None where it is seen as a whole."""
        tile, side = self.options.tile, self.predictor.side
        if self.kind.is_classification or tile == 0:
            return None
        if tile is not None:
            return (tile, tile) if max(size) > tile else None
        # What a training image covered, and was resized from.
        height, width = self.predictor.task.image_size or (side, side)
        is_large = size[0] > LARGE * height or size[1] > LARGE * width
        return (height, width) if is_large else None

    def _check_memory(self, item: Item, picture: Picture) -> None:
        needed = 4 * len(self.predictor.classes) * math.prod(picture.size)
        if self.kind is Kind.SEGMENTATION and needed > _MOST_AT_ONCE:
            raise DataError(
                f"{item.path} is too large to be predicted as a whole.", "Leave --tile 0 out."
            )

    def _fed(self, pixels: Pixels, footprint: tuple[int, int] | None) -> Tensor:
        """Make pixels (h, w, C) the model's input, (C, side, side) in [0, 1].

        Tiles of images narrower than a tile are continued to its size, mirrored.
        """
        if footprint is not None:
            pixels = _continued(pixels, footprint)
        image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return to_float(resize(image, self.predictor.side))

    def _stacked(self, images: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(images)).to(self.device)

    def _scaled(self, found: PredictedBoxes, size: tuple[int, int]) -> PredictedBoxes:
        """From pixels of the input to pixels of what was resized to it; low scores are dropped."""
        height, width = size
        scale = np.array([width, height, width, height]) / self.predictor.side
        moved = replace(found, xyxy=found.xyxy * scale)
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
            found: list[Probabilities | None] = [None] * len(tiles)
            seen = [i for i, tile in enumerate(tiles) if self._shows(picture, tile)]
            if seen:
                images = self._parts(picture, [tiles[i] for i in seen], footprint)
                with self._memory():
                    probabilities = self.predictor.segment(images, footprint).cpu().numpy()
                for i, one in zip(seen, probabilities, strict=True):
                    found[i] = one[:, : tiles[i].height, : tiles[i].width]
            return found

        strips = stitch(
            rows, picture.size, len(self.predictor.classes), classify, self.options.batch_size
        )
        told = (strip for strip, _ in zip(strips, shown, strict=True))
        self._keep_map(item, picture, told, count)

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
                for tile, one in zip(tiles, detected, strict=True):
                    found = self._scaled(one, footprint)
                    # What was continued is not of the image.
                    parts.append((tile, _clipped(found, (tile.height, tile.width))))
        return join(parts, _TOUCHING * max(footprint) / self.predictor.side)

    # What is kept

    def _keep(
        self, item: Item, stem: str, files: list[str], picture: Picture, result: dict[str, Any]
    ) -> None:
        result |= {"size": list(picture.size), "scaling": picture.scaling}
        self.journal.add(item, stem, files, result)
        self.summary.done += 1
        told = {k: v for k, v in result.items() if k not in _PER_BOX}
        if "boxes" in result:
            told["boxes"] = len(result["boxes"])
        self.report({**_told(item, "done"), **told, "outputs": files})

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
        # No share of nothing, where the whole image is empty.
        total = max(1, int(counts[: len(names)].sum()))
        shares = (counts[: len(names)] / total).tolist()
        self._keep(item, stem, files, picture, {"shares": shares, "tiles": tiles})

    def _overlay_geo(self, picture: Picture) -> Georeference | None:
        step = outputs.overlay_step(picture.size)
        return None if picture.geo is None else picture.geo.decimated(step)

    def _keep_boxes(self, item: Item, picture: Picture, found: PredictedBoxes, tiles: int) -> None:
        stem, files = self.journal.stem(item), []
        found = _clipped(found, picture.size)
        if self.options.overlay:
            files.append(f"{OVERLAYS}/{stem}.{'png' if picture.geo is None else 'tif'}")
            outputs.draw_boxes(
                self.journal.out / files[0],
                picture.preview(outputs.OVERLAY_SIDE),
                found,
                picture.size,
                self.predictor.classes,
                self.colors,
                self._overlay_geo(picture),
            )
        boxes = found.xyxy.tolist()
        places = None
        if picture.geo is not None and picture.geo.transform is not None:
            places = [picture.geo.bounds(box) for box in boxes]
        result = {
            "boxes": boxes,
            "scores": found.scores.tolist(),
            "labels": found.labels.tolist(),
            "geo_boxes": places,
            "tiles": tiles,
        }
        self._keep(item, stem, files, picture, result)


def _told(item: Item, status: str) -> dict[str, Any]:
    return {"file": item.name, "path": source_of(item), "status": status}


_PER_BOX = ("boxes", "geo_boxes", "scores", "labels")


def _clipped(found: PredictedBoxes, size: tuple[int, int]) -> PredictedBoxes:
    """Cut boxes to an image, and drop those outside it."""
    height, width = size
    boxes = np.clip(found.xyxy, 0, np.array([width, height, width, height]))
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return replace(found, xyxy=boxes)[kept]


def _continued(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Continue pixels (h, w, C) to a size, mirrored at the right and the bottom."""
    missing = [wanted - has for wanted, has in zip(size, pixels.shape[:2], strict=True)]
    if not any(missing):
        return pixels
    padding = [(0, missing[0]), (0, missing[1]), (0, 0)]
    continued: Pixels = np.pad(pixels, padding, mode="symmetric")  # type: ignore[assignment]
    return continued
