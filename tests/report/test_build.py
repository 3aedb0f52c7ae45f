"""Whole reports, and the command that builds them."""

import csv
import dataclasses
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import marsbench
from marsbench.api import make_report
from marsbench.base.errors import ConfigError, NothingYetError, UnknownNameError
from marsbench.config.identity import run_id
from marsbench.report.analysis import Analysis
from marsbench.report.build import Report, write_report
from marsbench.report.figures import grids, style
from marsbench.report.figures.plots import scores as plots
from marsbench.report.figures.spec import FAMILIES, Family, FigureSpec
from marsbench.report.study.coverage import ExpectedRuns
from marsbench.results.record import RunRecord
from marsbench.sweep.suites import expand, load_suite
from marsbench.tasks.kinds import METRICS, MetricInfo
from tests.report.building import MODELS, SOME, build, call, problems
from tests.report.fake_store import Fake, fake_record, make_store

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def test_everything(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME)
    report = write_report(store.root, tmp_path / "out", rounds=50)
    assert report.problems == ()
    assert report.num_runs == len(SOME)
    page = report.index.read_text()
    for record in SOME:
        assert record.run_id in page
    assert page.count("<figure ") == page.count("</svg>") == len(report.figures) / 2
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    outside = [link for link in links if not link.startswith(("#", "data:"))]
    assert all((tmp_path / "out" / link).is_file() for link in outside)
    assert {link.partition("/")[0] for link in outside} == {"figures", "tables"}
    assert {path.suffix for path in report.figures} == {".pdf", ".png"}
    assert {path.suffix for path in report.tables} == {".csv", ".md", ".tex"}
    assert all(path.is_file() for path in (*report.figures, *report.tables))
    manifest = json.loads((tmp_path / "out" / "report.json").read_text())
    ranges = manifest["ranges"]["Frozen classification models"]
    assert ranges["source"] == "the bounds of each metric (0 to 1)"
    assert ["frost_cls", "f1_weighted", 0.0, 1.0] in ranges["ends"]


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


def test_what_is_no_reports_is_left_alone(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME)
    out = tmp_path / "out"
    (out / "src").mkdir(parents=True)
    code, page, manifest = out / "src" / "main.py", out / "index.html", out / "report.json"
    code.write_text("mine")
    for path, text in ((page, "<p>mine"), (manifest, '{"files": ["src/main.py", "index.html"]}')):
        path.write_text(text)
        with pytest.raises(
            ConfigError, match=f"{path.name} exists and is not part of a report"
        ) as caught:
            build(store, out)
        assert "--out" in caught.value.remedy
        assert path.read_text() == text
        path.unlink()
    # Nor does a report's own manifest reach what a report does not write.
    first = build(store, out)
    content = json.loads(manifest.read_text())
    (out / "figures" / "notes.txt").write_text("mine")
    odd = ["src/main.py", "figures/notes.txt", "figures/../src/main.py", str(code)]
    manifest.write_text(json.dumps({**content, "files": [*content["files"], *odd]}))
    build(store, out, only=("ranks",))
    assert not any(path.exists() for path in (*first.figures, *first.tables))
    assert code.read_text() == (out / "figures" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["tables", "figures"])
def test_links_and_files_in_place_of_folders(name: str, tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME[:6])
    out, mine = tmp_path / "out", tmp_path / "mine"
    first = build(store, out, only=("tables", "ranks"))
    (out / name).rename(mine)
    (out / name).symlink_to(mine)  # the manifest names its files
    before = {path: path.stat().st_mtime_ns for path in mine.iterdir()}
    assert before
    with pytest.raises(ConfigError, match=f"{name} is a link; expected a folder"):
        build(store, out, only=("tables", "ranks"))
    assert {path: path.stat().st_mtime_ns for path in mine.iterdir()} == before
    (out / name).unlink()
    (out / name).write_text("mine")
    with pytest.raises(ConfigError, match=f"{name} is a file; expected a folder"):
        build(store, out, only=("tables", "ranks"))
    with pytest.raises(ConfigError, match="is a file; --out names a folder"):
        build(store, first.index)


def test_a_report_has_no_place_in_a_store(tmp_path: Path) -> None:
    store, other = (make_store(tmp_path / name, SOME[:6]) for name in ("runs", "others"))
    for out in (store.root, store.root / "report", other.root / "x"):
        with pytest.raises(ConfigError, match="lies in the store"):
            build(store, out, compare=other.root)
    done = call(str(store.root), "--out", f"{tmp_path}/out/../runs", code=2)
    assert "--out" in done.stderr
    assert not list(tmp_path.rglob("index.html"))
    assert not list(tmp_path.rglob("tables"))


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
    (ranges,) = json.loads((tmp_path / "out" / "report.json").read_text())["ranges"].values()
    scores = [r.score for r in SOME if r.task == "frost_cls" and r.score is not None]
    assert ["frost_cls", "f1_weighted", min(scores), max(scores)] in ranges["ends"]
    with pytest.raises(ConfigError, match="observd"):
        build(store, tmp_path / "out", normalise="observd")


def test_from_python_any_number_of_times(tmp_path: Path, python: str) -> None:
    store = make_store(tmp_path / "runs", SOME[:3])
    code = (
        "import marsbench\n"
        f"for _ in range(2): r = marsbench.make_report({str(store.root)!r}, "
        f"{str(tmp_path / 'out')!r}, only=('tables',), rounds=10)\n"
        "import marsbench.report.statistics.aggregate\n"
        "print(marsbench.report.statistics.aggregate.iqm([[1.0]]), r.index.name)"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1.0", "index.html"]
    assert "make_report" in dir(marsbench)


def test_a_figure_that_fails_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(plots, "ranks", fail)
    monkeypatch.setattr(grids, "heat_maps", fail)
    store = make_store(tmp_path / "runs", SOME)
    report = build(store, tmp_path / "out", only=("violins", "ranks", "heatmap"))
    assert len(report.figures) == 2
    messages = [f.message for f in report.problems if f.what == "figure not drawn"]
    assert len(messages) == 2
    assert all("ZeroDivisionError: no such thing" in message for message in messages)
    assert "no such thing" in report.index.read_text()


def spirals(analysis: Analysis) -> Iterator[FigureSpec]:
    (group,) = analysis.headline_groups

    def draw() -> "Figure":
        figure = style.canvas(2, 2)
        figure.subplots().plot([0, 1], [1, 0])
        return figure

    yield FigureSpec("spiral-1", "A spiral", "Two points.", (group.key,), draw)


def test_a_new_figure_is_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "spirals", Family("Spirals of scores", f"{__name__}:spirals"))
    store, out = make_store(tmp_path / "runs", SOME), str(tmp_path / "out")
    assert "spirals" in call(str(store.root), "--out", out, "--only", "nonsense", code=2).stderr
    done = call(str(store.root), "--out", out, "--only", "spirals")
    assert json.loads(done.stdout)["figures"] == 1
    names = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert names == {"spiral-1.pdf", "spiral-1.png"}
    text = (tmp_path / "out" / "index.html").read_text()
    assert "<h3>Spirals of scores</h3>" in text
    assert '<figure id="spiral-1"' in text


def test_a_new_metric_is_a_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "entropy", MetricInfo("Entropy", higher_is_better=False))
    records = [
        fake_record(Fake("frost_cls", m), headline="entropy", metrics={"test": {"entropy": score}})
        for m, score in zip(MODELS, (0.25, 0.5), strict=True)
    ]
    build(make_store(tmp_path / "runs", records), tmp_path / "out", only=("tables",))
    text = (tmp_path / "out/tables/scores-classification-frozen-cached-full.md").read_text()
    assert "Metric: Entropy \N{DOWNWARDS ARROW}." in text
    assert "| ViT-L/16 | **0.250** |" in text


def test_predictions_that_lack_are_a_problem(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", SOME)
    (store.folder(SOME[0].run_id) / "predictions.parquet").unlink()
    report = build(store, tmp_path / "out", only=("confusion",))
    assert len(report.figures) == 2
    assert "predictions.parquet cannot be read" in problems(report)["figure not drawn"]


# The command.


def test_the_command_prints_where_everything_is(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", [r for r in SOME if r.seed == 0])
    words = [str(store.root), "--out", str(tmp_path / "out"), "--only", "violins,tables"]
    done = call(*words)
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert Path(found["index"]).is_file()
    assert found["runs"] == 4
    assert (found["figures"], found["problems"]["one seed"]) == (1, 1)
    assert "Problem (one seed)" in done.stderr
    shown = call(*words, "--format", "table").stdout
    assert f"1 figure (PDF, PNG) in {tmp_path / 'out' / 'figures'}" in shown
    assert f"The report of 4 runs: {found['index']}" in shown


def test_the_command_prints_no_ids(tmp_path: Path) -> None:
    records = [fake_record(Fake("frost_cls", "vit_l_16", "frozen", "full", i)) for i in range(30)]
    noted = [
        dataclasses.replace(r, data={**r.data, "notes": ["Every run has this."]}) for r in records
    ]
    store = make_store(tmp_path / "runs", noted)
    done = call(str(store.root), "--out", str(tmp_path / "out"), "--only", "tables")
    assert json.loads(done.stdout)["problems"]["note"] == 1
    assert not any(record.run_id in done.output for record in records)
    assert len(done.output) < 1000
    page = (tmp_path / "out" / "index.html").read_text()
    assert all(f"<code>{record.run_id}</code></li>" in page for record in records)


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
        name = run_id(record.task, record.model, record.mode, record.subset, record.seed, identity)
        return dataclasses.replace(record, run_id=name, identity=identity)

    report = build(make_store(tmp_path / "runs", [*SOME, other(SOME[0])]), tmp_path / "out")
    words = "optim.lr=1.0 instead of 0.001"
    assert words in problems(report)["several settings"]
    assert words in report.index.read_text()


def test_a_suites_runs_that_lack(tmp_path: Path) -> None:
    store, out = make_store(tmp_path / "runs", SOME), tmp_path / "out"
    suite = tmp_path / "mine.yaml"
    task = {"task": ["frost_cls", "landmark_cls"], "model": "vit", "seed": [0, 1, 42]}
    ways = {"task": "frost_cls", "model": "resnet101", "imbalance": ["none", "oversample"]}
    suite.write_text(json.dumps({"description": "x", "grids": [task, ways]}))
    words = [str(store.root), "--out", str(out), "--only", "tables"]
    done = call(*words, "--suite", str(suite), "--task", "frost_cls")
    (found,) = csv.DictReader(
        line for line in (out / "tables" / "missing.csv").open() if "oversample" not in line
    )
    assert (found["task"], found["model"]) == ("frost_cls", "vit_l_16")
    assert (found["seeds found"], found["seeds missing"]) == ("0, 1", "42")
    messages = [p["message"] for p in json.loads((out / "report.json").read_text())["problems"]]
    assert json.loads(done.stdout)["problems"]["missing"] == 2
    assert sum("of suite mine: " in message for message in messages) == 2
    assert any("imbalance=oversample: missing 1 run" in message for message in messages)
    cells = csv.DictReader((out / "tables/coverage-classification-frozen-cached-full.csv").open())
    assert {row["model"]: row["frost_cls"] for row in cells} == {
        "resnet101": "1/1, 2 more",
        "vit_l_16": "2/3, 1 more",
    }
    assert "Did you mean smoke?" in call(*words, "--suite", "smok", code=2).stderr
    # A suite names a task of one's own by its file, records by its name.
    landmarks = load_suite("frozen_landmarks")
    plan = ExpectedRuns.of_suite("x", expand(landmarks, {}))
    assert {run.task for run in plan.runs} == {"hirise_landmark_v1"}


def test_a_suite_narrowed_by_words(tmp_path: Path) -> None:
    odd = fake_record(Fake("mmls", "unet", seed=0), metrics={"test": {"miou": 7.0}})
    store = make_store(tmp_path / "runs", [*SOME, odd])
    seen = {(r.task, r.model, r.mode, r.subset, r.imbalance) for r in SOME}
    assert len({name[0] for name in seen}) > 1
    out = tmp_path / "out"
    words = [str(store.root), "suite=paper_cls", "task=frost_cls", "seed=0,1", "mode=frozen"]
    ignored = ["root=/nowhere", "launcher=slurm", "launcher.partition=gpu", "trainer=quick"]
    rest = ["--out", str(out), "--only", "tables"]
    done = call(*words, *ignored, *rest)
    rows = list(csv.DictReader((out / "tables" / "runs.csv").open()))
    of = {(row["task"], *row["run_id"].split("/")[2:4]) for row in rows}
    assert of == {("frost_cls", "frozen", "full")}
    assert json.loads(done.stdout)["runs"] == len(rows)
    missing = list(csv.DictReader((out / "tables" / "missing.csv").open()))
    assert {r["seeds missing"] for r in missing} <= {"0", "1", "0, 1"}
    assert {r["task"] for r in missing} == {"frost_cls"}
    # Another's problems are not this suite's.
    assert "mmls" not in done.stdout
    # The same suite as an option, or twice; another is refused, and so are words without one.
    assert call(*words, "--suite", "paper_cls", *rest).stdout == done.stdout
    call(words[0], *words[2:], "--suite", "paper_cls", *rest)
    assert "'suite' is given twice" in call(*words, "--suite", "paper_seg", *rest, code=2).stderr
    assert "given without a suite" in call(words[0], *words[2:], *rest, code=2).stderr
    assert "Name the folder before the words" in call(*words[1:], *rest, code=2).stderr


def test_a_suite_none_of_whose_runs_has_finished(tmp_path: Path) -> None:
    store, out = make_store(tmp_path / "runs", SOME), tmp_path / "out"
    words = ["suite=paper_det", "mode=finetune", "--out", str(out)]
    told = f"No run of suite paper_det in {store.root} has finished: nothing to report yet."
    done = call(str(store.root), *words, "--mode", "finetune")
    assert json.loads(done.stdout) == {"index": None, "runs": 0, "message": told}
    assert call(str(store.root), *words, "--format", "table").stdout == f"{told}\n"
    assert json.loads(call(str(tmp_path / "none"), *words).stdout)["runs"] == 0
    # What cannot be read might be one of them.
    (store.root / SOME[0].run_id / "record.json").write_text("{")
    assert SOME[0].run_id in call(str(store.root), *words).stderr
    assert not out.exists()
    with pytest.raises(NothingYetError):
        make_report(store.root, out, suite="paper_det")


def test_no_published_number_of_these_tasks(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs", [fake_record(Fake("mmls", "unet", seed=0))])
    report = build(store, tmp_path / "out", reference=True)
    assert not any(path.stem == "published" for path in report.tables)
    assert "has no number for the tasks" in report.index.read_text()


def test_short_text_of_a_report() -> None:
    report = Report(Path("out/index.html"), (Path("a.pdf"), Path("a.png")), (), (), 539)
    lines = [
        "Report out/index.html",
        "  539 runs, 2 files of figures, 0 files of tables, 0 problems",
    ]
    assert repr(report).splitlines() == lines
