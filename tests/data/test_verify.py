import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marsbench.data.spec import Decode
from marsbench.data.verify import verify_folder
from marsbench.kinds import Kind
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
        "val_0003.png is 8 x 9 pixels, where every image of toy is 32 x 32",
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
    assert "there is no test split" in verify_folder(make_spec(), folder).problems


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
