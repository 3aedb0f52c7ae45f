"""The scripts of the paper's figures and tables."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PAPER = Path(__file__).parents[1] / "scripts" / "paper"
SCRIPTS = sorted(path for path in PAPER.glob("*.sh") if path.stem != "study")


def run(script: Path, folder: Path, *words: str, bin_: Path | None = None) -> str:
    where = bin_ or Path(sys.executable).parent
    done = subprocess.run(
        ["bash", script, *words],
        cwd=folder,
        env=os.environ | {"PATH": f"{where}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    """A folder with a `marsbench` that says what it was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "marsbench"
    program.write_text('#!/bin/bash\necho "$*"\n')
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_each_sweeps_looks_and_reports(script: Path, tmp_path: Path, recorder: Path) -> None:
    finished = tmp_path / "mine" / "task" / "record.json"
    finished.parent.mkdir(parents=True)
    finished.write_text("{}")
    words = ("root=/data/mars", "store=mine")
    sweep, status, report = run(script, tmp_path, *words, bin_=recorder).splitlines()
    assert sweep.startswith("sweep suite=paper_")
    assert sweep.endswith("root=/data/mars store=mine")
    assert status.removeprefix("status") == sweep.removeprefix("sweep")
    suite = sweep.split()[1].partition("=")[2]
    assert report.startswith("report mine --out report/")
    assert f"--normalise observed --suite {suite} " in report
    # Nothing was done: nothing to report, and no error.
    (only, looked) = run(script, tmp_path, "store=empty", bin_=recorder).splitlines()
    assert only.startswith("sweep")
    assert looked.startswith("status")
    # A plan alone.
    (plan,) = run(script, tmp_path, "--dry-run", bin_=recorder).splitlines()
    assert plan.endswith("--dry-run")


def test_one_from_sweep_to_report(tmp_path: Path) -> None:
    words = ["source=demo", "size=0.05", "task=change_cls_ctx", "model=squeezenet1_1", "seed=0,1"]
    words += ["trainer.max_epochs=1", "workers=0"]
    run(PAPER / "figure_30_classification_scratch.sh", tmp_path, *words)
    assert (tmp_path / "report" / "figure_30" / "index.html").is_file()
