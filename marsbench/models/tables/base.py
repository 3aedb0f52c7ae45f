"""Models fitted to a table at once: their protocol and shared helpers.

They are for the multilabel tasks of mass spectra. Each label is a separate binary problem, as in
the task's log loss.

Models are stored as text or plain arrays (coefficients of scikit-learn, model files of the boosting
libraries), never as pickles: loading executes no code, and other versions can read the files.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from marsbench.base import lazy
from marsbench.base.documents import parse_json
from marsbench.base.errors import MarsbenchError, TrainingError, WeightsError
from marsbench.base.reading import read_text

Table = NDArray[np.float32]
Labels = NDArray[np.uint8]
Probabilities = NDArray[np.float64]

_SETTINGS = "model.json"


class TabularModel(Protocol):
    """Interface of models fitted to a whole table."""

    def fit(self, x: Table, y: Labels, seed: int) -> None:
        """Fit to features (N, F) and labels 0 and 1 (N, K); equal seeds give equal models.

        Raises:
            TrainingError: If the table is empty or lengths differ.
        """

    def predict(self, x: Table) -> Probabilities:
        """Predict the probability of each label, (N, K).

        Raises:
            TrainingError: If the model is not fitted.
        """

    def save(self, path: Path) -> None:
        """Write the fitted model into a new folder."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a model written by `save`.

        Raises:
            WeightsError: If the folder has no model of this class.
        """


TABLES: dict[str, str] = {
    "logistic_regression": "marsbench.models.tables.linear:LogisticRegressionModel",
    "kernel_logistic": "marsbench.models.tables.linear:KernelLogisticModel",
    "lightgbm": "marsbench.models.tables.boosting:LightGBMModel",
    "boosted_stack": "marsbench.models.tables.boosting:BoostedStackModel",
}
"""Model classes by the id of the zoo entry."""


def table_model(name: str) -> type[TabularModel]:
    """Import the model class of a zoo entry."""
    model: type[TabularModel] = lazy.load(TABLES[name])
    return model


def only_frequency(target: Labels) -> float | None:
    """Smoothed frequency of a constant label; None for labels with both values.

    Half a sample is added for each outcome, so that the frequency is never 0 or 1.
    """
    if target.min() != target.max():
        return None
    return float((target.sum() + 0.5) / (len(target) + 1))


def log_odds(p: Probabilities) -> Probabilities:
    """Log odds of probabilities, finite also for 0 and 1."""
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    odds: Probabilities = np.log(clipped) - np.log1p(-clipped)
    return odds


def sigmoid(odds: Probabilities) -> Probabilities:
    """Probabilities of log odds."""
    from scipy.special import expit

    return np.asarray(expit(odds), dtype=np.float64)


def check_table(x: Table, y: Labels) -> None:
    """Check the shapes of features and labels."""
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not y.size:
        raise TrainingError(
            f"Features have shape {x.shape} and labels {y.shape}; expected (N, F) and (N, K).",
            "Give at least one sample and one label, and one row per sample in both.",
        )


def not_fitted() -> TrainingError:
    """Build the error for a model used before fitting."""
    return TrainingError("The model is not fitted.", "Call fit or load first.")


@contextlib.contextmanager
def reading_model(path: Path) -> Iterator[None]:
    """Explain errors of reading a model's files.

    Raises:
        WeightsError: If a file is missing or damaged, or does not fit the settings.
    """
    try:
        yield
    except MarsbenchError:
        raise
    except Exception as error:  # each library has types of its own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"The model in {path} is damaged: {reason[:160]}.", "Copy it again, or run it again."
        ) from error


def write_settings(path: Path, model: object, settings: dict[str, Any]) -> None:
    """Write the class name and settings of a model into a folder."""
    path.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"model": type(model).__name__, "settings": settings}, indent=2)
    (path / _SETTINGS).write_text(text + "\n", encoding="utf-8")


def read_settings(path: Path, cls: type) -> dict[str, Any]:
    """Read the settings of a model.

    Raises:
        WeightsError: If the folder has no model of the class.
    """
    try:
        stored = parse_json(read_text(path / _SETTINGS))
        if stored["model"] != cls.__name__:
            raise WeightsError(
                f"The model in {path} is a {stored['model']}; expected a {cls.__name__}.",
                "Give the folder of a model of this class.",
            )
        return dict(stored["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"No {cls.__name__} was found in {path}: {_SETTINGS} is missing or damaged.",
            "Give the folder of a saved model.",
        ) from error
