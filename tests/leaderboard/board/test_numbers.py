"""Numbers of the board against plain computations."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import trim_mean

from marsbench.leaderboard.board.entries import Entry, group_of
from marsbench.leaderboard.board.estimates import Estimates
from marsbench.leaderboard.board.normalisation import (
    PAPER_VERSION,
    normalisable,
    ranges_of,
    version_of,
)
from marsbench.leaderboard.board.ranking import Filters, ranked
from marsbench.leaderboard.board.results import Results
from marsbench.leaderboard.board.sources import paper_entries
from marsbench.leaderboard.board.tasksets import Choice, TaskSet, categories, kinds, metric_of
from marsbench.report.statistics.summary import summarise
from tests.leaderboard.fakes import SEEDS, many, put, some_scores

CLASSIFICATION = categories()["classification"]
SEGMENTATION = categories()["segmentation"]


@pytest.fixture
def estimates(tmp_path: Path) -> Estimates:
    return Estimates(tmp_path / "estimates.json")


def entry_of(tmp_path: Path, tasks: tuple[str, ...], seeds: tuple[int, ...] = SEEDS) -> Entry:
    put(tmp_path, "one", some_scores(np.random.default_rng(3), tasks, seeds))
    (entry,) = Results(str(tmp_path)).load().entries
    return entry


@pytest.mark.parametrize("choice", Choice)
@pytest.mark.parametrize("tasks", [CLASSIFICATION, SEGMENTATION, kinds()["binary classification"]])
def test_iqm_is_the_trimmed_mean_of_normalised_scores(
    tmp_path: Path, estimates: Estimates, tasks: TaskSet, choice: Choice
) -> None:
    entry = entry_of(tmp_path, tasks.tasks)
    estimate = estimates.over(entry, tasks, choice)
    assert estimate is not None
    ranges = ranges_of(choice)
    normal = [
        (score - ranges.low[task, metric]) / (ranges.high[task, metric] - ranges.low[task, metric])
        for task, metric in normalisable(tasks, choice).pairs(choice)
        for score in entry.scores[task, metric].values()
    ]
    assert estimate.value == pytest.approx(trim_mean(normal, 0.25))
    assert estimate.low < estimate.value < estimate.high


def test_estimates_equal_those_of_a_report(tmp_path: Path, estimates: Estimates) -> None:
    entry = entry_of(tmp_path, CLASSIFICATION.tasks)
    group = group_of({entry.model: entry}, "classification", CLASSIFICATION.tasks, Choice.HEADLINE)
    summary = summarise(group, ranges=ranges_of(Choice.HEADLINE))
    estimate = estimates.over(entry, CLASSIFICATION, Choice.HEADLINE)
    assert estimate == summary.models[entry.model].iqm
    per_task = estimates.per_task(entry, Choice.HEADLINE)
    for task in CLASSIFICATION.tasks:
        assert per_task[task] == pytest.approx(summary.tasks[task, entry.model].iqm.value)
        single = estimates.over(entry, TaskSet(task, (task,)), Choice.HEADLINE)
        assert single is not None
        assert tuple(single) == pytest.approx(summary.tasks[task, entry.model].normalised_iqm)


def test_estimates_are_kept_and_reproducible(
    tmp_path: Path, estimates: Estimates, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = entry_of(tmp_path, SEGMENTATION.tasks)
    first = estimates.over(entry, SEGMENTATION, Choice.HEADLINE)
    assert Estimates(tmp_path / "other.json").over(entry, SEGMENTATION, Choice.HEADLINE) == first
    estimates.keep()
    again = Estimates(tmp_path / "estimates.json")
    monkeypatch.setattr(again, "_compute", None)  # would fail if it were called
    assert again.over(entry, SEGMENTATION, Choice.HEADLINE) == first


@pytest.mark.parametrize(
    "ends", ['["a", 0, 1]', "[null, 0, 1]", "[true, 0, 1]", "[0.5, 0]", "[NaN, 0, 1]", "7"]
)
def test_damaged_estimates_are_made_again(tmp_path: Path, ends: str) -> None:
    file, entry = tmp_path / "estimates.json", entry_of(tmp_path, ("mmls",))
    tasks = TaskSet("", ("mmls",))
    estimates = Estimates(file)
    first = estimates.over(entry, tasks, Choice.HEADLINE)
    estimates.keep()
    kept = json.loads(file.read_text())
    (key,) = kept[entry.digest]
    damaged = ['{"damaged": [', "[]", "7", json.dumps({entry.digest: 7})]
    damaged.append(f'{{"{entry.digest}": {{"{key}": {ends}}}}}')
    for text in damaged:
        file.write_text(text)
        again = Estimates(file)
        assert again.over(entry, tasks, Choice.HEADLINE) == first
        again.keep()
        assert json.loads(file.read_text())[entry.digest] == kept[entry.digest]
    file.unlink()
    file.mkdir()
    again = Estimates(file)
    assert again.over(entry, tasks, Choice.HEADLINE) == first
    again.keep()  # cannot be written, which is no error


def test_the_version_of_the_papers_ranges() -> None:
    """Ranges are part of every normalised number: others need another version."""
    ranges = ranges_of(Choice.PAPER)
    ends = [(*pair, round(ranges.low[pair], 6), round(ranges.high[pair], 6)) for pair in ranges.low]
    digest = hashlib.sha256(json.dumps(sorted(ends)).encode()).hexdigest()[:12]
    assert (PAPER_VERSION, digest) == ("1", "f45066c11c22")
    assert version_of(SEGMENTATION.pairs(Choice.PAPER), Choice.PAPER) == "paper 1"
    assert version_of(SEGMENTATION.pairs(Choice.HEADLINE), Choice.HEADLINE) == "reference 1"


def test_estimates_do_not_depend_on_other_entries(tmp_path: Path, estimates: Estimates) -> None:
    rng = np.random.default_rng(3)
    put(tmp_path, "one", some_scores(rng, SEGMENTATION.tasks))
    alone = ranked(Results(str(tmp_path)).load().entries, SEGMENTATION, Choice.PAPER, estimates)
    many(tmp_path, 30)
    others = ranked(
        Results(str(tmp_path)).load().entries,
        SEGMENTATION,
        Choice.PAPER,
        Estimates(tmp_path / "again.json"),
    )
    (mine,) = [row for row in others if row.entry.name == alone[0].entry.name]
    assert mine.estimate == alone[0].estimate


def test_two_metrics_never_share_an_iqm(tmp_path: Path, estimates: Estimates) -> None:
    """An entry with the headline on some tasks and the paper's metric on others is incomplete."""
    scores = {
        key: {name: value for name, value in metrics.items() if (name == "miou") == (key[0] < "d")}
        for key, metrics in some_scores(np.random.default_rng(0), SEGMENTATION.tasks).items()
    }
    put(tmp_path, "mixed", scores)
    put(tmp_path, "headline", some_scores(np.random.default_rng(0), SEGMENTATION.tasks))
    entries = Results(str(tmp_path)).load().entries
    for choice in Choice:
        rows = ranked(entries, SEGMENTATION, choice, estimates)
        assert [row.entry.model for row in rows] == ["headline", "mixed"]
        assert rows[1].estimate is None
        assert rows[1].place is None
        assert 0 < rows[1].num_tasks < len(SEGMENTATION.tasks)
        metrics = {metric for _, metric in SEGMENTATION.pairs(choice)}
        assert metrics == {"miou" if choice is Choice.HEADLINE else "iou_per_image"}


def test_incomplete_entries_are_last(tmp_path: Path, estimates: Estimates) -> None:
    best = {
        key: dict.fromkeys(metrics, 0.99)
        for key, metrics in some_scores(np.random.default_rng(0), CLASSIFICATION.tasks[:-1]).items()
    }
    put(tmp_path, "best", best)
    many(tmp_path, 20)
    rows = ranked(Results(str(tmp_path)).load().entries, CLASSIFICATION, Choice.HEADLINE, estimates)
    assert rows[-1].entry.model == "best"
    assert rows[-1].estimate is None
    placed = [row for row in rows if row.estimate is not None]
    assert rows == placed + [row for row in rows if row.estimate is None]
    values = [row.estimate.value for row in placed if row.estimate is not None]
    assert values == sorted(values, reverse=True)
    assert [row.place for row in placed] == list(range(1, len(placed) + 1))


def test_mean_ranks(tmp_path: Path, estimates: Estimates) -> None:
    """Higher is better except for a log loss."""
    tasks = TaskSet("two", ("ega_ms", "frost_cls"))
    for name, loss, f1 in (("a", 0.1, 0.5), ("b", 0.2, 0.9), ("c", 0.3, 0.4)):
        scores = {("ega_ms", seed): {"log_loss": loss} for seed in SEEDS}
        put(tmp_path, name, {**scores, **{("frost_cls", s): {"f1_weighted": f1} for s in SEEDS}})
    rows = ranked(Results(str(tmp_path)).load().entries, tasks, Choice.HEADLINE, estimates)
    assert {row.entry.model: row.mean_rank for row in rows} == {"a": 1.5, "b": 1.5, "c": 3.0}


def test_equal_estimates_share_a_place(tmp_path: Path, estimates: Estimates) -> None:
    scores = some_scores(np.random.default_rng(0), CLASSIFICATION.tasks)
    for name in ("a", "b"):
        put(tmp_path, name, scores)
    put(tmp_path, "c", {key: dict.fromkeys(value, 0.01) for key, value in scores.items()})
    rows = ranked(Results(str(tmp_path)).load().entries, CLASSIFICATION, Choice.HEADLINE, estimates)
    assert [(row.entry.model, row.place) for row in rows] == [("a", 1), ("b", 1), ("c", 3)]


def test_single_seeds_have_no_interval(tmp_path: Path, estimates: Estimates) -> None:
    entry = entry_of(tmp_path, CLASSIFICATION.tasks, (0,))
    estimate = estimates.over(entry, CLASSIFICATION, Choice.HEADLINE)
    assert estimate is not None
    assert math.isfinite(estimate.value)
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)


def test_tasks_without_a_range_are_left_out(tmp_path: Path, estimates: Estimates) -> None:
    spectra = categories()["spectra"]
    assert normalisable(spectra, Choice.HEADLINE).tasks == ("ega_ms",)
    entry = entry_of(tmp_path, spectra.tasks)
    assert estimates.over(entry, spectra, Choice.HEADLINE) is not None
    assert estimates.over(entry, TaskSet("", ("gcms",)), Choice.HEADLINE) is None
    assert set(estimates.per_task(entry, Choice.HEADLINE)) == {"ega_ms", "gcms"}


PAPER: dict[str, dict[str, float | None]] = {
    "segmentation": {"unet": 0.823, "dpt": 0.645, "segformer": 0.402, "deeplabv3plus": 0.298},
    "classification": dict.fromkeys(
        ("swinv2_b", "vit_l_16", "resnet101", "inception_v3", "squeezenet1_1")
    ),
}
"""Order of the models in the paper's figures, and the means of its bootstraps where they are over
the same tasks: those of classification count a task whose runs have equal scores."""


@pytest.mark.parametrize("category", PAPER)
def test_the_papers_order(category: str, estimates: Estimates) -> None:
    loaded = paper_entries()
    assert sum(entry.subset == "full" for entry in loaded.entries) == 12
    rows = ranked(Filters().keep(loaded.entries), categories()[category], Choice.PAPER, estimates)
    placed = {row.entry.model: row.estimate for row in rows if row.estimate is not None}
    assert list(placed) == list(PAPER[category])
    for model, expected in PAPER[category].items():
        estimate = placed[model]
        if expected is not None and estimate is not None:
            assert estimate.value == pytest.approx(expected, abs=0.01)
    assert all(row.entry.badge == "scores as published" for row in rows)


def test_the_constant_task_of_the_paper_has_no_range() -> None:
    left = set(CLASSIFICATION.tasks) - set(normalisable(CLASSIFICATION, Choice.PAPER).tasks)
    assert left == {"change_cls_ctx"}
    assert normalisable(CLASSIFICATION, Choice.HEADLINE) == CLASSIFICATION
    assert metric_of("change_cls_ctx", Choice.PAPER) == "f1_positive"
