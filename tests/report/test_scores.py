"""What may be compared with what, and what is said of the rest."""

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from marsbench.errors import StoreError
from marsbench.identity import run_id
from marsbench.report.scores import (
    Group,
    GroupKey,
    Problem,
    Study,
    Trouble,
    load_study,
    metric_is_up,
    study_of,
)
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


def told(study: Study, trouble: Trouble) -> Problem:
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
    assert (study.problems, study.missing(), study.num_records) == ((), [], 18)


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
    assert cell.others == (lucky[0].run_id.rpartition("-")[2],)
    problem = told(study, Trouble.SETTINGS)
    assert "task_a x was run with 2 settings" in problem.message
    assert cell.others[0] in problem.message
    assert problem.run_ids == tuple(one.run_id for one in lucky)


def test_of_as_many_seeds_the_lowest_validation_loss() -> None:
    def with_loss(seed: int, lr: int, loss: float) -> RunRecord:
        metrics = {"val": {"loss": loss}, "test": {"f1_weighted": lr / 10}}
        return record("task_a", "x", seed, identity={"lr": lr}, metrics=metrics)

    runs = [with_loss(0, 1, 0.5), with_loss(1, 1, 0.5), with_loss(0, 2, 0.1), with_loss(1, 2, 0.3)]
    assert only(study_of(runs)).cells["task_a", "x"].scores.tolist() == [0.2, 0.2]


def test_other_data_of_a_task_are_kept_apart() -> None:
    moved = record("task_a", "y", 5, 0.9, data={"source": "hub", "revision": "r2"})
    study = study_of([*whole(), moved])
    assert 5 not in only(study).cells["task_a", "y"].seeds
    assert "r2" in told(study, Trouble.REVISIONS).message
    assert told(study, Trouble.REVISIONS).run_ids == (moved.run_id,)


def test_what_has_no_score_is_named() -> None:
    bad = [
        record("task_a", "x", 7, math.nan),
        record("task_a", "x", 8, metrics={"test": {"accuracy": 1.0}}),
        record("task_a", "x", 9, metrics={"val": {"f1_weighted": 1.0}}),
    ]
    study = study_of([*whole(), *bad])
    named = {p.run_ids[0] for p in study.problems if p.trouble is Trouble.NO_SCORE}
    assert named == {bad[0].run_id, bad[1].run_id}
    assert told(study, Trouble.UNREADABLE).run_ids == (bad[2].run_id,)
    assert only(study).cells["task_a", "x"].seeds == (0, 1, 2)


def test_twice_the_same_id() -> None:
    again = dataclasses.replace(whole()[0], metrics={"test": {"f1_weighted": 0.9}})
    study = study_of([*whole(), whole()[1], again])
    problems = [p for p in study.problems if p.trouble is Trouble.DUPLICATE]
    assert ["the same score" in p.message for p in problems] == [True, False]
    assert only(study).cells["task_a", "x"].scores[0] == 0.0


def test_one_seed_and_one_model() -> None:
    study = study_of([*whole(), record("task_c", "x")])
    assert "task_c x" in told(study, Trouble.ONE_SEED).message
    assert "task_c" in told(study, Trouble.ONE_MODEL).message


def test_missing_runs() -> None:
    records = [r for r in whole() if (r.task, r.model, r.seed) != ("task_b", "y", 2)]
    study = study_of([r for r in records if (r.task, r.model) != ("task_a", "z")])
    gaps = {(gap.task, gap.model): (gap.seeds, gap.found) for gap in study.missing()}
    assert gaps == {("task_a", "z"): ((0, 1, 2), ()), ("task_b", "y"): ((2,), (0, 1))}
    assert "4 runs lack" in told(study, Trouble.MISSING).message
    suite = [("task_a", "x", "frozen", "full", seed) for seed in (0, 7)]
    suite += [("task_a", "x", "scratch", "full", 0)]
    lacks = study.missing(suite)
    assert [(gap.key.mode, gap.seeds) for gap in lacks] == [("frozen", (7,)), ("scratch", (0,))]


def test_ensembles_are_models_of_their_own() -> None:
    parents = [r.run_id for r in whole()[:4]]
    identity = {"members": parents, "kind": "binary"}
    made = record("task_a", "ensemble", identity=identity, record_type="ensemble", parents=parents)
    study = study_of([*whole(), made])
    assert only(study).models[0] == "ensemble of x + y"
    assert all("ensemble" not in gap.model or gap.task == "task_b" for gap in study.missing())


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
    with pytest.raises(StoreError, match="no store"):
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
    assert key.title == "classification frozen cached full imbalance=oversample demo data"
    assert key.slug == "classification-frozen-cached-full-imbalance-oversample-demo-data"
