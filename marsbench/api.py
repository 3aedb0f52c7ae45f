"""Public Python API."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from marsbench.config.keywords import ModeWord, RunKeys, SharedKeys, TuneKeys
from marsbench.config.schema import RunConfig, parse_subset
from marsbench.tasks.kinds import Kind

if TYPE_CHECKING:
    import pandas as pd

    from marsbench.data.dataset import MarsDataset
    from marsbench.evaluate.settings import SettingKeys
    from marsbench.plan.tuned import Choice
    from marsbench.predict.options import OptionKeys
    from marsbench.predict.paths import Prediction
    from marsbench.report.build import Report, ReportKeys
    from marsbench.report.study.coverage import ExpectedRuns
    from marsbench.results.record import Outcome, RunRecord
    from marsbench.sweep.launchers.settings import LauncherKeys
    from marsbench.sweep.run import SweepResult


def list_tasks(pattern: str = "*", *, kind: Kind | str | None = None) -> list[str]:
    """List the tasks of the catalogue; `get_task` gives the facts of a task.

    For example ``list_tasks("*_seg")`` or ``list_tasks(kind="detection")``.

    Args:
        pattern: Pattern of names, with ``*`` and ``?``.
        kind: Kind of task; None for all.

    Raises:
        UnknownNameError: If the kind is unknown.
    """
    from marsbench.tasks.catalog import TASKS

    kinds = _kinds(kind)
    return [n for n, spec in TASKS.items() if spec.kind in kinds and fnmatchcase(n, pattern)]


def list_models(pattern: str = "*", *, kind: Kind | str | None = None) -> list[str]:
    """List the models of the zoo; others are ``timm:NAME``, ``torchvision:NAME`` or own encoders.

    For example ``list_models("resnet*")`` or ``list_models(kind="segmentation")``.

    Args:
        pattern: Pattern of names, with ``*`` and ``?``.
        kind: Kind of task that the models serve; None for all.

    Raises:
        UnknownNameError: If the kind is unknown.
    """
    from marsbench.models.zoo.catalog import MODELS

    kinds = _kinds(kind)
    return [n for n, spec in MODELS.items() if spec.kinds & kinds and fnmatchcase(n, pattern)]


def _kinds(kind: Kind | str | None) -> frozenset[Kind]:
    """Kinds of a filter.

    Raises:
        UnknownNameError: If the kind is unknown.
    """
    from marsbench.base.errors import unknown_name

    if kind is not None and kind not in list(Kind):
        raise unknown_name("kind", kind, Kind)
    return frozenset(Kind) if kind is None else frozenset({Kind(kind)})


def run(
    task: str | Path, model: str | Path, *, force: bool = False, **keys: Unpack[RunKeys]
) -> "RunRecord":
    """Train and test a model on a task, and return the record; a finished run is not repeated.

    For example ``run("frost_cls", "vit_tiny", source="demo", mode="scratch",
    trainer={"max_epochs": 2}).score``.

    Args:
        task: Task name, or path of a custom task.
        model: Name in `list_models`, ``timm:NAME``, ``torchvision:NAME``, ``smp:ARCH/ENCODER`` or
            ``./my_encoder.py``.
        force: Whether to repeat a finished run; the old record is moved aside.
        **keys: As on the command line (``marsbench list keys``), groups as mappings:
            ``optim={"lr": 1e-3}``.

    Raises:
        MarsbenchError: If a key or value is invalid, or data or weights are missing.
    """
    from marsbench.plan.tuned import filled

    config = RunConfig.from_dict(filled({"task": task, "model": model, **keys}))
    return run_config(config, force=force).record


def run_config(config: RunConfig, *, force: bool = False) -> "Outcome":
    """Carry out a run; torch is loaded only for an unfinished run.

    Args:
        config: The run.
        force: Whether to repeat a finished run.

    Raises:
        MarsbenchError: If data or weights are missing, or training fails.
    """
    from marsbench.plan.resolve import resolve
    from marsbench.results.record import Outcome
    from marsbench.results.store import Store

    plan = resolve(config)
    if not force and (record := Store(config.store).find(plan.run_id)) is not None:
        return Outcome(record, was_done=True)
    from marsbench.training import runner

    return runner.run(plan, force=force)


def run_evaluate(
    runs: str | Path | Iterable[str | Path],
    *,
    force: bool = False,
    **keys: "Unpack[SettingKeys]",
) -> "list[RunRecord]":
    """Evaluate finished runs on another task or corrupted samples; nothing done is repeated.

    For example ``run_evaluate("0-3f2a91c04d", task="mars_seg_mer")`` or
    ``run_evaluate(record.run_id, corruption="all", severity=[1, 3, 5])``.

    Args:
        runs: Ids, short forms of ids, or folders of runs, parts of a store, or patterns of ids.
        force: Whether to repeat finished evaluations; the old records are moved aside.
        **keys: As on the command line; `marsbench.evaluate.settings.Settings` explains them.

    Returns:
        A record per evaluation.

    Raises:
        MarsbenchError: The first error; other evaluations are carried out before.
    """
    from marsbench.base.errors import MarsbenchError
    from marsbench.evaluate.run import evaluate
    from marsbench.evaluate.settings import Settings

    results = list(evaluate(_words(runs), Settings.from_dict(keys), force=force))
    for _, outcome in results:
        if isinstance(outcome, MarsbenchError):
            raise outcome
    return [outcome.record for _, outcome in results if not isinstance(outcome, MarsbenchError)]


def run_sweep(
    suite: str | Path,
    *,
    task: str | Sequence[str] | None = None,
    model: str | Sequence[str] | None = None,
    mode: ModeWord | Sequence[ModeWord] | None = None,
    subset: str | Sequence[str] | None = None,
    seed: int | Sequence[int] | None = None,
    launcher: str = "local",
    launcher_keys: "LauncherKeys | None" = None,
    retry_failed: bool = False,
    **keys: Unpack[SharedKeys],
) -> "SweepResult":
    """Train the unfinished runs of a suite; the same call continues with the remaining runs.

    For example ``run_sweep("smoke", model="resnet18", seed=[0, 1], source="demo")``. Failed runs
    are counted in the result and raise nothing.

    Args:
        suite: Name of a suite, or path of its YAML.
        task: Only these tasks of the suite; None for all. Likewise model, mode, subset, seed.
        model: Only these models.
        mode: Only these modes.
        subset: Only these subsets.
        seed: Only these seeds.
        launcher: local, slurm, ray, or path of a YAML.
        launcher_keys: Settings of the launcher, ``{"jobs": 2}``; `LauncherSettings` explains them.
        retry_failed: Whether to retry failed runs.
        **keys: Further keys of all runs, as for `run`.

    Raises:
        MarsbenchError: If a name, key or value is invalid, or the launcher is not available.
    """
    from marsbench.base.errors import some
    from marsbench.base.progress import tell
    from marsbench.sweep.run import carry_out, plan_of
    from marsbench.sweep.words import pairs_of, read_words

    axes = {"task": task, "model": model, "mode": mode, "subset": subset, "seed": seed}
    words = {"suite": str(suite), **{k: v for k, v in axes.items() if v is not None}, **keys}
    pairs = pairs_of({**words, "launcher": launcher})
    pairs += [(f"launcher.{k}", v) for k, v in pairs_of(launcher_keys or {})]
    asked = read_words(pairs, [], {})
    plan = plan_of(asked, retry_failed=retry_failed, report=tell)
    if reasons := dict.fromkeys(run.reason for run in plan.runs if run.reason):
        tell(f"Left out: {some(reasons)}")
    return carry_out(plan, asked)


def run_tune(
    task: str | Path | Sequence[str],
    model: str | Path | Sequence[str],
    *,
    mode: ModeWord | Sequence[ModeWord] = "frozen",
    space: str | Path | Mapping[str, Sequence[Any]] = "paper",
    search: str = "grid",
    trials: int | None = None,
    out: str | Path = "tuned",
    launcher: str = "local",
    launcher_keys: "LauncherKeys | None" = None,
    **keys: Unpack[TuneKeys],
) -> "list[Choice]":
    """Choose hyperparameters by validation loss, for each task, model and mode.

    For example ``run_tune("frost_cls", "resnet18", space={"optim.lr": [1e-3, 1e-4]})``; then
    ``run("frost_cls", "resnet18", hparams="tuned")`` uses the choice. The same call resumes an
    interrupted search.

    Args:
        task: Task, or several.
        model: Model, or several.
        mode: Mode, or several.
        space: paper (648 settings), quick, path of a YAML, or values to try by key.
        search: grid, random or optuna.
        trials: Number of settings to try with random or optuna.
        out: Folder of the choices, for ``hparams=``.
        launcher: local, slurm, ray, or path of a YAML.
        launcher_keys: Settings of the launcher, ``{"jobs": 2}``.
        **keys: Further keys of all runs, as for `run`.

    Returns:
        A choice per finished search. Searches with remaining runs, as on slurm, are not among them.

    Raises:
        TrainingError: If no setting of a search could be trained.
        MarsbenchError: If a name, key or value is invalid.
    """
    import itertools

    from marsbench.base.errors import TrainingError
    from marsbench.base.progress import tell
    from marsbench.plan.resolve import Resolver
    from marsbench.plan.tuned import filled
    from marsbench.sweep.launchers.settings import load_settings
    from marsbench.sweep.tune import (
        check_search,
        chosen,
        load_space,
        searched,
        space_of,
        tunings_of,
    )

    check_search(search, trials)
    if isinstance(space, Mapping):
        values = space_of(space, "The space")
    else:
        values = load_space(str(space), {})
    product = itertools.product(_words(task), _words(model), _words(mode))
    configs = [
        RunConfig.from_dict(filled({"task": t, "model": m, "mode": o, **keys}))
        for t, m, o in product
    ]
    settings = load_settings(launcher, dict(launcher_keys or {}))
    resolver = Resolver()
    tunings = tunings_of(configs, values)
    tried = searched(tunings, search, trials, settings, resolver, tell)
    choices, left = chosen(tried, resolver)
    for choice in choices:
        choice.write(Path(out))
    if len(choices) < len(tried) and not left:
        store = tunings[0].base.store
        raise TrainingError(
            f"No setting of {len(tried) - len(choices)} of {len(tried)} searches could be trained.",
            f"failed.json in the folders of {store} holds the errors.",
        )
    if left:
        tell(f"{left:,} runs remain; the same call continues.")
    return choices


def run_predict(
    run: str | Path,
    images: str | Path | Iterable[str | Path],
    out: str | Path,
    *,
    task: str | Path | None = None,
    model: str | Path | None = None,
    store: str | Path = "runs",
    **options: "Unpack[OptionKeys]",
) -> "Prediction":
    """Predict new images with a finished run or a checkpoint; earlier predictions are kept.

    For example ``run_predict(record.run_id, "images/", "predicted")`` writes
    ``predicted/predictions.csv``.

    Args:
        run: Id or hash of a run, its folder, a checkpoint file, or ``hf://ORG/NAME`` of the hub.
        images: Images, and folders of images.
        out: Folder to write into.
        task: Task of a checkpoint.
        model: Model of a checkpoint, or the own encoder of a run.
        store: Folder of records.
        **options: As on the command line; `marsbench.predict.options.Options` explains them.

    Returns:
        Folder, counts, and errors of failed images.

    Raises:
        MarsbenchError: If a path, run, option or device is missing or invalid.
    """
    from marsbench.base.errors import check_names
    from marsbench.base.progress import tell
    from marsbench.predict.options import OptionKeys, Options
    from marsbench.predict.paths import Prediction, predict_paths

    check_names("option", options, OptionKeys.__annotations__)
    summary = predict_paths(
        str(run),
        [Path(path) for path in _words(images)],
        Path(out),
        Options(**options),
        store=Path(store),
        task=None if task is None else str(task),
        model=None if model is None else str(model),
        note=tell,
    )
    failed = {item.path: error for item, error in summary.failed}
    return Prediction(Path(out), summary.done, summary.skipped, failed)


def _words(values: str | Path | Iterable[str | Path]) -> list[str]:
    """Words of a command line for a value or several."""
    return [str(v) for v in ([values] if isinstance(values, str | Path) else values)]


def make_ensemble(
    runs: Sequence[str | Path], store: str | Path = "runs", *, weights: str = "equal"
) -> "RunRecord":
    """Average the predictions of finished runs of a task into a new record.

    For example ``make_ensemble(["0-3f2a91c04d", "1-3f2a91c04d"])``. An ensemble made before is
    returned as it is.

    Args:
        runs: Ids, short forms of ids, or folders of at least two runs.
        store: Folder of records, also for the new record.
        weights: ``equal``, or ``fitted`` to the validation split or the other folds.

    Raises:
        MarsbenchError: If the runs differ in task, data or samples, or are not of labels.
    """
    from marsbench.results.ensemble import combine

    return combine.make_ensemble(_words(runs), store, weights=weights).record


def load_dataset(
    task: str,
    split: str = "train",
    *,
    source: str = "auto",
    root: str | Path | None = None,
    size: float = 1.0,
    revision: str | None = None,
    subset: str = "full",
    cache: bool = True,
    raster: str | None = None,
    transform: Callable[[Any], Any] | None = None,
) -> "MarsDataset":
    """Open a split of a task as a torch Dataset.

    For example::

        dataset = load_dataset("frost_cls", source="demo")
        loader = DataLoader(dataset, batch_size=32, shuffle=True, collate_fn=dataset.collate)

    Args:
        task: Task name, or path to a custom task.
        split: train, val or test.
        source: auto, local, huggingface, zenodo or demo.
        root: Folder, archive or fsspec URL of a local source.
        size: Amount of demo data.
        revision: Commit, tag or branch of hub data.
        subset: Subset of the train split.
        cache: Whether to keep decoded images in the memory-mapped cache.
        raster: Raster preset of spectra; by default the task's. Samples include the points of
            their spectra.
        transform: Function of a sample (a dictionary) that returns it changed, applied last. A
            function of a module, not a lambda, for worker processes started by ``spawn``.

    Returns:
        A dataset of `marsbench.data.dataset.Sample`.

    Raises:
        MarsbenchError: If a name is unknown or data are missing.
    """
    from marsbench.base.errors import ConfigError, unknown_name
    from marsbench.data.dataset import MarsDataset
    from marsbench.data.rendering import rendering_for
    from marsbench.data.sources import open_source
    from marsbench.data.subsets import select
    from marsbench.tasks.catalog import get_task
    from marsbench.tasks.spec import SPLITS

    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    # Checked by RunConfig, as for a run.
    place = None if root is None else str(root)
    config = RunConfig.from_dict(
        {
            "task": task,
            "model": "-",
            "source": source,
            "root": place,
            "size": size,
            "revision": revision,
            "subset": subset,
        }
    )
    if split != "train" and config.subset != "full":
        raise ConfigError(
            f"subset={subset} is for the train split; {split} never changes.",
            "Leave subset out.",
        )
    spec = get_task(task)
    part = parse_subset(config.subset)
    opened = open_source(
        spec,
        config.source,
        config.root,
        config.size,
        subset=part,
        splits=[split],
        revision=config.revision,
    )
    indices = select(opened, part).indices if split == "train" else None
    rendering = None
    if spec.is_spectra:
        rendering = rendering_for(spec, raster, points=True)
    elif raster is not None:
        raise ConfigError(
            f"raster={raster} is for spectra; the samples of {spec.name} are images.",
            "Leave raster out.",
        )
    return MarsDataset(
        spec,
        opened,
        split,
        indices=indices,
        cache=cache,
        rendering=rendering,
        transform=transform,
    )


def load_records(store: str | Path = "runs", *, evaluations: bool = False) -> "pd.DataFrame":
    """Read the records of a store as a table: a row per record, a column per metric.

    Unreadable records are left out with a warning.

    Args:
        store: Folder of records.
        evaluations: Whether to read the evaluations of runs on other data, instead of all other
            records.

    Raises:
        StoreError: If the store is missing.
    """
    import warnings

    from marsbench.base.text import visible
    from marsbench.results.store import Store

    table, unreadable = Store(store).table(evaluations=evaluations)
    for error in unreadable:
        warnings.warn(visible(str(error)), stacklevel=2)
    return table


def make_report(
    store: str | Path = "runs",
    out: str | Path = "report",
    *,
    suite: "str | Path | ExpectedRuns | None" = None,
    **options: "Unpack[ReportKeys]",
) -> "Report":
    """Build a report of a store: figures, tables and a page, ``index.html``.

    Args:
        store: Folder of records.
        out: Folder to write to.
        suite: Name or YAML of a suite, or expected runs, to report only records and
            coverage of its runs; None for all records.
        **options: As on the command line, lists for words with commas (``only=["violins"]``);
            `marsbench.report.build.write_report` explains them.

    Returns:
        The page (``index``), the files and the problems (``problems``).

    Raises:
        NothingYetError: If no run of the suite has a record.
        MarsbenchError: If no record is readable, or a name is unknown.
    """
    from marsbench.base.errors import check_names
    from marsbench.report.build import ReportKeys, write_report

    check_names("option", options, ReportKeys.__annotations__)
    if isinstance(suite, str | Path):
        from marsbench.report.study.coverage import ExpectedRuns
        from marsbench.sweep.suites import expand, load_suite

        loaded = load_suite(str(suite))
        suite = ExpectedRuns.of_suite(loaded.name, expand(loaded, {}))
    return write_report(store, out, plan=suite, **options)
