"""The files that boxes are published in: YOLO texts, Pascal VOC XML and COCO JSON."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from marsbench.base.errors import DataError, some
from marsbench.data.boxes import (
    CORNERS,
    GRID,
    BoxFormat,
    Reading,
    Size,
    exact,
    from_coco,
    from_voc,
    from_yolo,
    to_class,
    voc_class,
)
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.spec import normalise

_RELATIVE_DIGITS = 16
"""Decimals of a relative number: enough to find the grid again in any image."""


def read_yolo(content: bytes | str, size: Size, num_classes: int, where: str) -> Boxes:
    """Read a YOLO text: a line of class, centre and size for each box; none if it is empty.

    Args:
        content: The text.
        size: Height and width of the image in pixels.
        num_classes: Number of classes of the task.
        where: What to call the file.

    Raises:
        DataError: If it is no such text, or boxes are bad; names the lines.
    """
    reading = Reading(where, size, BoxFormat.YOLO)
    corners = from_yolo(size)
    for number, line in enumerate(_text(content, where).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 5:
            reading.problems.append(
                f"line {number} '{line[:80]}' is not a class and four numbers, "
                "'CLASS X Y WIDTH HEIGHT'"
            )
            continue
        label = to_class(fields[0], 0, num_classes)
        reading.add(f"line {number}", label, fields[0], fields[1:], corners)
    return reading.boxes()


def yolo_text(boxes: Boxes, size: Size) -> str:
    """Write the boxes of an image, of (height, width) in pixels, as a YOLO text."""
    rows, columns = size
    lines = []
    for label, (left, top, right, bottom) in zip(boxes.labels, _steps(boxes), strict=True):
        numbers = (
            Fraction(left + right, 2 * GRID * columns),
            Fraction(top + bottom, 2 * GRID * rows),
            Fraction(right - left, GRID * columns),
            Fraction(bottom - top, GRID * rows),
        )
        lines.append(f"{label} {' '.join(_decimal(n, _RELATIVE_DIGITS) for n in numbers)}\n")
    return "".join(lines)


def read_voc(content: bytes | str, size: Size, spellings: Mapping[str, int], where: str) -> Boxes:
    """Read a Pascal VOC file.

    Args:
        content: The XML.
        size: Height and width of the image in pixels.
        spellings: Class id by normalised name or code, from `spellings`.
        where: What to call the file.

    Raises:
        DataError: If it is no such file, is of an image of another size, or boxes are bad.
    """
    text = _text(content, where)
    # Entities can blow up a small file, or read others; annotations have no use for them.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(
            f"{where} declares a document type or entities.",
            "Remove those lines: an annotation has none.",
        )
    try:
        root = ET.fromstring(text)  # noqa: S314
    except ET.ParseError as error:
        raise DataError(f"{where} is not XML: {error}.", "Unpack the data again.") from error
    for element in root.iter():
        element.tag = _local_name(element.tag)
    if root.tag != "annotation":
        raise DataError(
            f"{where} is no Pascal VOC file: its root is '{root.tag}', not 'annotation'.",
            "Unpack the data again.",
        )
    stated = (root.findtext("size/height") or None, root.findtext("size/width") or None)
    _check_size(stated, size, where)
    reading = Reading(where, size, BoxFormat.VOC)
    for number, found in enumerate(root.iter("object"), start=1):
        name = found.findtext("name", "")
        values = [found.findtext(f"bndbox/{corner}", "") for corner in CORNERS]
        reading.add(f"box {number}", voc_class(name, spellings), name, values, from_voc)
    return reading.boxes()


def _local_name(tag: str) -> str:
    """Name of an element without its namespace, which stands before it in braces."""
    return tag.rpartition("}")[2]


def voc_text(
    boxes: Boxes, size: Size, class_names: Sequence[str], file_name: str, channels: int = 3
) -> str:
    """Write the boxes of an image as a Pascal VOC file.

    Corners are decimals, not rounded to whole pixels as some readers expect.

    Args:
        boxes: The boxes.
        size: Height and width of the image in pixels.
        class_names: Names by class id.
        file_name: The image's name.
        channels: Its bands.
    """
    root = ET.Element("annotation")
    ET.SubElement(root, "folder").text = "images"
    ET.SubElement(root, "filename").text = file_name
    image = ET.SubElement(root, "size")
    for name, number in (("width", size[1]), ("height", size[0]), ("depth", channels)):
        ET.SubElement(image, name).text = str(number)
    for label, corners in zip(boxes.labels, _steps(boxes), strict=True):
        found = ET.SubElement(root, "object")
        ET.SubElement(found, "name").text = class_names[label]
        box = ET.SubElement(found, "bndbox")
        for name, step in zip(CORNERS, corners, strict=True):
            ET.SubElement(box, name).text = _decimal(Fraction(step, GRID), 8)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


@dataclass(frozen=True)
class CocoFile:
    """The annotations of one split, parsed; an image's boxes are made when asked for.

    Attributes:
        where: The file.
        sizes: (height, width) by file name, as stated.
        annotations: (category id, [left, top, width, height]) of each box, by file name.
        categories: Name by category id.
    """

    where: str
    sizes: Mapping[str, tuple[Any, Any]]
    annotations: Mapping[str, Sequence[tuple[str, Any]]]
    categories: Mapping[str, str]

    def check_images(
        self, sample_ids: Sequence[str], images: Path, spellings: Mapping[str, int]
    ) -> None:
        """Compare the file with the images and classes it should be of.

        Args:
            sample_ids: The split's images.
            images: Their folder, which may hold more.
            spellings: Class id by normalised name or code.

        Raises:
            DataError: If it lacks an image, names one that is not there, gives a class another id
                than its own, or has boxes of a category that is no class.
        """
        wanted = set(sample_ids)
        if lacking := sorted(wanted - self.sizes.keys()):
            raise DataError(
                f"{self.where} lacks {len(lacking)} image(s) of the split: {some(lacking)}.",
                "Unpack the data again. (An image without boxes is listed under `images`.)",
            )
        more = (name for name in self.sizes if name not in wanted)
        if gone := [name for name in more if not (images / name).is_file()]:
            raise DataError(
                f"{self.where} names {len(gone)} image(s) that are not in {images}: {some(gone)}.",
                "Unpack the data again, or remove them from it.",
            )
        used = {category for boxes in self.annotations.values() for category, _ in boxes}
        for category in sorted(used & self.categories.keys()):
            name = self.categories[category]
            class_id = spellings.get(normalise(name))
            if class_id is None:
                raise DataError(
                    f"{self.where}: category {category} is named '{name}', which is no class here.",
                    "Name it as mapping.json does, or remove its boxes.",
                )
            if exact(category) != class_id + 1:
                raise DataError(
                    f"{self.where}: category {category} is named {name}, which is "
                    f"{class_id + 1} here (0 is the background).",
                    "Number the categories as mapping.json does.",
                )

    def boxes(self, file_name: str, size: Size, num_classes: int) -> Boxes:
        """Boxes of one image of (height, width) in pixels.

        Raises:
            DataError: If the file says another size, or boxes are bad.
        """
        where = f"{self.where}, {file_name}"
        _check_size(self.sizes[file_name], size, where)
        reading = Reading(where, size, BoxFormat.COCO)
        for number, (category, box) in enumerate(self.annotations[file_name], start=1):
            label = to_class(category, 1, num_classes)
            values = box if isinstance(box, list) else [box]
            reading.add(f"box {number}", label, category, values, from_coco)
        return reading.boxes()


def read_coco(content: bytes | str, where: str) -> CocoFile:
    """Read a COCO file, its boxes unchecked.

    Raises:
        DataError: If it is no such file, lists an image twice, gives a category two names, or has
            boxes of no image or of groups.
    """
    try:
        parsed = json.loads(_text(content, where))
        images = {image["id"]: image for image in parsed["images"]}
        names = [image["file_name"] for image in parsed["images"]]
        sizes = {
            str(image["file_name"]): (image.get("height"), image.get("width"))
            for image in parsed["images"]
        }
        annotations: dict[str, list[tuple[str, Any]]] = {name: [] for name in sizes}
        strays = []
        crowds: dict[str, None] = {}
        for found in parsed["annotations"]:
            if found["image_id"] not in images:
                strays.append(str(found["image_id"]))
                continue
            name = images[found["image_id"]]["file_name"]
            annotations[name].append((_category(found["category_id"]), found["bbox"]))
            if found.get("iscrowd") not in (None, 0, "0"):
                crowds[name] = None
        categories = [(_category(c["id"]), str(c["name"])) for c in parsed.get("categories", [])]
    except ValueError as error:
        raise DataError(f"{where} is not JSON: {error}.", "Unpack the data again.") from error
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{where} is not a COCO file: {type(error).__name__} {error}.",
            "It holds images (id, file_name, height, width) and annotations (image_id, "
            "category_id, bbox).",
        ) from error
    if strays:
        raise DataError(
            f"{where} has boxes of {len(strays)} image(s) it does not list: image_id "
            f"{some(strays)}.",
            "Unpack the data again.",
        )
    if len(images) < len(names) or len(sizes) < len(names):
        raise DataError(
            f"{where} lists an image, or an id of one, twice.", "Unpack the data again."
        )
    if crowds:
        raise DataError(
            f"{where} has annotations with iscrowd: 1 of {len(crowds)} image(s): {some(crowds)}.",
            "Remove them: their boxes are of groups.",
        )
    named: dict[str, str] = {}
    for category, name in categories:
        if named.setdefault(category, name) != name:
            raise DataError(
                f"{where}: category {category} is named both '{named[category]}' and '{name}'.",
                "Number each category once.",
            )
    return CocoFile(where, sizes, annotations, named)


def _category(value: object) -> str:
    """One spelling of a category's id, which files write as a number or its text."""
    number = exact(value)
    return str(value) if number is None else str(number)


def coco_text(images: Iterable[tuple[str, Size, Boxes]], class_names: Sequence[str]) -> str:
    """Write the boxes of a split as a COCO file.

    Args:
        images: For each image its name, (height, width) in pixels and boxes.
        class_names: Names by class id.
    """
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (name, (rows, columns), boxes) in enumerate(images, start=1):
        listed.append({"id": image_id, "file_name": name, "width": columns, "height": rows})
        for label, (left, top, right, bottom) in zip(boxes.labels, _steps(boxes), strict=True):
            width, height = right - left, bottom - top
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(label) + 1,
                    "bbox": [left / GRID, top / GRID, width / GRID, height / GRID],
                    "area": width * height / GRID**2,
                    "iscrowd": 0,
                    "segmentation": [],
                }
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(class_names, start=1)]
    content = {"images": listed, "annotations": annotations, "categories": categories}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _text(content: bytes | str, where: str) -> str:
    try:
        return content if isinstance(content, str) else content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 text.", "Unpack the data again.") from error


def _check_size(stated: tuple[Any, Any], size: Size, where: str) -> None:
    """Compare the stated height and width, where there is one, with the image's."""
    for side, value, own in zip(("height", "width"), stated, size, strict=True):
        number = Fraction(0) if value is None else exact(value)
        if number is None:
            raise DataError(
                f"{where} states the {side} '{value}', which is no number.", "Correct or remove it."
            )
        # Zero, too, is written by tools that did not look.
        if number not in (0, own):
            raise DataError(
                f"{where} is of an image of {side} {float(number):g}, but the image is "
                f"{size[0]} x {size[1]} pixels (height x width).",
                "Boxes of a resized image have to be resized with it. Unpack the data again.",
            )


def _steps(boxes: Boxes) -> list[list[int]]:
    """Corners in whole steps of the grid, which is exact of boxes that were read."""
    return [[round(Fraction(v) * GRID) for v in box] for box in boxes.xyxy.tolist()]


def _decimal(value: Fraction, digits: int) -> str:
    """Text of a number with up to so many decimals and no zeros at its end."""
    scaled = round(value * 10**digits)
    whole, rest = divmod(abs(scaled), 10**digits)
    decimals = f"{rest:0{digits}d}".rstrip("0")
    return f"{'-' if scaled < 0 else ''}{whole}{'.' if decimals else ''}{decimals}"
