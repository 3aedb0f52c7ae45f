import dataclasses
import json
import multiprocessing
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from marsbench.base.errors import TrainingError
from marsbench.cli import app
from marsbench.config.identity import digest
from marsbench.config.schema import RunConfig
from marsbench.plan.resolve import Resolver
from marsbench.results.store import Store
from marsbench.sweep.heartbeat import Heartbeat, beating
from marsbench.sweep.status import progress
from marsbench.sweep.suites import expand, load_suite
from tests.sweep.records import finish, record_of

SMOKE = ["suite=smoke"]


def runs_of(store: Path) -> tuple[list[RunConfig], Resolver, list[str]]:
    resolver = Resolver()
    runs = list(expand(load_suite("smoke"), {}))
    return runs, resolver, [resolver.run_id(run) for run in runs]


def status(*words: str) -> list[dict[str, Any]]:
    shown = CliRunner().invoke(app, ["status", *words])
    assert shown.exit_code == 0, shown.output
    return [json.loads(line) for line in shown.stdout.splitlines()]


def test_how_far_a_suite_is(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs, resolver, ids = runs_of(tmp_path)
    assert status(*SMOKE, f"store={tmp_path}")[-1]["to_do"] == 6
    finish(store, record_of(runs[0], resolver))
    with store.claim(ids[1]):
        store.fail(ids[1], TrainingError("x"))
    sweep = tmp_path / ".sweeps" / "one"
    with beating(sweep, sweep / "units" / "00000.json", ids[2:4]):
        (row,) = [r for r in status(*SMOKE, "--store", str(tmp_path)) if r["runs"] == 6]
    counts = {key: row[key] for key in ("done", "running", "failed", "to_do", "lacking")}
    assert counts == {"done": 1, "running": 2, "failed": 1, "to_do": 2, "lacking": 0}
    assert row["per_hour"] > 0
    assert row["eta_s"] == pytest.approx(4 / row["per_hour"] * 3600, abs=2, rel=0.1)
    assert [r["task"] for r in status(*SMOKE, f"store={tmp_path}", "task=frost_cls")] == [
        "frost_cls",
        "suite smoke",
    ]


def test_how_far_a_store_is(tmp_path: Path) -> None:
    runs, resolver, ids = runs_of(tmp_path)
    finish(Store(tmp_path), record_of(runs[0], resolver))
    folder = tmp_path / ".sweeps" / "smoke-1"
    folder.mkdir(parents=True)
    facts = {"suite": "smoke", "launcher": "local", "time": "2026-01-01T00:00:00+00:00"}
    (folder / "sweep.json").write_text(json.dumps({**facts, "ids": ids[1:]}))
    rows = status("--store", str(tmp_path))
    assert [row["sweep"] for row in rows] == ["smoke-1 (local)", "all runs of the store"]
    assert [row["runs"] for row in rows] == [5, 6]
    assert [row["done"] for row in rows] == [0, 1]


def test_what_cannot_be_shown(tmp_path: Path) -> None:
    for words in (["task=frost_cls"], ["--store", str(tmp_path / "nothing")], ["suite=nothing"]):
        shown = CliRunner().invoke(app, ["status", *words])
        assert shown.exit_code == 2
        assert shown.stderr.startswith("Error:")


def test_old_records_are_no_throughput(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs, resolver, ids = runs_of(tmp_path)
    hour_ago = datetime.now(UTC) - timedelta(hours=2)
    for run, created in ((runs[0], hour_ago), (runs[1], datetime.now(UTC) - timedelta(minutes=30))):
        record = dataclasses.replace(
            record_of(run, resolver), created=created.isoformat(timespec="seconds")
        )
        finish(store, record)
    found = progress(store, ids, [])
    assert (found.done, found.recent, found.to_do) == (2, 1, 4)
    assert found.per_hour == pytest.approx(2.0, rel=0.01)
    assert found.eta == pytest.approx(2 * 3600, rel=0.01)
    os.utime(tmp_path / ids[1] / "record.json", (0, 0))
    assert progress(store, ids, []).per_hour is None


def test_a_worker_that_fell_silent_is_not_running(tmp_path: Path) -> None:
    _, _, ids = runs_of(tmp_path)
    then = (datetime.now(UTC) - timedelta(minutes=9)).isoformat()
    beat = Heartbeat("node7", 1, "00000.json", tuple(ids), None, then, then)
    assert progress(Store(tmp_path), ids, [beat]).running == 0
    folder = tmp_path / ".sweeps" / "one" / "workers"
    folder.mkdir(parents=True)
    (folder / "node7-1.json").write_text(json.dumps(dataclasses.asdict(beat)))
    shown = CliRunner().invoke(app, ["status", *SMOKE, f"store={tmp_path}", "--format", "table"])
    assert "no heartbeat for 9.0 minutes, perhaps lost" in shown.stdout
    assert "00000" not in shown.stdout


def write_records(root: Path, worker: int, count: int) -> None:
    config = RunConfig.from_dict(
        {"task": "frost_cls", "model": "vit", "source": "demo", "size": 0.02}
    )
    record = record_of(config, Resolver())
    identity = {**record.identity, "worker": worker}
    for i in range(count):
        run_id = f"frost_cls/vit_l_16/frozen/full/{i}-{digest(identity)[:10]}"
        finish(Store(root), dataclasses.replace(record, identity=identity, run_id=run_id, seed=i))


def test_four_writers_and_a_reader(tmp_path: Path) -> None:
    """Nothing is lost, nothing half-read."""
    count, writers = 40, 4
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=write_records, args=(tmp_path, n, count)) for n in range(writers)
    ]
    for process in processes:
        process.start()
    store, seen = Store(tmp_path), 0
    deadline = time.monotonic() + 120
    while any(process.is_alive() for process in processes):
        assert time.monotonic() < deadline
        if not tmp_path.exists():
            continue
        table, bad = store.table()
        assert bad == []
        assert len(table) >= seen
        seen = len(table)
        assert table["run_id"].is_unique
    assert [process.exitcode for process in processes] == [0] * writers
    table, bad = store.table()
    assert (len(table), bad) == (writers * count, [])
    again, bad = Store(tmp_path).table()
    assert (len(again), bad) == (writers * count, [])
