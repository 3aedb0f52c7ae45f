"""Folders of segmentation and detection tasks."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from marsbench.base.errors import DataError
from marsbench.data import decode
from marsbench.data.boxes import files as box_files
from marsbench.data.boxes.forms import BoxFormat
from marsbench.data.sources.local import LocalSource
from marsbench.data.tools.verify.folder import verify_folder
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import TaskSpec
from tests.fakes import SIZES, make_spec, read_rows, write_folder, write_rows

SEGMENTATION = make_spec(
    Kind.SEGMENTATION, ("background", "crater", "dune"), decode=Decode.IMAGE_MASK
)
DETECTION = make_spec(Kind.DETECTION, ("cone", "boulder"), decode=Decode.IMAGE_BOXES)


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    return write_folder(SEGMENTATION, tmp_path)


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    return write_folder(DETECTION, tmp_path)


def test_masks(masks: Path) -> None:
    source = LocalSource(SEGMENTATION, masks)
    assert source.class_names == ("background", "dune", "crater")
    rows = source.rows("train")
    assert rows.targets.shape == (SIZES["train"], 0)
    assert rows.targets.dtype == np.uint8
    assert list(rows.sample_ids) == sorted(rows.sample_ids)
    negative = []
    for i, sample_id in enumerate(rows.sample_ids):
        raw = source.read("train", i)
        assert raw.mask is not None
        assert raw.where == str(masks / "data" / "train" / "images" / sample_id)
        assert raw.mask.where == str(masks / "data" / "train" / "masks" / sample_id)
        assert raw.image == Path(raw.where).read_bytes() != raw.mask.image
        assert source.files("train", i) == (Path(raw.where), Path(raw.mask.where))
        assert decode.mask(raw, 3).shape == (32, 32)
        negative.append(decode.is_negative(SEGMENTATION, raw))
    assert negative == [i % 4 == 3 for i in range(SIZES["train"])]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.jpg", "a.png"),
        ("a.1.jpg", "a.1.tif"),
        ("Image_patch_1_2.tif", "Mask_patch_1_2.tif"),
        ("ImageT_patch_1_2.tif", "MaskT_patch_1_2.png"),
        ("Image_1.png", "Image_1.png"),
        ("south/a.png", "south/a.tif"),
    ],
)
def test_the_mask_of_an_image(image: str, mask: str, masks: Path) -> None:
    place = masks / "data" / "train"
    for new, folder in ((image, "images"), (mask, "masks")):
        (place / folder / new).parent.mkdir(exist_ok=True)
        (place / folder / "train_0000.png").rename(place / folder / new)
    # Not masks of it.
    for other in ("a.png.aux", "Mask_patch_1_20.tif", "b.png"):
        (place / "masks" / other).write_bytes(b"")
    rows = [(image, "train")] + [r[:2] for r in read_rows(masks / "annotation.csv")[1:]]
    write_rows(masks / "annotation.csv", rows, ("file_id", "split"))
    source = LocalSource(SEGMENTATION, masks)
    raw = source.read("train", source.rows("train").sample_ids.index(image))
    assert raw.mask is not None
    assert raw.mask.where == str(place / "masks" / mask)


def test_two_masks_of_an_image_are_an_error(masks: Path) -> None:
    place = masks / "data" / "train" / "masks"
    (place / "train_0000.tif").write_bytes(b"")
    LocalSource(SEGMENTATION, masks)  # that of the same name is meant
    (place / "train_0000.png").rename(place / "train_0000.bmp")
    with pytest.raises(DataError, match=r"several masks.*train_0000\.bmp, train_0000\.tif"):
        LocalSource(SEGMENTATION, masks)


@pytest.mark.parametrize("name", ["background", "_Background", ["bg", "background"]])
def test_the_background_is_class_0(name: object, masks: Path) -> None:
    mapping = {"0": "dune", "1": "crater", "2": name}
    (masks / "mapping.json").write_text(json.dumps(mapping))
    with pytest.raises(DataError, match=r"mapping\.json: class 2 is the background"):
        LocalSource(SEGMENTATION, masks)


@pytest.mark.parametrize(
    ("spec", "file"),
    [
        (SEGMENTATION, "masks/val_0003.png"),
        (SEGMENTATION, "images/val_0003.png"),
        (DETECTION, "images/val_0003.png"),
        (DETECTION, "labels/val_0003.txt"),
        (DETECTION, "pascal_voc/val_0003.xml"),
        (DETECTION, "coco_annotations.json"),
    ],
)
def test_every_file_counts(spec: TaskSpec, file: str, tmp_path: Path) -> None:
    folder = write_folder(spec, tmp_path)
    before = LocalSource(spec, folder)
    assert LocalSource(spec, folder).revision == before.revision
    path = folder / "data" / "val" / file
    path.write_bytes(path.read_bytes() + b" ")
    after = LocalSource(spec, folder)
    assert after.revision != before.revision
    assert after.rows("val").fingerprint != before.rows("val").fingerprint
    assert after.rows("train").fingerprint == before.rows("train").fingerprint
    path.unlink()
    if file == "coco_annotations.json":
        assert LocalSource(spec, folder).revision != after.revision
        return
    with pytest.raises(DataError, match=r"1 (file|mask|label file)\(s\).*not found.*val_0003"):
        LocalSource(spec, folder)
    problems: list[DataError] = []
    source = LocalSource(spec, folder, problems)
    assert len(problems) == 1
    with pytest.raises(DataError, match=r"val_0003.*cannot be read"):
        source.read("val", 3)


def test_other_columns_go_with_the_sample(masks: Path) -> None:
    rows = [(*r[:2], "", "ignored", f"region {i}") for i, r in enumerate(
        read_rows(masks / "annotation.csv"))]  # fmt: skip
    header = ("file_id", "split", "feature_name", "label", "region")
    write_rows(masks / "annotation.csv", rows, header)
    source = LocalSource(SEGMENTATION, masks)
    assert source.read("train", 2).meta == {"region": "region 2"}


def test_other_columns_of_a_classification_task(tmp_path: Path) -> None:
    spec = make_spec()
    folder = write_folder(spec, tmp_path)
    assert LocalSource(spec, folder).read("val", 0).meta == {}
    revision = LocalSource(spec, folder).revision
    rows = [(*r, " Arabia ") for r in read_rows(folder / "annotation.csv")]
    header = ("file_id", "split", "feature_name", "label", "region")
    write_rows(folder / "annotation.csv", rows, header)
    source = LocalSource(spec, folder)
    assert source.read("val", 0).meta == {"region": "Arabia"}
    assert source.revision == revision


def shown(source: LocalSource) -> list[Any]:
    found = [source.read("train", i).boxes for i in range(len(source.rows("train")))]
    return [(b.xyxy.tolist(), b.labels.tolist()) for b in found if b is not None]


def only(folder: Path, form: BoxFormat) -> None:
    """Leave one form of the boxes."""
    for split in SIZES:
        place = folder / "data" / split
        if form is not BoxFormat.COCO:
            (place / "coco_annotations.json").unlink()
        for other, name in ((BoxFormat.YOLO, "labels"), (BoxFormat.VOC, "pascal_voc")):
            if form is not other:
                (place / name).rename(place / f"no_{name}")


def test_boxes(boxes: Path) -> None:
    source = LocalSource(DETECTION, boxes)
    assert source.class_names == ("boulder", "cone")  # the mapping's order, background left out
    assert source.rows("train").targets.shape == (SIZES["train"], 0)
    found = shown(source)
    assert [len(labels) for _, labels in found] == [0 if i % 4 == 3 else 1 + i % 2
                                                    for i in range(24)]  # fmt: skip
    assert {label for _, labels in found for label in labels} == {0, 1}
    assert source.files("train", 0) == tuple(
        boxes / "data" / "train" / name
        for name in ("images/train_0000.png", "labels/train_0000.txt", "pascal_voc/train_0000.xml")
    )
    assert decode.is_negative(DETECTION, source.read("train", 3))


@pytest.mark.parametrize("form", BoxFormat)
def test_one_form_is_enough(form: BoxFormat, boxes: Path) -> None:
    expected = shown(LocalSource(DETECTION, boxes))
    only(boxes, form)
    tolerance = {BoxFormat.COCO: 0.0, BoxFormat.YOLO: 1e-4, BoxFormat.VOC: 0.51}[form]
    for (xyxy, labels), (wanted, wanted_labels) in zip(
        shown(LocalSource(DETECTION, boxes)), expected, strict=True
    ):
        assert labels == wanted_labels
        assert np.allclose(xyxy, wanted, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    "mapping",
    [
        {"0": "boulder", "1": "cone"},
        {"1": ["bou", "Boulder"], "2": ["con", "Cone"]},
        {"0": "Background", "1": "boulder", "2": "cone"},
    ],
)
def test_mappings_may_leave_out_the_background(mapping: dict[str, Any], boxes: Path) -> None:
    expected = shown(LocalSource(DETECTION, boxes))
    (boxes / "mapping.json").write_text(json.dumps(mapping))
    source = LocalSource(DETECTION, boxes)
    assert source.class_names == ("boulder", "cone")
    assert shown(source) == expected


def test_voc_files_may_use_the_mappings_codes(boxes: Path) -> None:
    (boxes / "mapping.json").write_text('{"0": "background", "1": ["xq", "boulder"], "2": "cone"}')
    expected = shown(LocalSource(DETECTION, boxes))
    for path in boxes.rglob("*.xml"):
        path.write_text(path.read_text().replace("<name>boulder<", "<name>XQ<"))
    assert shown(LocalSource(DETECTION, boxes)) == expected


def test_a_coco_file_is_parsed_once_and_late(boxes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    read_coco = box_files.read_coco

    def counting(content: bytes, where: str) -> box_files.CocoFile:
        parsed.append(where)
        return read_coco(content, where)

    monkeypatch.setattr(box_files, "read_coco", counting)
    source = LocalSource(DETECTION, boxes)
    assert parsed == []
    shown(source)
    assert len(parsed) == 1
    # Data loaders may send the source to another process.
    assert shown(pickle.loads(pickle.dumps(source))) == shown(source)
    assert len(parsed) == 1


def coco(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def damage(place: Path) -> None:
        path = place / "coco_annotations.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


def set_box(content: dict[str, Any]) -> None:
    content["annotations"][0]["bbox"] = [1, 2, 3, 4]


BAD: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "another size": (
        lambda p: Image.new("L", (16, 16)).save(p / "images" / "train_0000.png"),
        ["coco_annotations.json, train_0000.png", "height is 32", "16 x 16"],
    ),
    "no image": (
        lambda p: (p / "images" / "train_0000.png").write_bytes(b"<html>"),
        ["train_0000.png has no known image format"],
    ),
    "json cut short": (
        lambda p: (p / "coco_annotations.json").write_text("{"),
        ["train/coco_annotations.json is not JSON"],
    ),
    "json lacks an image": (
        coco(lambda c: c["images"].pop(0)),
        ["unlisted", "image_id"],
    ),
    "json lacks an image without boxes": (
        coco(lambda c: c["images"].pop(3)),
        ["coco_annotations.json does not list 1 image(s)", "train_0003.png"],
    ),
    "json names an image that is not there": (
        coco(lambda c: c["images"].append({"id": 99, "file_name": "gone.png"})),
        ["1 image(s) not found in", "gone.png"],
    ),
    "json numbers classes from 0": (
        coco(lambda c: c.update(categories=[{"id": 1, "name": "cone"}])),
        ["category 1 is named cone", "expected id 2"],
    ),
    "json names another class": (
        coco(lambda c: c.update(categories=[{"id": "1", "name": "rover"}])),
        ["category 1 is named 'rover', which is not a class"],
    ),
    "json has groups": (
        coco(lambda c: c["annotations"][0].update(iscrowd=1)),
        ["iscrowd: 1 of 1 image(s): train_0000.png"],
    ),
    "a web page": (
        lambda p: (p / "pascal_voc" / "train_0000.xml").write_text("<html></html>"),
        ["pascal_voc/train_0000.xml is not a Pascal VOC file", "html"],
    ),
    "forms differ": (coco(set_box), ["images/train_0000.png", "coco has [1, 2, 4, 6]", "yolo has"]),
    "text": (
        lambda p: (p / "labels" / "train_0000.txt").write_text("boulder"),
        ["labels/train_0000.txt", "line 1 'boulder'"],
    ),
    "xml": (
        lambda p: (p / "pascal_voc" / "train_0000.xml").write_text("{}"),
        ["pascal_voc/train_0000.xml is not XML"],
    ),
    "empty text where there are boxes": (
        lambda p: (p / "labels" / "train_0000.txt").write_text(""),
        ["coco has 1 box(es), yolo has 0"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_boxes_name_the_file(case: str, boxes: Path) -> None:
    damage, words = BAD[case]
    damage(boxes / "data" / "train")
    source = LocalSource(DETECTION, boxes)
    with pytest.raises(DataError) as caught:
        source.read("train", 0)
    for word in words:
        assert word in str(caught.value)


def test_rows_may_be_fewer_than_images(boxes: Path) -> None:
    rows = [r for r in read_rows(boxes / "annotation.csv") if r[0] != "train_0001.png"]
    write_rows(boxes / "annotation.csv", rows, ("file_id", "split"))
    assert len(shown(LocalSource(DETECTION, boxes))) == SIZES["train"] - 1


@pytest.mark.parametrize("form", BoxFormat)
def test_two_images_of_one_label_file(form: BoxFormat, boxes: Path) -> None:
    only(boxes, form)
    images = boxes / "data" / "train" / "images"
    (images / "train_0001.jpg").write_bytes((images / "train_0001.png").read_bytes())
    rows = [*read_rows(boxes / "annotation.csv"), ("train_0001.jpg", "train")]
    write_rows(boxes / "annotation.csv", [r[:2] for r in rows], ("file_id", "split"))
    if form is BoxFormat.COCO:
        LocalSource(DETECTION, boxes)
        return
    with pytest.raises(DataError, match=r"train_0001\.jpg and train_0001\.png share .*/train_"):
        LocalSource(DETECTION, boxes)
    problems: list[DataError] = []
    LocalSource(DETECTION, boxes, problems)
    assert len(problems) == 1


def test_a_split_without_boxes_is_named(boxes: Path) -> None:
    for form in ("labels", "pascal_voc"):
        (boxes / "data" / "val" / form).rename(boxes / "data" / "val" / f"no_{form}")
    (boxes / "data" / "val" / "coco_annotations.json").unlink()
    with pytest.raises(DataError, match=r"No boxes found in .*data/val"):
        LocalSource(DETECTION, boxes)


@pytest.mark.parametrize("name", ["../x.png", ".", "a/../../b.png", "/etc/hosts"])
def test_names_out_of_the_folder(name: str, masks: Path) -> None:
    write_rows(masks / "annotation.csv", [(name, "train")], ("file_id", "split"))
    with pytest.raises(DataError, match="not a file name"):
        LocalSource(SEGMENTATION, masks)


def test_seven_bands(tmp_path: Path) -> None:
    spec = make_spec(
        Kind.SEGMENTATION, ("background", "landslide"), decode=Decode.IMAGE_MASK, channels=7
    )
    raw = LocalSource(spec, write_folder(spec, tmp_path)).read("train", 0)
    assert decode.image_size(raw.image, raw.where) == (32, 32)
    assert raw.where.endswith("train_0000.tif")


def test_difficult_objects_are_counted_and_noted(
    boxes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LocalSource(DETECTION, boxes).notes == ()
    marked = sorted((boxes / "data" / "train" / "pascal_voc").glob("*.xml"))[:3]
    for path in marked:
        text = path.read_text()
        path.write_text(text.replace("<name>", "<difficult> 1 </difficult><name>"))
    count = sum(path.read_text().count("difficult> 1") for path in marked)
    monkeypatch.setattr("marsbench.base.files._SETTLED", -1.0)
    (note,) = LocalSource(DETECTION, boxes).notes
    assert note.startswith(f"{count} object(s) are marked difficult")
    monkeypatch.setattr(box_files, "count_difficult", lambda _: pytest.fail("counted again"))
    source = LocalSource(DETECTION, boxes)
    assert source.notes == (note,)
    assert sum(len(source.read("train", i).boxes or ()) for i in range(3)) >= count
    assert note in verify_folder(DETECTION, boxes).notes
