"""Boosted trees on tables: LightGBM, and a second stage with the predictions of all labels.

Both libraries are optional (`pip install marsbench[boosting]`) and imported only when used.
"""

import importlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from marsbench.base.environment import usable_threads
from marsbench.base.errors import NotAvailableError
from marsbench.models.tables.base import (
    Labels,
    Probabilities,
    Table,
    check_table,
    log_odds,
    not_fitted,
    only_frequency,
    read_settings,
    sigmoid,
    write_settings,
)
from marsbench.models.tables.linear import KernelLogisticModel


@dataclass(frozen=True)
class TreeSettings:
    """Settings of LightGBM for some hundreds of samples with many thousand features.

    Attributes:
        trees: Trees per label and member. Fixed, so that no choice depends on scored samples.
        members: Boosters per label with different seeds, whose probabilities are averaged.
        learning_rate: Factor of each tree's correction.
        num_leaves: Largest number of leaves of a tree.
        min_data_in_leaf: Smallest number of samples in a leaf.
        feature_fraction: Share of the features for each tree.
        bagging_fraction: Share of the samples for each tree.
        lambda_l2: L2 penalty on the values of leaves.
        extra_trees: Whether split points are drawn at random instead of searched.
        max_bin: Largest number of bins of a feature.
    """

    trees: int = 250
    members: int = 3
    learning_rate: float = 0.05
    num_leaves: int = 8
    min_data_in_leaf: int = 5
    feature_fraction: float = 0.03
    bagging_fraction: float = 0.8
    lambda_l2: float = 1.0
    extra_trees: bool = True
    max_bin: int = 63

    def parameters(self, seed: int, threads: int) -> dict[str, Any]:
        """Convert to LightGBM's parameters."""
        own = asdict(self)
        del own["trees"], own["members"]
        return own | {
            "objective": "binary",
            "bagging_freq": 1,
            "seed": seed,
            "num_threads": threads,
            # Deterministic only if the way of building histograms is fixed.
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
        }


class LightGBMModel:
    """Boosted trees with `members` boosters per label; NaN is a separate value.

    Args:
        settings: Settings of the trees.
        threads: Threads of one fit; all usable cores by default.
    """

    def __init__(self, settings: TreeSettings | None = None, threads: int | None = None) -> None:
        self.settings = settings or TreeSettings()
        self.threads = threads or usable_threads()
        self.features = 0
        self.constants: list[float | None] = []
        """Frequency of each label that is constant in the train split, else None."""
        self.boosters: list[list[Any]] = []
        """Boosters of each label; none for constant labels."""

    def fit(self, x: Table, y: Labels, seed: int) -> None:
        """Fit to features (N, F) and labels 0 and 1 (N, K)."""
        lightgbm = _library("lightgbm")
        check_table(x, y)
        seeds = np.random.default_rng(seed).integers(2**31, size=self.settings.members)
        parameters = [self.settings.parameters(int(s), self.threads) for s in seeds]
        # The labels share a data set, so that its many thousand features are binned once.
        data = lightgbm.Dataset(
            x, label=np.zeros(len(x)), params=parameters[0], free_raw_data=False
        ).construct()
        self.features = x.shape[1]
        self.constants = [only_frequency(target) for target in y.T]
        self.boosters = []
        for target, constant in zip(y.T, self.constants, strict=True):
            data.set_label(target.astype(np.float32))
            members = parameters if constant is None else []
            self.boosters.append(
                [lightgbm.train(p, data, num_boost_round=self.settings.trees) for p in members]
            )

    def predict(self, x: Table) -> Probabilities:
        """Predict the probability of each label, (N, K)."""
        if not self.constants:
            raise not_fitted()
        columns = [
            np.full(len(x), constant)
            if constant is not None
            else np.mean([m.predict(x, num_threads=self.threads) for m in members], axis=0)
            for constant, members in zip(self.constants, self.boosters, strict=True)
        ]
        return np.stack(columns, axis=1).astype(np.float64)

    def importance(self) -> NDArray[np.float64]:
        """Gain of each feature, (F,): normalised per label and summed over labels."""
        if not self.constants:
            raise not_fitted()
        total = np.zeros(self.features)
        for members in self.boosters:
            gain = np.sum(
                [np.zeros_like(total), *(m.feature_importance("gain") for m in members)], axis=0
            )
            total += gain / max(gain.sum(), 1e-12)
        return total

    def save(self, path: Path) -> None:
        """Write the boosters, as LightGBM's text, and the settings into a folder."""
        if not self.constants:
            raise not_fitted()
        write_settings(
            path,
            self,
            {
                "trees": asdict(self.settings),
                "constants": self.constants,
                "features": self.features,
            },
        )
        for k, members in enumerate(self.boosters):
            for m, booster in enumerate(members):
                booster.save_model(str(path / f"label{k}_{m}.txt"))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a model written by `save`."""
        settings = read_settings(path, cls)
        lightgbm = _library("lightgbm")
        model = cls(TreeSettings(**settings["trees"]))
        model.constants, model.features = settings["constants"], settings["features"]
        model.boosters = [
            [
                lightgbm.Booster(model_file=str(path / f"label{k}_{m}.txt"))
                for m in range(model.settings.members if constant is None else 0)
            ]
            for k, constant in enumerate(model.constants)
        ]
        return model


@dataclass(frozen=True)
class StackSettings:
    """Settings of the second stage, CatBoost on the predictions of the first stage.

    Attributes:
        folds: Number of folds for out-of-fold predictions of the first stage.
        iterations: Number of trees.
        learning_rate: Factor of each tree's correction.
        depth: Depth of the (symmetric) trees.
        l2_leaf_reg: L2 penalty on the values of leaves.
        rsm: Share of the features for each split.
        top_features: Number of features with the largest gain that the second stage uses too.
    """

    folds: int = 5
    iterations: int = 600
    learning_rate: float = 0.03
    depth: int = 4
    l2_leaf_reg: float = 5.0
    rsm: float = 0.3
    top_features: int = 50


class BoostedStackModel:
    """Two stages, as in the challenge's third place: labels inform each other.

    The first stage is `LightGBMModel` and `KernelLogisticModel`, whose errors differ. It predicts
    the train split out of fold. The second stage has a row per sample and label: the label as
    one-hot, the log odds of all labels, and the features with the largest gain. For new samples
    the first stage is fitted to the whole train split, which predicts better than the models of
    the folds.

    Args:
        first: Settings of the first stage's trees; the models of the folds have a single member.
        second: Settings of the second stage.
        threads: Threads of one fit; all usable cores by default.

    Source: N. K. Mishra in J. Qi and I. Shah (2022), "Meet the winners of the Mars Spectrometry
    Challenge", DrivenData; the kernel is our addition.
    """

    def __init__(
        self,
        first: TreeSettings | None = None,
        second: StackSettings | None = None,
        threads: int | None = None,
    ) -> None:
        self.first = first or TreeSettings()
        self.second = second or StackSettings()
        self.threads = threads or usable_threads()
        self.stage: tuple[LightGBMModel, KernelLogisticModel] | None = None
        """First stage, fitted to the whole train split."""
        self.top: list[int] = []
        """Indices of the features of the second stage."""
        self.judge: Any = None
        """Second stage, a CatBoost classifier; None if all labels are constant."""

    def fit(self, x: Table, y: Labels, seed: int) -> None:
        """Fit to features (N, F) and labels 0 and 1 (N, K)."""
        catboost = _library("catboost")
        check_table(x, y)
        rng = np.random.default_rng(seed)
        folds = min(self.second.folds, len(x))
        fold = stratified_folds(y, folds, rng)
        seen = np.zeros((2, *y.shape))
        single = replace(self.first, members=1)
        for k in range(folds):
            others = fold != k
            pair = self._fit_first(single, x[others], y[others], rng)
            seen[:, ~others] = _odds(pair, x[~others])
        self.stage = self._fit_first(self.first, x, y, rng)
        order = np.argsort(-self.stage[0].importance(), kind="stable")
        self.top = sorted(int(i) for i in order[: self.second.top_features])
        self.judge = None
        if only_frequency(y.ravel()) is None:
            self.judge = catboost.CatBoostClassifier(
                iterations=self.second.iterations,
                learning_rate=self.second.learning_rate,
                depth=self.second.depth,
                l2_leaf_reg=self.second.l2_leaf_reg,
                rsm=self.second.rsm,
                random_seed=int(rng.integers(2**31)),
                thread_count=self.threads,
                allow_writing_files=False,
                verbose=False,
            ).fit(self._melt(x, seen), y.ravel())

    def predict(self, x: Table) -> Probabilities:
        """Predict the probability of each label, (N, K)."""
        if self.stage is None:
            raise not_fitted()
        seen = _odds(self.stage, x)
        if self.judge is None:
            return sigmoid(seen.mean(axis=0))
        judged = self.judge.predict_proba(self._melt(x, seen), thread_count=self.threads)
        chances = np.array(judged[:, 1], dtype=np.float64).reshape(seen.shape[1:])
        for k, constant in enumerate(self.stage[0].constants):
            if constant is not None:
                chances[:, k] = constant
        return chances

    def _fit_first(
        self, settings: TreeSettings, x: Table, y: Labels, rng: np.random.Generator
    ) -> tuple[LightGBMModel, KernelLogisticModel]:
        trees, kernel = LightGBMModel(settings, self.threads), KernelLogisticModel()
        trees.fit(x, y, int(rng.integers(2**31)))
        kernel.fit(x, y, int(rng.integers(2**31)))
        return trees, kernel

    def _melt(self, x: Table, seen: Probabilities) -> Table:
        """Build the table of the second stage, (N * K, 3 K + 2 + top features).

        Args:
            x: Features (N, F).
            seen: Log odds of both models of the first stage, (2, N, K).
        """
        labels = seen.shape[2]
        asked = np.tile(np.eye(labels), (len(x), 1))
        every = np.repeat(np.hstack([*seen, x[:, self.top]]), labels, axis=0)
        return np.hstack([asked, seen.reshape(2, -1).T, every]).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write both stages into a folder, in the formats of their libraries."""
        if self.stage is None:
            raise not_fitted()
        settings = {
            "first": asdict(self.first),
            "second": asdict(self.second),
            "top": self.top,
            "judge": self.judge is not None,
        }
        write_settings(path, self, settings)
        trees, kernel = self.stage
        trees.save(path / "trees")
        kernel.save(path / "kernel")
        if self.judge is not None:
            self.judge.save_model(str(path / "judge.cbm"))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a model written by `save`."""
        settings = read_settings(path, cls)
        model = cls(TreeSettings(**settings["first"]), StackSettings(**settings["second"]))
        model.top = settings["top"]
        model.stage = (
            LightGBMModel.load(path / "trees"),
            KernelLogisticModel.load(path / "kernel"),
        )
        if settings["judge"]:
            model.judge = _library("catboost").CatBoostClassifier()
            model.judge.load_model(str(path / "judge.cbm"))
        return model


def _odds(pair: tuple[LightGBMModel, KernelLogisticModel], x: Table) -> Probabilities:
    """Log odds of both models of the first stage, (2, N, K)."""
    return np.stack([log_odds(pair[0].predict(x)), log_odds(pair[1].predict(x))])


def stratified_folds(y: Labels, folds: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Assign samples to folds (N,), each combination of labels evenly.

    Args:
        y: Labels 0 and 1 (N, K); columns may hold other strata, such as instruments.
        folds: Number of folds.
        rng: Generator for the order within a combination.
    """
    order = rng.permutation(len(y))
    order = order[np.lexsort(y[order].T)]
    fold = np.empty(len(y), dtype=np.intp)
    fold[order] = np.arange(len(y)) % folds
    return fold


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise NotAvailableError(
            f"The package '{name}', which this model needs, is not installed.",
            "Install it with: pip install marsbench[boosting]",
        ) from error
