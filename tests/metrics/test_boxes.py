import contextlib
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from marsbench.metrics.boxes import Boxes, PredictedBoxes, score

CLASSES = ("a", "b", "c")
Floats = NDArray[np.float64]


def target(rows: list[tuple[float, ...]]) -> Boxes:
    """Rows of left, top, right, bottom, label."""
    values = np.array(rows, dtype=np.float64).reshape(-1, 5)
    return Boxes(values[:, :4], values[:, 4].astype(np.int64))


def found(rows: list[tuple[float, ...]]) -> PredictedBoxes:
    """Rows of left, top, right, bottom, label, score."""
    values = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return PredictedBoxes(values[:, :4], values[:, 4].astype(np.int64), values[:, 5])


def oracle_dataset(images: list[Any], classes: int) -> Any:
    from pycocotools.coco import COCO

    coco = COCO()
    annotations: list[dict[str, Any]] = []
    for image_id, (boxes, labels, scores) in enumerate(images):
        for k in range(len(labels)):
            x1, y1, x2, y2 = (float(v) for v in boxes[k])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(labels[k]),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "score": 0.0 if scores is None else float(scores[k]),
                }
            )
    coco.dataset = {
        "images": [{"id": i} for i in range(len(images))],
        "categories": [{"id": i} for i in range(classes)],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def oracle_eval(
    targets: list[Boxes], predictions: list[PredictedBoxes], classes: int, most: int | None = None
) -> Any:
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            oracle_dataset([(t.xyxy, t.labels, None) for t in targets], classes),
            oracle_dataset([(p.xyxy, p.labels, p.scores) for p in predictions], classes),
            "bbox",
        )
        if most is not None:
            evaluation.params.maxDets = [most]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def oracle(
    targets: list[Boxes], predictions: list[PredictedBoxes], classes: int
) -> dict[str, float]:
    evaluation = oracle_eval(targets, predictions, classes)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    stats = evaluation.stats
    names = {"map": 0, "map50": 1, "map75": 2, "map_small": 3, "map_medium": 4, "map_large": 5}
    values = {name: float(stats[i]) for name, i in (names | {"recall": 8}).items()}
    for i in range(classes):
        precision = evaluation.eval["precision"][:, :, i, 0, 2]
        values[f"ap/{CLASSES[i]}"] = (
            float(precision[precision > -1].mean()) if (precision > -1).any() else -1.0
        )
    return {name: value for name, value in values.items() if value > -1}


def oracle_objects(
    targets: list[Boxes], predictions: list[PredictedBoxes], classes: int, confidence: float
) -> dict[str, float]:
    kept = [p[p.scores >= confidence] for p in predictions]
    evaluation = oracle_eval(targets, kept, classes, most=10_000)
    images = [e for e in evaluation.evalImgs if e and e["aRng"] == [0, 1e10]]
    right = sum(int((e["dtMatches"][0] > 0).sum()) for e in images)
    number = sum(len(p.scores) for p in kept)
    objects = sum(len(t) for t in targets)
    values = {}
    if number:
        values["object_precision"] = right / number
    if objects:
        values["object_recall"] = right / objects
    if number or objects:
        values["object_f1"] = 2 * right / (number + objects)
    return values


def check(
    targets: list[Boxes],
    predictions: list[PredictedBoxes],
    classes: int = 3,
    confidence: float = 0.5,
) -> dict[str, float]:
    ours = score(targets, predictions, CLASSES[:classes], confidence=confidence)
    wanted = oracle(targets, predictions, classes)
    wanted |= oracle_objects(targets, predictions, classes, confidence)
    assert set(ours) == set(wanted)
    for name, value in wanted.items():
        assert ours[name] == pytest.approx(value, abs=1e-6), name
    return ours


def random_case(
    rng: np.random.Generator, images: int = 8, most: int = 12, levels: int | None = None
) -> tuple[list[Boxes], list[PredictedBoxes]]:
    """Targets of every size, and predictions that are shifted targets among false ones."""
    targets, predictions = [], []
    for _ in range(images):
        corner = rng.uniform(0, 400, (int(rng.integers(0, most)), 2))
        sizes = np.exp(rng.uniform(np.log(3), np.log(250), corner.shape))
        labels = rng.integers(0, 3, len(corner))
        targets.append(Boxes(np.concatenate([corner, corner + sizes], axis=1), labels))
        kept = rng.random(len(corner)) < 0.8
        near = corner[kept] + rng.normal(0, 0.08, (int(kept.sum()), 2)) * sizes[kept]
        near_sizes = sizes[kept] * np.exp(rng.normal(0, 0.1, near.shape))
        false = rng.uniform(0, 400, (int(rng.integers(0, most)), 2))
        false_sizes = rng.uniform(2, 200, false.shape)
        low, size = np.concatenate([near, false]), np.concatenate([near_sizes, false_sizes])
        guesses = np.where(
            rng.random(len(low)) < 0.85,
            np.concatenate([labels[kept], rng.integers(0, 3, len(false))]),
            rng.integers(0, 3, len(low)),
        )
        scores = rng.random(len(low))
        if levels is not None:
            scores = np.round(scores * levels) / levels
        predictions.append(
            PredictedBoxes(np.concatenate([low, low + size], axis=1), guesses, scores)
        )
    return targets, predictions


@pytest.mark.parametrize("seed", range(12))
def test_random_cases_equal_pycocotools(seed: int) -> None:
    targets, predictions = random_case(np.random.default_rng(seed))
    metrics = check(targets, predictions)
    assert 0 < metrics["map"] < 1


@pytest.mark.parametrize("seed", range(6))
def test_tied_scores_equal_pycocotools(seed: int) -> None:
    check(*random_case(np.random.default_rng(seed), levels=3))
    check(*random_case(np.random.default_rng(seed), levels=1), confidence=0.0)


def test_more_than_a_hundred_detections() -> None:
    rng = np.random.default_rng(0)
    targets, predictions = random_case(rng, images=3, most=400)
    assert max(len(p.scores) for p in predictions) > 300
    check(targets, predictions)
    one_class = [PredictedBoxes(p.xyxy, p.labels * 0, p.scores) for p in predictions]
    check([Boxes(t.xyxy, t.labels * 0) for t in targets], one_class, classes=1)
    # The hundred best count, wherever they stand among the others.
    backwards = [p[np.arange(len(p))[::-1]] for p in predictions]
    assert score(targets, predictions, CLASSES) == pytest.approx(score(targets, backwards, CLASSES))


SQUARE = (10.0, 10.0, 30.0, 30.0)

CASES: dict[str, tuple[list[Boxes], list[PredictedBoxes]]] = {
    "nothing": ([target([]), target([])], [found([]), found([])]),
    "no images": ([], []),
    "no targets": ([target([])], [found([(*SQUARE, 0, 0.9)])]),
    "no predictions": ([target([(*SQUARE, 0)])], [found([])]),
    "image without boxes": (
        [target([(*SQUARE, 0)]), target([])],
        [found([(*SQUARE, 0, 0.6)]), found([(*SQUARE, 0, 0.9)])],
    ),
    "absent class predicted": ([target([(*SQUARE, 0)])], [found([(*SQUARE, 1, 0.9)])]),
    "class not predicted": (
        [target([(*SQUARE, 0), (50, 50, 90, 90, 2)])],
        [found([(*SQUARE, 0, 0.9)])],
    ),
    "duplicate targets": (
        [target([(*SQUARE, 0), (*SQUARE, 0)])],
        [found([(*SQUARE, 0, 0.9)])],
    ),
    "duplicate predictions": (
        [target([(*SQUARE, 0)])],
        [found([(*SQUARE, 0, 0.9), (*SQUARE, 0, 0.9), (*SQUARE, 0, 0.8)])],
    ),
    "duplicates of both": (
        [target([(*SQUARE, 0), (*SQUARE, 0), (*SQUARE, 1)])],
        [found([(*SQUARE, 0, 0.5), (*SQUARE, 0, 0.5), (*SQUARE, 1, 0.5)])],
    ),
    "tied between images": (
        [target([(*SQUARE, 0)]), target([(*SQUARE, 0)]), target([(*SQUARE, 0)])],
        [
            found([(100, 100, 120, 120, 0, 0.7)]),
            found([(*SQUARE, 0, 0.7), (100, 100, 120, 120, 0, 0.7)]),
            found([(100, 100, 120, 120, 0, 0.7), (*SQUARE, 0, 0.7)]),
        ],
    ),
    "huge and tiny": (
        [target([(0, 0, 90_000, 90_000, 0), (5, 5, 5.001, 5.001, 0), (0, 0, 32, 32, 1)])],
        [found([(0, 0, 90_000, 80_000, 0, 0.9), (5, 5, 5.001, 5.001, 0, 0.8)])],
    ),
    "on the borders of sizes": (
        [target([(0, 0, 32, 32, 0), (50, 50, 146, 146, 0), (200, 200, 296, 296.5, 1)])],
        [
            found(
                [
                    (0, 0, 32, 32, 0, 0.9),
                    (50, 50, 146, 146, 0, 0.8),
                    (200, 200, 296, 296.5, 1, 0.1),
                ]
            )
        ],
    ),
    "boxes without area": (
        [target([(*SQUARE, 0)])],
        [found([(10, 10, 10, 30, 0, 0.9), (20, 20, 20, 20, 0, 0.8)])],
    ),
    "overlap of exactly a half": (
        [target([(0, 0, 20, 10, 0)])],
        [found([(0, 0, 10, 10, 0, 0.5)])],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_adversarial_cases_equal_pycocotools(name: str) -> None:
    targets, predictions = CASES[name]
    check(targets, predictions)


def test_what_is_undefined_is_left_out() -> None:
    assert score([], [], CLASSES) == {}
    nothing_there = score([target([])], [found([(*SQUARE, 0, 0.9)])], CLASSES)
    assert nothing_there == {"object_precision": 0.0, "object_f1": 0.0}
    nothing_found = score([target([(*SQUARE, 1)])], [found([])], CLASSES)
    assert nothing_found == {
        **dict.fromkeys(("map", "map50", "map75", "map_small", "recall", "ap/b"), 0.0),
        "object_recall": 0.0,
        "object_f1": 0.0,
    }


def test_figures_by_hand() -> None:
    targets = [target([(0, 0, 10, 10, 0), (50, 50, 60, 60, 0)]), target([])]
    predictions = [
        found([(0, 0, 10, 10, 0, 0.9), (0, 0, 10, 8, 0, 0.8), (50, 50, 60, 60, 0, 0.3)]),
        found([(0, 0, 10, 10, 0, 0.4)]),
    ]
    metrics = check(targets, predictions, classes=1)
    # 0.9 and 0.8 count; the second is a duplicate. One of two objects is found.
    assert metrics["object_precision"] == 0.5
    assert metrics["object_recall"] == 0.5
    assert metrics["object_f1"] == 0.5
    # Precision 1 up to recall 0.5 (51 of 101 steps), then 2 of 4.
    assert metrics["map50"] == pytest.approx((51 * 1 + 50 * 0.5) / 101)
    assert metrics["recall"] == 1.0
    lower = score(targets, predictions, CLASSES[:1], confidence=0.3)
    assert lower["object_recall"] == 1.0
    assert lower["object_precision"] == 0.5
    assert {k: v for k, v in lower.items() if "object" not in k} == {
        k: v for k, v in metrics.items() if "object" not in k
    }


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (found([(*SQUARE, 3, 0.9)]), "3 classes"),
        (found([(*SQUARE, -1, 0.9)]), "3 classes"),
        (found([(*SQUARE, 0, float("nan"))]), "NaN"),
        (found([(30, 10, 10, 30, 0, 0.9)]), "negative size"),
        (PredictedBoxes(np.zeros((1, 4)), np.zeros(1, dtype=np.int64), np.zeros(2)), "2 scores"),
        (PredictedBoxes(np.zeros((1, 4)), np.zeros(0, dtype=np.int64), np.zeros(1)), "0 labels"),
        (PredictedBoxes(np.zeros((1, 5)), np.zeros(1, dtype=np.int64), np.zeros(1)), "shape"),
    ],
)
def test_bad_input_is_refused(wrong: PredictedBoxes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score([target([(*SQUARE, 0)])], [wrong], CLASSES)
    with pytest.raises(ValueError, match="1 images have 2"):
        score([target([])], [found([]), found([])], CLASSES)
