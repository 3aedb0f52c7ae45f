"""Prediction of each kind of task: labels, class maps and boxes."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from marsbench.base.errors import DataError
from marsbench.base.progress import track
from marsbench.data.georeference import Georeference
from marsbench.metrics.boxes import PredictedBoxes
from marsbench.metrics.masks import IGNORE
from marsbench.predict import outputs
from marsbench.predict.inputs import Picture
from marsbench.predict.outputs import MAPS, OVERLAYS
from marsbench.predict.tiles import Probabilities, Tile, grid, join, stitch
from marsbench.predict.walk import Item
from marsbench.predict.work import Waiting, Work
from marsbench.tasks.kinds import Kind

LARGE = 2
"""Images longer than `LARGE` tiles in either direction are tiled."""

_TOUCHING = 2
"""Distance from a tile's border up to which a box touches it, in pixels of the model's input."""

_MOST_AT_ONCE = 4 << 30
"""Largest size in bytes of the probabilities of an untiled image."""


class Labels(Work):
    """Images with a class."""

    write = staticmethod(outputs.write_labels)

    def _predict(self, waiting: Sequence[Waiting], images: Tensor) -> None:
        names = self.predictor.classes
        with self._memory():
            rows = self.predictor.label(images).cpu().numpy()
        for (item, picture, _), row in zip(waiting, rows, strict=True):
            with self._failing(item):
                label = ";".join(names[k] for k in self._chosen(row))
                result = {"label": label, "probabilities": row.tolist()}
                self._keep(item, self.journal.stem(item), [], picture, result)

    def _chosen(self, row: NDArray[np.float32]) -> list[int]:
        return [int(row.argmax())]


class Multilabel(Labels):
    """Images with any number of classes."""

    settings = ("threshold",)

    def _chosen(self, row: NDArray[np.float32]) -> list[int]:
        above: list[int] = np.flatnonzero(row >= self.options.threshold).tolist()
        return above


class Dense(Work):
    """Images with results at places in the image: tiled if large, and drawn."""

    settings: ClassVar[tuple[str, ...]] = ("overlap", "tile")
    draws = True

    def _tiled(self, item: Item, picture: Picture) -> bool:
        footprint = self._footprint(picture.size)
        if footprint is None:
            return False
        rows = grid(picture.size, footprint, self.options.overlap)
        shown = track(rows, item.path.name, len(rows)) if self.shows_tiles else iter(rows)
        self._predict_tiles(item, picture, footprint, rows, shown)
        return True

    @abstractmethod
    def _predict_tiles(
        self,
        item: Item,
        picture: Picture,
        footprint: tuple[int, int],
        rows: Sequence[Sequence[Tile]],
        shown: Iterator[Sequence[Tile]],
    ) -> None:
        """Predict an image in rows of tiles; iterating over `shown` moves the progress bar."""

    def _footprint(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """Height and width of the tiles of an image; None for untiled images."""
        tile, side = self.options.tile, self.predictor.side
        if tile == 0:
            return None
        if tile is not None:
            return (tile, tile) if max(size) > tile else None
        # Size of training images before resizing.
        height, width = self.predictor.task.image_size or (side, side)
        is_large = size[0] > LARGE * height or size[1] > LARGE * width
        return (height, width) if is_large else None

    def _shows(self, picture: Picture, tile: Tile) -> bool:
        return not picture.has_gaps or bool(picture.valid(tile.rows, tile.columns).any())

    def _parts(self, picture: Picture, tiles: Sequence[Tile], footprint: tuple[int, int]) -> Tensor:
        return self._stacked(
            [self._fed(picture.part(tile.rows, tile.columns), footprint) for tile in tiles]
        )

    def _overlay_geo(self, picture: Picture) -> Georeference | None:
        step = outputs.overlay_step(picture.size)
        return None if picture.geo is None else picture.geo.decimated(step)


class Maps(Dense):
    """Images with a class per pixel."""

    write = staticmethod(outputs.write_maps)

    def _predict(self, waiting: Sequence[Waiting], images: Tensor) -> None:
        for i, (item, picture, _) in enumerate(waiting):
            with self._failing(item), self._memory():
                probabilities = self.predictor.segment(images[i : i + 1], picture.size)
                strips = iter([(0, probabilities[0].cpu().numpy())])
                self._keep_map(item, picture, strips, 1)

    def _tiled(self, item: Item, picture: Picture) -> bool:
        if super()._tiled(item, picture):
            return True
        if 4 * len(self.predictor.classes) * math.prod(picture.size) > _MOST_AT_ONCE:
            raise DataError(
                f"{item.path} is too large to predict without tiles.", "Leave --tile 0 out."
            )
        return False

    def _predict_tiles(
        self,
        item: Item,
        picture: Picture,
        footprint: tuple[int, int],
        rows: Sequence[Sequence[Tile]],
        shown: Iterator[Sequence[Tile]],
    ) -> None:
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
        self._keep_map(item, picture, tracked, sum(map(len, rows)))

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


class Boxes(Dense):
    """Images with boxes."""

    settings = (*Dense.settings, "threshold")
    write = staticmethod(outputs.write_boxes)

    def _predict(self, waiting: Sequence[Waiting], images: Tensor) -> None:
        with self._memory():
            detected = self.predictor.detect(images)
        for (item, picture, _), boxes in zip(waiting, detected, strict=True):
            with self._failing(item):
                self._keep_boxes(item, picture, self._scaled(boxes, picture.size), 1)

    def _predict_tiles(
        self,
        item: Item,
        picture: Picture,
        footprint: tuple[int, int],
        rows: Sequence[Sequence[Tile]],
        shown: Iterator[Sequence[Tile]],
    ) -> None:
        boxes = self._joined(shown, picture, footprint)
        self._keep_boxes(item, picture, boxes, sum(map(len, rows)))

    def _scaled(self, boxes: PredictedBoxes, size: tuple[int, int]) -> PredictedBoxes:
        """Scale boxes from the model's input to the image or tile, and drop low scores."""
        height, width = size
        scale = np.array([width, height, width, height]) / self.predictor.side
        moved = replace(boxes, xyxy=boxes.xyxy * scale)
        return moved[moved.scores >= self.options.threshold]

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


def _clipped(boxes: PredictedBoxes, size: tuple[int, int]) -> PredictedBoxes:
    """Clip boxes to an image, and drop boxes outside."""
    height, width = size
    xyxy = np.clip(boxes.xyxy, 0, np.array([width, height, width, height]))
    kept = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
    return replace(boxes, xyxy=xyxy)[kept]


WORK: dict[Kind, type[Work]] = {
    Kind.BINARY: Labels,
    Kind.MULTICLASS: Labels,
    Kind.MULTILABEL: Multilabel,
    Kind.SEGMENTATION: Maps,
    Kind.DETECTION: Boxes,
}
"""Prediction of the images of each kind of task."""
