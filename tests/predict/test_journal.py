import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.base.errors import ConfigError, StoreError
from marsbench.predict.journal import Journal, check_folder
from marsbench.predict.walk import Item, find_images
from marsbench.tasks.kinds import Kind
from tests.predict.stubs import BOXES, predictor
from tests.predict.test_run import boxes_of, go, item, noise, rows_of

JOURNAL = ".journal.jsonl"


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out", {}, overwrite=False)
    try:
        with pytest.raises(StoreError, match="Another process"):
            Journal(tmp_path / "out", {}, overwrite=False)
    finally:
        journal.close()


def stems(out: Path, *items: Item) -> list[str]:
    journal = Journal(out, {}, overwrite=True)
    try:
        journal.reserve(items)
        return [journal.stem(one) for one in items]
    finally:
        journal.close()


def test_images_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    items = [
        item(tmp_path / "a.png", noise(20, 20)),
        item(tmp_path / "a.tif", noise(20, 20)),
        item(tmp_path / "other" / "a.png", noise(20, 20)),
    ]
    out = tmp_path / "out"
    go(predictor(Kind.SEGMENTATION), items, out)
    assert sorted(p.name for p in (out / "maps").iterdir()) == ["a.png", "a_tif.png", "other_a.png"]
    assert go(predictor(Kind.SEGMENTATION), items, out)[0].skipped == 3
    # Whatever order they are named in.
    go(predictor(Kind.SEGMENTATION), items[::-1], tmp_path / "turned")
    assert rows_of(tmp_path / "turned") == rows_of(out)


def test_names_that_a_disk_may_take_for_one_differ(tmp_path: Path) -> None:
    here, below = tmp_path / "here", tmp_path / "here" / "sub"
    first, second = Item(here / "Grey.PNG", "Grey.PNG"), Item(here / "grey.png", "grey.png")
    third = Item(below / "grey.png", "grey.png")
    fourth, fifth = Item(below / "GREY.tif", "GREY.tif"), Item(below / "Grey.tif", "sub_grey.tif")
    found = stems(tmp_path / "out", third, second, first)
    assert found == ["sub_grey", "grey_png", "Grey"]
    found = stems(tmp_path / "out", first, second, third, fourth, fifth)
    assert len({stem.casefold() for stem in found}) == 5
    many = [Item(tmp_path / f"{i}" / "x" / "a.png", "a.png") for i in range(5)]
    assert stems(tmp_path / "out", *many) == ["a", "x_a", "x_a_png", "x_a_2", "x_a_3"]


def test_names_in_folders_stay_below_them(tmp_path: Path) -> None:
    one = Item(tmp_path / "p" / "sub" / "a.png", "sub/a.png")
    two = Item(tmp_path / "q" / "sub" / "a.png", "sub/a.png")
    assert stems(tmp_path / "out", one, two) == ["sub/a", "sub/sub_a"]


def test_a_name_costs_the_same_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "out", {}, overwrite=False)
    items = [Item(tmp_path / f"{i}.png", f"{i}.png") for i in range(10)]
    for one in items[:9]:
        journal.add(one, journal.stem(one), [], {})

    class Closed(dict[str, Any]):
        def values(self) -> Any:
            raise AssertionError("all images were looked through for the name of one")

    monkeypatch.setattr(journal, "entries", Closed(journal.entries))
    assert journal.stem(items[9]) == "9"
    journal.close()


def test_files_are_named_the_same_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "images"
    (images / "deep").mkdir(parents=True)
    bright = np.full((20, 20), 255, np.uint8)
    one, two = item(images / "z.png", bright), item(images / "deep" / "a.png", bright)
    out = tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    _, told = go(predictor(Kind.DETECTION), find_images([Path("images/deep")], BOXES).items, out)
    assert (told[0]["file"], told[0]["path"]) == ("a.png", str(two.path))
    monkeypatch.chdir(images)
    summary, _ = go(predictor(Kind.DETECTION), find_images([Path()], BOXES).items, out)
    assert (summary.done, summary.skipped) == (1, 1)
    content = boxes_of(out)["images"]
    assert [(i["file_name"], i["path"]) for i in content] == [
        ("a.png", str(two.path)),
        ("z.png", str(one.path)),
    ]
    found = find_images([images], BOXES).items
    go(predictor(Kind.DETECTION), found[::-1], tmp_path / "new")
    content = boxes_of(tmp_path / "new")["images"]
    assert [i["file_name"] for i in content] == ["deep/a.png", "z.png"]
    go(predictor(Kind.MULTICLASS), found, tmp_path / "labels")
    rows = rows_of(tmp_path / "labels")
    assert [row["file"] for row in rows] == ["deep/a.png", "z.png"]
    assert rows[0]["path"] == str(two.path)


@pytest.mark.parametrize(
    "line",
    ["[1, 2]", "3", "null", '"source"', '{"source": 5}', '{"source": "/a.png"}', "\udcff", "{"],
)
def test_lines_that_tell_of_no_image_are_passed_over(line: str, tmp_path: Path) -> None:
    model, out = predictor(Kind.MULTICLASS), tmp_path / "out"
    items = [item(tmp_path / "a.png", noise(20, 20))]
    go(model, items, out)
    with (out / JOURNAL).open("a", errors="surrogateescape") as file:
        file.write(line + "\n")
    assert go(model, items, out)[0].skipped == 1
    assert len(rows_of(out)) == 1


@pytest.mark.parametrize("head", ["[1, 2]", "null", "{}", '{"settings": 3}', "{", ""])
def test_a_journal_without_settings_is_refused(head: str, tmp_path: Path) -> None:
    model, out = predictor(Kind.MULTICLASS), tmp_path / "out"
    items = [item(tmp_path / "a.png", noise(20, 20))]
    go(model, items, out)
    lines = (out / JOURNAL).read_text().splitlines()
    (out / JOURNAL).write_text("\n".join([head, *lines[1:]]))
    with pytest.raises(StoreError, match="damaged") as caught:
        go(model, items, out)
    assert "--overwrite" in caught.value.remedy
    assert go(model, items, out, overwrite=True)[0].done == 1


def test_settings_that_are_no_more_are_named(tmp_path: Path) -> None:
    model, out = predictor(Kind.MULTICLASS), tmp_path / "out"
    items = [item(tmp_path / "a.png", noise(20, 20))]
    go(model, items, out)
    head, *rest = (out / JOURNAL).read_text().splitlines()
    old = json.loads(head)
    old["settings"]["colour"] = "red"
    (out / JOURNAL).write_text("\n".join([json.dumps(old), *rest]))
    with pytest.raises(StoreError, match="other settings: colour differ"):
        go(model, items, out)


def test_folders_that_cannot_be_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_folder(tmp_path / "new" / "out", [tmp_path])
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConfigError, match="an input and the output folder"):
        check_folder(tmp_path, [tmp_path])
    file = tmp_path / "file"
    file.touch()
    for out in (file, file / "below"):
        with pytest.raises(StoreError, match=f"{file} is a file; --out names a folder"):
            check_folder(out, [])
        with pytest.raises(StoreError, match=f"{file} is a file; --out names a folder"):
            Journal(out, {}, overwrite=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StoreError, match="cannot be written"):
        check_folder(tmp_path / "new", [])


@pytest.mark.parametrize(
    "name", ["predictions.csv", "predictions.json", "about.json", "legend.png", "maps/a.png"]
)
def test_files_of_others_are_never_replaced(name: str, tmp_path: Path) -> None:
    model, out = predictor(Kind.SEGMENTATION), tmp_path / "out"
    one = item(tmp_path / "a.png", noise(20, 20))
    path = out / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(StoreError, match="which this command did not write") as caught:
            go(model, [one], out, overwrite=overwrite)
        assert name.partition("/")[0] in caught.value.problem
    with pytest.raises(StoreError, match="which this command did not write"):
        check_folder(out, [])
    assert [p.name for p in out.rglob("*") if p.is_file() and p.name != ".lock"] == [path.name]
    assert path.read_text() == "mine"
    # Other files do not matter.
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("mine")
    assert go(model, [one], tmp_path / "notes")[0].done == 1


def test_a_map_of_others_among_ours_is_left_alone(tmp_path: Path) -> None:
    model, out = predictor(Kind.SEGMENTATION), tmp_path / "out"
    first, second = (item(tmp_path / f"{n}.png", noise(20, 20)) for n in "ab")
    go(model, [first], out)
    (out / "maps" / "b.png").write_text("mine")
    go(model, [first, second], out)
    assert [row["map"] for row in rows_of(out)] == ["maps/a.png", f"maps/{tmp_path.name}_b.png"]
    assert (out / "maps" / "b.png").read_text() == "mine"
    # Overwriting discards our own maps alone.
    go(model, [second], out, overwrite=True)
    assert (out / "maps" / "b.png").read_text() == "mine"
    assert not (out / "maps" / "a.png").exists()
    assert len(rows_of(out)) == 1


def test_a_map_written_before_a_crash_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = predictor(Kind.SEGMENTATION), tmp_path / "out"
    one = item(tmp_path / "a.png", noise(20, 20))

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", crash)
        with pytest.raises(KeyboardInterrupt):
            go(model, [one], out)
    assert (out / "maps" / "a.png").exists()
    go(model, [one], out)
    assert [row["map"] for row in rows_of(out)] == ["maps/a.png"]


@pytest.mark.parametrize("folder", ["maps", "maps/sub"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_link_does_not_lead_out_of_the_folder(
    folder: str, overwrite: bool, tmp_path: Path
) -> None:
    out, mine = tmp_path / "out", tmp_path / "mine"
    image = item(tmp_path / "a.png", noise(20, 20))
    mine.mkdir()
    (mine / "thesis.png").write_text("mine")
    (out / folder).parent.mkdir(parents=True)
    (out / folder).symlink_to(mine)
    stem = f"{folder}/thesis".removeprefix("maps/")
    planned = {"source": os.path.realpath(image.path), "stem": stem}
    (out / JOURNAL).write_text(f'{{"settings": {{}}}}\n{json.dumps(planned)}\n')
    if folder == "maps":
        with pytest.raises(StoreError, match="maps is a link"):
            Journal(out, {}, overwrite)
    else:
        journal = Journal(out, {}, overwrite)
        assert journal.stem(image) == "a"
        journal.close()
    assert (mine / "thesis.png").read_text() == "mine"


@pytest.mark.parametrize("stem", ["../x", "/tmp/x", "a/../../x", "n\nx"])
def test_a_journal_does_not_lead_out_of_its_folder(stem: str, tmp_path: Path) -> None:
    model, out = predictor(Kind.SEGMENTATION), tmp_path / "out"
    one = item(tmp_path / "a.png", noise(20, 20))
    go(model, [one], out)
    head, planned, done = map(json.loads, (out / JOURNAL).read_text().splitlines())
    lines = [head, planned | {"stem": stem}, done | {"stem": stem, "stamp": []}]
    (out / JOURNAL).write_text("".join(json.dumps(line) + "\n" for line in lines))
    go(model, [one], out, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "out"]
    assert [p.name for p in (out / "maps").iterdir()] != []
