"""Write the results of a bank's runs into their folders."""

import contextlib
import csv
import io
import math
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from marsbench.base.errors import MarsbenchError, TrainingError
from marsbench.plan.resolve import Plan
from marsbench.results.record import Outcome, RunRecord
from marsbench.results.store import CONFIG, LOGS, Store
from marsbench.training.failures import explain, is_device_lost, is_out_of_memory
from marsbench.training.frozen.heads import FittedHead, Head
from marsbench.training.loop.evaluation import save_predictions
from marsbench.training.loop.module import MONITOR
from marsbench.training.parts import Part
from marsbench.training.provenance import config_text, save_tensors
from marsbench.training.trained import Trained


@dataclass(eq=False)
class HeldRun:
    """A run of a bank.

    Attributes:
        plan: The run.
        parts: Its parts.
        heads: The head of each part.
        store: Store for its record.
        folder: Its folder while claimed.
        held: Releases the folder.
        begun: Future of writing its config.
        fitted: The fitted head, or the error, of each part.
        together: Largest number of heads fitted together with one of its heads, inclusive.
    """

    plan: Plan
    parts: list[Part]
    heads: list[Head]
    store: Store
    folder: Path | None = None
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    begun: "Future[None] | None" = None
    fitted: dict[int, FittedHead | Exception] = field(default_factory=dict)
    together: int = 0


def begin(plan: Plan, folder: Path) -> None:
    """Write the config of a run, without waiting for the disk."""
    (folder / CONFIG).write_text(config_text(plan.config), encoding="utf-8")


def keep(
    run: HeldRun, folder: Path, heads: dict[int, FittedHead], trained: Trained, record: RunRecord
) -> Outcome | MarsbenchError:
    """Write the results of a run, its record last; returns the error after a failure."""
    config = run.plan.config
    try:
        if run.begun is not None:
            run.begun.result()
        save_predictions(folder, trained.scored)
        for k, part in enumerate(run.parts):
            place = part.folder(folder)
            if part.name:
                place.mkdir(exist_ok=True)
            if config.save_model:
                _save_head(heads[k], place)
            if config.logger.csv:
                _write_curve(place, heads[k])
        run.store.finish(record)
    except Exception as error:
        if is_device_lost(error):
            raise
        return refuse(run, folder, error)
    return Outcome(record, was_done=False)


def refuse(run: HeldRun, folder: Path, error: Exception) -> MarsbenchError:
    """Write the failure of a run."""
    known = problem_of(error, run.plan, folder)
    run.store.fail(run.plan.run_id, known if known is error else error)
    return known


def refuse_unbegun(plan: Plan, store: Store, error: Exception) -> MarsbenchError:
    """Write the failure of a run whose folder was not claimed yet."""
    known = problem_of(error, plan, store.folder(plan.run_id))
    with contextlib.suppress(MarsbenchError, OSError), store.claim(plan.run_id) as folder:
        begin(plan, folder)
        store.fail(plan.run_id, known if known is error else error)
    return known


def problem_of(error: Exception, plan: Plan, folder: Path) -> MarsbenchError:
    """Explain an error of a run; `failed.json` keeps the traceback of unforeseen errors."""
    known = explain(error, plan.config, folder)
    is_memory = isinstance(error, MemoryError) or is_out_of_memory(error)
    if is_memory and not isinstance(error, MarsbenchError):  # the encoder has words of its own
        known = TrainingError(
            f"The memory of the device is too small for a head of {plan.model.name}.",
            "Free the memory that other processes take, or add trainer.accelerator=cpu.",
        )
    if known is None:
        if isinstance(error, MarsbenchError):
            return error
        known = TrainingError(
            f"The run stopped on {type(error).__name__}: {error}.",
            "See failed.json in its folder. If nothing is wrong with your data, report it.",
        )
    known.__cause__ = error
    return known


def _save_head(fitted: FittedHead, place: Path) -> None:
    save_tensors({f"head.{name}": t.cpu() for name, t in fitted.tensors.items()}, place)


def _write_curve(folder: Path, fitted: FittedHead) -> None:
    """Write the learning curve of a head, in the format of networks."""
    if not fitted.rates:
        return
    logs = folder / LOGS
    logs.mkdir(exist_ok=True)
    place = logs / "attempt_1"
    place.mkdir(exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", "lr", MONITOR])
    for epoch, rate in enumerate(fitted.rates):
        loss = fitted.losses[epoch] if fitted.losses else math.nan
        writer.writerow([epoch, rate, "" if math.isnan(loss) else loss])
    (place / "metrics.csv").write_text(text.getvalue())
