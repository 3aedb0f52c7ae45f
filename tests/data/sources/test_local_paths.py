"""Folders whose ``annotation.csv`` has the paths of the files."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from marsbench.base.errors import DataError
from marsbench.config.schema import parse_subset
from marsbench.data.sources.local import LocalSource
from marsbench.data.subsets import select
from marsbench.data.tools.subset_files import write_subsets
from marsbench.data.tools.verify.folder import verify_folder
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import TaskSpec
from tests.fakes import make_spec, read_rows, write_folder, write_rows

LABELS = make_spec(Kind.MULTICLASS, ("plain", "dune", "crater"))
MASKS = make_spec(Kind.SEGMENTATION, ("background", "dune", "crater"), decode=Decode.IMAGE_MASK)
BOXES = make_spec(Kind.DETECTION, ("boulder", "cone"), decode=Decode.IMAGE_BOXES)


def write_published(spec: TaskSpec, root: Path) -> Path:
    """A folder in which the order of the task's classes is that of their ids."""
    # `write_folder` numbers the classes in the reverse of their order.
    return write_folder(replace(spec, classes=spec.classes[::-1]), root)


def with_paths(spec: TaskSpec, folder: Path, targets: Sequence[str] = ()) -> Path:
    """Replace the columns of the published layout by paths, and remove the mapping."""
    rows = read_rows(folder / "annotation.csv")
    (folder / "mapping.json").unlink()
    if spec.kind.is_classification:
        names = spec.class_names
        listed = [
            (f"data/{split}/{feature}/{name}", split, names[int(label)])
            for name, split, feature, label in rows
        ]
        write_rows(folder / "annotation.csv", listed, ("image_path", "split", "label"))
        return folder
    column = "mask_path" if spec.has_masks else "boxes_path"
    listed = [
        (
            f"data/{split}/images/{name}",
            split,
            targets[i % len(targets)].format(split=split, name=name, stem=Path(name).stem),
        )
        for i, (name, split) in enumerate(r[:2] for r in rows)
    ]
    write_rows(folder / "annotation.csv", listed, ("image_path", "split", column))
    return folder


def test_labels_by_name(tmp_path: Path) -> None:
    folder = write_published(LABELS, tmp_path)
    published = LocalSource(LABELS, folder)
    source = LocalSource(LABELS, with_paths(LABELS, folder))
    assert source.class_names == published.class_names
    for split in source.splits:
        rows, expected = source.rows(split), published.rows(split)
        by_name = {Path(i).name: t for i, t in zip(rows.sample_ids, rows.targets, strict=True)}
        assert by_name == dict(zip(expected.sample_ids, expected.targets, strict=True))
        assert rows.meta is None
    report = verify_folder(LABELS, folder)
    assert report.problems == []
    assert not any("in no sample" in note for note in report.notes)


def test_an_image_that_is_not_listed_is_noted(tmp_path: Path) -> None:
    folder = with_paths(LABELS, write_published(LABELS, tmp_path))
    first, *others = read_rows(folder / "annotation.csv")
    write_rows(folder / "annotation.csv", others, ("image_path", "split", "label"))
    (note,) = [n for n in verify_folder(LABELS, folder).notes if "in no sample" in n]
    assert note.startswith("1 files")
    assert first[0] in note


def test_lists_of_subsets(tmp_path: Path) -> None:
    folder = with_paths(LABELS, write_published(LABELS, tmp_path))
    source, subset = LocalSource(LABELS, folder), parse_subset("few_shot_2")
    generated = select(source, subset)
    (path,) = write_subsets(source, [subset]).files
    listed = select(LocalSource(LABELS, folder), subset)
    assert (listed.origin, listed.digest) == ("published", generated.digest)
    with path.open() as file:
        assert next(csv.reader(file)) == ["file_id", "image_path", "split", "label"]


def test_masks_may_lie_anywhere(tmp_path: Path) -> None:
    folder = write_published(MASKS, tmp_path)
    published = LocalSource(MASKS, folder)
    (folder / "data" / "train" / "masks").rename(folder / "elsewhere")
    for split in ("val", "test"):
        for path in (folder / "data" / split / "masks").iterdir():
            path.rename(folder / "elsewhere" / path.name)
    source = LocalSource(MASKS, with_paths(MASKS, folder, ["elsewhere/{name}"]))
    for i, sample_id in enumerate(source.rows("val").sample_ids):
        raw, expected = source.read("val", i), published.rows("val").sample_ids[i]
        assert raw.mask is not None
        assert Path(raw.mask.where) == folder / "elsewhere" / Path(sample_id).name
        assert Path(sample_id).name == expected
    assert verify_folder(MASKS, folder).problems == []


@pytest.mark.parametrize(
    "targets",
    [
        ["data/{split}/labels/{stem}.txt"],
        ["data/{split}/pascal_voc/{stem}.xml"],
        ["data/{split}/coco_annotations.json"],
        ["data/{split}/labels/{stem}.txt", "data/{split}/pascal_voc/{stem}.xml"],
    ],
)
def test_boxes_of_any_form(targets: list[str], tmp_path: Path) -> None:
    folder = write_published(BOXES, tmp_path)
    published = LocalSource(BOXES, folder)
    expected = [published.read("train", i).boxes for i in range(len(published.rows("train")))]
    source = LocalSource(BOXES, with_paths(BOXES, folder, targets))
    assert source.class_names == published.class_names
    for i, own in enumerate(expected):
        boxes = source.read("train", i).boxes
        assert boxes is not None
        assert own is not None
        assert boxes.labels.tolist() == own.labels.tolist()
        assert abs(boxes.xyxy - own.xyxy).max(initial=0) < 1.6  # whole pixels of Pascal VOC
    assert verify_folder(BOXES, folder).problems == []


def test_the_revision_covers_coco_files(tmp_path: Path) -> None:
    folder = write_published(BOXES, tmp_path)
    with_paths(BOXES, folder, ["data/{split}/coco_annotations.json"])
    before = LocalSource(BOXES, folder)
    file = folder / "data" / "train" / "coco_annotations.json"
    content = json.loads(file.read_text())
    content["annotations"] = content["annotations"][1:]
    file.write_text(json.dumps(content))
    after = LocalSource(BOXES, folder)
    assert after.revision != before.revision
    assert after.rows("train").fingerprint != before.rows("train").fingerprint
    assert after.rows("val").fingerprint == before.rows("val").fingerprint


def test_categories_are_matched_by_name(tmp_path: Path) -> None:
    """Other tools number categories freely; a name that is no class is an error, never a guess."""
    folder = write_published(BOXES, tmp_path)
    with_paths(BOXES, folder, ["data/{split}/coco_annotations.json"])
    expected = LocalSource(BOXES, folder).read("train", 0).boxes
    file = folder / "data" / "train" / "coco_annotations.json"
    content = json.loads(file.read_text())
    numbers = {1: 2, 2: 1}
    for category in content["categories"]:
        category["id"] = numbers.get(category["id"], category["id"])
    for box in content["annotations"]:
        box["category_id"] = numbers[box["category_id"]]
    for image in content["images"]:
        image["file_name"] = f"C:\\photos\\{image['file_name']}"
    file.write_text(json.dumps(content))
    boxes = LocalSource(BOXES, folder).read("train", 0).boxes
    assert boxes is not None
    assert expected is not None
    assert boxes.labels.tolist() == expected.labels.tolist()
    for category in content["categories"]:
        if category["name"] == "cone":
            category["name"] = "rock"
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="named 'rock', which is not a class"):
        LocalSource(BOXES, folder).read("train", 0)


@pytest.mark.parametrize("path", ["../elsewhere.png", "/etc/passwd", "", "C:\\x.png", "a\0b"])
def test_paths_stay_in_the_folder(path: str, tmp_path: Path) -> None:
    folder = with_paths(LABELS, write_published(LABELS, tmp_path))
    rows = read_rows(folder / "annotation.csv")
    named = [(f"x{i}", *row) for i, row in enumerate(rows)]
    named[0] = ("x0", path, *named[0][2:])
    write_rows(folder / "annotation.csv", named, ("file_id", "image_path", "split", "label"))
    with pytest.raises(DataError, match=r"(line 2: image_path|is not a CSV file)"):
        LocalSource(LABELS, folder)


def test_the_published_layout_needs_its_mapping(tmp_path: Path) -> None:
    folder = write_published(LABELS, tmp_path)
    (folder / "mapping.json").unlink()
    with pytest.raises(DataError, match=r"mapping\.json cannot be read"):
        LocalSource(LABELS, folder)


def test_other_files_are_no_boxes(tmp_path: Path) -> None:
    folder = with_paths(BOXES, write_published(BOXES, tmp_path), ["data/{split}/images/{name}"])
    with pytest.raises(DataError, match="is not a file of boxes by its suffix"):
        LocalSource(BOXES, folder).read("train", 0)
