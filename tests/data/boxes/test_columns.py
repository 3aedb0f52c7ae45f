from typing import Any

import numpy as np
import pytest

from marsbench.base.errors import DataError
from marsbench.data.boxes.columns import from_columns
from tests.data.boxes.test_files import SIZE, SPEC, make, same

YOLO_LIST: list[dict[str, Any]] = [
    {"bbox": [0.1, 0.3, 0.1, 0.2], "category": 1},
    {"bbox": [0.5, 0.5, 0.2, 0.2], "category": 0},
]
COCO_LIST: list[dict[str, Any]] = [
    {"bbox": [10, 20, 20, 20], "category_id": 2},
    {"bbox": [80, 40, 40, 20], "category_id": 1},
]
VOC_LIST: list[dict[str, Any]] = [
    {"bbox": {"xmin": 10, "ymin": 20, "xmax": 30, "ymax": 40}, "name": "cone"},
    {"bbox": {"xmin": 80, "ymin": 40, "xmax": 120, "ymax": 60}, "name": "boulder"},
]


def of_lists(structs: list[dict[str, Any]]) -> dict[str, Any]:
    """A struct of lists from a list of structs."""
    return {name: [struct[name] for struct in structs] for name in structs[0]}


COLUMNS: dict[str, dict[str, Any]] = {
    "lists of structs": {
        "coco_annotation": {"annotations": COCO_LIST},
        "yolo_annotation": YOLO_LIST,
        "pascal_voc_annotation": {"objects": VOC_LIST},
    },
    "structs of lists": {
        "coco_annotation": {"annotations": of_lists(COCO_LIST)},
        "yolo_annotation": of_lists(YOLO_LIST),
        "pascal_voc_annotation": {"objects": of_lists(VOC_LIST)},
    },
    "structs of lists throughout": {
        "coco_annotation": [{"annotations": of_lists(COCO_LIST)}],
        "yolo_annotation": {k: np.array(v) for k, v in of_lists(YOLO_LIST).items()},
        "pascal_voc_annotation": {
            "objects": {
                "bbox": of_lists([v["bbox"] for v in VOC_LIST]),
                "name": ["cone", "boulder"],
            }
        },
    },
    "an outer list": {
        "coco_annotation": [{"annotations": [COCO_LIST[0]]}, {"annotations": [COCO_LIST[1]]}],
        "pascal_voc_annotation": [{"objects": VOC_LIST[0]}, {"objects": VOC_LIST[1]}],
    },
    "one form": {"pascal_voc_annotation": {"objects": VOC_LIST}, "image": b"", "region": "Arabia"},
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_the_hub(name: str) -> None:
    boxes = from_columns(SPEC, COLUMNS[name], SIZE, "row 3")
    assert same(boxes, make((1, 10, 20, 30, 40), (0, 80, 40, 120, 60)))


@pytest.mark.parametrize(
    "columns",
    [
        {"coco_annotation": None, "yolo_annotation": None, "pascal_voc_annotation": None},
        {"coco_annotation": {"annotations": []}, "yolo_annotation": []},
        {"coco_annotation": {"annotations": None}, "pascal_voc_annotation": {"objects": None}},
        {"yolo_annotation": {"bbox": [], "category": []}},
        {"yolo_annotation": {"bbox": None, "category": None}},
        {"pascal_voc_annotation": {"objects": {"bbox": {c: [] for c in VOC_LIST[0]["bbox"]},
                                               "name": []}}},
        {"pascal_voc_annotation": {"objects": {"bbox": None, "name": []}}},
    ],
)  # fmt: skip
def test_columns_of_an_image_without_boxes(columns: dict[str, Any]) -> None:
    assert len(from_columns(SPEC, columns, SIZE, "row 3")) == 0


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"image": b""}, ["none of the columns"]),
        ({"coco_annotation": {"boxes": []}}, ["coco_annotation", "annotations"]),
        ({"yolo_annotation": {"bbox": [[1, 2, 3, 4]], "category": []}}, ["yolo_annotation"]),
        ({"yolo_annotation": {"bbox": [None], "category": [0]}}, ["yolo_annotation"]),
        ({"yolo_annotation": "text"}, ["yolo_annotation"]),
        ({"yolo_annotation": [{"bbox": [0, 0, None, 1], "category": 0}]}, ["box 1", "None"]),
        ({"coco_annotation": {"annotations": COCO_LIST}, "yolo_annotation": None}, ["yolo has 0"]),
        (
            {"yolo_annotation": [YOLO_LIST[0], {**YOLO_LIST[1], "category": 7}]},
            ["box 2", "unknown class '7'"],
        ),
    ],
)
def test_bad_columns_are_named(columns: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        from_columns(SPEC, columns, SIZE, "hub train/x")
    for word in ("hub train/x", *words):
        assert word in str(caught.value)
