"""Runs with cached features: encode once, fit all heads together, write a record for each run."""

import time
import warnings
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from marsbench.base.errors import MarsbenchError, TrainingError
from marsbench.base.progress import steps
from marsbench.config.schema import Augment, OptimName, Precision
from marsbench.data.imbalance import every_position
from marsbench.metrics import scoring
from marsbench.plan.resolve import Plan
from marsbench.plan.sharing import bank_of
from marsbench.results.record import Outcome
from marsbench.results.store import Store
from marsbench.training.failures import is_out_of_memory
from marsbench.training.frozen.features import Encoder
from marsbench.training.frozen.files import Encoded
from marsbench.training.frozen.heads import FittedHead, Head, Samples
from marsbench.training.frozen.losses import HeadLoss
from marsbench.training.frozen.neighbours import FittedNeighbours, fit_neighbours
from marsbench.training.frozen.turns import fit_heads, turns_of
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
from marsbench.training.loop.devices import device_name, peak_memory, reset_peak_memory
from marsbench.training.loop.evaluation import Predictions, facts_of
from marsbench.training.loop.module import MONITOR
from marsbench.training.loop.objectives.labels import LabelObjective
from marsbench.training.parts import Part, Section, parts_of
from marsbench.training.provenance import (
    Surroundings,
    describe_weights,
    record_of,
    surroundings,
)
from marsbench.training.trained import Trained, open_split, together

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
        yield from _Bank(alike, force=force, around=around or surroundings()).run()


MOST_HELD = 192
"""Largest number of runs whose folders a process claims at a time; each is an open file."""


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
            # Its failure could not be written either.
            result = problem_of(error, run.plan, run.store.folder(run.plan.run_id))
        run.held.close()
        run.folder = None
        yield run.plan, result


class _Bank:
    """Runs with shared features."""

    def __init__(self, plans: Sequence[Plan], *, force: bool, around: Surroundings) -> None:
        self.plans, self.force, self.around = plans, force, around
        self.encoder = Encoder(plans[0])
        is_double = plans[0].config.trainer.precision is Precision.FLOAT64
        self.dtype = torch.float64 if is_double else torch.float32
        self.encoded: dict[str, Encoded] = {}
        self.samples: dict[str, Samples] = {}

    def run(self) -> Iterator[Result]:
        """Carry out the runs."""
        runs: list[HeldRun] = []
        for plan in self.plans:
            store = Store(plan.config.store)
            try:
                parts = parts_of(plan)
                runs.append(HeldRun(plan, parts, [_head(plan, part) for part in parts], store))
            except Exception as error:
                yield plan, refuse_unbegun(plan, store, error)
        try:
            reset_peak_memory(self.encoder.device)
            for split in sorted({s for run in runs for part in run.parts for s in part.splits}):
                self._open(split)
        except Exception as error:
            for run in runs:
                yield run.plan, refuse_unbegun(run.plan, run.store, error)
            return
        self.encoder.release()
        try:
            # A thread waits for the disk, with a dozen operations per run, while the next runs are
            # fitted.
            title = f"Fitting heads, {self.plans[0].task.name} {self.plans[0].model.name}"
            count = sum(len(run.parts) for run in runs)
            with steps(title, count) as advance, ThreadPoolExecutor(1) as disk:
                kept: Kept = deque()
                for some in self._in_turn(runs):
                    yield from _let_go(kept, MOST_HELD - len(some))
                    yield from self._fit(some, disk, kept, advance)
                yield from _let_go(kept, 0)
        finally:
            for run in runs:
                run.held.close()

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
        some = max(1, MOST_HELD * 2 // 3)
        for start in range(0, len(runs), some):
            yield runs[start : start + some]

    def _open(self, split: str) -> None:
        """Open the features of a split, and move them to the device."""
        encoded = self.encoder.encode(split)
        device = self.encoder.device
        with warnings.catch_warnings():
            # Tensors do not know that the file is read-only; nothing writes into it.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            features = torch.from_numpy(encoded.features)
        targets = self.plans[0].source.rows(split).targets
        labels = targets.astype(np.float32 if targets.ndim == 2 else np.int64)
        on_device = features if device.type == "cpu" else features.to(device)
        self.encoded[split] = encoded
        self.samples[split] = Samples(on_device, torch.from_numpy(labels).to(device))

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
        num_features = self.encoded["train"].features.shape[2]
        device = self.encoder.device
        turns = turns_of(heads, num_features, self.plans[0].num_outputs, device)
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
        """Fit heads; after a failure, such as a lack of memory, in two halves."""
        if not heads:
            return []
        try:
            if heads[0].optimizer is OptimName.LBFGS:
                from marsbench.training.frozen.optimum import fit_to_convergence

                return [fit_to_convergence(head, self.samples, self.dtype) for head in heads]
            if heads[0].optimizer is OptimName.KNN:
                return [fit_neighbours(head, self.samples, self.dtype) for head in heads]
            return list(fit_heads(heads, self.samples, dtype=self.dtype, advance=advance))
        except Exception as error:
            if len(heads) == 1:
                return [error]
        half = len(heads) // 2
        return self._fit_heads(heads[:half], advance) + self._fit_heads(heads[half:], advance)

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
                trained = [self._trained(run, k, head) for k, head in fitted.items()]
            for head in trained:
                head.timing["eval"] = (time.perf_counter() - started) / len(trained)
            whole = together(run.plan, trained)
            if run.plan.config.pictures:
                gallery(open_split(run.plan, "test"), whole.scored["test"], folder)
            record = record_of(run.plan, whole, self.around)
        except Exception as error:
            return disk.submit(refuse, run, folder, error)
        finally:
            run.fitted.clear()
        return disk.submit(keep, run, folder, fitted, whole, record)

    def _trained(self, run: HeldRun, k: int, fitted: FittedHead) -> Trained:
        """Score a head."""
        plan, part = run.plan, run.parts[k]
        backbone = self.encoded["train"].backbone
        scored = {
            name: self._predict(plan, fitted, section, run.heads[k].loss.objective)
            for name, section in part.scored.items()
        }
        device = self.encoder.device
        splits = sorted(part.splits)
        num_train = len(_positions(part.train, len(plan.source.rows("train"))))
        return Trained(
            scored=scored,
            weights=describe_weights(plan, sha256=backbone.sha256),
            checkpoint=_checkpoint(plan, part, fitted),
            timing={"data": 0.0, "train": fitted.seconds},
            peak_memory=peak_memory(device),
            parameters={
                "total": backbone.parameters + fitted.num_trained,
                "trained": fitted.num_trained,
            },
            device=device_name(device),
            data={
                "features": {
                    # The cost for all runs with these features, whenever they were encoded.
                    "encode_s": sum(self.encoded[split].seconds for split in splits),
                    "sha256": {split: self.encoded[split].sha256 for split in splits},
                    "views": self.encoder.views("train"),
                    "encoded_on": backbone.device,
                    "heads_together": run.together,
                },
                **({"num_train": num_train} if part.name else {}),
            },
        )

    def _predict(
        self, plan: Plan, fitted: FittedHead, section: Section, objective: LabelObjective
    ) -> Predictions:
        """Predict and score samples with a head."""
        rows = plan.source.rows(section.split)
        chosen = _positions(section, len(rows))
        samples = self.samples[section.split]
        features, labels = samples.features[0], samples.labels
        if section.indices is not None:
            at = torch.from_numpy(chosen)
            features, labels = features[at.to(features.device)], labels[at.to(labels.device)]
        logits = fitted.logits(features)
        scores = objective.probabilities(logits).cpu().numpy().astype(np.float32)
        columns: dict[str, Any] = {"target": rows.targets[chosen], "scores": scores}
        columns |= facts_of(rows, chosen)
        if rows.meta is None and (meta := self.encoded[section.split].meta) is not None:
            columns["meta"] = [meta[int(i)] for i in chosen]
        values = scoring.score(plan.task.kind, columns, plan.source.class_names)
        wanted = labels.to(logits.dtype) if labels.is_floating_point() else labels
        values["loss"] = float(objective.plain(logits, wanted).mean())
        ids = rows.sample_ids
        if section.indices is not None:
            ids = [ids[int(i)] for i in chosen]
        return Predictions(list(ids), columns, values)


def _head(plan: Plan, part: Part) -> Head:
    """Describe the head of a part of a run."""
    config = plan.config
    num_train = len(plan.source.rows("train"))
    val = None
    if part.val is not None:
        val = (part.val.split, _positions(part.val, len(plan.source.rows(part.val.split))))
    return Head(
        train=_positions(part.train, num_train),
        draws=part.balance.draws,
        val=val,
        loss=HeadLoss(_objective(plan, part)),
        seed=config.seed,
        batch_size=config.effective_batch_size,
        optimizer=config.optim.name,
        lr=config.learning_rate,
        weight_decay=config.optim.weight_decay,
        momentum=config.optim.momentum,
        scheduler=config.scheduler,
        max_epochs=config.trainer.max_epochs,
        patience=config.trainer.patience,
        clip=config.trainer.gradient_clip_val,
        turned=plan.augment is Augment.D4,
    )


def _objective(plan: Plan, part: Part) -> LabelObjective:
    choices = plan.task.kind, plan.loss, len(plan.source.class_names), plan.num_outputs
    weights = part.balance.class_weights
    return _unweighted(*choices) if weights is None else LabelObjective(*choices, weights)


# Shared by all heads of a kind: it has no tensors, and building a module is slow.
_unweighted = lru_cache(maxsize=64)(LabelObjective)


def _positions(section: Section, length: int) -> NDArray[np.int64]:
    return every_position(length) if section.indices is None else section.indices


def _checked(run: HeldRun) -> dict[int, FittedHead]:
    """Fitted heads of a run; raises if a head failed, diverged or did not converge."""
    good: dict[int, FittedHead] = {}
    for k, fitted in sorted(run.fitted.items()):
        if isinstance(fitted, Exception):
            if is_out_of_memory(fitted):
                raise TrainingError(
                    f"The memory of the device is too small for a head of {run.plan.model.name}.",
                    "Add trainer.accelerator=cpu.",
                ) from fitted
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


def _checkpoint(plan: Plan, part: Part, fitted: FittedHead) -> dict[str, Any]:
    """Facts of the tested epoch, as for a network."""
    if plan.config.optim.name is OptimName.LBFGS:
        return {"chosen_by": "convergence", "iterations": fitted.epochs_trained}
    if isinstance(fitted, FittedNeighbours):
        return {"chosen_by": MONITOR, "value": fitted.loss, "neighbours": fitted.neighbours}
    epochs = {"epoch": fitted.epoch, "epochs_trained": fitted.epochs_trained}
    if part.val is None:
        return {"chosen_by": "last", **epochs}
    return {"chosen_by": MONITOR, "value": fitted.losses[fitted.epoch], **epochs}
