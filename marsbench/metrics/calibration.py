"""Calibration of class probabilities: expected calibration error and Brier score.

A model is calibrated if of all samples given probability p a share p is right (Guo et al. 2017,
https://arxiv.org/abs/1706.04599). A sample of a single class counts by its highest probability and
whether that class is right. Of multilabel tasks every label counts by its own probability and
whether the label is present; means over the labels keep errors of opposite sign in two labels apart
(Nixon et al. 2019, https://arxiv.org/abs/1904.01685).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUM_BINS = 15
"""Number of bins, as in Guo et al. 2017; they have equal widths and include their upper end."""


class Bins(NamedTuple):
    """Sums over the samples in each bin of probability, for each label.

    Attributes:
        counts: Number of samples, (L, NUM_BINS); L is 1 for tasks of a single class per sample.
        probability: Sum of their probabilities.
        right: Number of samples whose predicted class is right, or with the label.
    """

    counts: Floats
    probability: Floats
    right: Floats

    @property
    def error(self) -> float:
        """Expected calibration error, mean over the labels; 0 without samples.

        The mean of |share right - mean probability| over the bins, weighted by their samples
        (Naeini et al. 2015, https://doi.org/10.1609/aaai.v29i1.9602).
        """
        gaps = np.abs(self.right - self.probability).sum(axis=1)
        return float((gaps / np.maximum(self.counts.sum(axis=1), 1)).mean())


def bins_of(targets: NDArray[np.generic], scores: Floats) -> Bins:
    """Sort samples into bins of probability.

    Args:
        targets: Class ids, (N,), or zeros and ones of multilabel tasks, (N, K).
        scores: Probabilities of the K classes, (N, K). A row of zeros, an answer of no class, is
            wrong with probability 0.
    """
    if targets.ndim == 1:
        probability = scores.max(axis=1, initial=0.0)[:, None]
        right = (scores.argmax(axis=1) == targets)[:, None] & (probability > 0)
    else:
        probability, right = scores, targets.astype(bool)
    labels = probability.shape[1]
    number = np.ceil(probability * NUM_BINS).astype(np.int64) - 1
    place = np.clip(number, 0, NUM_BINS - 1) + NUM_BINS * np.arange(labels)

    def summed(weights: Floats | None) -> Floats:
        flat = None if weights is None else weights.ravel()
        total = np.bincount(place.ravel(), flat, minlength=labels * NUM_BINS)
        return total.reshape(labels, NUM_BINS).astype(np.float64)

    return Bins(summed(None), summed(probability), summed(right.astype(np.float64)))


def ece(targets: NDArray[np.generic], scores: Floats, _: Sequence[str]) -> float:
    """Expected calibration error over `NUM_BINS` bins; arguments as in `bins_of`."""
    return bins_of(targets, scores).error


def brier(targets: NDArray[np.generic], scores: Floats, _: Sequence[str]) -> float:
    """Brier score: mean squared error of the probabilities; arguments as in `bins_of`.

    Of several classes the squares are summed, so that it is 0 to 2 (Brier 1950); of two classes
    and of labels only the probability of class 1 or of the label counts, so that it is 0 to 1, and
    labels are averaged. scikit-learn's ``brier_score_loss`` has the same convention.
    """
    num_classes = scores.shape[1]
    is_single = targets.ndim == 1
    wanted = targets[:, None] == np.arange(num_classes) if is_single else targets.astype(bool)
    # Not a dot product, whose rounding depends on the arrays' place in memory.
    mean = float(np.square(scores - wanted).sum()) / max(len(scores), 1)
    return mean if is_single and num_classes > 2 else mean / num_classes
