"""Runs evaluated on corrupted samples, against a computation of our own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from typer.testing import CliRunner

import marsbench
from marsbench.base.errors import ConfigError, DataError, StoreError, UnknownNameError
from marsbench.cli import app
from marsbench.data.cache import DirectSamples
from marsbench.data.corruptions.applying import corrupt_images, corrupt_spectrum
from marsbench.data.corruptions.randomness import sample_seed
from marsbench.data.corruptions.table import Subject, names_of
from marsbench.data.sources import open_source
from marsbench.data.sources.local import LocalSource
from marsbench.data.spectra import DirectSpectra, technique_of
from marsbench.data.transforms import resize, to_float
from marsbench.evaluate.robustness import Robustness, gap, robustness_of
from marsbench.evaluate.run import evaluate
from marsbench.evaluate.settings import Settings
from marsbench.models.encoders.classifier import Classifier
from marsbench.results.record import Outcome, RunRecord
from marsbench.results.store import RECORD, Store
from marsbench.spectra import features
from marsbench.sweep.suites import load_suite
from marsbench.tasks.kinds import Decode, Kind
from marsbench.training.trained import rebuild
from tests.challenges import TASK, keys, write_challenge
from tests.fakes import make_spec, write_folder, write_spec

NAMES = ("background", "crater", "dune")
SOME = ("dust", "noise", "jpeg", "smear")


def toy(folder: Path, kind: Kind = Kind.MULTICLASS, **more: Any) -> tuple[Any, Path]:
    decode = {Kind.SEGMENTATION: Decode.IMAGE_MASK, Kind.DETECTION: Decode.IMAGE_BOXES}
    names = NAMES[1:] if kind is Kind.DETECTION else NAMES
    spec = make_spec(kind, names, **{"decode": decode.get(kind, Decode.IMAGE_LABEL), **more})
    return spec, write_spec(spec, write_folder(spec, folder) / "task.yaml")


def trained(path: Path, store: Path, **more: Any) -> RunRecord:
    common: dict[str, Any] = {"model": "timm:test_resnet", "mode": "scratch", "workers": 0}
    common |= {"optim.batch_size": 5, "trainer.max_epochs": 1}
    return marsbench.run(task=str(path), store=str(store), **(common | more))


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory, weights: str) -> tuple[list[RunRecord], Path]:
    """Three heads on one frozen backbone."""
    folder = tmp_path_factory.mktemp("heads")
    _, path = toy(folder)
    runs = [
        trained(path, folder / "runs", mode="frozen", weights=weights, seed=seed)
        for seed in (0, 1, 2)
    ]
    return runs, folder / "runs"


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of images encoded by each call of a classifier."""
    calls: list[int] = []
    original = Classifier.features

    def features_of(self: Classifier, image: Tensor) -> Tensor:
        calls.append(len(image))
        return original(self, image)

    monkeypatch.setattr(Classifier, "features", features_of)
    return calls


def test_scores_are_those_of_corrupted_images(
    heads: tuple[list[RunRecord], Path], tmp_path: Path
) -> None:
    (run, *_), store = heads
    (record,) = marsbench.run_evaluate(
        str(store / run.run_id), store=str(tmp_path), corruption="noise", severity=3, seed=7
    )
    spec = make_spec(Kind.MULTICLASS, NAMES)
    source = LocalSource(spec, store.parent / "mb-toy")
    rows = source.rows("test")
    samples = DirectSamples(spec, source, rows)
    model = rebuild(run, store / run.run_id, spec)
    side = run.input_size
    assert side is not None
    expected = {}
    for i, sample_id in enumerate(rows.sample_ids):
        pixels = torch.from_numpy(samples[i].pixels.transpose(2, 0, 1).copy())
        image = to_float(resize(pixels, side))[None]
        seed = sample_seed(7, sample_id, "noise")
        with torch.inference_mode():
            logits = model(corrupt_images(image, "noise", 3, [seed]))
        expected[sample_id] = logits.softmax(dim=1)[0].numpy()
    frame = Store(tmp_path).predictions(record.run_id)
    assert len(frame) == len(rows)
    for sample_id, scores in zip(frame["sample_id"], frame["scores"], strict=True):
        np.testing.assert_allclose(scores, expected[sample_id], atol=1e-4)
    facts = record.data["evaluation"]
    assert (facts["corruption"], facts["severity"], facts["corruption_seed"]) == ("noise", 3, 7)
    assert facts["clean"] == facts["in_domain"] == run.score
    own = {k: record.identity[k] for k in ("corruption", "severity", "corruption_seed")}
    assert own == {"corruption": "noise", "severity": 3, "corruption_seed": 7}


def test_heads_of_a_backbone_share_each_corrupted_batch(
    heads: tuple[list[RunRecord], Path], tmp_path: Path, encoded: list[int]
) -> None:
    runs, store = heads
    folders = [str(store / run.run_id) for run in runs]
    choices: dict[str, Any] = {"corruption": "dust,gain", "severity": "1,5", "batch_size": 5}
    together = marsbench.run_evaluate(folders, store=str(tmp_path / "together"), **choices)
    assert len(together) == 3 * 2 * 2
    # 12 test images in batches of 5, once for each corruption and severity, whatever the heads.
    assert encoded == 4 * [5, 5, 2]
    encoded.clear()
    alone = marsbench.run_evaluate(folders[1], store=str(tmp_path / "alone"), **choices)
    assert encoded == 4 * [5, 5, 2]
    mine = {record.run_id: record.metrics for record in together}
    assert {record.run_id: record.metrics for record in alone}.items() <= mine.items()
    assert len({json.dumps(metrics) for metrics in mine.values()}) > 3


def test_interrupted_evaluation_goes_on(
    heads: tuple[list[RunRecord], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, store = heads
    folders = [str(store / run.run_id) for run in runs[:2]]
    choices: dict[str, Any] = {"corruption": "jpeg,smear", "severity": "1,3,5"}
    original = Classifier.features
    calls = 0

    def third_fails(self: Classifier, image: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return original(self, image)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "features", third_fails)
        with pytest.raises(KeyboardInterrupt):
            marsbench.run_evaluate(folders, store=str(tmp_path), **choices)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob(f"**/{RECORD}")}
    assert len(before) == 2 * 2  # two passes, a record for each head
    calls = 10
    monkeypatch.setattr(Classifier, "features", third_fails)
    records = marsbench.run_evaluate(folders, store=str(tmp_path), **choices)
    assert calls == 10 + 4
    assert len(records) == 2 * 2 * 3
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_order_and_batches_change_nothing(
    heads: tuple[list[RunRecord], Path], tmp_path: Path
) -> None:
    (run, *_), store = heads
    scores = []
    for batch in (1, 5, 12):
        (record,) = marsbench.run_evaluate(
            str(store / run.run_id),
            store=str(tmp_path / str(batch)),
            corruption="striping",
            severity=5,
            batch_size=batch,
        )
        frame = Store(tmp_path / str(batch)).predictions(record.run_id)
        scores.append(np.stack(list(frame["scores"])))
    for other in scores[1:]:
        np.testing.assert_allclose(other, scores[0], atol=1e-5)


KINDS: dict[str, tuple[Kind, dict[str, Any], dict[str, Any]]] = {
    "labels": (Kind.MULTILABEL, {}, {"trainer.precision": "bf16-mixed"}),
    "masks": (Kind.SEGMENTATION, {}, {"model": "smp:unet/tu-test_resnet", "side": 32}),
    "boxes": (Kind.DETECTION, {}, {"side": 64}),
    "pairs": (Kind.MULTICLASS, {"decode": Decode.PAIR_LABEL, "channels": 1}, {}),
}


@pytest.mark.parametrize(
    "case",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "boxes")) for name in KINDS],
)
def test_every_kind_of_target(case: str, tmp_path: Path) -> None:
    kind, facts, choices = KINDS[case]
    _, path = toy(tmp_path, kind, **facts)
    run = trained(path, tmp_path / "runs", **choices)
    records = marsbench.run_evaluate(
        run.run_id, store=str(tmp_path / "runs"), corruption=SOME, severity=5
    )
    assert tuple(r.data["evaluation"]["corruption"] for r in records) == SOME
    assert all(r.metrics["test"].keys() == run.metrics["test"].keys() for r in records)
    assert all(r.data["evaluation"]["clean"] == run.score for r in records)
    # Losses show damage that rounds away in scores of few samples.
    losses = {r.metrics["test"]["loss"] for r in records}
    assert len(losses) == len(SOME)
    assert run.metrics["test"]["loss"] not in losses


def test_other_samples_are_compared_with_their_clean_scores(
    heads: tuple[list[RunRecord], Path], tmp_path: Path
) -> None:
    (run, *_), store = heads
    _, path = toy(tmp_path)
    records = marsbench.run_evaluate(
        str(store / run.run_id),
        task=str(path),
        root=str(path.parent),
        store=str(tmp_path / "runs"),
        corruption="dust",
        severity="2,4",
    )
    clean, *damaged = records
    assert len(damaged) == 2
    assert "corruption" not in clean.data["evaluation"]
    assert [r.data["evaluation"]["clean"] for r in damaged] == [clean.score] * 2
    (summary,) = robustness_of(records)
    assert summary.clean == clean.score
    # A damaged clean record is no reference, and no reason to lose the others.
    (tmp_path / "runs" / clean.run_id / RECORD).write_text("{")
    results = evaluate(
        [str(store / run.run_id)],
        Settings.from_dict(
            {
                "task": str(path),
                "root": str(path.parent),
                "store": str(tmp_path / "runs"),
                "corruption": "gain",
                "severity": "1",
            }
        ),
    )
    outcomes = [result.outcome for result in results]
    assert isinstance(outcomes[0], StoreError)
    assert isinstance(outcomes[1], Outcome)
    assert outcomes[1].record.data["evaluation"]["clean"] is None


def test_samples_without_a_counterpart_alone_are_refused(
    heads: tuple[list[RunRecord], Path], tmp_path: Path
) -> None:
    (run, *_), store = heads
    spec = make_spec(Kind.MULTICLASS, ("dune", "rock", "sand"), name="other")
    sizes = {"train": 3, "val": 3, "test": 2}
    path = write_spec(spec, write_folder(spec, tmp_path, sizes) / "task.yaml")
    # Labels go round from the last class: the two samples are sand and rock.
    with pytest.raises(DataError, match="No sample of other to evaluate has a class with"):
        marsbench.run_evaluate(str(store / run.run_id), task=str(path), root=str(path.parent))


def test_clean_scores_are_of_the_same_classes(
    heads: tuple[list[RunRecord], Path], tmp_path: Path
) -> None:
    (run, *_), store = heads
    file = tmp_path / "map.yaml"
    sides = {"first": ["crater", "dune"], "second": ["crater", "dune"]}
    content = {
        "first": ["toy"],
        "second": ["toy"],
        "matches": [{"first": "background", "second": "background"}, sides],
    }
    file.write_text(yaml.safe_dump(content))
    clean, damaged = marsbench.run_evaluate(
        str(store / run.run_id),
        store=str(tmp_path / "runs"),
        class_map=str(file),
        corruption="dust",
        severity=5,
    )
    assert clean.data["evaluation"].get("corruption") is None
    assert clean.score != run.score
    assert damaged.data["evaluation"]["clean"] == clean.score


@pytest.mark.parametrize("model", ["kernel_logistic", "logistic_regression", "timm:test_resnet"])
def test_spectra_are_corrupted_before_they_are_drawn(model: str, tmp_path: Path) -> None:
    # Pictures of spectra take long to draw.
    drawn = model == "timm:test_resnet"
    sizes = {"train": 8, "val": 3, "test": 4} if drawn else {"train": 24, "val": 8, "test": 6}
    folder = write_challenge(tmp_path / "ega_ms", sizes, ("train", "val", "test"))
    store = tmp_path / "runs"
    run = marsbench.run(**keys(store, root=str(folder), model=model, **{"trainer.max_epochs": 1}))
    names = names_of(Subject.SPECTRA)[: 2 if drawn else None]
    records = marsbench.run_evaluate(
        run.run_id, store=str(store), corruption=",".join(names), severity="5"
    )
    named = {r.data["evaluation"]["corruption"]: r for r in records}
    assert tuple(named) == names
    scores = {r.score for r in records}
    assert len(scores) == len(records)
    assert run.score not in scores
    if model == "kernel_logistic":
        row_gain = Store(store).predictions(named["row_gain"].run_id)
        source = open_source(TASK, root=folder)
        rows = source.rows("test")
        fitted = rebuild(run, store / run.run_id, TASK)
        spectra = DirectSpectra(TASK, source, rows)
        for i, sample_id in enumerate(rows.sample_ids):
            seed = sample_seed(0, sample_id, "row_gain")
            corrupted = corrupt_spectrum(spectra[i], "row_gain", 5, seed)
            row = features.engineered(corrupted, technique_of(TASK))[None]
            (stored,) = row_gain[row_gain["sample_id"] == sample_id]["scores"]
            np.testing.assert_allclose(stored, fitted.predict(row)[0], atol=1e-6)
    # The cached features and pictures are those of clean spectra still.
    (again,) = marsbench.run_evaluate(run.run_id, store=str(store), force=True)
    assert again.metrics["test"] == run.metrics["test"]


def test_words_are_checked_before_any_work(
    heads: tuple[list[RunRecord], Path], tmp_path: Path
) -> None:
    (run, *_), store = heads

    def refused(error: type[Exception], message: str, **choices: Any) -> None:
        with pytest.raises(error, match=message):
            marsbench.run_evaluate(str(store / run.run_id), store=str(tmp_path), **choices)

    refused(UnknownNameError, "Did you mean dust", corruption="dusty")
    refused(UnknownNameError, "corruption of images 'mass_shift'", corruption="mass_shift")
    refused(ConfigError, "severity=6", corruption="dust", severity=6)
    refused(ConfigError, "severity=3 is without an effect", severity=3)
    refused(ConfigError, "seed=1 is without an effect", seed=1)
    refused(ConfigError, "is empty", corruption=",")
    assert list(tmp_path.glob(f"**/{RECORD}")) == []


def test_summaries_are_means_and_relative_drops(
    heads: tuple[list[RunRecord], Path], tmp_path: Path
) -> None:
    runs, store = heads
    words = ["evaluate", *(str(store / run.run_id) for run in runs[:2]), "corruption=dust,gain"]
    words += ["severity=1,5", f"store={tmp_path}", "workers=0"]
    done = CliRunner().invoke(app, [*words, "--format", "json"])
    assert done.exit_code == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    summaries = [line for line in lines if line.get("summary") == "robustness"]
    scored = [line for line in lines if "summary" not in line]
    assert (len(scored), len(summaries)) == (8, 2)
    for run, summary in zip(runs, summaries, strict=False):
        mine = [line for line in scored if line["parent"] == run.run_id]
        assert summary["parent"] == run.run_id
        assert summary["clean"] == run.score
        assert run.score is not None
        mean = np.mean([line["score"] for line in mine])
        assert summary["mean"] == pytest.approx(mean)
        assert summary["relative_drop"] == pytest.approx((run.score - mean) / run.score)
        gain = summary["corruptions"]["gain"]
        of_gain = [line["score"] for line in mine if line["corruption"] == "gain"]
        assert list(gain["scores"].values()) == of_gain
        assert gain["mean"] == pytest.approx(np.mean(of_gain))
    shown = CliRunner().invoke(app, [*words, "--format", "table"]).stdout
    for run, summary in zip(runs, summaries, strict=False):
        assert f"{run.run_id} on toy: f1_weighted, {run.score:.4f} without corruption" in shown
        assert f"{summary['mean']:.4f}" in shown
        assert f"{100 * summary['relative_drop']:.1f} %" in shown
    listed = CliRunner().invoke(app, ["results", str(tmp_path), "--evaluations"]).stdout
    rows = [json.loads(line) for line in listed.splitlines()]
    assert {(row["corruption"], row["severity"]) for row in rows} == {
        (name, severity) for name in ("dust", "gain") for severity in (1, 5)
    }


def test_drop_of_a_loss_is_its_rise() -> None:
    scores = {"noise": {1: 0.3, 5: 0.5}, "dust": {1: 0.2}}
    summary = Robustness("run", "ega_ms", "log_loss", 0.2, scores)
    assert summary.common == (1,)
    assert summary.mean == pytest.approx((0.3 + 0.2) / 2)
    assert summary.drop(summary.mean_of("noise")) == pytest.approx(0.5)
    assert summary.drop(summary.mean_of("dust")) == pytest.approx(0.0)
    assert Robustness("run", "toy", "f1_weighted", None, scores).drop(0.1) is None
    unlike = Robustness("run", "ega_ms", "log_loss", 0.2, {"noise": {5: 0.5}, "dust": {1: 0.2}})
    assert unlike.mean is None
    assert unlike.drop(unlike.mean) is None
    assert gap("log_loss", 0.2, 0.5) == pytest.approx(0.3)
    assert gap("f1_weighted", 0.5, 0.2) == pytest.approx(0.3)
    assert gap("f1_weighted", None, 0.2) is None


def test_a_failure_of_all_is_one_message(
    heads: tuple[list[RunRecord], Path], tmp_path: Path
) -> None:
    runs, store = heads
    copy = tmp_path / "runs" / runs[0].run_id
    copy.mkdir(parents=True)
    (copy / RECORD).write_text((store / runs[0].run_id / RECORD).read_text())
    words = ["evaluate", str(copy), "corruption=all", f"store={tmp_path / 'out'}"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert done.stderr.count("were not saved") == 1


def test_suite_has_every_task_under_every_corruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = load_suite("robustness")
    (transfer,) = suite.evaluate
    assert set(transfer.task) == {task for grid in suite.grids for task in grid.axes["task"]}
    assert transfer.target == (None,)
    settings = Settings.from_dict(transfer.settings)
    assert (settings.corruption, settings.severity) == ("all", "1,3,5")
    # The same on two runs of demo data.
    demo: dict[str, Any] = {"source": "demo", "size": 0.02, "workers": 0}
    content = {
        "description": "Two runs.",
        "set": {**demo, "trainer.max_epochs": 1},
        "grids": [
            {
                "task": "change_cls_ctx",
                "model": "timm:test_resnet",
                "mode": "scratch",
                "seed": [0, 1],
            }
        ],
        "evaluate": {"task": "change_cls_ctx", "corruption": "dust,noise", "severity": [1, 5]},
    }
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(yaml.safe_dump(content))
    for seed in (0, 1):
        keys_of_run: dict[str, Any] = {
            "model": "timm:test_resnet",
            "mode": "scratch",
            "trainer.max_epochs": 1,
        }
        marsbench.run(task="change_cls_ctx", seed=seed, **keys_of_run, **demo)
    done = CliRunner().invoke(app, ["evaluate", "suite=mine.yaml", "--format", "json"])
    assert done.exit_code == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["corruption"] for line in lines if "run_id" in line] == 2 * [
        *("dust", "dust", "noise", "noise")
    ]
    assert sum(line.get("summary") == "robustness" for line in lines) == 2
