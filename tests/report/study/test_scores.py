"""What may be compared with what, and what is said of the rest."""

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.base.errors import StoreError, UnknownNameError
from marsbench.config.identity import run_id
from marsbench.report.study.cells import Group, GroupKey, StudyProblem, Trouble, metric_is_up
from marsbench.report.study.coverage import ExpectedRun, ExpectedRuns, Study
from marsbench.report.study.scores import load_study, open_study, study_of
from marsbench.results.record import SCHEMA_VERSION, RunRecord
from marsbench.results.store import RECORD, Store
from tests.results.test_store import make_record, write

FROZEN = GroupKey("classification", "frozen", "online")


def record(task: str, model: str, seed: int = 0, score: float = 0.5, **fields: Any) -> RunRecord:
    """A record; `identity` and any field of `RunRecord` may be given."""
    identity = fields.pop("identity", {"optim": {"lr": 1e-3}})
    mode, subset = fields.get("mode", "frozen"), fields.get("subset", "full")
    base: dict[str, Any] = {
        "run_id": run_id(task, model, mode, subset, seed, identity),
        "task": task,
        "model": model,
        "identity": identity,
        "metrics": {"val": {"loss": 1.0}, "test": {"f1_weighted": score}},
        "data": {"num_train": 3, "source": "local", "revision": "r1"},
    }
    return make_record(seed, **(base | fields))


def whole(tasks: str = "ab", models: str = "xyz", seeds: int = 3) -> list[RunRecord]:
    """Every model on every task."""
    return [
        record(f"task_{t}", m, seed, 0.1 * i + 0.01 * seed)
        for t in tasks
        for i, m in enumerate(models)
        for seed in range(seeds)
    ]


def only(study: Study) -> Group:
    (group,) = study.groups.values()
    return group


def told(study: Study, trouble: Trouble) -> StudyProblem:
    (problem,) = [p for p in study.problems if p.trouble is trouble]
    return problem


def test_a_whole_group() -> None:
    study = study_of(whole())
    group = only(study)
    assert group.key == FROZEN
    assert (group.tasks, group.models) == (("task_a", "task_b"), ("x", "y", "z"))
    assert group.matrix("y").T.tolist() == [pytest.approx([0.1, 0.11, 0.12])] * 2
    cell = group.cells["task_a", "z"]
    assert cell.seeds == (0, 1, 2)
    assert cell.run_ids[1].startswith("task_a/z/frozen/full/1-")
    assert cell.higher_is_better
    assert (study.problems, study.missing, study.num_records) == ((), [], 18)


@pytest.mark.parametrize(
    "other",
    [
        {"mode": "scratch"},
        {"protocol": "cached"},
        {"subset": "partition_0.10"},
        {"identity": {"imbalance": "oversample"}},
        {"identity": {"views": "d4"}},
        {"data": {"num_train": 3, "source": "demo", "revision": "r1"}},
        {"kind": "segmentation"},
        {"record_type": "imported", "protocol": "upstream"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_never_mixed(other: dict[str, Any]) -> None:
    marked = {"identity": {"marker": 1}} | other  # which its id is made from
    study = study_of([*whole(), record("task_a", "x", 0, 0.99, **marked)])
    assert len(study.groups) == 2
    assert max(study.groups[FROZEN].cells["task_a", "x"].scores) < 0.1
    assert len({key.slug for key in study.groups}) == 2


def test_settings_are_kept_apart_and_named() -> None:
    lucky = [record("task_a", "x", seed, 0.9, identity={"lr": 2}) for seed in range(2)]
    study = study_of([*whole(), *lucky])
    cell = only(study).cells["task_a", "x"]
    assert max(cell.scores) < 0.1  # three seeds go before two
    words = "lr=2 instead of the default, optim.lr=the default instead of 0.001"
    assert cell.others == {lucky[0].run_id.rpartition("-")[2]: words}
    problem = told(study, Trouble.SETTINGS)
    assert "task_a x was run with several settings" in problem.message
    assert "the setting with most seeds" in problem.message
    assert words in problem.message
    assert problem.run_ids == tuple(one.run_id for one in lucky)


def test_of_as_many_seeds_the_lowest_validation_loss() -> None:
    def with_loss(seed: int, lr: int, loss: float) -> RunRecord:
        metrics = {"val": {"loss": loss}, "test": {"f1_weighted": lr / 10}}
        return record("task_a", "x", seed, identity={"lr": lr}, metrics=metrics)

    runs = [with_loss(0, 1, 0.5), with_loss(1, 1, 0.5), with_loss(0, 2, 0.1), with_loss(1, 2, 0.3)]
    study = study_of(runs)
    assert only(study).cells["task_a", "x"].scores.tolist() == [0.2, 0.2]
    assert "lowest validation loss" in told(study, Trouble.SETTINGS).message


def test_values_of_different_losses_choose_nothing() -> None:
    def with_loss(name: str, value: float) -> RunRecord:
        metrics = {"val": {"loss": value}, "test": {"f1_weighted": value}}
        return record("task_a", "x", identity={"loss": name}, metrics=metrics)

    for values in ((0.1, 0.9), (0.9, 0.1)):
        runs = [
            with_loss(*one) for one in zip(("combined", "generalized_dice"), values, strict=True)
        ]
        study = study_of(runs)
        first = min(runs, key=lambda run: run.run_id)
        assert only(study).cells["task_a", "x"].run_ids == (first.run_id,)
        assert "since their losses are not comparable" in told(study, Trouble.SETTINGS).message
        assert "loss=" in told(study, Trouble.SETTINGS).message


def test_other_data_of_a_task_are_kept_apart() -> None:
    moved = record("task_a", "y", 5, 0.9, data={"source": "hub", "revision": "r2"})
    study = study_of([*whole(), moved])
    assert 5 not in only(study).cells["task_a", "y"].seeds
    assert "r2" in told(study, Trouble.REVISIONS).message
    assert told(study, Trouble.REVISIONS).run_ids == (moved.run_id,)


def test_samples_of_a_subset_must_be_the_same() -> None:
    def drawn(model: str, seed: int, digest: str, origin: str) -> RunRecord:
        data = {"revision": "r1", "subset_digest": digest, "subset_origin": origin}
        # The full split has a digest too, which another way to list it changes.
        kept = record("task_a", model, seed, data=data)
        return record("task_a", model, seed, subset="few_shot_5", data=data) if seed else kept

    runs = [drawn("x", seed, "d1", "published") for seed in range(3)]
    runs += [drawn("y", seed, "d2", "generated") for seed in range(2)]
    study = study_of(runs)
    assert set(study.groups[FROZEN].models) == {"x", "y"}
    few = study.groups[dataclasses.replace(FROZEN, subset="few_shot_5")]
    assert few.models == ("x",)
    assert few.cells["task_a", "x"].runs[0].subset_origin == "published"
    problem = told(study, Trouble.REVISIONS)
    assert "subset digest d2 instead of d1 in few_shot_5" in problem.message
    assert problem.run_ids == (runs[-1].run_id,)


def test_what_has_no_score_is_named() -> None:
    bad = [
        record("task_a", "x", 7, math.nan),
        record("task_a", "x", 8, metrics={"test": {"accuracy": 1.0}}),
        record("task_a", "x", 9, metrics={"val": {"f1_weighted": 1.0}}),
        record("task_a", "x", 10, 93.0),
        record("task_a", "x", 11, -0.1),
    ]
    study = study_of([*whole(), *bad])
    named = {p.run_ids[0]: p.message for p in study.problems if p.trouble is Trouble.NO_SCORE}
    assert list(named) == [one.run_id for one in bad]
    assert (
        "has a f1_weighted of 93 on test, out of the bounds of weighted F1" in named[bad[3].run_id]
    )
    assert only(study).cells["task_a", "x"].seeds == (0, 1, 2)


def test_a_score_may_be_off_by_rounding() -> None:
    study = study_of(
        [record("task_a", "x", seed, score) for seed, score in [(0, 1 + 1e-7), (1, 0)]]
    )
    assert only(study).cells["task_a", "x"].seeds == (0, 1)


def test_a_subset_that_is_none_stops_nothing() -> None:
    odd = record("task_a", "x", 7, subset="some")
    study = study_of([*whole(), odd])
    assert "Unknown subset 'some'" in told(study, Trouble.UNREADABLE).message
    assert told(study, Trouble.UNREADABLE).run_ids == (odd.run_id,)
    assert study.num_records == 18


def test_twice_the_same_id(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for one in whole():
        write(store, one)
    own = store.folder(whole()[0].run_id)
    again = dataclasses.replace(whole()[0], metrics={"test": {"f1_weighted": 0.9}})
    for name, content in (("aaa", again), ("zzz", whole()[0])):
        copy = tmp_path / "task_a" / name / "frozen" / "full" / own.name
        copy.mkdir(parents=True)
        (copy / RECORD).write_text(content.to_json())
    study = load_study(tmp_path)
    problems = [p for p in study.problems if p.trouble is Trouble.DUPLICATE]
    assert ["with another score" in p.message for p in problems] == [True, False]
    for name, problem in zip(("aaa", "zzz"), problems, strict=True):
        assert str(own / RECORD) in problem.message
        assert f"{tmp_path}/task_a/{name}" in problem.message
        assert problem.run_ids == (again.run_id,)
    assert only(study).cells["task_a", "x"].scores[0] == 0.0


def test_copies_without_a_score_are_the_same(tmp_path: Path) -> None:
    one = record("task_a", "x", score=0.625)
    write(Store(tmp_path), one)
    own = Store(tmp_path).folder(one.run_id)
    (own / RECORD).write_text(one.to_json().replace("0.625", "NaN"))
    shutil.copytree(own, tmp_path / "task_a" / "zzz" / "frozen" / "full" / own.name)
    for errors in (Store(tmp_path).records()[1], Store(tmp_path).table()[1]):
        (error,) = errors
        assert "with the same score" in str(error)


def test_one_seed_and_one_model() -> None:
    study = study_of([*whole(), record("task_c", "x")])
    assert "task_c x" in told(study, Trouble.ONE_SEED).message
    assert "task_c" in told(study, Trouble.ONE_MODEL).message


def test_missing_runs() -> None:
    records = [r for r in whole() if (r.task, r.model, r.seed) != ("task_b", "y", 2)]
    study = study_of([r for r in records if (r.task, r.model) != ("task_a", "z")])
    gaps = {(gap.task, gap.model): (gap.seeds, gap.present) for gap in study.missing}
    assert gaps == {("task_a", "z"): ((0, 1, 2), ()), ("task_b", "y"): ((2,), (0, 1))}
    assert "missing 4 runs" in told(study, Trouble.MISSING).message


def test_one_problem_for_a_family() -> None:
    subsets = ("full", "partition_0.50", "few_shot_5")
    runs = [record("task_a", "x", subset=subset) for subset in subsets]
    study = study_of([*runs, record("task_a", "x", 0, subset="few_shot_5", identity={"lr": 1})])
    assert "task_a in few_shot_5, partition_0.50, full" in told(study, Trouble.ONE_MODEL).message
    assert "task_a x in few_shot_5, partition_0.50, full" in told(study, Trouble.ONE_SEED).message
    assert told(study, Trouble.SETTINGS).message.endswith("in few_shot_5.")
    found = [problem.trouble for problem in study.problems]
    assert found == [Trouble.SETTINGS, Trouble.ONE_SEED, Trouble.ONE_MODEL]


def test_runs_that_a_plan_has() -> None:
    asked = [ExpectedRun("task_a", "x", "frozen", "full", seed) for seed in (0, 1, 7)]
    asked += [ExpectedRun("task_a", "y", "scratch", "full", 0)]
    asked += [ExpectedRun("task_a", "x", "frozen", "full", 0, "oversample")]
    plan = ExpectedRuns("suite mine", frozenset(asked))
    study = study_of(whole("a", "xy"), plan=plan)
    lacks = [(gap.key.mode, gap.key.imbalance, gap.key.protocol) for gap in study.missing]
    assert lacks == [
        ("frozen", "none", "online"),
        ("frozen", "oversample", "any"),
        ("scratch", "none", "any"),
    ]
    assert (study.missing[0].seeds, study.missing[0].present) == ((7,), (0, 1))
    # Seed 2 of x counts for none that was asked for; of y nobody asked for any.
    assert study.coverage(FROZEN) == {("task_a", "x"): "2/3, 1 more", ("task_a", "y"): "3"}
    messages = [p.message for p in study.problems if p.trouble is Trouble.MISSING]
    assert len(messages) == 3
    assert (
        "Frozen classification models, online augmentation: missing 1 run of suite mine"
        in messages[0]
    )


def test_coverage_of_a_plan_is_of_its_seeds() -> None:
    def coverage(plan: ExpectedRuns | None) -> dict[tuple[str, str], str]:
        return study_of(records, plan=plan).coverage(FROZEN)

    records = [record("task_a", "x", seed) for seed in (0, 1, 10, 42, 123)]
    records += [record("task_a", "y", seed) for seed in (0, 1)]
    records += [record("task_b", "x", 7)]
    cells = [("task_a", "x"), ("task_a", "y"), ("task_b", "x"), ("task_b", "y")]
    asked = [
        ExpectedRun(*cell, "frozen", "full", seed) for cell in cells for seed in (0, 1, 1000, 1234)
    ]
    words = ("2/4, 3 more", "2/4", "0/4, 1 more", "0/4")
    assert coverage(ExpectedRuns("suite mine", frozenset(asked))) == dict(
        zip(cells, words, strict=True)
    )
    words = ("2/2, 3 more", "2/2", "1", "")
    few = frozenset(run for run in asked if run.seed < 2 and run.task == "task_a")
    assert coverage(ExpectedRuns("suite mine", few)) == dict(zip(cells, words, strict=True))
    # Without a plan every cell should have each seed that another has.
    words = ("5/6", "2/6", "1/6", "0/6")
    assert coverage(None) == dict(zip(cells, words, strict=True))


def test_a_plan_is_narrowed_as_the_records_are(tmp_path: Path) -> None:
    for one in whole():
        write(Store(tmp_path), one)
    asked = [ExpectedRun(f"task_{t}", m, "frozen", "full", 7) for t in "ab" for m in "xy"]
    plan = ExpectedRuns("suite mine", frozenset(asked))
    study = open_study(Store(tmp_path), tasks=["task_a"], models=["x", "z"], plan=plan)
    assert [(gap.task, gap.model) for gap in study.missing] == [("task_a", "x")]
    with pytest.raises(UnknownNameError, match=f"Unknown task in {tmp_path} 'task_c'"):
        open_study(Store(tmp_path), tasks=["task_c"])


def ensemble(task: str, parents: list[RunRecord], **fields: Any) -> RunRecord:
    ids = [one.run_id for one in parents]
    identity = {"members": ids, "kind": "binary"}
    return record(
        task, "ensemble", identity=identity, record_type="ensemble", parents=ids, **fields
    )


def test_ensembles_are_models_of_their_own() -> None:
    records = [r for r in whole() if r.seed]
    study = study_of([*records, ensemble("task_a", records[:4])])
    group = only(study)
    assert group.models[0] == "ensemble of x + y"
    # It is filed under seed 0, which no run has and so none lacks.
    assert group.seeds == (1, 2)
    assert (study.missing, study.problems) == ([], ())
    assert study.coverage(FROZEN)["task_a", "ensemble of x + y"] == "ensemble"
    assert study.coverage(FROZEN)["task_b", "ensemble of x + y"] == ""
    assert np.nanmean(group.matrix("ensemble of x + y", ["task_a"])) == 0.5


def test_ensembles_of_other_runs_are_told_apart() -> None:
    records = whole()
    both = [ensemble("task_a", [records[i], records[3 + i]]) for i in (0, 1)]
    study = study_of([*records, *both, ensemble("task_b", [records[9], records[12]])])
    names = {f"ensemble of x + y ({one.run_id.rpartition('-')[2]})" for one in both}
    assert set(only(study).models) == {"x", "y", "z", "ensemble of x + y", *names}
    assert Trouble.SETTINGS not in {problem.trouble for problem in study.problems}


def test_what_records_say_of_themselves() -> None:
    data = {"revision": "r1", "notes": ["Mind the gap."]}
    runs = [record("task_a", "x", seed, data=data) for seed in range(2)]
    study = study_of([*runs, record("task_a", "y", 0), record("task_a", "y", 1)])
    assert told(study, Trouble.NOTE).message == "Mind the gap. (2 runs of task_a)"
    assert told(study, Trouble.NOTE).run_ids == tuple(run.run_id for run in runs)


def test_spectra_are_a_category_and_lower_is_better() -> None:
    one = record(
        "ega_ms", "x", kind="multilabel", headline="log_loss", metrics={"test": {"log_loss": 0.2}}
    )
    (group,) = study_of([one]).groups.values()
    assert group.key.category == "spectra"
    assert not group.cells["ega_ms", "x"].higher_is_better
    assert not metric_is_up("log_loss/instrument=sam")
    assert metric_is_up("recall/frost")


def test_a_store_with_everything_wrong(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    for one in whole():
        write(store, one)
    paths = store.paths()
    half, newer, odd = paths[0], paths[4], paths[8]
    half.write_text(half.read_text()[:200])
    newer.write_text(json.dumps({"schema_version": SCHEMA_VERSION + 1}))
    content = json.loads(odd.read_text())
    content["metrics"]["test"]["f1_weighted"] = math.nan
    odd.write_text(json.dumps(content))
    twin = store.root / "task_b" / "x" / "frozen" / "full" / "99-copy"
    shutil.copytree(paths[10].parent, twin)
    study = load_study(store.root)
    found = sorted(problem.trouble for problem in study.problems)
    wanted = [Trouble.UNREADABLE] * 2 + [Trouble.NO_SCORE, Trouble.DUPLICATE, Trouble.MISSING]
    assert found == sorted(wanted)
    messages = "\n".join(problem.message for problem in study.problems)
    assert str(half) in messages
    assert "Update marsbench" in messages
    assert study.num_records == 15


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is missing"):
        load_study(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="no finished run"):
        load_study(tmp_path)
    folder = tmp_path / "t" / "m" / "frozen" / "full" / "0-abc"
    folder.mkdir(parents=True)
    (folder / RECORD).write_text("{")
    with pytest.raises(StoreError, match="1 could not be read"):
        load_study(tmp_path)


def test_titles() -> None:
    key = GroupKey("classification", "frozen", "cached", imbalance="oversample", data="demo")
    assert key.words == "classification frozen cached full imbalance=oversample demo data"
    title = "Frozen classification models, full training split, imbalance=oversample, demo data"
    assert key.title == title
    odd = GroupKey("segmentation", "{0}", "a b", "few_shot_1")
    assert odd.title == "Segmentation models ({0}), 1 training sample per class, a b"
    assert key.slug == "classification-frozen-cached-full-imbalance-oversample-demo-data"
