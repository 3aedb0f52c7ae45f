"""Logistic regression on tables: L1-penalised on features, L2-penalised on a kernel."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from marsbench.models.tables.base import (
    Labels,
    Probabilities,
    Table,
    check_table,
    not_fitted,
    only_frequency,
    read_settings,
    sigmoid,
    write_settings,
)


class LogisticRegressionModel:
    """L1-penalised logistic regression per label, the benchmark of the challenges.

    Features are not scaled (the benchmark's raster is in [0, 1]); NaN counts as 0. For labels that
    are constant in the train split, the prediction is their smoothed frequency.

    Args:
        c: Inverse strength of the penalty; the benchmark uses 10.
        max_iter: Largest number of iterations of the solver.

    Source: DrivenData (2022), benchmark of "Mars Spectrometry: Detect Evidence for Past
    Habitability".
    """

    def __init__(self, c: float = 10.0, max_iter: int = 200) -> None:
        self.c = c
        self.max_iter = max_iter
        self.weights: Probabilities | None = None
        """Coefficients (K, F)."""
        self.intercepts: Probabilities | None = None
        """Intercepts (K,)."""

    def fit(self, x: Table, y: Labels, seed: int) -> None:
        """Fit to features (N, F) and labels 0 and 1 (N, K)."""
        check_table(x, y)
        x = np.nan_to_num(x).astype(np.float64)
        self.weights = np.zeros((y.shape[1], x.shape[1]))
        self.intercepts = np.zeros(y.shape[1])
        for k, target in enumerate(y.T):
            if (always := only_frequency(target)) is not None:
                self.intercepts[k] = np.log(always / (1 - always))
                continue
            fitted = _l1_regression(self.c, self.max_iter, seed).fit(x, target)
            self.weights[k] = fitted.coef_[0]
            self.intercepts[k] = fitted.intercept_[0]

    def predict(self, x: Table) -> Probabilities:
        """Predict the probability of each label, (N, K)."""
        if self.weights is None or self.intercepts is None:
            raise not_fitted()
        return sigmoid(np.nan_to_num(x).astype(np.float64) @ self.weights.T + self.intercepts)

    def save(self, path: Path) -> None:
        """Write coefficients and settings into a folder."""
        if self.weights is None or self.intercepts is None:
            raise not_fitted()
        write_settings(path, self, {"c": self.c, "max_iter": self.max_iter})
        np.savez(path / "coefficients.npz", weights=self.weights, intercepts=self.intercepts)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a model written by `save`."""
        settings = read_settings(path, cls)
        model = cls(**settings)
        with np.load(path / "coefficients.npz", allow_pickle=False) as stored:
            model.weights, model.intercepts = stored["weights"], stored["intercepts"]
        return model


def _l1_regression(c: float, max_iter: int, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    settings: dict[str, Any] = {"C": c, "max_iter": max_iter, "random_state": seed}
    if LogisticRegression().get_params()["penalty"] == "l2":  # before scikit-learn 1.8
        return LogisticRegression(penalty="l1", solver="liblinear", **settings)
    return LogisticRegression(l1_ratio=1.0, solver="liblinear", **settings)


class KernelLogisticModel:
    """L2-penalised logistic regression per label on a Gaussian kernel.

    The kernel uses distances to all train samples, in features standardised on them; its width is
    the median distance, so it needs no tuning. NaN counts as the mean of the feature. Fitting some
    hundreds of samples with ten thousand features takes a second.

    Args:
        c: Inverse strength of the penalty.
        clip: Standardised features are clipped to plus and minus this value.
        max_iter: Largest number of iterations of the solver.
    """

    def __init__(self, c: float = 100.0, clip: float = 3.0, max_iter: int = 1000) -> None:
        self.c = c
        self.clip = clip
        self.max_iter = max_iter
        self.arrays: dict[str, NDArray[Any]] = {}
        """Fitted arrays: mean and scale (F,), samples (N, F), weights (N, K), intercepts (K,) and
        the squared width of the kernel ()."""

    def fit(self, x: Table, y: Labels, seed: int) -> None:
        """Fit to features (N, F) and labels 0 and 1 (N, K); the seed is not used."""
        from sklearn.linear_model import LogisticRegression

        check_table(x, y)
        number = np.maximum((~np.isnan(x)).sum(axis=0), 1)
        mean = np.nansum(x, axis=0, dtype=np.float64) / number
        scale = np.sqrt(np.nansum((x - mean) ** 2, axis=0) / number)
        # An infinite scale sets features that hardly change to 0.
        scale[scale < 1e-6] = np.inf
        self.arrays = {"mean": mean, "scale": scale}
        samples = self.arrays["samples"] = self._standardised(x)
        distances = _squared_distances(samples, samples)
        self.arrays["width"] = np.asarray(np.median(distances) or 1.0)
        # In the eigenvectors of the kernel the dual problem is an ordinary regression.
        values, vectors = np.linalg.eigh(np.exp(-distances / self.arrays["width"]))
        kept = values > 1e-8 * values.max()
        values, vectors = values[kept], vectors[:, kept]
        weights, intercepts = np.zeros((len(x), y.shape[1])), np.zeros(y.shape[1])
        for k, target in enumerate(y.T):
            if (always := only_frequency(target)) is not None:
                intercepts[k] = np.log(always / (1 - always))
                continue
            model = LogisticRegression(C=self.c, max_iter=self.max_iter)
            model.fit(vectors * np.sqrt(values), target)
            weights[:, k] = vectors @ (model.coef_[0] / np.sqrt(values))
            intercepts[k] = model.intercept_[0]
        self.arrays |= {"weights": weights, "intercepts": intercepts}

    def predict(self, x: Table) -> Probabilities:
        """Predict the probability of each label, (N, K)."""
        if not self.arrays:
            raise not_fitted()
        distances = _squared_distances(self._standardised(x), self.arrays["samples"])
        kernel = np.exp(-distances / self.arrays["width"])
        return sigmoid(kernel @ self.arrays["weights"] + self.arrays["intercepts"])

    def _standardised(self, x: Table) -> Table:
        z: Table = np.nan_to_num((x - self.arrays["mean"]) / self.arrays["scale"]).astype(
            np.float32
        )
        return z.clip(-self.clip, self.clip)

    def save(self, path: Path) -> None:
        """Write arrays and settings into a folder."""
        if not self.arrays:
            raise not_fitted()
        settings = {"c": self.c, "clip": self.clip, "max_iter": self.max_iter}
        write_settings(path, self, settings)
        np.savez(path / "arrays.npz", allow_pickle=False, **self.arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a model written by `save`."""
        model = cls(**read_settings(path, cls))
        with np.load(path / "arrays.npz", allow_pickle=False) as stored:
            model.arrays = dict(stored)
        return model


def _squared_distances(a: Table, b: Table) -> Probabilities:
    """Squared Euclidean distances (M, N) of rows (M, F) to rows (N, F)."""
    of_a, of_b = ((rows.astype(np.float64) ** 2).sum(axis=1) for rows in (a, b))
    squares: Probabilities = of_a[:, None] + of_b - 2.0 * (a @ b.T)
    return np.maximum(squares, 0.0)
