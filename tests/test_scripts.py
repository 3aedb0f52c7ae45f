"""The scripts of the paper's figures and tables."""

import csv
import os
import subprocess
from pathlib import Path

import pytest

from marsbench.sweep.lists import LISTS
from tests.report.fake_store import Fake, fake_record, make_store

PAPER = Path(__file__).parents[1] / "scripts" / "paper"
SCRIPTS = sorted(path for path in PAPER.glob("*.sh") if path.stem != "study")


def run(script: Path, folder: Path, *words: str, bin_: Path) -> str:
    done = subprocess.run(
        ["bash", script, *words],
        cwd=folder,
        env=os.environ | {"PATH": f"{bin_}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def marsbench_in(folder: Path, *also: str) -> Path:
    """Put a `marsbench` into a folder that says what it was asked; lines are what else it does."""
    folder.mkdir()
    program = folder / "marsbench"
    program.write_text("\n".join(["#!/bin/bash", 'echo "$*"', *also, ""]))
    program.chmod(0o755)
    return folder


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    """A folder with a `marsbench` that says what it was asked, and does nothing."""
    return marsbench_in(tmp_path / "bin")


@pytest.fixture
def looker(tmp_path: Path, python: str) -> Path:
    """As `recorder`, but it looks and reports: words that these do not take are errors."""
    real = f'"{python}" -m marsbench "$@" > /dev/null'
    return marsbench_in(tmp_path / "looks", f'[ "$1" = sweep ] || {real}')


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_each_sweeps_looks_and_reports(script: Path, tmp_path: Path, recorder: Path) -> None:
    words = ("root=/data/mars", "store=mine", "--retry-failed", "--shard", "1/4")
    sweep, status, report = run(script, tmp_path, *words, bin_=recorder).splitlines()
    assert sweep.startswith("sweep suite=paper_")
    assert sweep.endswith("root=/data/mars store=mine --retry-failed --shard 1/4")
    asked = sweep.removeprefix("sweep ").removesuffix(" --retry-failed --shard 1/4")
    assert status == f"status {asked}"
    assert report.startswith(f"report mine {asked} --out report/")
    assert "--normalise observed --only " in report
    # A plan alone.
    for option in ("--dry-run", "--print-commands"):
        (plan,) = run(script, tmp_path, option, bin_=recorder).splitlines()
        assert plan.endswith(option)


def test_one_store_for_all(tmp_path: Path, looker: Path) -> None:
    make_store(
        tmp_path / "runs",
        [
            fake_record(Fake(task, model, "frozen", subset, seed))
            for task, model in (("frost_cls", "vit_l_16"), ("mmls", "unet"))
            for subset in ("full", "partition_0.50")
            for seed in (0, 1)
        ],
    )

    def reported(name: str, *words: str) -> tuple[set[tuple[str, str]], set[str], Path]:
        (script,) = PAPER.glob(f"{name}_*.sh")
        assert len(run(script, tmp_path, *words, bin_=looker).splitlines()) == 3
        folder = tmp_path / "report" / name
        if not folder.exists():
            return set(), set(), folder
        rows = list(csv.DictReader((folder / "tables" / "runs.csv").open()))
        missing = csv.DictReader((folder / "tables" / "missing.csv").open())
        here = {(row["task"], row["run_id"].split("/")[3]) for row in rows}
        return here, {row["task"] for row in missing}, folder

    shard = ("launcher=slurm", "root=/data/mars", "--retry-failed", "--shard", "1/4")
    here, missing, folder = reported("figure_03_38", *shard)
    assert here == {("mmls", "full")}
    assert missing <= set(LISTS["task"]["segmentation"])
    names = {path.name for path in (folder / "figures").iterdir()}
    assert names
    assert all("segmentation" in name and "partition" not in name for name in names)
    here, missing, folder = reported("figure_31_33", "model=vit_l_16", "seed=0,1,10")
    assert here == {("frost_cls", "partition_0.50")}
    assert missing == set(LISTS["task"]["classification"])
    rows = list(csv.DictReader((folder / "tables" / "missing.csv").open()))
    assert {row["model"] for row in rows} == {"vit_l_16"}
    assert {row["seeds missing"] for row in rows} == {"0, 1, 10", "10"}
    # Nothing of this has finished: no report, and no error.
    here, _, folder = reported("figure_29", *shard)
    assert not here
    assert not folder.exists()


def test_one_from_sweep_to_report(tmp_path: Path, python: str) -> None:
    bin_ = marsbench_in(tmp_path / "bin", f'"{python}" -m marsbench "$@"')
    words = ["source=demo", "size=0.05", "task=change_cls_ctx", "model=squeezenet1_1", "seed=0,1"]
    words += ["trainer.max_epochs=1", "workers=0"]
    run(PAPER / "figure_30_classification_scratch.sh", tmp_path, *words, bin_=bin_)
    assert (tmp_path / "report" / "figure_30" / "index.html").is_file()
