"""Results repositories full of plausible checked submissions."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from marsbench.leaderboard.board.results import check_file
from marsbench.leaderboard.board.tasksets import Choice, categories, metric_of
from marsbench.leaderboard.schema import (
    SUBMISSION,
    Author,
    Badge,
    Check,
    CheckedRun,
    Submission,
    SubmittedModel,
    SubmittedRun,
)
from marsbench.models.pretraining import Pretraining

SEEDS = (0, 1, 10, 42, 123, 1000, 1234)

Scores = Mapping[tuple[str, int], Mapping[str, float]]
"""Metrics by task and seed."""


def some_scores(
    rng: np.random.Generator, tasks: Iterable[str], seeds: Iterable[int] = SEEDS
) -> Scores:
    """Scores around a level of the model, another for each task and metric."""
    level = rng.uniform(0.3, 0.9)
    scores: dict[tuple[str, int], dict[str, float]] = {}
    for task in tasks:
        metrics = sorted({metric_of(task, choice) for choice in Choice})
        shift = rng.normal(0, 0.05, len(metrics))
        for seed in seeds:
            values = np.clip(level + shift + rng.normal(0, 0.01, len(metrics)), 0.01, 0.99)
            scores[task, seed] = dict(zip(metrics, map(float, values), strict=True))
    return scores


def put(folder: Path, name: str, scores: Scores, **fields: Any) -> Check:
    """Write a checked submission into a results repository.

    Args:
        folder: The repository.
        name: Name of the submission.
        scores: Its scores.
        fields: Other fields of submission, model and check; of its runs `train_seconds`, and
            `recorded`, the parameters in their records.
    """
    model: dict[str, Any] = {
        "name": name,
        "parameters": 25_000_000,
        "pretraining": Pretraining(data="ImageNet-1k", overlaps=()),
    }
    model |= {key: fields.pop(key) for key in SubmittedModel.__annotations__ if key in fields}
    badge = fields.pop("badge", Badge.CONSISTENT)
    recorded = {key: fields.pop(key) for key in ("recorded", "train_seconds") if key in fields}
    findings = fields.pop("findings", ())
    mode, subset = fields.get("mode", "frozen"), fields.get("subset", "full")
    runs = [
        CheckedRun(
            run_id=f"{task}/model/{mode}/{subset}/{seed}-0123456789",
            task=task,
            seed=seed,
            split="test",
            badge=badge,
            metrics=metrics,
            num_samples=10,
            parameters=recorded.get("recorded"),
            train_seconds=recorded.get("train_seconds"),
        )
        for (task, seed), metrics in scores.items()
    ]
    values: dict[str, Any] = {
        "author": Author(name="A. Author"),
        "model": SubmittedModel(**model),
        "mode": "frozen",
        "protocol": "cached",
        "subset": "full",
        "tasks": tuple(sorted({task for task, _ in scores})),
        "seeds": tuple(sorted({seed for _, seed in scores})),
        "created": "2026-11-02T00:00:00+00:00",
        "runs": tuple(SubmittedRun(run_id=run.run_id, files={}) for run in runs),
        **fields,
    }
    submission = Submission(**values)
    text = submission.to_json()
    check = Check(
        checked="2026-11-03T00:00:00+00:00",
        digest=hashlib.sha256(text.encode()).hexdigest(),
        submission=submission,
        runs=tuple(runs),
        findings=findings,
    )
    target = folder / "submissions" / name
    target.mkdir(parents=True)
    (target / SUBMISSION).write_text(text)
    file = check_file(folder, name)
    file.parent.mkdir(exist_ok=True)
    file.write_text(check.to_json())
    return check


def many(folder: Path, count: int, seeds: Iterable[int] = SEEDS) -> None:
    """Write submissions of classifiers, segmenters and detectors; a tenth lacks a task."""
    rng = np.random.default_rng(0)
    chosen = [categories()[name].tasks for name in ("classification", "segmentation", "detection")]
    data = ("ImageNet-1k", "ImageNet-21k", "LAION-2B", "unknown", "Mars images")
    for number in range(count):
        tasks = chosen[number % 10 // 4]
        tasks = tasks[1:] if number % 10 == 5 else tasks
        put(
            folder,
            f"model-{number:04d}",
            some_scores(rng, tasks, seeds),
            parameters=int(10 ** rng.uniform(6, 9)),
            train_seconds=float(10 ** rng.uniform(1, 4)),
            mode=("frozen", "finetune", "scratch")[number % 3],
            pretraining=Pretraining(
                data=data[number % 5],
                overlaps=(None, (), ("landmark_cls",))[number % 3],
            ),
            author=Author(name=f"Group {number % 40}"),
        )
