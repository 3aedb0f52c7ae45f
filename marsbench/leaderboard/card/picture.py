"""Pictures of a card: drawn from stored predictions, and test samples that a run has kept."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import some
from marsbench.base.reading import check_regular
from marsbench.leaderboard.card.scores import class_scores
from marsbench.leaderboard.card.subject import Subject
from marsbench.metrics.scoring import SCORERS
from marsbench.report.figures.plots.grids import confusion
from marsbench.report.figures.style import COLUMN, DPI, INK, canvas, drawing, shorten
from marsbench.report.study.confusions import confusion_shares
from marsbench.training.gallery import SAMPLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONFUSION = "confusion.png"
CLASSES = "classes.png"

_LARGEST = 20_000_000
"""Largest size of a kept picture in bytes."""

_SHOWN = 40
"""Number of classes shown."""


class Picture(NamedTuple):
    """Picture of a card.

    Attributes:
        file: File name.
        text: Its content in words, for readers who do not see it.
    """

    file: str
    text: str


def draw(subject: Subject, folder: Path) -> Picture | None:
    """Draw the confusion matrix, or the scores of the classes for tasks without a matrix.

    Args:
        subject: Runs of the card.
        folder: Folder to write into.

    Returns:
        The picture; None for a task without scores per class.

    Raises:
        StoreError: If predictions are missing or invalid.
    """
    title = subject.task.name
    if SCORERS[subject.task.kind].confusion is not None:
        shares, classes = confusion_shares(subject.store, subject.records)
        with drawing():
            _save(confusion(shares, classes, title), folder / CONFUSION)
        return Picture(CONFUSION, _words(subject, shares, classes))
    scores = class_scores(subject)
    if not scores:
        return None
    metric, values = next(iter(scores.items()))
    shown = dict(list(values.items())[:_SHOWN])
    with drawing():
        _save(_bars(shown, metric, title), folder / CLASSES)
    listed = some((f"{name} {value:.2f}" for name, value in values.items()), count=10)
    return Picture(CLASSES, f"{metric} of each class: {listed}.")


def _words(subject: Subject, shares: NDArray[np.float64], classes: Sequence[str]) -> str:
    """Confusion matrix in words: share of each class predicted right, and the commonest mistake."""
    right = (
        f"{name} {100 * share:.0f} %"
        for name, share in zip(classes, np.diagonal(shares), strict=True)
        if math.isfinite(share)
    )
    units = "pixels" if subject.task.has_masks else "samples"
    wrong = np.where(np.eye(len(classes), dtype=bool), 0, np.nan_to_num(shares))
    true, predicted = divmod(int(wrong.argmax()), len(classes))
    return (
        f"Confusion matrix. Share of the {units} of each class that are predicted right: "
        f"{some(right, count=10)}. Commonest mistake: {100 * wrong[true, predicted]:.0f} % of "
        f"{classes[true]} as {classes[predicted]}."
    )


def _bars(values: dict[str, float], label: str, title: str) -> "Figure":
    """Draw the score of each class."""
    figure = canvas(COLUMN * 1.4, 0.9 + 0.19 * len(values))
    axes = figure.subplots()
    axes.barh(range(len(values)), list(values.values()), color="#0072B2", height=0.7)
    for place, value in enumerate(values.values()):
        axes.text(value, place, f" {value:.2f}", va="center", fontsize=6.5, color=INK)
    axes.set_yticks(range(len(values)), [shorten(name, 24) for name in values])
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.0, 1.08 * max(values.values())))
    axes.set_xlabel(label)
    axes.set_title(shorten(title, 60))
    return figure


def _save(figure: "Figure", path: Path) -> None:
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def kept_samples(subject: Subject) -> Path | None:
    """Picture of test samples with truth and prediction that the published run has kept."""
    path = subject.folder / SAMPLES
    try:
        info = check_regular(path)
        with path.open("rb") as file:
            is_png = file.read(8) == b"\x89PNG\r\n\x1a\n"
    except OSError:
        return None
    return path if is_png and info.st_size <= _LARGEST else None
