"""Write class maps, overlays and tables; files appear by rename."""

import csv
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from marsbench.base import files
from marsbench.base.errors import StoreError
from marsbench.base.text import spreadsheet_cell
from marsbench.data.drawing import palette
from marsbench.data.georeference import Georeference, create
from marsbench.metrics.boxes import PredictedBoxes
from marsbench.metrics.masks import IGNORE

OVERLAY_SIDE = 4096
"""Longest side of an overlay in pixels; larger images are subsampled."""

MAPS, OVERLAYS, LEGEND = PICTURES = ("maps", "overlays", "legend.png")
TABLE, BOXES, ABOUT = "predictions.csv", "predictions.json", "about.json"
JOURNAL, LOCK = ".journal.jsonl", ".lock"

NAMES = (TABLE, BOXES, ABOUT, *PICTURES)
"""Names of all outputs beside the journal, which marks the folder of a prediction."""

_IN_MEMORY = 64 << 20
"""Pixels above which a class map is held in a temporary file."""


def has_background(classes: Sequence[str]) -> bool:
    """Whether class 0 is the background."""
    return bool(classes) and classes[0].casefold() == "background"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file by `files.replacing`, and make its folder.

    Raises:
        StoreError: If the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as partial:
            yield partial
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}.",
            "With --out, choose a writable folder on a disk with free space.",
        ) from error


Strips = Iterator[tuple[int, NDArray[np.uint8]]]
"""First row and class ids (h, W) of consecutive strips from the top."""


def write_class_map(
    path: Path,
    strips: Strips,
    size: tuple[int, int],
    colors: NDArray[np.uint8],
    geo: Georeference | None,
    has_gaps: bool,
) -> NDArray[np.uint8]:
    """Write class ids: as GeoTIFF if the image has a georeference, else as PNG.

    The PNG has a palette of the class colours; pixels are class ids.

    Args:
        path: File to write.
        strips: The class ids.
        size: Height and width of the image.
        colors: Colour of each class, (K, 3).
        geo: Georeference of the image.
        has_gaps: Whether ids may be `IGNORE`.

    Returns:
        Class ids at the resolution of the overlay.
    """
    step = overlay_step(size)
    with replacing(path) as partial:
        if geo is not None:
            with create(partial, size, 1, geo, IGNORE if has_gaps else None) as file:

                def take(top: int, ids: NDArray[np.uint8]) -> None:
                    file.write(ids, 1, window=((top, top + len(ids)), (0, size[1])))

                return _written(strips, take, step)
        with _array(size, path.parent) as classes:

            def hold(top: int, ids: NDArray[np.uint8]) -> None:
                classes[top : top + len(ids)] = ids

            shown = _written(strips, hold, step)
            image = Image.fromarray(classes)
            table = np.zeros((256, 3), dtype=np.uint8)
            table[: len(colors)] = colors
            # Sets the palette without a search for the nearest colours.
            image.putpalette(table.tobytes())
            image.save(partial, format="PNG")
            return shown


def _written(
    strips: Strips, write: Callable[[int, NDArray[np.uint8]], None], step: int
) -> NDArray[np.uint8]:
    shown = []
    for top, ids in strips:
        write(top, ids)
        shown.append(ids[-top % step :: step, ::step].copy())
    return np.concatenate(shown)


@contextmanager
def _array(size: tuple[int, int], folder: Path) -> Iterator[NDArray[np.uint8]]:
    """Array for a class map; large arrays are in a temporary file."""
    if math.prod(size) <= _IN_MEMORY:
        yield np.zeros(size, dtype=np.uint8)
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        files.allocate(file, math.prod(size))
        yield np.memmap(file, dtype=np.uint8, mode="r+", shape=size)


def overlay_step(size: tuple[int, int]) -> int:
    """Image pixels per overlay pixel along each axis."""
    return -(-max(size) // OVERLAY_SIDE)


def _write_overlay(path: Path, drawn: NDArray[np.uint8], geo: Georeference | None) -> None:
    """Write an overlay (h, w, 3): GeoTIFF with a georeference, else PNG."""
    with replacing(path) as partial:
        if geo is None:
            Image.fromarray(drawn).save(partial, format="PNG")
            return
        with create(partial, drawn.shape[:2], 3, geo) as file:
            file.write(np.moveaxis(drawn, 2, 0))


def draw_classes(
    path: Path,
    shown: NDArray[np.uint8],
    ids: NDArray[np.uint8],
    colors: NDArray[np.uint8],
    skip_first: bool,
    geo: Georeference | None,
) -> None:
    """Draw half-transparent classes over an image.

    Args:
        path: File to write.
        shown: The image from `Picture.preview`, (h, w, 3).
        ids: Class ids from `write_class_map`, (h, w).
        colors: Colour of each class, (K, 3).
        skip_first: Whether class 0 is left undrawn.
        geo: Georeference of `shown`.
    """
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(colors)] = colors
    colored = (ids != IGNORE) & ((ids > 0) | (not skip_first))
    mixed = ((shown.astype(np.uint16) + table[ids]) // 2).astype(np.uint8)
    _write_overlay(path, np.where(colored[:, :, None], mixed, shown), geo)


def draw_boxes(
    path: Path,
    shown: NDArray[np.uint8],
    found: PredictedBoxes,
    size: tuple[int, int],
    classes: Sequence[str],
    colors: NDArray[np.uint8],
    geo: Georeference | None,
) -> None:
    """Draw boxes with class and score over an image; arguments as in `draw_classes`."""
    step = overlay_step(size)
    image = Image.fromarray(shown)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(9, min(image.size) // 40))
    width = max(2, min(image.size) // 250)
    # The highest scores last, on top.
    for i in np.argsort(found.scores, kind="stable"):
        left, top, right, bottom = (found.xyxy[i] / step).tolist()
        color = tuple(colors[int(found.labels[i])].tolist())
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), None, color, width)
        text = f"{classes[int(found.labels[i])]} {found.scores[i]:.2f}"
        corner = (left + width, top + width)
        draw.rectangle(draw.textbbox(corner, text, font=font), color)
        draw.text(corner, text, fill="black" if sum(color) > 300 else "white", font=font)
    _write_overlay(path, np.asarray(image), geo)


def write_legend(path: Path, classes: Sequence[str], colors: NDArray[np.uint8]) -> None:
    """Draw the legend of the class colours."""
    font, line = ImageFont.load_default(size=16), 26
    widest = max(int(font.getlength(name)) for name in classes)
    image = Image.new("RGB", (line + widest + 22, line * len(classes) + 8), "white")
    draw = ImageDraw.Draw(image)
    for i, name in enumerate(classes):
        top = 4 + i * line
        draw.rectangle((6, top + 3, 6 + 20, top + 23), tuple(colors[i].tolist()), "black")
        draw.text((line + 8, top + 3), name, fill="black", font=font)
    with replacing(path) as partial:
        image.save(partial, format="PNG")


Rows = Sequence[Mapping[str, Any]]
"""Output of `Journal.rows`."""

Write = Callable[[Path, Rows, Sequence[str], Mapping[str, Any]], None]
"""Writes the tables of predicted images: folder, rows, class names, settings."""


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV in UTF-8; cells that a spreadsheet would compute are quoted."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows(map(spreadsheet_cell, row) for row in (header, *rows))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def coco(rows: Rows, classes: Sequence[str], info: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the boxes of a journal to COCO, with class ids from 1; failed images stand apart.

    Args:
        rows: Output of `Journal.rows`.
        classes: Names by class id.
        info: Settings of the prediction.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    failed = []
    for row in rows:
        name = {"file_name": row["file"], "path": row["source"]}
        if "error" in row:
            failed.append(name | {"error": row["error"]})
            continue
        result = row["result"]
        height, width = result["size"]
        images.append(
            {
                "id": len(images) + 1,
                **name,
                "height": height,
                "width": width,
                "scaling": result["scaling"],
                "tiles": result["tiles"],
                "overlay": row["outputs"][0] if row["outputs"] else None,
            }
        )
        for i, (left, top, right, bottom) in enumerate(result["boxes"]):
            box = [left, top, right - left, bottom - top]
            annotation = {
                "id": len(annotations) + 1,
                "image_id": len(images),
                "category_id": result["labels"][i] + 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
                "score": result["scores"][i],
            }
            if result["geo_boxes"] is not None:
                annotation["geo_bbox"] = result["geo_boxes"][i]
            annotations.append(annotation)
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(classes)]
    return {
        "info": dict(info),
        "images": images,
        "annotations": annotations,
        "categories": categories,
        "failed": failed,
    }


def write_labels(out: Path, rows: Rows, classes: Sequence[str], about: Mapping[str, Any]) -> None:
    """Write the labels and probabilities of images, and the errors of failed images."""
    header = ["label", *_columns("probability", classes), "scaling"]

    def cells(row: Mapping[str, Any]) -> list[Any]:
        result = row["result"]
        return [result["label"], *result["probabilities"], *result["size"], result["scaling"]]

    write_table(out / TABLE, *_table(header, rows, cells))


def write_maps(out: Path, rows: Rows, classes: Sequence[str], about: Mapping[str, Any]) -> None:
    """Write the shares of classes, the paths of class maps and errors, and the legend."""
    header = [*_columns("share", classes), "tiles", "map", "scaling"]

    def cells(row: Mapping[str, Any]) -> list[Any]:
        result = row["result"]
        numbers = [*result["shares"], *result["size"], result["tiles"]]
        return [*numbers, row["outputs"][0], result["scaling"]]

    write_table(out / TABLE, *_table(header, rows, cells))
    write_legend(out / LEGEND, classes, palette(classes))


def write_boxes(out: Path, rows: Rows, classes: Sequence[str], about: Mapping[str, Any]) -> None:
    """Write the boxes and errors as COCO, and the legend."""
    write_json(out / BOXES, coco(rows, classes, about))
    write_legend(out / LEGEND, classes, palette(classes))


def _table(
    header: Sequence[str], rows: Rows, cells: Callable[[Mapping[str, Any]], list[Any]]
) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of a table: the file, the cells of its result, its path and its error."""
    table = [
        [
            row["file"],
            *([""] * len(header) if "error" in row else cells(row)),
            row["source"],
            row.get("error", ""),
        ]
        for row in rows
    ]
    return ["file", *header, "path", "error"], table


def _columns(content: str, classes: Sequence[str]) -> list[str]:
    return [*(f"{content}/{name}" for name in classes), "height", "width"]
