"""Figures as parts of the page: SVG with text to search and values under the mouse."""

import re
from pathlib import Path
from xml.etree import ElementTree

from marsbench.report.figures.style import tips_of

_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"


def inline_svg(path: Path, scale: float) -> str:
    """Read a figure's SVG for the text of a page.

    Tips of `style.tip` become titles of the marks, ids that nothing refers to go, and numbers are
    rounded to hundredths of a point.

    Args:
        path: SVG, written by `style.save`.
        scale: CSS pixels per point.
    """
    root = ElementTree.parse(path).getroot()  # noqa: S314 (written by this report)
    width, height = (float(number) for number in root.attrib["viewBox"].split()[2:])
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] == "metadata":
                parent.remove(child)
    for group in list(root.iter(f"{_SVG}g")):
        _add_tips(group)
    text = ElementTree.tostring(root, encoding="unicode")
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        element.tag = element.tag.removeprefix(_SVG)
        if _LINK in element.attrib:
            element.set("href", element.attrib.pop(_LINK))
        for name in ("d", "x", "y", "transform"):
            if name in element.attrib:
                element.set(name, re.sub(r"-?\d+\.\d{3,}", _rounded, element.attrib[name]))
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "width": f"{width * scale:.0f}",
        "height": f"{height * scale:.0f}",
        "role": "img",
    }
    return ElementTree.tostring(root, encoding="unicode")


def _rounded(match: re.Match[str]) -> str:
    return f"{float(match[0]):z.2f}".rstrip("0").rstrip(".")


def _add_tips(group: ElementTree.Element) -> None:
    """Give the marks of an artist their texts; a single text is that of the whole artist."""
    texts = tips_of(group.get("id"))
    defined = {each for part in group.iter(f"{_SVG}defs") for each in part.iter()}
    marks = [
        each
        for each in group.iter()
        if each.tag in (f"{_SVG}use", f"{_SVG}path") and each not in defined
    ]
    if "use" in {mark.tag.removeprefix(_SVG) for mark in marks}:
        marks = [mark for mark in marks if mark.tag == f"{_SVG}use"]  # not the line between them
    if len(texts) == 1 and len(marks) != 1:
        marks = [group]
    if len(marks) == len(texts):  # marks outside of the axes are not in the file
        for mark, text in zip(marks, texts, strict=True):
            ElementTree.SubElement(mark, f"{_SVG}title").text = text
