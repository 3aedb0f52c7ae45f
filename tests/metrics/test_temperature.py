"""Temperature scaling against a grid of temperatures and scikit-learn's log loss."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import log_loss as sk_log_loss

from marsbench.metrics.calibration import ece
from marsbench.metrics.temperature import HIGHEST, fit_temperature, log_loss, scaled

Array = npt.NDArray[Any]


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def sampled(sharper: float, k: int = 4, n: int = 4000) -> tuple[Array, Array, Array]:
    """Targets drawn from calibrated probabilities; logits of these, made sharper."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n, k)) * 1.5
    targets = np.array([rng.choice(k, p=p) for p in softmax(logits)])
    return targets, sharper * logits, logits


@pytest.mark.parametrize("sharper", [0.5, 1.0, 3.0])
def test_the_temperature_of_sharper_logits_is_found(sharper: float) -> None:
    targets, logits, _ = sampled(sharper)
    scores = softmax(logits).astype(np.float32).astype(np.float64)
    found = fit_temperature(targets, scores)
    assert found == pytest.approx(sharper, rel=0.06)
    losses = {t: sk_log_loss(targets, softmax(logits / t)) for t in np.arange(0.1, 6, 0.01)}
    assert found == pytest.approx(min(losses, key=lambda t: losses[t]), abs=0.011)
    after = scaled(scores, found, is_multilabel=False)
    np.testing.assert_allclose(after, softmax(logits / found), atol=1e-5)
    assert log_loss(targets, after) == pytest.approx(
        sk_log_loss(targets, softmax(logits / found)), abs=1e-5
    )
    assert (after.argmax(1) == scores.argmax(1)).all()
    if sharper > 1:
        assert ece(targets, after, ()) < 0.3 * ece(targets, scores, ())


def test_labels_that_do_not_exclude_each_other() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(3000, 3)) * 2
    targets = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.uint8)
    scores = 1 / (1 + np.exp(-2.5 * logits))
    found = fit_temperature(targets, scores)
    losses = {}
    for t in np.arange(0.1, 6, 0.01):
        p = 1 / (1 + np.exp(-2.5 * logits / t))
        losses[t] = np.mean([sk_log_loss(targets[:, j], p[:, j]) for j in range(3)])
    assert found == pytest.approx(min(losses, key=lambda t: losses[t]), abs=0.011)
    after = scaled(scores, found, is_multilabel=True)
    # Logits above 17 are lost in float32 probabilities of 1.
    np.testing.assert_allclose(after, 1 / (1 + np.exp(-2.5 * logits / found)), atol=1e-3)
    assert ((after >= 0.5) == (scores >= 0.5)).all()


def test_probabilities_of_zero_and_one() -> None:
    scores = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    for is_multilabel in (False, True):
        after = scaled(scores, 4.0, is_multilabel=is_multilabel)
        assert np.isfinite(after).all()
        assert ((after >= 0) & (after <= 1)).all()
    # Predictions without any relation to the targets: as little sure as the range allows.
    targets = np.array([0, 1] * 500)
    sure = np.tile([[0.999, 0.001], [0.999, 0.001], [0.001, 0.999], [0.001, 0.999]], (250, 1))
    assert fit_temperature(targets, sure) == pytest.approx(HIGHEST, rel=1e-3)
