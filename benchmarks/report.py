"""Seconds for the statistics of 20,000 records, compared with pandas.

    python benchmarks/report.py [--folder FOLDER] [--compare]
    python benchmarks/report.py --page STORE

Generates the records of 22 tasks, 19 models, 7 seeds and 7 groups (modes and subsets), 20,482 in
all. Times grouping the records in memory; all estimates per group, with 1,000 bootstrap rounds;
the bootstrap of the aggregates alone, for equal and unequal numbers of runs; and the same
bootstrap in pandas, a group-by and a trimmed mean per round, extrapolated from a few rounds. With
`--folder` the records are also written as a store, reading it is timed, and later runs reuse it.
With `--page` only a whole report of a store is made: CPU seconds, figures and files.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
import pandas as pd
from scipy.stats import trim_mean

from marsbench.config.identity import run_id
from marsbench.report.build import write_report
from marsbench.report.statistics import aggregate
from marsbench.report.statistics.ranges import observed_ranges
from marsbench.report.statistics.summary import compare, summarise
from marsbench.report.study.coverage import Study
from marsbench.report.study.scores import load_study, study_of
from marsbench.results.record import RunRecord
from marsbench.results.store import RECORD, Store

TASKS, MODELS, SEEDS = 22, 19, 7
GROUPS = (
    *((mode, "full") for mode in ("scratch", "frozen", "finetune")),
    *(("frozen", f"partition_{share}") for share in ("0.01", "0.05", "0.10", "0.25")),
)
ROUNDS = 1_000
PANDAS_ROUNDS = 3


def records() -> Iterator[RunRecord]:
    """Make records with scores that differ between tasks, models, groups and seeds."""
    rng = np.random.default_rng(0)
    for number, (mode, subset) in enumerate(GROUPS):
        for task in range(TASKS):
            for model in range(MODELS):
                level = 0.4 + 0.02 * model + 0.01 * task - 0.03 * number
                for seed in range(SEEDS):
                    score = float(np.clip(level + rng.normal(0, 0.03), 0, 1))
                    yield record(f"task_{task:02}", f"model_{model:02}", mode, subset, seed, score)


def record(task: str, model: str, mode: str, subset: str, seed: int, score: float) -> RunRecord:
    """Make a record of realistic size."""
    identity = {
        "kind": "multiclass",
        "data_revision": "r1",
        "architecture": f"timm:{model}",
        "optim": {"name": "adamw", "lr": 1e-4, "weight_decay": 0.05, "effective_batch_size": 32},
        "scheduler": {"name": "cosine"},
        "trainer": {"max_epochs": 50, "patience": 10, "precision": "32-true"},
    }
    scores = dict.fromkeys(("f1_weighted", "f1_macro", "accuracy", "auroc", "loss"), score)
    scores |= {f"{name}/class_{k}": score for name in ("f1", "recall") for k in range(15)}
    config: dict[str, Any] = {f"key_{k}": k for k in range(40)}
    return RunRecord(
        run_id=run_id(task, model, mode, subset, seed, identity),
        task=task,
        kind="multiclass",
        model=model,
        mode=mode,
        subset=subset,
        seed=seed,
        protocol="cached",
        headline="f1_weighted",
        metrics={"val": scores, "test": scores},
        config=config,
        identity=identity,
        data={"source": "local", "revision": "r1", "num_train": 1000},
        weights=None,
        checkpoint={"epoch": 3, "epochs_trained": 9},
        timing={"data": 1.0, "train": 100.0, "eval": 1.0},
        peak_memory={"host": 1},
        parameters={"total": 1_000_000, "trained": 1_000},
        device="cpu",
        environment={f"package_{k}": "1.0" for k in range(20)},
        git=None,
        created="2026-01-01T00:00:00+00:00",
    )


def write_store(root: Path, made: list[RunRecord]) -> None:
    """Write records without the locks of running workers."""
    store = Store(root)
    for one in made:
        folder = store.folder(one.run_id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).write_text(one.to_json())


def timed(what: str, function: Callable[[], Any], times: int = 3) -> tuple[float, Any]:
    """Call a function several times and print the median of the seconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    middle = statistics.median(seconds)
    print(f"{what:<58} {middle:9.3f} s   ({', '.join(f'{s:.3f}' for s in seconds)})")
    return middle, result


def normalised(study: Study) -> dict[tuple[str, str], aggregate.Floats]:
    """Normalised scores by group and model, each of shape (num_runs, num_tasks)."""
    found = {}
    for key, group in study.groups.items():
        scale = observed_ranges([group]).scale([(t, group.metrics[t]) for t in group.tasks])
        for model in group.models:
            found[key.title, model] = scale(group.matrix(model))
    return found


def bootstrap(scores: dict[tuple[str, str], aggregate.Floats]) -> aggregate.Floats:
    """Bootstrap distribution of every model's interquartile mean over its tasks."""
    rng = np.random.default_rng(0)
    return np.stack([aggregate.stratified_bootstrap(s, rng, ROUNDS) for s in scores.values()])


def bootstrap_pandas(frame: pd.DataFrame, rounds: int) -> pd.DataFrame:
    """The same in pandas: a stratified sample, and a trimmed mean per group and model."""
    strata = frame.groupby(["group", "model", "task"])
    rng = np.random.default_rng(0)
    drawn: list[pd.Series] = []
    for _ in range(rounds):
        sample = strata.sample(frac=1, replace=True, random_state=rng)
        found = sample.groupby(["group", "model"])["score"].apply(
            lambda scores: trim_mean(scores, 0.25, axis=None)
        )
        drawn.append(found.rename(len(drawn)))
    return pd.concat(drawn, axis=1)


def whole_report(store: Path) -> None:
    """Make a report of a store and print the seconds of the processor."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        built = write_report(store, Path(folder) / "report")
        seconds = time.process_time() - start
        size = built.index.stat().st_size / 2**20
        print(
            f"{built.num_runs:,} runs, {len(built.figures) // 2} figures, {len(built.tables)} "
            f"files of tables, page of {size:.1f} MiB: {seconds:.1f} s of a core"
        )


def main() -> None:
    """Print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="store to write and read")
    parser.add_argument("--compare", action="store_true", help="time comparisons of models too")
    parser.add_argument("--page", type=Path, help="store of a whole report")
    given = parser.parse_args()
    if given.page:
        whole_report(given.page)
        return
    made = list(records())
    print(f"{len(made):,} records, {len(GROUPS)} groups, {ROUNDS:,} rounds; {os.cpu_count()} cores")
    if given.folder:
        if not given.folder.exists():
            write_store(given.folder, made)
        timed("a store on disk: read and grouped", lambda: load_study(given.folder), 2)
    grouping, study = timed("records in memory: grouped", lambda: study_of(made))
    groups = study.groups.values()
    estimates, _ = timed(
        "every estimate with its interval, ranks included",
        lambda: [summarise(group, rounds=ROUNDS) for group in groups],
    )
    print(f"{'grouped and estimated (bound: 5 s)':<58} {grouping + estimates:9.3f} s")
    if given.compare:
        timed(
            "all pairs: probability of improvement, tests",
            lambda: [compare(group, rounds=ROUNDS) for group in groups],
            1,
        )
    scores = normalised(study)
    ours, drawn = timed("bootstrap of the aggregates: ours", lambda: bootstrap(scores))
    # A task without its last run: unequal weights cost an extra sort.
    last = np.arange(SEEDS)[:, None] == SEEDS - 1
    fewer = {k: np.where(last & (np.arange(TASKS) == 0), np.nan, s) for k, s in scores.items()}
    timed("the same where a task has fewer runs than others", lambda: bootstrap(fewer))
    rows = [
        (group, model, task, score)
        for (group, model), matrix in scores.items()
        for (_, task), score in np.ndenumerate(matrix)
    ]
    frame = pd.DataFrame(rows, columns=["group", "model", "task", "score"])
    few, theirs = timed(
        f"bootstrap of the aggregates: pandas, {PANDAS_ROUNDS} rounds",
        lambda: bootstrap_pandas(frame, PANDAS_ROUNDS),
    )
    pandas_seconds = few * ROUNDS / PANDAS_ROUNDS
    print(f"{f'the same, times {ROUNDS / PANDAS_ROUNDS:.0f}':<58} {pandas_seconds:9.3f} s")
    print(f"{'ratio (bound: 100)':<58} {pandas_seconds / ours:9.0f} x")
    # The few rounds of pandas must agree with ours.
    ordered = theirs.loc[list(scores)].to_numpy()
    apart = np.abs(ordered.mean(axis=1) - drawn.mean(axis=1)) / drawn.std(axis=1)
    print(f"{'largest difference of means, in standard deviations':<58} {apart.max():9.2f}")


if __name__ == "__main__":
    main()
