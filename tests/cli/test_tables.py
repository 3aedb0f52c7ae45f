"""Tables on terminals of several widths: whole words and columns, ids that name their run."""

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from marsbench import cli
from marsbench.cli.choosing import arrange
from marsbench.cli.layout import NARROWEST, fit
from marsbench.config.identity import run_id
from marsbench.results.find import find_run
from marsbench.results.store import Store
from tests.report.fake_store import Fake, fake_evaluation, fake_record, write

WIDTHS = (80, 100, 120)
LONG = "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k"


def call(*words: str) -> tuple[str, str, int]:
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.app(list(words))
        except SystemExit as ended:
            code = int(ended.code or 0)
    return out.getvalue(), err.getvalue(), code


def named(task: str, model: str, seed: int) -> Any:
    base = fake_record(Fake("frost_cls", "resnet101"))
    own = run_id(task, model, "frozen", "full", seed, base.identity)
    return fake_record(
        Fake("frost_cls", "resnet101"), task=task, model=model, seed=seed, run_id=own
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long names, wide characters, many seeds, and runs of equal hashes."""
    root = tmp_path_factory.mktemp("t") / "runs"
    models = ("resnet101", "vit_l_16")
    records = [
        fake_record(Fake("frost_cls", m, mode, seed=seed))
        for m in models
        for mode in ("frozen", "scratch")
        for seed in (0, 1, 1234)
    ]
    records += [
        named("atmospheric_dust_cls_edr", LONG, 3),
        named("mars_火星の霜と砂丘", "vit_" + "模型" * 9, 4),
    ]
    records.append(fake_evaluation(records[0], "landmark_cls", 0.5, corruption="dust", severity=3))
    write(Store(root), records, predictions=False)
    return root


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("words", [[], ["--evaluations"]], ids=["runs", "evaluations"])
def test_results_fit_and_their_ids_resolve(
    width: int, words: list[str], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.parent)
    rows = [json.loads(line) for line in call("results", *words)[0].splitlines()]
    monkeypatch.setenv("COLUMNS", str(width))
    out, err, code = call("results", *words, "--format", "table")
    assert code == 0
    assert all(cell_len(line) <= width for line in (out + err).splitlines())
    head, *shown = [line.split() for line in out.splitlines()[1:] if "─" not in line]
    assert {"run", "test", "model" if not words else "task"} <= set(head)
    assert [find_run(line[0], store)[0].run_id for line in shown] == [r["run_id"] for r in rows]
    whole = {str(value) for row in rows for value in row.values()}
    whole |= {f"{row['test']:.4f}" for row in rows}
    for name, cell in ((n, c) for line in shown for n, c in zip(head, line, strict=False)):
        assert cell in whole or name in ("run", "parent", "val", "in_domain", "gap"), (name, cell)
    missing = (
        rows[0].keys() - {"run_id"} - set(" ".join(head).replace("train s", "train_s").split())
    )
    for name in missing - {"train s", "ceiling", "temperature"}:
        assert name in err


@pytest.mark.parametrize(
    ("what", "width"),
    [*((what, w) for what in ("tasks", "models", "keys") for w in WIDTHS), ("suites", 80)],
)
def test_lists_fit_and_break_no_word(
    what: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [json.loads(line) for line in call("list", what)[0].splitlines()]
    monkeypatch.setenv("COLUMNS", str(width))
    out, err, code = call("list", what, "--format", "table")
    assert code == 0
    assert all(len(line) <= width for line in (out + err).splitlines())
    known = {word for row in rows for value in row.values() for word in str(value).split()}
    known |= {word for name in rows[0] for word in name.split()}
    body = out.partition("\n")[2]
    assert {word for word in body.split() if not set(word) <= {"─"}} <= known
    names = [next(iter(row.values())) for row in rows]
    assert set(names) <= {line.split()[0] for line in body.splitlines() if line.strip()}
    if what == "tasks":
        assert ("val, test" in err, "sensor" in err) == (False, width < 120)


def test_off_a_terminal_nothing_is_left_out(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    out, err, _ = call("results", str(store), "--format", "table")
    assert "Left out" not in err
    assert out.splitlines()[1].endswith("train s")
    lines = [json.loads(line) for line in call("results", str(store))[0].splitlines()]
    assert list(lines[0]) == [
        *("task", "model", "mode", "subset", "imbalance", "seed", "metric"),
        *("val", "test", "of", "epochs", "train s", "run_id"),
    ]


def test_columns_and_sort(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = call("results", f"store={store}", "--columns", "test,run_id", "--sort", "-test,run_id")
    lines = [json.loads(line) for line in rows[0].splitlines()]
    assert list(lines[0]) == ["test", "run_id"]
    assert lines == sorted(lines, key=lambda row: (-row["test"], row["run_id"]))
    # The first column is shown whole, whatever its width.
    out, err, _ = call("results", str(store), "--columns", "run_id,test", "--format", "table")
    assert {row["run_id"] for row in lines} <= set(out.split())
    assert "Left out at 80 columns: test." in err
    for words in (["--columns", "tst"], ["--sort", "tst"]):
        _, err, code = call("results", str(store), *words)
        assert code == 2
        assert "Did you mean test?" in err
    for words in (["--columns", ","], ["--per-class", "f1", "--sort", "test"]):
        assert call("results", str(store), *words)[2] == 2
    sizes = call("list", "models", "--columns", "input,model", "--sort", "-input")[0]
    inputs = [json.loads(line)["input"] for line in sizes.splitlines()]
    assert inputs == sorted(inputs, reverse=True)


def test_missing_values_are_sorted_last() -> None:
    rows = [{"a": v} for v in (None, 2, "", float("nan"), 10, "x")]
    assert [row["a"] for row in arrange(rows, None, "a")][:3] == [2, 10, "x"]
    assert [row["a"] for row in arrange(rows, None, "-a")][:3] == ["x", 10, 2]


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "{0}", "{1}", "--out", "x", "--store", "{2}"],
        ["evaluate", "{0}", "store={2}", "task=mmls"],
        ["ensemble", "{0}", "{0}", "--store", "{2}"],
        ["results", "groups", "{0}", "--store", "{2}"],
        ["card", "{0}", "--store", "{2}"],
        ["spectra", "submission", "{0}", "--root", "{1}", "--store", "{2}"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_takes_short_ids(
    words: list[str], store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its digits a short id names several runs here; with them a run without a model."""
    monkeypatch.chdir(tmp_path)
    listed = call("results", str(store), "--columns", "run", "--sort", "-seed")[0]
    run = json.loads(listed.splitlines()[0])["run"]
    end, _, digits = run.partition(".")
    assert digits
    _, err, code = call(*(word.format(end, tmp_path, store) for word in words))
    assert code == 2
    assert f"'{end}' names 4 runs: frost_cls/" in err
    _, err, code = call(*(word.format(run, tmp_path, store) for word in words))
    assert "Unknown run" not in err
    assert "names" not in err


@pytest.mark.parametrize(
    "words",
    [
        ["results", "store={0}"],
        ["results", "export", "store={0}", "--out", "{0}/x.csv"],
        ["status", "store={0}"],
        ["report", "store={0}", "--out", "{0}/out"],
        ["submit", "store={0}", "--out", "{0}/out"],
    ],
    ids=lambda words: " ".join(words[:2]).replace("store={0}", ""),
)
def test_every_command_takes_store(words: list[str], tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    out, err, _ = call(*(word.format(missing) for word in words))
    assert re.search(rf"(?<!store=){re.escape(str(missing))}\b(?!/)", out + err), err


def test_fit() -> None:
    columns = {"name": ["a" * 30, "霜" * 20], "text": ["one two " * 20], "n": ["1"]}
    assert fit(columns, None).widths == {"name": 40, "text": 160, "n": 1}
    layout = fit(columns, 45)
    assert layout.left_out == ("text",)
    assert layout.widths == {"name": 40, "n": 1}
    layout = fit(columns, 100, ("n", "text"))
    assert layout.widths == {"name": 40, "text": 100 - 40 - 1 - 4, "n": 1}
    assert fit(columns, 60, ("text",)).widths == {"text": 60 - 1 - 2, "n": 1}
    layout = fit(columns, 40 + 2 + NARROWEST)
    assert layout.widths == {"name": 40, "text": NARROWEST}
    assert fit(columns, 40 + 2 + NARROWEST - 1).widths == {"name": 40, "n": 1}
    assert fit(columns, 10).widths == {"name": 40}
