"""Reports of stores that hold what they should not: it is named, and the rest is built."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from marsbench.base.errors import ConfigError, StoreError
from marsbench.config.identity import run_id
from marsbench.report.build import Report
from marsbench.report.figures.plots import scores as plots
from marsbench.report.study.cells import Trouble
from marsbench.results.record import RunRecord
from tests.report.building import MODELS, SOME, build, call, problems
from tests.report.fake_store import Fake, fake_record, make_store

pytestmark = pytest.mark.usefixtures("quick_figures")


def test_no_store(tmp_path: Path) -> None:
    done = call(str(tmp_path / "none"), "--out", str(tmp_path / "out"), code=2)
    assert "is missing" in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_empty_store(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    done = call(str(tmp_path / "runs"), "--out", str(tmp_path / "out"), code=2)
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("Error") == 1
    assert not (tmp_path / "out").exists()


def spoiled(tmp_path: Path, text: str) -> Report:
    """A report of good records and one whose file holds a text."""
    store = make_store(tmp_path / "runs", SOME)
    bad = store.folder("frost_cls/swin_v2_b/frozen/full/0-0123456789")
    bad.mkdir(parents=True)
    (bad / "record.json").write_text(text)
    report = build(store, tmp_path / "out")
    assert report.num_runs == len(SOME)
    assert len(report.figures) == 2
    assert report.tables
    return report


def test_a_record_half_written(tmp_path: Path) -> None:
    report = spoiled(tmp_path, SOME[0].to_json()[:200])
    assert "not a complete record" in problems(report)["unreadable"]
    assert "not a complete record" in report.index.read_text()


def test_a_record_of_a_newer_schema(tmp_path: Path) -> None:
    text = json.dumps({**json.loads(SOME[0].to_json()), "schema_version": 99})
    report = spoiled(tmp_path, text)
    assert "schema version 99" in problems(report)["unreadable"]
    assert "Update marsbench" in report.index.read_text()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_score_that_is_no_number(value: float | None, tmp_path: Path) -> None:
    record = fake_record(Fake("frost_cls", "swin_v2_b"))
    content = json.loads(record.to_json())
    content["metrics"]["test"]["f1_weighted"] = value
    if value is None:
        del content["metrics"]["test"]["f1_weighted"]
    store = make_store(tmp_path / "runs", SOME)
    store.folder(record.run_id).mkdir(parents=True)
    (store.folder(record.run_id) / "record.json").write_text(json.dumps(content))
    # Of the three, one has every figure drawn.
    report = build(store, tmp_path / "out", **({"only": None} if value is None else {}))
    assert "no score" in problems(report)
    (finding,) = (f for f in report.problems if f.what == "no score")
    assert finding.run_ids == (record.run_id,)
    assert "nan" not in (tmp_path / "out" / "tables" / "runs.csv").read_text().lower()


def test_one_seed_only(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", [r for r in SOME if r.seed == 0])
    report = build(store, tmp_path / "out", only=None)
    assert "no interval for a single seed" in problems(report)["one seed"]
    assert "figure not drawn" not in problems(report)
    text = (tmp_path / "out" / "tables" / "scores-classification-frozen-cached-full.md").read_text()
    assert "\\[" not in text.splitlines()[-1]  # no interval


def test_a_task_with_a_single_model(tmp_path: Path) -> None:
    report = build(make_store(tmp_path / "runs", SOME[:3]), tmp_path / "out", only=None)
    assert "tasks with a single model" in problems(report)["one model"]
    assert "figure not drawn" not in problems(report)
    assert len(report.figures) >= 2


def test_a_run_that_is_there_twice(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME)
    first = store.folder(SOME[0].run_id)
    shutil.copytree(first, first.with_name("copy-of-it"))
    report = build(store, tmp_path / "out")
    assert SOME[0].run_id in problems(report)["duplicate"]
    assert report.num_runs == len(SOME)


def test_nothing_but_bad_records(tmp_path: Path) -> None:
    bad = tmp_path / "runs" / "frost_cls/vit/frozen/full/0-0123456789"
    bad.mkdir(parents=True)
    (bad / "record.json").write_text("{")
    done = call(str(tmp_path / "runs"), "--out", str(tmp_path / "out"), code=2)
    assert "record.json" in done.stderr


def test_nothing_but_runs_without_a_score(tmp_path: Path) -> None:
    content = json.loads(SOME[0].to_json())
    content["metrics"]["test"]["f1_weighted"] = float("nan")
    folder = tmp_path / "runs" / SOME[0].run_id
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(content))
    done = call(str(tmp_path / "runs"), "--out", str(tmp_path / "out"), code=2)
    assert "has no finite" in done.stderr


def test_problems_of_records_outlast_a_choice_of_runs(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME)
    bad = store.folder("frost_cls/swin_v2_b/frozen/full/0-0123456789")
    bad.mkdir(parents=True)
    (bad / "record.json").write_text("{")
    report = build(store, tmp_path / "out", tasks=("frost_cls",))
    assert "unreadable" in problems(report)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME[:3])
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written") as caught:
        build(store, tmp_path / "file" / "report")
    assert "--out" in caught.value.remedy


@pytest.mark.parametrize(
    ("what", "damage"),
    [
        ("unreadable", {"environment": None}),
        ("unreadable", {"git": "abc"}),
        ("unreadable", {"config": None}),
        ("unreadable", {"subset": "weird"}),
        ("unreadable", {"model": None}),
        ("unreadable", {"kind": "regression"}),
        ("unreadable", {"data": {"train_counts": 3}}),
        ("no score", {"metrics": {"test": {"f1_weighted": 93.0}}}),
        ("no score", {"metrics": {"val": {}}}),
        (None, {"config": {"imbalance": "focal"}}),
        (None, {"data": {"revision": "abc123", "train_counts": None}}),
        (None, {"device": ""}),
    ],
    ids=str,
)
def test_an_odd_record_stops_nothing(
    tmp_path: Path, what: str | None, damage: dict[str, Any]
) -> None:
    store = make_store(tmp_path / "runs", SOME)
    damaged = json.dumps({**json.loads(SOME[0].to_json()), **damage})
    (store.folder(SOME[0].run_id) / "record.json").write_text(damaged)
    report = build(store, tmp_path / "out", only=("tables", "imbalance", "cost"))
    assert {"figure not drawn", "unreadable", "no score"} & set(problems(report)) == {what} - {None}
    assert report.num_runs == len(SOME) - (what is not None)


def test_the_gravest_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(plots, "ranks", fail)
    records = [r for r in SOME if r.seed == 0 or r.model == "vit_l_16"]
    store = make_store(tmp_path / "runs", records[:-1])
    bad = store.folder(SOME[-1].run_id)
    bad.mkdir(parents=True)
    (bad / "record.json").write_text("{")
    report = build(store, tmp_path / "out", only=("ranks",))
    found = list(dict.fromkeys(finding.what for finding in report.problems))
    assert found[0] == "unreadable"
    assert found[-1] == "figure not drawn"
    assert len(found) > 3
    order = [str(trouble) for trouble in Trouble]
    assert found[:-1] == sorted(found[:-1], key=order.index)


def test_names_that_are_no_file_names(tmp_path: Path) -> None:
    def renamed(record: RunRecord) -> RunRecord:
        model = f"smp:{record.model}/tu-x y&z"
        parts = (record.task, model, record.mode, record.subset, record.seed, record.identity)
        return dataclasses.replace(record, model=model, run_id=run_id(*parts))

    ways = [
        fake_record(Fake("landmark_cls", model, seed=0, imbalance=way))
        for model in MODELS
        for way in ("none", "oversample")
    ]
    store = make_store(tmp_path / "runs", map(renamed, ways))
    report = build(store, tmp_path / "out", only=None)
    assert "figure not drawn" not in problems(report)
    assert any(path.name.startswith("imbalance-01-") for path in report.figures)
    assert {path.parent.name for path in (*report.figures, *report.tables)} == {"figures", "tables"}


ODD = ("a/b", "../../x", "x" * 260, "", "a\nb", "a\0b", "[/]", "$\\frac{", "=1+1", "\u202ex")


@pytest.mark.parametrize(
    "field", ["task", "model", "mode", "protocol", "headline", "device", "imbalance", "views"]
)
def test_odd_names_in_a_record_stop_no_report(field: str, tmp_path: Path) -> None:
    base = fake_record(Fake("frost_cls", "vit_l_16", seed=42))
    records = []
    for seed, value in enumerate(ODD, start=100):
        changed: dict[str, Any] = {field: value}
        if field in ("imbalance", "views"):
            changed = {"identity": {**base.identity, field: value}}
        elif field == "headline":
            changed["metrics"] = {"test": {value: 0.5}, "val": {value: 0.5}}
        identity = changed.get("identity", base.identity)
        identity = {**identity, "number": seed}
        name = run_id("frost_cls", "vit_l_16", "frozen", "full", seed, identity)
        changed |= {"identity": identity, "run_id": name, "seed": seed}
        records.append(dataclasses.replace(base, **changed))
    store = make_store(tmp_path / "runs", [*SOME, *records])
    report = build(store, tmp_path / "out", only=("tables",))
    assert len(list((tmp_path / "out" / "tables").glob("scores-*.csv"))) >= 1
    assert all(path.is_file() and len(path.name) < 200 for path in report.tables)
    assert len({path.name for path in report.tables}) == len(report.tables)


def test_files_of_another_origin_are_not_overwritten(tmp_path: Path) -> None:
    store, out = make_store(tmp_path / "runs", SOME), tmp_path / "out"
    own = out / "tables" / "runs.csv"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(ConfigError, match=r"runs\.csv exists and is not part of a report"):
        build(store, out)
    assert own.read_text() == "mine"
    assert [path for path in out.rglob("*") if path.is_file()] == [own]
    own.rename(out / "tables" / "mine.csv")
    build(store, out)
    # Files that came after a report are of another origin too.
    late = out / "tables" / "runs-there.csv"
    late.write_text("mine")
    with pytest.raises(ConfigError, match=r"runs-there\.csv exists"):
        build(store, out, compare=store.root)
    assert late.read_text() == (out / "tables" / "mine.csv").read_text() == "mine"
    late.unlink()
    build(store, out, compare=store.root)
    assert "run_id" in late.read_text()


def test_an_interrupted_report_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, out = make_store(tmp_path / "runs", SOME), tmp_path / "out"
    replace = Path.replace

    def interrupted(path: Path, target: Path) -> Path:
        if target.name == "index.html":
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(store, out)
    monkeypatch.undo()
    assert (out / "tables" / "runs.csv").exists()
    assert build(store, out).index.is_file()
    assert not list(out.glob(".report-*"))
