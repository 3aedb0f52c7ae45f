"""Submissions of fabricated predictions on generated data, for tests of the validator."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from marsbench.config.identity import run_id
from marsbench.config.schema import Subset
from marsbench.data import decode
from marsbench.data.folds import OUT_OF_FOLD, assign_folds, folds_digest, strata_of
from marsbench.data.rows import Source
from marsbench.data.sources.local import LocalSource
from marsbench.data.subsets import select
from marsbench.leaderboard.labels import SPLITS
from marsbench.leaderboard.schema import (
    RUNS,
    SUBMISSION,
    Author,
    Data,
    Submission,
    SubmittedModel,
    SubmittedRun,
)
from marsbench.metrics import scoring
from marsbench.metrics.boxes import PredictedBoxes
from marsbench.metrics.masks import confusion
from marsbench.results.record import RunRecord
from marsbench.results.store import PREDICTIONS, RECORD, map_path
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TaskSpec
from tests.fakes import write_folder
from tests.report.fake_store import Fake, fake_record

SEEDS = (0, 1, 2, 3, 4, 5, 6)
FOLDS = 3
SIZES = {"train": 40, "val": 9, "test": 24}

Columns = dict[str, Any]


def write_data(spec: TaskSpec, root: Path) -> LocalSource:
    """Write a task's folder, and open it."""
    return LocalSource(spec, write_folder(spec, root, SIZES))


def submit(
    root: Path,
    out: Path,
    tasks: Sequence[str] = ("landmark_cls",),
    seeds: Sequence[int] = SEEDS,
) -> Path:
    """Write data of tasks below `root`, and a valid submission of predictions on them."""
    sources = [write_data(TASKS[name], root) for name in tasks]
    return collect(sources, out, seeds)


def collect(sources: Sequence[Source], out: Path, seeds: Sequence[int] = SEEDS) -> Path:
    """Write a valid submission of predictions on opened data."""
    runs = [_write_run(source, out / RUNS, seed) for source in sources for seed in seeds]
    is_demo = any(source.name == "demo" for source in sources)
    model, mode = "resnet101", "frozen"
    submission = Submission(
        author=Author(name="Ada", organisation="Observatory", link="https://example.org/ada"),
        model=SubmittedModel(name=model),
        mode=mode,
        protocol="cached",
        subset="full",
        data=Data.DEMO if is_demo else Data.REAL,
        tasks=tuple(sorted({run.split("/")[0] for run in runs})),
        seeds=tuple(seeds),
        partial=len(seeds) < 7,
        created="2026-01-01T00:00:00+00:00",
        runs=tuple(SubmittedRun(run_id=run, files={}) for run in runs),
    )
    (out / SUBMISSION).write_text(submission.to_json())
    return seal(out)


def seal(folder: Path, change: Callable[[Any], object] = lambda content: None) -> Path:
    """List the files of all runs with their digests, and apply a change to the submission."""
    path = folder / SUBMISSION
    content = json.loads(path.read_text())
    for run in content["runs"]:
        place = folder / RUNS / run["run_id"]
        files = sorted(p for p in place.rglob("*") if p.is_file())
        run["files"] = {
            p.relative_to(place).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
        }
    change(content)
    path.write_text(json.dumps(content))
    return folder


def run_folders(folder: Path) -> list[Path]:
    """Folders of the runs, in the order of the submission."""
    content = json.loads((folder / SUBMISSION).read_text())
    return [folder / RUNS / run["run_id"] for run in content["runs"]]


def change_record(run: Path, change: Callable[[Any], object]) -> None:
    """Change the JSON of a record."""
    content = json.loads((run / RECORD).read_text())
    change(content)
    (run / RECORD).write_text(json.dumps(content))


def change_predictions(run: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change the table of predictions."""
    frame = change(pd.read_parquet(run / PREDICTIONS))
    frame.to_parquet(run / PREDICTIONS, index=False)


def rename_run(submission: Path, run: Path, change: Callable[[RunRecord], RunRecord]) -> Path:
    """Change a record, and give the run the id and folder that follow from it."""
    record = change(RunRecord.from_json((run / RECORD).read_text(), str(run)))
    names = record.task, record.model, record.mode, record.subset, record.seed
    named = run_id(*names, record.identity)
    record = dataclasses.replace(record, run_id=named)
    old = run.relative_to(submission / RUNS).as_posix()
    place = submission / RUNS / named
    place.parent.mkdir(parents=True, exist_ok=True)
    run.rename(place)
    (place / RECORD).write_text(record.to_json())
    path = submission / SUBMISSION
    path.write_text(path.read_text().replace(f'"{old}"', f'"{named}"'))
    return place


def _write_run(source: Any, store: Path, seed: int) -> str:
    spec = source.spec
    rng = np.random.default_rng(seed)
    scored = "test" if "test" in source.splits else OUT_OF_FOLD
    ids = source.rows(SPLITS[scored]).sample_ids
    choices = {"kind": str(spec.kind), "data_revision": source.revision, "optim": {"lr": 1e-3}}
    choices["subset_digest"] = select(source, Subset()).digest
    data: dict[str, Any] = {"subset_digest": choices["subset_digest"]}
    if scored == OUT_OF_FOLD:
        choices["folds"] = FOLDS
        data["folds_digest"] = fold_digest(source)
    named = run_id(spec.name, "resnet101", "frozen", "full", seed, choices)
    folder = store / named
    folder.mkdir(parents=True)
    columns = COLUMNS[spec.kind](source, rng, folder)
    values = scoring.score(spec.kind, columns, source.class_names) | {"loss": 0.5}
    record = fake_record(
        Fake("landmark_cls", "resnet101", seed=seed),
        run_id=named,
        task=spec.name,
        kind=str(spec.kind),
        headline=spec.headline_metric,
        protocol="cached",
        metrics={scored: values},
        identity=choices,
        data={
            "source": str(source.name),
            "revision": source.revision,
            "classes": list(source.class_names),
            "task": spec.reading,
            "scored_split": scored,
            **data,
        },
    )
    (folder / RECORD).write_text(record.to_json())
    frame = pd.DataFrame({"split": scored, "sample_id": ids, **columns})
    frame.to_parquet(folder / PREDICTIONS, index=False)
    return named


def fold_digest(source: Source) -> str:
    """Digest of the folds of the train split."""
    rows = source.rows("train")
    fold_of = assign_folds(strata_of(rows.targets, rows.groups), FOLDS)
    ids = np.array(rows.sample_ids)
    return folds_digest(ids[fold_of == k] for k in range(FOLDS))


def _single(source: Any, rng: np.random.Generator, _: Path) -> Columns:
    targets = source.rows("test").targets
    logits = rng.normal(size=(len(targets), len(source.class_names)))
    logits[np.arange(len(targets)), targets] += 1
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return {"target": targets, "scores": list(scores.astype(np.float32))}


def _multi(source: Any, rng: np.random.Generator, _: Path) -> Columns:
    (split,) = set(source.splits) & {"test"} or {"train"}
    rows = source.rows(split)
    targets = rows.targets
    scores = np.clip(targets * 0.4 + rng.uniform(0, 0.6, targets.shape), 0, 1)
    columns = {"target": list(targets), "scores": list(scores.astype(np.float32))}
    return columns if rows.groups is None else columns | {"instrument": list(rows.groups)}


def _maps(source: Any, rng: np.random.Generator, folder: Path) -> Columns:
    rows, num_classes = source.rows("test"), len(source.class_names)
    counts = []
    for i, sample_id in enumerate(rows.sample_ids):
        mask = decode.mask(source.read("test", i), num_classes)
        flipped = rng.random(mask.shape) < 0.2
        predicted = np.where(flipped | (mask == 255), rng.integers(num_classes), mask)
        path = map_path(folder, sample_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(predicted.astype(np.uint8)).save(path)
        counts.append(confusion(mask, predicted, num_classes).reshape(-1))
    return {"confusion": counts}


def _boxes(source: Any, rng: np.random.Generator, _: Path) -> Columns:
    truth = [source.read("test", i).boxes for i in range(len(source.rows("test")))]
    targets = [boxes for boxes in truth if boxes is not None]
    assert len(targets) == len(truth)
    predicted = [
        PredictedBoxes(boxes.xyxy + rng.normal(0, 0.5), boxes.labels, rng.random(len(boxes)))
        for boxes in targets
    ]
    return {
        "target_boxes": [boxes.xyxy.tolist() for boxes in targets],
        "target_labels": [boxes.labels.tolist() for boxes in targets],
        "boxes": [boxes.xyxy.tolist() for boxes in predicted],
        "scores": [boxes.scores.tolist() for boxes in predicted],
        "labels": [boxes.labels.tolist() for boxes in predicted],
    }


COLUMNS: dict[Kind, Callable[[Any, np.random.Generator, Path], Columns]] = {
    Kind.BINARY: _single,
    Kind.MULTICLASS: _single,
    Kind.MULTILABEL: _multi,
    Kind.SEGMENTATION: _maps,
    Kind.DETECTION: _boxes,
}
