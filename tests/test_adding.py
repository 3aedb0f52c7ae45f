"""A data set, a classifier, a metric, a launcher and a figure: one table entry each."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure
from typer.testing import CliRunner

import marsbench
from marsbench.base.errors import MarsbenchError
from marsbench.cli import app
from marsbench.models.spec import Library, ModelSpec
from marsbench.models.zoo.catalog import MODELS
from marsbench.report.analysis import Analysis
from marsbench.report.figures.spec import FAMILIES, Family, FigureSpec
from marsbench.sweep import suites, worker
from marsbench.sweep.launchers.settings import LAUNCHERS, LauncherSettings
from marsbench.sweep.lists import paper_lists
from marsbench.tasks.catalog import TASKS, by_name, get_task
from marsbench.tasks.kinds import LABELS, METRICS, MetricInfo

NAME = "ripples_cls"


@pytest.fixture
def entry(toy: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Add a task of another collection to the catalogue; returns the folder of its data."""
    spec = replace(
        get_task(toy),
        name=NAME,
        collection="dune_atlas",
        hub_id="someone/ripples",
        licence="CC0-1.0",
        folder=Path(toy).parent.name,
        path=None,
    )
    monkeypatch.setitem(TASKS, NAME, by_name([*TASKS.values(), spec])[NAME])
    monkeypatch.setattr(suites, "LISTS", paper_lists(TASKS.values()))
    return str(Path(toy).parent)


class HereLauncher:
    """Carries out units in this process."""

    def __init__(self, settings: LauncherSettings) -> None:
        self.settings = settings

    def launch(self, folder: Path, units: Sequence[Path]) -> None:
        """Carry out units, one after the other."""
        assert worker.run_units(units) == 0
        (folder / "launched").write_text(str(len(units)))


def error_rate(targets: np.ndarray, scores: np.ndarray, classes: Sequence[str]) -> float:
    """Share of samples whose largest score is of another class."""
    return float((scores.argmax(axis=1) != targets).mean())


def dots(analysis: Analysis) -> list[FigureSpec]:
    """Plan one figure of all groups."""
    keys = tuple(group.key for group in analysis.headline_groups)
    return [FigureSpec("dots", "Dots", "Scores of runs.", keys, Figure)]


@pytest.mark.usefixtures("entry")
def test_the_entry_stays_as_it_was_entered() -> None:
    spec = get_task(NAME)
    assert (spec.collection, spec.hub_id, spec.licence) == (
        "dune_atlas",
        "someone/ripples",
        "CC0-1.0",
    )
    assert spec.zenodo_title is None
    expected = {"paper_cls": 945, "paper_few_shot": 5040, "paper_partitions": 10752}
    for suite, runs in expected.items():
        assert len(suites.expand(suites.load_suite(suite), {})) == runs
    with pytest.raises(MarsbenchError, match=f"{NAME}.*demo data|demo data.*{NAME}"):
        marsbench.load_dataset(NAME, source="demo")


def test_one_entry_each(entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = ModelSpec(name="tiny_net", library=Library.TIMM, id="test_resnet", aliases=("tiny",))
    monkeypatch.setitem(MODELS, "tiny_net", tiny)
    metric = MetricInfo("error rate", LABELS, False, function=f"{__name__}:error_rate")
    monkeypatch.setitem(METRICS, "error_rate", metric)
    monkeypatch.setitem(LAUNCHERS, "here", f"{__name__}:HereLauncher")
    monkeypatch.setitem(FAMILIES, "dots", Family("Dots", f"{__name__}:dots"))

    suite, launcher, store = (tmp_path / name for name in ("mine.yaml", "here.yaml", "runs"))
    keys = {"root": entry, "trainer.max_epochs": 1, "workers": 0}
    grid = {"task": NAME, "model": "tiny_net", "mode": "scratch"}
    suite.write_text(yaml.safe_dump({"set": keys, "grids": [grid]}))
    launcher.write_text("name: here\n")
    words = ["sweep", f"suite={suite}", f"launcher={launcher}", f"store={store}"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert [p.read_text() for p in store.glob(".sweeps/*/launched")] == ["1"]

    records = marsbench.load_records(store)
    assert records["task"].tolist() == [NAME]
    assert records["model"].tolist() == ["tiny_net"]
    metrics = json.loads(next(store.rglob("record.json")).read_text())["metrics"]["test"]
    assert metrics["error_rate"] == pytest.approx(1 - metrics["accuracy"])

    report = marsbench.make_report(store, tmp_path / "report", only=["dots"])
    assert (tmp_path / "report" / "figures" / "dots.png").is_file()
    assert "Dots" in report.index.read_text()
