"""The comparison of the forms that the boxes of one image come in."""

import time
import tracemalloc

import numpy as np
import pytest

from marsbench.base.errors import DataError
from marsbench.data.boxes.files import read_yolo, yolo_text
from marsbench.data.boxes.forms import BoxFormat, cross_check
from marsbench.metrics.boxes import Boxes
from tests.data.boxes.test_files import SPELLINGS, WAYS, make

TWO = make((0, 10, 10, 20, 20), (1, 50, 60, 70, 80))


def moved(by: float, order: tuple[int, ...] = (0, 1)) -> Boxes:
    return Boxes((TWO.xyxy + by)[list(order)], TWO.labels[list(order)])


def test_forms_may_be_rounded_and_in_another_order() -> None:
    found = {
        BoxFormat.VOC: moved(1, (1, 0)),
        BoxFormat.YOLO: moved(0.01, (1, 0)),
        BoxFormat.COCO: TWO,
    }
    assert cross_check(found, "a.png") is TWO
    del found[BoxFormat.COCO]
    assert cross_check(found, "a.png") is found[BoxFormat.YOLO]
    assert cross_check({BoxFormat.VOC: TWO}, "a.png") is TWO


@pytest.mark.parametrize(
    ("form", "other", "words"),
    [
        (BoxFormat.YOLO, moved(0.1), ["coco has [10, 10, 20, 20]", "yolo has [10.1, 10.1"]),
        (BoxFormat.VOC, moved(1.6), ["voc has [11.6"]),
        (BoxFormat.VOC, make((0, 10, 10, 20, 20)), ["2 box(es), voc has 1"]),
        (BoxFormat.YOLO, make(), ["2 box(es), yolo has 0"]),
        (BoxFormat.YOLO, Boxes(TWO.xyxy, np.array([0, 0])), ["of class 1, yolo", "of class 0"]),
        (
            BoxFormat.YOLO,
            make((0, 50, 60, 70, 80), (1, 10, 10, 20, 20)),
            ["of class 0", "of class 1"],
        ),
    ],
)
def test_forms_that_differ_are_named(form: BoxFormat, other: Boxes, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        cross_check({BoxFormat.COCO: TWO, form: other}, "split/a.png")
    for word in ("split/a.png", *words):
        assert word in str(caught.value)


def test_each_box_has_one_partner() -> None:
    """Two boxes near one another are not both the same third."""
    near = make((0, 10, 10, 20, 20), (0, 10.5, 10, 20.5, 20))
    far = make((0, 10, 10, 20, 20), (0, 90, 10, 99, 20))
    with pytest.raises(DataError, match=r"10\.5.*90"):
        cross_check({BoxFormat.COCO: near, BoxFormat.VOC: far}, "a.png")
    # Greedy partners would leave the last ones out.
    chain = make((0, 10, 0, 20, 9), (0, 11, 0, 21, 9))
    shifted = make((0, 11, 0, 21, 9), (0, 12, 0, 22, 9))
    assert cross_check({BoxFormat.COCO: chain, BoxFormat.VOC: shifted}, "a.png") is chain


@pytest.mark.parametrize(
    ("forms", "by", "agree"),
    [
        # Whole pixels counted from 1.
        (("coco", "voc"), 1.5, True),
        (("coco", "voc"), 1.6, False),
        (("yolo", "voc"), 1.5, True),
        # Four decimals of an image of 4000 pixels, and six.
        (("coco", "yolo 4"), 0.35, True),
        (("coco", "yolo 4"), 0.5, False),
        (("coco", "yolo 6"), 0.04, True),
        (("coco", "yolo 6"), 0.1, False),
        # COCO boxes of whole pixels were rounded.
        (("whole coco", "yolo 6"), 0.9, True),
        (("whole coco", "yolo 6"), 1.1, False),
    ],
)
def test_forms_may_differ_by_what_was_rounded(
    forms: tuple[str, str], by: float, agree: bool
) -> None:
    size = (3000, 4000)
    one = make((0, 100.5, 200.25, 400.5, 300.75), (2, 7.3, 9.1, 21.8, 25.6))
    if "whole coco" in forms:
        one = Boxes(np.round(one.xyxy), one.labels)

    def read(form: str, boxes: Boxes) -> Boxes:
        if not form.startswith("yolo "):
            return WAYS[form.removeprefix("whole ")](boxes, size)
        digits = int(form.split()[1])
        lines = [line.split() for line in yolo_text(boxes, size).splitlines()]
        text = [[label, *(f"{float(v):.{digits}f}" for v in box)] for label, *box in lines]
        return read_yolo("\n".join(map(" ".join, text)), size, SPELLINGS, "y")

    here, there = forms
    shifted = Boxes(one.xyxy + by, one.labels)
    found = {
        BoxFormat(here.removeprefix("whole ")): read(here, one),
        BoxFormat(there.split()[0]): read(there, shifted),
    }
    if agree:
        cross_check(found, "a.png")
    else:
        with pytest.raises(DataError, match="differ"):
            cross_check(found, "a.png")


@pytest.mark.parametrize("order", ["same", "other", "one box off", "all off", "all alike"])
def test_thousands_of_boxes_are_compared_fast(order: str) -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 5000, (5000, 2))
    one = Boxes(np.hstack([corner, corner + 20]), rng.integers(0, 3, 5000))
    if order == "all alike":
        one = Boxes(np.tile(one.xyxy[:1], (5000, 1)), np.zeros(5000, np.int64))
    kept = np.arange(5000) if order in ("same", "one box off") else rng.permutation(5000)
    other = Boxes(one.xyxy[kept].copy(), one.labels[kept])
    if order == "one box off":
        other.xyxy[4321] += 3
    if order == "all off":
        other.xyxy[:] += 3
    found = {BoxFormat.COCO: one, BoxFormat.YOLO: other}
    cross_check({BoxFormat.COCO: TWO, BoxFormat.YOLO: moved(0, (1, 0))}, "imports scipy")
    tracemalloc.start()
    start = time.perf_counter()
    try:
        cross_check(found, "a.png")
    except DataError:
        assert order.endswith("off")
    else:
        assert not order.endswith("off")
    finally:
        took = time.perf_counter() - start
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert took < 2.0  # a tenth of it on an idle machine
    assert memory < 20 << 20


def test_a_row_that_looks_right_may_belong_to_another() -> None:
    one = make((0, 11, 0, 21, 9), (0, 10, 0, 20, 9))
    other = make((0, 11, 0, 21, 9), (0, 12, 0, 22, 9))
    assert cross_check({BoxFormat.COCO: one, BoxFormat.VOC: other}, "a.png") is one
