"""Runs with cached features: ordinary records, nothing lost."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import marsbench
from marsbench.base.errors import BusyError, ConfigError, DeviceLostError, TrainingError
from marsbench.config.schema import Protocol
from marsbench.metrics import scoring
from marsbench.plan.resolve import Plan, resolve
from marsbench.results.record import Outcome
from marsbench.results.store import Store
from marsbench.tasks.kinds import Kind
from marsbench.training.frozen import bank
from marsbench.training.frozen import writing as bank_files
from marsbench.training.frozen.bank import run_bank
from marsbench.training.frozen.features import Encoder
from marsbench.training.frozen.turns import LIMITS, fit_heads
from marsbench.training.frozen.writing import begin
from marsbench.training.loop.evaluation import save_predictions
from marsbench.training.parts import parts_of
from tests.fakes import make_spec, write_folder, write_spec
from tests.training.frozen.banks import config, grid, run_all

pytestmark = pytest.mark.usefixtures("own_home")


def test_every_run_of_a_bank_is_the_run_alone(
    toy: str, weights: str, tmp_path: Path, encoded: list[tuple[str, int]]
) -> None:
    together = run_all(grid(toy, tmp_path / "bank", weights, **{"trainer.precision": "64-true"}))
    assert sum(n for _, n in encoded) == 24 + 9 + 12
    for record in together[::5]:
        values = {**record.config, "store": str(tmp_path / "alone")}
        alone = marsbench.run(**values)
        assert alone.run_id == record.run_id
        assert alone.checkpoint["epoch"] == record.checkpoint["epoch"]
        tables = [Store(tmp_path / name).predictions(record.run_id) for name in ("bank", "alone")]
        first, second = (np.stack(list(table["scores"])) for table in tables)
        np.testing.assert_allclose(first, second, atol=1e-6)
    assert sum(n for _, n in encoded) == 24 + 9 + 12


def test_records_are_ordinary(toy: str, weights: str, tmp_path: Path) -> None:
    (record,) = run_all([config(toy, tmp_path, weights)])
    folder = tmp_path / record.run_id
    assert {p.name for p in folder.iterdir()} - {".lock"} == {
        "record.json",
        "predictions.parquet",
        "config.yaml",
        "model.safetensors",
        "logs",
    }
    assert record.protocol == "cached"
    assert record.mode == "frozen"
    head = load_file(folder / "model.safetensors")
    assert set(head) == {"head.weight", "head.bias"}
    assert record.parameters["trained"] == sum(t.numel() for t in head.values())
    assert record.parameters["total"] > record.parameters["trained"]
    table = Store(tmp_path).predictions(record.run_id)
    assert list(table.columns) == ["split", "sample_id", "target", "scores"]
    for split in ("val", "test"):
        part = table[table["split"] == split]
        again = scoring.score(Kind.MULTICLASS, part, record.data["classes"])
        assert {k: v for k, v in record.metrics[split].items() if k != "loss"} == again
    curve = pd.read_csv(folder / "logs" / "attempt_1" / "metrics.csv")
    assert len(curve) == record.checkpoint["epochs_trained"]
    assert curve["val/loss"].min() == pytest.approx(record.checkpoint["value"])
    assert record.checkpoint["value"] == pytest.approx(record.metrics["val"]["loss"], rel=1e-5)
    assert Store(tmp_path).find(record.run_id) == record


def test_the_online_loop_from_the_same_head_gives_the_same(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same order, same eight turns as augmentation: only where a head begins differs."""
    from marsbench.training import network

    build = network.build_module

    def begun_alike(plan: Plan, part: Any = None) -> Any:
        module = build(plan, part)
        rng = torch.Generator().manual_seed(plan.config.seed)
        linear: Any = module.model.get_submodule("head")
        size = (linear.in_features + 1, linear.out_features)
        first = torch.empty(size, dtype=torch.float64)
        bound = linear.in_features**-0.5
        first.uniform_(-bound, bound, generator=rng)
        with torch.no_grad():
            linear.weight.copy_(first[:-1].T)
            linear.bias.copy_(first[-1])
        return module

    monkeypatch.setattr(network, "build_module", begun_alike)
    for more in ({}, {"protocol": "cached", "augment": "d4"}):
        base = {"seed": 3, "optim.lr": 0.01, "trainer.precision": "64-true"}
        base |= {"trainer.max_epochs": 3}
        cached = marsbench.run(
            **config(toy, tmp_path, weights, **base, **more).to_dict() | {"store": str(tmp_path)}
        )
        online = {"protocol": "online", "augment": "d4" if more else "none"}
        looped = marsbench.run(**config(toy, tmp_path, weights, **base, **online).to_dict())
        assert looped.protocol == "online"
        assert looped.checkpoint["epoch"] == cached.checkpoint["epoch"]
        scores = [
            np.stack(list(Store(tmp_path).predictions(record.run_id)["scores"]))
            for record in (cached, looped)
        ]
        # Features are kept in single precision.
        np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)


@pytest.mark.parametrize("kind", [Kind.BINARY, Kind.MULTILABEL])
def test_other_kinds_of_labels(kind: Kind, weights: str, tmp_path: Path) -> None:
    spec = make_spec(
        kind, ("dune", "plain") if kind is Kind.BINARY else ("crater", "dune", "plain")
    )
    folder = write_folder(spec, tmp_path / "data")
    task = str(write_spec(spec, folder / "task.yaml"))
    choices: list[dict[str, Any]] = [{}, {"imbalance": "loss_weight"}]
    if kind is Kind.BINARY:
        choices += [{"outputs": 1}, {"loss": "binary_cross_entropy", "outputs": 2}]
    records = run_all([config(task, tmp_path, weights, **one) for one in choices])
    assert len({record.run_id for record in records}) == len(choices)
    for record in records:
        assert record.score is not None


def test_folds_and_the_last_epoch(toy: str, weights: str, tmp_path: Path) -> None:
    more = {"folds": 3, "trainer.checkpoint": "last"}
    (record,) = run_all([config(toy, tmp_path, weights, **more)])
    assert set(record.metrics) == {"oof", "val", "test"}
    assert len(Store(tmp_path).predictions(record.run_id).query("split == 'oof'")) == 24
    assert len(list((tmp_path / record.run_id).glob("fold_*/model.safetensors"))) == 3


def test_lbfgs_reaches_the_optimum(toy: str, weights: str, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    decay = 0.1
    more = {"optim.name": "lbfgs", "optim.weight_decay": decay}
    (record,) = run_all([config(toy, tmp_path, weights, **more)])
    assert record.checkpoint["chosen_by"] == "convergence"
    plan = resolve(config(toy, tmp_path, weights, **more))
    x = {split: np.asarray(Encoder(plan).encode(split).features[0]) for split in ("train", "test")}
    model = LogisticRegression(C=1 / (decay * 24), max_iter=5000, tol=1e-10)
    model.fit(x["train"].astype(np.float64), plan.source.rows("train").targets)
    table = Store(tmp_path).predictions(record.run_id).query("split == 'test'")
    expected = model.predict_proba(x["test"].astype(np.float64))
    np.testing.assert_allclose(np.stack(list(table["scores"])), expected, atol=1e-6)


def test_a_run_that_diverges_harms_no_other(toy: str, weights: str, tmp_path: Path) -> None:
    bad = config(toy, tmp_path, weights, **{"optim.name": "sgd", "optim.lr": 1e300})
    good = dataclasses.replace(bad, optim=dataclasses.replace(bad.optim, lr=0.01))
    found = {plan.config.optim.lr: out for plan, out in run_bank([resolve(bad), resolve(good)])}
    assert isinstance(found[0.01], Outcome)
    assert isinstance(found[1e300], TrainingError)
    assert "Lower optim.lr" in str(found[1e300])
    failed = json.loads((tmp_path / resolve(bad).run_id / "failed.json").read_text())
    assert "TrainingError" in failed["error"]


def test_a_finished_run_is_handed_over_and_force_moves_it_aside(
    toy: str, weights: str, tmp_path: Path
) -> None:
    plan = resolve(config(toy, tmp_path, weights))
    ((_, first),) = run_bank([plan])
    ((_, second),) = run_bank([plan])
    ((_, third),) = run_bank([plan], force=True)
    assert isinstance(first, Outcome)
    assert isinstance(second, Outcome)
    assert isinstance(third, Outcome)
    assert (first.was_done, second.was_done, third.was_done) == (False, True, False)
    assert first.record.metrics == third.record.metrics
    assert len(list((tmp_path / ".replaced").glob("**/record.json"))) == 1


def test_a_run_of_another_process_is_left_to_it(toy: str, weights: str, tmp_path: Path) -> None:
    plans = [resolve(config(toy, tmp_path, weights, seed=seed)) for seed in (0, 1)]
    with Store(tmp_path).claim(plans[0].run_id):
        found = {plan.config.seed: outcome for plan, outcome in run_bank(plans)}
    assert isinstance(found[0], BusyError)
    assert isinstance(found[1], Outcome)


def test_what_is_done_when_interrupted_is_kept(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = grid(toy, tmp_path / "a", weights)
    calls = []

    def interrupted(*arguments: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit_heads(*arguments, **more)

    monkeypatch.setitem(LIMITS, "cpu", dataclasses.replace(LIMITS["cpu"], heads=4))
    monkeypatch.setattr(bank, "fit_heads", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(run_bank([resolve(one) for one in configs]))
    assert 0 < len(Store(tmp_path / "a").paths()) < len(configs)
    monkeypatch.undo()
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    resumed = run_all(configs)
    undisturbed = run_all(grid(toy, tmp_path / "b", weights))
    assert [r.metrics for r in resumed] == [r.metrics for r in undisturbed]


def test_too_little_memory_halves_the_heads(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def cramped(jobs: Any, *arguments: Any, **more: Any) -> Any:
        if len(jobs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(jobs))
        return fit_heads(jobs, *arguments, **more)

    expected = run_all(grid(toy, tmp_path / "a", weights))
    monkeypatch.setattr(bank, "fit_heads", cramped)
    found = run_all(grid(toy, tmp_path / "b", weights))
    assert max(sizes) <= 2
    assert [r.checkpoint["epoch"] for r in found] == [r.checkpoint["epoch"] for r in expected]


def test_a_failing_head_is_isolated_on_a_cpu(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(heads: Any, *arguments: Any, **more: Any) -> Any:
        if any(head.seed == 2 for head in heads):
            raise ValueError("odd")
        return fit_heads(heads, *arguments, **more)

    monkeypatch.setattr(bank, "fit_heads", odd)
    plans = [resolve(config(toy, tmp_path, weights, seed=seed)) for seed in range(4)]
    outcomes = {plan.config.seed: outcome for plan, outcome in run_bank(plans)}
    assert [isinstance(outcomes[s], Outcome) for s in range(4)] == [True, True, False, True]


@pytest.mark.parametrize("place", ["fit_heads", "trained_of", "save_predictions", "_open"])
def test_a_lost_gpu_ends_a_bank_and_fails_no_run(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    attempts = []

    def lost(*_: Any, **__: Any) -> Any:
        attempts.append(1)
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    owner = {"save_predictions": bank_files, "_open": bank._Bank}.get(place, bank)
    monkeypatch.setattr(owner, place, lost)
    plans = [resolve(c) for c in grid(toy, tmp_path, weights)]
    assert len(plans) == 12
    with pytest.raises(DeviceLostError, match="illegal memory access"):
        list(run_bank(plans))
    assert len(attempts) == 1 or place == "save_predictions"
    assert not list(tmp_path.rglob("failed.json"))
    monkeypatch.undo()
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "home"))
    assert isinstance(bank.run_alone(plans[0]), Outcome)  # no folder is held


def test_too_little_memory_for_a_head_has_its_own_words(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 40.00 GiB")

    monkeypatch.setattr(bank, "fit_heads", full)
    ((_, error),) = run_bank([resolve(config(toy, tmp_path, weights))])
    assert isinstance(error, TrainingError)
    assert "too small for a head of timm:test_resnet" in error.problem
    assert "batch_size" not in str(error)


def test_a_bank_killed_by_force_is_resumed(
    toy: str, weights: str, tmp_path: Path, python: str
) -> None:
    configs = grid(toy, tmp_path / "a", weights, **{"trainer.patience": "null"})
    code = (
        "import sys, time; from marsbench.config.schema import RunConfig;"
        "from marsbench.plan.resolve import resolve;"
        "from marsbench.training.frozen.bank import run_bank\n"
        "for _ in run_bank([resolve(RunConfig.from_dict(c)) for c in eval(sys.argv[1])]):\n"
        "    print('done', flush=True); time.sleep(0.2)"
    )
    arguments = [python, "-c", code, repr([one.to_dict() for one in configs])]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = len(Store(tmp_path / "a").paths())
    assert 0 < finished < len(configs)
    started = time.time()
    resumed = run_all(configs)
    assert time.time() - started < 60
    undisturbed = run_all(grid(toy, tmp_path / "b", weights, **{"trainer.patience": "null"}))
    # Fewer heads side by side round sums otherwise, in the last digit of a probability.
    for again, record in zip(resumed, undisturbed, strict=True):
        assert again.run_id == record.run_id
        assert again.metrics.keys() == record.metrics.keys()
        for split, values in again.metrics.items():
            assert values == pytest.approx(record.metrics[split], rel=1e-5)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"protocol": "cached", "mode": "finetune"}, "trains the backbone"),
        ({"protocol": "cached", "augment": "hflip"}, "changes images at random"),
        ({"mode": "scratch"}, "mode=scratch starts from random weights"),
        ({"protocol": "cached", "trainer.devices": 2}, "single device"),
        ({"views": "d4", "mode": "finetune"}, "trains the backbone"),
        ({"optim.name": "lbfgs", "mode": "finetune"}, "optim.name=lbfgs is for heads"),
        (
            {"optim.name": "lbfgs", "scheduler.name": "cosine"},
            "scheduler.name=cosine has no effect",
        ),
        ({"optim.name": "lbfgs", "views": "d4"}, "augment=d4 has no effect with optim.name=lbfgs"),
        ({"optim.name": "lbfgs", "optim.lr": 0.1}, "optim.lr has no effect"),
        ({"optim.name": "lbfgs", "optim.weight_decay": 0}, "without an optimum"),
        ({"protocol": "cached", "imbalance": "oversample"}, "Set augment=d4, or choose"),
        (
            {"imbalance": "oversample", "augment": "none"},
            "Set augment=d4 or augment=hflip, or choose",
        ),
        ({"logger.tensorboard": True}, "write their curves as CSV only"),
    ],
)
def test_what_cannot_be_cached(
    more: dict[str, Any], message: str, toy: str, weights: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(config(toy, tmp_path, weights, **more))


@pytest.mark.parametrize(
    ("more", "protocol"),
    [
        ({}, Protocol.CACHED),
        ({"augment": "none"}, Protocol.CACHED),
        ({"augment": "d4"}, Protocol.ONLINE),
        ({"mode": "finetune"}, Protocol.ONLINE),
        ({"trainer.devices": 2}, Protocol.ONLINE),
        ({"protocol": "online"}, Protocol.ONLINE),
        ({"imbalance": "loss_weight"}, Protocol.CACHED),
        ({"imbalance": "oversample", "augment": "d4"}, Protocol.ONLINE),
        ({"imbalance": "oversample", "views": "d4"}, Protocol.CACHED),
    ],
)
def test_the_protocol_that_auto_chooses(
    more: dict[str, Any], protocol: Protocol, toy: str, weights: str, tmp_path: Path
) -> None:
    assert resolve(config(toy, tmp_path, weights, **more)).protocol is protocol


def test_what_lbfgs_does_not_heed_is_not_in_the_id(toy: str, weights: str, tmp_path: Path) -> None:
    more = {"optim.name": "lbfgs"}
    first = resolve(config(toy, tmp_path, weights, **more)).run_id
    other = {"trainer.max_epochs": 9, "optim.batch_size": 3, "trainer.patience": 1}
    assert resolve(config(toy, tmp_path, weights, **more, **other)).run_id == first
    decay = {"optim.weight_decay": 1.0}
    assert resolve(config(toy, tmp_path, weights, **more, **decay)).run_id != first


def test_folds_beside_a_run_of_another_process(toy: str, weights: str, tmp_path: Path) -> None:
    plans = [resolve(config(toy, tmp_path, weights, seed=seed, folds=3)) for seed in range(3)]
    with Store(tmp_path).claim(plans[1].run_id):
        found = [(plan.config.seed, outcome) for plan, outcome in run_bank(plans)]
    assert sorted(seed for seed, _ in found) == [0, 1, 2]
    by_seed = dict(found)
    assert isinstance(by_seed[1], BusyError)
    assert isinstance(by_seed[0], Outcome)
    assert isinstance(by_seed[2], Outcome)
    assert by_seed[0].record.checkpoint["folds"][0]["num_train"] < 24
    assert by_seed[0].record.data["features"]["views"] == 1


def test_a_run_that_cannot_begin_leaves_word(toy: str, weights: str, tmp_path: Path) -> None:
    small = resolve(config(toy, tmp_path, weights, folds=2, subset="few_shot_2"))
    whole = resolve(config(toy, tmp_path, weights))
    found = {plan.run_id: outcome for plan, outcome in run_bank([small, whole])}
    assert isinstance(found[whole.run_id], Outcome)
    assert "no training samples in the subset few_shot_2" in str(found[small.run_id])
    assert "ConfigError" in (tmp_path / small.run_id / "failed.json").read_text()
    # By itself too.
    with pytest.raises(ConfigError, match="no training samples"):
        bank.run_alone(small)


def test_what_nobody_foresaw_in_one_run_harms_no_other(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = [resolve(config(toy, tmp_path, weights, seed=seed)) for seed in range(4)]

    def fails(folder: Path, scored: Any) -> None:
        if folder.name.startswith("2-"):
            raise ValueError("odd")
        save_predictions(folder, scored)

    monkeypatch.setattr(bank_files, "save_predictions", fails)
    found = {plan.config.seed: outcome for plan, outcome in run_bank(plans)}
    assert [isinstance(found[seed], Outcome) for seed in range(4)] == [True, True, False, True]
    assert "ValueError: odd" in str(found[2])
    assert "Traceback" in (tmp_path / plans[2].run_id / "failed.json").read_text()


def test_a_run_of_which_no_word_can_be_left_harms_no_other(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = [resolve(config(toy, tmp_path, weights, seed=seed)) for seed in range(3)]

    def fails(folder: Path, scored: Any) -> None:
        if folder.name.startswith("1-"):
            raise OSError(5, "Input/output error")
        save_predictions(folder, scored)

    def fails_too(self: Store, run_id: str, error: BaseException) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(bank_files, "save_predictions", fails)
    monkeypatch.setattr(Store, "fail", fails_too)
    found = {plan.config.seed: outcome for plan, outcome in run_bank(plans)}
    assert [isinstance(found[seed], Outcome) for seed in range(3)] == [True, False, True]
    assert "Input/output error" in str(found[1])


def test_a_fault_before_the_first_epoch_harms_no_other(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = [resolve(config(toy, tmp_path, weights, seed=seed)) for seed in range(2)]

    def odd(plan: Plan) -> Any:
        if plan.config.seed == 0:
            raise ValueError("odd")
        return parts_of(plan)

    monkeypatch.setattr(bank, "parts_of", odd)
    found = {plan.config.seed: outcome for plan, outcome in run_bank(plans)}
    assert "ValueError: odd" in str(found[0])
    assert isinstance(found[1], Outcome)
    assert "odd" in (tmp_path / plans[0].run_id / "failed.json").read_text()


def test_a_damaged_record_stops_its_run_alone(toy: str, weights: str, tmp_path: Path) -> None:
    plans = [resolve(config(toy, tmp_path, weights, seed=seed)) for seed in range(2)]
    damaged = tmp_path / plans[0].run_id / "record.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text('{"run_id": ')
    found = {plan.config.seed: outcome for plan, outcome in run_bank(plans)}
    assert isinstance(found[1], Outcome)
    assert str(damaged) in str(found[0])
    again = {plan.config.seed: outcome for plan, outcome in run_bank(plans, force=True)}
    assert isinstance(again[0], Outcome)


def test_a_config_that_cannot_be_written_stops_its_run_alone(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = [resolve(config(toy, tmp_path, weights, seed=seed)) for seed in range(3)]

    def full(plan: Plan, folder: Path) -> None:
        if plan.config.seed == 1:
            raise OSError(28, "No space left on device")
        begin(plan, folder)

    monkeypatch.setattr(bank, "begin", full)
    found = {plan.config.seed: outcome for plan, outcome in run_bank(plans)}
    assert [isinstance(found[seed], Outcome) for seed in range(3)] == [True, False, True]
    assert "No space left on device" in str(found[1])
    assert not (tmp_path / plans[1].run_id / "record.json").exists()
    # Nothing is held any more.
    monkeypatch.undo()
    assert isinstance(bank.run_alone(resolve(plans[1].config)), Outcome)


def test_few_runs_are_held_at_a_time(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LIMITS, "cpu", dataclasses.replace(LIMITS["cpu"], folders=3))
    held: set[str] = set()
    most = []
    claim = Store.claim

    @contextlib.contextmanager
    def counted(self: Store, run_id: str) -> Iterator[Path]:
        with claim(self, run_id) as folder:
            held.add(run_id)
            most.append(len(held))
            yield folder
            held.discard(run_id)

    monkeypatch.setattr(Store, "claim", counted)
    records = run_all(grid(toy, tmp_path, weights, folds=2, **{"trainer.checkpoint": "last"}))
    assert len(records) == 12
    assert max(most) <= 3


def test_a_bank_that_nobody_reads_to_its_end_lets_go(
    toy: str, weights: str, tmp_path: Path
) -> None:
    plans = [resolve(one) for one in grid(toy, tmp_path, weights)]
    found = run_bank(plans)
    next(found)
    found.close()  # type: ignore[attr-defined]
    for plan in plans:
        with Store(tmp_path).claim(plan.run_id):
            pass
