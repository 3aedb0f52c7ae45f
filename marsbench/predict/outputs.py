"""What is written: class maps, overlays, tables, and the journal by which work is resumed.

Every file appears by rename, and the line of the journal that tells of an image comes last.
"""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from marsbench.data.drawing import class_colors
from marsbench.errors import StoreError
from marsbench.predict.geo import NODATA, Georeference
from marsbench.predict.inputs import Item
from marsbench.predict.tiles import Found

EMPTY = 255
"""Class id of pixels of a map where the image holds nothing."""

OVERLAY_SIDE = 4096
"""Longest side of an overlay in pixels; larger images are shown smaller."""

MAPS, OVERLAYS = "maps", "overlays"
TABLE, BOXES, ABOUT, LEGEND = "predictions.csv", "predictions.json", "about.json", "legend.png"

_JOURNAL, _LOCK = ".journal.jsonl", ".lock"

_BACKGROUND = (70, 70, 70)


def palette(classes: Sequence[str]) -> NDArray[np.uint8]:
    """One colour per class, (K, 3); a first class ``background`` is dark grey."""
    chosen = [
        _BACKGROUND if color is None else tuple(bytes.fromhex(color.removeprefix("#")))
        for color in class_colors(classes)
    ]
    return np.array(chosen, dtype=np.uint8)


def has_background(classes: Sequence[str]) -> bool:
    """Whether class 0 is what shows no object."""
    return bool(classes) and classes[0].casefold() == "background"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to a path beside, which becomes the path when all is written.

    Raises:
        StoreError: If the disk does not take it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}.",
            "Choose a folder you may write with --out, on a disk with room.",
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_class_map(
    path: Path,
    classes: NDArray[np.uint8],
    colors: NDArray[np.uint8],
    geo: Georeference | None,
    has_gaps: bool,
) -> None:
    """Write class ids (H, W): as GeoTIFF where the image has a georeference, else as PNG.

    The PNG has a palette, so that it can be looked at; its pixels are class ids all the same.
    """
    with replacing(path) as partial:
        if geo is None:
            image = Image.fromarray(classes)
            table = np.zeros((256, 3), dtype=np.uint8)
            table[: len(colors)] = colors
            # Sets the palette without looking for the nearest colours.
            image.putpalette(table.tobytes())
            image.save(partial, format="PNG")
            return
        import tifffile

        tags: list[Any] = list(geo.tags)
        if has_gaps:
            text = str(EMPTY)
            tags.append((NODATA, 2, len(text) + 1, text, True))
        tifffile.imwrite(
            partial,
            classes,
            photometric="minisblack",
            compression="zlib",
            rowsperstrip=max(1, (1 << 18) // classes.shape[1]),
            metadata=None,
            extratags=tags,
        )


def draw_classes(
    path: Path,
    shown: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    colors: NDArray[np.uint8],
    skip_first: bool,
) -> None:
    """Draw classes over an image, half transparent.

    Args:
        path: PNG to write.
        shown: The image as `Picture.preview` gives it, (h, w, 3).
        classes: Class ids of the whole image, (H, W).
        colors: Colour of each class, (K, 3).
        skip_first: Whether class 0 is left as it is.
    """
    step = -(-max(classes.shape) // OVERLAY_SIDE)
    ids = classes[::step, ::step]
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(colors)] = colors
    colored = (ids != EMPTY) & ((ids > 0) | (not skip_first))
    mixed = ((shown.astype(np.uint16) + table[ids]) // 2).astype(np.uint8)
    drawn = np.where(colored[:, :, None], mixed, shown)
    with replacing(path) as partial:
        Image.fromarray(drawn).save(partial, format="PNG")


def draw_boxes(
    path: Path,
    shown: NDArray[np.uint8],
    found: Found,
    size: tuple[int, int],
    classes: Sequence[str],
    colors: NDArray[np.uint8],
) -> None:
    """Draw boxes with class and score over an image; arguments as of `draw_classes`."""
    step = -(-max(size) // OVERLAY_SIDE)
    image = Image.fromarray(shown)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(9, min(image.size) // 40))
    width = max(2, min(image.size) // 250)
    # The surest last, so that they lie on top.
    for i in np.argsort(found.scores, kind="stable"):
        left, top, right, bottom = (found.boxes[i] / step).tolist()
        color = tuple(colors[int(found.labels[i])].tolist())
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), None, color, width)
        text = f"{classes[int(found.labels[i])]} {found.scores[i]:.2f}"
        corner = (left + width, top + width)
        draw.rectangle(draw.textbbox(corner, text, font=font), color)
        draw.text(corner, text, fill="black" if sum(color) > 300 else "white", font=font)
    with replacing(path) as partial:
        image.save(partial, format="PNG")


def write_legend(path: Path, classes: Sequence[str], colors: NDArray[np.uint8]) -> None:
    """Draw which colour is which class."""
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


class Journal:
    """What has been predicted into a folder, a line of JSON per image; held by one process.

    Args:
        out: The folder.
        settings: What the predictions depend on, beside the image.
        overwrite: Whether to forget what is there.

    Attributes:
        entries: By the image's own path, its line: ``file`` as it was named, ``stamp``,
            ``outputs`` relative to the folder, and ``result``.

    Raises:
        StoreError: If the folder cannot be written, another process writes into it, or it holds
            predictions of another model or with other settings.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
        self.out, self.path = out, out / _JOURNAL
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(out / _LOCK, timeout=0)
            self._lock.acquire()
        except Timeout as error:
            raise StoreError(
                f"Another process is writing into {out}.", "Wait for it, or choose another --out."
            ) from error
        except OSError as error:
            raise StoreError(
                f"{out} cannot be written: {error.strerror or error}.",
                "Choose a folder you may write with --out.",
            ) from error
        try:
            self.entries = {} if overwrite else self._read(settings)
            # Written anew: a line that was cut short is dropped, and one per image is kept.
            with replacing(self.path) as partial:
                lines = [{"settings": dict(settings)}, *self.entries.values()]
                partial.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Let other processes write into the folder."""
        self._lock.release()

    def _read(self, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        entries: dict[str, dict[str, Any]] = {}
        for number, text in enumerate(lines):
            try:
                line = json.loads(text)
            except ValueError:
                continue  # cut short when its process was killed
            if number == 0 and line.get("settings") != json.loads(json.dumps(settings)):
                before = line.get("settings", {})
                odd = [k for k in settings if before.get(k) != settings[k]]
                raise StoreError(
                    f"{self.out} holds predictions made otherwise: {', '.join(odd)} differ.",
                    "Choose another --out, or --overwrite to begin anew.",
                )
            if "source" in line:
                entries[line["source"]] = line
        return entries

    def is_done(self, item: Item, overlay: bool) -> bool:
        """Whether an image was predicted as it is now, and what was written is there."""
        entry = self.entries.get(_source(item))
        if entry is None or entry["stamp"] != _stamp(item) or (overlay and not entry["overlay"]):
            return False
        return all((self.out / name).exists() for name in entry["outputs"])

    def stem(self, item: Item) -> str:
        """What the files of an image are called: as the image, where no other is called so."""
        known = self.entries.get(_source(item))
        if known is not None:
            return str(known["stem"])
        taken = {entry["stem"] for entry in self.entries.values()}
        path = Path(item.name)
        plain = path.with_suffix("").as_posix()
        stem = plain if plain not in taken else f"{plain}_{path.suffix.removeprefix('.')}"
        number = 2
        while stem in taken:
            stem, number = f"{plain}_{number}", number + 1
        return stem

    def add(self, item: Item, stem: str, outputs: list[str], result: dict[str, Any]) -> None:
        """Write down that an image is done."""
        entry: dict[str, Any] = {
            "source": _source(item),
            "file": str(item.path),
            "stem": stem,
            "stamp": _stamp(item),
            "overlay": any(name.startswith(f"{OVERLAYS}/") for name in outputs),
            "outputs": outputs,
            "result": result,
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(entry)}\n")
        self.entries[entry["source"]] = entry

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All entries, sorted by file."""
        return sorted(self.entries.values(), key=lambda entry: str(entry["file"]))


def _source(item: Item) -> str:
    return str(item.path.resolve())


def _stamp(item: Item) -> list[int]:
    """Changes when the files of an image change."""
    paths = [item.path] if item.after is None else [item.path, item.after]
    stats = [path.stat() for path in paths if path.exists()]
    return [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)]


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def coco(
    rows: Sequence[Mapping[str, Any]], classes: Sequence[str], info: Mapping[str, Any]
) -> dict[str, Any]:
    """Put the boxes of a journal into COCO's form, in which classes count from 1."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for row in rows:
        result = row["result"]
        height, width = result["size"]
        images.append(
            {
                "id": len(images) + 1,
                "file_name": row["file"],
                "height": height,
                "width": width,
                "scaling": result["scaling"],
                "tiles": result["tiles"],
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
    }
