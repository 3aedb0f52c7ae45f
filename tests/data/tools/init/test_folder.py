"""A task of a user's own folder, from the files to opened samples."""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from marsbench.base.errors import ConfigError, DataError, MarsbenchError
from marsbench.data.samples import decode_sample
from marsbench.data.sources import open_source
from marsbench.data.tools.convert import convert
from marsbench.data.tools.init.folder import Initialised, Options, init_task
from marsbench.data.tools.verify.folder import verify_folder
from marsbench.tasks.catalog import get_task
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import SPLITS


def picture(path: Path, value: int, side: int = 8, bands: int = 1) -> Path:
    """Write a noisy image that differs from those of other values."""
    rng = np.random.default_rng(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (side, side) if bands == 1 else (side, side, bands)
    Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(path)
    return path


def mask(path: Path, ids: Sequence[int], side: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.resize(np.array(ids, dtype=np.uint8), (side, side))
    Image.fromarray(values).save(path)
    return path


def class_folders(folder: Path, sizes: dict[str, int]) -> Path:
    value = 0
    for name, n in sizes.items():
        for i in range(n):
            value += 1
            picture(folder / name / f"{name.strip()}_{i // 2:02d}_{i % 2}.png", value)
    return folder


def with_masks(folder: Path, n: int = 8, ids: Sequence[int] = (0, 1, 2, 255)) -> Path:
    for i in range(n):
        picture(folder / "images" / f"{i}.png", i)
        mask(folder / "masks" / f"{i}.png", ids if i % 4 else [0])
    return folder


def with_boxes(folder: Path, form: str, n: int = 8) -> Path:
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for i in range(n):
        picture(folder / "images" / f"{i}.png", i)
        images.append({"id": i, "file_name": f"photos/{i}.png", "height": 8, "width": 8})
        kind = i % 2
        boxes.append({"id": i, "image_id": i, "category_id": 40 + kind, "bbox": [1, 2, 4, 4]})
        if form == "yolo":
            (folder / "labels").mkdir(exist_ok=True)
            (folder / "labels" / f"{i}.txt").write_text(f"{kind} 0.375 0.5 0.5 0.5\n")
        elif form == "voc":
            (folder / "annotations").mkdir(exist_ok=True)
            (folder / "annotations" / f"{i}.xml").write_text(
                f"<annotation><object><name>{('cone', 'pit')[kind]}</name><bndbox><xmin>1</xmin>"
                "<ymin>2</ymin><xmax>5</xmax><ymax>6</ymax></bndbox></object></annotation>"
            )
    if form == "yolo":
        (folder / "data.yaml").write_text("names: {1: pit, 0: cone}\n")
    elif form == "coco":
        names = [(0, "things"), (41, "pit"), (40, "cone")]
        categories = [{"id": i, "name": name} for i, name in names]
        content = {"images": images, "annotations": boxes, "categories": categories}
        (folder / "all.json").write_text(json.dumps(content))
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "annotation.csv").open() as file:
        return list(csv.DictReader(file))


def check(made: Initialised) -> None:
    """Open the task as a run does, decode all samples, and verify the folder."""
    spec = get_task(str(made.folder))
    source = open_source(spec)
    assert source.where == str(made.folder)
    for split in SPLITS:
        rows = source.rows(split)
        assert len(rows) == made.sizes[split]
        for i in range(len(rows)):
            decode_sample(spec, source.read(split, i))
    assert verify_folder(spec).problems == []
    assert set(made.files) == {made.folder / "task.yaml", made.folder / "annotation.csv"}


def test_class_folders(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "My Rocks", {"layered": 20, "sharp rock": 10})
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    made = init_task(folder)
    check(made)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path in before}
    assert (made.name, made.kind, made.detected) == ("my_rocks", Kind.BINARY, "2 class folders")
    assert made.counts == {
        "layered": {"train": 14, "val": 3, "test": 3},
        "sharp rock": {"train": 7, "val": 2, "test": 1},
    }
    assert {row["label"] for row in rows_of(folder)} == {"layered", "sharp rock"}
    source = open_source(get_task(str(folder)))
    for split in SPLITS:
        rows = source.rows(split)
        for sample_id, label in zip(rows.sample_ids, rows.targets, strict=True):
            assert sample_id.startswith(source.class_names[label])
    assert init_task(folder, Options(force=True)).counts == made.counts
    assert any(command.startswith("marsbench run task='") for command in made.commands)


def test_the_kind_of_more_classes_and_colours(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "rocks", {"a": 4, "b": 4, "c": 4})
    picture(folder / "a" / "colour.png", 99, bands=3)
    made = init_task(folder)
    check(made)
    assert made.kind is Kind.MULTICLASS
    assert get_task(str(folder)).channels == 3
    assert any("grey" in note and "colour" in note for note in made.notes)


@pytest.mark.parametrize("names", [("10", "9"), ("no", "yes"), ("1.0", "true")])
def test_names_that_are_no_text_elsewhere(names: tuple[str, str], tmp_path: Path) -> None:
    """Numbers would be read as class ids in a table, and truth values in YAML."""
    folder = class_folders(tmp_path / "rocks", dict.fromkeys(names, 5))
    check(init_task(folder))
    source = open_source(get_task(str(folder)))
    rows = source.rows("train")
    assert set(source.class_names) == set(names)
    for sample_id, label in zip(rows.sample_ids, rows.targets, strict=True):
        assert sample_id.startswith(f"{source.class_names[label]}/")


def test_groups_never_cross(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "rocks", {"a": 20, "b": 20})
    made = init_task(folder, Options(group_by=r"(\w+_\d+)_\d"))
    check(made)
    splits: dict[str, set[str]] = {}
    for row in rows_of(folder):
        splits.setdefault(row["group"], set()).add(row["split"])
    assert len(splits) == 20
    assert all(len(own) == 1 for own in splits.values())
    assert "20 groups stay together" in made.notes[0]
    # The column serves train_on= and scores of groups.
    meta = open_source(get_task(str(folder))).rows("train").meta
    assert meta is not None
    assert set(meta[0]) == {"group"}


def test_copies_stay_together(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "rocks", {"a": 20, "b": 20})
    for i in range(10):
        shutil.copy(folder / "a" / f"a_{i:02d}_0.png", folder / "a" / f"copy{i}.png")
    made = init_task(folder)
    splits = {row["image_path"]: row["split"] for row in rows_of(folder)}
    assert all(splits[f"a/a_{i:02d}_0.png"] == splits[f"a/copy{i}.png"] for i in range(10))
    assert any("10 image(s) occur more than once" in note for note in made.notes)
    assert not any("more than one split" in note for note in made.notes)
    # Folders of a user are taken as they are, and copies across them are named.
    for path in [*folder.iterdir()]:
        path.unlink() if path.is_file() else shutil.rmtree(path)
    for split in SPLITS:
        class_folders(folder / split, {"a": 3, "b": 3})
    made = init_task(folder)
    assert made.notes[0] == "splits: the folders train, val and test"
    assert any("6 image(s) occur in more than one split" in note for note in made.notes)


def test_many_copies_of_an_image_are_counted(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "rocks", {"a": 4, "b": 4})
    for i in range(30):
        shutil.copy(folder / "a" / "a_00_0.png", folder / "a" / f"copy{i:02d}.png")
    (note,) = [note for note in init_task(folder).notes if "more than once" in note]
    names = "a/a_00_0.png = a/copy00.png = a/copy01.png = a/copy02.png"
    assert note == f"1 image(s) occur more than once: {names} = and 27 more"


def test_folders_of_splits(tmp_path: Path) -> None:
    folder = tmp_path / "rocks"
    for i, split in enumerate(("training", "valid")):
        for name in "ab":
            for k in range(20):
                picture(folder / split / name / f"{k}.png", 100 * i + k + 50 * (name == "a"))
    made = init_task(folder)
    check(made)
    assert made.sizes["val"] == 40
    assert made.sizes["test"] == 7
    assert made.sizes["train"] + made.sizes["test"] == 40
    assert "divided with seed 0: train 0.823529, test 0.176471" in made.notes[0]
    made = init_task(folder, Options(splits="0.5,0.25,0.25", force=True))
    assert made.sizes == {"train": 40, "val": 20, "test": 20}
    picture(folder / "a" / "outside.png", 500)
    with pytest.raises(DataError, match=r"1 image\(s\) .* in no train, val or test folder"):
        init_task(folder, Options(force=True))


def test_a_class_may_be_named_as_a_split(tmp_path: Path) -> None:
    made = init_task(class_folders(tmp_path / "rocks", {"control": 5, "test": 5}))
    check(made)
    assert [*made.counts] == ["control", "test"]


def test_an_update_needs_a_kind_of_folders(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "rocks", {"a": 5, "b": 5})
    init_task(folder)
    text = (folder / "task.yaml").read_text().replace("kind: binary", "kind: multilabel")
    (folder / "task.yaml").write_text(text)
    with pytest.raises(ConfigError, match="is a task of several labels"):
        init_task(folder, Options(update=True))


def test_masks(tmp_path: Path) -> None:
    folder = with_masks(tmp_path / "cones")
    picture(folder / "images" / "extra.png", 77)
    made = init_task(folder, Options(classes=("background", "cone", "pit")))
    check(made)
    assert made.kind is Kind.SEGMENTATION
    assert any("1 image(s) without a mask are left out: images/extra.png" in n for n in made.notes)
    assert sum(made.counts["cone"].values()) == 6
    source = open_source(get_task(str(folder)))
    raw = source.read("train", 0)
    assert raw.mask is not None
    assert Path(raw.mask.where).name == Path(raw.where).name
    out = convert(get_task(str(folder)), source, tmp_path / "out")
    copy = open_source(get_task(str(folder)), root=out)
    assert [len(copy.rows(s)) for s in SPLITS] == [len(source.rows(s)) for s in SPLITS]


def test_names_of_masks(tmp_path: Path) -> None:
    folder = with_masks(tmp_path / "cones")
    assert [*init_task(folder).counts] == ["background", "class_1", "class_2"]
    (folder / "classes.txt").write_text("background\ncone\npit\n")
    assert [*init_task(folder, Options(force=True)).counts] == ["background", "cone", "pit"]
    beside = tmp_path / "beside"
    for i in range(4):
        picture(beside / f"{i}.jpg", i)
        mask(beside / f"{i}_mask.png", [0, 1])
    made = init_task(beside)
    check(made)
    assert rows_of(beside)[0]["mask_path"] == "0_mask.png"


@pytest.mark.parametrize("form", ["yolo", "voc", "coco"])
def test_boxes(form: str, tmp_path: Path) -> None:
    folder = with_boxes(tmp_path / "cones", form)
    made = init_task(folder)
    check(made)
    assert made.kind is Kind.DETECTION
    assert {name: sum(own.values()) for name, own in made.counts.items()} == {"cone": 4, "pit": 4}
    source = open_source(get_task(str(folder)))
    for split in SPLITS:
        for i, sample_id in enumerate(source.rows(split).sample_ids):
            boxes = source.read(split, i).boxes
            assert boxes is not None
            assert boxes.xyxy.tolist() == [[1, 2, 5, 6]]
            name = source.class_names[boxes.labels[0]]
            assert name == ("cone", "pit")[int(Path(sample_id).stem) % 2]


def test_coco_files_of_splits(tmp_path: Path) -> None:
    folder = tmp_path / "cones"
    for split in ("train", "valid", "test"):
        with_boxes(folder / split, "coco", n=4)
    made = init_task(folder)
    assert made.sizes == {"train": 4, "val": 4, "test": 4}
    check(made)
    targets = {row["split"]: row["boxes_path"] for row in rows_of(folder)}
    assert targets == {"train": "train/all.json", "val": "valid/all.json", "test": "test/all.json"}


def test_an_update_keeps_splits(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "rocks", {"a": 20, "b": 20})
    init_task(folder)
    before = {row["image_path"]: row for row in rows_of(folder)}
    text = (folder / "task.yaml").read_text().replace("title: Rocks", "title: My title")
    (folder / "task.yaml").write_text(text)
    for i in range(10):
        picture(folder / "a" / f"0_{i}.png", 1000 + i)
    with pytest.raises(ConfigError, match="is a task already"):
        init_task(folder)
    made = init_task(folder, Options(update=True))
    after = {row["image_path"]: row for row in rows_of(folder)}
    assert len(after) == 50
    assert {path: after[path] for path in before} == before
    assert made.counts["a"]["train"] == 21
    assert {made.counts["a"][split] for split in ("val", "test")} == {4, 5}
    assert (folder / "task.yaml").read_text() == text
    (folder / "a" / "0_0.png").unlink()
    with pytest.raises(DataError, match=r"1 image\(s\) .* are missing"):
        init_task(folder, Options(update=True))


def test_an_update_keeps_splits_changed_by_hand(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "rocks", {"a": 10, "b": 10})
    shutil.copy(folder / "a" / "a_00_0.png", folder / "a" / "copy.png")
    init_task(folder)
    text = (folder / "annotation.csv").read_text()
    (own,) = [row["split"] for row in rows_of(folder) if row["image_path"] == "a/copy.png"]
    other = next(split for split in SPLITS if split != own)
    changed = text.replace(f"a/copy.png,{own}", f"a/copy.png,{other}")
    (folder / "annotation.csv").write_text(changed)
    made = init_task(folder, Options(update=True))
    assert (folder / "annotation.csv").read_text() == changed
    assert made.sizes == {s: changed.count(f",{s},") for s in SPLITS}
    assert any("1 image(s) occur in more than one split" in note for note in made.notes)


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        ("ESP_01{0}677_1655_RED-{1}.png", "--group-by observation keeps"),
        ("crater{0}_png.rf.{1}.png", r"--group-by '([^/]+)\.rf\.' keeps"),
        ("photo{0}_{1}.png", ""),
    ],
)
def test_groups_are_suggested(name: str, expression: str, tmp_path: Path) -> None:
    for i in range(12):
        picture(tmp_path / "ab"[i % 2] / name.format(i // 4, i), i)
    made = init_task(tmp_path, Options(name="rocks"))
    notes = [note for note in made.notes if "the images show" in note]
    assert len(notes) == bool(expression)
    assert all("show 3 groups" in note and expression in note for note in notes)


def test_an_update_of_groups(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "rocks", {"a": 20, "b": 20})
    init_task(folder, Options(group_by=r"(\w+_\d+)_\d"))
    for i in range(10):
        picture(folder / "a" / f"a_{i:02d}_7.png", 1000 + i)
    with pytest.raises(ConfigError, match=r"has groups \(column group\)"):
        init_task(folder, Options(update=True))
    init_task(folder, Options(update=True, group_by=r"(\w+_\d+)_\d"))
    splits: dict[str, set[str]] = {}
    for row in rows_of(folder):
        splits.setdefault(row["group"], set()).add(row["split"])
    assert len(splits) == 20
    assert all(len(own) == 1 for own in splits.values())


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "rocks", {"a": 5, "b": 5})
    before = sorted(folder.rglob("*"))
    assert init_task(folder, Options(dry_run=True)).files == []
    assert sorted(folder.rglob("*")) == before


def test_nothing_is_replaced_without_force(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "rocks", {"a": 5, "b": 5})
    (folder / "annotation.csv").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds annotation\.csv"):
        init_task(folder)
    assert (folder / "annotation.csv").read_text() == "mine"
    init_task(folder, Options(force=True, name="stones"))
    values = yaml.safe_load((folder / "task.yaml").read_text())
    assert (values["name"], values["kind"]) == ("stones", "binary")
    assert Counter(row["split"] for row in rows_of(folder)) == {"train": 6, "val": 2, "test": 2}


def test_runs_within_the_folder_are_no_images(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "rocks", {"a": 5, "b": 5})
    run = folder / "runs" / "rocks" / "resnet18"
    picture(run / "pictures" / "curve.png", 60)
    (run / "record.json").write_text("{}")
    assert sum(init_task(folder).sizes.values()) == 10


def test_all_errors_are_ours(tmp_path: Path) -> None:
    with pytest.raises(MarsbenchError, match="is not a folder"):
        init_task(tmp_path / "gone")
