"""Folders of which no task can be made: a message that names the file and the remedy each."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marsbench.base.errors import MarsbenchError
from marsbench.data.tools.init.folder import Options, init_task
from tests.data.tools.init.test_folder import (
    class_folders,
    mask,
    picture,
    with_boxes,
    with_masks,
)

ROCKS = {"a": 4, "b": 4}


def empty(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("")


def one_class(folder: Path) -> None:
    class_folders(folder, {"a": 4})


def loose_images(folder: Path) -> None:
    class_folders(folder, ROCKS)
    picture(folder / "x.png", 9)


def broken(folder: Path) -> None:
    class_folders(folder, ROCKS)
    path = folder / "b" / "b_00_0.png"
    path.write_bytes(path.read_bytes()[:60])


def link_out(folder: Path) -> None:
    class_folders(folder, ROCKS)
    (folder / "a" / "link.png").symlink_to(picture(folder.parent / "elsewhere.png", 8))


def linked_folder(folder: Path) -> None:
    class_folders(folder, ROCKS)
    (folder / "c").symlink_to(folder / "a")


def control_character(folder: Path) -> None:
    class_folders(folder, {"a": 2, "b\x1b[31m": 2})


def no_letter(folder: Path) -> None:
    class_folders(folder, {"a": 2, "#": 2})


def formula_as_folder(folder: Path) -> None:
    class_folders(folder, {"a": 2, "=1+1": 2})


def formula_as_class(folder: Path) -> None:
    for split in ("train", "val"):
        class_folders(folder / split, {"a": 2, "@sum": 2})


def equal_but_for_case(folder: Path) -> None:
    class_folders(folder, {"Dune": 2, "dune": 2, "pit": 2})


def few_images(folder: Path) -> None:
    class_folders(folder, {"a": 1, "b": 1})


def bands_differ(folder: Path) -> None:
    import tifffile

    class_folders(folder, ROCKS)
    tifffile.imwrite(
        folder / "a" / "five.tif",
        np.zeros((8, 8, 5), np.uint8),
        photometric="minisblack",
        planarconfig="contig",
    )


def mapping_left(folder: Path) -> None:
    class_folders(folder, ROCKS)
    (folder / "mapping.json").write_text("{}")


def mask_without_image(folder: Path) -> None:
    with_masks(folder)
    mask(folder / "masks" / "alone.png", [0, 1])


def masks_of_colours(folder: Path) -> None:
    with_masks(folder)
    for path in (folder / "masks").iterdir():
        colours = np.zeros((8, 8, 3), np.uint8)
        colours[2:, :, 0] = 255
        Image.fromarray(colours).save(path)


def black_and_white_masks(folder: Path) -> None:
    with_masks(folder, ids=(0, 255))


def masks_with_gaps(folder: Path) -> None:
    with_masks(folder, ids=(0, 3, 7))


def masks_of_one_class(folder: Path) -> None:
    with_masks(folder, ids=(0, 0))


def masks_of_another_size(folder: Path) -> None:
    with_masks(folder)
    mask(folder / "masks" / "3.png", [0, 1], side=9)


def jpeg_masks(folder: Path) -> None:
    with_masks(folder)
    path = folder / "masks" / "3.png"
    Image.open(path).save(path.with_suffix(".jpg"))
    path.unlink()


def more_ids_than_names(folder: Path) -> None:
    with_masks(folder)
    (folder / "classes.txt").write_text("background\ncone\n")


def masks_and_boxes(folder: Path) -> None:
    with_masks(folder)
    with_boxes(folder, "coco")


def box_outside(folder: Path) -> None:
    with_boxes(folder, "voc")
    path = folder / "annotations" / "3.xml"
    path.write_text(path.read_text().replace("<xmax>5<", "<xmax>50<"))


def more_yolo_classes(folder: Path) -> None:
    with_boxes(folder, "yolo")
    (folder / "labels" / "3.txt").write_text("5 0.5 0.5 0.1 0.1\n")


def yolo_outlines(folder: Path) -> None:
    with_boxes(folder, "yolo")
    (folder / "labels" / "3.txt").write_text("0 0.5 0.5 0.1 0.1 0.2 0.2\n")


def coco_without_image(folder: Path) -> None:
    with_boxes(folder, "coco")
    (folder / "images" / "3.png").unlink()


def coco_of_two_images(folder: Path) -> None:
    with_boxes(folder, "coco")
    picture(folder / "more" / "3.png", 50)


def coco_without_names(folder: Path) -> None:
    with_boxes(folder, "coco")
    content = json.loads((folder / "all.json").read_text())
    (folder / "all.json").write_text(json.dumps(content | {"categories": []}))


BAD: dict[Callable[[Path], None], tuple[str, ...]] = {
    empty: ("holds no image (1 other file(s))", "Images end in .png"),
    one_class: ("4 of 4 images", "(all are in a/)", "two or more folders named after classes"),
    loose_images: (
        "1 of 9 images",
        "in no class folder: x.png",
    ),
    broken: ("1 of 8 image(s) cannot be used", "b_00_0.png"),
    link_out: ("1 link(s)", "a/link.png", "copy them"),
    linked_folder: ("1 link(s)", ": c.", "copy them"),
    control_character: ("control characters", r"b\x1b[31m", "Rename"),
    no_letter: ("'#', has no letter or digit", "Rename"),
    equal_but_for_case: ("'Dune' and 'dune'", "case or punctuation", "one folder"),
    few_images: ("2 image(s)", "at least 3"),
    bands_differ: ("different numbers of bands: 1 (", "5 (a/five.tif)"),
    mapping_left: ("mapping.json would decide", "Remove it"),
    mask_without_image: ("masks/alone.png (no image)", "same name"),
    masks_of_colours: ("8 of 8 mask(s)", "(0, 0, 0), (255, 0, 0)", "docs/custom_task.md"),
    black_and_white_masks: ("0 and 255 alone", "Write 1 in place of 255"),
    masks_with_gaps: ("0, 3, 7, which have gaps (no 1, 2, 4, 5, 6)", "--classes"),
    masks_of_one_class: ("one class id alone: 0",),
    masks_of_another_size: ("3.png is 9 x 9 pixels; its image is 8 x 8",),
    jpeg_masks: ("3.jpg is a JPEG", "PNG"),
    more_ids_than_names: ("class id 2", "2 classes are named: background, cone"),
    masks_and_boxes: ("masks/0.png, and boxes", "--kind segmentation or --kind detection"),
    box_outside: ("1 of 8 image(s) with boxes", "3.xml", "extends beyond the image of 8 x 8"),
    more_yolo_classes: ("boxes of class 5, but 2 class(es) are named", "classes.txt"),
    yolo_outlines: ("3.txt", "line 1 '0 0.5 0.5 0.1 0.1 0.2 0.2'"),
    coco_without_image: ("lists 1 image(s) that are not in", "photos/3.png"),
    formula_as_folder: ("2 file(s)", "a spreadsheet would compute", "=1+1/=1+1_00_0.png"),
    formula_as_class: ("'@sum', is a formula in spreadsheets",),
    coco_of_two_images: ("images/3.png and more/3.png may both be photos/3.png",),
    coco_without_names: ("categories without a name: 40, 41", '"categories"'),
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_one_clear_message(make: Callable[[Path], None], tmp_path: Path) -> None:
    folder = tmp_path / "things"
    make(folder)
    with pytest.raises(MarsbenchError) as caught:
        init_task(folder)
    assert caught.value.remedy
    for part in (*BAD[make], str(folder)):
        assert part in str(caught.value)
    assert not (folder / "task.yaml").exists()
    assert not (folder / "annotation.csv").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (Options(kind="mask"), "Unknown kind 'mask'"),
        (Options(kind="detection"), "No boxes found"),
        (Options(kind="segmentation"), "No masks found"),
        (Options(name="My Task"), "--name my_task"),
        (Options(name="frost_cls"), "--name my_frost_cls"),
        (Options(classes=("a",)), "name b, but the classes given are a"),
        (Options(classes=("a", "b", "c")), "class(es) c are given"),
        (Options(group_by="x"), "matches 0 of 8 images"),
        (Options(update=True), "has no task.yaml"),
        (Options(update=True, name="x"), "--name has no effect"),
    ],
    ids=str,
)
def test_options_that_do_not_fit(options: Options, says: str, tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "things", ROCKS)
    with pytest.raises(MarsbenchError) as caught:
        init_task(folder, options)
    assert says in str(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes on POSIX alone")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "things", ROCKS)
    (folder / "a" / "a_00_0.png").rename(folder / "a" / os.fsdecode(b"\xd6l.png"))
    with pytest.raises(MarsbenchError, match=r"invalid UTF-8 .*xd6l"):
        init_task(folder)
