import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import timm
import torch

import marsbench
from marsbench.api import run_config
from marsbench.base.errors import ConfigError, StoreError, TrainingError, WeightsError
from marsbench.base.files import write_text
from marsbench.config.schema import RunConfig
from marsbench.metrics import scoring
from marsbench.models.encoders.classifier import Classifier
from marsbench.models.modes import build_for_mode
from marsbench.models.pretraining import RANDOM, UNKNOWN, Pretraining
from marsbench.plan.resolve import resolve
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.tasks.kinds import Kind
from marsbench.training import network
from marsbench.training.loop import checkpoints, fitting
from marsbench.training.loop.callbacks import ProgressBar
from tests.fakes import make_spec, read_rows, write_folder, write_rows, write_spec

MODEL = "timm:test_resnet"


def keys(toy: str, store: Path, **more: Any) -> dict[str, Any]:
    return {
        "task": toy,
        "model": MODEL,
        "mode": "scratch",
        "protocol": "online",
        "store": str(store),
        "workers": 0,
        "optim.batch_size": 8,
        "trainer.max_epochs": 2,
        **more,
    }


def predictions(record: RunRecord, store: Path) -> pd.DataFrame:
    return Store(store).predictions(record.run_id)


def same_result(first: RunRecord, second: RunRecord, store_1: Path, store_2: Path) -> None:
    assert first.metrics == second.metrics
    pd.testing.assert_frame_equal(predictions(first, store_1), predictions(second, store_2))


@pytest.fixture(scope="module")
def finished(toy: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, Path]:
    store = tmp_path_factory.mktemp("runs")
    return marsbench.run(**keys(toy, store)), store


def test_a_run_leaves_a_whole_record(finished: tuple[RunRecord, Path]) -> None:
    record, store = finished
    folder = store / record.run_id
    left = {p.name for p in folder.iterdir()} - {".lock"}
    assert left == {
        "record.json",
        "predictions.parquet",
        "config.yaml",
        "model.safetensors",
        "logs",
    }
    assert record.task == "toy"
    assert record.model == MODEL
    assert record.weights is None
    assert record.checkpoint["epochs_trained"] == 2
    assert record.parameters["total"] == record.parameters["trained"] > 0
    assert record.environment["torch"] == torch.__version__.partition("+")[0]
    needed = {"scipy", "segmentation-models-pytorch", "faster-coco-eval", "rasterio", "timm"}
    assert needed <= set(record.environment)
    assert record.data["classes"] == ["plain", "dune", "crater"]
    assert Store(store).find(record.run_id) == record


def test_id_is_the_same_before_and_from_the_record(
    finished: tuple[RunRecord, Path], toy: str
) -> None:
    record, store = finished
    assert resolve(RunConfig.from_dict(keys(toy, store))).run_id == record.run_id
    assert resolve(RunConfig.from_dict(record.config)).run_id == record.run_id


@pytest.mark.parametrize("split", ["val", "test"])
def test_rescoring_the_predictions_gives_the_record(
    finished: tuple[RunRecord, Path], split: str
) -> None:
    record, store = finished
    frame = predictions(record, store).query("split == @split")
    found = scoring.score(Kind(record.kind), frame, record.data["classes"])
    kept = {k: v for k, v in record.metrics[split].items() if k != "loss"}
    assert found == kept


def test_the_tested_checkpoint_is_the_best_on_validation(finished: tuple[RunRecord, Path]) -> None:
    record, store = finished
    log = pd.read_csv(store / record.run_id / "logs" / "attempt_1" / "metrics.csv")
    losses = log.dropna(subset="val/loss").set_index("epoch")["val/loss"]
    assert record.checkpoint["epoch"] == losses.idxmin()
    assert record.checkpoint["value"] == pytest.approx(losses.min(), rel=1e-6)
    assert record.metrics["val"]["loss"] == pytest.approx(losses.min(), rel=1e-6)


def test_equal_runs_are_equal(finished: tuple[RunRecord, Path], toy: str, tmp_path: Path) -> None:
    first, store = finished
    second = marsbench.run(**keys(toy, tmp_path))
    assert second.run_id == first.run_id
    same_result(first, second, store, tmp_path)


@pytest.mark.parametrize(
    "workers", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]
)
def test_worker_processes_and_the_cache_change_nothing(
    workers: int, finished: tuple[RunRecord, Path], toy: str, tmp_path: Path
) -> None:
    first, store = finished
    second = marsbench.run(**keys(toy, tmp_path, workers=workers, cache=False))
    assert second.run_id == first.run_id
    same_result(first, second, store, tmp_path)


def test_another_seed_is_another_run(
    finished: tuple[RunRecord, Path], toy: str, tmp_path: Path
) -> None:
    other = marsbench.run(**keys(toy, tmp_path, seed=1))
    assert other.run_id != finished[0].run_id
    assert other.metrics != finished[0].metrics


def test_a_finished_run_is_not_repeated_unless_forced(toy: str, tmp_path: Path) -> None:
    first = run_config(RunConfig.from_dict(keys(toy, tmp_path)))
    path = tmp_path / first.record.run_id / "record.json"
    before = path.read_bytes(), path.stat().st_mtime_ns
    second = run_config(RunConfig.from_dict(keys(toy, tmp_path)))
    assert (first.was_done, second.was_done) == (False, True)
    assert second.record == first.record
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    third = run_config(RunConfig.from_dict(keys(toy, tmp_path)), force=True)
    assert not third.was_done
    aside = list((tmp_path / ".replaced").rglob("record.json"))
    assert [p.read_bytes() for p in aside] == [before[0]]
    assert third.record.metrics == first.record.metrics
    assert [r.run_id for r in Store(tmp_path).records()[0]] == [first.record.run_id]


WRITING = """
from marsbench.training.loop import checkpoints
checkpoints.WRITE_EVERY = 0.0
from marsbench.cli import main
main()
"""
"""The command line, which writes checkpoints after every epoch."""


def command(python: str, words: list[str]) -> list[str]:
    return [python, "-c", WRITING, *words]


def words(values: dict[str, Any]) -> list[str]:
    return ["run", *(f"{k}={v}" for k, v in values.items())]


def start_and_stop(
    python: str, values: dict[str, Any], how: signal.Signals, epochs: int
) -> tuple[int, str]:
    """Start a run in a process, and stop it by a signal once it has trained some epochs."""
    process = subprocess.Popen(
        command(python, words(values)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, and what they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    folder = Store(values["store"]).folder(resolve(RunConfig.from_dict(values)).run_id)
    last = folder / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if last.exists() and torch.load(last, weights_only=True)["epoch"] + 1 >= epochs:
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(how)
    _, error = process.communicate(timeout=60)
    assert not (folder / "record.json").exists()
    assert not (folder / "failed.json").exists()
    return process.returncode, error


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (signal.SIGKILL, -9),
        (signal.SIGINT, 130),
        # A sweep's worker, stopped so, has a test that is not slow.
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
    ids=["kill", "ctrl-c", "preempted"],
)
def test_a_stopped_run_resumes_and_ends_as_if_never_stopped(
    how: signal.Signals, expected: int, toy: str, tmp_path: Path, python: str
) -> None:
    values = keys(toy, tmp_path / "cut")
    values |= {"trainer.max_epochs": 20, "trainer.patience": "null", "scheduler.name": "cosine"}
    code, error = start_and_stop(python, values, how, epochs=3)
    assert code == expected
    assert "Traceback" not in error
    assert ("the same command continues" in error) == (how is not signal.SIGKILL)
    resumed = marsbench.run(**values)
    assert 3 <= resumed.timing["resumed_from_epoch"] < 20
    undisturbed = marsbench.run(**{**values, "store": str(tmp_path / "whole")})
    assert resumed.run_id == undisturbed.run_id
    assert "resumed_from_epoch" not in undisturbed.timing
    same_result(resumed, undisturbed, tmp_path / "cut", tmp_path / "whole")


def with_dropout(*args: Any, **options: Any) -> Classifier:
    model = build_for_mode(*args, **options)
    assert isinstance(model, Classifier)
    model.head = torch.nn.Sequential(torch.nn.Dropout(0.5), model.head)
    return model


@pytest.mark.parametrize(
    ("mode", "schedule"),
    [
        ("scratch", "cosine"),
        ("scratch", "plateau"),
        ("frozen", "step"),
        *(
            pytest.param(mode, schedule, marks=pytest.mark.slow)
            for mode, schedule in (("scratch", "none"), ("scratch", "step"), ("frozen", "none"))
        ),
        *(pytest.param("frozen", name, marks=pytest.mark.slow) for name in ("cosine", "plateau")),
    ],
)
def test_everything_that_moves_is_restored(
    schedule: str, mode: str, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optimiser, schedule, dropout, early stopping and the best checkpoint survive a cut."""
    checkpoint = tmp_path / "start.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), checkpoint)
    monkeypatch.setattr(network, "build_for_mode", with_dropout)
    monkeypatch.setattr(checkpoints, "COPY_SHARE", math.inf)  # copies every epoch
    values = keys(toy, tmp_path / "cut", mode=mode)
    if mode == "frozen":
        values["weights"] = str(checkpoint)
    values |= {"optim.lr": 0.05, "scheduler.name": schedule, "scheduler.patience": 0}
    values |= {"scheduler.step_size": 2, "trainer.max_epochs": 6, "trainer.patience": 4}

    def cut(self: ProgressBar, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.current_epoch == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ProgressBar, "on_train_epoch_start", cut, raising=False)
        with pytest.raises(KeyboardInterrupt):
            marsbench.run(**values)
    resumed = marsbench.run(**values)
    assert resumed.timing["resumed_from_epoch"] == 3
    undisturbed = marsbench.run(**{**values, "store": str(tmp_path / "whole")})
    assert resumed.checkpoint == undisturbed.checkpoint
    same_result(resumed, undisturbed, tmp_path / "cut", tmp_path / "whole")


def test_a_frozen_run_leaves_the_backbone_as_it_was(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the whole loop: training, validation in between, reloading, testing."""
    built: list[tuple[Classifier, dict[str, torch.Tensor]]] = []

    def remembered(*args: Any, **options: Any) -> Classifier:
        model = build_for_mode(*args, **options)
        assert isinstance(model, Classifier)
        built.append((model, {k: v.clone() for k, v in model.state_dict().items()}))
        return model

    monkeypatch.setattr(network, "build_for_mode", remembered)
    marsbench.run(**keys(toy, tmp_path, model="efficientnet_lite0", mode="frozen"))
    ((model, before),) = built
    after = model.state_dict()
    assert any("running_mean" in name for name in before)
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]) == name.startswith("backbone."), name


def test_a_damaged_checkpoint_is_named(toy: str, tmp_path: Path) -> None:
    values = keys(toy, tmp_path)
    run_id = resolve(RunConfig.from_dict(values)).run_id
    last = tmp_path / run_id / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.write_bytes(b"")
    with pytest.raises(StoreError, match=r"last\.ckpt.*damaged"):
        marsbench.run(**values)
    assert marsbench.run(force=True, **values).run_id == run_id


def test_a_run_leaves_the_callers_process_alone(toy: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    random.seed(5)
    expected = torch.get_rng_state(), random.getstate()
    marsbench.run(**keys(toy, tmp_path))
    assert torch.equal(torch.get_rng_state(), expected[0])
    assert random.getstate() == expected[1]
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_headline_that_a_split_leaves_undefined(tmp_path: Path) -> None:
    """AUROC needs two classes in the test split; without them there is a record all the same."""
    spec = make_spec(headline="auroc")
    folder = write_folder(spec, tmp_path)
    rows = read_rows(folder / "annotation.csv")
    write_rows(folder / "annotation.csv", [r for r in rows if r[1] != "test" or r[3] == "0"])
    task = write_spec(spec, folder / "task.yaml")
    task.write_text(task.read_text() + "headline: auroc\n")
    record = marsbench.run(**keys(str(task), tmp_path / "runs"))
    assert record.headline == "auroc"
    assert record.score is None
    assert marsbench.load_records(tmp_path / "runs")["score"].isna().all()


def test_a_run_cut_between_training_and_testing_only_tests(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = keys(toy, tmp_path)

    def cut(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(network, "load_chosen", cut)
        with pytest.raises(KeyboardInterrupt):
            marsbench.run(**values)
    monkeypatch.setattr(pl.Trainer, "fit", lambda *_, **__: pytest.fail("trained again"))
    record = marsbench.run(**values)
    assert record.checkpoint["epochs_trained"] == 2


def test_early_stopping_that_was_cut_does_not_go_on(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A learning rate of next to nothing: validation loss rises or stays, so patience runs out.
    values = keys(toy, tmp_path, **{"trainer.max_epochs": 30, "trainer.patience": 1})
    values["optim.lr"] = 0.3
    monkeypatch.setattr(checkpoints, "WRITE_EVERY", 0.0)
    real = write_text

    def cut(path: Path, text: str) -> None:
        if path.name == fitting.FITTED:
            raise KeyboardInterrupt
        real(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "write_text", cut)
        with pytest.raises(KeyboardInterrupt):
            marsbench.run(**values)
    record = marsbench.run(**values)
    assert record.checkpoint["epochs_trained"] < 30
    whole = marsbench.run(**{**values, "store": str(tmp_path / "whole")})
    assert record.checkpoint == whole.checkpoint
    assert record.metrics == whole.metrics


def test_frozen_run_trains_the_head_only_and_keeps_it_small(toy: str, tmp_path: Path) -> None:
    record = marsbench.run(
        **keys(
            toy, tmp_path, model="efficientnet_lite0", mode="frozen", **{"trainer.max_epochs": 1}
        )
    )
    assert record.parameters["trained"] == 1280 * 3 + 3
    assert record.weights is not None
    assert record.weights["name"] == "efficientnet-lite0-57934424"
    assert record.pretraining == Pretraining(
        data="ImageNet-1k", images=1_281_167, licence="Apache-2.0", overlaps=()
    )
    from safetensors.torch import load_file

    kept = load_file(tmp_path / record.run_id / "model.safetensors")
    assert set(kept) == {"head.weight", "head.bias"}


def test_local_weights_are_named_by_their_contents(toy: str, tmp_path: Path) -> None:
    import timm

    for name, seed in (("a", 0), ("b", 1)):
        torch.manual_seed(seed)
        torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / f"{name}.pth")
    ids = []
    assert resolve(RunConfig.from_dict(keys(toy, tmp_path))).pretraining == RANDOM
    for name in ("a", "b"):
        values = keys(toy, tmp_path, mode="finetune", weights=str(tmp_path / f"{name}.pth"))
        ids.append(resolve(RunConfig.from_dict(values)).run_id)
    assert ids[0] != ids[1]
    record = marsbench.run(**values)
    assert record.weights is not None
    assert record.weights["name"].startswith("sha256:")
    assert record.pretraining == UNKNOWN


@pytest.mark.parametrize("subset", ["few_shot_2", "partition_0.50"])
def test_subsets_shrink_the_train_split_only(
    subset: str, toy: str, tmp_path: Path, finished: tuple[RunRecord, Path]
) -> None:
    record = marsbench.run(**keys(toy, tmp_path, subset=subset))
    full = finished[0]
    assert record.data["num_train"] < full.data["num_train"]
    assert record.data["subset_origin"] == "generated"
    assert [record.data[f"num_{s}"] for s in ("val", "test")] == [9, 12]


FAST = (("adam", "none"), ("adamw", "cosine"), ("sgd", "plateau"), ("adamw", "step"))


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        pytest.param(*pair, marks=() if pair in FAST else pytest.mark.slow)
        for pair in itertools.product(
            ("adam", "adamw", "sgd"), ("none", "cosine", "plateau", "step")
        )
    ],
)
def test_the_papers_optimisers_and_schedules_train(
    name: str, schedule: str, toy: str, tmp_path: Path
) -> None:
    record = marsbench.run(
        **keys(
            toy,
            tmp_path,
            save_model=False,
            **{"optim.name": name, "scheduler.name": schedule, "optim.lr": 1e-3},
        )
    )
    assert record.score is not None
    assert 0 <= record.score <= 1
    assert not (tmp_path / record.run_id / "model.safetensors").exists()


def test_a_multilabel_task(tmp_path: Path) -> None:
    spec = make_spec(Kind.MULTILABEL)
    folder = write_folder(spec, tmp_path)
    task = str(write_spec(spec, folder / "task.yaml"))
    record = marsbench.run(**keys(task, tmp_path / "runs"))
    assert {"f1_weighted", "ap_micro", "log_loss"} <= set(record.metrics["test"])


def test_a_model_learns(toy: str, tmp_path: Path) -> None:
    # Classes are directions of stripes, which D4 would confuse.
    options = {"augment": "none", "optim.lr": 3e-3, "trainer.patience": None}
    record = marsbench.run(**keys(toy, tmp_path, **{**options, "trainer.max_epochs": 40}))
    assert record.metrics["test"]["f1_weighted"] > 0.8


def test_mixed_precision(toy: str, tmp_path: Path) -> None:
    record = marsbench.run(**keys(toy, tmp_path, **{"trainer.precision": "bf16-mixed"}))
    trainer = record.identity["trainer"]
    assert (trainer["precision"], trainer["mixed"]) == ("bf16-mixed", 2)


def test_tensorboard(toy: str, tmp_path: Path) -> None:
    record = marsbench.run(**keys(toy, tmp_path, **{"logger.tensorboard": True}))
    assert list((tmp_path / record.run_id / "logs").rglob("events.out.tfevents*"))


def test_a_logger_that_is_not_installed(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"marsbench\[wandb\]"):
        marsbench.run(**keys(toy, tmp_path, **{"logger.wandb": True}))


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_word(toy: str, tmp_path: Path) -> None:
    values = keys(toy, tmp_path, **{"optim.lr": 1e30, "optim.name": "sgd"})
    with pytest.raises(TrainingError) as caught:
        marsbench.run(**values)
    for word in ("epoch", "optim.lr", "1e+30", "gradient_clip_val"):
        assert word in str(caught.value)
    store = Store(tmp_path)
    failed, stopped = store.unfinished()
    assert len(failed) == 1
    assert stopped == []
    report = json.loads((store.folder(failed[0]) / "failed.json").read_text())
    assert "TrainingError" in report["error"]
    assert "Traceback" in report["traceback"]
    assert store.records() == ([], [])


def test_a_success_supersedes_a_failure(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise WeightsError("no weights today")

    with monkeypatch.context() as patch:
        patch.setattr(network, "build_for_mode", fail)
        with pytest.raises(WeightsError):
            marsbench.run(**keys(toy, tmp_path))
    record = marsbench.run(**keys(toy, tmp_path))
    assert not (tmp_path / record.run_id / "failed.json").exists()


def test_two_processes_do_not_work_on_one_run(toy: str, tmp_path: Path) -> None:
    config = RunConfig.from_dict(keys(toy, tmp_path))
    store, run_id = Store(tmp_path), resolve(config).run_id
    with store.claim(run_id), pytest.raises(StoreError, match="Another process"):
        run_config(config)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_cannot_be_written(toy: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="store=FOLDER"):
        marsbench.run(**keys(toy, tmp_path / "runs"))


def test_a_store_that_is_a_file(toy: str, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(StoreError, match="store=FOLDER"):
        marsbench.run(**keys(toy, tmp_path / "runs"))


@pytest.mark.parametrize("accelerator", ["warp", "tpu"])
def test_trainer_options_that_cannot_be_used(accelerator: str, toy: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.accelerator"):
        marsbench.run(**keys(toy, tmp_path, **{"trainer.accelerator": accelerator}))
