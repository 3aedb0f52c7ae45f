import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from marsbench.data.tools.verify.folder import verify_folder
from marsbench.data.tools.verify.report import VerifyReport
from marsbench.tasks.catalog import get_task
from marsbench.tasks.kinds import Decode, Kind
from tests.fakes import make_spec, read_rows, write_folder, write_rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(make_spec(), tmp_path)


def test_a_good_folder_has_no_problems(folder: Path) -> None:
    report = verify_folder(make_spec(sizes={"train": 24, "val": 9, "test": 99}), folder)
    assert report.problems == []
    assert report.num_files == 45
    assert any("test has 12 samples; published are 99" in n for n in report.notes)
    assert any("32 x 32: 45" in n for n in report.notes)
    json.dumps(report.to_dict())


def test_all_problems_come_at_once(folder: Path) -> None:
    rows = read_rows(folder / "annotation.csv")
    images = {r[0]: folder / "data" / r[1] / r[2] / r[0] for r in rows}
    images["train_0001.png"].write_bytes(b"")
    images["train_0002.png"].write_bytes(images["train_0002.png"].read_bytes()[:50])
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(images["val_0003.png"])
    images["test_0004.png"].unlink()
    shutil.copy(images["val_0000.png"], images["train_0003.png"])
    rows[7] = (*rows[7][:3], "17")
    write_rows(folder / "annotation.csv", rows)
    write_rows(folder / "few_shot" / "2_shot.csv", [("gone.png", "train", "", "0")])
    (folder / "partitions").mkdir()
    (folder / "partitions" / "lotsx_partition.csv").write_text("")
    report = verify_folder(make_spec(image_size=(32, 32)), folder)
    text = "\n".join(report.problems)
    for word in (
        "line 9: label '17'",
        "train_0001.png is empty",
        "train_0002.png is damaged",
        "val_0003.png is 8 x 9 pixels; expected 32 x 32 as for all images of toy",
        "test_0004.png",
        "gone.png",
        "lotsx_partition.csv",
    ):
        assert word in text, word
    assert any("more than one split" in n and "val_0000" in n for n in report.notes)


def test_wrong_mapping_does_not_hide_the_rest(folder: Path) -> None:
    (folder / "mapping.json").write_text('{"0": "plain", "1": "dune", "2": "spider"}')
    next((folder / "data" / "val").rglob("*.png")).unlink()
    text = "\n".join(verify_folder(make_spec(), folder).problems)
    assert "spider" in text
    assert "val_" in text


def test_subsets_that_are_not_nested_are_noted(folder: Path) -> None:
    train = [r for r in read_rows(folder / "annotation.csv") if r[1] == "train"]
    write_rows(folder / "few_shot" / "1_shot.csv", train[:3])
    write_rows(folder / "few_shot" / "2_shot.csv", train[3:9])
    assert any("NOT nested" in n for n in verify_folder(make_spec(), folder).notes)


def test_missing_split(folder: Path) -> None:
    rows = [r for r in read_rows(folder / "annotation.csv") if r[1] != "test"]
    write_rows(folder / "annotation.csv", rows)
    assert "the test split is missing" in verify_folder(make_spec(), folder).problems


def test_an_odd_size_is_named_where_the_task_fixes_none(folder: Path) -> None:
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(next((folder / "data").rglob("val_0003.png")))
    report = verify_folder(make_spec(), folder)
    assert report.problems == []
    assert "1 of another size, 8 x 9, such as val/val_0003.png" in report.notes


def test_a_class_that_train_lacks_is_a_problem(folder: Path) -> None:
    rows = [r for r in read_rows(folder / "annotation.csv") if (r[1], r[3]) != ("train", "1")]
    write_rows(folder / "annotation.csv", rows)
    assert "class dune has no sample in train" in verify_folder(make_spec(), folder).problems


def test_pairs(tmp_path: Path) -> None:
    spec = make_spec(Kind.BINARY, ("Change", "No change"), decode=Decode.PAIR_LABEL)
    folder = write_folder(spec, tmp_path)
    report = verify_folder(spec, folder)
    assert report.problems == []
    assert (report.num_samples, report.num_files) == (45, 90)
    next((folder / "data").rglob("val_0003_after.png")).write_bytes(b"")
    next((folder / "data").rglob("val_0004_after.png")).unlink()
    text = "\n".join(verify_folder(spec, folder).problems)
    assert "val_0003_after.png is empty" in text
    assert "val_0004_after.png" in text


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


def save(ids: object, path: Path) -> None:
    Image.fromarray(np.asarray(ids, dtype=np.uint8)).save(path)


def test_good_masks(masks: Path) -> None:
    report = verify_folder(SEGMENTATION, masks)
    assert report.problems == []
    assert (report.num_samples, report.num_files) == (45, 90)
    assert "image sizes (height x width): 32 x 32: 45" in report.notes
    assert "train: 6 of 24 samples show no object" in report.notes
    read = [np.asarray(Image.open(p)) for p in (masks / "data" / "train" / "masks").iterdir()]
    ids = np.stack(read)
    # The mapping has dune as class 1.
    parts = [("background", 0), ("dune", 1), ("crater", 2), ("ignored", 255)]
    shares = ", ".join(f"{name} {100 * (ids == k).mean():.2f} %" for name, k in parts)
    assert f"train: shares of pixels: {shares}" in report.notes
    json.dumps(report.to_dict())


def test_good_boxes(boxes: Path) -> None:
    report = verify_folder(DETECTION, boxes)
    assert report.problems == []
    # An image, and the texts of YOLO and Pascal VOC.
    assert (report.num_samples, report.num_files) == (45, 135)
    assert "train: 6 of 24 samples show no object" in report.notes
    coco = json.loads((boxes / "data" / "train" / "coco_annotations.json").read_text())
    numbers = [sum(a["category_id"] == k for a in coco["annotations"]) for k in (1, 2)]
    assert f"train: boxes: boulder {numbers[0]}, cone {numbers[1]}" in report.notes


def digest_of(report: VerifyReport) -> str:
    return next(n for n in report.notes if n.startswith("digest"))


def test_the_digest_covers_pixels_masks_and_boxes(masks: Path, tmp_path: Path) -> None:
    first = digest_of(verify_folder(SEGMENTATION, masks))
    assert first.startswith("digest of ids, pixels and masks: ")
    place = masks / "data" / "val"
    # The same ids in another form.
    mask = place / "masks" / "val_0000.png"
    ids = np.asarray(Image.open(mask))
    tifffile.imwrite(mask.with_suffix(".tif"), ids.astype(np.int32))
    mask.unlink()
    assert digest_of(verify_folder(SEGMENTATION, masks)) == first
    tifffile.imwrite(mask.with_suffix(".tif"), np.where(ids == 255, 0, ids))
    second = digest_of(verify_folder(SEGMENTATION, masks))
    assert second != first
    image = place / "images" / "val_0000.png"
    save(np.asarray(Image.open(image)) // 2, image)
    assert digest_of(verify_folder(SEGMENTATION, masks)) not in (first, second)
    boxes = write_folder(DETECTION, tmp_path / "boxes")
    before = digest_of(verify_folder(DETECTION, boxes))
    for name in ("labels", "pascal_voc"):
        shutil.rmtree(boxes / "data" / "val" / name)
    assert digest_of(verify_folder(DETECTION, boxes)) == before
    edit_coco(boxes / "data" / "val", 0, [1, 2, 3, 4])
    assert digest_of(verify_folder(DETECTION, boxes)) != before


def test_all_problems_of_masks_come_at_once(masks: Path) -> None:
    train, val = masks / "data" / "train", masks / "data" / "val"
    save(np.zeros((32, 31)), train / "masks" / "train_0000.png")
    save(np.full((32, 32), 7), train / "masks" / "train_0001.png")
    save(np.zeros((1, 1)), train / "images" / "train_0002.png")
    save(np.zeros((1, 1)), train / "masks" / "train_0002.png")
    # Two problems of one sample.
    (train / "images" / "train_0004.png").write_bytes(b"")
    save(np.full((32, 32), 9), train / "masks" / "train_0004.png")
    (train / "masks" / "train_0005.png").unlink()
    save(np.zeros((32, 32, 3)), train / "images" / "train_0006.png")
    rgb = np.zeros((32, 32, 3))
    rgb[..., 1] = 9
    save(rgb, train / "images" / "train_0006.png")
    for path in (val / "masks").iterdir():
        path.unlink()
    # Found although its mask lacks.
    (val / "images" / "val_0001.png").write_bytes(b"GIF")
    report = verify_folder(SEGMENTATION, masks)
    text = "\n".join(report.problems)
    for words in (
        "masks/train_0000.png is 32 x 31 pixels; its image",
        "masks/train_0001.png holds 7; expected class ids 0 to 2",
        "images/train_0002.png is 1 x 1 pixels, too small",
        "images/train_0004.png is empty",
        "masks/train_0004.png holds 9",
        "train_0005.png",
        "images/train_0006.png has 3 bands of different values; expected 1",
        "data/val/masks holds no masks",
        "10 mask(s) of images",
        "images/val_0001.png has no known image format",
    ):
        assert words in text, words
    assert len(report.problems) == 9
    assert not any("has no pixel" in line for line in (*report.problems, *report.notes))
    assert report.num_samples == 45 - 6 - 9
    shutil.rmtree(val / "masks")
    assert any("val/masks holds no masks" in p for p in verify_folder(SEGMENTATION, masks).problems)


def test_bands(tmp_path: Path) -> None:
    spec = make_spec(
        Kind.SEGMENTATION,
        ("background", "landslide"),
        decode=Decode.IMAGE_MASK,
        channels=7,
        rgb_bands=(2, 1, 0),
    )
    folder = write_folder(spec, tmp_path)
    assert verify_folder(spec, folder).problems == []
    images = folder / "data" / "train" / "images"
    tifffile.imwrite(images / "train_0000.tif", np.zeros((32, 32, 5), np.float32))
    bands = np.zeros((32, 32, 7), np.float32)
    bands[..., 6] = 3  # no colour, so that a run of bands=rgb would not notice
    tifffile.imwrite(images / "train_0001.tif", bands)
    first, second = verify_folder(spec, folder).problems
    assert "train_0000.tif has 5 band(s); expected 7 as in the task" in first
    assert "train_0001.tif holds numbers from" in second


def test_a_class_that_no_train_mask_has_is_a_problem(masks: Path) -> None:
    for split in ("train", "test"):
        for path in (masks / "data" / split / "masks").iterdir():
            ids = np.asarray(Image.open(path))
            save(np.where(ids == 2, 1, ids), path)
    report = verify_folder(SEGMENTATION, masks)
    assert report.problems == ["class crater has no pixel in train"]
    assert "class crater has no pixel in test" in report.notes


def test_a_background_may_have_no_pixels(masks: Path) -> None:
    for path in (masks / "data" / "train" / "masks").iterdir():
        ids = np.asarray(Image.open(path))
        save(np.where(ids == 0, 1, ids), path)
    report = verify_folder(SEGMENTATION, masks)
    assert report.problems == []
    assert "class background has no pixel in train" in report.notes
    assert "train: 0 of 24 samples show no object" in report.notes


def test_without_a_background_no_sample_is_negative(tmp_path: Path) -> None:
    spec = make_spec(Kind.SEGMENTATION, ("sand", "rock", "sky"), decode=Decode.IMAGE_MASK)
    report = verify_folder(spec, write_folder(spec, tmp_path))
    assert report.problems == []
    assert "train: 0 of 24 samples show no object" in report.notes


def test_images_that_occur_twice_and_masks_of_nothing(masks: Path) -> None:
    data = masks / "data"

    def copy(folder: str, name: str, other: str) -> None:
        shutil.copy(
            data / name.partition("_")[0] / folder / name,
            data / other.partition("_")[0] / folder / other,
        )

    copy("images", "train_0000.png", "test_0001.png")
    copy("images", "train_0002.png", "val_0000.png")
    copy("masks", "train_0002.png", "val_0000.png")
    copy("images", "train_0004.png", "train_0008.png")
    save(np.full((32, 32), 255), data / "train" / "masks" / "train_0012.png")
    notes = verify_folder(SEGMENTATION, masks).notes
    assert (
        "2 images occur more than once in more than one split, 1 of them with other masks: "
        "train/train_0000.png = test/test_0001.png; train/train_0002.png = val/val_0000.png"
    ) in notes
    assert (
        "1 images occur more than once within a split, 1 of them with other masks: "
        "train/train_0004.png = train/train_0008.png"
    ) in notes
    assert "1 sample(s) of which every pixel is ignored: train/train_0012.png" in notes
    # Pixels to ignore say nothing either way.
    assert "train: 6 of 24 samples show no object" in notes


def edit_coco(place: Path, index: int, bbox: list[float]) -> None:
    """Give a box of the COCO file of a split other numbers."""
    path = place / "coco_annotations.json"
    content = json.loads(path.read_text())
    content["annotations"][index]["bbox"] = bbox
    path.write_text(json.dumps(content))


def test_all_problems_of_boxes_come_at_once(boxes: Path) -> None:
    train, val = boxes / "data" / "train", boxes / "data" / "val"
    # The COCO file of train is wrong as a whole; what else is wrong there is found all the same.
    content = json.loads((train / "coco_annotations.json").read_text())
    content["images"][2]["file_name"] = "gone.png"
    content["annotations"][0]["bbox"] = [30, 2, 9, 3]
    (train / "coco_annotations.json").write_text(json.dumps(content))
    (train / "labels" / "train_0001.txt").write_text("0 0.5 0.5 -0.1 0.2\n1 0.5 0.5 0.2")
    (train / "pascal_voc" / "train_0004.xml").write_text("{}")
    save(np.zeros((1, 1)), train / "images" / "train_0005.png")
    (train / "images" / "train_0006.png").write_bytes(b"")
    (train / "labels" / "train_0007.txt").unlink()
    (train / "labels" / "train_0008.txt").write_text("")
    edit_coco(val, 0, [1, 2, -3, 4])
    report = verify_folder(DETECTION, boxes)
    text = "\n".join(report.problems)
    for words in (
        "train/coco_annotations.json does not list 1 image(s): train_0002.png",
        "train/coco_annotations.json lists 1 image(s) not found in",
        "gone.png",
        "coco_annotations.json, train_0000.png: 1 bad box(es): box 1 [30, 2, 9, 3] extends beyond",
        "labels/train_0001.txt: 2 bad box(es): line 1",
        "line 1 [0.5, 0.5, -0.1, 0.2] has no positive width and height",
        "pascal_voc/train_0004.xml is not XML",
        "images/train_0005.png is 1 x 1 pixels, too small",
        "images/train_0006.png is empty",
        "1 label file(s) of images",
        "train_0007.txt",
        "images/train_0008.png: boxes differ between forms",
        "val/coco_annotations.json, val_0000.png: 1 bad box(es): box 1 [1, 2, -3, 4] has no",
    ):
        assert words in text, words
    # Once each, though the COCO file is met at each image of the split.
    assert len(report.problems) == len(set(report.problems))
    assert text.count("does not list 1 image(s)") == 1


@pytest.mark.parametrize("content", ["", "{}", "[1]"])
def test_a_coco_file_that_cannot_be_read_does_not_hide_the_rest(content: str, boxes: Path) -> None:
    train = boxes / "data" / "train"
    (train / "coco_annotations.json").write_text(content)
    (train / "images" / "train_0006.png").write_bytes(b"")
    (train / "labels" / "train_0001.txt").write_text("boulder")
    problems = verify_folder(DETECTION, boxes).problems
    # Nothing is said of the classes, since no sample of train can be read.
    assert len(problems) == 3
    for words in ("coco_annotations.json is not", "train_0006.png is empty", "train_0001.txt"):
        assert any(words in p for p in problems), words


def test_a_class_without_a_train_box_is_a_problem(boxes: Path) -> None:
    for split in ("train", "val"):
        place = boxes / "data" / split
        for name in ("labels", "pascal_voc"):
            shutil.rmtree(place / name)
        content = json.loads((place / "coco_annotations.json").read_text())
        found = [a for a in content["annotations"] if a["category_id"] == 1]
        content["annotations"] = [*found, found[0]]
        (place / "coco_annotations.json").write_text(json.dumps(content))
    edit_coco(boxes / "data" / "val", 1, [31.5, 3, 1.2, 9])
    report = verify_folder(DETECTION, boxes)
    assert report.problems == ["class cone has no box in train"]
    assert "class cone has no box in val" in report.notes
    assert "2 sample(s) with the same box twice: train/train_0000.png, val/val_0000.png" in (
        report.notes
    )
    assert any("1 sample(s) with a box of less than a pixel inside" in n for n in report.notes)


@pytest.mark.realdata
def test_real_landslides(real_data: Path) -> None:
    if not (real_data / "mb-mmls").is_dir():
        pytest.skip(f"{real_data} has no mb-mmls")
    report = verify_folder(get_task("mmls"), real_data)
    assert report.problems == []
    (copies,) = (note for note in report.notes if "more than once" in note)
    assert copies.startswith("6 images occur more than once in more than one split, 6 of them with")
    for place in ("14_24", "15_24", "19_23", "21_44", "24_44", "25_42"):
        assert f"train/Image_patch_{place}.tif = test/ImageT_patch_{place}.tif" in copies
    assert not any("published are" in note for note in report.notes)
