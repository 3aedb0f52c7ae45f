from typing import Any

import numpy as np
import pytest

from marsbench.leaderboard.predictions import Predictions
from marsbench.leaderboard.schema import (
    Author,
    Badge,
    Check,
    CheckedRun,
    Signature,
    Submission,
    SubmittedModel,
)
from marsbench.leaderboard.signature import equal_seeds, near_runs, sign
from marsbench.tasks.kinds import Kind

IDS = [f"image_{i}.png" for i in range(300)]
CLASSES = 5


def softmax(logits: Any) -> Any:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def boxes_of(scores: Any) -> dict[str, Any]:
    rows = [np.full((2, 4), float(i)) for i in range(len(scores))]
    return {"boxes": rows, "scores": [np.array([s, s / 2]) for s in scores]}


def columns(kind: Kind, rng: np.random.Generator, noise: float, seed: int) -> dict[str, Any]:
    """Predictions of a model, whose errors follow from a seed, with little noise."""
    own = np.random.default_rng(seed)
    logits = own.normal(0, 2, (len(IDS), CLASSES))
    scores = softmax(logits + rng.normal(0, noise, logits.shape))
    if kind is Kind.SEGMENTATION:
        counts = np.round(scores[:, :, None] * scores[:, None, :] * 10_000).astype(np.int64)
        return {"confusion": counts.reshape(len(IDS), -1)}
    return boxes_of(scores[:, 0]) if kind is Kind.DETECTION else {"scores": scores}


def signature(kind: Kind, noise: float = 0.0, seed: int = 0, rng: int = 0) -> Signature:
    values = columns(kind, np.random.default_rng(rng), noise, seed)
    return sign(kind, Predictions(IDS, values), CLASSES)


def run(signature: Signature, seed: int = 0, task: str = "domars16k") -> CheckedRun:
    return CheckedRun(
        run_id=f"{task}/vit/frozen/full/{seed}-{signature.digest[:10]}",
        task=task,
        seed=seed,
        split="test",
        badge=Badge.CONSISTENT,
        metrics={},
        num_samples=len(IDS),
        signature=signature,
    )


def check(*runs: CheckedRun) -> Check:
    submission = Submission(
        author=Author(name="A"),
        model=SubmittedModel(name="vit"),
        mode="frozen",
        protocol="cached",
        subset="full",
        tasks=(),
        seeds=(),
        created="",
        runs=(),
    )
    return Check(checked="", submission=submission, runs=runs)


KINDS = [Kind.BINARY, Kind.MULTICLASS, Kind.MULTILABEL, Kind.SEGMENTATION, Kind.DETECTION]


@pytest.mark.parametrize("kind", KINDS)
def test_near_equal_predictions(kind: Kind) -> None:
    mine = [run(signature(kind))]
    assert near_runs(mine, check(run(signature(kind)))) == [mine[0].run_id]
    almost = run(signature(kind, noise=0.005, rng=1))
    assert almost.signature != mine[0].signature
    assert near_runs(mine, check(run(signature(kind, seed=7)), almost)) == [mine[0].run_id]


@pytest.mark.parametrize("kind", KINDS)
def test_other_predictions(kind: Kind) -> None:
    mine = [run(signature(kind))]
    others = [run(signature(kind, seed=i)) for i in range(1, 9)]
    others += [run(signature(kind), task="frost_cls"), run(signature(kind, noise=0.5, rng=1))]
    assert near_runs(mine, check(*others)) == []


def test_good_models_are_sure_of_the_same_classes() -> None:
    """Scores of 0 and 1 say nothing; only equal predictions count."""
    targets = np.random.default_rng(0).integers(0, CLASSES, len(IDS))
    sure = np.eye(CLASSES)[targets]
    other = sure.copy()
    other[-1] = np.roll(other[-1], 1)
    mine, theirs = (
        run(sign(Kind.MULTICLASS, Predictions(IDS, {"scores": scores}), CLASSES))
        for scores in (sure, other)
    )
    assert near_runs([mine], check(theirs)) == []
    assert near_runs([mine], check(mine)) == [mine.run_id]


@pytest.mark.parametrize("sketch", ["", "!", "AAA=", "A" * 100_000])
def test_invalid_sketches_are_like_no_other(sketch: str) -> None:
    mine = run(signature(Kind.MULTICLASS))
    assert near_runs([mine], check(run(Signature(digest="", sketch=sketch)))) == []


def test_seeds_with_equal_predictions() -> None:
    same = signature(Kind.BINARY)
    runs = [run(same, 0), run(signature(Kind.BINARY, seed=1), 1), run(same, 42)]
    assert list(equal_seeds(runs)) == [("domars16k", "0, 42")]
    assert list(equal_seeds(runs[:2])) == []
