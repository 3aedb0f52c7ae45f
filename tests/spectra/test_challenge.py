"""Folders in the challenges' layout, intact and damaged."""

from pathlib import Path

import numpy as np
import pytest

from marsbench.base.errors import DataError
from marsbench.data.rows import Rows
from marsbench.data.sources.challenge import ChallengeSource
from marsbench.data.spectra import open_spectra, prepared_samples
from marsbench.spectra.presets import get_preset
from marsbench.spectra.spectrum import Instrument
from marsbench.tasks.catalog import get_task
from tests.spectra.helpers import edit, write_challenge

EGA = get_task("ega_ms")
GC = get_task("gcms")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    return write_challenge(tmp_path)


def test_what_a_folder_says(folder: Path) -> None:
    source = ChallengeSource(EGA, folder)
    assert source.splits == ("train", "val")
    assert source.class_names == EGA.class_names
    assert source.unlabelled == {"test": ["S0009", "S0010"]}
    rows = source.rows("train")
    assert list(rows.sample_ids) == [f"S000{i}" for i in range(6)]
    assert rows.targets.dtype == np.uint8
    assert (rows.targets == np.eye(10, dtype=np.uint8)[:6]).all()
    assert (source.rows("val").targets == np.eye(10, dtype=np.uint8)[6:9]).all()
    raw = source.read("train", 2)
    assert raw.image == (folder / "train_features" / "S0002.csv").read_bytes()
    assert raw.meta["instrument"] == "sam_testbed"
    assert source.notes == ()
    assert source.read_sample("S0010").where.endswith("S0010.csv")  # for a submission


def test_rows_may_come_in_any_order_and_columns_too(folder: Path) -> None:
    there = ChallengeSource(EGA, folder)
    for name in ("metadata.csv", "train_labels.csv"):
        header, *lines = (folder / name).read_text().splitlines()
        turned = [",".join(line.split(",")[::-1]) for line in (header, *lines[::-1])]
        (folder / name).write_text("﻿" + "\r\n".join(turned) + "\r\n")
    again = ChallengeSource(EGA, folder)
    assert again.revision == there.revision
    assert again.rows("train").fingerprint == there.rows("train").fingerprint
    assert (again.rows("train").targets == there.rows("train").targets).all()


def test_labels_written_as_decimals(folder: Path) -> None:
    edit(folder / "train_labels.csv", "S0000,1,0,", "S0000,1.0,0.0,")
    assert ChallengeSource(EGA, folder).rows("train").targets[0].tolist() == [1] + [0] * 9


def test_the_revision_is_of_labels_and_metadata_and_not_of_the_place(
    folder: Path, tmp_path: Path
) -> None:
    here = ChallengeSource(EGA, folder)
    there = ChallengeSource(EGA, write_challenge(tmp_path / "elsewhere"))
    assert here.revision == there.revision
    assert here.rows("train").fingerprint != there.rows("train").fingerprint
    edit(folder / "train_labels.csv", "S0000,1,0,", "S0000,1,1,")
    labelled = ChallengeSource(EGA, folder)
    assert labelled.revision != here.revision
    assert labelled.rows("train").fingerprint == here.rows("train").fingerprint
    edit(folder / "metadata.csv", "S0002,train,sam_testbed", "S0002,train,commercial")
    assert ChallengeSource(EGA, folder).revision != labelled.revision


def test_a_corrected_instrument_reaches_the_caches(folder: Path) -> None:
    def told() -> list[str]:
        source = ChallengeSource(EGA, folder)
        rows = source.rows("train")
        spectra = open_spectra(EGA, source, rows)
        samples = prepared_samples(EGA, source, rows, get_preset("ega_benchmark"))
        assert [s.meta["instrument"] for s in (samples[i] for i in range(6))] == [
            str(spectra[i].instrument) for i in range(6)
        ]
        return [str(spectra[i].instrument) for i in range(6)]

    assert told()[2] == "sam_testbed"
    edit(folder / "metadata.csv", "S0002,train,sam_testbed", "S0002,train,commercial")
    assert set(told()[:5]) == {"commercial"}


BAD_METADATA = {
    "unknown instrument": (
        "S0001,train,commercial",
        "S0001,train,curiosity",
        r"line 3: instrument_type is 'curiosity', not one of commercial, sam_testbed",
    ),
    "no instrument": ("S0001,train,commercial", "S0001,train,", "instrument_type is ''"),
    "unknown split": ("S0001,train,", "S0001,holdout,", "line 3: split is 'holdout'"),
    "listed twice": ("S0001,train", "S0000,train", "line 3: S0000 is listed twice"),
    "outside": (
        ",train_features/S0001.csv",
        ",../S0001.csv",
        "'../S0001.csv' is not a file of",
    ),
    "no column": ("split,instrument_type", "part,instrument_type", "no column split"),
    "cut short": ("S0001,train,commercial,train_features/S0001.csv,", "S0001,train#", "cut short"),
}


@pytest.mark.parametrize(("old", "new", "told"), BAD_METADATA.values(), ids=list(BAD_METADATA))
def test_bad_metadata(folder: Path, old: str, new: str, told: str) -> None:
    edit(folder / "metadata.csv", old, new)
    with pytest.raises(DataError, match=told) as caught:
        ChallengeSource(EGA, folder)
    assert "metadata.csv" in str(caught.value)


BAD_LABELS = {
    "not 0 or 1": ("S0000,1,0,", "S0000,2,0,", "line 2: '2' is not 0 or 1"),
    "an empty cell": ("S0000,1,0,", "S0000,1,,", "line 2: '' is not 0 or 1"),
    "labelled twice": ("S0001,0,1,", "S0000,0,1,", "line 3: S0000 is labelled twice"),
    "of no sample": (
        "S0001,0,1,",
        "S0777,0,1,",
        "S0777 is not a train.*1 sample.*no row.*S0001",
    ),
    "of another split": ("S0001,0,1,", "S0007,0,1,", "line 3: S0007 is not a train sample"),
    "without a label row": ("S0005,0,0,0,0,0,1,0,0,0,0\n", "", r"1 sample\(s\) have no row: S0005"),
    "extra column": ("basalt,", "dolomite,basalt,", "not classes of ega_ms: dolomite"),
    "missing column": (",sulfide", "", "no column sulfide"),
    "misspelt column": ("basalt,", "basalts,", "no column basalt"),
}


@pytest.mark.parametrize(("old", "new", "told"), BAD_LABELS.values(), ids=list(BAD_LABELS))
def test_bad_labels(folder: Path, old: str, new: str, told: str) -> None:
    path = folder / "train_labels.csv"
    edit(path, old, new)
    if new.startswith("dolomite"):
        header, *lines = path.read_text().splitlines()
        path.write_text("\n".join([header, *(line.replace(",", ",0,", 1) for line in lines)]))
    with pytest.raises(DataError, match=told) as caught:
        ChallengeSource(EGA, folder)
    assert "train_labels.csv" in str(caught.value)


def test_an_absent_file_is_an_error(folder: Path) -> None:
    (folder / "train_features" / "S0003.csv").unlink()
    with pytest.raises(DataError, match=r"1 measurement.*S0003\.csv") as caught:
        ChallengeSource(EGA, folder)
    assert "strict=false" in str(caught.value)


def test_an_absent_file_is_left_out_where_that_is_allowed(folder: Path) -> None:
    (folder / "train_features" / "S0003.csv").unlink()
    source = ChallengeSource(EGA, folder, strict=False)
    assert list(source.rows("train").sample_ids) == ["S0000", "S0001", "S0002", "S0004", "S0005"]
    assert (source.rows("train").targets.argmax(axis=1) == [0, 1, 2, 4, 5]).all()
    (note,) = source.notes
    assert "S0003.csv" in note


def test_a_split_without_labels_is_no_split(folder: Path) -> None:
    source = ChallengeSource(EGA, folder)
    with pytest.raises(DataError, match=r"no labels of the test split.*train, val") as caught:
        source.rows("test")
    assert "folds" in str(caught.value)


def test_a_split_without_samples(folder: Path) -> None:
    path = folder / "metadata.csv"
    kept = [line for line in path.read_text().splitlines() if ",val," not in line]
    path.write_text("\n".join(kept))
    with pytest.raises(DataError, match=r"no samples of the val split \(with labels: train\)"):
        ChallengeSource(EGA, folder).rows("val")


def test_a_folder_that_lists_nothing(folder: Path) -> None:
    path = folder / "metadata.csv"
    path.write_text(path.read_text().splitlines()[0])
    with pytest.raises(DataError, match=r"no samples of the train split \(with labels: none\)"):
        ChallengeSource(EGA, folder).rows("train")


def test_a_wrong_md5_is_warned_of_and_the_file_read(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "train_features" / "S0004.csv"
    path.write_bytes(path.read_bytes() + b"99999,900,1.0,1.0\n")
    source = ChallengeSource(EGA, folder)
    rows = source.rows("train")
    spectra = open_spectra(EGA, source, rows)
    told = capsys.readouterr()
    assert "S0004.csv" in told.err
    assert "MD5" in told.err
    assert "S0003.csv" not in told.err
    assert told.out == ""
    assert spectra[4].time[-1] == 99999


def test_right_md5s_are_not_talked_about(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = ChallengeSource(EGA, folder)
    open_spectra(EGA, source, source.rows("val"))
    assert capsys.readouterr().err == ""


def test_a_bad_measurement_is_named(folder: Path) -> None:
    (folder / "train_features" / "S0003.csv").write_text("time,temp\n1,2\n")
    source = ChallengeSource(EGA, folder)
    with pytest.raises(DataError, match=r"S0003\.csv has no column m/z, abundance"):
        open_spectra(EGA, source, source.rows("train"))


def test_derivatised_samples_of_the_other_challenge(tmp_path: Path) -> None:
    folder = tmp_path / "gcms"
    (folder / "train_features").mkdir(parents=True)
    flags = ["", "0", "1", "0.0", "1.0"]
    listed, labels = (
        ["sample_id,split,derivatized,features_path"],
        [",".join(("sample_id", *GC.class_names))],
    )
    for i, flag in enumerate(flags):
        (folder / "train_features" / f"S{i}.csv").write_text(
            "time,mass,intensity\n0,1,5\n0,2,6\n1,1,7\n1,2,8\n"
        )
        listed.append(f"S{i},train,{flag},train_features/S{i}.csv")
        labels.append(",".join((f"S{i}", *"000000001")))
    (folder / "metadata.csv").write_text("\n".join(listed))
    (folder / "train_labels.csv").write_text("\n".join(labels))
    source = ChallengeSource(GC, folder)
    rows: Rows = source.rows("train")
    for cache in (True, False):
        spectra = open_spectra(GC, source, rows, cache=cache)
        assert [spectra[i].derivatized for i in range(5)] == [False, False, True, False, True]
        assert all(spectra[i].instrument is Instrument.COMMERCIAL for i in range(5))
    edit(folder / "metadata.csv", "S2,train,1,", "S2,train,yes,")
    with pytest.raises(DataError, match="line 4: derivatized is 'yes', not 0 or 1"):
        ChallengeSource(GC, folder)
