import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from marsbench.base.errors import ConfigError, DataError
from marsbench.config.schema import SourceName, Subset, parse_subset
from marsbench.data import decode
from marsbench.data.boxes.forms import BoxFormat
from marsbench.data.rows import Raw, Rows, Source
from marsbench.data.sources.demo import DemoSource
from marsbench.data.sources.local import LocalSource
from marsbench.data.subsets import select
from marsbench.data.tools.convert import convert
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import ClassInfo, TaskSpec
from tests.fakes import make_spec, read_rows, write_folder, write_rows

SPECS = {
    "one label": make_spec(),
    "several labels": make_spec(Kind.MULTILABEL),
    "pairs": make_spec(Kind.BINARY, ("Change", "No change"), decode=Decode.PAIR_LABEL),
    "masks": make_spec(
        Kind.SEGMENTATION, ("background", "crater", "dune/ripple"), decode=Decode.IMAGE_MASK
    ),
    "seven bands": make_spec(
        Kind.SEGMENTATION, ("background", "slide"), decode=Decode.IMAGE_MASK, channels=7
    ),
    "boxes": make_spec(
        Kind.DETECTION, ("cone", "dust devil"), decode=Decode.IMAGE_BOXES, channels=3
    ),
}


def content(raw: Raw | None) -> Any:
    """What a raw file holds, pixels for arrays."""
    if raw is None:
        return None
    image = raw.image if isinstance(raw.image, bytes) else raw.image.tolist()
    found = raw.boxes
    boxes = None if found is None else (found.xyxy.tolist(), found.labels.tolist())
    return image, content(raw.after), content(raw.mask), boxes, dict(raw.meta)


def assert_same(one: Source, other: Source) -> None:
    assert one.class_names == other.class_names
    assert one.splits == other.splits
    for split in one.splits:
        assert list(one.rows(split).sample_ids) == list(other.rows(split).sample_ids)
        assert np.array_equal(one.rows(split).targets, other.rows(split).targets)
        for i in range(len(one.rows(split))):
            assert content(one.read(split, i)) == content(other.read(split, i))


@pytest.mark.parametrize("name", SPECS)
def test_a_folder_survives(name: str, tmp_path: Path) -> None:
    spec = SPECS[name]
    source = LocalSource(spec, write_folder(spec, tmp_path / "before"))
    folder = convert(spec, source, tmp_path / "after")
    assert folder == tmp_path / "after" / "mb-toy"
    again = LocalSource(spec, folder)
    assert_same(source, again)
    assert [p.name for p in folder.parent.iterdir()] == ["mb-toy"]
    # And once more: nothing drifts.
    third = LocalSource(spec, convert(spec, again, tmp_path / "third"))
    assert third.revision == again.revision


def test_the_mapping_holds_a_code_and_a_name(tmp_path: Path) -> None:
    expected = {
        "boxes": [["background"] * 2, ["dust_devil", "dust devil"], ["cone", "cone"]],
        "masks": [["background"] * 2, ["dune_ripple", "dune/ripple"], ["crater", "crater"]],
    }
    for name, entries in expected.items():
        spec = SPECS[name]
        source = LocalSource(spec, write_folder(spec, tmp_path / name))
        mapping = json.loads((convert(spec, source, tmp_path / f"{name}2") / "mapping.json")
                             .read_text())  # fmt: skip
        assert mapping == {str(i): entry for i, entry in enumerate(entries)}


def test_a_class_named_by_a_code_alone_stays_so(tmp_path: Path) -> None:
    spec = make_spec(classes=("aeolian curved", "aeolian straight"))
    folder = write_folder(spec, tmp_path)
    (folder / "mapping.json").write_text('{"0": "ael", "1": "aec"}')
    source = LocalSource(spec, folder)
    assert source.class_names == ("ael", "aec")
    assert_same(source, LocalSource(spec, convert(spec, source, tmp_path / "out")))


@pytest.mark.parametrize("forms", [[form] for form in BoxFormat] + [list(BoxFormat)])
def test_boxes_in_the_forms_chosen(forms: Sequence[BoxFormat], tmp_path: Path) -> None:
    spec = SPECS["boxes"]
    source = LocalSource(spec, write_folder(spec, tmp_path))
    folder = convert(spec, source, tmp_path / "out", forms)
    assert_same(source, LocalSource(spec, folder))
    names = {"coco_annotations.json": BoxFormat.COCO, "labels": BoxFormat.YOLO,
             "pascal_voc": BoxFormat.VOC}  # fmt: skip
    found = {path.name for path in (folder / "data" / "train").iterdir()}
    assert found == {"images", *(name for name, form in names.items() if form in forms)}
    with pytest.raises(ConfigError, match="coco, yolo, voc"):
        convert(spec, source, tmp_path / "none", [])


def test_other_columns_and_subsets_are_kept(tmp_path: Path) -> None:
    spec = SPECS["one label"]
    folder = write_folder(spec, tmp_path)
    header = ("file_id", "split", "feature_name", "label", "region", "note")
    rows = [(*r, f"region {i % 3}", "a, 'b'\nc") for i, r in enumerate(
        read_rows(folder / "annotation.csv"))]  # fmt: skip
    write_rows(folder / "annotation.csv", rows, header)
    train = [r for r in rows if r[1] == "train"]
    write_rows(folder / "few_shot" / "2_shot.csv", train[5:11][::-1], header)
    write_rows(folder / "partitions" / "0.25x_partition.csv", train[:6], header)
    source = LocalSource(spec, folder)
    again = LocalSource(spec, convert(spec, source, tmp_path / "out"))
    assert_same(source, again)
    for name in ("few_shot_2", "partition_0.25", "few_shot_1"):
        subset = parse_subset(name)
        assert again.subset_ids(subset) == source.subset_ids(subset)
        if name != "few_shot_1":
            assert select(again, subset).digest == select(source, subset).digest  # fmt: skip
    listed = read_rows(again.folder / "partitions" / "0.25x_partition.csv")
    assert [sum(r[1] == s for r in listed) for s in ("train", "val", "test")] == [6, 9, 12]
    assert not (again.folder / "few_shot" / "1_shot.csv").exists()


def test_all_lists_are_kept(tmp_path: Path) -> None:
    spec = SPECS["one label"]
    folder = write_folder(spec, tmp_path)
    train = [r for r in read_rows(folder / "annotation.csv") if r[1] == "train"]
    for name in ("few_shot/3_shot.csv", "few_shot/all_shot.csv", "partitions/0.33x_partition.csv",
                 "partitions/0.5x_partition.csv"):  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        write_rows(folder / name, train[:9])
    source = LocalSource(spec, folder)
    assert [str(s) for s in source.subsets] == ["few_shot_3", "partition_0.33"]
    again = LocalSource(spec, convert(spec, source, tmp_path / "out"))
    assert again.subsets == source.subsets
    for subset in source.subsets:
        assert again.subset_ids(subset) == source.subset_ids(subset) == [r[0] for r in train[:9]]


@pytest.mark.parametrize("name", ["a.pgm", "a.jpe", "a.JFIF", "a", "ESP_011677.1655", "s/a.XYZ"])
@pytest.mark.parametrize("kind", ["one label", "masks", "boxes"])
def test_files_keep_their_names(kind: str, name: str, tmp_path: Path) -> None:
    spec = SPECS[kind]
    folder = write_folder(spec, tmp_path, sizes={"train": 2})
    rows = read_rows(folder / "annotation.csv")
    images = folder / "data" / "train" / (rows[0][2] if kind == "one label" else "images")
    (images / name).parent.mkdir(exist_ok=True)
    (images / "train_0000.png").rename(images / name)
    stem = name.rpartition(".")[0] or name
    for other in (folder / "data" / "train").rglob("train_0000.*"):
        moved = other.parent / (stem + other.suffix)
        moved.parent.mkdir(exist_ok=True)
        other.rename(moved)
    coco = folder / "data" / "train" / "coco_annotations.json"
    if coco.exists():
        coco.write_text(coco.read_text().replace("train_0000.png", name))
    header = ("file_id", "split", "feature_name", "label")[: len(rows[0])]
    write_rows(folder / "annotation.csv", [(name, *rows[0][1:]), *rows[1:]], header)
    source = LocalSource(spec, folder)
    again = LocalSource(spec, convert(spec, source, tmp_path / "out"))
    assert_same(source, again)
    assert {str(f.relative_to(source.folder)) for f in source.files("train", 0)[1:]} == {
        str(f.relative_to(again.folder)) for f in again.files("train", 0)[1:]
    }


def test_two_conversions_do_not_meet(tmp_path: Path) -> None:
    """The second one ends first, as threads of one process may."""
    spec = SPECS["masks"]
    outer = Drawn(spec)
    read = outer.read

    def reading(split: str, index: int) -> Raw:
        if not (tmp_path / "mb-toy").exists():
            convert(spec, Drawn(spec), tmp_path)
        return read(split, index)

    outer.read = reading  # type: ignore[method-assign]
    with pytest.raises(DataError, match="cannot be written"):
        convert(spec, outer, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mb-toy"]
    assert LocalSource(spec, tmp_path / "mb-toy").splits == ("train", "test")


def test_the_folder_is_open_to_others(tmp_path: Path) -> None:
    spec = SPECS["masks"]
    (tmp_path / "plain").mkdir()
    wanted = (tmp_path / "plain").stat().st_mode
    assert convert(spec, Drawn(spec), tmp_path).stat().st_mode == wanted


class Drawn:
    """A source of finished arrays, as a generator is."""

    name = SourceName.DEMO
    where = "drawn"
    revision = "drawn:1"
    splits = ("train", "test")
    holds = Subset()
    notes: tuple[str, ...] = ()

    def __init__(self, spec: TaskSpec, ids: Sequence[str] = ("c", "a", "b")) -> None:
        self.spec, self.class_names, self.ids = spec, spec.class_names, sorted(ids)
        self.fail_at: int | None = None

    def rows(self, split: str) -> Rows:
        if self.spec.kind.is_classification:
            targets: npt.NDArray[np.integer] = np.arange(len(self.ids)) % len(self.class_names)
        else:
            targets = np.zeros((len(self.ids), 0), np.uint8)
        order = np.arange(len(self.ids))[::-1].copy()
        return Rows(split, self.ids, targets, "f", reading_order=order)

    def read(self, split: str, index: int) -> Raw:
        if index == self.fail_at:
            raise KeyboardInterrupt
        rng = np.random.default_rng(index)
        image = rng.integers(256, size=(6, 8, self.spec.channels), dtype=np.uint8)
        where = f"drawn {split} {index}"
        if self.spec.is_pairs:
            return Raw(image, where, Raw(255 - image, f"{where}, after"))
        if self.spec.has_masks:
            ids = np.full((6, 8, 1), index % 2 * 255, np.uint8)
            return Raw(image, where, mask=Raw(ids, f"{where}, mask"))
        if self.spec.has_boxes:
            corners = np.array([[0.5, 1.25, 3.1, 5.0625]] * index).reshape(-1, 4)
            return Raw(image, where, boxes=Boxes(corners, np.zeros(index, np.int64)))
        return Raw(image, where, meta={"seed": index, "region": None})

    def subset_ids(self, subset: Subset) -> list[str] | None:
        return [self.ids[len(self.ids) // 2]] if str(subset) == "partition_0.50" else None


@pytest.mark.parametrize("name", ["one label", "pairs", "masks", "boxes"])
def test_arrays_become_png_files(name: str, tmp_path: Path) -> None:
    spec = SPECS[name]
    source = Drawn(spec)
    again = LocalSource(spec, convert(spec, source, tmp_path))
    suffix = "_before.png" if name == "pairs" else ".png"
    for split in source.splits:
        assert again.rows(split).sample_ids == [f"{i}{suffix}" for i in "abc"]
        assert np.array_equal(again.rows(split).targets, source.rows(split).targets)
        for i in range(3):
            before, after = source.read(split, i), again.read(split, i)
            assert np.array_equal(decode.image(after, spec.channels), before.image)
            if name == "pairs":
                both = decode.pair(before, 1), decode.pair(after, 1)
                assert np.array_equal(*both)
            if name == "masks":
                assert np.array_equal(decode.mask(before, 3), decode.mask(after, 3))
            if name == "boxes":
                assert content(before)[3] == content(after)[3]
            if name == "one label":
                assert after.meta == {"seed": str(i), "region": ""}
    assert again.subset_ids(parse_subset("partition_0.50")) == [f"b{suffix}"]


def test_demo_data(tmp_path: Path) -> None:
    from marsbench.tasks.catalog import get_task

    spec = get_task("change_cls_ctx")
    source = DemoSource(spec, 0.1)
    again = LocalSource(spec, convert(spec, source, tmp_path))
    for split in source.splits:
        expected = [f"{i}_before.png" for i in source.rows(split).sample_ids]
        assert again.rows(split).sample_ids == expected
        names = [again.class_names[i] for i in again.rows(split).targets]
        assert names == [source.class_names[i] for i in source.rows(split).targets]
        pairs = decode.pair(source.read(split, 0), 1), decode.pair(again.read(split, 0), 1)
        assert np.array_equal(*pairs)


@pytest.mark.parametrize(
    ("sample_id", "name"),
    [
        ("ESP_011677.1655", "ESP_011677.1655.png"),
        ("a.JPG", "a.JPG"),
        ("south/a", "south/a.png"),
    ],
)
def test_ids_that_are_no_file_names_get_a_suffix(sample_id: str, name: str, tmp_path: Path) -> None:
    spec = SPECS["masks"]
    again = LocalSource(spec, convert(spec, Drawn(spec, [sample_id]), tmp_path))
    assert again.rows("train").sample_ids == [name]


@pytest.mark.parametrize("bad", ["../a", "/a", "..", "", "a\nb", " a", "a\0", "a/../../b"])
@pytest.mark.parametrize("name", ["one label", "boxes"])
def test_ids_stay_in_the_folder(bad: str, name: str, tmp_path: Path) -> None:
    spec = SPECS[name]
    with pytest.raises(DataError, match="not a valid file name"):
        convert(spec, Drawn(spec, ["fine", bad]), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_samples_of_one_file_name_are_an_error(tmp_path: Path) -> None:
    spec = SPECS["boxes"]
    with pytest.raises(DataError, match=r"both be written as a\.txt in labels/"):
        convert(spec, Drawn(spec, ["a.png", "a.jpg"]), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_an_interrupted_conversion(tmp_path: Path) -> None:
    spec = SPECS["masks"]
    source = Drawn(spec)
    source.fail_at = 0
    with pytest.raises(KeyboardInterrupt):
        convert(spec, source, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    spec = SPECS["masks"]
    (tmp_path / "mb-toy").mkdir()
    folder = convert(spec, Drawn(spec), tmp_path)  # an empty folder is no loss
    before = sorted(folder.rglob("*"))
    with pytest.raises(ConfigError, match="mb-toy exists already"):
        convert(spec, Drawn(spec), tmp_path)
    assert sorted(folder.rglob("*")) == before


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        convert(SPECS["masks"], Drawn(SPECS["masks"]), tmp_path / "file")


def test_part_of_a_train_split_is_not_a_folder(tmp_path: Path) -> None:
    source = Drawn(SPECS["masks"])
    source.holds = parse_subset("partition_0.10")
    with pytest.raises(ConfigError, match=r"partition_0\.10"):
        convert(SPECS["masks"], source, tmp_path)


def test_classes_that_make_no_code(tmp_path: Path) -> None:
    spec = make_spec()
    spec = type(spec)(**{**vars(spec), "classes": (ClassInfo("?"), ClassInfo("Krater ä/ö"))})
    again = LocalSource(spec, convert(spec, Drawn(spec), tmp_path))
    assert again.class_names == ("?", "Krater ä/ö")
