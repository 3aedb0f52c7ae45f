"""Evaluations carried out: finished ones are returned, others share their inputs in groups."""

import contextlib
import time
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from marsbench.base.errors import DeviceLostError, MarsbenchError, StoreError, TrainingError
from marsbench.base.files import replacing
from marsbench.base.progress import steps, track
from marsbench.evaluate.calibration import Scaling, check_settings
from marsbench.evaluate.damage import Damage
from marsbench.evaluate.parents import find_parents
from marsbench.evaluate.planning import Evaluation, Planner
from marsbench.evaluate.settings import Settings
from marsbench.results.record import Outcome, RunRecord
from marsbench.results.store import PREDICTIONS, Store

if TYPE_CHECKING:
    from marsbench.evaluate.loop import Networks


class Result(NamedTuple):
    """Result of an evaluation.

    Attributes:
        name: Id of the evaluation; of the run if it cannot be evaluated.
        outcome: Record, or error.
    """

    name: str
    outcome: Outcome | MarsbenchError


def evaluate(runs: Sequence[str], settings: Settings, *, force: bool = False) -> Iterator[Result]:
    """Evaluate finished runs on a task.

    An evaluation that fails leaves the others as they are. Finished evaluations are kept if the
    caller stops or is interrupted, and are not repeated.

    Args:
        runs: Words for runs, as for `find_parents`.
        settings: The settings.
        force: Whether to move existing evaluations aside and repeat them.

    Yields:
        Each evaluation with its record or error, as soon as known.

    Raises:
        DeviceLostError: If the GPU fails; evaluations without a record stay unfinished.
        MarsbenchError: If a run is not found.
    """
    store = Store(settings.store)
    if settings.calibrate is not None:
        yield from _calibrated(runs, settings, store, force=force)
        return
    planner = Planner(settings)
    waiting: dict[Hashable, list[Evaluation]] = {}
    for parent in find_parents(runs, Path(settings.store), settings.model):
        try:
            evaluations = planner.all_of(parent)
        except MarsbenchError as error:
            yield Result(parent.record.run_id, error)
            continue
        for evaluation in evaluations:
            try:
                record = None if force else _finished(evaluation, store)
            except MarsbenchError as error:
                yield Result(evaluation.run_id, error)
                continue
            if record is not None:
                yield Result(record.run_id, Outcome(record, was_done=True))
            else:
                waiting.setdefault(evaluation.group, []).append(evaluation)
    if waiting:
        yield from _all_passes(waiting.values(), settings, store, force=force)


def _all_passes(
    groups: Collection[Sequence[Evaluation]], settings: Settings, store: Store, *, force: bool
) -> Iterator[Result]:
    """Pass over the samples of each group once for every corruption."""
    from marsbench.evaluate.loop import Networks
    from marsbench.predict.run import device_of

    device = device_of(settings.device)
    passes = [_by_damage(group) for group in groups]
    total = sum(len(part[0].positions) for parts in passes for part in parts)
    with steps("Evaluating", total) as advance:
        for parts in passes:
            networks = Networks(device)
            for part in parts:
                yield from _carry_out(part, store, networks, advance, force=force)


MOST_HELD = 256
"""Largest number of folders to claim at a time; each is an open file."""


def _by_damage(group: Sequence[Evaluation]) -> list[list[Evaluation]]:
    """Parts of a group with equal corruptions, in the order of their first evaluations."""
    parts: dict[Damage | None, list[Evaluation]] = {}
    for evaluation in group:
        parts.setdefault(evaluation.damage, []).append(evaluation)
    return [
        part[start : start + MOST_HELD]
        for part in parts.values()
        for start in range(0, len(part), MOST_HELD)
    ]


def _calibrated(
    runs: Sequence[str], settings: Settings, store: Store, *, force: bool
) -> Iterator[Result]:
    """Scale the stored predictions of runs by temperatures."""
    check_settings(settings)
    parents = find_parents(runs, Path(settings.store))
    for parent in track(parents, "Calibrating", len(parents)):
        scaling = Scaling(parent)
        try:
            scaling.check()
            with store.claim(scaling.run_id) as folder:
                record = None if force else _finished(scaling, store)
                if record is not None:
                    yield Result(record.run_id, Outcome(record, was_done=True))
                    continue
                if force:
                    store.clear(scaling.run_id)
                record, predictions = scaling.carried_out()
                with replacing(folder / PREDICTIONS) as path:
                    predictions.to_parquet(path, index=False)
                store.finish(record)
        except MarsbenchError as error:
            yield Result(scaling.run_id, error)
        else:
            yield Result(record.run_id, Outcome(record, was_done=False))


def _finished(evaluation: "Evaluation | Scaling", store: Store) -> RunRecord | None:
    """Record of a finished evaluation.

    Raises:
        StoreError: If it is of an earlier run with the same id.
    """
    record = store.find(evaluation.run_id)
    if record is None:
        return None
    known = record.data.get("evaluation", {}).get("parent_created")
    if known != evaluation.parent.record.created:
        raise StoreError(
            f"{record.run_id} evaluates an earlier run {evaluation.parent.record.run_id} of "
            f"{known}; the run in the store is of {evaluation.parent.record.created}.",
            "Evaluate again with --force.",
        )
    return record


def _carry_out(
    group: Sequence[Evaluation],
    store: Store,
    networks: "Networks",
    advance: Callable[[int], None],
    *,
    force: bool,
) -> Iterator[Result]:
    """Carry out evaluations that share their inputs."""
    with contextlib.ExitStack() as held:
        claimed: list[Evaluation] = []
        for evaluation in group:
            try:
                held.enter_context(store.claim(evaluation.run_id))
                # Checked under the claim: another process may have finished it just now.
                record = None if force else _finished(evaluation, store)
                if force:
                    store.clear(evaluation.run_id)
            except MarsbenchError as error:
                yield Result(evaluation.run_id, error)
                continue
            if record is not None:
                yield Result(record.run_id, Outcome(record, was_done=True))
            else:
                claimed.append(evaluation)
        if claimed:
            yield from _computed(claimed, store, networks, advance)


def _computed(
    group: Sequence[Evaluation],
    store: Store,
    networks: "Networks",
    advance: Callable[[int], None],
) -> Iterator[Result]:
    from marsbench.evaluate.loop import read_group
    from marsbench.evaluate.record import combined, record_of
    from marsbench.training.failures import explain_machine, is_out_of_memory
    from marsbench.training.loop.devices import reset_peak_memory
    from marsbench.training.loop.evaluation import save_predictions
    from marsbench.training.loop.trainer import quiet, restored
    from marsbench.training.provenance import surroundings

    started = time.perf_counter()
    device = networks.device
    try:
        with quiet(), restored():
            reset_peak_memory(device)
            reads = read_group(group, networks, advance)
    except Exception as error:
        explained = explain_machine(error) or (error if isinstance(error, MarsbenchError) else None)
        if isinstance(explained, DeviceLostError):
            raise explained from error
        if explained is None and is_out_of_memory(error):
            explained = TrainingError(
                f"The memory of {device} is too small for {group[0].parent.record.model}.",
                "Set a smaller batch_size, or device=cpu.",
            )
        if explained is None:
            raise
        for evaluation in group:
            yield Result(evaluation.run_id, explained)
        return
    around = surroundings()
    for evaluation, outputs in zip(group, reads, strict=True):
        predictions = combined(evaluation, outputs)
        record = record_of(evaluation, predictions, outputs[0], started, device, around, store)
        save_predictions(store.folder(record.run_id), {record.scored_split: predictions})
        store.finish(record)
        yield Result(record.run_id, Outcome(record, was_done=False))
