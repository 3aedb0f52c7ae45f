"""Evaluations of suites: pairs of the suite, of finished runs, once."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from marsbench.cli import app
from marsbench.results.store import Store
from marsbench.sweep.suites import load_suite
from tests.evaluate.test_classes import BOTH

SUITE: dict[str, Any] = {
    "description": "A suite of a test.",
    "set": {"source": "demo", "size": 0.02, "workers": 0, "trainer.max_epochs": 1},
    "grids": [
        {
            "task": ["change_cls_ctx", "change_cls_hirise"],
            "model": "timm:test_resnet",
            "mode": "scratch",
            "seed": [0, 1],
        }
    ],
    "evaluate": {
        "task": ["change_cls_ctx", "change_cls_hirise"],
        "target": ["change_cls_ctx", "change_cls_hirise"],
    },
}


def called(*words: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, lines and messages of a command."""
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_cross_domain_has_all_pairs() -> None:
    suite = load_suite("cross_domain")
    pairs = {(a, b) for t in suite.evaluate for a in t.task for b in t.target if a != b}
    assert pairs == set(BOTH)


def test_finished_runs_are_evaluated_on_the_suites_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(yaml.safe_dump(SUITE))
    code, _, message = called("evaluate", "suite=mine.yaml")
    assert code == 2
    assert "No run of suite mine" in message
    for task, seed in (("ctx", 0), ("hirise", 0), ("hirise", 1)):
        words = [f"task=change_cls_{task}", f"seed={seed}", "model=timm:test_resnet"]
        words += ["mode=scratch", "source=demo", "size=0.02", "trainer.max_epochs=1", "workers=0"]
        assert called("run", *words)[0] == 0
    code, rows, message = called("evaluate", "suite=mine.yaml")
    assert code == 0
    assert "1 runs of suite mine are not finished" in message
    assert sorted((row["trained_on"], row["task"]) for row in rows) == [
        ("change_cls_ctx", "change_cls_hirise"),
        ("change_cls_hirise", "change_cls_ctx"),
        ("change_cls_hirise", "change_cls_ctx"),
    ]
    assert {row["status"] for row in rows} == {"done"}
    assert len(Store("runs").evaluations()) == 3
    code, again, _ = called("evaluate", "suite=mine.yaml", "seed=0", "batch_size=4")
    assert code == 0
    assert [row["status"] for row in again] == ["done already"] * 2
    code, _, message = called("evaluate", "suite=smoke")
    assert code == 2
    assert "Suite smoke has no evaluations" in message
    code, _, message = called("evaluate", "suite=mine.yaml", "devce=cpu")
    assert code == 2
    assert "Unknown key 'devce'" in message
