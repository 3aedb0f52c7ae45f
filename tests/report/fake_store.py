"""Stores full of plausible records, for tests of reports."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from marsbench.config.identity import run_id
from marsbench.config.schema import parse_subset
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS, Store

KINDS = {
    "frost_cls": ("binary", "f1_weighted", 0.93),
    "landmark_cls": ("multiclass", "f1_weighted", 0.82),
    "domars16k": ("multiclass", "f1_weighted", 0.88),
    "conequest_seg": ("segmentation", "miou", 0.74),
    "mmls": ("segmentation", "miou", 0.66),
    "crater_det": ("detection", "map", 0.41),
    "ega_ms": ("multilabel", "log_loss", 0.21),
}
CLASSES = {
    "frost_cls": ["non_frost", "frost"],
    "landmark_cls": ["other", "crater", "bright dune", "spider", "swiss cheese"],
    "domars16k": ["aeolian", "ridge", "impact", "slope", "smooth"],
    "conequest_seg": ["background", "cone"],
    "mmls": ["background", "landslide"],
}
CLASSIFIERS = ("vit_l_16", "swin_v2_b", "resnet101", "squeezenet1_1")
SEGMENTERS = ("unet", "deeplabv3plus", "segformer")
DETECTORS = ("faster_rcnn", "retinanet")
SPECTRAL = ("lightgbm", "cnn_1d")
MODES = ("scratch", "frozen", "finetune")
SEEDS = (0, 1, 10, 42, 123, 1000, 1234)
SHARES = ("partition_0.01", "partition_0.05", "partition_0.20", "partition_0.50")
SHOTS = ("few_shot_1", "few_shot_5", "few_shot_20")


@dataclass(frozen=True)
class Fake:
    """What a fake record is of."""

    task: str
    model: str
    mode: str = "frozen"
    subset: str = "full"
    seed: int = 0
    imbalance: str = "none"


def fake_record(fake: Fake, **fields: Any) -> RunRecord:
    """Make a record whose score follows from what it is of; fields go before what follows."""
    kind, metric, top = KINDS[fake.task]
    names = [*CLASSIFIERS, *SEGMENTERS, *DETECTORS, *SPECTRAL]
    rng = np.random.default_rng(
        [
            names.index(fake.model),
            MODES.index(fake.mode),
            fake.seed,
            len(fake.task),
            ord(fake.task[0]),
        ]
    )
    place = next(
        group.index(fake.model)
        for group in (CLASSIFIERS, SEGMENTERS, DETECTORS, SPECTRAL)
        if fake.model in group
    )
    part = parse_subset(fake.subset)
    lost = 0.05 * place + {"frozen": 0.0, "finetune": 0.04, "scratch": 0.13}[fake.mode]
    if part.fraction is not None:
        lost += -0.07 * np.log10(float(part.fraction))
    if part.shots is not None:
        lost += 0.3 - 0.12 * np.log10(part.shots)
    noise = rng.normal(0, 0.012 if fake.mode == "frozen" else 0.025)
    score = float(np.clip(top - (lost - noise) * (-0.5 if metric == "log_loss" else 1), 0.02, 0.99))
    choices: dict[str, Any] = {"kind": kind, "optim": {"lr": 1e-3}}
    if fake.imbalance != "none":
        choices["imbalance"] = fake.imbalance
    test = {metric: score, "accuracy": min(0.99, score + 0.01)}
    classes = CLASSES.get(fake.task, ["a", "b"])
    rare = 0.2 if fake.imbalance != "none" else 0.0
    for number, name in enumerate(classes):
        recall = score - 0.1 * number + rare * number / len(classes)
        test[f"recall/{name}"] = float(np.clip(recall + rng.normal(0, 0.02), 0, 1))
    base: dict[str, Any] = {
        "run_id": run_id(fake.task, fake.model, fake.mode, fake.subset, fake.seed, choices),
        "task": fake.task,
        "kind": kind,
        "model": fake.model,
        "mode": fake.mode,
        "subset": fake.subset,
        "seed": fake.seed,
        "protocol": "cached" if fake.mode == "frozen" and fake.model in CLASSIFIERS else "online",
        "headline": metric,
        "metrics": {"val": {metric: score, "loss": 0.4}, "test": {**test, "loss": 0.4}},
        "config": {"imbalance": fake.imbalance, "task": fake.task},
        "identity": choices,
        "data": {
            "source": "local",
            "revision": "abc123",
            "classes": classes,
            "num_train": 500,
            "num_test": 200,
            "train_counts": {c: 400 // (3**n) for n, c in enumerate(classes)},
        },
        "weights": None,
        "checkpoint": {"epoch": 3, "epochs_trained": 5, "val_loss": 0.4},
        "timing": {"data": 1.0, "train": float(30 * 3 ** (3 - place) * rng.uniform(0.8, 1.2))},
        "peak_memory": {"host": 1_000_000_000, "device": 0},
        "parameters": {"total": 10_000_000, "trained": 1000},
        "device": "cpu" if fake.seed % 2 else "NVIDIA H200",
        "environment": {"python": "3.11.9", "torch": "2.9.0", "numpy": "2.3.1"},
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
        "created": "2026-01-01T00:00:00+00:00",
    }
    return RunRecord(**{**base, **fields})


def fake_evaluation(parent: RunRecord, task: str, score: float, **facts: Any) -> RunRecord:
    """Make a record of the evaluation of a run on a task."""
    keys = ("corruption", "severity", "corruption_seed", "test_on", "temperature")
    choices = {"parent": parent.run_id, "task": task}
    choices |= {key: facts[key] for key in keys if key in facts}
    given = (task, parent.model, parent.mode, parent.subset, parent.seed)
    own = parent.scores[parent.headline]
    known = {"trained_on": parent.task, "in_domain": own, "gap": own - score, "ceiling": None}
    known |= {"ignored": {}, "parent_created": parent.created}
    return replace(
        parent,
        run_id=run_id(*given, choices),
        task=task,
        metrics={"test": {parent.headline: score}},
        identity=choices,
        data={**parent.data, "evaluation": {**known, **facts}},
        record_type="evaluation",
        parents=[parent.run_id],
    )


PAPER_METRICS = {"binary": "f1_positive", "segmentation": "iou_per_image"}


def paper_record(fake: Fake, score: float | None = None, **fields: Any) -> RunRecord:
    """Make a record like those of the paper's runs: a number by the paper's metric alone."""
    kind, headline, _ = KINDS[fake.task]
    metric = PAPER_METRICS.get(kind, headline)
    value = score if score is not None else (fake_record(fake).score or 0.0) - 0.1
    choices = {"kind": kind, "protocol": "upstream"}
    base: dict[str, Any] = {
        "run_id": run_id(fake.task, fake.model, fake.mode, fake.subset, fake.seed, choices),
        "protocol": "upstream",
        "headline": metric,
        "metrics": {"test": {metric: value}},
        "identity": choices,
        "data": {"source": "upstream", "num_train": None},
        "record_type": "imported",
    }
    return fake_record(fake, **{**base, **fields})


def write(store: Store, records: Iterable[RunRecord], predictions: bool = True) -> None:
    """Write records, and predictions where their kind has a confusion matrix."""
    for record in records:
        folder = store.folder(record.run_id)
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(record.to_json())
        if predictions and "classes" in record.data and record.task in CLASSES:
            _predictions(record).to_parquet(folder / PREDICTIONS, index=False)


def _predictions(record: RunRecord) -> pd.DataFrame:
    rng = np.random.default_rng(record.seed)
    count, width = 120, len(record.data["classes"])
    right: NDArray[np.bool_] = rng.random(count) < (record.score or 0)
    if record.kind == "segmentation":
        cells = rng.integers(5, 60, (count, width, width)) + 400 * np.eye(width, dtype=np.int64)
        columns: dict[str, Any] = {"confusion": list(cells.reshape(count, -1))}
    else:
        target = rng.integers(0, width, count)
        given = np.where(right, target, rng.integers(0, width, count))
        columns = {"target": target, "scores": list(np.eye(width, dtype=np.float32)[given])}
    ids = [f"image_{number}" for number in range(count)]
    return pd.DataFrame({"split": "test", "sample_id": ids, **columns})


def everything(seeds: Sequence[int] = SEEDS) -> list[RunRecord]:
    """Several tasks of every category, models, modes, subsets and ways with unequal classes."""
    fakes: list[Fake] = []
    for models, tasks in (
        (CLASSIFIERS, ("frost_cls", "landmark_cls", "domars16k")),
        (SEGMENTERS, ("conequest_seg", "mmls")),
        (DETECTORS, ("crater_det",)),
        (SPECTRAL, ("ega_ms",)),
    ):
        fakes += [Fake(*f) for f in itertools.product(tasks, models, MODES, ["full"], seeds)]
    fakes += [
        Fake(*f)
        for f in itertools.product(
            ("frost_cls", "landmark_cls"), CLASSIFIERS, ["frozen"], (*SHARES, *SHOTS), seeds[:3]
        )
    ]
    fakes += [
        Fake("landmark_cls", "vit_l_16", "frozen", "full", seed, way)
        for way in ("undersample", "oversample", "loss_weight")
        for seed in seeds[:3]
    ]
    # One model lacks a task, and one cell a seed.
    gone = {("domars16k", "squeezenet1_1")}
    fakes = [f for f in fakes if (f.task, f.model) not in gone]
    fakes.remove(Fake("frost_cls", "resnet101", "frozen", "full", seeds[-1]))
    return [fake_record(fake) for fake in fakes]


def make_store(folder: Path, records: Iterable[RunRecord]) -> Store:
    """Write records into a new store."""
    store = Store(folder)
    write(store, records)
    return store
