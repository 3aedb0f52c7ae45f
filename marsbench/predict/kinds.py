"""Prediction of each kind of task: labels, class maps and boxes."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from marsbench.base.errors import DataError
from marsbench.base.progress import track
from marsbench.data.georeference import Georeference
from marsbench.metrics.boxes import PredictedBoxes
from marsbench.metrics.masks import IGNORE
from marsbench.predict import outputs
from marsbench.predict.ahead import ahead
from marsbench.predict.inputs import Picture
from marsbench.predict.outputs import MAPS, OVERLAYS
from marsbench.predict.tiles import Probabilities, Tile, batches, grid, join, stitch
from marsbench.predict.walk import Item
from marsbench.predict.work import Waiting, Work, stacked
from marsbench.tasks.kinds import Kind

LARGE = 2
"""Images longer than `LARGE` tiles in either direction are tiled."""

_TOUCHING = 2
"""Distance from a tile's border up to which a box touches it, in pixels of the model's input."""

_MOST_AT_ONCE = 4 << 30
"""Largest size in bytes of the probabilities of an untiled image."""


_TILES_AHEAD = 2
"""Batches of tiles loaded ahead."""


class LoadedTiles(NamedTuple):
    """A batch of tiles of an image.

    Attributes:
        tiles: The tiles.
        seen: Positions of the tiles that are not empty.
        images: These as the model's input, (B, C, side, side), uint8 or in [0, 1]; None without
            such tiles.
    """

    tiles: Sequence[Tile]
    seen: list[int]
    images: Tensor | None


class Labels(Work):
    """Images with a class."""

    write = staticmethod(outputs.write_labels)

    def _predict(self, waiting: Sequence[Waiting], images: Tensor) -> None:
        names = self.predictor.classes
        parts = self._apply(images, lambda part: self.predictor.label(part).cpu().numpy())
        rows = [row for _, part in parts for row in part]
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

    def _is_tiled(self, item: Item, picture: Picture) -> bool:
        return self._footprint(picture.size) is not None

    def _predict_tiled(self, item: Item, picture: Picture) -> None:
        footprint = self._footprint(picture.size) or picture.size
        rows = grid(picture.size, footprint, self.options.overlap)
        shown = track(rows, item.path.name, len(rows)) if self.shows_tiles else iter(rows)
        chunks = list(batches(rows, self.options.batch_size))
        loads = ahead(
            chunks, lambda tiles: self._load_tiles(picture, tiles, footprint), most=_TILES_AHEAD
        )
        with closing(loads):
            self._predict_tiles(item, picture, footprint, rows, shown, loads)

    def _load_tiles(
        self, picture: Picture, tiles: Sequence[Tile], footprint: tuple[int, int]
    ) -> LoadedTiles:
        """Read the tiles of a batch that are not empty."""
        shown = [i for i, tile in enumerate(tiles) if self._shows(picture, tile)]
        parts = [picture.part(tiles[i].rows, tiles[i].columns) for i in shown]
        images = [self._fed(part, footprint) for part in parts]
        return LoadedTiles(tiles, shown, stacked(images) if images else None)

    @abstractmethod
    def _predict_tiles(
        self,
        item: Item,
        picture: Picture,
        footprint: tuple[int, int],
        rows: Sequence[Sequence[Tile]],
        shown: Iterator[Sequence[Tile]],
        loads: Iterator[Future[LoadedTiles]],
    ) -> None:
        """Predict an image in rows of tiles; iterating over `shown` moves the progress bar.

        `loads` are the `batches` of the rows.
        """

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

    def _overlay_geo(self, picture: Picture) -> Georeference | None:
        step = outputs.overlay_step(picture.size)
        return None if picture.geo is None else picture.geo.decimated(step)


class Maps(Dense):
    """Images with a class per pixel."""

    write = staticmethod(outputs.write_maps)

    def _predict(self, waiting: Sequence[Waiting], images: Tensor) -> None:
        for start, logits in self._apply(images, self.predictor.logits):
            for i, (item, picture, _) in enumerate(waiting[start : start + len(logits)]):
                # Maps have the sizes of their images, and large ones would not fit together.
                with self._failing(item), self._memory():
                    one = self.predictor.classify_pixels(logits[i : i + 1], picture.size)
                    strips = iter([(0, one[0].cpu().numpy())])
                    self._keep_map(item, picture, strips, 1)

    def _is_tiled(self, item: Item, picture: Picture) -> bool:
        if super()._is_tiled(item, picture):
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
        loads: Iterator[Future[LoadedTiles]],
    ) -> None:
        def classify(tiles: Sequence[Tile]) -> list[Probabilities | None]:
            by_tile: list[Probabilities | None] = [None] * len(tiles)
            _, seen, images = next(loads).result()
            if images is not None:
                parts = self._apply(
                    images, lambda part: self.predictor.segment(part, footprint).cpu().numpy()
                )
                found = [one for _, part in parts for one in part]
                for i, one in zip(seen, found, strict=True):
                    by_tile[i] = one[:, : tiles[i].height, : tiles[i].width]
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
        detected = self._detected(images)
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
        loads: Iterator[Future[LoadedTiles]],
    ) -> None:
        boxes = self._joined(shown, footprint, loads)
        self._keep_boxes(item, picture, boxes, sum(map(len, rows)))

    def _scaled(self, boxes: PredictedBoxes, size: tuple[int, int]) -> PredictedBoxes:
        """Scale boxes from the model's input to the image or tile, and drop low scores."""
        height, width = size
        scale = np.array([width, height, width, height]) / self.predictor.side
        moved = replace(boxes, xyxy=boxes.xyxy * scale)
        return moved[moved.scores >= self.options.threshold]

    def _detected(self, images: Tensor) -> list[PredictedBoxes]:
        """Boxes in images, in pixels of the model's input."""
        return [boxes for _, part in self._apply(images, self.predictor.detect) for boxes in part]

    def _joined(
        self,
        rows: Iterator[Sequence[Tile]],
        footprint: tuple[int, int],
        loads: Iterator[Future[LoadedTiles]],
    ) -> PredictedBoxes:
        """Detect in tiles."""
        parts: list[tuple[Tile, PredictedBoxes]] = []
        for row in rows:
            for _ in batches([row], self.options.batch_size):
                tiles, seen, images = next(loads).result()
                detected = [] if images is None else self._detected(images)
                for i, boxes in zip(seen, detected, strict=True):
                    scaled = self._scaled(boxes, footprint)
                    # Drop boxes in the padding.
                    parts.append((tiles[i], _clipped(scaled, (tiles[i].height, tiles[i].width))))
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
