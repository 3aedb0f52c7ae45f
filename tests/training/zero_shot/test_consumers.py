"""Records of models that are not trained, where other parts read them."""

from pathlib import Path
from typing import Any

import pytest

import marsbench
from marsbench.base.errors import ConfigError, NotAvailableError, StoreError
from marsbench.config.schema import RunConfig, SourceName
from marsbench.evaluate.parents import find_parents
from marsbench.leaderboard.card.subject import subject_of
from marsbench.leaderboard.check import check_submission
from marsbench.leaderboard.choice import choose
from marsbench.leaderboard.submission import submit
from marsbench.plan.resolve import resolve
from marsbench.predict.load import load
from marsbench.report.study.coverage import ExpectedRuns
from marsbench.report.study.scores import study_of
from marsbench.results.ensemble.combine import make_ensemble
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.sweep.planner import State, plan_sweep

pytestmark = pytest.mark.usefixtures("fake")

SIZE = 0.1
"""Demo data: a few tens of images."""


def run(task: str, store: Path, **more: Any) -> RunRecord:
    return marsbench.run(**keys(task, store, **more))


def keys(task: str, store: Path, **more: Any) -> dict[str, Any]:
    fixed = {"model": "api:toy", "mode": "zero_shot", "source": "demo", "size": SIZE}
    return {"task": task, "store": str(store), **fixed, **more}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def test_reports_compare_labels_and_recast_masks_in_a_group(store: Path) -> None:
    records = [run("frost_cls", store), run("crater_multi_seg", store)]
    study = study_of(records)
    (group,) = study.groups.values()
    assert (group.key.category, group.key.mode) == ("classification", "zero_shot")
    assert group.tasks == ("crater_multi_seg", "frost_cls")
    assert set(group.metrics.values()) == {"f1_weighted"}


def test_reports_keep_other_test_samples_apart(store: Path) -> None:
    records = [
        *(run("frost_cls", store, seed=seed) for seed in (0, 1)),
        run("frost_cls", store, test_samples=9),
    ]
    study = study_of(records)
    (group,) = study.groups.values()
    (cell,) = group.cells.values()
    assert {r.run_id for r in cell.runs} == {r.run_id for r in records[:2]}
    assert any("test samples" in problem.message for problem in study.problems)


def test_missing_runs_of_recast_masks_stand_among_labels(store: Path) -> None:
    plan = ExpectedRuns.of_suite(
        "own", [RunConfig.from_dict(keys("crater_multi_seg", store, seed=7))]
    )
    study = study_of([run("crater_multi_seg", store)], plan=plan)
    assert [gap.key.category for gap in study.missing] == ["classification"]


def test_a_report_is_written(store: Path, tmp_path: Path) -> None:
    run("frost_cls", store)
    run("crater_multi_seg", store)
    report = marsbench.make_report(store, tmp_path / "report", rounds=20)
    assert "Zero-shot classification models, full training split" in report.index.read_text()


def test_sweeps_plan_and_find_them(store: Path) -> None:
    run("frost_cls", store)
    configs = [RunConfig.from_dict(keys("frost_cls", store, seed=seed)) for seed in (0, 99)]
    plan = plan_sweep(dict.fromkeys(configs, "own"), Store(store))
    assert [r.state for r in plan.runs] == [State.DONE, State.TO_DO]
    assert all(r.seconds >= 0 and not r.is_cached for r in plan.runs)


def test_a_board_takes_whole_test_splits_of_the_tasks_own_target(
    store: Path, tmp_path: Path
) -> None:
    kept = run("frost_cls", store)
    run("frost_cls", store, test_samples=9)
    run("crater_multi_seg", store)
    words = {"mode": "zero_shot", "source": "demo", "seed": "0"}
    choice = choose(Store(store), words, partial=True)
    assert choice.records == (kept,)
    assert any("masks recast" in note for note in choice.notes)
    check, _ = submit(store, words, tmp_path / "out", author={"name": "A"}, partial=True)
    again = check_submission(tmp_path / "out", source=SourceName.DEMO)
    for result in (check, again):
        assert result.errors == ()
        assert [checked.run_id for checked in result.runs] == [kept.run_id]
        assert result.runs[0].metrics["accuracy"] == kept.metrics["test"]["accuracy"]
    assert again.submission is not None
    assert again.submission.model.pretraining.data == "unknown"


def test_a_store_without_runs_for_a_board_says_what_is_left_out(tmp_path: Path) -> None:
    run("crater_multi_seg", tmp_path)
    words = {"source": "demo"}
    with pytest.raises(StoreError, match=r"Left out: .* masks recast"):
        choose(Store(tmp_path), words, partial=True)


def test_there_is_no_model_to_predict_with_or_to_publish(store: Path) -> None:
    record = run("frost_cls", store)
    with pytest.raises(NotAvailableError, match="trained nothing"):
        load(record.run_id, store)
    with pytest.raises(ConfigError, match="no weights to publish"):
        subject_of([record.run_id], store)


@pytest.mark.parametrize("task", ["frost_cls", "crater_multi_seg"])
def test_there_is_no_model_to_evaluate(store: Path, task: str) -> None:
    record = run(task, store)
    with pytest.raises(NotAvailableError, match="trained nothing"):
        find_parents([record.run_id], store)
    with pytest.raises(NotAvailableError, match="trained nothing"):
        load(record.run_id, store)
    with pytest.raises(ConfigError, match="names no finished run"):
        find_parents([f"{task}/*/zero_shot/*"], store)


def test_answers_in_words_are_not_averaged(store: Path) -> None:
    runs = [run("frost_cls", store, seed=seed).run_id for seed in (0, 1)]
    with pytest.raises(ConfigError, match="answers in words"):
        make_ensemble(runs, store)


def test_reports_say_how_many_answers_are_invalid(store: Path) -> None:
    study = study_of([run("frost_cls", store)])
    (note,) = [p for p in study.problems if "no valid answer" in p.message]
    assert "they count as wrong" in note.message


def test_endpoints_are_planned_by_their_pace(store: Path) -> None:
    more = {"model": "api:slow", "api.requests_per_minute": 30.0}
    config = RunConfig.from_dict(keys("frost_cls", store, **more))
    (planned_run,) = plan_sweep({config: "own"}, Store(store)).runs
    assert planned_run.seconds == 2.0 * resolve(config).num_samples["test"]
