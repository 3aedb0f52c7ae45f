import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from marsbench.base.errors import ConfigError, DataError, DataNotFoundError, NotAvailableError
from marsbench.config.schema import SourceName, parse_subset
from marsbench.data.sources import open_source
from marsbench.data.sources.local import LocalSource
from marsbench.data.subsets import select
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import ClassInfo, TaskSpec
from tests.fakes import SIZES, make_spec, read_rows, write_folder, write_rows


@pytest.fixture
def spec() -> TaskSpec:
    return make_spec()


@pytest.fixture
def folder(spec: TaskSpec, tmp_path: Path) -> Path:
    return write_folder(spec, tmp_path)


def test_labels_may_be_floats_or_names(spec: TaskSpec, folder: Path) -> None:
    expected = LocalSource(spec, folder)
    rows = read_rows(folder / "annotation.csv")
    names = {"0": "Plain", "1": "dun1", "2": "2.0"}
    write_rows(folder / "annotation.csv", [(*row[:3], names[row[3]]) for row in rows])
    source = LocalSource(spec, folder)
    assert source.revision == expected.revision
    assert (source.rows("train").targets == expected.rows("train").targets).all()


def test_classes_may_share_a_code(spec: TaskSpec, folder: Path) -> None:
    """Published codes are first letters: ``whe`` is wheel, wheel joint and wheel tracks."""
    expected = LocalSource(spec, folder)
    mapping = {"0": ["a", "plain"], "1": ["a", "dune"], "2": ["crater", "crater"]}
    (folder / "mapping.json").write_text(json.dumps(mapping))
    rows = read_rows(folder / "annotation.csv")
    for path in list((folder / "data").glob("*/*")):
        for file in path.iterdir():
            target = path.with_name("a" if path.name != "cra2" else "crater") / file.name
            target.parent.mkdir(exist_ok=True)
            file.rename(target)
    moved = [(*row[:2], "crater" if row[2] == "cra2" else "a", row[3]) for row in rows]
    write_rows(folder / "annotation.csv", moved)
    source = LocalSource(spec, folder)
    assert source.revision == expected.revision
    write_rows(folder / "annotation.csv", [(*moved[0][:3], "a"), *moved[1:]])
    with pytest.raises(DataError, match=r"label 'a' .* neither a class id nor the name"):
        LocalSource(spec, folder)


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("[0.9]", "holds 0.9, which is not a whole number"),
        ("'01'", "is not a list"),
        ("[1e999]", "holds inf, which is neither"),
        ("1", "is not a list"),
        ("[3]", "holds 3, which is outside 0..2"),
        ("{0: 1}", "is not a list"),
        ("[" * 500 + "]" * 500, "is not a list"),
    ],
)
def test_cells_of_several_labels(cell: str, says: str, tmp_path: Path) -> None:
    spec = make_spec(Kind.MULTILABEL)
    folder = write_folder(spec, tmp_path)
    rows = read_rows(folder / "annotation.csv")
    write_rows(folder / "annotation.csv", [(*rows[0][:3], cell), *rows[1:]])
    with pytest.raises(DataError, match=r"line 2: label .* of train_0000\.png") as caught:
        LocalSource(spec, folder)
    assert says in str(caught.value)


@pytest.mark.parametrize("cell", ["(0, 2)", "[0.0, '2']", "['Plain', 'cra2']", "[2, 0, 2]"])
def test_spellings_of_several_labels(cell: str, tmp_path: Path) -> None:
    spec = make_spec(Kind.MULTILABEL)
    folder = write_folder(spec, tmp_path)
    rows = read_rows(folder / "annotation.csv")
    write_rows(folder / "annotation.csv", [(*rows[0][:3], cell), *rows[1:]])
    assert LocalSource(spec, folder).rows("train").targets[0].tolist() == [1, 0, 1]


@pytest.mark.parametrize("spelling", ["{}", "{}.0", "'{}'"])
def test_one_hot_labels_of_any_spelling(spelling: str, tmp_path: Path) -> None:
    spec = make_spec(Kind.MULTILABEL)
    folder = write_folder(spec, tmp_path)
    expected = LocalSource(spec, folder)
    rows = read_rows(folder / "annotation.csv")
    held = [set(json.loads(row[3])) for row in rows]
    cells = [f"[{', '.join(spelling.format(+(k in ids)) for k in range(3))}]" for ids in held]
    write_rows(
        folder / "annotation.csv",
        [(*row[:3], cell) for row, cell in zip(rows, cells, strict=True)],
    )
    assert LocalSource(spec, folder).revision == expected.revision


def test_a_one_hot_row_among_ids_is_no_list_of_ids(tmp_path: Path) -> None:
    spec = make_spec(Kind.MULTILABEL)
    folder = write_folder(spec, tmp_path)
    first, *others = read_rows(folder / "annotation.csv")
    rows = [(*first[:3], "[1, 0, 0]"), *((*row[:3], "[1, 2]") for row in others)]
    write_rows(folder / "annotation.csv", rows)
    with pytest.raises(DataError, match=r"'\[1, 0, 0\]' of .* is a 0 or 1 per class, but other"):
        LocalSource(spec, folder)


def test_labels_of_a_list_are_compared(spec: TaskSpec, folder: Path) -> None:
    rows = [row for row in read_rows(folder / "annotation.csv") if row[1] == "train"][:3]
    write_rows(folder / "few_shot" / "1_shot.csv", rows)
    source = LocalSource(spec, folder)
    assert len(select(source, parse_subset("few_shot_1")).indices) == 3
    write_rows(folder / "few_shot" / "1_shot.csv", [(*rows[0][:3], "2"), *rows[1:]])
    with pytest.raises(DataError, match=r"1_shot\.csv: 1 label\(s\) differ .*line 2: label 2"):
        select(source, parse_subset("few_shot_1"))


def test_index_follows_the_mapping_not_the_spec(spec: TaskSpec, folder: Path) -> None:
    source = LocalSource(spec, folder)
    assert source.class_names == ("plain", "dune", "crater")
    rows = source.rows("train")
    assert len(rows) == SIZES["train"]
    assert list(rows.sample_ids) == sorted(rows.sample_ids)
    label_of = {r[0]: int(r[3]) for r in read_rows(folder / "annotation.csv")}
    assert [label_of[s] for s in rows.sample_ids] == rows.targets.tolist()
    raw = source.read("train", 3)
    assert rows.sample_ids[3] in raw.where
    assert raw.image[:4] == b"\x89PNG"


def test_mapping_may_hold_plain_names_in_another_case(spec: TaskSpec, folder: Path) -> None:
    (folder / "mapping.json").write_text(json.dumps({"0": "DUNE", "1": "Plain", "2": "_crater"}))
    assert LocalSource(spec, folder).class_names == ("dune", "plain", "crater")


def test_a_mapping_may_begin_with_a_byte_order_mark(spec: TaskSpec, folder: Path) -> None:
    path = folder / "mapping.json"
    before = LocalSource(spec, folder).class_names
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert LocalSource(spec, folder).class_names == before


def test_aliases_match(tmp_path: Path) -> None:
    classes = (ClassInfo("aeolian curved", aliases=("aec",)), ClassInfo("cliff"))
    spec = make_spec()
    folder = write_folder(spec, tmp_path)
    spec = make_spec(classes=())
    spec = type(spec)(**{**vars(spec), "classes": classes})
    (folder / "mapping.json").write_text(json.dumps({"0": "cliff", "1": "AEC"}))
    rows = [r for r in read_rows(folder / "annotation.csv") if r[3] in "01"]
    write_rows(folder / "annotation.csv", rows)
    assert LocalSource(spec, folder).class_names == ("cliff", "aeolian curved")


def test_multilabel_labels_are_ids_or_zeros_and_ones(tmp_path: Path) -> None:
    spec = make_spec(Kind.MULTILABEL)
    folder = write_folder(spec, tmp_path)
    before = LocalSource(spec, folder).rows("train").targets
    assert before.shape == (SIZES["train"], 3)
    assert set(np.unique(before)) == {0, 1}
    assert before.sum(axis=1).min() >= 1
    hot = [
        (*r[:3], str([int(k in json.loads(r[3])) for k in range(3)]))
        for r in read_rows(folder / "annotation.csv")
    ]
    write_rows(folder / "annotation.csv", hot)
    assert (LocalSource(spec, folder).rows("train").targets == before).all()


def test_revision_is_the_contents_not_the_place(
    spec: TaskSpec, folder: Path, tmp_path: Path
) -> None:
    other = write_folder(spec, tmp_path / "elsewhere")
    first, second = LocalSource(spec, folder), LocalSource(spec, other)
    assert first.revision == second.revision
    assert first.rows("train").fingerprint != second.rows("train").fingerprint
    image = next((other / "data" / "val").rglob("*.png"))
    image.write_bytes(image.read_bytes() + b"\0")
    assert LocalSource(spec, other).revision != first.revision


def test_revision_changes_with_a_label(spec: TaskSpec, folder: Path) -> None:
    before = LocalSource(spec, folder).revision
    rows = read_rows(folder / "annotation.csv")
    path = folder / "data" / "train" / rows[0][2] / rows[0][0]
    target = folder / "data" / "train" / rows[1][2] / rows[0][0]
    path.rename(target)
    rows[0] = (rows[0][0], "train", rows[1][2], rows[1][3])
    write_rows(folder / "annotation.csv", rows)
    assert LocalSource(spec, folder).revision != before


def edit(folder: Path, change: Callable[[list[tuple[str, ...]]], list[tuple[str, ...]]]) -> None:
    rows = read_rows(folder / "annotation.csv")
    write_rows(folder / "annotation.csv", change(rows))


def drop_image(folder: Path) -> None:
    next((folder / "data" / "test").rglob("*.png")).unlink()


BAD: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "no mapping": (lambda f: (f / "mapping.json").unlink(), ["mapping.json", "cannot be read"]),
    "mapping not json": (
        lambda f: (f / "mapping.json").write_text("{"),
        ["mapping.json", "not JSON"],
    ),
    "mapping is a list": (
        lambda f: (f / "mapping.json").write_text('["a"]'),
        ["mapping.json", "does not map"],
    ),
    "ids with a gap": (
        lambda f: (f / "mapping.json").write_text('{"0": "plain", "2": "dune", "3": "crater"}'),
        ["[0, 2, 3]", "0 to 2"],
    ),
    "other classes": (
        lambda f: (f / "mapping.json").write_text('{"0": "plain", "1": "dune", "2": "spider"}'),
        ["spider", "crater", "custom task"],
    ),
    "one class twice": (
        lambda f: (f / "mapping.json").write_text('{"0": "plain", "1": "dune", "2": "dune"}'),
        ["two ids", "dune"],
    ),
    "no annotation column": (
        lambda f: (f / "annotation.csv").write_text("file,split\n"),
        ["annotation.csv", "no column file_id", "file,split"],
    ),
    "no rows": (lambda f: edit(f, lambda rows: []), ["annotation.csv", "no rows"]),
    "row cut short": (
        lambda f: (f / "annotation.csv").write_text("file_id,split,feature_name,label\nx.png,tra"),
        ["line 2", "cut short"],
    ),
    "not text": (
        lambda f: (f / "annotation.csv").write_bytes(b"\xff\xfe\x00\x80"),
        ["annotation.csv", "not a CSV"],
    ),
    "unknown split": (
        lambda f: edit(f, lambda rows: [(rows[0][0], "trian", *rows[0][2:]), *rows[1:]]),
        ["line 2", "trian", "train, val, test"],
    ),
    "label too large": (
        lambda f: edit(f, lambda rows: [(*rows[0][:3], "3"), *rows[1:]]),
        ["line 2", "'3'", "0..2"],
    ),
    "another class's folder": (
        lambda f: edit(f, lambda rows: [(*rows[0][:3], "1"), *rows[1:]]),
        ["line 2", "feature_name 'pla0' of train_0000.png is not class 1"],
    ),
    "label of a fraction": (
        lambda f: edit(f, lambda rows: [(*rows[0][:3], "0.9"), *rows[1:]]),
        ["line 2", "label '0.9' of train_0000.png is not a whole number"],
    ),
    "label beyond all numbers": (
        lambda f: edit(f, lambda rows: [(*rows[0][:3], "1e999"), *rows[1:]]),
        ["line 2", "label '1e999' of train_0000.png is neither a class id nor the name"],
    ),
    "class id twice": (
        lambda f: (f / "mapping.json").write_text('{"0": "plain", "1": "dune", "1": "crater"}'),
        ["mapping.json", "'1' is given twice"],
    ),
    "class id in two spellings": (
        lambda f: (f / "mapping.json").write_text('{"0": "plain", "1": "dune", "01": "crater"}'),
        ["mapping.json", "does not map"],
    ),
    "label no number": (
        lambda f: edit(f, lambda rows: [(*rows[0][:3], "nan"), *rows[1:]]),
        ["line 2", "'nan' of train_0000.png is neither a class id nor the name of a class"],
    ),
    "folder out of the folder": (
        lambda f: edit(f, lambda rows: [(*rows[0][:2], "../..", rows[0][3]), *rows[1:]]),
        ["'../..'", "not a folder name"],
    ),
    "row twice": (lambda f: edit(f, lambda rows: [*rows, rows[0]]), ["twice", "train_0000.png"]),
    "path out of the folder": (
        lambda f: edit(f, lambda rows: [("../../x.png", *rows[0][1:]), *rows[1:]]),
        ["../../x.png", "not a file name"],
    ),
    "file missing": (drop_image, ["annotation.csv", "1 file(s)", "test_"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_name_the_file_and_the_value(case: str, spec: TaskSpec, folder: Path) -> None:
    damage, words = BAD[case]
    damage(folder)
    with pytest.raises(DataError) as caught:
        LocalSource(spec, folder)
    for word in words:
        assert word in str(caught.value)


def test_missing_split_names_it(spec: TaskSpec, folder: Path) -> None:
    edit(folder, lambda rows: [r for r in rows if r[1] != "val"])
    with pytest.raises(DataError, match="val split"):
        LocalSource(spec, folder).rows("val")


@pytest.mark.parametrize("where", ["the task's folder", "its parent"])
def test_root_is_the_folder_or_its_parent(where: str, spec: TaskSpec, folder: Path) -> None:
    root = folder if where == "the task's folder" else folder.parent
    assert open_source(spec, SourceName.LOCAL, root).where == str(folder)


def test_auto_looks_in_the_current_folder_then_the_cache(
    spec: TaskSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    with pytest.raises(DataNotFoundError) as caught:
        open_source(spec)
    for word in ("data (current folder)", str(tmp_path / "home"), "source=demo", "root=FOLDER"):
        assert word in str(caught.value)
    cached = write_folder(spec, tmp_path / "home" / "data")
    assert open_source(spec).where == str(cached)
    write_folder(spec, tmp_path / "data")
    assert open_source(spec).where == "data/mb-toy"


def test_a_custom_task_finds_its_own_folder(folder: Path) -> None:
    spec = make_spec(path=folder / "task.yaml")
    assert open_source(spec).where == str(folder)


def test_a_root_that_is_given_is_the_only_place(
    spec: TaskSpec, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    with pytest.raises(DataNotFoundError, match="nowhere"):
        open_source(spec, SourceName.AUTO, tmp_path / "nowhere")


def test_auto_is_never_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from marsbench.tasks.catalog import get_task

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path))
    with pytest.raises(DataNotFoundError, match="mb-frost_cls"):
        open_source(get_task("frost_cls"))


def test_spectra_lie_beside_a_table_of_their_own(spec: TaskSpec) -> None:
    spec = make_spec(Kind.MULTILABEL, decode=Decode.SPECTRUM)
    with pytest.raises(DataNotFoundError, match=r"metadata\.csv is missing"):
        open_source(spec, SourceName.LOCAL)


def test_demo_takes_no_root(spec: TaskSpec) -> None:
    with pytest.raises(ConfigError, match="root"):
        open_source(spec, SourceName.DEMO, "somewhere")


def test_no_recipe_names_those_that_exist(spec: TaskSpec) -> None:
    with pytest.raises(NotAvailableError, match="frost_cls"):
        open_source(spec, SourceName.DEMO)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["[0, 1]", "[1]", "[1, 0]"], [[1, 1], [0, 1], [1, 1]]),
        (["[0, 1]", "[1, 1]", "[0, 0]"], [[0, 1], [1, 1], [0, 0]]),
    ],
    ids=["ids", "zeros and ones"],
)
def test_two_labels_are_read_by_the_whole_file(
    cells: list[str], expected: list[list[int]], tmp_path: Path
) -> None:
    spec = make_spec(Kind.MULTILABEL, classes=("crater", "dune"))
    folder = write_folder(spec, tmp_path, sizes={"train": 3})
    rows = read_rows(folder / "annotation.csv")
    write_rows(
        folder / "annotation.csv", [(*r[:3], cell) for r, cell in zip(rows, cells, strict=True)]
    )
    assert LocalSource(spec, folder).rows("train").targets.tolist() == expected


def test_ways_out_are_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from marsbench.tasks.catalog import get_task

    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataNotFoundError, match="add source=demo"):
        open_source(get_task("landmark_cls"))
    with pytest.raises(DataNotFoundError, match="a task with demo data"):
        open_source(make_spec())


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[TaskSpec, Path]:
    spec = make_spec(Kind.BINARY, ("Change", "No change"), decode=Decode.PAIR_LABEL)
    return spec, write_folder(spec, tmp_path)


def test_the_second_file_of_a_pair_is_found_by_its_name(pairs: tuple[TaskSpec, Path]) -> None:
    spec, folder = pairs
    source = LocalSource(spec, folder)
    raw = source.read("train", 3)
    assert raw.where.endswith("train_0003_before.png")
    assert raw.after is not None
    assert raw.after.where.endswith("train_0003_after.png")
    assert raw.after.image == Path(raw.after.where).read_bytes() != raw.image
    assert len(source.rows("train")) == 24


def test_rows_may_list_both_files_of_a_pair(pairs: tuple[TaskSpec, Path]) -> None:
    spec, folder = pairs
    rows = read_rows(folder / "annotation.csv")
    expected = LocalSource(spec, folder).revision
    both = [*rows, *((r[0].replace("before", "after"), *r[1:]) for r in rows)]
    write_rows(folder / "annotation.csv", both)
    assert LocalSource(spec, folder).revision == expected
    other = next(row for row in rows if row[3] != both[-1][3])
    both[-1] = (*both[-1][:2], *other[2:])
    write_rows(folder / "annotation.csv", both)
    with pytest.raises(DataError, match=r"test_0011_after\.png .*another label"):
        LocalSource(spec, folder)


def test_lists_may_hold_both_files_of_a_pair(pairs: tuple[TaskSpec, Path]) -> None:
    spec, folder = pairs
    rows = [r for r in read_rows(folder / "annotation.csv") if r[1] == "train"][:6]
    (folder / "partitions").mkdir()
    path = folder / "partitions" / "0.25x_partition.csv"
    both = [(r[0].replace("before", which), *r[1:]) for r in rows for which in ("before", "after")]
    write_rows(path, both)
    source = LocalSource(spec, folder)
    subset = parse_subset("partition_0.25")
    assert source.subset_ids(subset) == [r[0] for r in rows]
    assert len(select(source, subset).indices) == 6
    # One whose first is not listed stands for nothing.
    write_rows(path, both[1:])
    with pytest.raises(DataError, match=r"1 sample\(s\).*train_0000_after\.png"):
        select(source, subset)


def test_the_revision_covers_both_files(pairs: tuple[TaskSpec, Path]) -> None:
    spec, folder = pairs
    before = LocalSource(spec, folder).revision
    second = next(folder.rglob("val_0000_after.png"))
    second.write_bytes(second.read_bytes() + b" ")
    assert LocalSource(spec, folder).revision != before


def test_half_a_pair_is_named(pairs: tuple[TaskSpec, Path]) -> None:
    spec, folder = pairs
    next(folder.rglob("val_0000_after.png")).unlink()
    with pytest.raises(DataError, match=r"val_0000_after\.png"):
        LocalSource(spec, folder)
    rows = read_rows(folder / "annotation.csv")
    write_rows(folder / "annotation.csv", [*rows, ("odd.png", "train", rows[0][2], rows[0][3])])
    with pytest.raises(DataError, match=r"odd\.png .*no pair"):
        LocalSource(spec, folder)
