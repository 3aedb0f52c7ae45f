"""Names from elsewhere on a terminal: markup, control characters and formulas are text."""

import csv
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner, Result

import marsbench
from marsbench.base.progress import tell, track
from marsbench.cli import app
from marsbench.results.store import Store
from tests.fakes import make_spec, write_folder
from tests.report.fake_store import Fake, fake_record, write

NAMES = {
    "closing tag": "[/]",
    "style": "dune [dark]",
    "link": "[link=x]y[/link]",
    "emoji code": ":boom:",
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;title\x07",
    "clear": "\x1b[2J\x9b2J",
    "bidi": "\u202egnp.x\u202c",
    "isolate": "\u2066x\u2069",
    "return": "x\rError: none",
    "formula": "=1+1",
}
CONTROL = [*map(chr, range(9)), "\x0b", "\x0c", "\r", *map(chr, range(14, 32)), "\x7f"]
CONTROL += [*map(chr, range(0x80, 0xA0)), *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    # Colours of our own would be control characters too.
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("NO_COLOR", "1")


def call(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, (done.output, done.exception)
    assert not set(CONTROL) & set(done.output), ascii(done.output)
    return done


def shown(name: str) -> str:
    """A name as a terminal shows it."""
    return "".join(c.encode("unicode_escape").decode() if c in CONTROL else c for c in name)


def store_of(tmp_path: Path, name: str, **fields: Any) -> Store:
    """A store with an ordinary record and one whose names are odd."""
    store = Store(tmp_path / "runs")
    good, odd = (fake_record(Fake("frost_cls", "resnet101", seed=seed)) for seed in (0, 1))
    write(store, [good, dataclasses.replace(odd, task=name, model=name, device=name, **fields)])
    return store


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_results(name: str, tmp_path: Path) -> None:
    store = store_of(tmp_path, name)
    done = call("results", str(store.root), "--format", "table")
    assert done.stdout.count(shown(name)) == 2
    line = json.loads(call("results", str(store.root), "--format", "json").stdout.splitlines()[-1])
    assert line["task"] == name
    assert "Unknown task" in call("results", str(store.root), "--task", name + "x", code=2).stderr
    call("results", str(store.root), "--per-class", "f1", "--format", "table")
    (store.folder("a/b/c/d/0-x")).mkdir(parents=True)
    (store.folder("a/b/c/d/0-x") / "record.json").write_text(json.dumps({name: 1}))
    assert "Left out" in call("results", str(store.root), "--format", "table").stderr


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_status(name: str, tmp_path: Path) -> None:
    store = store_of(tmp_path, name)
    sweep = store.root / ".sweeps" / "x"
    (sweep / "workers").mkdir(parents=True)
    time = "2026-01-01T00:00:00+00:00"
    ids = ["frost_cls/resnet101/frozen/full/9-0123456789"]
    beat = {"host": name, "pid": 1, "unit": name, "ids": ids, "current": name}
    facts = {"suite": name, "launcher": name, "time": time, "ids": ids}
    (sweep / "sweep.json").write_text(json.dumps(facts))
    (sweep / "workers" / "1.json").write_text(json.dumps(beat | {"started": time, "updated": time}))
    done = call("status", "--store", str(store.root), "--format", "table")
    assert f"worker  {shown(name)} 1 at {shown(name)}" in done.stdout


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_report_and_export(name: str, tmp_path: Path) -> None:
    store = store_of(tmp_path, name)
    out = tmp_path / "report"
    done = call("report", str(store.root), "--out", str(out), "--only", "tables,violins")
    assert "figure not drawn" not in done.output
    page = (out / "index.html").read_text()
    assert not set(CONTROL) & set(page)
    call("results", "export", str(store.root), "--out", str(tmp_path / "x.csv"))
    for path in (out / "tables" / "runs.csv", tmp_path / "x.csv"):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        cells = {row["model"] for row in rows}
        assert ("'=1+1" in cells) == (name == "=1+1")
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    for path in (out / "tables").glob("*.[mt]*"):  # Markdown and LaTeX
        assert not set(CONTROL) & set(path.read_text())


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_data_info_and_messages(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    spec = make_spec(classes=("a", "b", "c"), folder="data")
    folder = write_folder(spec, tmp_path, {"train": 3, "val": 3, "test": 3})
    content: dict[str, Any] = {"name": "toy", "kind": "multiclass", "channels": 1, "title": name}
    content |= {"classes": {"a": name, "b": "x", "c": "x"}, "notes": [name]}
    (folder / "task.yaml").write_text(yaml.safe_dump(content))
    done = call("data", "info", str(folder), f"root={folder}", "--format", "table")
    assert done.stdout.count(shown(name)) >= 3
    for field in ("kind", "headline", "decode", name):
        (folder / "task.yaml").write_text(yaml.safe_dump({**content, field: name}))
        assert shown(name) in call("data", "info", str(folder), code=2).stderr
    for words in (["run", f"task={name}", "model=vit"], ["predict", "x", name, "--out", "out"]):
        assert shown(name) in call(*words, code=2).stderr


@pytest.mark.parametrize("name", [n for n in NAMES.values() if "/" not in n])
def test_predictions(name: str, tmp_path: Path) -> None:
    spec = make_spec(classes=("a", "b", name), folder="data")
    folder = write_folder(spec, tmp_path, {"train": 3, "val": 3, "test": 3})
    content = {"name": "toy", "kind": "multiclass", "channels": 1, "classes": ["a", "b", name]}
    (folder / "task.yaml").write_text(yaml.safe_dump(content))
    keys: dict[str, Any] = {"optim.batch_size": 4, "trainer.max_epochs": 1, "workers": 0}
    record = marsbench.run(
        task=str(folder / "task.yaml"),
        model="timm:test_resnet",
        mode="scratch",
        root=str(folder),
        store=str(tmp_path / "runs"),
        **{**keys, "trainer.accelerator": "cpu"},
    )
    images = tmp_path / "images"
    images.mkdir()
    Image.new("L", (32, 32)).save(images / f"{name}.png")
    (images / f"{name}2.png").write_bytes(b"damaged")
    words = ["predict", record.run_id, "--store", str(tmp_path / "runs"), str(images)]
    done = call(*words, "--out", str(tmp_path / "out"), code=2)
    assert shown(f"{name}2.png") in done.stderr
    with (tmp_path / "out" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert f"probability/{name}".replace("\r", "\\r") in cells
    assert not any(cell.startswith(("=", "+", "@")) for cell in cells)


def test_progress_bars(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for name in NAMES.values():
        assert list(track([1], name, 1)) == [1]
        tell(name)
    assert "Error: none" in capsys.readouterr().err
