"""Runs with cached features: encode once, fit all heads together, write a record for each run."""

import gc
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import torch

from marsbench.base.errors import MarsbenchError, TrainingError
from marsbench.base.progress import steps
from marsbench.config.schema import OptimName, Precision
from marsbench.plan.resolve import Plan
from marsbench.plan.sharing import bank_of
from marsbench.results.record import Outcome
from marsbench.results.store import Store
from marsbench.training.failures import explaining_machine, is_device_lost, is_out_of_memory
from marsbench.training.frozen.features import Encoder
from marsbench.training.frozen.heads import FittedHead, Head
from marsbench.training.frozen.neighbours import fit_neighbours
from marsbench.training.frozen.plans import head_of
from marsbench.training.frozen.scoring import trained_of
from marsbench.training.frozen.splits import Splits
from marsbench.training.frozen.turns import fit_heads, limits_of, memory_of, turns_of
from marsbench.training.frozen.writing import (
    HeldRun,
    begin,
    keep,
    problem_of,
    refuse,
    refuse_unbegun,
)
from marsbench.training.gallery import gallery
from marsbench.training.loop.arithmetic import products
from marsbench.training.loop.devices import release_memory, reset_peak_memory
from marsbench.training.parts import parts_of
from marsbench.training.provenance import Surroundings, record_of, surroundings
from marsbench.training.trained import open_split, together

Result = tuple[Plan, Outcome | MarsbenchError]


def run_alone(plan: Plan, *, force: bool = False) -> Outcome:
    """Carry out a single run with cached features.

    Raises:
        MarsbenchError: If the run fails.
    """
    ((_, result),) = run_bank([plan], force=force)
    if isinstance(result, MarsbenchError):
        raise result
    return result


def run_bank(plans: Sequence[Plan], *, force: bool = False) -> Iterator[Result]:
    """Carry out runs with cached features; runs with shared features are fitted together.

    A failing run leaves its error, also in the store, and does not affect others. Finished runs
    are kept if the caller stops iterating or is interrupted.

    Args:
        plans: Runs whose `Plan.protocol` is cached.
        force: Whether to move existing runs aside and start again.

    Yields:
        Each run with its record or error, as soon as known.

    Raises:
        DeviceLostError: If the GPU fails, or is shared and too full; the runs left are unfinished.
    """
    shared: dict[Hashable, list[Plan]] = {}
    for plan in plans:
        try:
            record = None if force else Store(plan.config.store).find(plan.run_id)
        except MarsbenchError as error:
            yield plan, error  # an unreadable record; force moves it aside
            continue
        if record is not None:
            yield plan, Outcome(record, was_done=True)
        else:
            shared.setdefault(bank_of(plan), []).append(plan)
    around = surroundings() if shared else None
    for alike in shared.values():
        with explaining_machine():
            yield from _Bank(alike, force=force, around=around or surroundings()).run()


Kept = deque[tuple[HeldRun, "Future[Outcome | MarsbenchError]"]]
"""Runs being written, with their future results."""


def _let_go(kept: Kept, most: int | None = None) -> Iterator[Result]:
    """Release the folders of written runs.

    Args:
        kept: The runs in the order of writing.
        most: Largest number of runs to keep waiting; None never blocks.
    """
    while kept and (kept[0][1].done() or (most is not None and len(kept) > most)):
        run, known = kept.popleft()
        try:
            result = known.result()
        except Exception as error:
            if is_device_lost(error):
                raise
            # Its failure could not be written either.
            result = problem_of(error, run.plan, run.store.folder(run.plan.run_id))
        run.held.close()
        run.folder = None
        yield run.plan, result


class _Bank:
    """Runs with shared features."""

    def __init__(self, plans: Sequence[Plan], *, force: bool, around: Surroundings) -> None:
        self.plans, self.force, self.around = plans, force, around
        self.splits = Splits(Encoder(plans[0]))
        self.device = self.splits.device
        is_double = plans[0].config.trainer.precision is Precision.FLOAT64
        self.dtype = torch.float64 if is_double else torch.float32

    def run(self) -> Iterator[Result]:
        """Carry out the runs."""
        runs: list[HeldRun] = []
        for plan in self.plans:
            store = Store(plan.config.store)
            try:
                parts = parts_of(plan)
                runs.append(HeldRun(plan, parts, [head_of(plan, part) for part in parts], store))
            except Exception as error:
                yield plan, refuse_unbegun(plan, store, error)
        try:
            self._open(runs)
        except Exception as error:
            if is_device_lost(error):
                raise
            for run in runs:
                yield run.plan, refuse_unbegun(run.plan, run.store, error)
            return
        try:
            # A thread waits for the disk, with a dozen operations per run, while the next runs are
            # fitted.
            title = f"Fitting heads, {self.plans[0].task.name} {self.plans[0].model.name}"
            count = sum(len(run.parts) for run in runs)
            with steps(title, count) as advance, ThreadPoolExecutor(1) as disk:
                kept: Kept = deque()
                for some in self._in_turn(runs):
                    yield from _let_go(kept, self._most_held - len(some))
                    yield from self._fit(some, disk, kept, advance)
                yield from _let_go(kept, 0)
        finally:
            for run in runs:
                run.held.close()

    @property
    def _most_held(self) -> int:
        """Largest number of runs whose folders are claimed at a time."""
        return limits_of(self.device).folders

    def _in_turn(self, runs: list[HeldRun]) -> Iterator[list[HeldRun]]:
        """Batches of runs to claim at a time; runs whose heads step together are adjacent."""
        places: dict[Hashable, int] = {}
        for run in runs:
            places.setdefault(run.heads[0].block, len(places))
            places.setdefault(run.heads[0].group, len(places))

        def place(run: HeldRun) -> tuple[int, int, int]:
            head = run.heads[0]
            return len(head.draws), places[head.block], places[head.group]

        runs = sorted(runs, key=place)
        # The others may still be written while these are fitted.
        some = max(1, self._most_held * 2 // 3)
        for start in range(0, len(runs), some):
            yield runs[start : start + some]

    def _open(self, runs: list[HeldRun]) -> None:
        """Open the features of runs, and move them to the device as far as they fit."""
        reset_peak_memory(self.device)
        for split in sorted({s for run in runs for part in run.parts for s in part.splits}):
            self.splits.encode(split)
        # Training on features does not need the backbone.
        self.splits.encoder.release()
        heads = [head for run in runs for head in run.heads]
        self.splits.place(memory_of(heads, *self._sizes))

    @property
    def _sizes(self) -> tuple[int, int, torch.device]:
        """Number of features and outputs of heads, and their device."""
        return self.splits.num_features, self.plans[0].num_outputs, self.device

    def _fit(
        self, runs: list[HeldRun], disk: Executor, kept: Kept, advance: Callable[[int], None]
    ) -> Iterator[Result]:
        """Fit the heads of runs turn by turn, and score and write completed runs.

        Args:
            runs: Runs to claim.
            disk: Writes the results.
            kept: Collects the runs being written.
            advance: Called with the number of newly fitted heads.
        """
        jobs = [(run, k) for run in runs for k in range(len(run.parts))]
        heads = [run.heads[k] for run, k in jobs]
        turns = turns_of(heads, *self._sizes)
        for run in runs:
            if (known := self._claim(run, disk)) is not None:
                yield run.plan, known
        for turn in turns:
            mine = [i for i in turn if jobs[i][0].folder is not None]
            advance(len(turn) - len(mine))
            for run in self._fit_turn([jobs[i] for i in mine], [heads[i] for i in mine], advance):
                kept.append((run, self._finish(run, disk)))
                yield from _let_go(kept)

    def _fit_turn(
        self,
        jobs: list[tuple[HeldRun, int]],
        heads: list[Head],
        advance: Callable[[int], None],
    ) -> list[HeldRun]:
        """Fit the heads of a turn; returns the runs completed by them."""
        counted = 0

        def count(number: int) -> None:
            nonlocal counted
            counted += number
            advance(number)

        with products(self.plans[0].config.trainer.matmul):
            fitted = self._fit_heads(heads, count)
        advance(len(heads) - counted)  # heads fitted again were counted twice
        complete = []
        for (run, k), head in zip(jobs, fitted, strict=True):
            run.fitted[k] = head
            run.together = max(run.together, len(jobs))
            if len(run.fitted) == len(run.parts):
                complete.append(run)
        return complete

    def _fit_heads(
        self, heads: list[Head], advance: Callable[[int], None]
    ) -> list[FittedHead | Exception]:
        """Fit heads; after a failure in two halves.

        Heads that step together on a GPU are halved only if its memory is too small.

        Raises:
            Exception: If the GPU is lost to this process; concerns no single head.
        """
        if not heads:
            return []
        try:
            return self._fitted(heads, advance)
        except Exception as error:
            if is_device_lost(error):
                raise
            is_memory = is_out_of_memory(error)
            is_together = self.device.type != "cpu" and heads[0].optimizer.has_epochs
            if is_together and not is_memory:
                # Another attempt would fail alike.
                return [error for _ in heads]
            if len(heads) == 1 and not (is_memory and self.splits.has_features_on_device):
                return [error]
        # Outside of the handler, whose error references tensors.
        gc.collect()
        release_memory(self.device)
        if len(heads) == 1:
            self.splits.leave_on_host()
            return self._fit_heads(heads, advance)
        half = len(heads) // 2
        return self._fit_heads(heads[:half], advance) + self._fit_heads(heads[half:], advance)

    def _fitted(
        self, heads: list[Head], advance: Callable[[int], None]
    ) -> list[FittedHead | Exception]:
        """Fit heads with the same optimiser."""
        samples = self.splits.samples
        match heads[0].optimizer:
            case OptimName.LBFGS:
                from marsbench.training.frozen.optimum import fit_to_convergence

                return [fit_to_convergence(head, samples, self.dtype) for head in heads]
            case OptimName.KNN:
                return [fit_neighbours(head, samples, self.dtype) for head in heads]
        return list(fit_heads(heads, samples, dtype=self.dtype, advance=advance))

    def _claim(self, run: HeldRun, disk: Executor) -> Outcome | MarsbenchError | None:
        """Claim a run's folder; returns its result if claimed or finished by another process."""
        plan = run.plan
        try:
            folder = run.held.enter_context(run.store.claim(plan.run_id))
            # Checked under the claim: another process may have finished it just now.
            record = None if self.force else run.store.find(plan.run_id)
            if record is not None:
                run.held.close()
                return Outcome(record, was_done=True)
            if self.force:
                run.store.clear(plan.run_id)
        except (MarsbenchError, OSError) as error:
            run.held.close()
            return problem_of(error, plan, run.store.folder(plan.run_id))
        run.folder = folder
        run.begun = disk.submit(begin, plan, folder)
        return None

    def _finish(self, run: HeldRun, disk: Executor) -> "Future[Outcome | MarsbenchError]":
        """Score a run and submit its record for writing; errors concern this run only."""
        folder = run.folder
        if folder is None:
            raise RuntimeError(f"{run.plan.run_id} is not claimed")
        try:
            fitted = _checked(run)
            started = time.perf_counter()
            with products(run.plan.config.trainer.matmul):
                trained = [trained_of(run, k, head, self.splits) for k, head in fitted.items()]
            for head in trained:
                head.timing["eval"] = (time.perf_counter() - started) / len(trained)
            whole = together(run.plan, trained)
            if run.plan.config.pictures:
                gallery(open_split(run.plan, "test"), whole.scored["test"], folder)
            record = record_of(run.plan, whole, self.around)
        except Exception as error:
            if is_device_lost(error):
                raise
            return disk.submit(refuse, run, folder, error)
        finally:
            run.fitted.clear()
        return disk.submit(keep, run, folder, fitted, whole, record)


def _checked(run: HeldRun) -> dict[int, FittedHead]:
    """Fitted heads of a run; raises if a head failed, diverged or did not converge."""
    good: dict[int, FittedHead] = {}
    for k, fitted in sorted(run.fitted.items()):
        if isinstance(fitted, Exception):
            raise fitted
        if fitted.broken is not None:
            name = f" of {run.parts[k].name}" if run.parts[k].name else ""
            raise TrainingError(
                f"The loss{name} is NaN or infinite in epoch {fitted.broken}.",
                f"Lower optim.lr (now {run.plan.config.learning_rate:g}), or set "
                "trainer.gradient_clip_val=1.0.",
            )
        if not fitted.converged:
            raise TrainingError(
                f"The head did not converge in {fitted.epochs_trained} iterations of "
                "optim.name=lbfgs.",
                f"Raise optim.weight_decay (now {run.plan.config.optim.weight_decay:g}).",
            )
        good[k] = fitted
    return good
