"""Files of boxes: YOLO texts, Pascal VOC XML and COCO JSON."""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from marsbench.base.documents import parse_json
from marsbench.base.errors import DataError, some
from marsbench.data.boxes.forms import (
    CORNERS,
    DIGITS,
    BoxFormat,
    Entry,
    ReadBoxes,
    Size,
    number,
    parse,
)
from marsbench.data.boxes.matching import match_images
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.spec import normalise

_RELATIVE_DIGITS = 14
"""Decimals of a relative number: enough to recover the corner in any image."""


_DIFFICULT = re.compile(rb"<(?:\w+:)?difficult\s*>\s*1\s*<")


def read_yolo(
    content: bytes | str, size: Size, classes: Mapping[str, int], where: str
) -> ReadBoxes:
    """Read a YOLO text: a line of class, centre and size for each box.

    Args:
        content: The text.
        size: Height and width of the image in pixels.
        classes: Class id by normalised name or code, from `spellings`.
        where: Name of the file in error messages.

    Raises:
        DataError: If the text is not UTF-8, or boxes are invalid; names the lines.
    """
    entries = []
    for i, line in enumerate(_text(content, where).splitlines(), start=1):
        if fields := line.split():
            name = f"line {i}" if len(fields) == 5 else f"line {i} '{line[:80]}'"
            entries.append(Entry(name, fields[0], fields[1:]))
    return parse(BoxFormat.YOLO, entries, size, classes, where)


def yolo_ids(content: bytes | str, where: str) -> list[str]:
    """First words of the lines of a YOLO text, the ids of classes.

    Raises:
        DataError: If the text is not UTF-8.
    """
    return [fields[0] for line in _text(content, where).splitlines() if (fields := line.split())]


def yolo_text(boxes: Boxes, size: Size) -> str:
    """Write the boxes of an image of (height, width) in pixels as a YOLO text."""
    rows, columns = size
    lines = []
    for label, (left, top, right, bottom) in zip(boxes.labels, boxes.xyxy.tolist(), strict=True):
        numbers = (
            (left + right) / 2 / columns,
            (top + bottom) / 2 / rows,
            (right - left) / columns,
            (bottom - top) / rows,
        )
        lines.append(f"{label} {' '.join(_decimal(n, _RELATIVE_DIGITS) for n in numbers)}\n")
    return "".join(lines)


def read_voc(content: bytes | str, size: Size, classes: Mapping[str, int], where: str) -> ReadBoxes:
    """Read a Pascal VOC file.

    Args:
        content: The XML.
        size: Height and width of the image in pixels.
        classes: As for `read_yolo`.
        where: Name of the file in error messages.

    Raises:
        DataError: If the file is not of this form or states another image size, or boxes are
            invalid.
    """
    root = _voc_root(content, where)
    _check_size(root.findtext("size/height"), root.findtext("size/width"), size, where)
    entries = []
    for i, item in enumerate(root.iter("object"), start=1):
        name = item.findtext("name", "")
        values = [item.findtext(f"bndbox/{corner}", "") for corner in CORNERS]
        entries.append(Entry(f"box {i}", name, values))
    return parse(BoxFormat.VOC, entries, size, classes, where)


def voc_names(content: bytes | str, where: str) -> list[str]:
    """Names of the objects of a Pascal VOC file; errors as `read_voc`, without those of boxes."""
    return [item.findtext("name", "") for item in _voc_root(content, where).iter("object")]


def _voc_root(content: bytes | str, where: str) -> ET.Element:
    text = _text(content, where)
    # Entities can expand a small file without end, or read other files.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(
            f"{where} declares a document type or entities.",
            "Remove these lines; an annotation needs none.",
        )
    try:
        root = ET.fromstring(text)  # noqa: S314
    except ET.ParseError as error:
        raise DataError(f"{where} is not XML: {error}.", "Unpack the data again.") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]  # without its namespace
    if root.tag != "annotation":
        raise DataError(
            f"{where} is not a Pascal VOC file: its root is '{root.tag}'; expected 'annotation'.",
            "Unpack the data again.",
        )
    return root


def count_difficult(content: bytes) -> int:
    """Number of objects that a Pascal VOC file marks as difficult."""
    return len(_DIFFICULT.findall(content))


def voc_text(
    boxes: Boxes, size: Size, class_names: Sequence[str], file_name: str, channels: int = 3
) -> str:
    """Write the boxes of an image as a Pascal VOC file.

    Corners have decimals; some readers expect whole pixels.

    Args:
        boxes: The boxes.
        size: Height and width of the image in pixels.
        class_names: Names by class id.
        file_name: Name of the image.
        channels: Its number of bands.
    """
    root = ET.Element("annotation")
    ET.SubElement(root, "folder").text = "images"
    ET.SubElement(root, "filename").text = file_name
    image = ET.SubElement(root, "size")
    for name, side in (("width", size[1]), ("height", size[0]), ("depth", channels)):
        ET.SubElement(image, name).text = str(side)
    for label, corners in zip(boxes.labels, boxes.xyxy.tolist(), strict=True):
        item = ET.SubElement(root, "object")
        ET.SubElement(item, "name").text = class_names[label]
        box = ET.SubElement(item, "bndbox")
        for name, value in zip(CORNERS, corners, strict=True):
            ET.SubElement(box, name).text = _decimal(value, DIGITS)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


@dataclass(frozen=True)
class CocoFile:
    """Annotations of a split; the boxes of an image are parsed on request.

    Attributes:
        where: Path of the file.
        sizes: (height, width) by file name, as stated.
        annotations: (category id, [left, top, width, height]) of each box, by file name.
        categories: Name by category id.
    """

    where: str
    sizes: Mapping[str, tuple[Any, Any]]
    annotations: Mapping[str, Sequence[tuple[str, Any]]]
    categories: Mapping[str, str]

    def problems(
        self, sample_ids: Sequence[str], images: Path, classes: Mapping[str, int]
    ) -> list[DataError]:
        """Compare the file with the images and classes of its split.

        Args:
            sample_ids: Images of the split.
            images: Their folder, which may hold more.
            classes: Class id by normalised name or code.

        Returns:
            Errors about images missing in the file or in the folder, and about categories with an
            unknown name or the id of another class.
        """
        problems = []
        wanted = set(sample_ids)
        if missing := sorted(wanted - self.sizes.keys()):
            problems.append(f" does not list {len(missing)} image(s): {some(missing)}.")
        more = (name for name in self.sizes if name not in wanted)
        if unknown := [name for name in more if not (images / name).is_file()]:
            problems.append(
                f" lists {len(unknown)} image(s) not found in {images}: {some(unknown)}."
            )
        used = {category for boxes in self.annotations.values() for category, _ in boxes}
        for category in sorted(used & self.categories.keys()):
            name = self.categories[category]
            class_id = classes.get(normalise(name))
            if class_id is None:
                problems.append(f": category {category} is named '{name}', which is not a class.")
            elif number(category) != class_id + 1:
                problems.append(
                    f": category {category} is named {name}; expected id {class_id + 1} "
                    "(0 is the background)."
                )
        remedy = "Unpack the data again, or correct the file: it must list every image, with the "
        remedy += "class numbers of mapping.json."
        return [DataError(f"{self.where}{problem}", remedy) for problem in problems]

    def boxes(self, file_name: str, size: Size, classes: Mapping[str, int]) -> ReadBoxes:
        """Boxes of an image of (height, width) in pixels.

        Raises:
            DataError: If the file states another size, or boxes are invalid.
        """
        where = f"{self.where}, {file_name}"
        _check_size(*self.sizes[file_name], size, where)
        entries = [
            Entry(f"box {i}", category, box if isinstance(box, list) else [box])
            for i, (category, box) in enumerate(self.annotations[file_name], start=1)
        ]
        return parse(BoxFormat.COCO, entries, size, classes, where)

    def matched(self, images: Mapping[str, str], classes: Mapping[str, int]) -> "CocoFile":
        """The boxes of some images, with the numbers of their classes.

        Files of other tools name images relative to any folder, and number categories freely: names
        of categories decide, and numbers where a category has no name.

        Args:
            images: Path of each image by sample id, with ``/``.
            classes: Class id by normalised name or code.

        Returns:
            A file of the sample ids.

        Raises:
            DataError: If two images have the same entry, or an image several.
        """
        names = match_images(images, self.sizes, self.where)
        numbers = {
            category: str(classes[key] + 1) if key in classes else f"{category} ({name})"
            for category, name in self.categories.items()
            for key in (normalise(name),)
        }
        return replace(
            self,
            sizes={i: self.sizes[name] for i, name in names.items()},
            annotations={
                i: [(numbers.get(category, category), box) for category, box in self.annotations[n]]
                for i, n in names.items()
            },
            categories={numbers[c]: name for c, name in self.categories.items()},
        )


def read_coco(content: bytes | str, where: str) -> CocoFile:
    """Read a COCO file; its boxes are not checked.

    Raises:
        DataError: If the file is not of this form, lists an image twice, gives a category two
            names, or has boxes of unlisted images or of groups.
    """
    try:
        parsed = parse_json(_text(content, where))
        names = {image["id"]: str(image["file_name"]) for image in parsed["images"]}
        sizes = {
            str(image["file_name"]): (image.get("height"), image.get("width"))
            for image in parsed["images"]
        }
        annotations: dict[str, list[tuple[str, Any]]] = {name: [] for name in sizes}
        boxes = [box for box in parsed["annotations"] if box["image_id"] in names]
        unlisted = [str(b["image_id"]) for b in parsed["annotations"] if b["image_id"] not in names]
        for box in boxes:
            annotations[names[box["image_id"]]].append((_category(box["category_id"]), box["bbox"]))
        crowds = {names[b["image_id"]]: 0 for b in boxes if b.get("iscrowd") not in (None, 0, "0")}
        categories = [(_category(c["id"]), str(c["name"])) for c in parsed.get("categories", [])]
    except ValueError as error:
        raise DataError(f"{where} is not JSON: {error}.", "Unpack the data again.") from error
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{where} is not a COCO file: {type(error).__name__} {error}.",
            "It holds images (id, file_name, height, width) and annotations (image_id, "
            "category_id, bbox).",
        ) from error
    problems = []
    if unlisted:
        problems.append(
            f"has boxes of {len(unlisted)} unlisted image(s): image_id {some(unlisted)}"
        )
    if min(len(names), len(sizes)) < len(parsed["images"]):
        problems.append("lists an image or its id twice")
    if crowds:
        problems.append(
            f"has boxes of groups, with iscrowd: 1 of {len(crowds)} image(s): {some(list(crowds))}"
        )
    named = dict(reversed(categories))
    for category, name in categories:
        if named[category] != name:
            problems.append(f"names category {category} both '{named[category]}' and '{name}'")
    if problems:
        raise DataError(
            f"{where} {'; '.join(problems)}.", "Unpack the data again, or correct the file."
        )
    return CocoFile(where, sizes, annotations, named)


def _category(value: object) -> str:
    """Spell a category's id, a number or its text, in a single way."""
    as_number = number(value)
    return str(value) if as_number is None or not as_number.is_integer() else str(int(as_number))


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
        for label, (left, top, right, bottom) in zip(
            boxes.labels.tolist(), boxes.xyxy.tolist(), strict=True
        ):
            width, height = round(right - left, DIGITS), round(bottom - top, DIGITS)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": label + 1,
                    "bbox": [round(left, DIGITS), round(top, DIGITS), width, height],
                    "area": width * height,
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


def _check_size(height: object, width: object, size: Size, where: str) -> None:
    """Compare the stated height and width with the image's; None, "" and 0 state nothing."""
    for side, value, own in zip(("height", "width"), (height, width), size, strict=True):
        stated = number(value or 0)
        if stated is None:
            raise DataError(
                f"{where}: {side} is '{value}'; expected a number.",
                "Correct or remove it.",
            )
        if stated not in (0, own):
            raise DataError(
                f"{where}: {side} is {stated:g}, but the image is {size[0]} x {size[1]} pixels "
                "(height x width).",
                "Unpack the data again, or resize the boxes with their image.",
            )


def _decimal(value: float, digits: int) -> str:
    """Text of a number with up to `digits` decimals and no zeros at its end."""
    return f"{round(value, digits) + 0.0:.{digits}f}".rstrip("0").rstrip(".")
