import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsbench.base.errors import DataError
from marsbench.data.boxes.files import (
    coco_text,
    read_coco,
    read_voc,
    read_yolo,
    voc_text,
    yolo_text,
)
from marsbench.data.boxes.forms import Size, number, spellings
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.kinds import Kind
from tests.fakes import make_spec

NAMES = ("boulder", "cone", "dust devil")
SPEC = make_spec(Kind.DETECTION, NAMES)
SPELLINGS = spellings(SPEC, NAMES, {1: ["con", "cone"]})
SIZE = (100, 200)


def through_coco(boxes: Boxes, size: Size) -> Boxes:
    return read_coco(coco_text([("x.png", size, boxes)], NAMES), "c").boxes(
        "x.png", size, SPELLINGS
    )


def through_yolo(boxes: Boxes, size: Size) -> Boxes:
    return read_yolo(yolo_text(boxes, size), size, SPELLINGS, "y")


def through_voc(boxes: Boxes, size: Size) -> Boxes:
    return read_voc(voc_text(boxes, size, NAMES, "x.png"), size, SPELLINGS, "v")


WAYS: dict[str, Callable[[Boxes, Size], Boxes]] = {
    "coco": through_coco,
    "yolo": through_yolo,
    "voc": through_voc,
}


def same(one: Boxes, other: Boxes) -> bool:
    close = one.xyxy.shape == other.xyxy.shape and np.allclose(one.xyxy, other.xyxy, 0, 1e-6)
    return close and np.array_equal(one.labels, other.labels)


def make(*rows: tuple[float, ...]) -> Boxes:
    """Boxes from (label, left, top, right, bottom)."""
    values = np.array(rows, dtype=np.float64).reshape(-1, 5)
    return Boxes(values[:, 1:], values[:, 0].astype(np.int64))


sides = st.integers(1, 20_000)
classes = st.integers(0, 2)


@st.composite
def coco_file(draw: st.DrawFn) -> tuple[str, Size]:
    """A COCO file whose numbers are any floats a tool may write."""
    height, width = draw(sides), draw(sides)
    annotations = []
    for _ in range(draw(st.integers(0, 4))):
        box = []
        for side in (width, height):
            start = draw(st.floats(-0.5, side - 0.25))
            box.append((start, draw(st.floats(0.01, side + 0.5 - start))))
        (x, w), (y, h) = box
        annotations.append({"image_id": 7, "category_id": draw(classes) + 1, "bbox": [x, y, w, h]})
    image = {"id": 7, "file_name": "x.png", "height": height, "width": width}
    return json.dumps({"images": [image], "annotations": annotations}), (height, width)


@given(coco_file(), st.lists(st.sampled_from(sorted(WAYS)), max_size=6))
def test_boxes_survive_any_way_through_the_forms(found: tuple[str, Size], ways: list[str]) -> None:
    text, size = found
    expected = read_coco(text, "c").boxes("x.png", size, SPELLINGS)
    boxes: Boxes = expected
    for way in ways:
        boxes = WAYS[way](boxes, size)
    assert same(boxes, expected)
    assert boxes.xyxy.dtype == np.float64
    assert boxes.labels.dtype == np.int64
    assert boxes.xyxy.shape == (len(boxes), 4)


def decimal(millionths: int) -> str:
    return f"{millionths / 10**6:.6f}".rstrip("0").rstrip(".")


@st.composite
def yolo_lines(draw: st.DrawFn) -> str:
    """Lines of up to six decimals, as most tools write them."""
    lines = []
    for _ in range(draw(st.integers(0, 4))):
        numbers = []
        for _ in range(2):
            size = draw(st.integers(100, 10**6))
            numbers.append((draw(st.integers(-(-size // 2), 10**6 - -(-size // 2))), size))
        (x, w), (y, h) = numbers
        lines.append(f"{draw(classes)} {decimal(x)} {decimal(y)} {decimal(w)} {decimal(h)}\n")
    return "".join(lines)


@given(yolo_lines(), sides, sides)
def test_yolo_texts_survive_to_the_digit(text: str, height: int, width: int) -> None:
    size = (height, width)
    boxes = read_yolo(text, size, SPELLINGS, "y")
    assert yolo_text(through_coco(boxes, size), size) == text
    assert yolo_text(through_voc(through_coco(boxes, size), size), size) == text


@given(yolo_lines(), sides, sides)
def test_corners_are_the_nearest_floats(text: str, height: int, width: int) -> None:
    boxes = read_yolo(text, (height, width), SPELLINGS, "y")
    for line, box in zip(text.splitlines(), boxes.xyxy.tolist(), strict=True):
        x, y, w, h = map(Fraction, line.split()[1:])
        left_top = [(x - w / 2) * width, (y - h / 2) * height]
        right_bottom = [(x + w / 2) * width, (y + h / 2) * height]
        assert box == [float(value) for value in left_top + right_bottom]


def test_class_ids_count_the_background_in_coco_and_voc() -> None:
    boxes = make((1, 10, 20, 30.5, 40))
    assert yolo_text(boxes, SIZE) == "1 0.10125 0.3 0.1025 0.2\n"
    coco = json.loads(coco_text([("x.png", SIZE, boxes)], NAMES))
    assert coco["annotations"][0]["category_id"] == 2
    assert coco["annotations"][0]["bbox"] == [10, 20, 20.5, 20]
    assert [c["id"] for c in coco["categories"]] == [1, 2, 3]
    assert "<xmax>30.5</xmax>" in voc_text(boxes, SIZE, NAMES, "x.png")


@pytest.mark.parametrize("name", ["cone", "Cone", "con", "2"])
def test_voc_names_a_class_by_name_code_or_number(name: str) -> None:
    text = voc_text(make((1, 1, 2, 3, 4)), SIZE, ("", name, ""), "x.png")
    assert read_voc(text, SIZE, SPELLINGS, "v").labels.tolist() == [1]


def test_no_boxes() -> None:
    for way in WAYS.values():
        assert way(make(), SIZE).xyxy.shape == (0, 4)
    assert read_yolo(b"\xef\xbb\xbf \n\n", SIZE, SPELLINGS, "y").labels.shape == (0,)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5 nan 0.1", ["line 2", "nan", "finite"]),
        ("0 0.5 0.5 inf 0.1", ["inf", "finite"]),
        ("0 0.5 0.5 0,1 0.1", ["0,1", "finite"]),
        ("0 0.5 0.5 0 0.1", ["no positive width"]),
        ("0 0.5 0.5 -0.1 0.1", ["-0.1", "no positive"]),
        ("0 0.5 0.5 1e-12 0.1", ["1e-12", "no positive width"]),
        ("0 0.5 0.5 1e-9999 0.1", ["no positive width"]),
        ("0 0.5 0.5 1e99 0.1", ["extends beyond", "100 x 200"]),
        ("0 0.99 0.5 0.1 0.1", ["extends beyond", "100 x 200"]),
        ("0 50 50 10 10", ["extends beyond"]),
        ("3 0.5 0.5 0.1 0.1", ["unknown class '3'"]),
        ("-1 0.5 0.5 0.1 0.1", ["unknown class '-1'"]),
        ("0.5 0.5 0.5 0.1 0.1", ["unknown class"]),
        ("cone 0.5 0.5 0.1 0.1", ["unknown class 'cone'"]),
        ("0 0.5 0.5 0.1", ["line 2 '0 0.5 0.5 0.1'", "four finite numbers"]),
    ],
)
def test_bad_yolo_lines_are_named(line: str, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read_yolo(f"0 0.5 0.5 0.1 0.1\n{line}\n", SIZE, SPELLINGS, "labels/a.txt")
    for word in ("labels/a.txt", "1 bad box(es)", *words):
        assert word in str(caught.value)


def test_a_pixel_out_of_the_image_is_kept() -> None:
    boxes = read_yolo("0 0.5 0.5 1.01 1.01", SIZE, SPELLINGS, "y")
    assert boxes.xyxy.tolist() == [[-1, -0.5, 201, 100.5]]


def test_several_bad_boxes_come_together() -> None:
    with pytest.raises(DataError, match=r"7 bad.*line 1 .*line 5 .*and 2 more"):
        read_yolo("0 0.5 0.5 0 0\n" * 7, SIZE, SPELLINGS, "y")


VOC = "<annotation>{}<object><name>{}</name><bndbox>{}</bndbox></object></annotation>"
CORNERS = "<xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax>"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotation>", ["not XML"]),
        ("", ["not XML"]),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotation/>", ["document type"]),
        (VOC.format("", "rover", CORNERS), ["box 1", "'rover'"]),
        (VOC.format("", "0", CORNERS), ["unknown class '0'"]),
        (VOC.format("", "4", CORNERS), ["unknown class '4'"]),
        (VOC.format("", "cone", "<xmin>1</xmin>"), ["box 1", "four finite numbers"]),
        (
            VOC.format("<size><width>100</width><height>200</height></size>", "cone", CORNERS),
            ["height is 200", "is 100 x 200"],
        ),
        (b"<annotation>\xff</annotation>", ["UTF-8"]),
        ("<html><body/></html>", ["not a Pascal VOC file", "root is 'html'", "'annotation'"]),
        ("<h:annotations xmlns:h='urn:a'/>", ["root is 'annotations'"]),
        (
            VOC.format("<size><height>200</height></size>", "cone", CORNERS),
            ["height is 200", "100 x"],
        ),
        (VOC.format("<size><width>wide</width></size>", "cone", CORNERS), ["width is 'wide'"]),
    ],
)
def test_bad_voc_files_are_named(text: str | bytes, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read_voc(text, SIZE, SPELLINGS, "pascal_voc/a.xml")
    for word in ("pascal_voc/a.xml", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "size", ["<width>0</width><height>0</height>", "<height>100</height>", "<width/>"]
)
def test_a_size_of_zero_is_no_size(size: str) -> None:
    text = VOC.format(f"<size>{size}</size>", "cone", CORNERS)
    assert len(read_voc(text, SIZE, SPELLINGS, "v")) == 1


def test_voc_files_may_name_a_namespace() -> None:
    text = VOC.format("", "cone", CORNERS).replace("<annotation", "<annotation xmlns='urn:voc'")
    assert read_voc(text, SIZE, SPELLINGS, "v").labels.tolist() == [1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("+1.", 1), (" -.5 \n", -0.5), ("2.5E-1", 0.25), (3, 3),
        ("1_0", None), ("\u0661", None), ("\uff11", None), ("", None), (".", None), ("1e", None),
        ("0x1", None), ("NaN", None), ("-inf", None), (None, None), (True, None), ("1e999", None),
    ],
)  # fmt: skip
def test_numbers_are_plain_decimals(text: object, value: float | None) -> None:
    assert number(text) == value


IMAGE = {"id": 1, "file_name": "x.png", "height": 100, "width": 200}
BOX = {"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ["not JSON"]),
        ("[]", ["not a COCO file"]),
        ({"images": [IMAGE]}, ["not a COCO file", "annotations"]),
        ({"images": [{"id": 1}], "annotations": []}, ["not a COCO file", "file_name"]),
        ({"images": [IMAGE, IMAGE], "annotations": []}, ["twice"]),
        ({"images": [], "annotations": [BOX]}, ["unlisted", "image_id 1"]),
        ({"images": [IMAGE], "annotations": [{**BOX, "category_id": 0}]}, ["unknown class '0'"]),
        ({"images": [IMAGE], "annotations": [{**BOX, "bbox": None}]}, ["box 1 [None]"]),
        ({"images": [IMAGE], "annotations": [{**BOX, "bbox": [1, 2, 3]}]}, ["[1, 2, 3]"]),
        (
            {"images": [IMAGE], "annotations": [{**BOX, "bbox": [1, 2, 0, 4]}]},
            ["no positive width"],
        ),
        ({"images": [{**IMAGE, "width": 100}], "annotations": []}, ["width is 100", "100 x 200"]),
        ({"images": [{**IMAGE, "width": None, "height": 9}], "annotations": []}, ["height is 9"]),
        ({"images": [{**IMAGE, "width": 0, "height": 9}], "annotations": []}, ["height is 9"]),
        ({"images": [{**IMAGE, "height": "tall"}], "annotations": []}, ["height is 'tall'"]),
        ({"images": [IMAGE], "annotations": [{**BOX, "iscrowd": 1}]}, ["1 image(s): x.png"]),
        (
            {
                "images": [IMAGE],
                "annotations": [],
                "categories": [{"id": 1, "name": "boulder"}, {"id": "1.0", "name": "cone"}],
            },
            ["category 1", "'boulder'", "'cone'"],
        ),
        ('{"images": ' + "[" * 100_000, ["not "]),
    ],
)
def test_bad_coco_files_are_named(content: Any, words: list[str]) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    with pytest.raises(DataError) as caught:
        read_coco(text, "coco_annotations.json").boxes("x.png", SIZE, SPELLINGS)
    for word in ("coco_annotations.json", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("category", [2, "2", 2.0, "2.0"])
@pytest.mark.parametrize("named", [2, "2", 2.0])
def test_coco_ids_may_be_written_in_several_ways(category: object, named: object) -> None:
    content = {
        "images": [IMAGE],
        "annotations": [{**BOX, "category_id": category, "iscrowd": 0}],
        "categories": [{"id": named, "name": "cone"}, {"id": 2, "name": "cone"}],
    }
    found = read_coco(json.dumps(content), "c")
    assert found.categories == {"2": "cone"}
    assert found.problems(["x.png"], Path(), SPELLINGS) == []
    assert found.boxes("x.png", SIZE, SPELLINGS).labels.tolist() == [1]


def test_coco_categories_of_no_class() -> None:
    content: dict[str, Any] = {
        "images": [IMAGE],
        "annotations": [BOX],
        "categories": [{"id": 2, "name": "rover"}],
    }
    found = read_coco(json.dumps(content), "c")
    (problem,) = found.problems(["x.png"], Path(), SPELLINGS)
    assert "category 2 is named 'rover', which is not a class" in problem.problem
    content["annotations"] = []
    assert read_coco(json.dumps(content), "c").problems(["x.png"], Path(), SPELLINGS) == []
