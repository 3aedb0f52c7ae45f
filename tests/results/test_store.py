import json
import multiprocessing
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import marsbench
from marsbench.base.errors import StoreError
from marsbench.base.files import write_text
from marsbench.config.identity import digest
from marsbench.models.pretraining import UNKNOWN, Pretraining
from marsbench.results.record import SCHEMA_VERSION, RunRecord
from marsbench.results.store import DuplicateError, Store


def make_record(seed: int = 0, **fields: Any) -> RunRecord:
    identity = {"optim": {"lr": 1e-3}}
    return RunRecord(
        **{
            "run_id": f"toy/m/frozen/full/{seed}-{digest(identity)[:10]}",
            "task": "toy",
            "kind": "binary",
            "model": "m",
            "mode": "frozen",
            "subset": "full",
            "seed": seed,
            "protocol": "online",
            "headline": "f1_weighted",
            "metrics": {"val": {"f1_weighted": 0.5}, "test": {"f1_weighted": 0.25, "loss": 1.0}},
            "config": {},
            "identity": identity,
            "data": {"num_train": 3},
            "weights": None,
            "checkpoint": {"epoch": 0, "epochs_trained": 1},
            "timing": {"train": 1.0},
            "peak_memory": {"host": 1},
            "parameters": {"total": 2, "trained": 1},
            "device": "cpu",
            "environment": {},
            "git": None,
            "created": "2026-01-01T00:00:00+00:00",
            **fields,
        }
    )


def write(store: Store, record: RunRecord) -> None:
    with store.claim(record.run_id):
        store.finish(record)


def test_round_trip(tmp_path: Path) -> None:
    store, record = Store(tmp_path), make_record()
    assert store.find(record.run_id) is None
    write(store, record)
    assert store.find(record.run_id) == record
    assert store.records() == ([record], [])
    assert record.score == 0.25


def test_pretraining_of_records(tmp_path: Path) -> None:
    known = Pretraining(data="Mars", images=3, licence="CC-BY-4.0", overlaps=("frost_cls",))
    record = make_record(pretraining=known)
    assert RunRecord.from_json(record.to_json(), "here") == record
    content = json.loads(record.to_json())
    assert content["pretraining"]["overlaps"] == ["frost_cls"]
    # Records of earlier versions.
    del content["pretraining"]
    assert RunRecord.from_json(json.dumps(content), "here").pretraining == UNKNOWN
    content["pretraining"] = {"data": " ", "images": -1, "url": "x"}
    with pytest.raises(StoreError, match=r"ing\.data.*pretraining\.images.*pretraining\.url"):
        RunRecord.from_json(json.dumps(content), "here")


def test_records_are_never_changed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write(store, make_record())
    with pytest.raises(StoreError, match="never changed"):
        write(store, make_record(device="gpu"))
    kept = store.find(make_record().run_id)
    assert kept is not None
    assert kept.device == "cpu"


def test_no_number_that_is_none(tmp_path: Path) -> None:
    record = make_record(metrics={"val": {}, "test": {"f1_weighted": float("nan")}})
    with pytest.raises(StoreError, match="NaN"):
        write(Store(tmp_path), record)
    assert Store(tmp_path).records() == ([], [])


def spoil(text: str, change: Callable[[Any], Any]) -> str:
    content = json.loads(text)
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda t: t[: len(t) // 2], "not a complete record"),
        (lambda t: "", "not a complete record"),
        (lambda t: "[]", "is not a record"),
        (lambda t: spoil(t, lambda c: c.pop("metrics")), "metrics"),
        (lambda t: spoil(t, lambda c: c.update(schema_version=99)), "Update marsbench"),
        (lambda t: spoil(t, lambda c: c["identity"].update(x=1)), "was changed"),
        *[
            (lambda t, change=change: spoil(t, lambda c: c.update(change)), f"{named}; expected")
            for named, change in {
                "'run_id' is empty": {"run_id": None},
                "'task' is empty": {"task": None},
                "'model' is 3": {"model": 3},
                "'seed' is 'x'": {"seed": "x"},
                "'metrics.test.f1_weighted' is 'abc'": {
                    "metrics": {"test": {"f1_weighted": "abc"}}
                },
                "'config' is empty": {"metrics": {"val": None}, "config": None},
                "'data.train_counts' is ['a']": {"data": {"train_counts": ["a"]}},
                "'checkpoint.epoch' is 'last'": {"checkpoint": {"epoch": "last"}},
                "'environment' is empty": {"environment": None},
                "'git' is 'abc'": {"git": "abc"},
                "'parents.1' is 1": {"parents": [1]},
            }.items()
        ],
    ],
)
def test_bad_records_are_named_and_the_rest_is_read(
    tmp_path: Path, damage: Callable[[str], str], match: str
) -> None:
    store = Store(tmp_path)
    for seed in (0, 1):
        write(store, make_record(seed))
    path = store.folder(make_record(0).run_id) / "record.json"
    path.write_text(damage(path.read_text()))
    good, bad = store.records()
    assert [r.seed for r in good] == [1]
    assert len(bad) == 1
    assert match in str(bad[0])
    assert str(path) in str(bad[0])
    with pytest.warns(UserWarning, match=re.escape(match)):
        assert len(marsbench.load_records(tmp_path)) == 1


def test_a_record_that_is_no_text(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(Store(tmp_path), make_record(seed))
    path = Store(tmp_path).paths()[0]
    path.write_bytes(b"\xff\xfe\x00\x81")
    good, bad = Store(tmp_path).records()
    assert [r.seed for r in good] == [1]
    assert f"{path} is not a complete record" in str(bad[0])
    table, errors = Store(tmp_path).table()
    assert (table["seed"].tolist(), list(map(str, errors))) == ([1], list(map(str, bad)))


def test_what_a_record_may_be(tmp_path: Path) -> None:
    """Whole numbers for floats, nothing where nothing need be, and more than is read here."""
    record = make_record(
        metrics={"test": {"f1_weighted": 1}},
        git={"commit": "abc", "dirty": False},
        data={"num_train": None, "train_counts": None, "more": [1]},
    )
    write(Store(tmp_path), record)
    assert Store(tmp_path).records() == ([record], [])
    bare = make_record(1, data={}, checkpoint={}, timing={}, metrics={"val": {}})
    write(Store(tmp_path), bare)
    table, bad = Store(tmp_path).table()
    assert (bad, bare.score) == ([], None)
    assert table["num_train"].isna().all()


def test_of_two_records_with_one_id_the_one_in_its_own_folder(tmp_path: Path) -> None:
    store, record = Store(tmp_path), make_record(metrics={"test": {"f1_weighted": 0.5}})
    write(store, make_record())
    copy = tmp_path / "a" / "m" / "frozen" / "full" / "0-copy"
    copy.mkdir(parents=True)
    (copy / "record.json").write_text(record.to_json())
    good, bad = store.records()
    assert good == [make_record()]
    (error,) = bad
    assert isinstance(error, DuplicateError)
    assert error.run_id == record.run_id
    for path in (copy, store.folder(record.run_id)):
        assert str(path / "record.json") in error.problem
    # So too in a table, also where its rows come from an index.
    for _ in range(2):
        table, errors = store.table()
        assert (table["score"].tolist(), list(map(str, errors))) == ([0.25], [str(error)])
    (store.folder(record.run_id) / "record.json").unlink()
    assert store.records() == ([record], [])


def test_table_is_tidy(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(Store(tmp_path), make_record(seed))
    frame = marsbench.load_records(tmp_path)
    assert frame["seed"].tolist() == [0, 1]
    assert frame["test/f1_weighted"].tolist() == frame["score"].tolist() == [0.25, 0.25]
    assert {"task", "model", "mode", "subset", "protocol", "val/f1_weighted"} <= set(frame.columns)


def test_the_index_is_derived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (0, 1):
        write(Store(tmp_path), make_record(seed))
    first = marsbench.load_records(tmp_path)
    index = tmp_path / f".index-{marsbench.__version__}.parquet"
    assert index.exists()
    with monkeypatch.context() as patch:
        patch.setattr("marsbench.results.store.read_record", lambda _: pytest.fail("read again"))
        pd.testing.assert_frame_equal(marsbench.load_records(tmp_path), first)
    write(Store(tmp_path), make_record(2))
    assert marsbench.load_records(tmp_path)["seed"].tolist() == [0, 1, 2]
    for content in (None, b"not parquet"):
        index.unlink() if content is None else index.write_bytes(content)
        assert marsbench.load_records(tmp_path)["seed"].tolist() == [0, 1, 2]
    path = Store(tmp_path).paths()[0]
    path.write_text(path.read_text()[:40])
    with pytest.warns(UserWarning, match="not a complete record"):
        assert marsbench.load_records(tmp_path)["seed"].tolist() == [1, 2]


def test_empty_and_missing_stores(tmp_path: Path) -> None:
    assert len(marsbench.load_records(tmp_path)) == 0
    assert "run_id" in marsbench.load_records(tmp_path).columns
    with pytest.raises(StoreError, match="is missing"):
        marsbench.load_records(tmp_path / "nowhere")


def test_schema_version_is_in_the_file(tmp_path: Path) -> None:
    write(Store(tmp_path), make_record())
    path = Store(tmp_path).paths()[0]
    assert json.loads(path.read_text())["schema_version"] == SCHEMA_VERSION


def test_atomic_write_leaves_the_old_file_if_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"


def _write_some(root: Path, first: int, barrier: Any) -> None:
    barrier.wait()
    for seed in range(first, first + 25):
        write(Store(root), make_record(seed))


def test_many_writers_and_a_reader(tmp_path: Path) -> None:
    """Eight processes write while this one reads: nothing is lost, nothing half-read."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(9)
    writers = [
        context.Process(target=_write_some, args=(tmp_path, 25 * i, barrier)) for i in range(8)
    ]
    for writer in writers:
        writer.start()
    barrier.wait()
    seen = 0
    while any(writer.is_alive() for writer in writers):
        good, bad = Store(tmp_path).records()
        assert bad == []
        assert len(good) >= seen
        seen = len(good)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert sorted(r.seed for r in Store(tmp_path).records()[0]) == list(range(200))


def test_short_text_of_a_record() -> None:
    record = make_record(data={"num_test": 12})
    assert repr(record) == f"RunRecord {record.run_id}\n  f1_weighted 0.2500 on test (12 samples)"
    odd = make_record(record_type="evaluation", headline="a\x1b[2J\n")
    assert repr(odd).splitlines() == [
        f"RunRecord (evaluation) {odd.run_id}",
        "  a\\x1b[2J\\n undefined on test",
    ]
