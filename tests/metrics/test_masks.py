import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.segmentation import MeanIoU

from marsbench.metrics.masks import confusion, score
from marsbench.tasks.kinds import Kind, metrics_of

Masks = list[npt.NDArray[np.uint8]]


def names(k: int, background: bool = True) -> list[str]:
    return ["background" if background and i == 0 else f"c{i}" for i in range(k)]


def scored(targets: Masks, predictions: Masks, classes: list[str]) -> dict[str, float]:
    matrices = [confusion(t, p, len(classes)) for t, p in zip(targets, predictions, strict=True)]
    return score(np.array(matrices).reshape(-1, len(classes), len(classes)), classes)


def expected(targets: Masks, predictions: Masks, classes: list[str]) -> dict[str, float]:
    """The same from scikit-learn's functions of pixels."""
    pairs = [(t[t != 255], p[t != 255]) for t, p in zip(targets, predictions, strict=True)]
    true = np.concatenate([t for t, _ in pairs])
    predicted = np.concatenate([p for _, p in pairs])
    if not true.size:
        return {}
    seen, there, said = np.union1d(true, predicted), np.unique(true), np.unique(predicted)
    result = {
        "miou": sk.jaccard_score(true, predicted, labels=seen, average="macro"),
        "iou_per_image": np.mean(
            [
                np.mean(
                    [
                        sk.jaccard_score(t == k, p == k)
                        for t, p in pairs
                        if (t == k).any() or (p == k).any()
                    ]
                )
                for k in seen
            ]
        ),
        "dice": sk.f1_score(true, predicted, labels=seen, average="macro"),
        "pixel_accuracy": sk.accuracy_score(true, predicted),
        "precision": sk.precision_score(true, predicted, labels=said, average="macro"),
        "recall": sk.recall_score(true, predicted, labels=there, average="macro"),
    }
    foreground = seen[seen != 0]
    if classes[0] == "background" and len(foreground):
        result["miou_foreground"] = sk.jaccard_score(
            true, predicted, labels=foreground, average="macro"
        )
    for metric, function, ids in (
        ("iou", sk.jaccard_score, seen),
        ("dice", sk.f1_score, seen),
        ("recall", sk.recall_score, there),
    ):
        values = function(true, predicted, labels=ids, average=None)
        result |= {f"{metric}/{classes[i]}": v for i, v in zip(ids, values, strict=True)}
    return result


def agree(found: dict[str, float], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name] == pytest.approx(float(value), abs=1e-12), name


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(2, 6),
    n=st.integers(1, 4),
    present=st.sets(st.integers(0, 5), min_size=1),
    predicted=st.sets(st.integers(0, 5), min_size=1),
    ignored=st.sampled_from([0.0, 0.3, 1.0]),
    background=st.booleans(),
)
def test_equals_sklearn(
    seed: int,
    k: int,
    n: int,
    present: set[int],
    predicted: set[int],
    ignored: float,
    background: bool,
) -> None:
    """Classes that only the targets or only the predictions hold, and ignored images, included."""
    rng = np.random.default_rng(seed)
    shapes = [tuple(rng.integers(1, 7, size=2)) for _ in range(n)]
    allowed = sorted({i % k for i in present})
    targets = [rng.choice(allowed, size=s).astype(np.uint8) for s in shapes]
    predictions = [
        rng.choice(sorted({i % k for i in predicted}), s).astype(np.uint8) for s in shapes
    ]
    for target in targets[: 1 if ignored == 1 and seed % 2 else n]:
        target[rng.random(target.shape) < ignored] = 255
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wanted = expected(targets, predictions, names(k, background))
        agree(scored(targets, predictions, names(k, background)), wanted)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5))
def test_properties(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    targets = [rng.integers(k, size=(5, 6)).astype(np.uint8) for _ in range(3)]
    predictions = [rng.integers(k, size=(5, 6)).astype(np.uint8) for _ in range(3)]
    classes = names(k, background=False)
    found = scored(targets, predictions, classes)
    assert all(0 <= value <= 1 for value in found.values())
    assert found["miou"] <= found["dice"] <= 2 * found["miou"] / (1 + found["miou"]) + 1e-12
    # The names go with the ids, and the order of the images does not count.
    order = rng.permutation(k)
    inverse = np.argsort(order)
    turned = scored(
        [inverse[t].astype(np.uint8) for t in targets][::-1],
        [inverse[p].astype(np.uint8) for p in predictions][::-1],
        [classes[i] for i in order],
    )
    assert turned == pytest.approx(found, abs=1e-12)
    # What lies under ignored pixels does not count, nor do copies of all images.
    for target in targets:
        target[0] = 255
    before = scored(targets, predictions, classes)
    for prediction in predictions:
        prediction[0] = rng.integers(k, size=6)
    after = scored(targets, predictions, classes)
    assert after == before
    assert scored(targets * 2, predictions * 2, classes) == pytest.approx(after, abs=1e-12)
    perfect = scored(targets, [np.where(t == 255, 0, t).astype(np.uint8) for t in targets], classes)
    assert set(perfect.values()) == {1.0}


def test_confusion_equals_sklearn() -> None:
    rng = np.random.default_rng(0)
    for dtype in ("uint8", "int64", "int16"):
        target = rng.integers(4, size=(9, 7)).astype(dtype)
        target[2] = 255
        predicted = rng.integers(4, size=(9, 7)).astype(np.uint8)
        found = confusion(target, predicted, 5)
        keep = target != 255
        wanted = sk.confusion_matrix(target[keep], predicted[keep], labels=range(5))
        assert found.dtype == np.int64
        assert np.array_equal(found, wanted)


def test_confusion_of_other_ignored_values_and_of_nothing() -> None:
    target = np.array([[-1, 0], [1, -1]])
    found = confusion(target, np.array([[9, 0], [0, 9]]), 2, ignore=-1)
    assert found.tolist() == [[1, 0], [1, 0]]
    empty = np.zeros((0, 4), np.uint8)
    assert confusion(empty, empty, 3).tolist() == [[0] * 3] * 3


@pytest.mark.parametrize(
    ("target", "predicted", "words"),
    [
        ([[0, 1]], [[0], [1]], "shape"),
        ([[0, 3]], [[0, 0]], "target holds class 3 of 3"),
        ([[0, 1]], [[0, 4]], "prediction holds class 4 of 3"),
        ([[0, 1]], [[0, -1]], "prediction holds class -1 of 3"),
    ],
)
def test_bad_masks(target: Any, predicted: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        confusion(np.array(target), np.array(predicted), 3)


def test_classes_have_to_fit() -> None:
    with pytest.raises(ValueError, match="3 classes"):
        score(np.zeros((4, 2, 2), np.int64), ["a", "b", "c"])
    with pytest.raises(ValueError, match="2 classes"):
        score(np.zeros((2, 2), np.int64), ["a", "b"])


def test_known_values() -> None:
    """Two images of two classes, by hand."""
    matrices = np.array([[[3, 1], [0, 0]], [[2, 0], [1, 1]]])
    found = score(matrices, ["background", "cone"])
    assert found["iou/background"] == pytest.approx(5 / 7)
    assert found["iou/cone"] == pytest.approx(1 / 3)
    assert found["miou"] == pytest.approx((5 / 7 + 1 / 3) / 2)
    assert found["miou_foreground"] == pytest.approx(1 / 3)
    # The cone is in the prediction of the first image, and in both of the second.
    assert found["iou_per_image"] == pytest.approx(((3 / 4 + 2 / 3) / 2 + (0 + 1 / 2) / 2) / 2)
    assert found["dice/cone"] == pytest.approx(2 / 4)
    assert found["recall/cone"] == pytest.approx(1 / 2)
    assert found["precision"] == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert found["pixel_accuracy"] == pytest.approx(6 / 8)


def test_iou_per_image_is_that_of_the_paper() -> None:
    """Of classes in some images only, in batches, as the code behind the paper's scores."""
    torch.manual_seed(0)
    targets, predictions = torch.randint(0, 3, (5, 6, 6)), torch.randint(0, 4, (5, 6, 6))
    targets[0], predictions[0] = 0, 1
    targets[1][targets[1] == 2] = 0
    theirs = MeanIoU(num_classes=6, per_class=True, input_format="index")
    for batch in (slice(0, 2), slice(2, 4), slice(4, 5)):
        theirs.update(predictions[batch], targets[batch])
    per_class = theirs.compute()
    ours = scored([t.numpy() for t in targets], [p.numpy() for p in predictions], names(6))
    assert ours["iou_per_image"] == pytest.approx(float(per_class[per_class >= 0].mean()), abs=1e-6)
    # Unlike the mean over images of the mean over the classes of each.
    other = np.mean(
        [
            scored([t], [p], names(6))["miou"]
            for t, p in zip(targets.numpy(), predictions.numpy(), strict=True)
        ]
    )
    assert abs(other - ours["iou_per_image"]) > 1e-3


def test_nothing_to_score() -> None:
    assert score(np.zeros((0, 2, 2), np.int64), ["background", "cone"]) == {}
    assert score(np.zeros((3, 2, 2), np.int64), ["background", "cone"]) == {}
    only = score(np.array([[[4, 0], [0, 0]]]), ["background", "cone"])
    assert "miou_foreground" not in only
    assert only["miou"] == 1
    # An ignored image beside one that counts.
    both = score(np.array([[[4, 0], [0, 0]], [[0, 0], [0, 0]]]), ["background", "cone"])
    assert both == only


def test_large_counts_are_exact() -> None:
    many = np.full((2, 2, 2), 2**40)
    assert score(many, ["a", "b"])["pixel_accuracy"] == 0.5


def test_the_kinds_metrics_are_there() -> None:
    found = score(np.array([[[3, 1], [1, 3]]]), ["background", "cone"])
    assert {*metrics_of(Kind.SEGMENTATION)} <= set(found)
