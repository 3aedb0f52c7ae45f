"""Models that are fitted to a table at once: their protocol, and helpers that they share.

They serve the multilabel tasks of mass spectra. Each label is a binary problem of its own, as in
the task's log loss.

What is stored is text or plain arrays (scikit-learn's coefficients, the boosting libraries' own
model files), never a pickle: loading runs no code of the file, and other versions can read it.
"""

import json
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from marsbench.base import lazy
from marsbench.base.errors import TrainingError, WeightsError

Table = NDArray[np.float32]
Labels = NDArray[np.uint8]
Probabilities = NDArray[np.float64]

_SETTINGS = "model.json"


class TabularModel(Protocol):
    """What training asks of a model that is not trained on batches."""

    def fit(self, x: Table, y: Labels, seed: int) -> None:
        """Fit to features (N, F) and zeros and ones (N, K); equal seeds give equal models.

        Raises:
            TrainingError: If there is nothing to fit, or lengths differ.
        """

    def predict(self, x: Table) -> Probabilities:
        """Probability of each label, (N, K).

        Raises:
            TrainingError: If the model is not fitted.
        """

    def save(self, path: Path) -> None:
        """Write the fitted model into a folder, which is made."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            WeightsError: If the folder holds no model of this class.
        """


TABLES: dict[str, str] = {
    "logistic_regression": "marsbench.models.tables.linear:LogisticRegressionModel",
    "kernel_logistic": "marsbench.models.tables.linear:KernelLogisticModel",
    "lightgbm": "marsbench.models.tables.boosting:LightGBMModel",
    "boosted_stack": "marsbench.models.tables.boosting:BoostedStackModel",
}
"""Classes by the id of their zoo entry."""


def table_model(name: str) -> type[TabularModel]:
    """Import the class of a zoo entry's model."""
    model: type[TabularModel] = lazy.load(TABLES[name])
    return model


def only_frequency(target: Labels) -> float | None:
    """Chance of a label that is always or never there; None of one to learn.

    Half a sample is added for either outcome: what was never seen is not impossible.
    """
    if target.min() != target.max():
        return None
    return float((target.sum() + 0.5) / (len(target) + 1))


def log_odds(p: Probabilities) -> Probabilities:
    """Log odds of probabilities, finite also where one is 0 or 1."""
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    odds: Probabilities = np.log(clipped) - np.log1p(-clipped)
    return odds


def sigmoid(odds: Probabilities) -> Probabilities:
    """Probabilities of log odds."""
    from scipy.special import expit

    return np.asarray(expit(odds), dtype=np.float64)


def check_table(x: Table, y: Labels) -> None:
    """Refuse what no model can be fitted to."""
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not y.size:
        raise TrainingError(
            f"Features of shape {x.shape} and labels of shape {y.shape} make no table to fit.",
            "Both need one row per sample, and at least one sample and one label.",
        )


def not_fitted() -> TrainingError:
    """Build the error for a model that is asked before it was fitted."""
    return TrainingError("The model is not fitted.", "Call fit or load first.")


def write_settings(path: Path, model: object, settings: dict[str, Any]) -> None:
    """Write which model a folder holds, and its settings."""
    path.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"model": type(model).__name__, "settings": settings}, indent=2)
    (path / _SETTINGS).write_text(text + "\n", encoding="utf-8")


def read_settings(path: Path, cls: type) -> dict[str, Any]:
    """Read the settings of a model of a class.

    Raises:
        WeightsError: If the folder holds none.
    """
    try:
        stored = json.loads((path / _SETTINGS).read_text(encoding="utf-8"))
        if stored["model"] != cls.__name__:
            raise WeightsError(f"{path} holds a {stored['model']}, not a {cls.__name__}.")
        return dict(stored["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path} holds no {cls.__name__}: {_SETTINGS} is missing or damaged.",
            "Give the folder that the model was saved in.",
        ) from error
