"""Whole reports, also of stores that are not as they should be."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import marsbench
from marsbench.cli import app
from marsbench.errors import ConfigError, StoreError, UnknownNameError
from marsbench.report import figures, plots
from marsbench.report.build import PARTS, Report, write_report
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from tests.report.fake_store import Fake, fake_record, make_store

MODELS = ("vit_l_16", "resnet101")
SOME = [
    fake_record(Fake(task, model, "frozen", "full", seed))
    for task in ("frost_cls", "landmark_cls")
    for model in MODELS
    for seed in (0, 1, 10)
]


def build(store: Store, out: Path, **options: Any) -> Report:
    return write_report(store.root, out, rounds=50, **{"only": ("tables", "violins"), **options})


def problems(report: Report) -> dict[str, str]:
    return {finding.what: finding.message for finding in report.findings}


def call(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["report", *words])
    assert done.exit_code == code, done.output
    return done


def test_everything(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME)
    report = write_report(store.root, tmp_path / "out", rounds=50)
    assert report.findings == ()
    assert report.num_runs == len(SOME)
    page = report.index.read_text()
    for record in SOME:
        assert record.run_id in page
    assert page.count("<img src=") == len(report.figures) / 2
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    outside = [link for link in links if not link.startswith(("#", "data:", "figures/"))]
    assert outside == []
    assert {path.suffix for path in report.figures} == {".pdf", ".png"}
    assert {path.suffix for path in report.tables} == {".csv", ".md", ".tex"}
    assert all(path.is_file() for path in (*report.figures, *report.tables))
    manifest = json.loads((tmp_path / "out" / "report.json").read_text())
    assert manifest["ranges"]["real"]["source"].startswith("reference ranges, version")
    assert manifest["ranges"]["real"]["high"]["frost_cls"] == 1.0


def test_equal_records_give_equal_reports(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME)
    first, second = (build(store, tmp_path / name) for name in ("a", "b"))
    for one, other in zip(
        (first.index, *first.figures, *first.tables),
        (second.index, *second.figures, *second.tables),
        strict=True,
    ):
        assert one.read_bytes() == other.read_bytes(), one
    moved = build(store, tmp_path / "c", seed=1)
    assert moved.index.read_bytes() != first.index.read_bytes()


def test_parts(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME)
    out = tmp_path / "out"
    keep = out / "tables" / "notes.txt"
    keep.parent.mkdir(parents=True)
    keep.write_text("mine")
    both = build(store, out)
    assert both.figures
    assert both.tables
    alone = build(store, out, only=("ranks",))
    assert {path.name.partition("-")[0] for path in alone.figures} == {"ranks"}
    assert alone.tables == ()
    # What the earlier report left is gone, what others left is not.
    assert not any(path.exists() for path in (*both.figures, *both.tables))
    assert keep.read_text() == "mine"
    with pytest.raises(UnknownNameError, match="violinz"):
        build(store, out, only=("violinz",))


def test_some_runs_alone(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME)
    report = build(store, tmp_path / "out", tasks=("frost_cls",), models=("vit_l_16",))
    assert report.num_runs == 3
    assert "landmark_cls" not in report.index.read_text()
    with pytest.raises(UnknownNameError, match="frost_clz"):
        build(store, tmp_path / "out", tasks=("frost_clz",))


def test_observed_ranges(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME)
    build(store, tmp_path / "out", normalise="observed")
    ranges = json.loads((tmp_path / "out" / "report.json").read_text())["ranges"]["real"]
    scores = [r.score for r in SOME if r.task == "frost_cls" and r.score is not None]
    assert ranges["low"]["frost_cls"] == min(scores)
    assert ranges["high"]["frost_cls"] == max(scores)
    with pytest.raises(ConfigError, match="observd"):
        build(store, tmp_path / "out", normalise="observd")


def test_from_python_any_number_of_times(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME[:3])
    code = (
        "import marsbench\n"
        f"for _ in range(2): r = marsbench.make_report({str(store.root)!r}, "
        f"{str(tmp_path / 'out')!r}, only=('tables',), rounds=10)\n"
        "import marsbench.report.aggregate\n"
        "print(marsbench.report.aggregate.iqm([[1.0]]), r.index.name)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1.0", "index.html"]
    assert "make_report" in dir(marsbench)


def test_a_figure_that_fails_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(plots, "ranks", fail)
    monkeypatch.setattr(figures, "_heat_maps", fail)
    store = make_store(tmp_path / "runs", SOME)
    report = build(store, tmp_path / "out", only=("violins", "ranks", "heatmap"))
    assert len(report.figures) == 4
    messages = [f.message for f in report.findings if f.what == "figure not drawn"]
    assert len(messages) == 2
    assert all("ZeroDivisionError: no such thing" in message for message in messages)
    assert "no such thing" in report.index.read_text()


def test_predictions_that_lack_are_a_problem(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME)
    (store.folder(SOME[0].run_id) / "predictions.parquet").unlink()
    report = build(store, tmp_path / "out", only=("confusion",))
    assert len(report.figures) == 2
    assert "predictions.parquet cannot be read" in problems(report)["figure not drawn"]


# What a store may hold that it should not.


def test_no_store(tmp_path: Path) -> None:
    done = call(str(tmp_path / "none"), "--out", str(tmp_path / "out"), code=2)
    assert "no store" in done.stderr
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
    assert len(report.figures) == 4
    assert report.tables
    return report


def test_a_record_half_written(tmp_path: Path) -> None:
    report = spoiled(tmp_path, SOME[0].to_json()[:200])
    assert "no whole record" in problems(report)["unreadable"]
    assert "no whole record" in report.index.read_text()


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
    report = build(store, tmp_path / "out", only=PARTS)
    assert "no score" in problems(report)
    (finding,) = (f for f in report.findings if f.what == "no score")
    assert finding.run_ids == (record.run_id,)
    assert "nan" not in (tmp_path / "out" / "tables" / "runs.csv").read_text().lower()


def test_one_seed_only(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", [r for r in SOME if r.seed == 0])
    report = build(store, tmp_path / "out", only=PARTS)
    assert "one seed only" in problems(report)["one seed"]
    assert "figure not drawn" not in problems(report)
    text = (tmp_path / "out" / "tables" / "scores-classification-frozen-cached-full.md").read_text()
    assert "\\[" not in text.splitlines()[-1]  # no interval


def test_a_task_with_a_single_model(tmp_path: Path) -> None:
    report = build(make_store(tmp_path / "runs", SOME[:3]), tmp_path / "out", only=PARTS)
    assert "only one model" in problems(report)["one model"]
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
    assert "is a number" in done.stderr


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
        build(store, tmp_path / "file")
    assert "--out" in caught.value.remedy


# The command.


def test_the_command_prints_where_everything_is(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", [r for r in SOME if r.seed == 0])
    words = [str(store.root), "--out", str(tmp_path / "out"), "--only", "violins,tables"]
    done = call(*words)
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert Path(found["index"]).is_file()
    assert found["runs"] == 4
    assert found["problems"][0]["what"] == "one seed"
    assert "Problem (one seed)" in done.stderr
    shown = call(*words, "--format", "table").stdout
    assert f"2 figures (PDF, PNG) in {tmp_path / 'out' / 'figures'}" in shown
    assert f"The report of 4 runs: {found['index']}" in shown


def test_options_of_the_command(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME)
    other = make_store(tmp_path / "others", SOME[:6])
    out = tmp_path / "out"
    call(
        *[str(store.root), "--out", str(out), "--only", "tables", "--reference"],
        *["--compare", str(other.root), "--task", "frost_cls", "--mode", "frozen"],
        *["--model", ",".join(MODELS), "--seed", "3"],
    )
    names = {path.name for path in (out / "tables").iterdir()}
    assert {"published.csv", "compared-classification-frozen-cached-full.csv"} <= names
    assert json.loads((out / "report.json").read_text())["seed"] == 3
    done = call(str(store.root), "--out", str(out), "--only", "violin", code=2)
    assert "Did you mean violins?" in done.stderr


def test_other_stores_problems_are_told_too(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME)
    other = make_store(tmp_path / "others", [r for r in SOME if r.seed == 0])
    report = build(store, tmp_path / "out", compare=other.root)
    assert "other store: one seed" in problems(report)


def test_names_that_are_no_file_names(tmp_path: Path) -> None:
    from marsbench.identity import run_id

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
    report = build(store, tmp_path / "out", only=PARTS)
    assert "figure not drawn" not in problems(report)
    assert any(path.name.startswith("imbalance-01-") for path in report.figures)
    assert {path.parent.name for path in (*report.figures, *report.tables)} == {"figures", "tables"}


def test_unfinished_runs_are_counted(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME)
    folder = store.folder("frost_cls/vit_l_16/frozen/full/7-0123456789")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("task: frost_cls\n")
    report = build(store, tmp_path / "out")
    assert "0 failed and 1 unfinished runs" in report.index.read_text()


def test_settings_are_not_mixed(tmp_path: Path) -> None:
    def other(record: RunRecord) -> RunRecord:
        identity = {**record.identity, "optim": {"lr": 1.0}}
        from marsbench.identity import run_id

        name = run_id(record.task, record.model, record.mode, record.subset, record.seed, identity)
        return dataclasses.replace(record, run_id=name, identity=identity)

    report = build(make_store(tmp_path / "runs", [*SOME, other(SOME[0])]), tmp_path / "out")
    assert "run with 2 settings" in problems(report)["several settings"]
    assert "Kept apart, other settings" in report.index.read_text()
