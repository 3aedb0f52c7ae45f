"""Stored targets of runs beside the labels of their task, by kind of task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.base.errors import some
from marsbench.base.progress import steps
from marsbench.leaderboard import maps
from marsbench.leaderboard.files import Files
from marsbench.leaderboard.labels import Labels
from marsbench.leaderboard.predictions import Predictions
from marsbench.leaderboard.runs import Run
from marsbench.metrics.masks import Counts
from marsbench.results.store import MAPS, map_path
from marsbench.tasks.kinds import BOXES, LABELS, MASKS, Kind

_PIXEL = 1e-3
"""Largest difference of a box from its label, in pixels."""


@dataclass
class Scored:
    """Predictions of a run beside its labels.

    Attributes:
        run: The run.
        predictions: Predictions of the scored split, in the order of the labels if there are any.
        labels: Labels; None if not on this machine.
        problems: Contradictions.
    """

    run: Run
    predictions: Predictions
    labels: Labels | None
    problems: list[str] = field(default_factory=list)

    @property
    def num_classes(self) -> int:
        """Number of classes, K."""
        return len(self.run.record.data["classes"])


def _compare_labels(_: Files, scored: Sequence[Scored]) -> None:
    """Compare stored targets and instruments of spectra with the labels."""
    for of_run in scored:
        truth, columns = of_run.labels, of_run.predictions.columns
        if truth is None:
            continue
        differing = (columns["target"] != truth.targets).reshape(len(truth.rows), -1).any(axis=1)
        _note(of_run, differing, "targets that differ from the labels")
        stored, groups = columns.get("instrument"), truth.rows.groups
        if stored is not None and groups is not None:
            _note(of_run, stored != np.array(groups), "another instrument than the data")


def _note(of_run: Scored, differing: NDArray[np.bool_], what: str) -> None:
    if differing.any():
        names = [of_run.predictions.sample_ids[i][:80] for i in np.flatnonzero(differing)]
        of_run.problems.append(f"has {len(names)} sample(s) with {what}: {some(names)}")


def _compare_boxes(_: Files, scored: Sequence[Scored]) -> None:
    """Compare stored boxes of objects with the labels, in any order within an image."""
    truth = scored[0].labels if scored else None
    if truth is None:
        return
    with steps(f"Reading boxes of {truth.spec.name}", len(truth.rows)) as advance:
        for i in range(len(truth.rows)):
            expected = truth.boxes(i)
            for of_run in scored:
                columns = of_run.predictions.columns
                stored = columns["target_boxes"][i], columns["target_labels"][i]
                if not _are_equal(stored, (expected.xyxy, expected.labels)):
                    name = of_run.predictions.sample_ids[i][:80]
                    of_run.problems.append(f"has other objects in {name} than the labels")
            advance(1)
    for of_run in scored:
        del of_run.problems[5:]


def _are_equal(a: tuple[NDArray[Any], NDArray[Any]], b: tuple[NDArray[Any], NDArray[Any]]) -> bool:
    """Whether boxes (N, 4) with class ids (N,) are equal up to rounding and order."""
    first, second = (np.column_stack([labels, boxes]) for boxes, labels in (a, b))
    if first.shape != second.shape:
        return False
    ordered = [rows[np.lexsort(np.round(rows, 2).T[::-1])] for rows in (first, second)]
    return bool((np.abs(ordered[0] - ordered[1]) <= _PIXEL).all())


def _compare_masks(files: Files, scored: Sequence[Scored]) -> None:
    """Compare stored confusion matrices with class maps and masks, image by image."""
    complete = [of_run for of_run in scored if _has_maps(of_run)]
    if not complete:
        return
    truth, ids = complete[0].labels, complete[0].predictions.sample_ids
    bad: dict[str, list[tuple[str, str]]] = {of_run.run.place: [] for of_run in complete}
    with steps(f"Comparing class maps of {complete[0].run.spec.name}", len(ids)) as advance:
        for i, sample_id in enumerate(ids):
            mask = None if truth is None else truth.mask(i)
            for of_run in complete:
                if problem := _map_problem(files, of_run, i, sample_id, mask):
                    bad[of_run.run.place].append((sample_id[:80], problem))
            advance(1)
    for of_run in complete:
        if problems := bad[of_run.run.place]:
            text = f"does not follow from {len(problems)} class map(s): {maps.listed(problems)}"
            of_run.problems.append(text)


def _has_maps(of_run: Scored) -> bool:
    """Whether every sample has a class map, and every class map a sample."""
    paths = {name: map_path(Path(), name).as_posix() for name in of_run.predictions.sample_ids}
    listed = {name for name in of_run.run.files if name.startswith(f"{MAPS}/")}
    missing = [name[:80] for name, path in paths.items() if path not in listed]
    if missing:
        of_run.problems.append(f"has {len(missing)} sample(s) without a class map: {some(missing)}")
    if foreign := sorted(listed - set(paths.values())):
        text = f"has no sample for {len(foreign)} class map(s): {some(n[:80] for n in foreign)}"
        of_run.problems.append(text)
    return not missing


def _map_problem(
    files: Files, of_run: Scored, index: int, sample_id: str, mask: NDArray[np.uint8] | None
) -> str:
    """Contradiction between a class map, its mask and the stored counts; empty without one."""
    path = map_path(Path(of_run.run.place), sample_id).as_posix()
    k = of_run.num_classes
    stored: Counts = of_run.predictions.columns["confusion"][index].reshape(k, k)
    try:
        shape = None if mask is None else (mask.shape[0], mask.shape[1])
        classes = maps.read_map(files, path, shape)
        counts = maps.count(mask, classes, k)
    except ValueError as error:
        return str(error)
    if counts is None:
        # Ignored pixels are in no count.
        is_possible = (stored.sum(axis=0) <= np.bincount(classes.ravel(), minlength=k)).all()
        return "" if is_possible else "has fewer pixels of a class than counted"
    return "" if np.array_equal(counts, stored) else "gives other counts with its mask"


COMPARISONS: dict[Kind, Callable[[Files, Sequence[Scored]], None]] = {
    **dict.fromkeys(LABELS, _compare_labels),
    **dict.fromkeys(MASKS, _compare_masks),
    **dict.fromkeys(BOXES, _compare_boxes),
}
"""Comparison of stored targets with the labels, by kind of task."""
