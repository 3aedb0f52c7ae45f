import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from marsbench.base.errors import ConfigError, MarsbenchError, StoreError
from marsbench.cli import app
from marsbench.results.exporting import export_results
from marsbench.results.store import Store
from tests.results.test_store import make_record, write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store(tmp_path / "runs")
    write(opened, make_record(0))
    write(opened, make_record(1, metrics={"val": {}, "test": {"f1_weighted": 0.1 + 0.2}}))
    return opened


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_row_per_run(store: Store, tmp_path: Path, name: str) -> None:
    rows, bad = export_results(store.root, tmp_path / name)
    table = read(tmp_path / name)
    assert (rows, bad, len(table)) == (2, [], 2)
    assert list(table["seed"]) == [0, 1]
    assert table["test/f1_weighted"].tolist() == [0.25, 0.1 + 0.2]  # to the last digit
    assert table["score"].tolist() == [0.25, 0.1 + 0.2]


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_row_per_metric(store: Store, tmp_path: Path, name: str) -> None:
    export_results(store.root, tmp_path / name, long=True)
    table = read(tmp_path / name)
    found = table[["seed", "split", "metric", "value"]].to_numpy().tolist()
    assert found == [
        [0, "test", "f1_weighted", 0.25],
        [0, "test", "loss", 1.0],
        [0, "val", "f1_weighted", 0.5],
        [1, "test", "f1_weighted", 0.1 + 0.2],
    ]
    assert set(table["headline"]) == {"f1_weighted"}


def test_what_cannot_be_written(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    with pytest.raises(ConfigError, match=r"expected \.parquet or \.csv"):
        export_results(store.root, tmp_path / "table.xlsx")
    with pytest.raises(StoreError, match="cannot be written"):
        export_results(store.root, tmp_path / "nowhere" / "table.csv")
    with pytest.raises(StoreError, match="is missing"):
        export_results(tmp_path / "nothing", out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="no finished run"):
        export_results(tmp_path / "empty", out)
    out.write_text("mine")
    with pytest.raises(MarsbenchError, match="exists already"):
        export_results(store.root, out)
    assert out.read_text() == "mine"
    assert export_results(store.root, out, replace=True)[0] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "runs", "table.csv"]


def test_command(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.paths()[0].write_text("{")
    words = ["results", "export", str(store.root), "--out", str(tmp_path / "t.csv"), "--long"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found == {"rows": 1, "left_out": 1, "file": str(tmp_path / "t.csv")}
    assert "Left out" in done.stderr
    assert CliRunner().invoke(app, words).exit_code == 2
    shown = CliRunner().invoke(app, [*words, "--force", "--format", "table"])
    assert shown.stdout == f"1 rows in {tmp_path / 't.csv'}\n"


@pytest.mark.parametrize("name", ["import", "export"])
def test_a_store_of_a_commands_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Store(tmp_path / name), make_record())
    done = CliRunner().invoke(app, ["results", f"./{name}", "--format", "table"])
    assert f"Finished runs in {name}: 1" in done.stdout
    # Options may stand before the store.
    first = CliRunner().invoke(app, ["results", "--format", "json", "--task", "toy", f"./{name}"])
    assert len(first.stdout.splitlines()) == 1
