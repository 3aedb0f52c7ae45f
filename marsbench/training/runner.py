"""From a config to a record: data, model, fit, evaluate, save."""

from functools import partial
from pathlib import Path
from typing import NoReturn

from marsbench.base import environment, lazy
from marsbench.base.errors import MarsbenchError
from marsbench.base.files import write_text
from marsbench.base.progress import tell
from marsbench.plan.resolve import Plan
from marsbench.results.record import Outcome, RunRecord
from marsbench.results.store import CONFIG, Store
from marsbench.training.failures import error_of_others, explain, remove_errors, write_error
from marsbench.training.gallery import gallery
from marsbench.training.loop.allocator import keep_freed_memory
from marsbench.training.loop.arithmetic import products
from marsbench.training.loop.evaluation import save_predictions
from marsbench.training.loop.memory import within_memory
from marsbench.training.loop.trainer import check_tasks, process_rank, quiet, restored
from marsbench.training.parts import parts_of
from marsbench.training.provenance import config_text, record_of
from marsbench.training.trained import finished, open_split, together
from marsbench.training.trainers import trainer_of


def run(plan: Plan, *, force: bool = False) -> Outcome:
    """Carry out a run, or return the record of a finished run.

    An interrupted run resumes after its last saved epoch and ends as if never interrupted. On
    several devices the processes only train together; the first process does the rest, and the
    others exit with code 0 after training.

    Args:
        plan: The resolved run.
        force: Whether to move an existing run aside and start again.

    Raises:
        DeviceLostError: If the GPU fails; the run stays unfinished.
        MarsbenchError: If the run fails for a reason that the user can correct.
    """
    if bank := trainer_of(plan).bank:
        outcome: Outcome = lazy.load(bank)(plan, force=force)
        return outcome
    check_tasks(plan.config)
    store = Store(plan.config.store)
    if process_rank(plan.config) > 0:
        _assist(plan, store, force)
    if environment.helps_another():
        # A script that trains on several devices is executed once per device, and the first
        # process has just finished the runs that came before.
        force = False
    with store.claim(plan.run_id) as folder:
        # Checked under the claim: another process may have finished it just now.
        if not force and (record := store.find(plan.run_id)) is not None:
            return Outcome(record, was_done=True)
        if force:
            store.clear(plan.run_id)
        try:
            record = within_memory(plan, folder, _execute)
            store.finish(record)
        except Exception as error:
            explained = explain(error, plan.config, folder)
            if explained is None and not isinstance(error, MarsbenchError):
                explained = error_of_others(folder)
            if explained is None:
                store.fail(plan.run_id, error)
                raise
            explained.__cause__ = error
            store.fail(plan.run_id, explained)
            raise explained from error
    return Outcome(record, was_done=False)


def _assist(plan: Plan, store: Store, force: bool) -> NoReturn:
    """Train as a process other than the first of several."""
    folder = store.folder(plan.run_id)
    if force or store.find(plan.run_id) is None:
        try:
            _execute(plan, folder)
        except Exception as error:
            explained = explain(error, plan.config, folder)
            write_error(error, explained, folder)
            raise SystemExit((explained or MarsbenchError).exit_code) from error
    raise SystemExit(0)


def _execute(plan: Plan, folder: Path) -> RunRecord:
    config = plan.config
    is_first = process_rank(config) == 0
    if is_first:
        remove_errors(folder)
        write_text(folder / CONFIG, config_text(config))
    keep_freed_memory()
    if plan.task.is_spectra or plan.task.has_boxes:
        for note in plan.source.notes:
            tell(note)
    parts = parts_of(plan)
    train = lazy.load(trainer_of(plan).train)
    with quiet(), restored(), products(config.trainer.matmul):
        trained = [finished(part, folder, partial(train, plan, part, folder)) for part in parts]
    result = together(plan, trained)
    save_predictions(folder, result.scored)
    if config.pictures:
        gallery(open_split(plan, "test"), result.scored["test"], folder)
    return record_of(plan, result)
