"""Reports of a small store, for tests of whole reports."""

from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from marsbench.cli import app
from marsbench.report.build import Report, write_report
from marsbench.results.store import Store
from tests.report.fake_store import Fake, fake_record

MODELS = ("vit_l_16", "resnet101")
SOME = [
    fake_record(Fake(task, model, "frozen", "full", seed))
    for task in ("frost_cls", "landmark_cls")
    for model in MODELS
    for seed in (0, 1, 10)
]


def build(store: Store, out: Path, **options: Any) -> Report:
    """Write a report of some parts with few rounds."""
    return write_report(store.root, out, rounds=50, **{"only": ("tables", "violins"), **options})


def problems(report: Report) -> dict[str, str]:
    """Give the last message of each sort."""
    return {finding.what: finding.message for finding in report.problems}


def call(*words: str, code: int = 0) -> Result:
    """Call the command, and expect an exit code."""
    done = CliRunner().invoke(app, ["report", *words])
    assert done.exit_code == code, done.output
    return done
