"""Tables in, probabilities out; what is stored predicts the same."""

from pathlib import Path

import numpy as np
import pytest

from marsbench.base.errors import NotAvailableError, TrainingError, WeightsError
from marsbench.models.tables.base import Labels, Table, TabularModel
from marsbench.models.tables.boosting import (
    BoostedStackModel,
    LightGBMModel,
    StackSettings,
    TreeSettings,
    stratified_folds,
)
from marsbench.models.tables.linear import KernelLogisticModel, LogisticRegressionModel

TREES = TreeSettings(trees=40, members=2, learning_rate=0.2, feature_fraction=0.5)
STACK = StackSettings(folds=3, iterations=20, learning_rate=0.2, top_features=3)


def build(name: str) -> TabularModel:
    if name == "logistic":
        return LogisticRegressionModel()
    if name == "kernel":
        return KernelLogisticModel()
    pytest.importorskip("lightgbm")
    if name == "lightgbm":
        return LightGBMModel(TREES, threads=1)
    pytest.importorskip("catboost")
    return BoostedStackModel(TREES, STACK, threads=1)


MODELS = pytest.mark.parametrize("name", ["logistic", "kernel", "lightgbm", "stack"])


def table(samples: int = 120, seed: int = 0) -> tuple[Table, Labels]:
    """Two labels to learn from the first two of six features, one always and one never there."""
    rng = np.random.default_rng(seed)
    x = rng.random((samples, 6), dtype=np.float32)
    y = np.stack([x[:, 0] > 0.6, x[:, 1] > 0.3, np.ones(samples), np.zeros(samples)], axis=1)
    return x, y.astype(np.uint8)


@MODELS
def test_learns_and_is_stored(name: str, tmp_path: Path) -> None:
    x, y = table()
    model = build(name)
    model.fit(x, y, seed=1)
    new, truth = table(seed=2)
    found = model.predict(new)
    assert found.shape == truth.shape
    assert found.dtype == np.float64
    assert ((found >= 0) & (found <= 1)).all()
    assert ((found > 0.5) == truth).mean(axis=0).min() > 0.9
    model.save(tmp_path / "model")
    again = type(model).load(tmp_path / "model")
    np.testing.assert_allclose(again.predict(new), found, rtol=1e-6, atol=1e-9)
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".pkl", ".pickle", ".joblib")]


@MODELS
def test_equal_seeds_give_equal_models(name: str) -> None:
    x, y = table(60)
    found = []
    for seed in (3, 3, 4):
        model = build(name)
        model.fit(x, y, seed)
        found.append(model.predict(x))
    assert np.array_equal(found[0], found[1])
    if name in ("lightgbm", "stack"):
        assert not np.array_equal(found[0], found[2])


@MODELS
def test_missing_values(name: str) -> None:
    x, y = table()
    x[::7, 2] = np.nan
    x[:, 5] = np.nan
    model = build(name)
    model.fit(x, y, seed=0)
    assert np.isfinite(model.predict(x)).all()


@MODELS
def test_labels_that_never_change(name: str, tmp_path: Path) -> None:
    x, y = table(40)
    for labels in (y, y[:, 2:]):
        model = build(name)
        model.fit(x, labels, seed=0)
        model.save(tmp_path / name)
        for fitted in (model, type(model).load(tmp_path / name)):
            np.testing.assert_allclose(
                fitted.predict(x)[:, -2:],
                # Half a sample either way: what was never seen is not impossible.
                np.broadcast_to([40.5 / 41, 0.5 / 41], (40, 2)),
                atol=5e-3,
            )


@MODELS
def test_misuse(name: str, tmp_path: Path) -> None:
    x, y = table(10)
    model = build(name)
    with pytest.raises(TrainingError, match="not fitted"):
        model.predict(x)
    with pytest.raises(TrainingError, match="not fitted"):
        model.save(tmp_path)
    with pytest.raises(TrainingError, match=r"expected \(N, F\)"):
        model.fit(x[:5], y, seed=0)
    with pytest.raises(TrainingError, match=r"expected \(N, F\)"):
        model.fit(x[:0], y[:0], seed=0)
    with pytest.raises(WeightsError, match=r"missing or damaged"):
        type(model).load(tmp_path / "nothing")


def test_a_folder_of_another_model(tmp_path: Path) -> None:
    x, y = table(20)
    model = LogisticRegressionModel()
    model.fit(x, y, seed=0)
    model.save(tmp_path)
    with pytest.raises(WeightsError, match="LogisticRegressionModel; expected a LightGBMModel"):
        LightGBMModel.load(tmp_path)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    x, y = table(20)
    for model in (LightGBMModel(threads=1), BoostedStackModel(threads=1)):
        with pytest.raises(NotAvailableError, match=r"pip install marsbench\[boosting\]"):
            model.fit(x, y, seed=0)


def test_the_useful_features_are_found() -> None:
    x, y = table()
    model = build("lightgbm")
    assert isinstance(model, LightGBMModel)
    model.fit(x, y, seed=0)
    assert set(np.argsort(model.importance())[-2:]) == {0, 1}


def test_folds_spread_every_combination_of_labels() -> None:
    y = np.repeat(np.eye(3, dtype=np.uint8), [40, 8, 4], axis=0)
    fold = stratified_folds(y, 4, np.random.default_rng(0))
    counts = np.stack([np.bincount(fold[y[:, k] == 1], minlength=4) for k in range(3)])
    assert counts.tolist() == [[10] * 4, [2] * 4, [1] * 4]
    assert not np.array_equal(fold, stratified_folds(y, 4, np.random.default_rng(1)))
